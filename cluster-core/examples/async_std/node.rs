//! A whole node on async-std, made from `cluster-core` alone: to be read from top to bottom, and to be copied.
//!
//! async-std is discontinued in favour of smol; for smol, change the imports. What a loop of your own has to do: **1** give
//! every call the time of one monotonic clock; **2** after every call, do what the core asks for, in its order, before
//! waiting; **3** give each connection's bytes to its channel, and what the channel makes of them to the core; **4** pull
//! output as the socket takes it; **5** report each link as gone, once; **6** tick when it is due. No decision is here.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_std::channel::{Receiver, Sender, bounded};
use async_std::io::{ReadExt as _, WriteExt as _};
use async_std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use async_std::task::{sleep, spawn};
use cluster_core::adapter::EventQueue;
use cluster_core::{
    Action, Bytes, Channel, CloseMode, Config, Deferred, Disconnect, Event, Incarnation, Input, Instant, JoinError,
    JoinId, LinkId, Message, NodeId, Run, SendError, SendErrorKind, Start, Target,
};
use futures_lite::future::{or, pending};

/// A member of a cluster. Dropped, it ends at once; its peers take it for lost.
pub struct Node(Arc<Shared>);

struct Shared {
    epoch: std::time::Instant,
    address: SocketAddr,
    state: Mutex<State>,
    /// Closed when the node ends, and when all its tasks have ended.
    stopped: Receiver<()>,
    ended: Receiver<()>,
}

/// The core, and what it does not know: what is open, and who waits.
pub struct State {
    /// For everything that does not wait: `peers`, `broadcast`, `disconnect`, `set_config` ...
    pub core: cluster_core::Node,
    links: HashMap<LinkId, Link>,
    joins: HashMap<JoinId, Sender<Result<Run, JoinError>>>,
    events: EventQueue<Deferred>,
    undelivered: u64,
    /// Those who wait for a message, an event, room or an earlier tick. To be dropped is to be woken.
    waiting: Vec<Sender<()>>,
    /// What the ticker waits until.
    due: Instant,
    /// The other ends of `stopped` and `ended`, until the node ends.
    running: Option<(Sender<()>, Sender<()>)>,
}

struct Link {
    /// One lock for all is simple. To seal and parse in parallel, keep the channel with the connection, as adapters do.
    channel: Channel,
    closing: Option<CloseMode>,
    wake: Sender<()>,
}

impl Node {
    pub async fn bind(address: &str, config: Config) -> io::Result<Node> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        // Whoever has no secret is to be reached from this machine only, unless that is confirmed.
        config.check_address(address).map_err(io::Error::other)?;
        // Randomness, and a number greater at each start, are ours to give.
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let start = Start { seed, incarnation: Incarnation(wall), listen: Some(address) };
        let core = cluster_core::Node::new(config, start, Instant::ZERO).map_err(io::Error::other)?;
        let ((stop, stopped), (alive, ended)) = (bounded(1), bounded(1));
        let (links, joins, waiting) = (HashMap::new(), HashMap::new(), Vec::new());
        let (events, undelivered, due, running) = (EventQueue::default(), 0, Instant::ZERO, Some((stop, alive)));
        let state = Mutex::new(State { core, links, joins, events, undelivered, waiting, due, running });
        let shared = Arc::new(Shared { epoch: std::time::Instant::now(), address, state, stopped, ended });
        shared.spawn(&shared.lock(), listen(shared.clone(), listener));
        shared.spawn(&shared.lock(), tick(shared.clone()));
        Ok(Node(shared))
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// Calls the core, and does what it asks for.
    pub fn enter<T>(&self, call: impl FnOnce(&mut State, Instant) -> T) -> T {
        self.0.enter(call)
    }

    pub async fn join(&self, target: Target) -> Result<NodeId, JoinError> {
        let (sender, outcome) = bounded(1);
        self.enter(|state, now| state.core.join(now, target).map(|join| state.joins.insert(join, sender)))?;
        outcome.recv().await.unwrap_or(Err(JoinError::Leaving)).map(|run| run.id)
    }

    /// Waits for room. An error gives the payload back.
    pub async fn send(&self, peer: NodeId, mut payload: Bytes) -> Result<(), SendError> {
        let send = |state: &mut State, now| match state.core.send(now, peer, std::mem::take(&mut payload)) {
            Err(SendError { payload: back, kind: SendErrorKind::Full }) => {
                payload = back;
                None
            }
            sent => Some(sent),
        };
        self.0.until(send).await
    }

    /// The next message; `None` when the node has left and all were taken.
    pub async fn recv(&self) -> Option<Message> {
        self.0
            .until(|state, now| state.core.poll_message(now).map_or(state.ended(), |message| Some(Some(message))))
            .await
    }

    /// The next event since the beginning; `None` after the last. What came to nothing takes room until it is read here.
    pub async fn event(&self) -> Option<Event> {
        let next = |state: &mut State, now| {
            let Some((event, unread)) = state.events.pop() else { return state.ended() };
            unread.into_iter().for_each(|unread| state.core.read(now, unread));
            Some(Some(event))
        };
        self.0.until(next).await
    }

    /// Leaves gracefully. Returns, when everything has ended, how many messages were not taken by their receivers.
    pub async fn leave(&self, timeout: Duration) -> u64 {
        self.enter(|state, now| state.core.leave(now, timeout));
        let _ = self.0.ended.recv().await;
        self.0.lock().undelivered
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.0.lock().stop();
    }
}

impl State {
    fn stop(&mut self) {
        self.running = None;
        self.waiting.clear();
        self.joins.clear();
    }

    /// Nothing, for ever.
    fn ended<T>(&self) -> Option<Option<T>> {
        self.running.is_none().then_some(None)
    }

    fn publish(&mut self, event: Event) {
        match &event {
            Event::Joined { join, peer, .. } => drop(self.joins.remove(join).map(|join| join.try_send(Ok(*peer)))),
            Event::JoinFailed { join, error, .. } => {
                drop(self.joins.remove(join).map(|join| join.try_send(Err(error.clone()))));
            }
            Event::Left { undelivered } => self.undelivered = *undelivered,
            _ => {}
        }
        let unread = match &event {
            Event::Undelivered(lost) => Some(self.core.defer(lost)),
            _ => None,
        };
        self.events.push(event, unread);
        self.waiting.clear();
    }
}

impl Shared {
    /// **1** and **2**: the one way into the core.
    fn enter<T>(self: &Arc<Self>, call: impl FnOnce(&mut State, Instant) -> T) -> T {
        let state = &mut *self.lock();
        let now = Instant::ZERO + self.epoch.elapsed();
        let result = call(state, now);
        while let Some(action) = state.core.poll_action() {
            match action {
                Action::Resolve { target } => self.spawn(state, resolve(self.clone(), target)),
                Action::Dial { link, address } => self.begin(state, link, Err(address)),
                // A wake-up is a token that waits for whoever does not listen at present; a second one adds nothing.
                Action::Send { link } => drop(state.links.get(&link).map(|link| link.wake.try_send(()))),
                Action::Close { link, mode, .. } => {
                    if let Some(link) = state.links.get_mut(&link) {
                        link.closing = Some(mode);
                        let _ = link.wake.try_send(());
                    }
                }
                Action::Deliver | Action::Writable { .. } => state.waiting.clear(),
                Action::Event(event) => state.publish(event),
                Action::Notice(_) => {}
            }
        }
        if state.core.has_left() {
            state.stop();
        }
        if state.core.next_tick().is_some_and(|due| due < state.due) {
            state.waiting.clear();
        }
        result
    }

    /// Looks, whenever something has changed, until there is something.
    async fn until<T>(self: &Arc<Self>, mut look: impl FnMut(&mut State, Instant) -> Option<T>) -> T {
        loop {
            let (waiting, changed) = bounded(1);
            let found = self.enter(|state, now| {
                // Under the same lock, so that no change can come in between. Those who gave up are forgotten.
                state.waiting.retain(|waiting: &Sender<()>| !waiting.is_closed());
                let found = look(state, now);
                state.waiting.push(waiting);
                found
            });
            match found {
                Some(found) => return found,
                None => _ = changed.recv().await,
            }
        }
    }

    /// Starts a task that ends with the node.
    fn spawn(&self, state: &State, work: impl Future<Output = ()> + Send + 'static) {
        let Some((_, alive)) = state.running.clone() else { return };
        let stopped = self.stopped.clone();
        spawn(async move {
            or(work, async { _ = stopped.recv().await }).await;
            drop(alive);
        });
    }

    /// A link that is to be dialled, or that the core has admitted. If the core has changed its mind, it is told as well.
    fn begin(self: &Arc<Self>, state: &mut State, id: LinkId, origin: Result<TcpStream, SocketAddr>) {
        if let Some(channel) = state.core.channel(id) {
            let (wake, woken) = bounded(1);
            state.links.insert(id, Link { channel, closing: None, wake });
            self.spawn(state, Line { shared: self.clone(), id, woken }.run(origin));
        } else {
            state.core.handle(Instant::ZERO, Input::Disconnected { link: id, cause: Disconnect::Closed });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// **6**: a tick when it is due, which may be earlier than it was.
async fn tick(shared: Arc<Shared>) {
    loop {
        let (waiting, earlier) = bounded(1);
        let wait = shared.enter(|state, now| {
            state.core.handle_all(now, []);
            state.due = state.core.next_tick().unwrap_or(Instant::MAX);
            state.waiting.push(waiting);
            state.running.is_some().then_some(state.due - now)
        });
        let Some(wait) = wait else { return };
        or(sleep(wait), async { _ = earlier.recv().await }).await;
    }
}

async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            // Admission is the core's; whoever is refused is just dropped.
            Ok((stream, from)) => shared.enter(|state, now| {
                if let Ok(link) = state.core.accept(now, from) {
                    shared.begin(state, link, Ok(stream));
                }
            }),
            // Out of descriptors, for example: the connection still waits, so do not spin.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn resolve(shared: Arc<Shared>, target: Target) {
    let outcome = target.as_str().to_socket_addrs().await.map(Iterator::collect).map_err(|error| error.to_string());
    shared.enter(|state, now| state.core.handle(now, Input::Resolved { target, outcome }));
}

/// A connection, in the hands of its task.
struct Line {
    shared: Arc<Shared>,
    id: LinkId,
    woken: Receiver<()>,
}

impl Line {
    async fn run(self, origin: Result<TcpStream, SocketAddr>) {
        let stream = match origin {
            Ok(stream) => Ok(stream),
            Err(address) => or(connect(address), self.closed(false)).await,
        };
        let cause = match &stream {
            Ok(stream) => or(self.read(stream), self.write(stream)).await,
            Err(cause) => cause.clone(),
        };
        drop(stream);
        // **5**: once, whatever happened.
        self.shared.enter(|state, now| {
            state.links.remove(&self.id);
            state.core.handle(now, Input::Disconnected { link: self.id, cause });
        });
    }

    async fn read(&self, mut stream: &TcpStream) -> Disconnect {
        let _ = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else { return Disconnect::Reset };
        let mut buffer = vec![0; 4 << 10];
        loop {
            let bytes = match stream.read(&mut buffer).await {
                Ok(length @ 1..) => Bytes::copy_from_slice(&buffer[..length]),
                // The other side has ended; what is left of ours is still written.
                _ if self.closing() == Some(CloseMode::Flush) => pending().await,
                Ok(_) => return Disconnect::Ended,
                Err(_) => return Disconnect::Reset,
            };
            // **3**: bytes in, facts out, all of one read under one lock; nothing once the core has closed the link.
            let failed = self.shared.enter(|state, now| {
                let link = state.links.get_mut(&self.id).filter(|link| link.closing.is_none())?;
                link.channel.receive(bytes);
                let facts = std::iter::from_fn(|| link.channel.poll().transpose());
                let facts: Result<Vec<_>, _> = facts.map(|fact| Ok(Input::received(self.id, local, fact?))).collect();
                // The channel itself may have something to say, such as why it fails.
                let _ = link.wake.try_send(());
                facts.map(|facts| state.core.handle_all(now, facts)).err()
            });
            if let Some(error) = failed {
                let _ = stream.write(&self.output()).await;
                return Disconnect::Channel(error);
            }
        }
    }

    async fn write(&self, mut stream: &TcpStream) -> Disconnect {
        loop {
            // What is announced from here on wakes us again.
            let closing = self.closing();
            let output = self.output();
            if closing == Some(CloseMode::Abort) {
                return Disconnect::Closed;
            } else if !output.is_empty() {
                let written = async { stream.write_all(&output).await.map_err(|_| Disconnect::Reset) };
                if let Err(cause) = or(written, self.closed(true)).await {
                    return cause;
                }
            } else if closing == Some(CloseMode::Flush) {
                // Our direction ends; the link does when the other one has ended, or the core has waited long enough.
                let _ = stream.shutdown(Shutdown::Write);
                let ended = async { while matches!(stream.read(&mut [0; 512]).await, Ok(1..)) {} };
                or(ended, async { drop(self.closed::<()>(true).await) }).await;
                return Disconnect::Closed;
            } else {
                let _ = self.woken.recv().await;
            }
        }
    }

    /// Ends when the core wants the link to end: at all, or `at_once`.
    async fn closed<T>(&self, at_once: bool) -> Result<T, Disconnect> {
        while !self.closing().is_some_and(|mode| mode == CloseMode::Abort || !at_once) {
            let _ = self.woken.recv().await;
        }
        Err(Disconnect::Closed)
    }

    /// **4**: what there is to write now. Asked for when everything before it is written.
    fn output(&self) -> Vec<u8> {
        let mut frames = Vec::new();
        self.shared.enter(|state, _| {
            let Some(link) = state.links.get_mut(&self.id) else { return Vec::new() };
            state.core.poll_frames(self.id, 64 << 10, &mut frames);
            frames.into_iter().for_each(|frame| link.channel.send(frame));
            let bytes = link.channel.output().pieces().collect::<Vec<_>>().concat();
            link.channel.output().advance(bytes.len());
            bytes
        })
    }

    fn closing(&self) -> Option<CloseMode> {
        self.shared.lock().links.get(&self.id).and_then(|link| link.closing)
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Disconnect> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Disconnect::Refused,
        _ => Disconnect::Unreachable,
    })
}
