//! What a user does with a node.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cluster_core::{
    Broadcast, Config, ConfigError, Event, FlushError, FlushId, JoinError, JoinId, NodeId, PeerInfo, Receipt, Run,
    SendError, Stats, Target, UnknownPeer,
};
use cluster_timeline::record::HostId;

use super::World;
use crate::calls::Calls;
use crate::log::Taken;
use crate::numbered::Numbered;

/// Where a join goes: a host of the world, a socket address, a [`Target`], or its text.
#[derive(Clone, Debug)]
pub enum Dest {
    /// The address at which the host's node listens.
    Host(HostId),
    /// This.
    Target(Target),
}

impl From<HostId> for Dest {
    fn from(host: HostId) -> Dest {
        Dest::Host(host)
    }
}

impl From<SocketAddr> for Dest {
    fn from(address: SocketAddr) -> Dest {
        Dest::Target(address.into())
    }
}

impl From<Target> for Dest {
    fn from(target: Target) -> Dest {
        Dest::Target(target)
    }
}

impl From<&str> for Dest {
    fn from(text: &str) -> Dest {
        Dest::Target(text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}")))
    }
}

/// The node of a host, with the verbs of every adapter. Each acts at the present virtual time, and what follows from it
/// at that time has happened when it returns. None waits, for only the test lets time pass: what waits elsewhere, such
/// as `recv`, is [`try_recv`](NodeMut::try_recv) here, after a [`run_until`](World::run_until); and a `send` for which
/// there is no room is refused, as `try_send` is everywhere.
#[derive(Debug)]
pub struct NodeMut<'w> {
    world: &'w mut World,
    host: HostId,
}

impl World {
    /// The node that runs on `host`.
    ///
    /// # Panics
    ///
    /// If it is no host of this world. Its methods panic if no node runs there, or if it is paused.
    #[track_caller]
    pub fn node(&mut self, host: HostId) -> NodeMut<'_> {
        self.assert_here(host);
        NodeMut { world: self, host }
    }
}

impl NodeMut<'_> {
    /// Joins the mesh at `to`. An [`Event::Joined`](cluster_core::Event::Joined) or `JoinFailed` follows.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    #[track_caller]
    pub fn join(&mut self, to: impl Into<Dest>) -> Result<JoinId, JoinError> {
        let target = self.target(to.into());
        self.call(|calls| calls.join(target))
    }

    /// Adds a seed.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    #[track_caller]
    pub fn add_seed(&mut self, to: impl Into<Dest>) -> Result<(), JoinError> {
        let target = self.target(to.into());
        self.call(|calls| calls.add_seed(target))
    }

    /// Sends to one peer.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send(&mut self, to: NodeId, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.call(|calls| calls.send(to, payload.into()))
    }

    /// Sends a message that says who sent it to whom and in which place, filled up to `length` bytes (64 at the
    /// least), to the node on `to`, in the run that the
    /// sender knows. At the receiver the checks see to it that such messages come in order,
    /// once, without gaps while a session lasts, and to nobody else. Returns the number: 1 for the first one between
    /// two runs.
    ///
    /// # Errors
    ///
    /// As `send`; the number is then used again.
    #[track_caller]
    pub fn send_numbered(&mut self, to: HostId, length: usize) -> Result<u64, SendError> {
        let (sender, id) = (self.run(), self.world.host(to).id());
        // The run that the sender knows, which need not be the one that runs there by now.
        let receiver = self.peer(id).map_or_else(|| self.world.host(to).run(), |info| info.run);
        let number = self.world.numbers.get(&(sender, receiver)).map_or(1, |sent| sent + 1);
        let numbered = Numbered { from: sender, to: receiver, number };
        self.send(receiver.id, numbered.payload(length))?;
        self.world.numbers.insert((sender, receiver), number);
        Ok(number)
    }

    /// Sends to one peer if there is room: the same as [`send`](NodeMut::send), which does not wait here.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn try_send(&mut self, to: NodeId, payload: impl Into<Bytes>) -> Result<(), SendError> {
        self.send(to, payload)
    }

    /// The next message that the node's user has taken and that this has not returned yet; those of the run that runs
    /// now, if they are [kept](crate::HostMut::keep_messages). Users take messages as they come, unless
    /// [something else](crate::HostMut::set_consuming) is said.
    pub fn try_recv(&mut self) -> Option<Taken> {
        let run = self.run();
        let log = &mut self.world.machines[self.host.index()].log;
        while let Some(taken) = log.messages.get(log.received) {
            log.received += 1;
            if taken.run == run {
                return Some(taken.clone());
            }
        }
        None
    }

    /// Sends to every peer.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn broadcast(&mut self, payload: impl Into<Bytes>) -> Result<Broadcast, SendError> {
        self.call(|calls| calls.broadcast(payload.into()))
    }

    /// Waits for the outcomes of everything accepted so far for a peer; an
    /// [`Event::Flushed`](cluster_core::Event::Flushed) says so.
    ///
    /// # Errors
    ///
    /// See [`FlushError`].
    pub fn flush(&mut self, peer: NodeId) -> Result<FlushId, FlushError> {
        self.call(|calls| calls.flush(peer))
    }

    /// Acknowledges a message that was taken, and all before it of the same run.
    pub fn acknowledge(&mut self, receipt: Receipt) {
        self.call(|calls| calls.acknowledge(receipt));
    }

    /// Disconnects a peer.
    ///
    /// # Errors
    ///
    /// If there is no such peer.
    pub fn disconnect(&mut self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.call(|calls| calls.disconnect(peer))
    }

    /// Leaves gracefully, waiting at most `timeout` for what was sent to be taken.
    pub fn leave(&mut self, timeout: Duration) {
        self.call(|calls| calls.leave(timeout));
    }

    /// Changes settings.
    ///
    /// # Errors
    ///
    /// If they contradict each other, or cannot change.
    pub fn set_config(&mut self, config: Config) -> Result<(), ConfigError> {
        self.call(|calls| calls.set_config(config))
    }

    /// Forgets every peer that is lost, as if `forget_after` had passed since it was.
    pub fn forget_lost(&mut self) {
        let config = self.config();
        for config in [config.clone().forget_after(Some(Duration::ZERO)), config] {
            // Nothing in it contradicts anything: it is in force but for this one span.
            let _ = self.set_config(config);
        }
    }

    /// Up and lost peers, ordered by id.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.world.host(self.host).core().peers().collect()
    }

    /// A peer that is up or lost.
    #[must_use]
    pub fn peer(&self, id: NodeId) -> Option<PeerInfo> {
        self.world.host(self.host).core().peer(id)
    }

    /// What the run that runs now has told its user, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let run = self.run();
        let own = self.world.host(self.host).events().iter().filter(|logged| logged.run == run);
        own.map(|logged| logged.event.clone()).collect()
    }

    /// The address at which the node listens, or would listen.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.world.host(self.host).addr()
    }

    /// What the node counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.world.host(self.host).core().stats()
    }

    /// Which run this is.
    #[must_use]
    pub fn run(&self) -> Run {
        self.world.host(self.host).core().run()
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.run().id
    }

    /// The settings of the node.
    #[must_use]
    pub fn config(&self) -> Config {
        self.world.host(self.host).core().config().clone()
    }

    #[track_caller]
    fn target(&self, to: Dest) -> Target {
        match to {
            Dest::Host(host) => self.world.host(host).addr().into(),
            Dest::Target(target) => target,
        }
    }

    /// Calls a verb of the state machine, and does whatever it asks for.
    fn call<T>(&mut self, verb: impl FnOnce(&mut Calls<'_>) -> T) -> T {
        let host = self.host;
        assert!(!self.world.machines[host.index()].paused, "{host} is paused: its process does not run");
        self.world.with_driver(host, |driver, io| {
            let result = verb(&mut Calls { node: &mut driver.node, io: io.reborrow() });
            driver.drain(io);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Crash, Restart};

    #[test]
    fn a_node_has_the_verbs_that_it_has_elsewhere() {
        let mut world = World::new(3);
        let hosts = world.add_many(2, &Config::insecure_plaintext());
        let (alice, bob) = (hosts[0], hosts[1]);
        let at = world.node(alice).local_addr();
        world.node(bob).join(at).unwrap();
        world.expect("a mesh", Duration::from_secs(2), World::is_complete);
        let ids = [world.host(alice).id(), world.host(bob).id()];
        assert_eq!(world.node(alice).peer(ids[1]).map(|info| info.run.id), Some(ids[1]));
        assert_eq!(world.node(alice).peer(ids[0]), None);
        assert!(matches!(world.node(alice).events()[..], [Event::PeerUp(_)]), "{:?}", world.node(alice).events());

        for text in ["one", "two"] {
            world.node(alice).try_send(ids[1], text).unwrap();
        }
        assert_eq!(world.node(bob).try_recv(), None, "it takes time");
        world.expect("both", Duration::from_secs(1), |world| world.host(bob).taken() == 2);
        let first = world.node(bob).try_recv().unwrap();
        assert_eq!((first.from.id, &first.payload[..]), (ids[0], &b"one"[..]));
        world.host_mut(bob).crash(Crash::Kill);
        world.host_mut(bob).restart(Restart::default());
        assert_eq!(world.node(bob).try_recv(), None, "the second one was for the run before");
        assert!(world.node(bob).events().is_empty() && !world.host(bob).events().is_empty());
    }
}
