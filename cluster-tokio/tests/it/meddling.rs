//! Who stands between nodes with a secret, or has it and says to be somebody else, changes nothing but counters.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_tokio::cluster_core::wire::{Claim, Frame, Offer, PeerStream, Profile, Resume, StreamId};
use cluster_tokio::cluster_core::{Channel, Credentials, Hello, Received, Role, wire};
use cluster_tokio::{Config, Event, Events, Identity, Node, NodeId, PeerInfo, PeerState, Run, Secret, Suite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::{bind_with, event, text, until, until_complete, up, within};

/// The bytes before the first record.
const PREAMBLE: usize = 12;

/// How many connections are meddled with at a time.
const AT_A_TIME: usize = 48;

fn secure() -> Config {
    let hasty = Config::new(Secret::from_bytes([1; 32])).local().probe_timeout(Duration::from_millis(250));
    hasty.handshake_timeout(Duration::from_millis(500)).join_timeout(Duration::from_millis(500))
}

/// The two directions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Out,
    Back,
}

/// What has passed a meddler over the connection on which most was said.
#[derive(Clone, Debug, Default)]
struct Passed {
    out: Vec<u8>,
    back: Vec<u8>,
}

impl Passed {
    fn note(&mut self, way: Way, said: &[u8]) {
        if self.of(way).len() < said.len() {
            *self.of(way) = said.to_vec();
        }
    }

    fn of(&mut self, way: Way) -> &mut Vec<u8> {
        match way {
            Way::Out => &mut self.out,
            Way::Back => &mut self.back,
        }
    }
}

/// Passes connections on to `target` and keeps what is said. In each one bit of the byte at `flip` is turned over.
async fn meddler(target: SocketAddr, flip: Option<(Way, usize)>) -> (SocketAddr, Arc<Mutex<Passed>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, passed) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Passed::default())));
    let (kept, mut tasks) = (Arc::clone(&passed), JoinSet::new());
    tasks.spawn(async move {
        let mut carried = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(target).await else { return };
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            for (way, from, to) in [(Way::Out, near_read, far_write), (Way::Back, far_read, near_write)] {
                let flip = flip.filter(|(flipped, _)| *flipped == way).map(|(_, offset)| offset);
                carried.spawn(carry(from, to, way, flip, Arc::clone(&kept)));
            }
        }
    });
    (address, passed, tasks)
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    flip: Option<usize>,
    passed: Arc<Mutex<Passed>>,
) {
    let (mut buffer, mut said) = ([0; 4_096], Vec::new());
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..length];
        if let Some(byte) = flip.and_then(|offset| bytes.get_mut(offset.checked_sub(said.len())?)) {
            *byte ^= 1 << (flip.unwrap_or(0) % 8);
        }
        said.extend_from_slice(bytes);
        passed.lock().unwrap().note(way, &said);
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// How many bytes the first `records` records take, with the preamble.
fn flight(bytes: &[u8], records: usize) -> usize {
    (0..records).fold(PREAMBLE, |at, _| at + 2 + usize::from(u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())))
}

/// Nodes of which the first was joined by the second, and what they said to each other.
async fn pair(config: Config) -> (Node, Node, Passed) {
    let (bob, alice) = (bind_with(config.clone()).await, bind_with(config).await);
    let (tunnel, passed, mut tasks) = meddler(bob.local_addr(), None).await;
    within("a join", alice.join(tunnel)).await.unwrap();
    until_complete(&[bob.clone(), alice.clone()]).await;
    alice.send(bob.id(), "sound").await.unwrap();
    assert_eq!(text(&bob).await, "sound");
    let passed = passed.lock().unwrap().clone();
    // The tunnel lives as long as the test.
    tokio::spawn(async move { tasks.join_next().await });
    (bob, alice, passed)
}

/// Nothing was told but of messages.
fn undisturbed(events: &mut Events) {
    while let Some(event) = events.try_next() {
        assert!(matches!(event, Event::Delivered { .. }), "{event:?}");
    }
}

fn read_all(events: &mut Events) {
    while events.try_next().is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_is_flipped_in_any_byte_of_the_handshake_makes_no_peer() {
    let (_, _, honest) = pair(secure()).await;
    let (out, back) = (flight(&honest.out, 2), flight(&honest.back, 1));
    assert!(out > 100 && back > 100, "{out} and {back} bytes of handshake");
    let flips: Vec<_> = (0..out).map(|at| (Way::Out, at)).chain((0..back).map(|at| (Way::Back, at))).collect();

    let bob = bind_with(secure()).await;
    let mut events = bob.events();
    for flips in flips.chunks(AT_A_TIME) {
        let mut joining = JoinSet::new();
        for &(way, offset) in flips {
            let target = bob.local_addr();
            joining.spawn(async move {
                let alice = bind_with(secure()).await;
                let (address, passed, _tasks) = meddler(target, Some((way, offset))).await;
                // On a busy machine a handshake can be over before that byte was said.
                let meddled = || passed.lock().unwrap().of(way).len() > offset;
                within("a byte that is flipped", async {
                    while !meddled() {
                        let joined = alice.join(address).await;
                        assert!(joined.is_err(), "byte {offset} {way:?}: {joined:?}");
                    }
                })
                .await;
                assert!(alice.peers().is_empty());
            });
        }
        while let Some(done) = joining.join_next().await {
            done.unwrap();
        }
        assert!(bob.peers().is_empty());
    }
    until("every connection has failed", || bob.stats().failed_handshakes >= flips.len() as u64).await;
    assert_eq!(events.try_next(), None);
    assert!(bob.peers().is_empty());

    let alice = bind_with(secure()).await;
    assert_eq!(within("a join", alice.join(bob.local_addr())).await, Ok(bob.id()));
}

/// Says something, and gives what is answered until the other side closes.
async fn say(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be closed before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = within("close", stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn what_was_recorded_gets_an_answer_at_most_and_disturbs_nobody() {
    let (bob, alice, said) = pair(secure()).await;
    let (first, answer, whole) = (flight(&said.out, 1), flight(&said.back, 1), flight(&said.out, 2));
    let mut events = [bob.events(), alice.events()];
    events.iter_mut().for_each(read_all);
    let before = (bob.peers(), alice.peers());
    for recording in [&said.out[..first], &said.out[..whole], &said.out] {
        let answered = say(bob.local_addr(), recording).await;
        assert_eq!(answered.len(), answer, "the second message and no more");
        assert_ne!(answered, said.back[..answer], "it is made anew");
    }
    // What a node says itself, it does not take from others.
    assert_eq!(say(bob.local_addr(), &said.back).await, b"");
    assert_eq!((bob.peers(), alice.peers()), before);
    assert!(bob.stats().failed_handshakes >= 4, "{:?}", bob.stats());
    events.iter_mut().for_each(undisturbed);

    let carol = bind_with(secure()).await;
    assert_eq!(within("a join", carol.join(bob.local_addr())).await, Ok(bob.id()));
}

#[tokio::test]
async fn a_node_whose_own_bytes_come_back_finds_nobody() {
    let (bob, alice, said) = pair(secure()).await;
    let first = flight(&said.out, 1);
    let mut events = bob.events();
    read_all(&mut events);
    // An answer that is sent back, to who was made to give it by a recording.
    let mut stream = TcpStream::connect(bob.local_addr()).await.unwrap();
    stream.write_all(&said.out[..first]).await.unwrap();
    let mut answer = vec![0; flight(&said.back, 1)];
    within("an answer", stream.read_exact(&mut answer)).await.unwrap();
    stream.write_all(&answer[PREAMBLE..]).await.unwrap();
    assert_eq!(within("close", stream.read(&mut [0])).await.unwrap_or(0), 0);
    undisturbed(&mut events);

    // A hello that is sent back, to who dialled.
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = echo.local_addr().unwrap();
    let echoing = tokio::spawn(async move {
        while let Ok((stream, _)) = echo.accept().await {
            let (mut read, mut write) = stream.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    assert!(within("a join", bob.join(address)).await.is_err());
    assert_eq!(up(&bob), [alice.id()].into());
    echoing.abort();
    let carol = bind_with(secure()).await;
    assert_eq!(within("a join", carol.join(bob.local_addr())).await, Ok(bob.id()));
}

/// Somebody who has the secret, at the end of a connection.
struct Member {
    stream: TcpStream,
    channel: Channel,
}

impl Member {
    /// Shakes hands as who has this identity, and says to be `run`. The member, and who answered.
    async fn pretend(address: SocketAddr, identity: Identity, run: Run) -> (Member, Run) {
        let hello =
            Hello { run, cluster: "default".parse().unwrap(), versions: wire::VERSIONS, features: 0, nonce: [3; 16] };
        let keyring = Secret::from_bytes([1; 32]).into();
        let credentials = Credentials { identity, keyring, suite: Suite::ChaChaPoly, entropy: [4; 32] };
        let channel = Channel::secure(Role::Initiator, hello, credentials);
        let mut member = Member { stream: TcpStream::connect(address).await.unwrap(), channel };
        member.flush().await;
        match member.hear().await {
            Some(Received::Connected(proven)) => (member, proven.run),
            other => panic!("the handshake does not go through: {other:?}"),
        }
    }

    async fn say(&mut self, frame: Frame) {
        self.channel.send(frame);
        self.flush().await;
    }

    async fn flush(&mut self) {
        let output = self.channel.output();
        let bytes: Vec<u8> = output.pieces().flatten().copied().collect();
        output.advance(bytes.len());
        // It may be closed before all is written.
        let _ = self.stream.write_all(&bytes).await;
    }

    /// What comes next, or `None` if the other side has closed.
    async fn hear(&mut self) -> Option<Received> {
        let hearing = async {
            loop {
                if let Some(received) = self.channel.poll().unwrap() {
                    return Some(received);
                }
                let mut buffer = vec![0; 1_024];
                match self.stream.read(&mut buffer).await {
                    Ok(length @ 1..) => self.channel.receive(buffer[..length].to_vec().into()),
                    _ => return None,
                }
            }
        };
        within("a word", hearing).await
    }
}

fn alices() -> Profile {
    let name = Some("alice".parse().unwrap());
    Profile { name, metadata: Vec::new().into(), addresses: Vec::new(), max_message: 1_024, window: 65_536 }
}

/// What a node shows of another, at the time when it is up.
fn info(node: &Node, id: NodeId) -> PeerInfo {
    let found = node.peers().into_iter().find(|peer| peer.run.id == id && peer.state == PeerState::Up);
    found.expect("it is up")
}

#[tokio::test]
async fn who_has_the_secret_and_says_to_be_another_is_not() {
    for listed in [false, true] {
        let identities = [10, 11].map(|byte| Identity::from_bytes([byte; 32]));
        let ids = identities.each_ref().map(Identity::id);
        let config = |at: usize, name: &str| {
            let config = secure().identity(identities[at].clone()).name(name.parse().unwrap());
            if listed { config.allow(ids.to_vec()) } else { config }
        };
        let [bob, alice] = [bind_with(config(0, "bob")).await, bind_with(config(1, "alice")).await];
        within("a join", alice.join(bob.local_addr())).await.unwrap();
        until_complete(&[bob.clone(), alice.clone()]).await;
        let mut events = [bob.events(), alice.events()];
        events.iter_mut().for_each(read_all);
        let before = (info(&bob, alice.id()), info(&alice, bob.id()));

        // As the other one, as a later run of it, and as the very node it talks to.
        let later = |run: Run| Run { incarnation: cluster_tokio::Incarnation(run.incarnation.0 + 1), ..run };
        for (number, run) in (12..).zip([alice.run(), later(alice.run()), bob.run()]) {
            let identity = Identity::from_bytes([number; 32]);
            let proven = identity.id();
            let (mut member, answered) = Member::pretend(bob.local_addr(), identity, run).await;
            assert_eq!(answered, bob.run());
            member.say(Frame::Claim(Claim { generation: 1, rejoin: true, profile: alices() })).await;
            if listed {
                assert_eq!(member.hear().await, None, "it is not on the list, and is told nothing");
                assert_eq!(up(&bob), [alice.id()].into());
            } else {
                let accepted = member.hear().await;
                assert!(matches!(accepted, Some(Received::Frame(Frame::Accept(_)))), "{accepted:?}");
                let offer = Offer { stream: StreamId(7), next: 0, peer: PeerStream::None };
                member.say(Frame::Resume(Resume { offer })).await;
                // It has a key of its own, and so it is at most itself, whatever it calls itself.
                let found = event(&mut events[0], "a peer", |event| match event {
                    Event::PeerUp(peer) => Some(peer),
                    Event::Delivered { .. } => None,
                    // The last of them was let go of.
                    Event::PeerDown { peer, .. } if peer.id != alice.id() => None,
                    other => panic!("{other:?}"),
                });
                let found = found.await;
                assert_eq!((found.run.id, found.run.incarnation), (proven, run.incarnation));
                assert_eq!(found.name, before.0.name);
            }
            assert_eq!((info(&bob, alice.id()), info(&alice, bob.id())), before);
        }
        let stats = bob.stats();
        assert_eq!(stats.not_allowed, if listed { 3 } else { 0 });
        assert_eq!((stats.self_connections, stats.duplicate_identities, stats.stale_incarnations), (0, 0, 0));
        alice.send(bob.id(), "as before").await.unwrap();
        let message = within("a message", bob.recv()).await.unwrap();
        assert_eq!((message.from, &message.payload[..]), (alice.run(), &b"as before"[..]));
        while let Some(event) = events[0].try_next() {
            let of_others = matches!(&event, Event::PeerDown { peer, .. } if !listed && peer.id != alice.id());
            assert!(of_others || matches!(event, Event::Delivered { .. }), "{event:?}");
        }
        undisturbed(&mut events[1]);
        if !listed {
            let carol = bind_with(secure()).await;
            assert_eq!(within("a join", carol.join(bob.local_addr())).await, Ok(bob.id()));
            until("both are there", || up(&bob).is_superset(&[alice.id(), carol.id()].into())).await;
        }
    }
}
