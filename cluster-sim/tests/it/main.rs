//! The scenarios S01 to S52, each a test or more whose names begin with its number, and what else a mesh must bear.
//!
//! [`harness`] has what several of them need; the other modules are one per topic.

mod abuse;
mod addresses;
mod formation;
mod half_open;
mod harness;
mod hostile;
mod hosts;
mod identity;
mod leaving;
mod limits;
mod liveness;
mod load;
mod network;
mod partitions;
mod printed;
mod scenarios;
mod schedules;
mod secure;
mod sessions;
mod timeline;
mod world;
