//! One real node, and others played by hand, frame by frame, in orders that honest nodes seldom produce.

mod admitting;
mod alive;
mod authorize;
mod candidates;
mod dialling;
mod flood;
mod frames;
mod leaving;
mod outcomes;
mod places;
mod printing;
mod reservations;
mod runs;
mod unread;

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::{Node, Start};
use crate::action::{Action, CloseMode};
use crate::channel::Proven;
use crate::config::{Config, Limits};
use crate::event::{Event, PeerState};
use crate::id::{Incarnation, LinkId, NodeId, Run};
use crate::input::{Disconnect, Input};
use crate::message::SendErrorKind;
use crate::reason::{JoinError, Reason};
use crate::time::Instant;
use crate::wire::RejectCode;
use crate::wire::{
    Accept, Ack, Announce, Claim, Close, Data, Entry, Frame, List, Offer, PeerStream, Profile, Reject, Resume,
    StreamId, Update,
};

struct Bench {
    node: Node,
    now: Instant,
    events: Vec<Event>,
    dials: Vec<(LinkId, SocketAddr)>,
    sent: Vec<(LinkId, Frame)>,
    writable: Vec<NodeId>,
}

fn at(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 7000))
}

fn run(id: u8, incarnation: u64) -> Run {
    Run { id: NodeId::from_bytes([id; 16]), incarnation: Incarnation(incarnation) }
}

fn profile(address: SocketAddr) -> Profile {
    Profile {
        name: None,
        metadata: bytes::Bytes::new(),
        addresses: Vec::from([address.into()]),
        max_message: 1 << 20,
        window: 1 << 16,
    }
}

fn claim(host: u8, generation: u64) -> Frame {
    Frame::Claim(Claim { generation, rejoin: false, profile: profile(at(host)) })
}

fn offer() -> Offer {
    Offer { stream: StreamId(9), next: 0, peer: PeerStream::None }
}

fn entry(run: Run, hosts: &[u8]) -> Entry {
    Entry { run, addresses: hosts.iter().map(|host| at(*host)).collect() }
}

impl Bench {
    fn new(config: Config) -> Bench {
        Bench::with(config.node_id(NodeId::from_bytes([100; 16])))
    }

    fn with(config: Config) -> Bench {
        let start = Start { seed: [1; 32], incarnation: Incarnation(1_000), listen: Some(at(100)) };
        let node = Node::new(config, start, Instant::ZERO).unwrap();
        let (events, dials, sent, writable) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Bench { node, now: Instant::ZERO, events, dials, sent, writable }
    }

    fn input(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.node.poll_action() {
            match action {
                Action::Dial { link, address } => self.dials.push((link, address)),
                Action::Send { link } => self.pull(link),
                Action::Close { link, mode, .. } => {
                    if mode == CloseMode::Flush {
                        self.pull(link);
                    }
                    self.node.handle(self.now, Input::Disconnected { link, cause: Disconnect::Closed });
                }
                Action::Event(event) => self.events.push(event),
                Action::Writable { peer } => self.writable.push(peer),
                _ => {}
            }
        }
    }

    fn pull(&mut self, link: LinkId) {
        while let Some(frame) = self.node.poll_frame(link) {
            self.sent.push((link, frame));
        }
    }

    /// What went out on a link.
    fn sent_on(&self, link: LinkId) -> Vec<&Frame> {
        self.sent.iter().filter(|(of, _)| *of == link).map(|(_, frame)| frame).collect()
    }

    fn send(&mut self, to: Run, payload: &'static str) {
        self.node.send(self.now, to.id, payload.into()).unwrap();
        self.act();
    }

    fn leave(&mut self, timeout: Duration) {
        self.node.leave(self.now, timeout);
        self.act();
    }

    /// What a peer says of the stream that the node began on this link, if nothing of it arrived.
    fn offer_to_go_on(&self, link: LinkId) -> Offer {
        let accepted = |frame: &&Frame| match frame {
            Frame::Accept(accept) => Some(accept.offer.stream),
            _ => None,
        };
        let id = self.sent_on(link).iter().find_map(accepted).unwrap();
        Offer { peer: PeerStream::Live { id, ack: Ack { granted: 1 << 16, ..Ack::default() } }, ..offer() }
    }

    /// A peer that is up while the node's own dial has got as far as to claim another link to it.
    fn claiming_beside_a_live_link(&mut self, peer: Run) -> (LinkId, LinkId) {
        self.node.join(self.now, at(50).into()).unwrap();
        self.act();
        let (dial, _) = self.dials.pop().unwrap();
        self.connect(dial, peer);
        let live = self.claimed(peer, 1);
        self.frame(live, Frame::Resume(Resume { offer: offer() }));
        assert!(matches!(self.sent_on(dial)[..], [Frame::Claim(_)]));
        assert_eq!(self.word(peer.id), ["up"]);
        (dial, live)
    }

    fn frame(&mut self, link: LinkId, frame: Frame) {
        self.input(Input::Frame { link, frame });
    }

    fn end(&mut self, link: LinkId) {
        self.input(Input::Disconnected { link, cause: Disconnect::Reset });
    }

    fn connect(&mut self, link: LinkId, run: Run) {
        let proven = Proven { run, version: 1, features: 0, secret: None };
        self.input(Input::Connected { link, proven, local: at(100) });
    }

    /// `run` dials the node and has proven who it is.
    fn inbound(&mut self, run: Run) -> LinkId {
        let from = SocketAddr::from(([10, 0, 0, run.id.as_bytes()[0]], 40_000));
        let link = self.node.accept(self.now, from).unwrap();
        self.connect(link, run);
        link
    }

    /// `run` dials the node, and its claim is granted.
    fn claimed(&mut self, run: Run, generation: u64) -> LinkId {
        let link = self.inbound(run);
        self.frame(link, claim(run.id.as_bytes()[0], generation));
        link
    }

    fn up(&mut self, run: Run) -> LinkId {
        let link = self.claimed(run, 1);
        self.frame(link, Frame::Resume(Resume { offer: offer() }));
        assert!(self.node.peer(run.id).is_some());
        link
    }

    /// Lets time pass. Every dial is refused.
    fn pass(&mut self, span: Duration) -> Vec<SocketAddr> {
        let end = self.now + span;
        let mut dialled = Vec::new();
        loop {
            for (link, address) in core::mem::take(&mut self.dials) {
                dialled.push(address);
                self.input(Input::Disconnected { link, cause: Disconnect::Refused });
            }
            match self.node.next_tick().filter(|due| *due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
            self.input(Input::Tick);
        }
        self.now = end;
        dialled
    }

    /// Time in which every peer answers: nothing is dialled, nobody is lost.
    fn pass_alive(&mut self, links: &[LinkId], span: Duration) -> Vec<SocketAddr> {
        let mut dialled = Vec::new();
        for _ in 0..span.as_millis() / 500 {
            for link in links {
                self.frame(*link, Frame::Ping { token: 0 });
            }
            dialled.extend(self.pass(Duration::from_millis(500)));
        }
        dialled
    }

    /// Why peers went down, in order.
    fn down_reasons(&self) -> Vec<Reason> {
        let reason = |event: &Event| match event {
            Event::PeerDown { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        self.events.iter().filter_map(reason).collect()
    }

    fn word(&self, id: NodeId) -> Vec<&'static str> {
        let kind = |event: &Event| match event {
            Event::PeerUp(peer) if peer.run.id == id => Some("up"),
            Event::PeerDown { peer, .. } if peer.id == id => Some("down"),
            Event::PeerGone { peer } if peer.id == id => Some("gone"),
            _ => None,
        };
        self.events.iter().filter_map(kind).collect()
    }
}

fn lan() -> Config {
    Config::insecure_plaintext()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_claim_that_breaks_a_rule_leaves_no_record() {
    let mut bench = Bench::new(lan());
    for id in 1..50 {
        bench.claimed(run(id, 1), u64::MAX);
    }
    assert!(bench.node.pairs.peers().len() == 0);
}

#[test]
fn a_lost_peer_whose_return_fails_half_way_is_still_dialled() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.end(link);
    // Its claim is granted, the dial that was due passes meanwhile, and then its resume never comes.
    let link = bench.claimed(run(1, 1), 2);
    assert!(bench.pass(Duration::from_secs(4)).is_empty());
    bench.end(link);
    assert!(bench.pass(MINUTE).contains(&at(1)));
}

#[test]
fn a_shorter_time_to_forget_forgets_and_is_no_sign_that_the_process_stood_still() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.end(link);
    bench.pass(MINUTE);
    bench.node.set_config(bench.now, bench.node.config().clone().forget_after(Some(Duration::from_secs(1)))).unwrap();
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"]);
    assert_eq!((bench.node.peers().count(), bench.node.stats().own_stalls), (0, 0));
}

#[test]
fn a_peer_whose_return_fails_after_it_was_to_be_forgotten_is_forgotten_and_no_sign_that_the_process_stood_still() {
    let mut bench = Bench::new(lan().forget_after(Some(MINUTE)));
    let link = bench.up(run(1, 1));
    bench.end(link);
    bench.pass(MINUTE - Duration::from_secs(2));
    let link = bench.claimed(run(1, 1), 2);
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down"]);
    bench.end(link);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"]);
    assert_eq!((bench.node.peers().count(), bench.node.stats().own_stalls), (0, 0));
}

#[test]
fn a_refused_dial_does_not_end_a_link_that_is_live() {
    for code in [RejectCode::Leaving, RejectCode::Removed] {
        let mut bench = Bench::new(lan());
        bench.node.join(bench.now, at(1).into()).unwrap();
        bench.act();
        let (dial, _) = bench.dials.pop().unwrap();
        bench.connect(dial, run(1, 1));
        // Crossed dials: theirs outranks ours, and then they leave.
        let live = bench.claimed(run(1, 1), 2);
        bench.frame(live, Frame::Resume(Resume { offer: offer() }));
        bench.frame(dial, Frame::Reject(Reject { code }));
        assert_eq!(bench.word(run(1, 1).id), ["up"]);
        bench.frame(live, Frame::Close(Close::Leaving));
        assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"]);
        assert_eq!(bench.node.peers().count(), 0);
    }
}

#[test]
fn a_peer_in_limbo_that_refuses_goes_down_before_it_is_forgotten() {
    let mut bench = Bench::new(lan());
    bench.node.join(bench.now, at(1).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 1));
    let live = bench.claimed(run(1, 1), 1);
    bench.frame(live, Frame::Resume(Resume { offer: offer() }));
    bench.end(live);
    assert_eq!(bench.word(run(1, 1).id), ["up"], "our claim may yet replace it unnoticed");
    bench.frame(dial, Frame::Reject(Reject { code: RejectCode::Leaving }));
    assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"]);
    assert_eq!(bench.node.peers().count(), 0);
}

#[test]
fn a_granted_claim_ends_limbo_so_that_a_failed_dial_does_no_harm() {
    let mut bench = Bench::new(lan());
    bench.node.join(bench.now, at(1).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 1));
    let live = bench.claimed(run(1, 1), 1);
    bench.frame(live, Frame::Resume(Resume { offer: offer() }));
    bench.end(live);
    let next = bench.claimed(run(1, 1), 2);
    bench.end(dial);
    bench.frame(next, Frame::Resume(Resume { offer: offer() }));
    assert_eq!(bench.word(run(1, 1).id), ["up"]);
}

#[test]
fn grant_from_before_the_last_link_is_void_and_no_breach() {
    let (mut bench, peer) = (Bench::new(lan()), run(1, 1));
    bench.node.join(bench.now, at(1).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, peer);
    // The peer grants this claim, then uses a link of its own, and the grant arrives after that link has ended.
    let live = bench.claimed(peer, 2);
    let stream = bench.offer_to_go_on(live);
    bench.frame(live, Frame::Resume(Resume { offer: offer() }));
    bench.send(peer, "hello");
    bench.frame(live, Frame::Ack(Ack { received: 6, consumed: 6, consumed_messages: 1, granted: 1 << 16 }));
    bench.end(live);
    assert_eq!(bench.word(peer.id), ["up", "down"], "our claim cannot replace it any more");
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(1)), offer: stream }));
    assert_eq!((bench.node.stats().protocol_errors, bench.node.stats().links_outranked), (0, 1));
    assert!(matches!(bench.sent_on(dial)[..], [Frame::Claim(_)]), "it is not resumed");
    // The node dials again soon, and the session continues.
    assert!(bench.pass(Duration::from_secs(1)).contains(&at(1)));
    let next = bench.claimed(peer, 3);
    let PeerStream::Live { id, .. } = stream.peer else { unreachable!() };
    let ack = Ack { received: 6, consumed: 6, consumed_messages: 1, granted: 1 << 16 };
    bench.frame(next, Frame::Resume(Resume { offer: Offer { peer: PeerStream::Live { id, ack }, ..offer() } }));
    assert_eq!(bench.word(peer.id), ["up", "down", "up"]);
}

#[test]
fn what_a_peer_says_of_itself_does_not_keep_us_from_a_seed() {
    let mut bench = Bench::new(lan());
    let link = bench.inbound(run(1, 1));
    bench.frame(link, claim(9, 1));
    bench.frame(link, Frame::Resume(Resume { offer: offer() }));
    bench.node.join(bench.now, at(9).into()).unwrap();
    bench.act();
    assert_eq!(bench.dials.last().unwrap().1, at(9));
    assert!(!bench.events.iter().any(|event| matches!(event, Event::Joined { .. })));
}

#[test]
fn a_hanging_dial_to_a_lost_peer_does_not_keep_a_join_out() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    bench.end(link);
    while bench.dials.is_empty() {
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
    }
    bench.node.join(bench.now, at(7).into()).unwrap();
    bench.act();
    let (dial, address) = bench.dials.pop().unwrap();
    assert_eq!(address, at(7));
    bench.connect(dial, run(1, 1));
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(1)), offer: offer() }));
    assert!(matches!(bench.events.last(), Some(Event::Joined { .. })));
}

#[test]
fn what_is_taken_while_a_link_is_being_set_up_is_acknowledged_on_it() {
    let mut bench = Bench::new(lan());
    let peer = run(1, 1);
    let link = bench.up(peer);
    bench.frame(link, Frame::Data(Data { offset: 0, bytes: bytes::Bytes::from_static(b"\x41a") }));
    bench.end(link);
    let next = bench.claimed(peer, 2);
    assert_eq!(bench.node.poll_message(bench.now).unwrap().payload, "a");
    bench.act();
    bench.pass(MINUTE / 60);
    let stream = bench.offer_to_go_on(next);
    bench.frame(next, Frame::Resume(Resume { offer: Offer { stream: StreamId(9), next: 2, ..stream } }));
    bench.pass(MINUTE / 60);
    let acks = |frame: &&Frame| match frame {
        Frame::Ack(ack) => Some(ack.consumed),
        _ => None,
    };
    assert_eq!(bench.sent_on(next).iter().filter_map(acks).collect::<Vec<_>>(), [2]);
}

fn narrow() -> Config {
    lan().limits(Limits { send_window: 64, ..Limits::default() })
}

#[test]
fn whoever_waits_for_room_is_told_when_a_reset_has_made_it() {
    let mut bench = Bench::new(narrow());
    let peer = run(1, 1);
    bench.up(peer);
    bench.send(peer, "sixty bytes, or so it says, that nobody is going to take soon");
    assert_eq!(bench.node.send(bench.now, peer.id, "one more".into()).unwrap_err().kind, SendErrorKind::Full);
    let next = bench.claimed(peer, 2);
    assert!(bench.writable.is_empty());
    // It knows nothing of what it was sent, so that no acknowledgement of it will ever come.
    bench.frame(next, Frame::Resume(Resume { offer: Offer { stream: StreamId(999), ..offer() } }));
    assert!(bench.events.contains(&Event::SessionReset { peer }), "{:?}", bench.events);
    assert_eq!(bench.writable, [peer.id]);
}

#[test]
fn a_profile_that_changes_during_a_handshake_is_told_once_the_link_is_up() {
    let renamed = || lan().node_id(NodeId::from_bytes([100; 16])).name("renamed".parse().unwrap());
    let kinds = |bench: &Bench, link: LinkId| -> Vec<&'static str> {
        let of_link = bench.sent.iter().filter(|(on, _)| *on == link);
        let kind = |frame: &Frame| match frame {
            Frame::Update(update) => {
                assert_eq!(update.profile.name, renamed().name);
                "update"
            }
            Frame::Claim(_) => "claim",
            Frame::Accept(_) => "accept",
            Frame::Resume(_) => "resume",
            _ => "other",
        };
        of_link.map(|(_, frame)| kind(frame)).filter(|kind| *kind != "other").collect()
    };

    let mut bench = Bench::new(lan());
    let inbound = bench.claimed(run(1, 1), 1);
    bench.node.set_config(bench.now, renamed()).unwrap();
    bench.act();
    assert_eq!(kinds(&bench, inbound), ["accept"], "nothing may follow before the link is up");
    bench.frame(inbound, Frame::Resume(Resume { offer: offer() }));
    assert_eq!(kinds(&bench, inbound), ["accept", "update"]);

    let mut bench = Bench::new(lan());
    bench.node.join(bench.now, at(2).into()).unwrap();
    bench.act();
    let (outbound, _) = bench.dials.remove(0);
    bench.connect(outbound, run(2, 1));
    bench.node.set_config(bench.now, renamed()).unwrap();
    bench.act();
    assert_eq!(kinds(&bench, outbound), ["claim"]);
    bench.frame(outbound, Frame::Accept(Accept { profile: profile(at(2)), offer: offer() }));
    assert_eq!(kinds(&bench, outbound), ["claim", "resume", "update"]);
}

#[test]
fn what_a_link_that_gave_way_still_brings_changes_nothing() {
    let late = |bench: &mut Bench, link: LinkId| {
        let before = alloc::format!("{:?}", bench.node);
        let known = PeerStream::Live { id: StreamId(9), ack: Ack { granted: 1 << 20, ..Ack::default() } };
        let profile = Profile { name: Some("late".parse().unwrap()), ..profile(at(9)) };
        let frames = [
            Frame::Data(Data { offset: 0, bytes: [0x41, b'x'].to_vec().into() }),
            Frame::Ack(Ack { received: 1 << 40, ..Ack::default() }),
            Frame::Claim(Claim { generation: 70, rejoin: true, profile: profile.clone() }),
            Frame::Accept(Accept { profile: profile.clone(), offer: offer() }),
            Frame::Resume(Resume { offer: Offer { peer: known, ..offer() } }),
            Frame::Reject(Reject { code: RejectCode::DuplicateIdentity }),
            Frame::Update(Update { profile }),
            Frame::Announce(Announce { entries: Vec::from([entry(run(8, 1), &[8])]) }),
            Frame::Ping { token: 7 },
            Frame::Pong { token: 1 },
            Frame::Close(Close::Removed),
            Frame::Close(Close::Leaving),
        ];
        for frame in frames {
            let shown = alloc::format!("{frame:?}");
            bench.node.handle(bench.now, Input::Frame { link, frame });
            assert_eq!(alloc::format!("{:?}", bench.node), before, "{shown}");
        }
        let proven = Proven { run: run(1, 9), version: 1, features: 0, secret: None };
        bench.node.handle(bench.now, Input::Connected { link, proven, local: at(100) });
        assert_eq!(alloc::format!("{:?}", bench.node), before);
    };
    // The same run dials again; then a later one, after the link of the one before was reset.
    for successor in [run(1, 5), run(1, 6)] {
        let mut bench = Bench::new(lan());
        let old = bench.up(run(1, 5));
        if successor != run(1, 5) {
            bench.end(old);
        }
        let new = bench.inbound(successor);
        // The driver has not got round to closing the old one.
        bench.node.handle(bench.now, Input::Frame { link: new, frame: claim(1, 2) });
        late(&mut bench, old);
        bench.node.handle(bench.now, Input::Frame { link: new, frame: Frame::Resume(Resume { offer: offer() }) });
        late(&mut bench, old);
        bench.act();
        late(&mut bench, old);
        bench.end(old);
        assert_eq!(bench.node.peer(successor.id).map(|info| info.run), Some(successor));
        assert_eq!(bench.node.peers().filter(|info| info.state == PeerState::Up).count(), 1);
    }
}
