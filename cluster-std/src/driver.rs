//! The loop around the core: one lock, one way in, one way to carry out what the core asks for.
//!
//! Every call of the core goes through [`Shared::enter`] or [`Shared::enter_until`]: they take the one lock, call the
//! core, and carry out the core's actions in their order before the lock is released, so that what happens under the
//! lock is one step. Only the wake-ups, the writes and the log follow after it. Whoever waits does so with a condition
//! variable of this lock and looks again when woken, so no wake-up can come too late.
//!
//! Lock order: a link's io lock, then this lock, then one of the leaves: the lock of a subscriber's queue, of a link's
//! line, of the buffers. A link's turn lock is only taken with no lock held, or with its io lock.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cluster_core::adapter::{LogBudget, LogClass, Settled, Subscribers, Unread, Waiting};
use cluster_core::{Action, Event, Frame, Instant, JoinError, LinkId, NodeId, Run};

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::events::Queue;
use crate::link::{self, Link};
use crate::listener::Listener;
use crate::log::Log;
use crate::resolver::{self, Resolver};

/// The stack that each thread of a node may use: address space, of which only what is touched takes memory.
pub const STACK: usize = 256 << 10;

/// Where somebody who waits finds how a join has ended.
pub(crate) type Joined = Arc<OnceLock<Result<Run, JoinError>>>;

/// Where somebody who waits finds how a flush has ended.
pub(crate) type Flushed = Arc<OnceLock<Option<u64>>>;

/// Everything that the handles and the threads of one node share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) address: SocketAddr,
    pub(crate) id: NodeId,
    pub(crate) buffers: Buffers,
    listener: Listener,
    state: Mutex<State>,
    /// The inbox became non-empty, or the node has stopped.
    inbox: Condvar,
    /// A join or a flush has ended, or the node has stopped.
    settled: Condvar,
    /// The core's next deadline is earlier than what the loop waits for, or the node has stopped.
    earlier: Condvar,
    /// Held by whoever joins the threads.
    joining: Mutex<()>,
}

/// What the node's lock guards.
pub(crate) struct State {
    pub(crate) core: cluster_core::Node,
    /// Every link between its dial or admission and the report that it is gone.
    pub(crate) links: HashMap<LinkId, Arc<Link>>,
    pub(crate) resolver: Resolver,
    pub(crate) waiting: Waiting<Joined, Flushed>,
    /// What the callers of `send` wait for who found no room, by peer.
    writable: HashMap<NodeId, Arc<Condvar>>,
    subscribers: Subscribers<Queue>,
    /// Each with the link that it serves, if it does.
    threads: Vec<(JoinHandle<()>, Option<Arc<Link>>)>,
    /// What the loop waits until.
    ticker: Option<Instant>,
    /// The node has left or its last handle is gone: nothing is started any more.
    stopped: bool,
    /// Known when the node has left.
    undelivered: u64,
    log: LogBudget,
}

/// What is to be done as soon as the lock is released.
#[derive(Default)]
struct Effects {
    sends: Vec<Arc<Link>>,
    closes: Vec<Arc<Link>>,
    deliver: bool,
    settled: bool,
    earlier: bool,
    stop: bool,
    writable: Vec<Arc<Condvar>>,
    queues: Vec<Arc<Queue>>,
    log: Vec<Log>,
    /// Dropped last, and without the lock.
    unread: Vec<Arc<Unread<Shared>>>,
}

/// Who calls the core: what becomes of links that now have something to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// A user who sends: idle links are written to at once, by the caller; busy ones by their writers, in batches.
    Sender,
    /// The thread that reads this link, which writes what there is when it has handed over all it has read.
    Reader(LinkId),
    /// Whoever pulls from this link, and holds its io lock.
    Puller(LinkId),
    /// Anyone else: the links are written to at once.
    Other,
}

/// What a caller waits for.
pub(crate) enum Until {
    Message,
    Settled,
    Room(Arc<Condvar>),
}

impl Shared {
    pub(crate) fn new(core: cluster_core::Node, clock: Clock, address: SocketAddr, listener: Listener) -> Arc<Shared> {
        let id = core.run().id;
        let state = State {
            core,
            links: HashMap::new(),
            resolver: Resolver::default(),
            waiting: Waiting::default(),
            writable: HashMap::new(),
            subscribers: Subscribers::default(),
            threads: Vec::new(),
            ticker: None,
            stopped: false,
            undelivered: 0,
            log: LogBudget::default(),
        };
        Arc::new(Shared {
            clock,
            address,
            id,
            buffers: Buffers::default(),
            listener,
            state: Mutex::new(state),
            inbox: Condvar::new(),
            settled: Condvar::new(),
            earlier: Condvar::new(),
            joining: Mutex::new(()),
        })
    }

    /// Starts the threads that every node has.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        self.enter(Caller::Other, |state, _| {
            let shared = Arc::clone(self);
            self.spawn(state, "cluster-loop", None, move || shared.run())?;
            let shared = Arc::clone(self);
            self.spawn(state, "cluster-accept", None, move || shared.listener.run(&shared))
        })
    }

    /// The one way to change the core: calls it, then does what it asks for.
    pub(crate) fn enter<R>(self: &Arc<Self>, caller: Caller, call: impl FnOnce(&mut State, Instant) -> R) -> R {
        let (result, effects, now) = {
            let mut state = self.lock();
            let now = self.clock.now();
            let result = call(&mut state, now);
            (result, self.drain(&mut state, now), now)
        };
        if let Some(effects) = effects {
            effects.finish(self, caller, now);
        }
        result
    }

    /// The same for a caller that waits: calls again and again until there is a result, at the latest at `deadline`.
    pub(crate) fn enter_until<R>(
        self: &Arc<Self>,
        caller: Caller,
        deadline: Instant,
        mut call: impl FnMut(&mut State, Instant) -> Result<R, Until>,
    ) -> Option<R> {
        let mut state = self.lock();
        loop {
            let now = self.clock.now();
            let result = call(&mut state, now);
            if let Some(effects) = self.drain(&mut state, now) {
                drop(state);
                effects.finish(self, caller, now);
                if let Ok(result) = result {
                    return Some(result);
                }
                // Much may have happened meanwhile.
                state = self.lock();
                continue;
            }
            let until = match result {
                Ok(result) => return Some(result),
                Err(_) if now >= deadline => return None,
                Err(until) => until,
            };
            let condition = match &until {
                Until::Message => &self.inbox,
                Until::Settled => &self.settled,
                Until::Room(room) => room,
            };
            state = wait(condition, state, deadline - now);
        }
    }

    /// Reads without changing anything.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&cluster_core::Node) -> R) -> R {
        look(&self.lock().core)
    }

    /// A new subscriber: it is told of the peers that are up, and misses nothing after that.
    pub(crate) fn subscribe(&self) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        let State { core, subscribers, .. } = &mut *self.lock();
        subscribers.subscribe(core, &queue);
        queue
    }

    /// Takes up to `limit` bytes of frames that wait for a link; says whether more may wait.
    pub(crate) fn pull(self: &Arc<Self>, link: LinkId, limit: usize, frames: &mut Vec<Frame>) -> bool {
        self.enter(Caller::Puller(link), |state, _| state.core.poll_frames(link, limit, frames))
    }

    /// Starts a thread that [`join_threads`](Shared::join_threads) waits for. Once the node has stopped, nothing.
    pub(crate) fn spawn(
        &self,
        state: &mut State,
        name: &str,
        link: Option<Arc<Link>>,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        if state.stopped {
            return Ok(());
        }
        for ended in state.threads.extract_if(.., |(thread, _)| thread.is_finished()) {
            // If it panicked, the panic hook has told.
            let _ = ended.0.join();
        }
        let handle = thread::Builder::new().name(name.into()).stack_size(STACK).spawn(run)?;
        state.threads.push((handle, link));
        Ok(())
    }

    /// Ends everything at once, and waits for nothing.
    pub(crate) fn stop(self: &Arc<Self>) {
        let mut effects = Effects::default();
        self.halt(&mut self.lock(), &mut effects);
        effects.finish(self, Caller::Other, Instant::ZERO);
    }

    /// Waits until the node has stopped, at most so long; says whether it has.
    pub(crate) fn has_stopped_within(&self, timeout: Duration) -> bool {
        let waited = self.settled.wait_timeout_while(self.lock(), timeout, |state| !state.stopped);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }

    /// Waits until the node has stopped and every thread has ended, but not for a look-up that is under way. Returns
    /// how many messages were not taken by their receivers.
    pub(crate) fn join_threads(&self) -> u64 {
        let stopped = self.settled.wait_while(self.lock(), |state| !state.stopped);
        drop(stopped.unwrap_or_else(PoisonError::into_inner));
        // Whoever comes second waits for the first.
        let _joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let (threads, resolver, undelivered) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.threads), state.resolver.take_thread(), state.undelivered)
        };
        for (handle, link) in threads.into_iter().chain(resolver.map(|thread| (thread, None))) {
            // A dial cannot be ended in the instant before its system call begins.
            while let Some(link) = link.as_ref().filter(|link| link.is_dialing()) {
                link.hang_up();
                thread::sleep(Duration::from_millis(1));
            }
            let _ = handle.join();
        }
        undelivered
    }

    /// For the resolver, which may come when the node has stopped.
    pub(crate) fn next_look_up(&self) -> Option<cluster_core::Target> {
        let mut state = self.lock();
        let stopped = state.stopped;
        state.resolver.next(stopped)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event loop: ticks the core when it wants to be ticked.
    fn run(self: &Arc<Self>) {
        let mut state = self.lock();
        while !state.stopped {
            self.buffers.shrink();
            let now = self.clock.now();
            state.core.tick(now);
            // `drain` sees deadlines that come up in this call; it compares with what we say here.
            state.ticker = state.core.next_tick();
            if let Some(effects) = self.drain(&mut state, now) {
                drop(state);
                effects.finish(self, Caller::Other, now);
                state = self.lock();
            }
            let due = state.core.next_tick().unwrap_or(Instant::MAX);
            state.ticker = Some(due);
            let now = self.clock.now();
            if due > now && !state.stopped {
                state = wait(&self.earlier, state, due - now);
            }
        }
    }

    /// Carries out what the core asks for, in its order. Usually that is nothing: a message that is sent or taken adds
    /// to what was announced before.
    fn drain(self: &Arc<Self>, state: &mut State, now: Instant) -> Option<Box<Effects>> {
        let mut all: Option<Box<Effects>> = None;
        while let Some(action) = state.core.poll_action() {
            if state.stopped {
                continue;
            }
            let effects = all.get_or_insert_default();
            match action {
                Action::Resolve { target } => resolver::resolve(self, state, target),
                Action::Dial { link, address } => link::dial(self, state, link, address),
                Action::Send { link } => {
                    if let Some(link) = state.links.get(&link) {
                        link.announce();
                        effects.sends.push(Arc::clone(link));
                    }
                }
                Action::Close { link, mode, reason } => {
                    if let Some(link) = state.links.get(&link) {
                        tracing::trace!(node = ?self.id, link = link.id().as_u64(), ?mode, %reason, "closing");
                        link.close(mode);
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
            self.halt(state, all.get_or_insert_default());
        }
        let next = state.core.next_tick();
        if next.is_some_and(|next| state.ticker.is_none_or(|ticker| next < ticker)) {
            state.ticker = next;
            all.get_or_insert_default().earlier = true;
        }
        all
    }

    /// Nothing is started any more, every thread is told to end, and whoever waits for something is told so.
    fn halt(&self, state: &mut State, effects: &mut Effects) {
        state.stopped = true;
        for (_, link) in state.links.drain() {
            link.close(cluster_core::CloseMode::Abort);
            effects.closes.push(link);
        }
        effects.stop = true;
        effects.writable.extend(state.writable.drain().map(|(_, room)| room));
        state.subscribers.end(&mut effects.queues);
        state.waiting.end().for_each(settle);
    }
}

/// Waits for a condition that is looked at again afterwards, or for the time to pass.
fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
    condition.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
}

impl State {
    /// What a caller waits for after a send to this peer was refused as full, under the same lock as the refusal.
    pub(crate) fn until_writable(&mut self, peer: NodeId) -> Until {
        Until::Room(Arc::clone(self.writable.entry(peer).or_default()))
    }

    /// Whether nothing can happen any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn publish(&mut self, shared: &Arc<Shared>, now: Instant, event: Event, effects: &mut Effects) {
        if let Some(settled) = self.waiting.settle(&event) {
            settle(settled);
            effects.settled = true;
        }
        if let Event::Left { undelivered } = &event {
            self.undelivered = *undelivered;
        }
        effects.unread.extend(self.subscribers.publish(shared, &mut self.core, &event, &mut effects.queues));
        if let Some(suppressed) = self.log.admit(now, LogClass::of(&event)) {
            effects.log.push(match event {
                Event::Undelivered(lost) if self.subscribers.is_empty() => Log::Unheard(lost, suppressed),
                event => Log::Event(event, suppressed),
            });
        }
    }
}

fn settle(settled: Settled<Joined, Flushed>) {
    match settled {
        Settled::Join(join, outcome) => drop(join.set(outcome)),
        Settled::Flush(flush, undelivered) => drop(flush.set(undelivered)),
    }
}

impl Effects {
    fn finish(self, shared: &Arc<Shared>, caller: Caller, now: Instant) {
        for link in &self.sends {
            match caller {
                Caller::Reader(own) | Caller::Puller(own) if own == link.id() => {}
                Caller::Puller(_) => link.wake_writer(shared),
                Caller::Sender if !link.has_rested(now) => link.wake_writer(shared),
                Caller::Sender | Caller::Reader(_) | Caller::Other => link.send_at_once(shared),
            }
        }
        for link in &self.closes {
            link.end(shared);
        }
        if self.stop {
            shared.listener.stop(shared.address);
        }
        if self.earlier || self.stop {
            shared.earlier.notify_all();
        }
        if self.deliver || self.stop {
            shared.inbox.notify_all();
        }
        if self.settled || self.stop {
            shared.settled.notify_all();
        }
        self.writable.iter().for_each(|room| room.notify_all());
        self.queues.iter().for_each(|queue| queue.wake());
        for log in &self.log {
            log.write(shared.id);
        }
    }
}
