//! The recorder: it is given every record of a run, and changes nothing in it.

use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::{Event, Instant, LinkId, Message, NodeId, PeerState, Run};

use crate::conditions::{Conditions, Snapshot};
use crate::links::Links;
use crate::messages::Messages;
use crate::names::Names;
use crate::notes::Notes;
use crate::peers::Peers;
use crate::record::{ConnectionEnd, HostId, Record};
use crate::timeline::{Breach, Hidden, Lane, Timeline};
use crate::whole;

/// A link that a node has when recording begins.
#[derive(Clone, Copy, Debug)]
pub struct StandingLink {
    /// The connection under it.
    pub end: ConnectionEnd,
    /// The address of the other end, as this end sees it.
    pub remote: SocketAddr,
    /// The run at the other end, once the handshake is over.
    pub peer: Option<Run>,
    /// Whether it was granted.
    pub granted: bool,
}

/// Everything a [`Timeline`] is made of, as it comes.
#[derive(Clone, Debug)]
pub struct Recorder {
    begin: Instant,
    names: Names,
    conditions: Conditions,
    peers: Peers,
    links: Links,
    messages: Messages,
    notes: Notes,
    violations: Vec<Breach>,
    /// Something may have changed that only a look at the world shows.
    stale: bool,
}

impl Recorder {
    /// A recorder of a world to which nothing has happened yet, or of which the caller says how things stand:
    /// [`run`](Recorder::run), [`peer`](Recorder::peer), [`link`](Recorder::link).
    #[must_use]
    pub fn new(begin: Instant) -> Recorder {
        Recorder {
            begin,
            names: Names::default(),
            conditions: Conditions::default(),
            peers: Peers::default(),
            links: Links::default(),
            messages: Messages::default(),
            notes: Notes::default(),
            violations: Vec::new(),
            stale: true,
        }
    }

    /// Notes that a host has run this run of a node before recording began.
    pub fn run(&mut self, host: HostId, run: Run) {
        self.names.add(host, run);
    }

    /// Notes that a node has this peer when recording begins.
    pub fn peer(&mut self, host: HostId, run: Run, state: PeerState) {
        self.peers.begin(self.begin, host, run, state, "");
    }

    /// Notes that a node has this link when recording begins.
    pub fn link(&mut self, host: HostId, link: LinkId, standing: &StandingLink) {
        let &StandingLink { end, remote, peer, granted } = standing;
        self.links.opened(self.begin, host, link, end.outbound, remote);
        self.links.connection(host, link, end);
        if let Some(run) = peer {
            self.links.connected(self.begin, host, link, self.names.host(run.id));
        }
        if granted {
            self.links.granted(self.begin, host, link);
        }
    }

    /// Notes a record.
    pub fn see(&mut self, at: Instant, host: Option<HostId>, what: &Record) {
        match what {
            Record::Event(Event::Left { .. }) | Record::Fault(_) | Record::Condition(_) => self.stale = true,
            _ => {}
        }
        match (host, what) {
            (Some(host), Record::Started(run, _)) => {
                self.ended(at, host);
                self.names.add(host, *run);
                self.stale = true;
            }
            (Some(host), Record::Dial(link, to)) => self.links.opened(at, host, *link, true, *to),
            (Some(host), Record::Admitted(link, from)) => self.links.opened(at, host, *link, false, *from),
            (Some(host), Record::Connected(link, run)) => {
                self.links.connected(at, host, *link, self.names.host(run.id));
            }
            (Some(host), Record::Close(link, _, reason)) => self.links.closing(host, *link, reason.to_string()),
            (Some(host), Record::Disconnected(link, cause)) => {
                self.links.ended(at, host, *link, &format!("{cause:?}"));
            }
            (Some(host), Record::Sent(link, brief)) => self.links.sent(at, host, *link, brief),
            (Some(host), Record::Got(link, brief)) => self.links.got(at, host, *link, brief),
            (Some(host), Record::Event(event)) => {
                self.peers.event(at, host, event);
                if let (Event::PeerGone { peer }, Some(id)) = (event, self.names.id(host)) {
                    self.messages.gone(at, id, *peer);
                }
                self.notes.add(at, Some(host), what);
            }
            (
                host,
                Record::Fault(_)
                | Record::Condition(_)
                | Record::Verb(_)
                | Record::Send(..)
                | Record::Broadcast(_)
                | Record::Notice(_)
                | Record::Refused(..)
                | Record::Puppet(_)
                | Record::App(_),
            ) => {
                self.notes.add(at, host, what);
            }
            (host, Record::Resolved(_, Err(_))) => self.notes.add(at, host, what),
            _ => {}
        }
    }

    /// Notes that a link of a node goes over this connection.
    pub fn connection(&mut self, host: HostId, link: LinkId, end: ConnectionEnd) {
        self.links.connection(host, link, end);
    }

    /// Notes that a node has accepted a message.
    pub fn message_sent(&mut self, at: Instant, from: NodeId, to: Run, payload: &Bytes) {
        self.messages.sent(at, from, to, payload);
    }

    /// Notes that the user of a run has taken a message.
    pub fn message_taken(&mut self, at: Instant, to: Run, message: &Message) {
        self.messages.taken(at, message.from.id, to, &message.payload);
    }

    /// Notes that a promise was broken.
    pub fn violated(&mut self, at: Instant, host: Option<HostId>, text: &str) {
        self.violations.push(Breach { at, host, text: self.names.replace(text) });
    }

    /// Returns whether something may have changed that only a [`Snapshot`] of the world shows; it has `hosts` hosts.
    #[must_use]
    pub fn is_stale(&self, hosts: usize) -> bool {
        self.stale || self.conditions.hosts() != hosts
    }

    /// Notes how things stand.
    pub fn observe(&mut self, at: Instant, snapshot: &Snapshot) {
        for (index, (state, run)) in snapshot.hosts.iter().enumerate() {
            let host = HostId(index as u32);
            if let Some(run) = run {
                self.names.add(host, *run);
            }
            if !state.is_up() {
                self.ended(at, host);
            }
        }
        self.conditions.observe(at, snapshot);
        self.stale = false;
    }

    /// Returns the timeline up to `end` of the run with this seed and this hash, whose hosts have these addresses.
    #[must_use]
    pub fn timeline(&self, seed: u64, hash: u64, end: Instant, addresses: &[SocketAddr]) -> Timeline {
        let owner = |at: SocketAddr| addresses.iter().position(|&own| own == at).map(|index| HostId(index as u32));
        let lane = |(index, &address): (usize, &SocketAddr)| Lane { name: HostId(index as u32).to_string(), address };
        let (states, faults) = (self.conditions.states(), self.conditions.faults());
        let peers = self.peers.spans(&self.names);
        let [link_spans, frames, heartbeats] = self.links.dropped();
        let mesh = whole::mesh(self.begin, &states, &peers);
        let splits = whole::splits(&states, &faults);
        Timeline {
            seed,
            hash,
            begin: self.begin,
            end,
            hosts: addresses.iter().enumerate().map(lane).collect(),
            states,
            faults,
            peers,
            links: self.links.spans(owner),
            messages: self.messages.paths(&self.names),
            frames: self.links.frames(),
            notes: self.notes.notes(&self.names),
            violations: self.violations.clone(),
            mesh,
            splits,
            hidden: Hidden {
                spans: self.conditions.dropped() + self.peers.dropped() + link_spans,
                messages: self.messages.dropped(),
                frames,
                heartbeats,
                notes: self.notes.dropped(),
            },
        }
    }

    /// The node on a host is no more.
    fn ended(&mut self, at: Instant, host: HostId) {
        const WHY: &str = "the node ended";
        self.peers.end_all(at, host, WHY);
        self.links.end_all(at, host, WHY);
    }
}
