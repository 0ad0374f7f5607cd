//! One real node, and others played by hand, frame by frame, in orders that honest nodes seldom produce.

mod admitting;
mod dialling;
mod flood;
mod frames;
mod leaving;
mod outcomes;
mod printing;
mod reservations;
mod trust;
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
use crate::reason::{JoinError, Reason, RejectCode};
use crate::time::Instant;
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
    assert!(bench.node.peers.is_empty());
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
fn a_later_run_whose_claim_fails_half_way_neither_ends_the_retries_nor_lets_an_earlier_run_in() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 5));
    bench.end(link);
    let link = bench.claimed(run(1, 7), 1);
    bench.end(link);
    assert!(bench.pass(MINUTE).contains(&at(1)));
    bench.claimed(run(1, 4), 1);
    assert_eq!(bench.node.peers().map(|peer| peer.run).collect::<Vec<_>>(), [run(1, 7)]);
    bench.up(run(1, 7));
    assert_eq!(bench.word(run(1, 7).id), ["up", "down", "gone", "up"]);
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
    let live = bench.claimed(run(1, 1), 2);
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
    let live = bench.claimed(run(1, 1), 2);
    bench.frame(live, Frame::Resume(Resume { offer: offer() }));
    bench.end(live);
    let next = bench.claimed(run(1, 1), 3);
    bench.end(dial);
    bench.frame(next, Frame::Resume(Resume { offer: offer() }));
    assert_eq!(bench.word(run(1, 1).id), ["up"]);
}

#[test]
fn the_claim_of_a_later_run_is_granted_while_the_earlier_one_is_being_claimed() {
    let mut bench = Bench::new(lan());
    bench.node.join(bench.now, at(1).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 1));
    assert!(matches!(bench.sent_on(dial)[..], [Frame::Claim(_)]));
    let later = bench.claimed(run(1, 2), 1);
    assert!(matches!(bench.sent_on(later)[..], [Frame::Accept(_)]));
    bench.frame(later, Frame::Resume(Resume { offer: offer() }));
    assert_eq!(bench.word(run(1, 2).id), ["up"]);
}

#[test]
fn a_goodbye_of_an_earlier_run_does_not_concern_a_later_one() {
    let mut bench = Bench::new(lan());
    bench.up(run(1, 5));
    let clone = bench.inbound(run(1, 4));
    bench.frame(clone, Frame::Close(Close::Leaving));
    assert_eq!(bench.word(run(1, 5).id), ["up"]);
    assert_eq!(bench.node.peer(run(1, 5).id).map(|peer| peer.run), Some(run(1, 5)));
}

#[test]
fn a_candidate_is_dialled_at_every_address_that_anyone_names() {
    let mut bench = Bench::new(lan());
    let (liar, honest) = (bench.up(run(1, 1)), bench.up(run(2, 1)));
    let list = |entries| Frame::List(List { buckets: u16::MAX, reply: false, entries });
    bench.frame(liar, list(Vec::from([entry(run(3, u64::MAX), &[50, 51, 52, 53])])));
    bench.frame(honest, list(Vec::from([entry(run(3, 1), &[3, 4])])));
    let dialled = bench.pass_alive(&[liar, honest], MINUTE * 5);
    assert!([50, 51, 52, 53, 3, 4].iter().all(|host| dialled.contains(&at(*host))), "{dialled:?}");
}

#[test]
fn a_candidate_whose_address_answers_as_another_is_dialled_elsewhere() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    let entries = Vec::from([entry(run(3, 1), &[4, 3])]);
    bench.frame(link, Frame::Announce(Announce { entries }));
    while bench.dials.is_empty() {
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
    }
    let (dial, address) = bench.dials.pop().unwrap();
    assert_eq!(address, at(4));
    bench.connect(dial, run(4, 1));
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(4)), offer: offer() }));
    assert_eq!(bench.word(run(4, 1).id), ["up"]);
    assert!(bench.pass_alive(&[link, dial], MINUTE).contains(&at(3)));
}

#[test]
fn a_candidate_that_nobody_names_any_more_is_given_up_when_its_address_answers_as_another() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(1, 1));
    let entries = Vec::from([entry(run(3, 1), &[4])]);
    bench.frame(link, Frame::Announce(Announce { entries }));
    bench.pass_alive(&[link], 2 * MINUTE);
    while bench.dials.is_empty() {
        bench.frame(link, Frame::Ping { token: 0 });
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
    }
    let (dial, address) = bench.dials.pop().unwrap();
    assert_eq!(address, at(4));
    bench.connect(dial, run(4, 1));
    bench.frame(dial, Frame::Accept(Accept { profile: profile(at(4)), offer: offer() }));
    assert_eq!(bench.pass_alive(&[link, dial], 10 * MINUTE), []);
}

#[test]
fn made_up_runs_do_not_make_us_dial_faster() {
    let mut bench = Bench::new(lan());
    let lost = bench.up(run(2, 1));
    let liar = bench.up(run(1, 1));
    bench.end(lost);
    let mut dialled = 0;
    for step in 0..600 {
        let entries = Vec::from([entry(run(2, 2 + step), &[2]), entry(run(3, step), &[3])]);
        bench.frame(liar, Frame::Announce(Announce { entries }));
        dialled += bench.pass(Duration::from_millis(100)).len();
    }
    // Two nodes, each in back-off: about nine tries in a minute.
    assert!(dialled < 40, "{dialled}");
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
fn a_join_that_meets_a_later_run_behind_a_half_open_link_waits_for_that_run() {
    let mut bench = Bench::new(lan());
    bench.up(run(1, 1));
    bench.node.join(bench.now, at(2).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(1, 2));
    // The link does not answer the probe.
    while bench.word(run(1, 2).id) != ["up", "down", "gone", "up"] {
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
        while let Some((dial, address)) = bench.dials.pop() {
            assert_eq!(address, at(2));
            bench.connect(dial, run(1, 2));
            bench.frame(dial, Frame::Accept(Accept { profile: profile(at(2)), offer: offer() }));
        }
    }
    let joined = |event: &Event| matches!(event, Event::Joined { peer, .. } if *peer == run(1, 2));
    assert_eq!(bench.events.iter().filter(|event| joined(event)).count(), 1);
}

#[test]
fn peers_that_are_lost_make_room_for_those_that_come() {
    let mut bench = Bench::new(lan().limits(Limits { max_peers: 3, ..Limits::default() }));
    for id in 1..20 {
        let link = bench.up(run(id, 1));
        bench.end(link);
    }
    assert_eq!(bench.node.peers().count(), 3);
    for id in 21..24 {
        bench.up(run(id, 1));
    }
    bench.claimed(run(30, 1), 1);
    assert_eq!(bench.node.stats().peer_limit, 1, "nobody who is up makes room");
}

#[test]
fn a_lost_peer_that_gave_its_place_away_may_come_back_and_an_earlier_run_of_it_may_not() {
    for incarnation in [4, 5, 6] {
        let mut bench = Bench::new(lan().limits(Limits { max_peers: 1, ..Limits::default() }));
        let link = bench.up(run(1, 5));
        bench.end(link);
        let other = bench.up(run(2, 1));
        assert_eq!(bench.node.peer(run(1, 5).id), None);
        bench.end(other);
        let again = bench.claimed(run(1, incarnation), 2);
        let stale = Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(5) } });
        assert_eq!(bench.sent_on(again).contains(&&stale), incarnation == 4);
        bench.frame(again, Frame::Resume(Resume { offer: offer() }));
        assert_eq!(bench.node.peer(run(1, 5).id).is_some(), incarnation != 4);
        assert_eq!(bench.node.usage().tombstones, 1, "of the one that has no place");
    }
}

#[test]
fn unread_messages_of_those_who_are_gone_hold_their_places() {
    let mut bench = Bench::new(lan().limits(Limits { max_peers: 3, ..Limits::default() }));
    for id in 1..4 {
        let link = bench.up(run(id, 1));
        let data = Data { offset: 0, bytes: bytes::Bytes::from_static(b"\x42hi") };
        bench.frame(link, Frame::Data(data));
        bench.frame(link, Frame::Close(Close::Leaving));
    }
    bench.claimed(run(9, 1), 1);
    assert_eq!(bench.node.stats().peer_limit, 1);
    assert!(bench.node.poll_message(bench.now).is_some());
    bench.up(run(9, 1));
}

#[test]
fn an_unasked_for_stale_does_not_keep_us_from_dialling() {
    let mut bench = Bench::new(lan());
    bench.up(run(2, 1));
    for _ in 0..5 {
        let liar = bench.inbound(run(1, 1));
        let code = RejectCode::Stale { known: Incarnation(u64::MAX - 1) };
        bench.frame(liar, Frame::Reject(Reject { code }));
    }
    let told = bench.events.iter().filter(|event| matches!(event, Event::DuplicateIdentity { .. })).count();
    assert_eq!((told, bench.node.muted()), (1, None));
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

#[test]
fn a_node_that_becomes_a_later_run_of_itself_ends_the_sessions_of_the_earlier_one() {
    let mut bench = Bench::new(lan());
    let peer = run(1, 1);
    let link = bench.up(peer);
    bench.send(peer, "one");
    bench.frame(link, Frame::Data(Data { offset: 0, bytes: bytes::Bytes::from_static(b"\x41a\x42b") }));
    bench.end(link);
    bench.send(peer, "two");
    // Its clock has gone back, as somebody says to whom it is not connected.
    bench.node.join(bench.now, at(2).into()).unwrap();
    bench.act();
    let (dial, _) = bench.dials.pop().unwrap();
    bench.connect(dial, run(2, 1));
    bench.frame(dial, Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(5_000) } }));
    assert_eq!(bench.node.stats().stale_incarnations, 1);
    assert!((5_001..=1_005_000).contains(&bench.node.run().incarnation.0));
    let undelivered = |event: &Event| match event {
        Event::Undelivered(told) => Some((told.in_doubt.clone(), told.not_delivered.clone())),
        _ => None,
    };
    let told: Vec<_> = bench.events.iter().filter_map(undelivered).collect();
    assert_eq!(told, [(Vec::from(["one".into()]), Vec::from(["two".into()]))]);
    assert_eq!(bench.word(peer.id), ["up", "down", "gone"]);
    assert_eq!(bench.node.poll_message(bench.now).unwrap().payload, "a");
    assert_eq!(bench.node.poll_message(bench.now), None, "the part of one never becomes whole");
    // The next session begins with nothing known.
    let next = bench.claimed(peer, 2);
    let offers = |frame: &&Frame| match frame {
        Frame::Accept(accept) => Some(accept.offer.peer),
        _ => None,
    };
    assert_eq!(bench.sent_on(next).iter().find_map(offers), Some(PeerStream::None));
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

#[test]
fn a_lost_peer_whose_next_run_fails_half_way_is_still_dialled_and_in_the_end_forgotten() {
    for outbound in [false, true] {
        let mut bench = Bench::new(lan());
        let live = bench.up(run(1, 1));
        bench.end(live);
        let broken = if outbound {
            while bench.dials.is_empty() {
                bench.now = bench.node.next_tick().unwrap();
                bench.input(Input::Tick);
            }
            let (link, _) = bench.dials.remove(0);
            bench.connect(link, run(1, 2));
            link
        } else {
            bench.claimed(run(1, 2), 1)
        };
        bench.end(broken);
        assert_eq!(bench.word(run(1, 1).id), ["up", "down", "gone"]);
        let dialled = bench.pass(MINUTE);
        assert!(dialled.len() >= 3 && dialled.iter().all(|address| *address == at(1)), "{outbound}: {dialled:?}");
        bench.claimed(run(1, 2), 9);
        let forgotten = MINUTE * 60 * 25;
        bench.pass(forgotten);
        assert_eq!(bench.node.peer(run(1, 2).id), None, "{outbound}");
        assert!(bench.pass(forgotten).is_empty(), "{outbound}");
    }
}

#[test]
fn a_run_that_is_told_of_a_later_one_is_dialled_again_at_once_but_only_once() {
    let mut bench = Bench::new(lan());
    let live = bench.up(run(1, 5));
    bench.end(live);
    let begin = bench.now;
    let mut met = Vec::new();
    while bench.now - begin < MINUTE * 5 {
        bench.now = bench.node.next_tick().unwrap();
        bench.input(Input::Tick);
        for (link, _) in core::mem::take(&mut bench.dials) {
            met.push(bench.now);
            bench.connect(link, run(1, 4));
            let stale = Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(5) } });
            assert!(bench.sent.contains(&(link, stale)));
        }
    }
    assert_eq!(met[1] - met[0], Duration::from_millis(250));
    assert!(met.len() < 40, "{} dials in five minutes", met.len());
}

#[test]
fn a_run_before_one_that_has_left_is_told_so_and_the_one_that_left_is_not() {
    for (incarnation, told) in [(4, true), (5, false)] {
        let mut bench = Bench::new(lan());
        let live = bench.up(run(1, 5));
        bench.frame(live, Frame::Close(Close::Leaving));
        bench.node.join(bench.now, at(1).into()).unwrap();
        bench.act();
        let (link, _) = bench.dials.remove(0);
        bench.connect(link, run(1, incarnation));
        let sent: Vec<&Frame> = bench.sent.iter().filter(|(on, _)| *on == link).map(|(_, frame)| frame).collect();
        let stale = Frame::Reject(Reject { code: RejectCode::Stale { known: Incarnation(5) } });
        assert_eq!(sent, if told { Vec::from([&stale]) } else { Vec::new() });
        let failed = |event: &Event| matches!(event, Event::JoinFailed { .. });
        assert_eq!(bench.events.iter().any(failed), !told, "who is told of it may come again as a later run");
    }
}

#[test]
fn a_dial_that_meets_another_run_of_a_live_peer_probes_the_peer_and_decides_nothing() {
    for incarnation in [4, 6] {
        let mut bench = Bench::new(lan());
        let live = bench.up(run(1, 5));
        bench.node.join(bench.now, at(2).into()).unwrap();
        bench.act();
        let (link, _) = bench.dials.remove(0);
        bench.sent.clear();
        bench.connect(link, run(1, incarnation));
        assert!(matches!(bench.sent[..], [(on, Frame::Ping { .. })] if on == live), "{:?}", bench.sent);
        assert_eq!(bench.word(run(1, 5).id), ["up"]);
        let ended = |event: &Event| matches!(event, Event::Joined { .. } | Event::JoinFailed { .. });
        assert!(!bench.events.iter().any(ended), "{:?}", bench.events);
        assert_eq!(bench.node.peer(run(1, 5).id).unwrap().run, run(1, 5));
    }
}

#[test]
fn only_the_own_id_can_say_that_it_is_in_use_before_it_claims() {
    let own = NodeId::from_bytes([100; 16]);
    let duplicate = || Frame::Reject(Reject { code: RejectCode::DuplicateIdentity });
    let mut bench = Bench::new(lan());
    let clone = Run { id: own, incarnation: Incarnation(2_000) };
    let link = bench.node.accept(bench.now, at(9)).unwrap();
    bench.connect(link, clone);
    bench.frame(link, duplicate());
    assert_eq!(bench.events, [Event::DuplicateIdentity { newcomer: clone }]);
    // The first one of the two still dials.
    bench.node.join(bench.now, at(2).into()).unwrap();
    bench.act();
    assert_eq!(bench.dials.len(), 1);

    let link = bench.inbound(run(1, 1));
    bench.frame(link, duplicate());
    assert_eq!((bench.events.len(), bench.node.stats().protocol_errors), (1, 1));
    assert_eq!(bench.node.stats().duplicate_identities, 1);

    // The newcomer tells the one that it has dialled, and then dials nobody.
    let (dial, _) = bench.dials.remove(0);
    bench.connect(dial, clone);
    assert!(bench.sent.contains(&(dial, duplicate())));
    bench.node.join(bench.now, at(3).into()).unwrap();
    assert!(bench.pass(MINUTE - Duration::from_secs(1)).is_empty());
}
