//! Mail by itself: two nodes exchange it without links, frames or a node around it.

use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::config::Config;
use crate::event::Event;
use crate::id::Incarnation;
use crate::message::Message;
use crate::node::pairs::Pairs;
use crate::rng::{Purpose, Seed};
use crate::time::Instant;
use crate::wire::Data;

const LINK: LinkId = LinkId(7);

fn run(number: u8) -> Run {
    Run { id: NodeId::from_bytes([number; 16]), incarnation: Incarnation(1) }
}

/// One node: its mail, and what surrounds it.
struct Side {
    cx: Context,
    pairs: Pairs,
    mail: Mail,
    peer: Run,
}

impl Side {
    fn new(number: u8, peer: u8, config: Config) -> Side {
        let rng = |purpose| Rng::new(&Seed::new([number; 32]), purpose);
        let mut mail = Mail::new(&config.limits, rng(Purpose::Streams));
        mail.begin(run(peer));
        let cx = Context::new(config, run(number), rng(Purpose::Jitter), Instant::ZERO);
        Side { cx, pairs: Pairs::default(), mail, peer: run(peer) }
    }

    fn attach(&mut self) {
        let (window, max_message) = (self.cx.config.limits.initial_window, self.cx.config.limits.max_message);
        let profile = Profile { name: None, metadata: Bytes::new(), addresses: Vec::new(), max_message, window };
        self.mail.attach(self.peer.id, LINK, &profile);
    }

    fn resume(&mut self, theirs: &crate::wire::Offer, outbound: bool) -> Option<crate::wire::Offer> {
        let window = self.cx.config.limits.initial_window;
        let resumption = self.mail.resume(&mut self.cx, self.peer, theirs, outbound, window).unwrap().unwrap();
        if let Some(acked) = resumption.acked() {
            let _ = self.mail.settle(&mut self.cx, self.peer.id, acked);
        }
        let (answer, _) = self.mail.finish_resumption(&mut self.cx, self.peer, resumption, false);
        self.mail.returned(&mut self.cx, self.peer.id);
        self.mail.opened(self.peer.id);
        answer
    }

    fn send(&mut self, payload: &'static [u8]) -> Result<Option<LinkId>, SendErrorKind> {
        self.mail.send(&mut self.cx, self.peer.id, &Bytes::from_static(payload))
    }

    fn pull(&mut self) -> Option<Data> {
        self.mail.outgoing_mut(self.peer.id)?.pull(1_000)
    }

    fn take(&mut self) -> Option<Message> {
        let id = self.mail.turn()?;
        let (taken, _) = self.mail.take(&mut self.cx, &self.pairs, id);
        let message = taken.unwrap();
        self.mail.end_turn(&mut self.cx, id, message.is_some());
        message
    }

    fn events(&mut self) -> Vec<Event> {
        let event = |action| if let Action::Event(event) = action { Some(event) } else { None };
        self.cx.actions.drain(..).filter_map(event).collect()
    }
}

/// Two nodes whose link is up.
fn pair() -> (Side, Side) {
    let (mut alice, mut bob) =
        (Side::new(1, 2, Config::insecure_plaintext()), Side::new(2, 1, Config::insecure_plaintext()));
    alice.attach();
    bob.attach();
    let offer = bob.mail.offer(&mut bob.cx, alice.cx.run.id).unwrap();
    let answer = alice.resume(&offer, true).unwrap();
    assert!(bob.resume(&answer, false).is_none());
    (alice, bob)
}

#[test]
fn message_is_delivered_once_it_was_taken() {
    let (mut alice, mut bob) = pair();
    assert_eq!(alice.send(b"hello"), Ok(Some(LINK)));
    let chunk = alice.pull().unwrap();
    let effects = bob.mail.data(&mut bob.cx, alice.cx.run.id, chunk).unwrap();
    assert_eq!(effects.into_iter().next(), None, "nothing is consumed yet");
    let message = bob.take().unwrap();
    assert_eq!((message.from, &message.payload[..]), (alice.cx.run, &b"hello"[..]));
    assert!(bob.take().is_none());
    let ack = bob.mail.ack(alice.cx.run.id, false).unwrap().unwrap();
    let acked = alice.mail.acknowledged(bob.cx.run.id, &ack).unwrap().unwrap();
    assert_eq!((acked.messages, alice.mail.is_settled()), (1, true));
    assert_eq!(alice.mail.settle(&mut alice.cx, bob.cx.run.id, acked), Some(LINK), "there is credit for more");
    assert!(alice.mail.is_settled());
    assert_eq!(alice.events(), [Event::Delivered { peer: bob.cx.run, messages: 1 }]);
}

#[test]
fn lost_run_takes_messages_only_where_they_are_queued() {
    for (offline, accepted) in [(Offline::Queue, true), (Offline::Refuse, false)] {
        let (mut alice, _) = pair();
        alice.cx.config.offline = offline;
        alice.mail.detach(alice.peer.id);
        let _ = alice.mail.fence(&alice.cx, alice.peer.id, false);
        let _ = alice.mail.suspend(&mut alice.cx, alice.peer.id);
        let sent = alice.send(b"later");
        assert_eq!(sent, if accepted { Ok(None) } else { Err(SendErrorKind::NotConnected) });
    }
}

#[test]
fn messages_for_a_run_that_is_gone_are_reported() {
    let (mut alice, bob) = pair();
    alice.send(b"never sent").unwrap();
    let flush = alice.mail.flush(&mut alice.cx, bob.cx.run.id).unwrap();
    let _ = alice.mail.fence(&alice.cx, bob.cx.run.id, true);
    alice.mail.gone(&mut alice.cx, bob.cx.run.id);
    let peer = bob.cx.run;
    let not_delivered = Vec::from([Bytes::from_static(b"never sent")]);
    let undelivered = Undelivered { peer, not_delivered, in_doubt: Vec::new() };
    assert_eq!(
        alice.events(),
        [Event::Undelivered(undelivered), Event::Flushed { flush, peer, undelivered: 1 }, Event::PeerGone { peer },]
    );
    assert_eq!(alice.send(b"x"), Err(SendErrorKind::NotConnected));
}

#[test]
fn session_goes_on_over_another_link() {
    let (mut alice, mut bob) = pair();
    alice.send(b"first").unwrap();
    let _lost = alice.pull().unwrap();
    for side in [&mut alice, &mut bob] {
        side.mail.detach(side.peer.id);
        let _ = side.mail.fence(&side.cx, side.peer.id, false);
        let _ = side.mail.suspend(&mut side.cx, side.peer.id);
        side.cx.now = side.cx.now + Duration::from_secs(1);
        side.attach();
    }
    let offer = bob.mail.offer(&mut bob.cx, alice.cx.run.id).unwrap();
    let answer = alice.resume(&offer, true).unwrap();
    bob.resume(&answer, false);
    let again = alice.pull().unwrap();
    let _ = bob.mail.data(&mut bob.cx, alice.cx.run.id, again).unwrap();
    assert_eq!(&bob.take().unwrap().payload[..], b"first");
    assert_eq!((alice.cx.stats.sessions_resumed, bob.cx.stats.sessions_resumed), (1, 1));
}
