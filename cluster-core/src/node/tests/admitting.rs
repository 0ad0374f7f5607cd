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

#[test]
fn a_source_that_only_connects_is_refused_and_one_that_has_the_right_to_is_not() {
    let mut bench = Bench::new(lan());
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
    bench.pass(Duration::from_millis(50));
    let link = bench.accept(stranger()).unwrap();
    bench.end(link);
    assert_eq!(bench.accept(stranger()), Err(Reason::TooManyFromIp));
    assert_eq!(bench.node.usage().accept_sources, 2);
}

#[test]
fn who_is_not_allowed_pays_for_its_connections() {
    let secret = Secret::from_bytes([1; 32]);
    let proven = Proven { run: run(9, 1), version: 1, features: 0, secret: Some(secret.id()) };
    let mut bench = Bench::with(Config::new(secret).allow([run(1, 1).id]));
    for _ in 0..5 {
        let link = bench.accept(from(1, 1)).unwrap();
        bench.input(Input::Connected { link, proven, local: at(100) });
    }
    assert_eq!(bench.node.stats().not_allowed, 5);
    assert_eq!(bench.accept(from(1, 1)), Err(Reason::TooManyFromIp));
}

#[test]
fn loopback_pays_nothing() {
    let mut bench = Bench::new(lan());
    for _ in 0..1_000 {
        let link = bench.accept(SocketAddr::from(([127, 0, 0, 1], 40_000))).unwrap();
        bench.end(link);
    }
    assert_eq!(bench.node.usage().accept_sources, 0);
}

#[test]
fn strangers_fill_three_quarters_of_the_places_and_displace_only_each_other() {
    let mut bench = Bench::new(generous(|_| {}));
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
    let pending = |bench: &Bench| bench.node.links.values().filter(|link| link.is_pending()).count();
    assert_eq!(pending(&bench), 48 + 8);
    assert_eq!(bench.node.stats().pending_limit, 1_000 - 48);
    assert!(known.iter().all(|link| bench.node.links.contains_key(link)), "none of them had to go");
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
        assert!(bench.node.links.len() <= limits.max_inbound());
        bench.now = bench.now + Duration::from_millis(1);
    }
    let cut_off = bench.node.stats().inbound_limit;
    assert_eq!(cut_off, 1 + 2_000 - (limits.max_peers + limits.max_pending) as u64);
    assert!(bench.node.links.contains_key(&live));
    bench.up(run(8, 1));
    assert_eq!(bench.node.peers().count(), 2);
}
