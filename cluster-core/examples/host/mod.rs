//! A node and its links under one lock, for both examples: to be copied with them.
//!
//! An adapter that seals and parses links in parallel keeps each channel with its connection instead, and uses
//! [`Node`], [`Waiting`] and [`Subscribers`](cluster_core::adapter::Subscribers) directly, as `cluster-host` does.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::task::Poll;

use cluster_core::adapter::{EventQueue, Pulse, Settled, Waiting};
use cluster_core::{
    Action, Bytes, Channel, ChannelError, CloseMode, Deferred, Disconnect, Event, FlushError, Input, Instant,
    JoinError, LinkId, Message, Node, NodeId, Output, Run, Target,
};

/// A node, the channels of its links, the callers that wait, and the events that wait to be read: all that an adapter
/// with one lock, or none, has to keep but its sockets. After each call the adapter must carry out what
/// [`poll`](Host::poll) returns, until that is `None`. `W` wakes the task or thread of a link.
pub struct Host<W> {
    /// The node itself, for all that does not wait: `send`, `peers`, `broadcast`, `disconnect`, `set_config`, `leave` ...
    pub core: Node,
    links: BTreeMap<LinkId, Link<W>>,
    waiting: Waiting<Tell<Result<Run, JoinError>>, Tell<Option<u64>>>,
    events: EventQueue<Deferred>,
    undelivered: u64,
    /// Links whose channel has answered by itself.
    answered: Vec<W>,
    /// What the driver waits until.
    due: Instant,
}

type Tell<T> = Box<dyn FnOnce(T) + Send>;

struct Link<W> {
    channel: Channel,
    read: Pulse,
    written: Pulse,
    /// The core has output that was not taken to the end.
    announced: bool,
    closing: Option<CloseMode>,
    wake: W,
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo<W> {
    /// Look a name up, and tell the core with [`Input::Resolved`].
    Resolve {
        /// What is to be looked up.
        target: Target,
    },
    /// Dial an address, after [`Host::open`].
    Dial {
        /// The link that the connection is for.
        link: LinkId,
        /// What is to be dialled.
        address: SocketAddr,
    },
    /// Whoever serves a link has to look at [`Host::output`] and [`Host::closing`] again.
    Wake(W),
    /// Whoever waits for a message, an event, room or the end has to look again.
    Tell,
    /// The next tick is due earlier than [`Host::tick`] has said.
    Tick,
}

impl<W: Clone> Host<W> {
    /// Keeps a node that has no link yet.
    #[must_use]
    pub fn new(core: Node) -> Host<W> {
        let (links, waiting, events) = (BTreeMap::new(), Waiting::default(), EventQueue::default());
        Host { core, links, waiting, events, undelivered: 0, answered: Vec::new(), due: Instant::ZERO }
    }

    /// Begins to join. `tell` is called once with the outcome, from within another call of this type, so it must not
    /// call any; if the host is dropped before, it is dropped, too.
    ///
    /// # Errors
    ///
    /// As [`Node::join`]; nothing has begun then.
    pub fn join(
        &mut self,
        now: Instant,
        target: Target,
        tell: impl FnOnce(Result<Run, JoinError>) + Send + 'static,
    ) -> Result<(), JoinError> {
        let join = self.core.join(now, target)?;
        self.waiting.join(join, Box::new(tell));
        Ok(())
    }

    /// Begins to flush, and tells as [`join`](Host::join) does how many messages were undelivered, or `None` if the node
    /// left before: see [`adapter::FlushError::check`](cluster_core::adapter::FlushError::check).
    ///
    /// # Errors
    ///
    /// As [`Node::flush`]; nothing has begun then.
    pub fn flush(
        &mut self,
        now: Instant,
        peer: NodeId,
        tell: impl FnOnce(Option<u64>) + Send + 'static,
    ) -> Result<(), FlushError> {
        let flush = self.core.flush(now, peer)?;
        self.waiting.flush(flush, Box::new(tell));
        Ok(())
    }

    /// The next message; ready with `None` when the node has left and all were taken.
    pub fn message(&mut self, now: Instant) -> Poll<Option<Message>> {
        match self.core.poll_message(now) {
            None if !self.core.has_left() => Poll::Pending,
            message => Poll::Ready(message),
        }
    }

    /// The next event since the beginning, as of [`EventQueue`]; ready with `None` after the last. What came to nothing
    /// takes room until it is read here.
    pub fn event(&mut self, now: Instant) -> Poll<Option<Event>> {
        match self.events.pop() {
            None if !self.events.has_ended() => Poll::Pending,
            None => Poll::Ready(None),
            Some((event, unread)) => {
                unread.into_iter().for_each(|unread| self.core.read(now, unread));
                Poll::Ready(Some(event))
            }
        }
    }

    /// Once the node has left: how many messages were not taken by their receivers.
    #[must_use]
    pub fn has_left(&self) -> Option<u64> {
        self.core.has_left().then_some(self.undelivered)
    }

    /// The next thing to be done. Nobody may wait before this has said `None`.
    #[must_use]
    pub fn poll(&mut self) -> Option<Todo<W>> {
        if let Some(wake) = self.answered.pop() {
            return Some(Todo::Wake(wake));
        }
        while let Some(action) = self.core.poll_action() {
            let wake = match action {
                Action::Resolve { target } => return Some(Todo::Resolve { target }),
                Action::Dial { link, address } => return Some(Todo::Dial { link, address }),
                Action::Deliver | Action::Writable { .. } => return Some(Todo::Tell),
                Action::Event(event) => {
                    self.publish(event);
                    return Some(Todo::Tell);
                }
                Action::Notice(_) => None,
                Action::Send { link } => self.change(link, |link| link.announced = true),
                Action::Close { link, mode, .. } => self.change(link, |link| link.closing = Some(mode)),
            };
            if let Some(wake) = wake {
                return Some(Todo::Wake(wake));
            }
        }
        let earlier = self.core.next_tick().filter(|next| *next < self.due)?;
        self.due = earlier;
        Some(Todo::Tick)
    }

    /// Lets time pass. To be called again when the time that it returns has come, or after [`Todo::Tick`].
    pub fn tick(&mut self, now: Instant) -> Instant {
        self.core.tick(now);
        self.due = self.core.next_tick().unwrap_or(Instant::MAX);
        self.due
    }

    /// A link that is to be dialled, or that [`Node::accept`] has admitted. `false` if the core has given it up already;
    /// then it has been told that the link is gone.
    #[must_use]
    pub fn open(&mut self, now: Instant, link: LinkId, wake: W) -> bool {
        match self.core.channel(link) {
            Some(channel) => {
                let (read, written) = (Pulse::default(), Pulse::default());
                self.links.insert(link, Link { channel, read, written, announced: false, closing: None, wake });
                true
            }
            None => {
                self.gone(now, link, Disconnect::Closed);
                false
            }
        }
    }

    /// How the link is to end, if it is: at once, or when all [`output`](Host::output) is written.
    #[must_use]
    pub fn closing(&self, link: LinkId) -> Option<CloseMode> {
        self.links.get(&link).and_then(|link| link.closing)
    }

    /// Gives the channel what was read from a socket whose own address is `local`, and the core what the channel makes of
    /// it: all of one read in one step. Nothing once the link is [closing](Host::closing).
    ///
    /// # Errors
    ///
    /// [`ChannelError`] if the bytes are not this protocol's. The link is over; what [`output`](Host::output) still has is
    /// the channel's last word.
    pub fn receive(&mut self, now: Instant, id: LinkId, local: SocketAddr, bytes: Bytes) -> Result<(), ChannelError> {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.closing.is_none()) else { return Ok(()) };
        let moved = !bytes.is_empty();
        link.channel.receive(bytes);
        let mut facts = Vec::new();
        let outcome = loop {
            match link.channel.poll() {
                Ok(Some(received)) => facts.push(Input::received(id, local, received)),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !link.channel.output().is_empty() {
            self.answered.push(link.wake.clone());
        }
        if moved && facts.is_empty() && link.read.beat(now) {
            facts.push(Input::BytesRead { link: id });
        }
        self.core.handle_all(now, facts);
        outcome
    }

    /// What is to be written, and taken off with [`Output::advance`]; `None` if nothing is. Only when everything before is
    /// written about `limit` bytes more are taken from the core: earlier would look as if the socket took some.
    ///
    /// After a write that took only a part, say so with [`wrote`](Host::wrote).
    pub fn output(&mut self, id: LinkId, limit: usize) -> Option<&mut Output> {
        let link = self.links.get_mut(&id)?;
        if link.announced && link.channel.output().is_empty() {
            let mut frames = Vec::new();
            link.announced = self.core.poll_frames(id, limit, &mut frames);
            frames.into_iter().for_each(|frame| link.channel.send(frame));
        }
        Some(link.channel.output()).filter(|output| !output.is_empty())
    }

    /// The socket of a link took some of its [`output`](Host::output), and not all: it is slow, and does not stand still.
    pub fn wrote(&mut self, now: Instant, id: LinkId) {
        if self.links.get_mut(&id).is_some_and(|link| link.written.beat(now)) {
            self.core.handle(now, Input::BytesWritten { link: id });
        }
    }

    /// A link is gone, for this reason. To be said once of each that was to be dialled or was admitted.
    pub fn gone(&mut self, now: Instant, link: LinkId, cause: Disconnect) {
        self.links.remove(&link);
        self.core.handle(now, Input::Disconnected { link, cause });
    }

    /// Changes a link, if there still is one, and says what wakes it.
    fn change(&mut self, link: LinkId, change: impl FnOnce(&mut Link<W>)) -> Option<W> {
        let link = self.links.get_mut(&link)?;
        change(link);
        Some(link.wake.clone())
    }

    fn publish(&mut self, event: Event) {
        self.waiting.settle(&event).into_iter().for_each(tell);
        let unread = match &event {
            Event::Undelivered(lost) => Some(self.core.defer(lost)),
            Event::Left { undelivered } => {
                self.undelivered = *undelivered;
                self.waiting.end().for_each(tell);
                None
            }
            _ => None,
        };
        self.events.push(event, unread);
    }
}

fn tell(settled: Settled<Tell<Result<Run, JoinError>>, Tell<Option<u64>>>) {
    match settled {
        Settled::Join(tell, outcome) => tell(outcome),
        Settled::Flush(tell, undelivered) => tell(undelivered),
    }
}

impl<W> fmt::Debug for Host<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("run", &self.core.run()).field("links", &self.links.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{Config, Incarnation, Start};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    const NOW: Instant = Instant::ZERO;

    fn host(number: u8) -> Host<u8> {
        let listen = Some(address(number));
        let start = Start { seed: [number; 32], incarnation: Incarnation(1), listen };
        Host::new(Node::new(Config::insecure_plaintext(), start, NOW).unwrap())
    }

    fn address(number: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, number], 7_000))
    }

    fn todo(host: &mut Host<u8>) -> Vec<Todo<u8>> {
        std::iter::from_fn(|| host.poll()).filter(|todo| *todo != Todo::Tick).collect()
    }

    /// Carries what one has to write to the other.
    fn carry(from: &mut Host<u8>, link: LinkId, to: &mut Host<u8>, other: LinkId) {
        while let Some(output) = from.output(link, 1 << 10) {
            let bytes = output.take();
            to.receive(NOW, other, address(9), bytes.into()).unwrap();
        }
    }

    /// Resolves what is to be resolved, until something is to be dialled.
    fn dialled(host: &mut Host<u8>) -> LinkId {
        loop {
            match host.poll().expect("there is a dial") {
                Todo::Resolve { target } => {
                    host.core.handle(NOW, Input::Resolved { target, outcome: Ok(vec![address(2)]) });
                }
                Todo::Dial { link, .. } => return link,
                _ => {}
            }
        }
    }

    /// Two that are connected, and their links.
    fn pair(told: &Arc<Mutex<Vec<Result<Run, JoinError>>>>) -> (Host<u8>, LinkId, Host<u8>, LinkId) {
        let (mut alice, mut bob) = (host(1), host(2));
        let to = Arc::clone(told);
        alice.join(NOW, address(2).into(), move |outcome| to.lock().unwrap().push(outcome)).unwrap();
        let link = dialled(&mut alice);
        let (link, other) = (link, bob.core.accept(NOW, address(1)).unwrap());
        assert!(alice.open(NOW, link, 11) && bob.open(NOW, other, 22));
        for _ in 0..4 {
            carry(&mut alice, link, &mut bob, other);
            let _ = todo(&mut bob);
            carry(&mut bob, other, &mut alice, link);
            let _ = todo(&mut alice);
        }
        (alice, link, bob, other)
    }

    #[test]
    fn a_join_is_told_and_events_wait_to_be_read() {
        let told = Arc::default();
        let (mut alice, _, bob, _) = pair(&told);
        assert_eq!(*told.lock().unwrap(), [Ok(bob.core.run())]);
        assert!(matches!(alice.event(NOW), Poll::Ready(Some(Event::PeerUp(peer))) if peer.run == bob.core.run()));
        assert!(matches!(alice.event(NOW), Poll::Ready(Some(Event::Joined { .. }))));
        assert_eq!(alice.event(NOW), Poll::Pending);
    }

    #[test]
    fn a_channel_that_answers_by_itself_wakes_its_link() {
        let (mut alice, mut bob) = (host(1), host(2));
        let other = bob.core.accept(NOW, address(1)).unwrap();
        assert!(bob.open(NOW, other, 22));
        assert!(!todo(&mut bob).contains(&Todo::Wake(22)));
        alice.join(NOW, address(2).into(), drop).unwrap();
        let link = dialled(&mut alice);
        assert!(alice.open(NOW, link, 11));
        carry(&mut alice, link, &mut bob, other);
        assert!(todo(&mut bob).contains(&Todo::Wake(22)));
    }

    #[test]
    fn output_wakes_the_link_and_a_message_whoever_waits() {
        let (mut alice, link, mut bob, other) = pair(&Arc::default());
        let peer = bob.core.run().id;
        alice.core.send(NOW, peer, Bytes::from_static(b"hello")).unwrap();
        assert_eq!(todo(&mut alice), [Todo::Wake(11)]);
        carry(&mut alice, link, &mut bob, other);
        assert!(todo(&mut bob).contains(&Todo::Tell));
        assert!(matches!(bob.message(NOW), Poll::Ready(Some(message)) if message.payload == "hello"));
        assert_eq!(bob.message(NOW), Poll::Pending);
    }

    #[test]
    fn skipped_frame_and_part_of_a_frame_are_signs_of_life() {
        // A frame of type 64, which version 1 does not know; the first bytes of a record; and none at all.
        for (bytes, alive) in [(&b"\x00\x03\x81\x18\x40"[..], true), (&b"\xff"[..], true), (&b""[..], false)] {
            let (_, _, mut bob, other) = pair(&Arc::default());
            for tenth in 1..=100 {
                let now = NOW + Duration::from_millis(100 * tenth);
                if tenth == 40 || tenth == 80 {
                    bob.receive(now, other, address(9), Bytes::from_static(bytes)).unwrap();
                }
                bob.tick(now);
            }
            let _ = todo(&mut bob);
            assert_eq!(bob.closing(other).is_none(), alive, "{bytes:?}");
        }
    }

    #[test]
    fn nothing_is_received_once_a_link_is_closing_and_everybody_is_told_of_the_end() {
        let told = Arc::default();
        let (mut alice, link, bob, _) = pair(&told);
        let flushed = Arc::new(Mutex::new(None));
        let to = Arc::clone(&flushed);
        alice.core.send(NOW, bob.core.run().id, Bytes::from_static(b"never taken")).unwrap();
        alice.flush(NOW, bob.core.run().id, move |outcome| *to.lock().unwrap() = Some(outcome)).unwrap();
        alice.core.leave(NOW, Duration::ZERO);
        assert!(todo(&mut alice).contains(&Todo::Wake(11)) && alice.closing(link).is_some());
        assert_eq!(alice.receive(NOW, link, address(9), Bytes::from_static(&[0xff; 100])), Ok(()));
        alice.gone(NOW, link, Disconnect::Closed);
        alice.tick(NOW + Duration::from_secs(60));
        let _ = todo(&mut alice);
        assert_eq!(alice.has_left(), Some(1));
        while alice.event(NOW) != Poll::Ready(None) {}
        assert_eq!(alice.message(NOW), Poll::Ready(None));
        assert!(flushed.lock().unwrap().is_some());
        assert!(!alice.open(NOW, link, 11), "it is not known any more");
    }
}
