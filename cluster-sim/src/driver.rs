//! The driver of one node: the loop that every adapter has, here over simulated sockets.
//!
//! It contains no decision. What it does with an input or an action is what any adapter does with it: see the contract
//! of [`Node`].

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use cluster_core::adapter::Pulse;
use cluster_core::{
    Acknowledge, Action, Channel, CloseMode, Deferred, Disconnect, Event, Frame, Input, Instant, LinkId, Message, Node,
    Receipt, Received, Run,
};

use crate::app::{App, Ctx, Factory, Resident, Told};
use crate::calls::Calls;
use crate::io::Io;
use crate::rng::Rng;
use crate::socket::{DialError, Read, Sock, Wake};

/// About the most bytes that are pulled at once, when the socket has taken all before.
const AHEAD: usize = 1 << 20;

/// How many actions of a node may follow one input, before it counts as a node that never comes to rest.
const MAX_ACTIONS: u32 = 1 << 18;

/// A node and its links.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) node: Node,
    links: BTreeMap<LinkId, Box<Link>>,
    /// How many of the links have got through their handshake.
    pub(crate) connected: usize,
    /// The inbox is not empty.
    deliver: bool,
    app: Option<Resident>,
    unacknowledged: Unacknowledged,
    /// What came to nothing while the user was not looking.
    unread: Vec<Deferred>,
    /// Empty between calls; kept for its capacity.
    frames: Vec<Frame>,
}

/// Messages that the user has taken and not acknowledged, where that is up to it.
#[derive(Debug, Default)]
struct Unacknowledged {
    /// The latest of each peer: it stands for all before it.
    latest: BTreeMap<Run, Receipt>,
    count: u64,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) sock: Sock,
    channel: Channel,
    /// How often the node hears of reads without a frame, and of writes that took only a part.
    read: Pulse,
    written: Pulse,
    /// Who is at the other end, once the handshake is over.
    pub(crate) peer: Option<Run>,
    /// The node has frames for it.
    send: bool,
    /// The kernel takes nothing at present. For the checks only.
    stuck: bool,
    /// The node has closed it; what is left is still being written.
    pub(crate) closing: bool,
    /// This link was accepted, so that it is the one that connects its pair. For the checks only.
    pub(crate) granted: bool,
}

impl Driver {
    pub(crate) fn new(node: Node) -> Driver {
        Driver {
            node,
            links: BTreeMap::new(),
            connected: 0,
            deliver: false,
            app: None,
            unacknowledged: Unacknowledged::default(),
            unread: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Every link the node has, or had and that is still being closed.
    pub(crate) fn links(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(&id, link)| (id, &**link))
    }

    /// Whether everything that the node has said on this link is with the kernel.
    pub(crate) fn has_said_all(&mut self, link: LinkId) -> bool {
        self.links.get_mut(&link).is_some_and(|link| !link.send && link.channel.output().is_empty())
    }

    /// Has an application run here from now on.
    pub(crate) fn start_app(&mut self, io: &mut Io<'_>, factory: &Factory, rng: Rng) {
        self.app = Some(Resident::start(factory, rng, &mut self.node, io));
    }

    pub(crate) fn app(&self) -> Option<&dyn Any> {
        self.app.as_ref().map(Resident::app)
    }

    /// Calls a function with the application, if it is one of this type, and does whatever it asks for.
    pub(crate) fn with_app<A: App, T>(
        &mut self,
        io: &mut Io<'_>,
        act: impl FnOnce(&mut A, &mut Ctx<'_>) -> T,
    ) -> Option<T> {
        let result = self.app.as_mut()?.with(&mut self.node, io, act);
        self.drain(io);
        result
    }

    /// Tells the application one thing, and does whatever it asks for. Says whether there was anything to tell.
    pub(crate) fn turn_app(&mut self, io: &mut Io<'_>) -> bool {
        let told = self.app.as_mut().is_some_and(|app| app.turn(&mut self.node, io));
        if told {
            self.drain(io);
        }
        told
    }

    /// When the node or the application next has something to do by itself.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let timer = self.app.as_ref().and_then(Resident::next_timer);
        self.node.next_tick().into_iter().chain(timer).min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, io: &mut Io<'_>) {
        self.node.handle(io.clock(), Input::Tick);
        self.drain(io);
    }

    /// The kernel has something to say.
    pub(crate) fn wake(&mut self, io: &mut Io<'_>, wake: Wake) {
        match wake {
            Wake::Incoming(listener) => {
                while let Some((sock, from)) = io.accept(listener) {
                    self.incoming(io, sock, from);
                }
            }
            Wake::Dialled(sock, outcome) => self.dialled(io, sock, outcome),
            Wake::Readable(sock) => self.readable(io, sock),
            Wake::Writable(sock) => {
                if let Some(link) = io.link(sock) {
                    self.pump(io, link);
                    self.drain(io);
                }
            }
        }
    }

    /// The network says something else, or the user has called a verb: carries out whatever the node now asks for.
    pub(crate) fn drain(&mut self, io: &mut Io<'_>) {
        io.run = self.node.run();
        let mut actions = 0;
        while let Some(action) = self.node.poll_action() {
            self.act(io, action);
            actions += 1;
            if actions == MAX_ACTIONS {
                return io.endless(actions);
            }
        }
        io.drained(&mut self.node, self.links.len());
    }

    /// Looks at every link that may have something to read, after reading was stopped.
    pub(crate) fn read_all(&mut self, io: &mut Io<'_>) {
        for sock in self.links.values().map(|link| link.sock).collect::<Vec<_>>() {
            self.readable(io, sock);
        }
    }

    /// Takes messages from the inbox, as many as the user wants at present.
    pub(crate) fn consume(&mut self, io: &mut Io<'_>) {
        io.run = self.node.run();
        if io.is_hungry() {
            for unread in std::mem::take(&mut self.unread) {
                self.node.read(io.clock(), unread);
            }
        }
        while self.deliver && io.is_hungry() {
            match self.node.poll_message(io.clock()) {
                Some(message) => {
                    if let Some(app) = &mut self.app {
                        app.tell(Told::Message(message.clone()));
                    }
                    self.taken(io, &message);
                    io.message(message);
                    self.acknowledge_some(io);
                }
                None => self.deliver = false,
            }
        }
    }

    /// Acknowledges every message that was taken.
    pub(crate) fn acknowledge_all(&mut self, io: &mut Io<'_>) {
        let Unacknowledged { latest, .. } = std::mem::take(&mut self.unacknowledged);
        for receipt in latest.into_values() {
            Calls { node: &mut self.node, io: io.reborrow() }.acknowledge(receipt);
        }
    }

    /// Acknowledges every message that was taken, if there are as many as the user waits for.
    fn acknowledge_some(&mut self, io: &mut Io<'_>) {
        if io.acknowledging > 0 && self.unacknowledged.count >= io.acknowledging {
            self.acknowledge_all(io);
        }
    }

    fn taken(&mut self, io: &Io<'_>, message: &Message) {
        if io.acknowledging > 0 && self.node.acknowledge_mode() == Acknowledge::Manual {
            self.unacknowledged.latest.insert(message.from, message.receipt);
            self.unacknowledged.count += 1;
        }
    }

    fn act(&mut self, io: &mut Io<'_>, action: Action) {
        match action {
            Action::Resolve { target } => io.resolve(target),
            Action::Dial { link, address } => match io.dial(link, address) {
                Some(sock) => self.open(io, link, sock),
                None => self.gone(io, link, Disconnect::Exhausted),
            },
            Action::Send { link } => {
                if let Some(entry) = self.links.get_mut(&link) {
                    entry.send = true;
                    self.pump(io, link);
                }
            }
            Action::Close { link, mode, reason } => {
                io.close_asked(link, mode, &reason, self.links.get(&link).and_then(|link| link.peer));
                self.close(io, link, mode);
            }
            Action::Deliver => {
                self.deliver = true;
                self.consume(io);
            }
            Action::Writable { peer } => {
                if let Some(app) = &mut self.app {
                    app.tell(Told::Writable(peer));
                }
                io.writable(peer);
            }
            Action::Event(event) => {
                if let Event::Undelivered(told) = &event
                    && !io.is_hungry()
                {
                    self.unread.push(self.node.defer(told));
                }
                if let Some(app) = &mut self.app {
                    app.tell(Told::Event(event.clone()));
                }
                io.event(event);
            }
            Action::Notice(notice) => io.notice(notice),
        }
    }

    fn incoming(&mut self, io: &mut Io<'_>, sock: Sock, from: SocketAddr) {
        match self.node.accept(io.clock(), from) {
            Ok(link) => {
                io.admitted(link, sock, from);
                self.open(io, link, sock);
                // What came before the connection was accepted was announced to nobody.
                self.readable(io, sock);
            }
            Err(refused) => {
                io.refused(&refused);
                io.close(sock);
            }
        }
        self.drain(io);
    }

    fn open(&mut self, io: &mut Io<'_>, id: LinkId, sock: Sock) {
        let Some(channel) = self.node.channel(id) else {
            io.reset(sock);
            return self.gone(io, id, Disconnect::Closed);
        };
        io.opened(id, sock);
        let (read, written) = (Pulse::default(), Pulse::default());
        let link = Link {
            sock,
            channel,
            read,
            written,
            peer: None,
            send: false,
            stuck: false,
            closing: false,
            granted: false,
        };
        self.links.insert(id, Box::new(link));
        io.set_link(sock, id);
        self.pump(io, id);
    }

    fn dialled(&mut self, io: &mut Io<'_>, sock: Sock, outcome: Result<(), DialError>) {
        let Some(link) = io.link(sock) else { return };
        match outcome {
            Ok(()) => self.pump(io, link),
            Err(DialError::Refused) => self.gone(io, link, Disconnect::Refused),
            Err(DialError::Unreachable) => self.gone(io, link, Disconnect::Unreachable),
        }
        self.drain(io);
    }

    fn readable(&mut self, io: &mut Io<'_>, sock: Sock) {
        let Some(id) = io.link(sock) else { return };
        while let Some(link) = self.links.get_mut(&id) {
            match io.read(sock) {
                Read::Bytes(_) if link.closing => {}
                Read::Bytes(bytes) => {
                    io.bytes_read(id);
                    link.channel.receive(bytes);
                    self.frames(io, id);
                }
                Read::Blocked => break,
                Read::Ended => self.gone(io, id, Disconnect::Ended),
                Read::Reset => self.gone(io, id, Disconnect::Reset),
            }
        }
        self.drain(io);
    }

    /// Hands the node what its link's channel has made of the bytes received.
    fn frames(&mut self, io: &mut Io<'_>, id: LinkId) {
        let mut none = true;
        while let Some(link) = self.links.get_mut(&id).filter(|link| !link.closing) {
            let input = match link.channel.poll() {
                Ok(Some(Received::Greeted)) => {
                    io.greeted(id);
                    Input::Greeted { link: id }
                }
                Ok(Some(Received::Connected(proven))) => {
                    link.peer = Some(proven.run);
                    self.connected += 1;
                    io.connected(id, link.sock, proven);
                    Input::Connected { link: id, proven, local: io.local(link.sock) }
                }
                Ok(Some(Received::Frame(frame))) => {
                    io.got(id, &frame, link.sock);
                    link.granted |= matches!(frame, Frame::Accept(_));
                    Input::Frame { link: id, frame }
                }
                Ok(None) if none && link.read.beat(io.clock()) => {
                    io.part_read(id);
                    Input::BytesRead { link: id }
                }
                Ok(None) => break,
                Err(error) => {
                    self.pump(io, id);
                    self.gone(io, id, Disconnect::Channel(error));
                    break;
                }
            };
            none = false;
            self.node.handle(io.clock(), input);
            self.drain(io);
        }
        self.pump(io, id);
    }

    /// Pulls frames from the node and writes what the socket takes.
    fn pump(&mut self, io: &mut Io<'_>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        loop {
            if link.send && link.peer.is_some() && link.channel.output().is_empty() {
                link.send = self.node.poll_frames(id, AHEAD, &mut self.frames);
                for frame in self.frames.drain(..) {
                    io.sent(id, &frame, link.sock);
                    link.granted |= matches!(frame, Frame::Accept(_));
                    link.channel.send(frame);
                }
            }
            let output = link.channel.output();
            let mut written = 0;
            for piece in output.pieces() {
                let taken = io.write(link.sock, piece);
                written += taken;
                if taken < piece.len() {
                    break;
                }
            }
            output.advance(written);
            if written > 0 && !output.is_empty() && link.written.beat(io.clock()) {
                self.node.handle(io.clock(), Input::BytesWritten { link: id });
            }
            if written == 0 || !output.is_empty() {
                break;
            }
        }
        let stuck = !link.channel.output().is_empty();
        if std::mem::replace(&mut link.stuck, stuck) != stuck {
            io.stuck(id, stuck);
        }
        if link.closing && !link.send && !stuck {
            io.shutdown(link.sock);
        }
    }

    fn close(&mut self, io: &mut Io<'_>, id: LinkId, mode: CloseMode) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.closing = true;
        match mode {
            CloseMode::Flush => self.pump(io, id),
            CloseMode::Abort => {
                io.reset(link.sock);
                self.gone(io, id, Disconnect::Closed);
            }
        }
    }

    /// Tells the node, once, that a link is over.
    fn gone(&mut self, io: &mut Io<'_>, id: LinkId, cause: Disconnect) {
        let mut cause = cause;
        if let Some(link) = self.links.remove(&id) {
            self.connected -= usize::from(link.peer.is_some());
            io.close(link.sock);
            if link.closing {
                cause = Disconnect::Closed;
            }
        }
        io.disconnected(id, &cause);
        self.node.handle(io.clock(), Input::Disconnected { link: id, cause });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster_core::{Config, Instant};

    use crate::catch::{Caught, caught};
    use crate::net::{Block, Buffers};
    use crate::{Crash, Latency, Restart, Twin, World};
    use cluster_timeline::record::HostId;

    /// A verb, given one host of the world and one of another.
    type Verb = fn(&mut World, HostId, HostId);

    #[test]
    fn whoever_is_handed_a_host_of_another_world_says_so_and_where_it_was() {
        const SPAN: Duration = Duration::from_secs(1);
        struct Idle;
        impl crate::App for Idle {}
        let verbs: &[(u32, Verb)] = &[
            (line!(), |world, _, far| _ = world.host(far).is_running()),
            (line!(), |world, _, far| _ = world.host(far).can_act()),
            (line!(), |world, _, far| _ = world.host(far).run()),
            (line!(), |world, _, far| _ = world.host(far).id()),
            (line!(), |world, _, far| _ = world.host(far).addr()),
            (line!(), |world, _, far| _ = world.host(far).events()),
            (line!(), |world, _, far| _ = world.host(far).count_events(|_| true)),
            (line!(), |world, near, far| _ = world.host(far).ups(near)),
            (line!(), |world, near, far| _ = world.host(near).downs(far)),
            (line!(), |world, _, far| _ = world.host(far).messages()),
            (line!(), |world, _, far| _ = world.host(far).taken()),
            (line!(), |world, near, far| _ = world.host(far).numbered(near)),
            (line!(), |world, near, far| _ = world.host(near).numbered(far)),
            (line!(), |world, _, far| _ = world.host(far).notices()),
            (line!(), |world, _, far| _ = world.host(far).closes()),
            (line!(), |world, _, far| _ = world.host(far).ends()),
            (line!(), |world, _, far| _ = world.host(far).writable()),
            (line!(), |world, _, far| _ = world.host(far).refused()),
            (line!(), |world, _, far| _ = world.host(far).wire()),
            (line!(), |world, _, far| _ = world.host(far).dials_since(Instant::ZERO)),
            (line!(), |world, near, far| _ = world.net().opened(near, far)),
            (line!(), |world, near, far| _ = world.net().opened(far, near)),
            (line!(), |world, _, far| _ = world.host(far).links()),
            (line!(), |world, near, far| _ = world.host(far).sees(near)),
            (line!(), |world, near, far| _ = world.host(near).sees(far)),
            (line!(), |world, near, far| _ = world.linked(near, far)),
            (line!(), |world, near, far| _ = world.is_mesh(&[near, far])),
            (line!(), |world, _, far| _ = world.node(far)),
            (line!(), |world, near, far| _ = world.node(near).join(far)),
            (line!(), |world, near, far| _ = world.node(near).add_seed(far)),
            (line!(), |world, _, far| _ = world.host(far).core()),
            (line!(), |world, near, far| _ = world.node(near).send_numbered(far, 100)),
            (line!(), |world, near, far| _ = world.node(far).send_numbered(near, 100)),
            (line!(), |world, _, far| _ = world.add_clone(far, Twin::LaterRun)),
            (line!(), |world, _, far| world.host_mut(far).change_address("10.0.9.9")),
            (line!(), |world, _, far| world.host_mut(far).renumber()),
            (line!(), |world, _, far| world.host_mut(far).crash(Crash::Kill)),
            (line!(), |world, _, far| world.host_mut(far).restart(Restart::default())),
            (line!(), |world, _, far| world.host_mut(far).power_on()),
            (line!(), |world, _, far| world.host_mut(far).pause()),
            (line!(), |world, _, far| world.host_mut(far).pause_for(SPAN)),
            (line!(), |world, _, far| world.host_mut(far).resume()),
            (line!(), |world, _, far| world.host_mut(far).set_late(SPAN)),
            (line!(), |world, _, far| world.host_mut(far).set_drift(1)),
            (line!(), |world, _, far| world.host_mut(far).clock_forward(SPAN)),
            (line!(), |world, _, far| world.host_mut(far).clock_back(SPAN)),
            (line!(), |world, _, far| world.host_mut(far).clock_stop(true)),
            (line!(), |world, _, far| world.host_mut(far).set_consuming(false)),
            (line!(), |world, _, far| world.host_mut(far).consume(1)),
            (line!(), |world, _, far| world.host_mut(far).consume_in_bursts(1, SPAN)),
            (line!(), |world, _, far| world.host_mut(far).set_acknowledging(1)),
            (line!(), |world, _, far| world.host_mut(far).keep_messages(false)),
            (line!(), |world, _, far| world.host_mut(far).set_reading(false)),
            (line!(), |world, _, far| world.host_mut(far).read(1)),
            (line!(), |world, _, far| world.host_mut(far).exhaust(true)),
            (line!(), |world, near, far| world.net_mut().set_latency_from(near, far, Latency::default())),
            (line!(), |world, near, far| world.net_mut().set_latency_from(far, near, Latency::default())),
            (line!(), |world, near, far| world.net_mut().set_bandwidth_from(near, far, Some(1))),
            (line!(), |world, near, far| world.net_mut().set_bandwidth_from(far, near, Some(1))),
            (line!(), |world, _, far| world.host_mut(far).set_buffers(Buffers::default())),
            (line!(), |world, near, far| world.net_mut().cut_one_way(near, far)),
            (line!(), |world, near, far| world.net_mut().cut_one_way(far, near)),
            (line!(), |world, near, far| world.net_mut().heal_one_way(near, far)),
            (line!(), |world, near, far| world.net_mut().heal_one_way(far, near)),
            (line!(), |world, near, far| world.net_mut().clog(near, far, SPAN, SPAN)),
            (line!(), |world, near, far| world.net_mut().clog(far, near, SPAN, SPAN)),
            (line!(), |world, near, far| world.net_mut().cut(near, far)),
            (line!(), |world, near, far| world.net_mut().heal(near, far)),
            (line!(), |world, near, far| world.net_mut().partition(&[near], &[far])),
            (line!(), |world, _, far| world.net_mut().isolate(far)),
            (line!(), |world, near, far| world.net_mut().block_dials(near, far, Block::Drop)),
            (line!(), |world, near, far| world.net_mut().block_dials(far, near, Block::Drop)),
            (line!(), |world, near, far| world.net_mut().allow_dials(near, far)),
            (line!(), |world, near, far| world.net_mut().allow_dials(far, near)),
            (line!(), |world, near, far| _ = world.net_mut().reset_connections(near, far)),
            (line!(), |world, near, far| _ = world.net_mut().reset_connections(far, near)),
            (line!(), |world, near, far| _ = world.net_mut().reset_one_side(near, far)),
            (line!(), |world, near, far| _ = world.net_mut().reset_one_side(far, near)),
            (line!(), |world, near, far| _ = world.net_mut().half_open(near, far)),
            (line!(), |world, near, far| _ = world.net_mut().half_open(far, near)),
            (line!(), |world, near, far| _ = world.net_mut().sever_connections(near, far)),
            (line!(), |world, near, far| _ = world.net_mut().sever_connections(far, near)),
            (line!(), |world, _, far| world.host_mut(far).masquerade(None)),
            (line!(), |world, _, far| _ = world.host(far).app::<Idle>()),
            (line!(), |world, _, far| world.host_mut(far).with_app::<Idle, _>(|_, _| ())),
            (line!(), |world, _, far| _ = world.host(far).disk()),
            (line!(), |world, _, far| _ = world.puppet(far)),
            (line!(), |world, _, far| _ = world.host(far).heard()),
            (line!(), |world, _, far| _ = world.host(far).puppet_messages()),
            (line!(), |world, _, far| _ = world.host(far).puppet_links()),
            (line!(), |world, _, far| _ = world.host(far).puppet_error(0)),
        ];
        let mut other = World::new(1);
        let far = other.add_many(3, &Config::insecure_plaintext())[2];
        for &(line, verb) in verbs {
            let mut world = World::new(2);
            let near = world.add(Config::insecure_plaintext());
            let Err(Caught::Panic(text)) = caught(|| verb(&mut world, near, far)) else { panic!("line {line}") };
            assert!(text.contains("n2 is no host of this world, which has 1"), "line {line}: {text}");
            assert!(text.contains(&format!("{}:{line}:", file!())), "line {line}: {text}");
        }
    }
}
