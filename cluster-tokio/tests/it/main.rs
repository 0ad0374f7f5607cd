//! The adapter on real sockets, all of them on loopback.
//!
//! Nothing here sleeps for luck: tests wait for an event or a condition, and fail when [`world::DEADLINE`] is over.
//! Only where something must *not* happen do they wait for a stated time.

mod cli;
mod cutter;
mod hostile;
mod lifecycle;
mod membership;
mod messages;
mod original;
mod sessions;
mod world;
