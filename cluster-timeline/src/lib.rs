//! What happened in a simulated cluster, for people: as plain data, as one HTML page, as text, as lines of JSON.
//!
//! A simulator writes [records](record) of what happens. A [`Recorder`] is given each of them and makes a [`Timeline`] of
//! what it has seen. The timeline draws itself: [`to_html`](Timeline::to_html), [`to_text`](Timeline::to_text),
//! [`write_jsonl`](Timeline::write_jsonl), [`story`](Timeline::story).
//!
//! ```
//! use cluster_core::Instant;
//! use cluster_timeline::record::{HostId, Record};
//! use cluster_timeline::{HostState, Recorder, Snapshot};
//!
//! let mut recorder = Recorder::new(Instant::ZERO);
//! let mut snapshot = Snapshot::default();
//! snapshot.hosts.push((HostState::Running, None));
//! recorder.observe(Instant::ZERO, &snapshot);
//! recorder.see(Instant::from_nanos(5), Some(HostId(0)), &Record::App("hello".to_owned()));
//!
//! let address = "10.0.0.1:7000".parse().unwrap();
//! let timeline = recorder.timeline(42, 7, Instant::from_nanos(10), &[address]);
//! assert_eq!(timeline.notes[0].text, "hello");
//! assert!(timeline.to_html().starts_with("<!doctype html>"));
//! ```
//!
//! Nothing here depends on the simulator: `cluster-sim` is fed to it, and re-exports it.

mod conditions;
mod html;
mod jsonl;
mod links;
mod messages;
mod names;
mod newest;
mod notes;
mod peers;
pub mod record;
mod recorder;
mod story;
mod text;
mod timeline;
mod units;
mod whole;

pub use conditions::Snapshot;
pub use recorder::{Recorder, StandingLink};
pub use story::{Moment, MomentKind};
pub use timeline::{
    Breach, FaultKind, FaultSpan, FramePath, Hidden, HostState, Lane, LinkSpan, MAX_FRAMES, MAX_MESSAGES, MAX_NOTES,
    MAX_SPANS, MeshSpan, MessagePath, Note, NoteKind, PeerSpan, SplitSpan, StateSpan, Timeline,
};
