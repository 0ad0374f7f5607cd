//! What watches a run: it is told everything that is traced, and changes nothing.

use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::{Event, Instant, LinkId, Message, NodeId, Run};

use super::conditions::{Conditions, Snapshot};
use super::links::Links;
use super::messages::Messages;
use super::names::Names;
use super::notes::Notes;
use super::peers::Peers;
use super::{Breach, Hidden, Lane, Timeline, whole};
use crate::host::HostId;
use crate::net::{Side, Sock};
use crate::trace::What;
use crate::world::World;

/// Everything a [`Timeline`] is made of, as it comes.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
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
    /// A recorder that knows how things stand in the world at present.
    pub(crate) fn new(world: &World) -> Recorder {
        let at = world.now();
        let mut recorder = Recorder {
            begin: at,
            names: Names::default(),
            conditions: Conditions::default(),
            peers: Peers::default(),
            links: Links::default(),
            messages: Messages::default(),
            notes: Notes::default(),
            violations: Vec::new(),
            stale: true,
        };
        for machine in &world.machines {
            if let Some(run) = machine.run {
                recorder.names.add(machine.id, run);
            }
        }
        for machine in &world.machines {
            let Some(driver) = machine.process.driver() else { continue };
            for info in driver.node.peers() {
                recorder.peers.begin(at, machine.id, info.run, info.state, "");
            }
            for (link, entry) in driver.links() {
                let remote = world.net.end(entry.sock).remote;
                recorder.links.opened(at, machine.id, link, entry.sock.side == Side::Dialer, remote);
                recorder.links.socket(machine.id, link, entry.sock);
                if let Some(run) = entry.peer {
                    recorder.links.connected(at, machine.id, link, recorder.names.host(run.id));
                }
                if entry.granted {
                    recorder.links.granted(at, machine.id, link);
                }
            }
        }
        recorder
    }

    /// Something was traced.
    pub(crate) fn see(&mut self, at: Instant, host: Option<HostId>, what: &What) {
        match what {
            What::Event(Event::Left { .. }) | What::Fault(_) | What::Condition(_) => self.stale = true,
            _ => {}
        }
        match (host, what) {
            (Some(host), What::Started(run, _)) => {
                self.ended(at, host);
                self.names.add(host, *run);
                self.stale = true;
            }
            (Some(host), What::Dial(link, to)) => self.links.opened(at, host, *link, true, *to),
            (Some(host), What::Admitted(link, from)) => self.links.opened(at, host, *link, false, *from),
            (Some(host), What::Connected(link, run)) => {
                self.links.connected(at, host, *link, self.names.host(run.id));
            }
            (Some(host), What::Close(link, _, reason)) => self.links.closing(host, *link, reason.to_string()),
            (Some(host), What::Disconnected(link, cause)) => {
                self.links.ended(at, host, *link, &format!("{cause:?}"));
            }
            (Some(host), What::Sent(link, brief)) => self.links.sent(at, host, *link, brief),
            (Some(host), What::Got(link, brief)) => self.links.got(at, host, *link, brief),
            (Some(host), What::Event(event)) => {
                self.peers.event(at, host, event);
                if let (Event::PeerGone { peer }, Some(id)) = (event, self.names.id(host)) {
                    self.messages.gone(at, id, *peer);
                }
                self.notes.add(at, Some(host), what);
            }
            (
                host,
                What::Fault(_)
                | What::Condition(_)
                | What::Verb(_)
                | What::Send(..)
                | What::Broadcast(_)
                | What::Notice(_)
                | What::Refused(..)
                | What::Puppet(_)
                | What::App(_),
            ) => {
                self.notes.add(at, host, what);
            }
            (host, What::Resolved(_, Err(_))) => self.notes.add(at, host, what),
            _ => {}
        }
    }

    /// The link of a node goes over this connection.
    pub(crate) fn socket(&mut self, host: HostId, link: LinkId, sock: Sock) {
        self.links.socket(host, link, sock);
    }

    /// A node has accepted a message.
    pub(crate) fn message_sent(&mut self, at: Instant, from: NodeId, to: Run, payload: &Bytes) {
        self.messages.sent(at, from, to, payload);
    }

    /// The user of a run has taken a message.
    pub(crate) fn message_taken(&mut self, at: Instant, to: Run, message: &Message) {
        self.messages.taken(at, message.from.id, to, &message.payload);
    }

    /// A promise was broken.
    pub(crate) fn violated(&mut self, at: Instant, host: Option<HostId>, text: &str) {
        self.violations.push(Breach { at, host, text: self.names.replace(text) });
    }

    /// Whether it is time for [`observed`](Recorder::observed).
    pub(crate) fn is_stale(&self, world: &World) -> bool {
        self.stale || self.conditions.hosts() != world.machines.len()
    }

    /// Things stand like this.
    pub(crate) fn observed(&mut self, at: Instant, snapshot: &Snapshot) {
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

    pub(crate) fn timeline(&self, world: &World) -> Timeline {
        let addresses: Vec<SocketAddr> = world.machines.iter().map(|machine| world.addr(machine.id)).collect();
        let owner = |at: SocketAddr| addresses.iter().position(|&own| own == at).map(|index| HostId(index as u32));
        let lane = |(index, &address): (usize, &SocketAddr)| Lane { name: HostId(index as u32).to_string(), address };
        let (states, faults) = (self.conditions.states(), self.conditions.faults());
        let peers = self.peers.spans(&self.names);
        let [link_spans, frames, heartbeats] = self.links.dropped();
        let mesh = whole::mesh(self.begin, &states, &peers);
        let splits = whole::splits(&states, &faults);
        Timeline {
            seed: world.seed,
            hash: world.trace_hash(),
            begin: self.begin,
            end: world.now(),
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
