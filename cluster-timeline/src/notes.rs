//! What happened at one time, in sentences.

use cluster_core::{Event, Instant, JoinError, NodeId, Run};

use crate::names::Names;
use crate::newest::Newest;
use crate::record::{HostId, Record};
use crate::timeline::{MAX_NOTES, Note, NoteKind};

/// What happened, as it was traced: put into words when a timeline is taken, when all names are known.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    events: Newest<Entry>,
    /// Calls, notices, puppets and applications, of which there may be very many.
    others: Newest<Entry>,
}

type Entry = (Instant, Option<HostId>, Record);

impl Default for Notes {
    fn default() -> Notes {
        Notes { events: Newest::new(MAX_NOTES), others: Newest::new(MAX_NOTES) }
    }
}

impl Notes {
    pub(crate) fn add(&mut self, at: Instant, host: Option<HostId>, what: &Record) {
        let list = match what {
            Record::Event(_) | Record::Fault(_) | Record::Condition(_) => &mut self.events,
            _ => &mut self.others,
        };
        list.push((at, host, what.clone()));
    }

    pub(crate) fn notes(&self, names: &Names) -> Vec<Note> {
        let view = |(at, host, what): &Entry| {
            let Told { kind, peer, text } = told(what, names)?;
            Some(Note { at: *at, host: *host, peer: peer.and_then(|id| names.host(id)), kind, text })
        };
        let mut notes: Vec<Note> = self.events.iter().chain(self.others.iter()).filter_map(view).collect();
        notes.sort_by_key(|note| note.at);
        notes
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.events.dropped() + self.others.dropped()
    }
}

struct Told {
    kind: NoteKind,
    peer: Option<NodeId>,
    text: String,
}

/// What a note says; nothing of what is no note.
fn told(what: &Record, names: &Names) -> Option<Told> {
    let plain = |kind, text: String| Some(Told { kind, peer: None, text });
    match what {
        Record::Event(event) => Some(event_told(event, names)),
        Record::Fault(text) => plain(NoteKind::Fault, names.replace(text)),
        Record::Condition(text) => plain(NoteKind::Condition, names.replace(text)),
        Record::Verb(text) => plain(NoteKind::Call, names.replace(text)),
        Record::Send(to, length) => plain(NoteKind::Call, names.replace(&format!("send {length} bytes to {to:?}"))),
        Record::Broadcast(length) => plain(NoteKind::Call, format!("broadcast {length} bytes")),
        Record::Puppet(text) => plain(NoteKind::Puppet, names.replace(text)),
        Record::App(text) => plain(NoteKind::App, names.replace(text)),
        Record::Notice(notice) => {
            let held =
                if notice.suppressed > 0 { format!(" ({} more held back)", notice.suppressed) } else { String::new() };
            plain(NoteKind::Notice, format!("{}: {}{held}", notice.source, notice.reason))
        }
        Record::Refused(from, reason) => plain(NoteKind::Notice, format!("not admitted: {from}: {reason}")),
        Record::Resolved(target, Err(error)) => plain(NoteKind::Notice, format!("look-up of {target} failed: {error}")),
        _ => None,
    }
}

fn event_told(event: &Event, names: &Names) -> Told {
    let about = |kind, run: &Run, text: String| Told { kind, peer: Some(run.id), text };
    let name = |run: &Run| names.run(*run);
    match event {
        Event::PeerUp(info) => about(NoteKind::Up, &info.run, format!("{} is up", name(&info.run))),
        Event::PeerDown { peer, reason, .. } => {
            let again = if reason.is_transient() { "" } else { ", for good" };
            about(NoteKind::Down, peer, format!("{} is down: {reason}{again}", name(peer)))
        }
        Event::PeerUpdated(info) => {
            about(NoteKind::Event, &info.run, format!("{} has changed its profile", name(&info.run)))
        }
        Event::PeerGone { peer } => about(NoteKind::Event, peer, format!("the session with {} is over", name(peer))),
        Event::Undelivered(lost) => {
            let (not, doubt) = (lost.not_delivered.len(), lost.in_doubt.len());
            let text = format!("messages to {}: {not} not delivered, {doubt} in doubt", name(&lost.peer));
            about(NoteKind::Event, &lost.peer, text)
        }
        Event::SessionReset { peer } => {
            about(NoteKind::Event, peer, format!("the session with {} began anew", name(peer)))
        }
        Event::Joined { target, peer, .. } => {
            about(NoteKind::Event, peer, format!("joined {} at {target}", name(peer)))
        }
        Event::JoinFailed { target, error, .. } => {
            let why = match error {
                JoinError::Failed(reason) => reason.to_string(),
                other => other.to_string(),
            };
            Told { kind: NoteKind::Event, peer: None, text: format!("join of {target} failed: {why}") }
        }
        Event::PartialPartition { peer, unseen } => {
            about(NoteKind::Event, unseen, format!("{} sees {}, which this node does not", name(peer), name(unseen)))
        }
        Event::DuplicateIdentity { newcomer } => {
            about(NoteKind::Event, newcomer, format!("another node uses the id of {}", name(newcomer)))
        }
        Event::Left { undelivered } => {
            let text = match undelivered {
                0 => "has left".to_owned(),
                count => format!("has left; {count} messages were not taken"),
            };
            Told { kind: NoteKind::Event, peer: None, text }
        }
        other => Told { kind: NoteKind::Event, peer: None, text: names.replace(&format!("{other:?}")) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{Incarnation, Reason};

    #[test]
    fn what_happened_is_told_with_the_names_of_hosts() {
        let id = NodeId::from_bytes([0xab; 16]);
        let run = |incarnation| Run { id, incarnation: Incarnation(incarnation) };
        let mut names = Names::default();
        names.add(HostId(2), run(5));
        names.add(HostId(2), run(6));
        let mut notes = Notes::default();
        let down = Event::PeerDown { peer: run(6), name: None, reason: Reason::Left };
        for what in [Record::Event(down), Record::Verb(format!("disconnect {id:?}"))] {
            notes.add(Instant::ZERO, Some(HostId(0)), &what);
        }
        let told: Vec<_> = notes.notes(&names).into_iter().map(|note| (note.kind, note.peer, note.text)).collect();
        assert_eq!(told[0], (NoteKind::Down, Some(HostId(2)), "n2 (run 2) is down: Left, for good".to_owned()));
        assert_eq!(told[1], (NoteKind::Call, None, "disconnect n2".to_owned()));
    }
}
