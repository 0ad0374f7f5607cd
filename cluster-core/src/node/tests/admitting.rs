//! Connections that come in faster than members do.

use super::*;
use crate::error::Refused;
use crate::secret::Secret;

fn from(net: u8, host: u8) -> SocketAddr {
    SocketAddr::from(([10, 9, net, host], 40_000))
}

impl Bench {
    fn accept(&mut self, from: SocketAddr) -> Result<LinkId, Reason> {
        let outcome = self.node.accept(self.now, from).map_err(|Refused { reason, .. }| reason);
        self.act();
        outcome
    }
}

fn generous(change: impl FnOnce(&mut Limits)) -> Config {
    let mut limits = Limits::default();
    (limits.accept_burst, limits.accept_burst_per_ip) = (10_000, 10_000);
    change(&mut limits);
    lan().limits(limits)
}

/// A node of which as many connections were asked as leave it half of its burst, so that rates of sources apply.
fn contended() -> Bench {
    let mut bench = Bench::new(lan());
    for number in 0..250 {
        let link = bench.accept(from(200, number)).unwrap();
        bench.end(link);
    }
    bench
}

#[test]
fn crowded_node_refuses_sources_that_only_connect() {
    let mut bench = contended();
    for number in 0..100 {
        let link = bench.accept(from(1, 1)).unwrap();
        bench.connect(link, run(9, number));
        bench.end(link);
    }
    let stranger = || from(1, 2);
    for _ in 0..5 {
        let link = bench.accept(stranger()).unwrap();
        bench.end(link);
    }
    assert_eq!(bench.accept(stranger()), Err(Reason::TooManyFromIp));
    assert_eq!(bench.node.stats().accept_limit_per_ip, 1);
    assert_eq!(bench.node.usage().accept_sources, 2);
    // There is enough for all again.
    bench.pass(Duration::from_millis(50));
    for _ in 0..50 {
        let link = bench.accept(stranger()).unwrap();
        bench.end(link);
    }
}

#[test]
fn forbidden_node_pays_for_its_connections() {
    let secret = Secret::from_bytes([1; 32]);
    let proven = Proven { run: run(9, 1), version: 1, features: 0, secret: Some(secret.id()) };
    let limits = Limits { accept_burst: 16, ..Limits::default() };
    let mut bench = Bench::with(Config::new(secret).allow([run(1, 1).id]).limits(limits));
    for _ in 0..8 {
        let link = bench.accept(from(1, 2)).unwrap();
        bench.end(link);
    }
    for _ in 0..4 {
        let link = bench.accept(from(1, 1)).unwrap();
        bench.input(Input::Connected { link, proven, local: at(100) });
    }
    assert_eq!(bench.node.stats().not_allowed, 4);
    assert_eq!(bench.accept(from(1, 1)), Err(Reason::TooManyInbound));
}

#[test]
fn loopback_is_a_source_like_any_other() {
    let mut bench = contended();
    let local = SocketAddr::from(([127, 0, 0, 1], 40_000));
    for _ in 0..5 {
        let link = bench.accept(local).unwrap();
        bench.end(link);
    }
    assert_eq!(bench.accept(local), Err(Reason::TooManyFromIp));
}

#[test]
fn strangers_leave_an_eighth_to_familiar_addresses() {
    let mut bench = Bench::new(generous(|limits| limits.max_pending = 64));
    // A peer that was up, and is lost.
    let link = bench.up(run(7, 1));
    bench.end(link);
    let known: Vec<LinkId> =
        (0..8).map(|port| bench.accept(SocketAddr::from(([10, 0, 0, 7], 50_000 + port))).unwrap()).collect();
    for net in 0..10 {
        for host in 0..100 {
            bench.accept(from(net, host)).unwrap();
        }
    }
    assert_eq!(bench.node.usage().silent_links, 64);
    assert_eq!(bench.node.stats().pending_limit, 1_000 - 56);
    assert!(known.iter().all(|link| bench.node.pairs.link(*link).is_some()), "none of them had to go");
}

#[test]
fn greeted_links_have_places_of_their_own() {
    let mut bench = Bench::new(generous(|limits| (limits.max_pending, limits.max_greeted) = (8, 4)));
    let first = bench.accept(from(1, 1)).unwrap();
    bench.input(Input::Greeted { link: first });
    bench.input(Input::Greeted { link: first });
    for number in 0..100 {
        bench.accept(from(2, number)).unwrap();
    }
    assert_eq!((bench.node.usage().silent_links, bench.node.usage().greeted_links), (8, 1));
    assert!(bench.node.pairs.link(first).is_some());
    // Valid hellos displace valid hellos, and first those of the source that has most of them.
    for _ in 0..100 {
        let link = bench.accept(from(3, 3)).unwrap();
        bench.input(Input::Greeted { link });
    }
    assert_eq!(bench.node.usage().greeted_links, 4);
    assert_eq!(bench.node.stats().greeted_limit, 97);
    assert!(bench.node.pairs.link(first).is_some());
    // A driver that says nothing of hellos is understood all the same.
    let quiet = bench.accept(from(1, 2)).unwrap();
    bench.connect(quiet, run(9, 1));
    assert_eq!(bench.node.usage().greeted_links, 4);
    bench.end(first);
    bench.end(quiet);
    assert_eq!(bench.node.usage().greeted_links, 2);
}

#[test]
fn greeting_of_any_other_link_changes_nothing() {
    let mut bench = Bench::new(lan());
    let link = bench.up(run(7, 1));
    bench.input(Input::Greeted { link });
    bench.input(Input::Greeted { link: LinkId(99) });
    assert_eq!((bench.node.usage().silent_links, bench.node.usage().greeted_links), (0, 0));
    bench.node.join(bench.now, at(9).into()).unwrap();
    let dialled = bench.node.pairs.links().map(|link| link.id).last().unwrap();
    bench.input(Input::Greeted { link: dialled });
    assert_eq!(bench.node.usage().greeted_links, 0);
}

#[test]
fn a_flood_leaves_a_quarter_of_the_rate_to_where_peers_were_seen() {
    let mut bench = Bench::new(generous(|limits| limits.accept_burst = 200));
    let link = bench.up(run(7, 1));
    bench.end(link);
    let refused = (0..1_000_u16).filter(|number| {
        let [net, host] = number.to_be_bytes();
        bench.accept(from(net, host)).is_err()
    });
    assert_eq!(refused.count(), 1_000 - 150);
    assert_eq!(bench.node.stats().accept_limit, 850);
    assert_eq!(bench.accept(from(9, 9)), Err(Reason::TooManyInbound));
    bench.accept(SocketAddr::from(([10, 0, 0, 7], 50_000))).unwrap();
}

#[test]
fn who_holds_on_to_connections_on_which_all_was_said_keeps_nobody_out() {
    let mut bench = Bench::new(lan());
    let member = run(7, 1);
    let live = bench.up(member);
    let limits = bench.node.limits().clone();
    // A member that dials again and again, is told that its claim is outranked, and does not let go.
    for _ in 0..2_000 {
        let link = bench.node.accept(bench.now, from(1, 1)).unwrap();
        let proven = Proven { run: member, version: 1, features: 0, secret: None };
        bench.node.handle(bench.now, Input::Connected { link, proven, local: at(100) });
        bench.node.handle(bench.now, Input::Frame { link, frame: claim(7, 0) });
        while let Some(action) = bench.node.poll_action() {
            if let Action::Close { link, mode: CloseMode::Abort, .. } = action {
                bench.node.handle(bench.now, Input::Disconnected { link, cause: Disconnect::Closed });
            }
        }
        assert!(bench.node.pairs.links().len() <= limits.max_inbound());
        bench.now = bench.now + Duration::from_millis(1);
    }
    let cut_off = bench.node.stats().inbound_limit;
    assert_eq!(cut_off, 1 + 2_000 - (limits.max_inbound() - limits.max_greeted) as u64);
    assert!(bench.node.pairs.link(live).is_some());
    bench.up(run(8, 1));
    assert_eq!(bench.node.peers().count(), 2);
}
