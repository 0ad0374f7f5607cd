//! The loop around the core: one lock, one way in, one way to carry out what the core asks for.
//!
//! Every call of the core goes through [`Shared::enter`]: it takes the one lock, calls the core, and carries out the
//! core's actions in their order before the lock is released, so that what happens under the lock is one step. Only
//! the wake-ups (and the log) follow after it, because wakers and log subscribers are other people's code. Each
//! wake-up is of the kind that is remembered, so none of them can be too late.
//!
//! Lock order: a link's io lock, then this lock, then the lock of a subscriber's queue. None is held across an await.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster_core::adapter::{LogBudget, LogClass, Settled, Subscribers, Unread, Waiting};
use cluster_core::{Action, Event, Frame, Input, Instant, JoinError, LinkId, NodeId, Run, Target};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::events::Queue;
use crate::link::{self, Link};
use crate::log::Log;

/// Who is told how a join has ended.
pub(crate) type Joined = oneshot::Sender<Result<Run, JoinError>>;

/// Who is told how a flush has ended.
pub(crate) type Flushed = oneshot::Sender<Option<u64>>;

/// Everything that the handles and the tasks of one node share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) address: SocketAddr,
    pub(crate) id: NodeId,
    pub(crate) buffers: link::Buffers,
    /// The inbox became non-empty, or the node has left.
    pub(crate) inbox: Notify,
    state: Mutex<State>,
    /// The core's next deadline is earlier than what the ticker sleeps until.
    earlier: Notify,
    /// How many tasks live.
    tasks: watch::Sender<usize>,
    runtime: Handle,
}

/// What the node's lock guards.
pub(crate) struct State {
    pub(crate) core: cluster_core::Node,
    /// Every link between its dial or admission and the report that it is gone.
    pub(crate) links: HashMap<LinkId, Arc<Link>>,
    pub(crate) waiting: Waiting<Joined, Flushed>,
    /// The callers of `send` that wait for room, by peer.
    writable: HashMap<NodeId, Arc<Notify>>,
    subscribers: Subscribers<Queue>,
    tasks: JoinSet<()>,
    /// What the ticker sleeps until.
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
    earlier: bool,
    writable: Vec<Arc<Notify>>,
    queues: Vec<Arc<Queue>>,
    settled: Vec<Settled<Joined, Flushed>>,
    log: Vec<Log>,
    /// Dropped last, and without the lock.
    unread: Vec<Arc<Unread<Shared>>>,
}

/// Who calls the core: what becomes of links that now have something to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// A user who sends: idle links are written to at once, by the caller.
    Sender,
    /// The task of this link, which looks for output of its own anyway.
    Link(LinkId),
    /// Anyone else: the links' tasks are woken.
    Other,
}

impl Shared {
    pub(crate) fn new(core: cluster_core::Node, clock: Clock, address: SocketAddr) -> Arc<Shared> {
        let id = core.run().id;
        let state = State {
            core,
            links: HashMap::new(),
            waiting: Waiting::default(),
            writable: HashMap::new(),
            subscribers: Subscribers::default(),
            tasks: JoinSet::new(),
            ticker: None,
            stopped: false,
            undelivered: 0,
            log: LogBudget::default(),
        };
        Arc::new(Shared {
            clock,
            address,
            id,
            buffers: link::Buffers::default(),
            inbox: Notify::new(),
            state: Mutex::new(state),
            earlier: Notify::new(),
            tasks: watch::Sender::new(0),
            runtime: Handle::current(),
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
        self.enter(Caller::Link(link), |state, _| state.core.poll_frames(link, limit, frames))
    }

    /// Starts a task that [`stopped`](Shared::stopped) waits for and [`stop`](Shared::stop) ends.
    pub(crate) fn spawn(&self, state: &mut State, task: impl Future<Output = ()> + Send + 'static) {
        if state.stopped {
            return;
        }
        while state.tasks.try_join_next().is_some() {}
        let alive = Alive::new(self.tasks.clone());
        let task = async move {
            let _alive = alive;
            task.await;
        };
        state.tasks.spawn_on(task, &self.runtime);
    }

    /// Ends everything at once. Also when a handle is dropped by a task of the node itself.
    pub(crate) fn stop(self: &Arc<Self>) {
        let mut effects = Effects::default();
        self.halt(&mut self.lock(), &mut effects);
        effects.finish(self, Caller::Other, Instant::ZERO);
    }

    /// How many messages were not taken by their receivers when the node left.
    pub(crate) fn undelivered(&self) -> u64 {
        self.lock().undelivered
    }

    /// Waits until every task has ended.
    pub(crate) async fn stopped(&self) {
        let mut tasks = self.tasks.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = tasks.wait_for(|alive| *alive == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what the core asks for, in its order. Usually that is nothing: a message that is sent or taken adds
    /// to what was announced before.
    fn drain(self: &Arc<Self>, state: &mut State, now: Instant) -> Option<Box<Effects>> {
        let mut all: Option<Box<Effects>> = None;
        while let Some(action) = state.core.poll_action() {
            let effects = all.get_or_insert_default();
            match action {
                Action::Resolve { target } => self.spawn(state, resolve(Arc::clone(self), target)),
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

    /// Nothing is started any more, every task is told to end, and whoever waits for something is told so.
    fn halt(&self, state: &mut State, effects: &mut Effects) {
        state.stopped = true;
        state.tasks.abort_all();
        state.links.clear();
        effects.settled.extend(state.waiting.end());
        effects.deliver = true;
        effects.writable.extend(state.writable.drain().map(|(_, waiting)| waiting));
        state.subscribers.end(&mut effects.queues);
    }
}

impl State {
    /// What a caller waits at after a send to this peer was refused as full. Made under the same lock as the refusal,
    /// and notified with `notify_waiters`, which reaches every future that was made before it.
    pub(crate) fn until_writable(&mut self, peer: NodeId) -> Arc<Notify> {
        Arc::clone(self.writable.entry(peer).or_default())
    }

    /// Whether nothing can happen any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn publish(&mut self, shared: &Arc<Shared>, now: Instant, event: Event, effects: &mut Effects) {
        effects.settled.extend(self.waiting.settle(&event));
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

impl Effects {
    fn finish(self, shared: &Arc<Shared>, caller: Caller, now: Instant) {
        let at_once = matches!(caller, Caller::Sender) && self.sends.len() <= link::INLINE_LINKS;
        for link in &self.sends {
            match caller {
                Caller::Link(own) if own == link.id() => {}
                _ if at_once => link.send_at_once(shared, now),
                _ => link.wake(),
            }
        }
        self.closes.iter().for_each(|link| link.wake());
        if self.earlier {
            shared.earlier.notify_one();
        }
        if self.deliver {
            shared.inbox.notify_waiters();
        }
        self.writable.iter().for_each(|waiting| waiting.notify_waiters());
        for settled in self.settled {
            // Nobody listens if the call was dropped.
            match settled {
                Settled::Join(sender, outcome) => drop(sender.send(outcome)),
                Settled::Flush(sender, undelivered) => drop(sender.send(undelivered)),
            }
        }
        self.queues.iter().for_each(|queue| queue.wake());
        for log in &self.log {
            log.write(shared.id);
        }
    }
}

/// Counts a task from its start to the moment when all that it owned is dropped.
struct Alive(watch::Sender<usize>);

impl Alive {
    fn new(tasks: watch::Sender<usize>) -> Alive {
        tasks.send_modify(|alive| *alive += 1);
        Alive(tasks)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|alive| *alive -= 1);
    }
}

/// Ticks the core when it wants to be ticked.
pub(crate) async fn tick(shared: Arc<Shared>) {
    loop {
        shared.buffers.shrink();
        let next = shared.enter(Caller::Other, |state, now| {
            state.core.tick(now);
            // `drain` sees deadlines that come up in this call; it compares with what we say here.
            state.ticker = state.core.next_tick();
            state.ticker
        });
        let wake_at = next.and_then(|next| shared.clock.wake_at(next));
        let earlier = shared.earlier.notified();
        match wake_at {
            Some(wake_at) => {
                // Whichever comes first, the answer is to look again.
                let _ = tokio::time::timeout_at(wake_at, earlier).await;
            }
            None => earlier.await,
        }
    }
}

async fn resolve(shared: Arc<Shared>, target: Target) {
    let found = tokio::net::lookup_host(target.as_str()).await;
    let outcome = found.map(Iterator::collect).map_err(|error| error.to_string());
    shared.enter(Caller::Other, |state, now| state.core.handle(now, Input::Resolved { target, outcome }));
}
