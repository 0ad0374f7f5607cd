//! Places for peers, and who gives his away.

use super::*;

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
