//! The loop around the core: one lock, one way in, one way to carry out what the core asks for.
//!
//! Every change of the core goes through [`Shell::enter`], or for callers that wait with the lock through
//! [`Shell::lock`], [`Shell::drain`] and [`Shell::finish`]. Either way the one lock is taken, the core is called, and the
//! core's actions are carried out in their order before the lock is released, so that what happens under the lock is one
//! step. Only the wake-ups, the writes and the log follow after it, because wakers and log subscribers are other
//! people's code.
//!
//! Lock order: a link's io lock, then the shell's lock, then the lock of a subscriber's queue.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::{fmt, io};

use bytes::Bytes;
use cluster_core::adapter::{self, Closed, IntoTarget, LogBudget, LogClass, Reader, Settled, Subscribers, Waiting};
use cluster_core::{
    Action, Broadcast, Channel, Config, Deferred, Disconnect, Event, FlushError, Input, Instant, JoinError, LinkId,
    Message, Node, NodeId, Run, SendError, Target,
};

use crate::clock::Clock;
use crate::events::Queue;
use crate::link::LinkStatus;
use crate::log::Log;
use crate::{BindError, keys, lock};

/// How an adapter waits, and how it starts and ends what runs for a node.
pub trait Runtime: Sized + Send + Sync + 'static {
    /// One connection, from its dial or admission to the report that it is gone.
    type Link: Send + Sync;

    /// A connection that was accepted.
    type Stream;

    /// The tasks or threads of a node, under its lock.
    type Running: Default + Send;

    /// What a caller waits at, such as a condition variable.
    type Signal: Default + Send + Sync;

    /// The half of a channel that reports one outcome to a waiting caller.
    type Sender<T: Send>: Send;

    /// Wakes the only caller that may wait. If it has looked and does not wait yet, its wait ends at once; a condition
    /// variable need not do anything for that, because the caller looks and waits under one lock.
    fn wake_one(signal: &Self::Signal);

    /// Wakes every caller that has looked and waits, or is about to.
    fn wake_all(signal: &Self::Signal);

    /// Reports an outcome. The caller may no longer wait for it.
    fn send<T: Send>(sender: Self::Sender<T>, outcome: T);

    /// Begins to look up a name, under the node's lock.
    fn resolve(shell: &Arc<Shell<Self>>, state: &mut State<Self>, target: Target);

    /// Starts the task or threads of a link, under the node's lock. They end it with [`Shell::end_link`].
    ///
    /// # Errors
    ///
    /// The operating system would not start them.
    fn serve(
        shell: &Arc<Shell<Self>>,
        state: &mut State<Self>,
        link: NewLink<Self::Stream>,
    ) -> io::Result<Arc<Self::Link>>;

    /// Closes a connection that the core does not admit. The stranger learns nothing, and nothing is left behind.
    fn refuse(stream: Self::Stream);

    /// Returns the status of a link.
    fn status(link: &Self::Link) -> &LinkStatus;

    /// Ends, under the node's lock, everything that runs. Nothing is started after it. Links that must be
    /// [closed](Runtime::close) as soon as the lock is released are added to `closes`.
    fn halt(state: &mut State<Self>, closes: &mut Vec<Arc<Self::Link>>);

    /// Writes a link whose output the core has announced, or wakes its writer. The link is one of `links` that the same
    /// call of the core has something for, and not the caller's own. No lock is held, unless the caller holds an io lock.
    fn write(shell: &Arc<Shell<Self>>, link: &Arc<Self::Link>, links: usize, caller: Caller, now: Instant);

    /// Makes the task or threads of a link look at its [status](LinkStatus::closing). Same locks.
    fn close(shell: &Arc<Shell<Self>>, link: &Arc<Self::Link>);

    /// Wakes what waits for the end of the node, apart from the shell's own signals. Same locks.
    fn stopped(_: &Arc<Shell<Self>>) {}
}

/// The caller of the core: what becomes of links that now have something to send depends on it.
#[derive(Clone, Copy, Debug)]
pub enum Caller {
    /// A user who sends: idle links are written to at once, by the caller; busy ones by their writers, in batches.
    Sender,
    /// The task or thread that reads this link. It writes the link after it has handed over all that it has read.
    Reader(LinkId),
    /// A caller that pulls from this link, and holds its io lock.
    Puller(LinkId),
    /// Any other.
    Other,
}

/// A link that the core has dialled or admitted, and that is not served yet.
#[derive(Debug)]
pub struct NewLink<S> {
    /// What everyone may see of it.
    pub status: LinkStatus,
    /// Its channel, for its [`Io`](crate::Io).
    pub channel: Channel,
    /// Where its connection comes from.
    pub origin: Origin<S>,
}

/// Where a link's connection comes from.
#[derive(Debug)]
pub enum Origin<S> {
    /// It must be opened, to this address.
    Dial(SocketAddr),
    /// It was accepted.
    Accepted(S),
}

/// An event whose reading the node waits for.
pub type Unread<R> = adapter::Unread<Shell<R>>;

type JoinSender<R> = <R as Runtime>::Sender<Result<Run, JoinError>>;
type FlushSender<R> = <R as Runtime>::Sender<Option<u64>>;

/// A node under its lock, and all that the handles, tasks and threads of one node share.
pub struct Shell<R: Runtime> {
    /// The node's clock.
    pub clock: Clock,
    /// The address that the node listens at, with the real port.
    pub address: SocketAddr,
    /// The node's id.
    pub id: NodeId,
    /// The adapter's own part.
    pub runtime: R,
    /// The inbox became non-empty, or the node has stopped.
    pub inbox: R::Signal,
    /// The core's next deadline is earlier than what the ticker waits for, or the node has stopped.
    pub earlier: R::Signal,
    state: Mutex<State<R>>,
}

/// What the node's lock guards.
pub struct State<R: Runtime> {
    /// The core.
    pub core: Node,
    /// Every link between its dial or admission and the report that it is gone.
    pub links: HashMap<LinkId, Arc<R::Link>>,
    /// The tasks or threads of the node.
    pub running: R::Running,
    waiting: Waiting<JoinSender<R>, FlushSender<R>>,
    /// Where the callers of `send` wait for room, by peer.
    writable: HashMap<NodeId, Arc<R::Signal>>,
    subscribers: Subscribers<Queue<R>>,
    /// When the ticker wakes on its own.
    due: Option<Instant>,
    /// The node has left or its last handle is gone: nothing more is started.
    stopped: bool,
    /// Known when the node has left.
    undelivered: u64,
    log: LogBudget,
}

/// What must be done as soon as the lock is released.
pub struct Effects<R: Runtime> {
    sends: Vec<Arc<R::Link>>,
    closes: Vec<Arc<R::Link>>,
    stop: bool,
    deliver: bool,
    earlier: bool,
    writable: Vec<Arc<R::Signal>>,
    settled: Vec<Settled<JoinSender<R>, FlushSender<R>>>,
    queues: Vec<Arc<Queue<R>>>,
    log: Vec<Log>,
    /// Dropped last, and without the lock.
    unread: Vec<Arc<Unread<R>>>,
}

impl<R: Runtime> Shell<R> {
    /// Makes a node that listens at `address`. Nothing runs yet.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the config contradicts itself or does not suit the address, or the operating system gives no
    /// randomness.
    pub fn new(config: Config, address: SocketAddr, runtime: R) -> Result<Arc<Shell<R>>, BindError> {
        config.check_address(address).map_err(BindError::Config)?;
        if !config.is_secure() {
            tracing::warn!(%address, "no secret: whoever reaches this port can join, listen and speak as anyone");
        }
        let config = config.default_suite(keys::suite());
        let start = keys::start(address).map_err(BindError::Entropy)?;
        let clock = Clock::start();
        let core = Node::new(config, start, clock.now()).map_err(BindError::Config)?;
        let id = core.run().id;
        tracing::debug!(node = ?id, %address, "listening");
        let state = State {
            core,
            links: HashMap::new(),
            running: R::Running::default(),
            waiting: Waiting::default(),
            writable: HashMap::new(),
            subscribers: Subscribers::default(),
            due: None,
            stopped: false,
            undelivered: 0,
            log: LogBudget::default(),
        };
        let (inbox, earlier, state) = (R::Signal::default(), R::Signal::default(), Mutex::new(state));
        Ok(Arc::new(Shell { clock, address, id, runtime, inbox, earlier, state }))
    }

    /// Calls the core, then does what it asks for.
    pub fn enter<T>(self: &Arc<Self>, caller: Caller, call: impl FnOnce(&mut State<R>, Instant) -> T) -> T {
        let (result, effects, now) = {
            let mut state = self.lock();
            let now = self.clock.now();
            let result = call(&mut state, now);
            (result, self.drain(&mut state, now), now)
        };
        if let Some(effects) = effects {
            self.finish(*effects, caller, now);
        }
        result
    }

    /// Reads without changing anything.
    pub fn look<T>(&self, look: impl FnOnce(&Node) -> T) -> T {
        look(&self.lock().core)
    }

    /// Adds a subscriber: it is told of the peers that are up, and misses nothing after that.
    #[must_use]
    pub fn subscribe(&self) -> Arc<Queue<R>> {
        let queue = Arc::new(Queue::default());
        let State { core, subscribers, .. } = &mut *self.lock();
        subscribers.subscribe(core, &queue);
        queue
    }

    /// Ends everything at once, and waits for nothing.
    pub fn stop(self: &Arc<Self>) {
        let mut effects = Effects::default();
        self.lock().halt(&mut effects);
        self.finish(effects, Caller::Other, Instant::ZERO);
    }

    /// Asks the core whether to keep a connection that was accepted, and serves or refuses it.
    pub fn admit(self: &Arc<Self>, stream: R::Stream, from: SocketAddr) {
        self.enter(Caller::Other, |state, now| match state.core.accept(now, from) {
            Ok(link) => self.begin(state, now, link, Origin::Accepted(stream)),
            Err(_) => R::refuse(stream),
        });
    }

    fn begin(self: &Arc<Self>, state: &mut State<R>, now: Instant, link: LinkId, origin: Origin<R::Stream>) {
        let begun = match state.core.channel(link) {
            // The core has changed its mind already, and waits to hear that the link is gone.
            None => Err(Disconnect::Closed),
            Some(channel) => {
                let link = NewLink { status: LinkStatus::new(link), channel, origin };
                R::serve(self, state, link).map_err(|_| Disconnect::Exhausted)
            }
        };
        match begun {
            Ok(served) => drop(state.links.insert(link, served)),
            Err(cause) => state.core.handle(now, Input::Disconnected { link, cause }),
        }
    }

    /// Sends a message to one peer if it can be queued at once.
    ///
    /// # Errors
    ///
    /// As [`Node::send`].
    pub fn send(self: &Arc<Self>, peer: NodeId, payload: Bytes) -> Result<(), SendError> {
        self.enter(Caller::Sender, |state, now| state.core.send(now, peer, payload))
    }

    /// Sends a message to every peer.
    ///
    /// # Errors
    ///
    /// As [`Node::broadcast`].
    pub fn broadcast(self: &Arc<Self>, payload: Bytes) -> Result<Broadcast, SendError> {
        self.enter(Caller::Sender, |state, now| state.core.broadcast(now, payload))
    }

    /// Adds a target that is dialled whenever no peer is connected there.
    ///
    /// # Errors
    ///
    /// [`adapter::JoinError`] if `target` is no address, there are too many already, or the node is leaving.
    pub fn add_seed(self: &Arc<Self>, target: impl IntoTarget) -> Result<(), adapter::JoinError> {
        let target = target.into_target()?;
        let added = self.enter(Caller::Other, |state, now| state.core.add_seed(now, target.clone()));
        added.map_err(|error| adapter::JoinError::Failed { target, error })
    }

    /// Reports that a link is gone.
    pub fn end_link(self: &Arc<Self>, link: LinkId, cause: Disconnect) {
        tracing::trace!(node = ?self.id, link = link.as_u64(), ?cause, "link ended");
        self.enter(Caller::Other, |state, now| {
            state.links.remove(&link);
            if !state.stopped {
                state.core.handle(now, Input::Disconnected { link, cause });
            }
        });
    }

    /// Returns how many messages were not taken by their receivers when the node left.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.lock().undelivered
    }

    /// Locks the state. A caller that changes the core must [`drain`](Shell::drain) before it releases the lock.
    pub fn lock(&self) -> MutexGuard<'_, State<R>> {
        lock(&self.state)
    }

    /// Carries out what the core asks for, in its order. Usually that is nothing: a message that is sent or taken adds
    /// to what was announced before. What is left must be [finished](Shell::finish) when the lock is released.
    #[must_use = "what is left must be finished"]
    pub fn drain(self: &Arc<Self>, state: &mut State<R>, now: Instant) -> Option<Box<Effects<R>>> {
        let mut all: Option<Box<Effects<R>>> = None;
        while let Some(action) = state.core.poll_action() {
            if state.stopped {
                continue;
            }
            let effects = all.get_or_insert_default();
            match action {
                Action::Resolve { target } => R::resolve(self, state, target),
                Action::Dial { link, address } => self.begin(state, now, link, Origin::Dial(address)),
                Action::Send { link } => {
                    if let Some(link) = state.links.get(&link) {
                        R::status(link).announce();
                        effects.sends.push(Arc::clone(link));
                    }
                }
                Action::Close { link, mode, reason } => {
                    if let Some(link) = state.links.get(&link) {
                        let status = R::status(link);
                        tracing::trace!(node = ?self.id, link = status.id().as_u64(), ?mode, %reason, "closing");
                        status.close(mode);
                        effects.closes.push(Arc::clone(link));
                    }
                }
                Action::Deliver => effects.deliver = true,
                Action::Writable { peer } => effects.writable.extend(state.writable.remove(&peer)),
                Action::Event(event) => state.publish(self, now, event, effects),
                Action::Notice(notice) => effects.log.push(Log::Notice(notice)),
            }
        }
        if state.core.has_left() && !state.stopped {
            state.halt(all.get_or_insert_default());
        }
        let next = state.core.next_tick();
        if next.is_some_and(|next| state.due.is_none_or(|due| next < due)) {
            state.due = next;
            all.get_or_insert_default().earlier = true;
        }
        all
    }

    /// Does, without the lock, what [`drain`](Shell::drain) has left.
    pub fn finish(self: &Arc<Self>, effects: Effects<R>, caller: Caller, now: Instant) {
        // First, because a caller may be about to give up waiting, and writing takes longer than this.
        for settled in effects.settled {
            match settled {
                Settled::Join(sender, outcome) => R::send(sender, outcome),
                Settled::Flush(sender, undelivered) => R::send(sender, undelivered),
            }
        }
        for link in &effects.sends {
            match caller {
                Caller::Reader(own) | Caller::Puller(own) if own == R::status(link).id() => {}
                _ => R::write(self, link, effects.sends.len(), caller, now),
            }
        }
        effects.closes.iter().for_each(|link| R::close(self, link));
        if effects.stop {
            R::stopped(self);
        }
        if effects.earlier || effects.stop {
            R::wake_one(&self.earlier);
        }
        if effects.deliver || effects.stop {
            R::wake_all(&self.inbox);
        }
        effects.writable.iter().for_each(|room| R::wake_all(room));
        effects.queues.iter().for_each(|queue| queue.wake());
        for log in &effects.log {
            log.write(self.id);
        }
    }
}

impl<R: Runtime> Reader for Shell<R> {
    fn read(self: Arc<Self>, deferred: Deferred) {
        self.enter(Caller::Other, |state, now| state.core.read(now, deferred));
    }
}

impl<R: Runtime> State<R> {
    /// Returns whether nothing more can happen.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Begins to join. The outcome goes to `sender`, unless the node ends before.
    ///
    /// # Errors
    ///
    /// As [`Node::join`]; nothing has begun then.
    pub fn join(&mut self, now: Instant, target: Target, sender: JoinSender<R>) -> Result<(), JoinError> {
        let join = self.core.join(now, target)?;
        self.waiting.join(join, sender);
        Ok(())
    }

    /// Begins to flush. The number of undelivered messages goes to `sender`, or `None` if the node ends before.
    ///
    /// # Errors
    ///
    /// As [`Node::flush`]; nothing has begun then.
    pub fn flush(&mut self, now: Instant, peer: NodeId, sender: FlushSender<R>) -> Result<(), FlushError> {
        let flush = self.core.flush(now, peer)?;
        self.waiting.flush(flush, sender);
        Ok(())
    }

    /// Hands up to `limit` messages to `each`, and returns how many; `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// [`Closed`] after the node has left and all it had received was taken.
    pub fn take(&mut self, now: Instant, limit: usize, mut each: impl FnMut(Message)) -> Result<Option<usize>, Closed> {
        let mut taken = 0;
        while taken < limit {
            let Some(message) = self.core.poll_message(now) else { break };
            each(message);
            taken += 1;
        }
        match taken {
            0 if limit > 0 => {
                if self.stopped {
                    Err(Closed)
                } else {
                    Ok(None)
                }
            }
            taken => Ok(Some(taken)),
        }
    }

    /// Returns what a caller waits at after a send to this peer was refused as full. To be called under the same lock as
    /// the refusal, so that the room cannot come in between.
    pub fn until_writable(&mut self, peer: NodeId) -> Arc<R::Signal> {
        Arc::clone(self.writable.entry(peer).or_default())
    }

    /// Ticks the core, and returns when the ticker must do so again.
    pub fn tick(&mut self, now: Instant) -> Option<Instant> {
        self.core.tick(now);
        // `drain` reports deadlines that are earlier than what is said here.
        self.next_tick()
    }

    /// Returns when the ticker must tick, and remembers that it knows.
    pub fn next_tick(&mut self) -> Option<Instant> {
        self.due = self.core.next_tick();
        self.due
    }

    /// Ends everything that runs, and tells every caller that waits.
    fn halt(&mut self, effects: &mut Effects<R>) {
        self.stopped = true;
        effects.stop = true;
        R::halt(self, &mut effects.closes);
        effects.settled.extend(self.waiting.end());
        effects.writable.extend(self.writable.drain().map(|(_, room)| room));
        self.subscribers.end(&mut effects.queues);
    }

    fn publish(&mut self, shell: &Arc<Shell<R>>, now: Instant, event: Event, effects: &mut Effects<R>) {
        effects.settled.extend(self.waiting.settle(&event));
        if let Event::Left { undelivered } = &event {
            self.undelivered = *undelivered;
        }
        effects.unread.extend(self.subscribers.publish(shell, &mut self.core, &event, &mut effects.queues));
        if let Some(suppressed) = self.log.admit(now, LogClass::of(&event)) {
            effects.log.push(match event {
                Event::Undelivered(lost) if self.subscribers.is_empty() => Log::Unheard(lost, suppressed),
                event => Log::Event(event, suppressed),
            });
        }
    }
}

impl<R: Runtime> Default for Effects<R> {
    fn default() -> Effects<R> {
        Effects {
            sends: Vec::new(),
            closes: Vec::new(),
            stop: false,
            deliver: false,
            earlier: false,
            writable: Vec::new(),
            settled: Vec::new(),
            queues: Vec::new(),
            log: Vec::new(),
            unread: Vec::new(),
        }
    }
}

/// What the clones of a node's handle share. When the last one is dropped the node ends at once. What runs for the node
/// holds the shell, never this.
pub struct Handle<R: Runtime>(Arc<Owner<R>>);

struct Owner<R: Runtime>(Arc<Shell<R>>);

impl<R: Runtime> Handle<R> {
    /// Makes the only handle of a node.
    #[must_use]
    pub fn new(shell: Arc<Shell<R>>) -> Handle<R> {
        Handle(Arc::new(Owner(shell)))
    }
}

impl<R: Runtime> Clone for Handle<R> {
    fn clone(&self) -> Handle<R> {
        Handle(Arc::clone(&self.0))
    }
}

impl<R: Runtime> Deref for Handle<R> {
    type Target = Arc<Shell<R>>;

    fn deref(&self) -> &Arc<Shell<R>> {
        &self.0.0
    }
}

impl<R: Runtime> Drop for Owner<R> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Shows the node's id and address.
impl<R: Runtime> fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).field("address", &self.address).finish_non_exhaustive()
    }
}
