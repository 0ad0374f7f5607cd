//! Where scenarios are played: nodes of an adapter, and waiting for what they do, with a deadline.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster_check::Grammar;
use cluster_core::{
    Config, Event, JoinError, Keyring, Message, Name, NodeId, PeerState, Reason, SendErrorKind, Target,
};

use crate::arm::{Arm, BindFailure, Nothing, Pending, TestNode};

/// How long anything may take that should take no time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// How long something must not happen that would happen at once.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// How long to wait before a condition is looked at again.
const LOOK: Duration = Duration::from_millis(2);

/// The nodes of a scenario. What goes wrong is a panic that says what, at which node.
pub(crate) struct Stage<'a> {
    arm: &'a dyn Arm,
    members: RefCell<Vec<Rc<Member<'a>>>>,
}

/// A node on the stage. Its events are read through the [`Grammar`].
pub(crate) struct Member<'a> {
    arm: &'a dyn Arm,
    name: String,
    id: NodeId,
    address: SocketAddr,
    node: RefCell<Option<Box<dyn TestNode>>>,
    grammar: RefCell<Grammar>,
    /// Events that were read and not yet asked for.
    unasked: RefCell<VecDeque<Event>>,
}

/// Timing under which a mesh forms and heals at once, and no busy machine makes peers look dead.
pub(crate) fn swift() -> Config {
    swiftly(Config::insecure_plaintext())
}

/// The same with a secret.
pub(crate) fn locked(secrets: impl Into<Keyring>) -> Config {
    swiftly(Config::new(secrets))
}

fn swiftly(config: Config) -> Config {
    let second = Duration::from_secs(1);
    let config = config.cluster(CLUSTER.with(Name::clone)).local().peer_timeout(8 * second).probe_timeout(4 * second);
    let config = config.handshake_timeout(8 * second).join_timeout(8 * second).write_stall(10 * second);
    config
        .reconnect(Duration::from_millis(10), Duration::from_millis(100))
        .stable_after(Duration::ZERO)
        .seed_interval(Duration::from_millis(200))
        .gossip_interval(second)
}

thread_local! {
    /// The cluster of the nodes of this thread, which plays one scenario.
    static CLUSTER: Name = own_cluster();
}

/// The name of a cluster that no other scenario has: ports are used again, and what goes on at the same time must not
/// meet.
pub(crate) fn own_cluster() -> Name {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("conformance-{}-{number}", std::process::id()).parse().expect("it is a name")
}

impl<'a> Stage<'a> {
    pub(crate) fn new(arm: &'a dyn Arm) -> Stage<'a> {
        Stage { arm, members: RefCell::default() }
    }

    pub(crate) fn arm(&self) -> &'a dyn Arm {
        self.arm
    }

    /// A node with [`swift`] timing.
    pub(crate) fn node(&self) -> Rc<Member<'a>> {
        self.node_with(swift())
    }

    pub(crate) fn node_with(&self, config: Config) -> Rc<Member<'a>> {
        self.node_of(self.arm, self.arm.anywhere(), config)
    }

    /// A node of any adapter, at this address.
    pub(crate) fn node_of(&self, arm: &'a dyn Arm, address: &str, config: Config) -> Rc<Member<'a>> {
        match self.try_node_of(arm, address, config) {
            Ok(member) => member,
            Err(error) => panic!("no node can be made at {address}: {error}"),
        }
    }

    /// A node at this address, which another one has just let go of.
    pub(crate) fn node_at(&self, address: SocketAddr, config: Config) -> Rc<Member<'a>> {
        let address = address.to_string();
        let mut made = None;
        self.until("the address is free again", || match self.try_node_of(self.arm, &address, config.clone()) {
            Ok(member) => {
                made = Some(member);
                true
            }
            Err(BindFailure::Listen(_)) => false,
            Err(error) => panic!("no node can be made at {address}: {error}"),
        });
        made.expect("it was waited for")
    }

    pub(crate) fn try_node_of(
        &self,
        arm: &'a dyn Arm,
        address: &str,
        config: Config,
    ) -> Result<Rc<Member<'a>>, BindFailure> {
        let node = arm.bind(address, config)?;
        let mut members = self.members.borrow_mut();
        let name = format!("node {} on {}", members.len(), arm.name());
        let member = Rc::new(Member {
            arm,
            name,
            id: node.id(),
            address: node.local_addr(),
            node: RefCell::new(Some(node)),
            grammar: RefCell::default(),
            unasked: RefCell::default(),
        });
        members.push(Rc::clone(&member));
        Ok(member)
    }

    /// Nodes that are all connected to each other.
    pub(crate) fn mesh<const N: usize>(&self) -> [Rc<Member<'a>>; N] {
        self.mesh_with([(); N].map(|()| swift()))
    }

    pub(crate) fn mesh_with<const N: usize>(&self, configs: [Config; N]) -> [Rc<Member<'a>>; N] {
        let nodes = configs.map(|config| self.node_with(config));
        for node in &nodes[1..] {
            node.join(&nodes[0]);
        }
        self.until_complete(&nodes);
        nodes
    }

    /// Waits until each of the nodes is connected to exactly the others, and has said so.
    pub(crate) fn until_complete(&self, nodes: &[Rc<Member<'a>>]) {
        for node in nodes {
            let others: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).filter(|id| *id != node.id).collect();
            self.until(&format!("{} is connected to the {} others", node.name, others.len()), || node.up() == others);
            for id in others {
                self.until(&format!("{} says that {id:?} is up", node.name), || node.has_told_up(id));
            }
        }
    }

    /// Waits for a condition, looking often.
    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = self.arm.now() + PATIENCE;
        while !condition() {
            assert!(self.arm.now() < deadline, "{what}: not within {PATIENCE:?}");
            self.arm.pass(LOOK);
        }
    }

    /// Reads what is left to be read: the grammar holds to the end.
    pub(crate) fn finish(&self) {
        for member in self.members.borrow().iter() {
            member.look();
        }
    }
}

impl<'a> Member<'a> {
    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node itself, which must not have ended.
    pub(crate) fn node(&self) -> Ref<'_, dyn TestNode> {
        Ref::map(self.node.borrow(), |node| match node {
            Some(node) => &**node,
            None => panic!("{} has crashed", self.name),
        })
    }

    /// Joins another node and waits for the outcome, which must be that node.
    pub(crate) fn join(&self, other: &Member<'_>) {
        assert_eq!(self.join_at(other.address), Ok(other.id), "{} joins {}", self.name, other.name);
    }

    pub(crate) fn join_at(&self, target: impl Into<Target>) -> Result<NodeId, JoinError> {
        let joining = self.node().join(target.into());
        self.within("a join", joining)
    }

    /// Sends, waiting for room.
    pub(crate) fn send(&self, to: &Member<'_>, payload: impl Into<Bytes>) {
        let sending = self.node().send(to.id, payload.into());
        let outcome = self.within("a send", sending).map_err(|error| error.kind);
        assert_eq!(outcome, Ok(()), "{} sends to {}", self.name, to.name);
    }

    pub(crate) fn try_send(&self, to: &Member<'_>, payload: impl Into<Bytes>) -> Result<(), SendErrorKind> {
        let payload = payload.into();
        let result = self.node().try_send(to.id, payload.clone());
        result.map_err(|error| {
            assert!(error.payload == payload, "{} gives back another payload", self.name);
            error.kind
        })
    }

    /// The next message. Its sender must have been up before.
    pub(crate) fn recv(&self) -> Message {
        let received = self.node().recv(PATIENCE);
        match received {
            Ok(message) => self.check_message(message),
            Err(nothing) => panic!("{}: no message: {nothing:?}", self.name),
        }
    }

    /// The next message must be this one, of this node.
    pub(crate) fn expect(&self, from: &Member<'_>, payload: impl AsRef<[u8]>) {
        let (message, payload) = (self.recv(), payload.as_ref());
        assert_eq!(message.from.id, from.id, "the sender of the message that {} has taken", self.name);
        assert!(
            message.payload == payload,
            "{} has taken {} instead of {}",
            self.name,
            brief(&message.payload),
            brief(payload)
        );
    }

    /// No message comes for a while.
    pub(crate) fn expect_silence(&self) {
        let received = self.node().recv(QUIET);
        assert_eq!(received, Err(Nothing::TimedOut), "{} should have nothing to take", self.name);
    }

    /// The first event that is wanted; those before it are skipped.
    pub(crate) fn event<T>(&self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = self.arm.now() + PATIENCE;
        loop {
            let unasked = self.unasked.borrow_mut().pop_front();
            let event = unasked.or_else(|| self.read(deadline.saturating_sub(self.arm.now())));
            match event {
                Some(event) => {
                    if let Some(found) = wanted(&event) {
                        return found;
                    }
                }
                None => panic!("{}: {what}: no such event within {PATIENCE:?}", self.name),
            }
        }
    }

    pub(crate) fn until_up(&self, other: &Member<'_>) {
        self.event("peer up", |event| matches!(event, Event::PeerUp(peer) if peer.run.id == other.id).then_some(()));
    }

    pub(crate) fn until_down(&self, other: &Member<'_>) -> Reason {
        self.event("peer down", |event| match event {
            Event::PeerDown { peer, reason, .. } if peer.id == other.id => Some(reason.clone()),
            _ => None,
        })
    }

    pub(crate) fn until_gone(&self, other: &Member<'_>) {
        self.event("peer gone", |event| matches!(event, Event::PeerGone { peer } if peer.id == other.id).then_some(()));
    }

    /// Every event that is there and was not asked for.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.look();
        self.unasked.borrow_mut().drain(..).collect()
    }

    /// The peers that are up.
    pub(crate) fn up(&self) -> BTreeSet<NodeId> {
        let peers = self.node().peers();
        peers.iter().filter(|peer| peer.state == PeerState::Up).map(|peer| peer.run.id).collect()
    }

    /// Whether the last thing said of this node is that it is up.
    pub(crate) fn has_told_up(&self, id: NodeId) -> bool {
        self.look();
        self.grammar.borrow().up_run(id).is_some()
    }

    /// Waits for everything sent to have its outcome, which must be that it is delivered.
    pub(crate) fn flush(&self, to: &Member<'_>) {
        let flushing = self.node().flush(to.id);
        assert_eq!(self.within("a flush", flushing), crate::Flushed::Delivered, "{} flushes", self.name);
    }

    /// Leaves, giving its peers as long as they may need.
    pub(crate) fn leave(&self) -> u64 {
        let leaving = self.node().leave(PATIENCE / 2);
        self.within("leaving", leaving)
    }

    /// Ends without a goodbye.
    pub(crate) fn crash(&self) {
        match self.node.borrow_mut().take() {
            Some(node) => node.crash(),
            None => panic!("{} has crashed already", self.name),
        }
    }

    /// Waits for an outcome.
    pub(crate) fn within<T: Debug + 'static>(&self, what: &str, mut pending: Pending<T>) -> T {
        match pending.wait(PATIENCE) {
            Some(outcome) => outcome,
            None => panic!("{}: {what}: no outcome within {PATIENCE:?}", self.name),
        }
    }

    fn check_message(&self, message: Message) -> Message {
        self.look();
        let known = self.grammar.borrow().was_up(message.from);
        assert!(known, "{} has taken a message of {:?}, which was never up", self.name, message.from);
        message
    }

    /// Reads the events that are there.
    fn look(&self) {
        while self.node.borrow().is_some() {
            let Some(event) = self.read(Duration::ZERO) else { return };
            self.unasked.borrow_mut().push_back(event);
        }
    }

    fn read(&self, timeout: Duration) -> Option<Event> {
        let event = self.node().event(timeout).ok()?;
        if let Err(wrong) = self.grammar.borrow_mut().next(&event) {
            panic!("the events of {} are out of order: {wrong}", self.name);
        }
        Some(event)
    }
}

/// What a payload is called when it is the wrong one.
fn brief(payload: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&payload[..payload.len().min(24)]).into_owned();
    format!("{} bytes beginning with {shown:?}", payload.len())
}
