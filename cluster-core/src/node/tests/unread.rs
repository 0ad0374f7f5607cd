//! Undelivered messages whose sender has not read of them yet.

use super::*;
use crate::node::Deferred;

const LONG: &str = "sixty bytes, or so it says, that nobody is going to take soon";

/// A message to a run that does not come back, which the driver keeps for its user.
fn lose(bench: &mut Bench, peer: Run) -> Deferred {
    let link = bench.up(peer);
    bench.send(peer, LONG);
    bench.end(link);
    bench.up(Run { incarnation: Incarnation(peer.incarnation.0 + 1), ..peer });
    let told = bench.events.iter().rev().find_map(|event| match event {
        Event::Undelivered(told) if told.peer == peer => Some(told),
        _ => None,
    });
    bench.node.defer(told.unwrap())
}

fn full(bench: &mut Bench, peer: NodeId) -> bool {
    let sent = bench.node.send(bench.now, peer, LONG.into()).map_err(|error| error.kind);
    sent.is_err_and(|kind| {
        assert_eq!(kind, SendErrorKind::Full);
        true
    })
}

#[test]
fn what_came_to_nothing_takes_room_until_it_is_read() {
    let mut bench = Bench::new(narrow());
    let (one, two) = (run(1, 1), run(2, 1));
    bench.up(two);
    let deferred = lose(&mut bench, one);
    let memory = bench.node.memory();
    assert_eq!((memory.retained, memory.unread), (0, LONG.len() as u64 + 2));
    assert!(full(&mut bench, one.id));
    assert!(!full(&mut bench, two.id), "it is not about this one");
    assert!(bench.writable.is_empty());
    bench.node.read(bench.now, deferred);
    bench.act();
    assert_eq!((&bench.writable[..], bench.node.memory().unread), (&[one.id][..], 0));
    assert!(!full(&mut bench, one.id));
}

#[test]
fn with_as_many_nodes_to_read_about_as_there_may_be_peers_nothing_is_accepted_for_another() {
    let limits = Limits { send_window: 64, max_peers: 1, ..Limits::default() };
    let mut bench = Bench::new(lan().limits(limits));
    let deferred = lose(&mut bench, run(1, 1));
    bench.node.disconnect(bench.now, run(1, 2).id).unwrap();
    bench.act();
    let other = run(2, 1);
    bench.up(other);
    assert!(full(&mut bench, other.id));
    bench.node.read(bench.now, deferred);
    bench.act();
    assert_eq!(bench.writable, [other.id]);
    assert!(!full(&mut bench, other.id));
}
