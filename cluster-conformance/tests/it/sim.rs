//! The simulator as an arm: time passes only while somebody waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster_conformance::cluster_core::{
    Broadcast, Config, ConfigError, Event, Instant, JoinError, Message, NodeId, PeerInfo, Receipt, SendError,
    SendErrorKind, Stats, Target, UnknownPeer,
};
use cluster_conformance::{Arm, BindFailure, Faults, Flushed, Nothing, Pending, TestNode, Way};
use cluster_sim::{Crash, HostId, Restart, Spec, World};

/// A world, and what tells its hosts apart.
#[derive(Clone)]
pub(crate) struct SimArm {
    shared: Rc<RefCell<Shared>>,
}

struct Shared {
    world: World,
    hosts: BTreeMap<SocketAddr, HostId>,
    ways: u8,
}

impl SimArm {
    pub(crate) fn new() -> SimArm {
        SimArm::seeded(1)
    }

    pub(crate) fn seeded(seed: u64) -> SimArm {
        let shared = Shared { world: World::new(seed), hosts: BTreeMap::new(), ways: 0 };
        SimArm { shared: Rc::new(RefCell::new(shared)) }
    }

    /// The node that listens there notices its deadlines up to so much too late from now on.
    pub(crate) fn ticks_late(&self, address: SocketAddr, up_to: Duration) {
        let host = self.shared.borrow().hosts[&address];
        self.with(|world| world.host_mut(host).set_late(up_to));
    }

    /// The node that listens there dies.
    pub(crate) fn kill(&self, address: SocketAddr) {
        let host = self.shared.borrow().hosts[&address];
        self.with(|world| world.host_mut(host).crash(Crash::Kill));
    }

    fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.shared.borrow_mut().world)
    }

    /// Lets time pass until there is an answer.
    fn until<T>(&self, timeout: Duration, mut answer: impl FnMut(&World) -> Option<T>) -> Option<T> {
        let mut found = None;
        let _ = self.with(|world| {
            world.run_until(timeout, |world| {
                found = answer(world);
                found.is_some()
            })
        });
        found
    }
}

impl Arm for SimArm {
    fn name(&self) -> String {
        "the simulator".into()
    }

    fn bind(&self, address: &str, config: Config) -> Result<Box<dyn TestNode>, BindFailure> {
        config.check().map_err(BindFailure::Config)?;
        let address: SocketAddr = address.parse().map_err(|_| BindFailure::Other(format!("{address}: no address")))?;
        let mut shared = self.shared.borrow_mut();
        let Shared { world, hosts, .. } = &mut *shared;
        let (host, first) = match hosts.get(&address) {
            None => (world.add(Spec::new(config)), 0),
            Some(&host) if world.host(host).is_running() => {
                return Err(BindFailure::Listen(format!("{address} is in use")));
            }
            Some(&host) => {
                let first = world.host(host).events().len();
                world.host_mut(host).restart(Restart::default().new_id().config(config));
                (host, first)
            }
        };
        world.host_mut(host).set_consuming(false);
        let address = world.host(host).addr();
        hosts.insert(address, host);
        let (id, messages) = (world.host(host).id(), world.host(host).messages().len());
        let read = Cell::new(Read { events: first, messages, left: false });
        Ok(Box::new(SimNode { arm: self.clone(), host, id, address, first, read }))
    }

    fn anywhere(&self) -> &'static str {
        "0.0.0.0:0"
    }

    fn now(&self) -> Duration {
        self.with(|world| world.now() - Instant::ZERO)
    }

    fn pass(&self, span: Duration) {
        self.with(|world| world.run_for(span));
    }

    fn way(&self, _: u64, _: Faults) -> Box<dyn Way> {
        let mut shared = self.shared.borrow_mut();
        shared.ways += 1;
        let address = SocketAddr::from(([10, 9, 0, shared.ways], 7_000));
        Box::new(SimWay { arm: self.clone(), address, to: Cell::new(None) })
    }

    fn has_sockets(&self) -> bool {
        false
    }
}

/// A port-forward. Connections are told apart by hosts, whoever runs there.
struct SimWay {
    arm: SimArm,
    address: SocketAddr,
    to: Cell<Option<HostId>>,
}

impl SimWay {
    /// The hosts at both ends of the connections that are meant.
    fn pairs(&self, from: Option<NodeId>) -> Vec<(HostId, HostId)> {
        let Some(to) = self.to.get() else { return Vec::new() };
        self.arm.with(|world| {
            let others = world.hosts().filter(|&host| host != to);
            others.filter(|&host| from.is_none_or(|id| world.host(host).id() == id)).map(|host| (host, to)).collect()
        })
    }
}

impl Way for SimWay {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn lead_to(&self, node: SocketAddr) {
        let host = self.arm.shared.borrow().hosts.get(&node).copied();
        self.to.set(host);
        self.arm.with(|world| world.net_mut().forward(&self.address.to_string(), node));
    }

    fn cut(&self, from: Option<NodeId>) {
        self.pairs(from).into_iter().for_each(|(a, b)| self.arm.with(|world| world.net_mut().cut(a, b)));
    }

    fn heal(&self, from: Option<NodeId>) {
        self.pairs(from).into_iter().for_each(|(a, b)| self.arm.with(|world| world.net_mut().heal(a, b)));
    }

    fn reset(&self, from: Option<NodeId>) -> usize {
        self.pairs(from).into_iter().map(|(a, b)| self.arm.with(|world| world.net_mut().reset_connections(a, b))).sum()
    }
}

struct SimNode {
    arm: SimArm,
    host: HostId,
    id: NodeId,
    address: SocketAddr,
    /// The first event of this node in the log of its host.
    first: usize,
    read: Cell<Read>,
}

/// How far the logs of the host are read.
#[derive(Clone, Copy)]
struct Read {
    events: usize,
    messages: usize,
    left: bool,
}

impl SimNode {
    /// The first event since `first` for which there is an answer.
    fn told<T: 'static>(&self, first: usize, mut answer: impl FnMut(&Event) -> Option<T> + 'static) -> Pending<T> {
        let (arm, host) = (self.arm.clone(), self.host);
        let mut next = first;
        Pending::new(move |timeout| {
            arm.until(timeout, |world| {
                let told = &world.host(host).events()[next..];
                next += told.len();
                told.iter().find_map(|logged| answer(&logged.event))
            })
        })
    }

    fn events(&self) -> usize {
        self.arm.with(|world| world.host(self.host).events().len())
    }
}

impl TestNode for SimNode {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn id(&self) -> NodeId {
        self.id
    }

    fn join(&self, target: Target) -> Pending<Result<NodeId, JoinError>> {
        let first = self.events();
        match self.arm.with(|world| world.node(self.host).join(target)) {
            Err(error) => Pending::ready(Err(error)),
            Ok(asked) => self.told(first, move |event| match event {
                Event::Joined { join, peer, .. } if *join == asked => Some(Ok(peer.id)),
                Event::JoinFailed { join, error, .. } if *join == asked => Some(Err(error.clone())),
                _ => None,
            }),
        }
    }

    fn add_seed(&self, target: Target) -> Result<(), JoinError> {
        self.arm.with(|world| world.node(self.host).add_seed(target))
    }

    fn try_send(&self, peer: NodeId, payload: Bytes) -> Result<(), SendError> {
        self.arm.with(|world| world.node(self.host).send(peer, payload))
    }

    fn send(&self, peer: NodeId, payload: Bytes) -> Pending<Result<(), SendError>> {
        let mut refused = match self.try_send(peer, payload) {
            Err(error) if error.kind == SendErrorKind::Full => error,
            outcome => return Pending::ready(outcome),
        };
        let (arm, host) = (self.arm.clone(), self.host);
        Pending::new(move |timeout| {
            let end = arm.now() + timeout;
            while arm.now() < end {
                arm.pass(Duration::from_millis(1).min(end - arm.now()));
                match arm.with(|world| world.node(host).send(peer, refused.payload.clone())) {
                    Err(error) if error.kind == SendErrorKind::Full => refused = error,
                    outcome => return Some(outcome),
                }
            }
            None
        })
    }

    fn broadcast(&self, payload: Bytes) -> Result<Broadcast, SendError> {
        self.arm.with(|world| world.node(self.host).broadcast(payload))
    }

    fn recv(&self, timeout: Duration) -> Result<Message, Nothing> {
        let (host, mut read) = (self.host, self.read.get());
        let gone = self.arm.with(|world| {
            world.host_mut(host).consume(1);
            !world.host(host).is_running()
        });
        let taken = self.arm.until(timeout, |world| world.host(host).messages().get(read.messages).cloned());
        self.arm.with(|world| world.host_mut(host).set_consuming(false));
        match taken {
            Some(taken) => {
                read.messages += 1;
                self.read.set(read);
                Ok(Message { from: taken.from, payload: taken.payload, receipt: taken.receipt })
            }
            None if gone => Err(Nothing::Ended),
            None => Err(Nothing::TimedOut),
        }
    }

    fn event(&self, timeout: Duration) -> Result<Event, Nothing> {
        let (host, mut read) = (self.host, self.read.get());
        if read.left {
            return Err(Nothing::Ended);
        }
        let logged = self.arm.until(timeout, |world| world.host(host).events().get(read.events).cloned());
        let event = logged.ok_or(Nothing::TimedOut)?.event;
        read.events += 1;
        read.left = matches!(event, Event::Left { .. });
        self.read.set(read);
        Ok(event)
    }

    fn acknowledge(&self, receipt: Receipt) {
        self.arm.with(|world| world.node(self.host).acknowledge(receipt));
    }

    fn peers(&self) -> Vec<PeerInfo> {
        self.arm.with(|world| world.node(self.host).peers())
    }

    fn disconnect(&self, peer: NodeId) -> Result<(), UnknownPeer> {
        self.arm.with(|world| world.node(self.host).disconnect(peer))
    }

    fn flush(&self, peer: NodeId) -> Pending<Flushed> {
        let first = self.events();
        match self.arm.with(|world| world.node(self.host).flush(peer)) {
            Err(error) => Pending::ready(Flushed::Refused(error)),
            Ok(asked) => self.told(first, move |event| match event {
                Event::Flushed { flush, undelivered: 0, .. } if *flush == asked => Some(Flushed::Delivered),
                Event::Flushed { flush, undelivered, .. } if *flush == asked => {
                    Some(Flushed::Undelivered(*undelivered))
                }
                Event::Left { .. } => Some(Flushed::Closed),
                _ => None,
            }),
        }
    }

    fn leave(&self, timeout: Duration) -> Pending<u64> {
        self.arm.with(|world| world.node(self.host).leave(timeout));
        self.told(self.first, |event| match event {
            Event::Left { undelivered } => Some(*undelivered),
            _ => None,
        })
    }

    fn set_config(&self, config: Config) -> Result<(), ConfigError> {
        self.arm.with(|world| world.node(self.host).set_config(config))
    }

    fn stats(&self) -> Stats {
        self.arm.with(|world| world.node(self.host).stats())
    }

    fn crash(self: Box<Self>) {
        self.arm.with(|world| world.host_mut(self.host).crash(Crash::Kill));
    }
}

cluster_conformance::conformance!(SimArm::new);
