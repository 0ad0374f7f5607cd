//! What a test can see of one host.

use std::any::type_name;
use std::net::SocketAddr;

use bytes::Bytes;
use cluster_core::{ChannelError, Event, Instant, Node, NodeId, PeerInfo, PeerState, Run};
use cluster_timeline::record::HostId;

use super::World;
use crate::app::{App, Disk};
use crate::driver::Link;
use crate::log::{Closed, Ended, LinkView, Logged, Noticed, Taken, Wire};
use crate::machine::{Machine, Process};
use crate::puppet::{Heard, Puppet, PuppetLink, PuppetState};
use crate::socket::Side;

/// A host, to look at. What can be done to it is in [`HostMut`](crate::HostMut).
#[derive(Clone, Copy, Debug)]
pub struct Host<'w> {
    world: &'w World,
    host: HostId,
}

impl World {
    /// Returns what can be seen of a host.
    ///
    /// # Panics
    ///
    /// If it is no host of this world.
    #[must_use]
    #[track_caller]
    pub fn host(&self, host: HostId) -> Host<'_> {
        self.assert_here(host);
        Host { world: self, host }
    }
}

impl<'w> Host<'w> {
    /// Whether a node runs on the host, paused or not, that has not left.
    #[must_use]
    #[track_caller]
    pub fn is_running(self) -> bool {
        self.machine().process.driver().is_some_and(|driver| !driver.node.has_left())
    }

    /// Whether a node runs on the host that has not left and is not paused, so that its verbs can be called.
    #[must_use]
    #[track_caller]
    pub fn can_act(self) -> bool {
        self.is_running() && !self.machine().paused
    }

    /// The latest run of a node, or puppet, on this host.
    ///
    /// # Panics
    ///
    /// If none has run yet.
    #[must_use]
    #[track_caller]
    pub fn run(self) -> Run {
        let host = self.host;
        self.machine().run.unwrap_or_else(|| panic!("no node has run on {host}"))
    }

    /// The id of the latest node on this host.
    ///
    /// # Panics
    ///
    /// If none has run yet.
    #[must_use]
    #[track_caller]
    pub fn id(self) -> NodeId {
        self.run().id
    }

    /// The address at which the host's node listens, or would listen.
    #[must_use]
    #[track_caller]
    pub fn addr(self) -> SocketAddr {
        let port = self.machine().spec.port.unwrap_or(7_000);
        SocketAddr::new(self.world.net.ip(self.host), port)
    }

    /// Every event that the nodes of this host have told, oldest first.
    #[must_use]
    #[track_caller]
    pub fn events(self) -> &'w [Logged] {
        &self.machine().log.events
    }

    /// How many events of the host satisfy `condition`.
    #[must_use]
    #[track_caller]
    pub fn count_events(self, mut condition: impl FnMut(&Event) -> bool) -> usize {
        self.events().iter().filter(|logged| condition(&logged.event)).count()
    }

    /// How often the host told that a run of the node on `peer` is up.
    #[must_use]
    #[track_caller]
    pub fn ups(self, peer: HostId) -> usize {
        let id = self.world.host(peer).id();
        self.count_events(|event| matches!(event, Event::PeerUp(info) if info.run.id == id))
    }

    /// How often the host told that a run of the node on `peer` is down.
    #[must_use]
    #[track_caller]
    pub fn downs(self, peer: HostId) -> usize {
        let id = self.world.host(peer).id();
        self.count_events(|event| matches!(event, Event::PeerDown { peer, .. } if peer.id == id))
    }

    /// Every message that users of the host's nodes have taken, oldest first.
    #[must_use]
    #[track_caller]
    pub fn messages(self) -> &'w [Taken] {
        &self.machine().log.messages
    }

    /// How many messages users of the host's nodes have taken.
    #[must_use]
    #[track_caller]
    pub fn taken(self) -> u64 {
        self.machine().log.taken
    }

    /// How many [numbered](crate::NodeMut::send_numbered) messages of the present run on `from` the present run on the
    /// host has taken.
    #[must_use]
    #[track_caller]
    pub fn numbered(self, from: HostId) -> u64 {
        self.world.oracle.numbered(self.host, self.world.host(from).run())
    }

    /// Every notice of the host's nodes, oldest first.
    #[must_use]
    #[track_caller]
    pub fn notices(self) -> &'w [Noticed] {
        &self.machine().log.notices
    }

    /// Every link that the host's nodes have asked to close, oldest first.
    #[must_use]
    #[track_caller]
    pub fn closes(self) -> &'w [Closed] {
        &self.machine().log.closes
    }

    /// Every link of the host's nodes that has ended, oldest first.
    #[must_use]
    #[track_caller]
    pub fn ends(self) -> &'w [Ended] {
        &self.machine().log.ends
    }

    /// When the host's nodes said that a peer has room again after a refused send, and which.
    #[must_use]
    #[track_caller]
    pub fn writable(self) -> &'w [(Instant, NodeId)] {
        &self.machine().log.writable
    }

    /// How many inbound connections the host's nodes did not admit.
    #[must_use]
    #[track_caller]
    pub fn refused(self) -> u64 {
        self.machine().log.refused
    }

    /// What the host's nodes have put on the wire, by kind of frame.
    #[must_use]
    #[track_caller]
    pub fn wire(self) -> &'w Wire {
        &self.machine().log.wire
    }

    /// How many dials the host has made since `since`.
    #[must_use]
    #[track_caller]
    pub fn dials_since(self, since: Instant) -> usize {
        self.world.dials.iter().filter(|dial| dial.from == self.host && dial.at >= since).count()
    }

    /// The links that the node on the host has, those included that are still being closed, oldest first.
    #[must_use]
    #[track_caller]
    pub fn links(self) -> Vec<LinkView> {
        let Some(driver) = self.machine().process.driver() else { return Vec::new() };
        let view = |(link, entry): (_, &Link)| LinkView {
            link,
            connection: entry.sock.conn.serial as usize,
            outbound: entry.sock.side == Side::Dialer,
            remote: self.world.net.end(entry.sock).remote,
            peer: entry.peer,
            granted: entry.granted,
            closing: entry.closing,
        };
        driver.links().map(view).collect()
    }

    /// Whether the node on the host has the present run on `peer` up.
    #[must_use]
    #[track_caller]
    pub fn sees(self, peer: HostId) -> bool {
        let run = self.world.host(peer).run();
        let up = |info: &PeerInfo| info.run == run && info.state == PeerState::Up;
        self.is_running() && self.core().peer(run.id).as_ref().is_some_and(up)
    }

    /// The state machine of the node that runs on the host, to look at.
    ///
    /// # Panics
    ///
    /// If no node runs there.
    #[must_use]
    #[track_caller]
    pub fn core(self) -> &'w Node {
        let host = self.host;
        match self.machine().process.driver() {
            Some(driver) => &driver.node,
            None => panic!("{host} runs no node"),
        }
    }

    /// The application on the host, to look at.
    ///
    /// # Panics
    ///
    /// If none of this type runs there.
    #[must_use]
    #[track_caller]
    pub fn app<A: App>(self) -> &'w A {
        let host = self.host;
        self.find_app().unwrap_or_else(|| panic!("no {} runs on {host}", type_name::<A>()))
    }

    /// What the applications of the host have kept.
    #[must_use]
    #[track_caller]
    pub fn disk(self) -> &'w Disk {
        &self.machine().disk
    }

    /// Every frame that a puppet has received, oldest first.
    ///
    /// # Panics
    ///
    /// If there is no puppet on the host.
    #[must_use]
    #[track_caller]
    pub fn heard(self) -> &'w [Heard] {
        self.puppet().heard()
    }

    /// Every whole message that a puppet has received, oldest first; empty unless its script acknowledges.
    ///
    /// # Panics
    ///
    /// If there is no puppet on the host.
    #[must_use]
    #[track_caller]
    pub fn puppet_messages(self) -> &'w [Bytes] {
        self.puppet().messages()
    }

    /// How the links of a puppet are doing, in the order in which they were opened.
    ///
    /// # Panics
    ///
    /// If there is no puppet on the host.
    #[must_use]
    #[track_caller]
    pub fn puppet_links(self) -> Vec<PuppetState> {
        self.puppet().states()
    }

    /// What a puppet's channel made of what came on a link, if that was not the protocol.
    ///
    /// # Panics
    ///
    /// If there is no puppet on the host, or no such link.
    #[must_use]
    #[track_caller]
    pub fn puppet_error(self, link: PuppetLink) -> Option<ChannelError> {
        self.puppet().error(link)
    }

    fn machine(self) -> &'w Machine {
        &self.world.machines[self.host.index()]
    }

    #[track_caller]
    pub(super) fn find_app<A: App>(self) -> Option<&'w A> {
        self.machine().process.driver()?.app()?.downcast_ref()
    }

    #[track_caller]
    pub(super) fn puppet(self) -> &'w Puppet {
        let host = self.host;
        match &self.machine().process {
            Process::Puppet(puppet) => puppet,
            Process::Absent | Process::Node(_) => panic!("there is no puppet on {host}"),
        }
    }
}
