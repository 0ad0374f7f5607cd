//! A whole node on async-std, made from `cluster-core` alone: to be read from top to bottom, and to be copied.
//!
//! async-std is discontinued in favour of smol; for smol, change the imports. What a loop of your own has to do: **1** give
//! every call the time of one monotonic clock; **2** after every call, do what the core asks for, in its order, before
//! waiting; **3** give each connection's bytes to the core; **4** pull output as the socket takes it; **5** report each
//! link as gone, once; **6** tick when it is due. No decision is here: [`Host`] keeps what has to be kept, the core decides.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_executor::Executor;
use async_std::channel::{Receiver, Sender, bounded, unbounded};
use async_std::io::{ReadExt as _, WriteExt as _};
use async_std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use async_std::task::{sleep, spawn};
use cluster_core::adapter::BindError;
use cluster_core::{Bytes, CloseMode, Config, Disconnect, Event, Incarnation, Input, Instant, JoinError, LinkId};
use cluster_core::{Message, NodeId, Output, SendError, SendErrorKind, Start, Target};
use event_listener::Event as Signal;
use futures_lite::future::{or, pending};

use crate::host::{Host, Todo};

/// The most bytes that are taken from the core for one write.
const WRITE: usize = 64 << 10;

/// A member of a cluster. Dropped, it ends at once; its peers take it for lost.
pub struct Node(Arc<Shared>);

/// The core, and of each link what wakes its task.
pub type Links = Host<Arc<Signal>>;

/// What the node's tasks share with its users. Whoever waits for a signal listens first, and then looks.
struct Shared {
    epoch: std::time::Instant,
    address: SocketAddr,
    host: Mutex<Links>,
    /// A message, an event or room is there, or the node has left.
    changed: Signal,
    /// The next tick is due earlier than the ticker believes.
    earlier: Signal,
    /// What is still to be started. Closed, it ends all tasks.
    tasks: Sender<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Closed when nothing of the node runs any more.
    ended: Receiver<()>,
}

impl Node {
    pub async fn bind(address: &str, config: Config) -> Result<Node, BindError<io::Error>> {
        let failed = |error| BindError::Listen { address: address.into(), error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // Whoever has no secret is to be reached from this machine only, unless that is confirmed.
        config.check_address(address).map_err(BindError::Config)?;
        // Randomness, and a number greater at each start, are ours to give.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let mut start = Start { seed: [0; 32], incarnation: Incarnation(wall), listen: Some(address) };
        getrandom::fill(&mut start.seed).map_err(|error| BindError::Entropy(io::Error::other(error)))?;
        let core = cluster_core::Node::new(config, start, Instant::ZERO).map_err(BindError::Config)?;

        // No more tasks than the core has links and look-ups at a time, and it bounds both.
        let ((tasks, started), (alive, ended)) = (unbounded(), bounded(1));
        let (changed, earlier) = (Signal::new(), Signal::new());
        let (epoch, host) = (std::time::Instant::now(), Mutex::new(Host::new(core)));
        let node = Node(Arc::new(Shared { epoch, address, host, changed, earlier, tasks, ended }));
        node.0.spawn(listen(node.0.clone(), listener));
        node.0.spawn(tick(node.0.clone()));
        spawn(async move {
            // Dropped, the executor drops its tasks. Run it in several tasks for more than one processor.
            let executor = Executor::new();
            executor
                .run(async {
                    while let Ok(task) = started.recv().await {
                        executor.spawn(task).detach()
                    }
                })
                .await;
            drop((executor, alive));
        });
        Ok(node)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// Calls the core, for everything that does not wait: `peers`, `broadcast`, `disconnect`, `set_config` ...
    pub fn enter<T>(&self, call: impl FnOnce(&mut Links, Instant) -> T) -> T {
        self.0.enter(call)
    }

    pub async fn join(&self, target: Target) -> Result<NodeId, JoinError> {
        let (sender, joined) = bounded(1);
        self.0.enter(|host, now| host.join(now, target, move |outcome| drop(sender.try_send(outcome))))?;
        joined.recv().await.unwrap_or(Err(JoinError::Leaving)).map(|run| run.id)
    }

    /// Waits for room. An error gives the payload back.
    pub async fn send(&self, peer: NodeId, payload: Bytes) -> Result<(), SendError> {
        let send = |host: &mut Links, now| match host.core.send(now, peer, payload.clone()) {
            Err(SendError { kind: SendErrorKind::Full, .. }) => Poll::Pending,
            sent => Poll::Ready(sent),
        };
        self.0.until(&self.0.changed, send).await
    }

    /// The next message; `None` when the node has left and all were taken.
    pub async fn recv(&self) -> Option<Message> {
        self.0.until(&self.0.changed, Links::message).await
    }

    /// The next event since the beginning; `None` after the last.
    pub async fn event(&self) -> Option<Event> {
        self.0.until(&self.0.changed, Links::event).await
    }

    /// Leaves gracefully. Returns, when everything has ended, how many messages were not taken by their receivers.
    pub async fn leave(&self, timeout: Duration) -> u64 {
        self.enter(|host, now| host.core.leave(now, timeout));
        let left = |host: &mut Links, _| host.has_left().map_or(Poll::Pending, Poll::Ready);
        let undelivered = self.0.until(&self.0.changed, left).await;
        let _ = self.0.ended.recv().await;
        undelivered
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.0.tasks.close();
    }
}

impl Shared {
    /// **1** and **2**: the one way into the core.
    fn enter<T>(self: &Arc<Self>, call: impl FnOnce(&mut Links, Instant) -> T) -> T {
        let mut host = self.lock();
        let now = Instant::ZERO + self.epoch.elapsed();
        let result = call(&mut host, now);
        while let Some(todo) = host.poll() {
            match todo {
                Todo::Resolve { target } => self.spawn(resolve(self.clone(), target)),
                Todo::Dial { link, address } => self.begin(&mut host, now, link, Err(address)),
                Todo::Wake(link) => drop(link.notify(usize::MAX)),
                Todo::Tell => drop(self.changed.notify(usize::MAX)),
                Todo::Tick => drop(self.earlier.notify(usize::MAX)),
            }
        }
        if host.has_left().is_some() {
            self.tasks.close();
        }
        result
    }

    /// Looks, whenever there is a signal, until there is something.
    async fn until<T>(self: &Arc<Self>, signal: &Signal, mut look: impl FnMut(&mut Links, Instant) -> Poll<T>) -> T {
        loop {
            let woken = signal.listen();
            match self.enter(&mut look) {
                Poll::Ready(found) => return found,
                Poll::Pending => woken.await,
            }
        }
    }

    /// Starts a task that ends with the node.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Once the node has ended there is nobody to start it.
        let _ = self.tasks.try_send(Box::pin(task));
    }

    /// A link that is to be dialled, or that the core has admitted.
    fn begin(self: &Arc<Self>, host: &mut Links, now: Instant, id: LinkId, origin: Origin) {
        let woken = Arc::new(Signal::new());
        if host.open(now, id, woken.clone()) {
            self.spawn(Link { shared: self.clone(), id, woken }.run(origin));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// **6**: a tick when it is due, which may be earlier than it was.
async fn tick(shared: Arc<Shared>) {
    loop {
        let earlier = shared.earlier.listen();
        let wait = shared.enter(|host, now| host.tick(now) - now);
        or(sleep(wait), earlier).await;
    }
}

async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            // Admission is the core's; whoever is refused is just dropped.
            Ok((stream, from)) => shared.enter(|host, now| {
                if let Ok(link) = host.core.accept(now, from) {
                    shared.begin(host, now, link, Ok(stream));
                }
            }),
            // Out of descriptors, for example: the connection still waits, so do not spin.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn resolve(shared: Arc<Shared>, target: Target) {
    let outcome = target.as_str().to_socket_addrs().await.map(Iterator::collect).map_err(|error| error.to_string());
    shared.enter(|host, now| host.core.handle(now, Input::Resolved { target, outcome }));
}

/// A connection, or where it is to come from.
type Origin = Result<TcpStream, SocketAddr>;

/// A connection, in the hands of its task.
struct Link {
    shared: Arc<Shared>,
    id: LinkId,
    woken: Arc<Signal>,
}

impl Link {
    async fn run(self, origin: Origin) {
        let aborted = |host: &mut Links, _| match host.closing(self.id) {
            Some(CloseMode::Abort) => Poll::Ready(Disconnect::Closed),
            _ => Poll::Pending,
        };
        let cause = or(self.shared.until(&self.woken, aborted), self.exchange(origin)).await;
        // **5**: once, whatever happened, and when nothing of it is open any more.
        self.shared.enter(|host, now| host.gone(now, self.id, cause));
    }

    async fn exchange(&self, origin: Origin) -> Disconnect {
        let stream = match origin {
            Ok(stream) => Ok(stream),
            Err(address) => TcpStream::connect(address).await,
        };
        match stream {
            Ok(stream) => or(self.read(&stream), self.write(&stream)).await,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Disconnect::Refused,
            Err(_) => Disconnect::Unreachable,
        }
    }

    /// **3**: what is read is the core's, all of one read in one step.
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
            if let Err(error) = self.shared.enter(|host, now| host.receive(now, self.id, local, bytes)) {
                // The channel may have a last word, such as why it refuses.
                let _ = stream.write(&self.output().unwrap_or_default()).await;
                return Disconnect::Channel(error);
            }
        }
    }

    /// **4**: what there is to write is asked for when everything before it is written.
    async fn write(&self, mut stream: &TcpStream) -> Disconnect {
        loop {
            let woken = self.woken.listen();
            match (self.closing(), self.output()) {
                (_, Some(bytes)) => {
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        match stream.write(rest).await {
                            Ok(written @ 1..) => rest = &rest[written..],
                            _ => return Disconnect::Reset,
                        }
                        if !rest.is_empty() {
                            self.shared.enter(|host, now| host.wrote(now, self.id));
                        }
                    }
                }
                (Some(_), None) => {
                    // Our direction ends; the link does when the other one has, or the core has waited long enough.
                    let _ = stream.shutdown(Shutdown::Write);
                    while let Ok(1..) = stream.read(&mut [0; 512]).await {}
                    return Disconnect::Closed;
                }
                (None, None) => woken.await,
            }
        }
    }

    fn output(&self) -> Option<Vec<u8>> {
        self.shared.enter(|host, _| host.output(self.id, WRITE).map(Output::take))
    }

    fn closing(&self) -> Option<CloseMode> {
        self.shared.lock().closing(self.id)
    }
}
