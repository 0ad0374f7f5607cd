//! The scenarios S01 to S52, each a test or more whose names begin with its number, and what else a mesh must bear.
//!
//! [`harness`] has what several of them need; the other modules are one per topic.

mod abuse;
mod addresses;
mod clocks;
mod crowds;
mod floods;
mod forgetting;
mod formation;
mod half_open;
mod hand;
mod harness;
mod hostile;
mod hosts;
mod identity;
mod leaving;
mod limits;
mod liveness;
mod load;
mod messages;
mod moving;
mod network;
mod page;
mod partitions;
mod printed;
mod profiles;
mod scenarios;
mod schedules;
mod secure;
mod sessions;
mod slow_links;
mod strangers;
mod timeline;
mod world;
