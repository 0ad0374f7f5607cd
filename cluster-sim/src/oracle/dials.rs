//! O11: whom a node dials, and how fast. Dials that its user did not ask for go only where somebody is said to
//! be, only to kinds of address that the node has to do with, never to itself, within the budget of hearsay, and ever
//! more slowly where nobody answers.

mod budget;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster_core::wire::{Entry, Profile};
use cluster_core::{Frame, Incarnation, Instant, JoinId, Limits, LinkId, NodeId, Run, Target, Timing};

use self::budget::Bucket;
use self::wanted::Wanted;
use super::departed::Departed;
use super::{Verdict, network};

/// Of how many addresses it is remembered who is said to be there. Beyond, dials are not held against it.
const MAX_TOLD: usize = 1 << 14;

/// How many nodes are remembered to be said to be at one address: more than can all have left.
const MAX_THERE: usize = 256;

/// Of how many of its own aliases a node is expected to know at any time.
const MAX_SELF: usize = 32;

/// After so many failures in a row the wait before the next dial is drawn up to `reconnect_max`.
const MANY_FAILURES: u32 = 8;

/// So many such waits in a row last less than `reconnect_max` once in 20! times.
const MANY_WAITS: usize = 20;

/// What one run of a node may dial, and has dialled.
#[derive(Debug)]
pub(super) struct Dials {
    pub(super) wanted: Wanted,
    own: BTreeSet<SocketAddr>,
    /// Addresses that have turned out to lead to itself.
    aliases: BTreeSet<SocketAddr>,
    kinds: BTreeSet<Kind>,
    /// By address, who is said, or has turned out, to be there.
    told: BTreeMap<SocketAddr, BTreeMap<NodeId, Incarnation>>,
    /// Addresses at which a dial has found somebody.
    reached: BTreeSet<SocketAddr>,
    bucket: Bucket,
    under_way: BTreeMap<LinkId, Dial>,
    /// Links that connect the node with a peer, and since when.
    up: BTreeMap<LinkId, (NodeId, Instant)>,
    failures: BTreeMap<SocketAddr, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Dial {
    to: SocketAddr,
    hearsay: bool,
    proven: bool,
}

/// Dials to one address that came to nothing, or to a link that did not last, one after the other.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    starts: VecDeque<(Instant, Duration)>,
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Loopback,
    Private,
    Global,
}

/// What a node is when it dials.
pub(super) struct Dialer<'a> {
    pub(super) id: NodeId,
    /// Its own clock.
    pub(super) now: Instant,
    pub(super) limits: &'a Limits,
    pub(super) timing: &'a Timing,
    pub(super) departed: &'a Departed,
}

impl Dials {
    /// A node that listens and can be dialled at `own`, and whose seeds are these.
    pub(super) fn new(own: Vec<SocketAddr>, seeds: &[Target], now: Instant, limits: &Limits) -> Dials {
        let mut dials = Dials {
            wanted: Wanted::default(),
            own: BTreeSet::new(),
            aliases: BTreeSet::new(),
            kinds: BTreeSet::new(),
            told: BTreeMap::new(),
            reached: BTreeSet::new(),
            bucket: Bucket::new(now, limits),
            under_way: BTreeMap::new(),
            up: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        dials.configured(own, seeds);
        dials
    }

    /// The node's settings have changed, perhaps.
    pub(super) fn configured(&mut self, own: Vec<SocketAddr>, seeds: &[Target]) {
        let own: BTreeSet<SocketAddr> = own.into_iter().filter(|address| !address.ip().is_unspecified()).collect();
        if own != self.own {
            self.aliases.clear();
        }
        self.kinds.extend(own.iter().copied().filter_map(kind));
        self.own = own;
        for seed in seeds {
            self.wanted.seed(seed.clone());
        }
    }

    pub(super) fn seeded(&mut self, seed: Target) {
        self.wanted.seed(seed);
    }

    pub(super) fn joined(&mut self, join: JoinId, target: Target) {
        self.wanted.join(join, target);
    }

    /// The node dials.
    pub(super) fn dial(&mut self, link: LinkId, to: SocketAddr, dialer: &Dialer<'_>) -> Verdict {
        if self.own.contains(&to) || self.aliases.contains(&to) {
            return Err(format!("it dials {to}, which leads to itself"));
        }
        let named = self.wanted.names(to);
        let hearsay = !named && !self.reached.contains(&to);
        self.under_way.insert(link, Dial { to, hearsay, proven: false });
        if named {
            self.failures.remove(&to);
            return Ok(());
        }
        self.is_to_somebody(to, dialer)?;
        if hearsay {
            self.within_policy(to)?;
            let in_flight = self.under_way.values().filter(|dial| dial.hearsay && !dial.proven).count();
            let most = dialer.limits.max_dials;
            if in_flight > most {
                return Err(format!("{in_flight} dials on hearsay are under way, and {most} are allowed"));
            }
            let there = |dial: &&Dial| dial.hearsay && !dial.proven && network(dial.to.ip()) == network(to.ip());
            let (in_flight, most) = (self.under_way.values().filter(there).count(), dialer.limits.max_dials_per_ip);
            if in_flight > most && !to.ip().to_canonical().is_loopback() {
                return Err(format!(
                    "{in_flight} dials on hearsay to {} are under way, and {most} are allowed",
                    to.ip()
                ));
            }
            if !self.bucket.take(dialer.now, dialer.limits) {
                return Err(format!("its dial to {to} on hearsay is one too many for now"));
            }
        }
        self.not_too_often(to, dialer)
    }

    /// A dial has found somebody.
    pub(super) fn connected(&mut self, link: LinkId, run: Run, own: Run, limits: &Limits) {
        let Some(dial) = self.under_way.get_mut(&link) else { return };
        let (to, hearsay) = (dial.to, dial.hearsay);
        dial.proven = true;
        self.reached.insert(to);
        self.tell(to, run);
        if hearsay {
            self.bucket.refund(limits);
        }
        if run == own && self.aliases.len() < MAX_SELF {
            self.aliases.insert(to);
        }
    }

    /// A link connects the node with a peer.
    pub(super) fn up(&mut self, link: LinkId, peer: Run, now: Instant) {
        self.up.insert(link, (peer.id, now));
    }

    /// A link is over.
    pub(super) fn over(&mut self, link: LinkId, now: Instant, stable_after: Duration) {
        let dial = self.under_way.remove(&link);
        let up = self.up.remove(&link);
        if let Some((peer, _)) = up.filter(|&(_, since)| now - since >= stable_after / 2) {
            let told = &self.told;
            self.failures.retain(|to, _| !told.get(to).is_some_and(|there| there.contains_key(&peer)));
        } else if let Some(dial) = dial.filter(|dial| !dial.proven || up.is_some()) {
            self.failures.entry(dial.to).or_default().count += 1;
        }
    }

    /// The node has a link whose own end is here.
    pub(super) fn has_end_at(&mut self, local: SocketAddr) {
        self.kinds.extend(kind(local));
    }

    /// A frame of a peer, whom the node sees at `ip`, may say where somebody is.
    pub(super) fn heard(&mut self, peer: Run, ip: IpAddr, frame: &Frame) {
        match frame {
            Frame::Claim(claim) => self.advertised(peer, ip, &claim.profile),
            Frame::Accept(accept) => self.advertised(peer, ip, &accept.profile),
            Frame::Update(update) => self.advertised(peer, ip, &update.profile),
            Frame::List(list) => self.hearsay(&list.entries),
            Frame::Announce(announce) => self.hearsay(&announce.entries),
            _ => {}
        }
    }

    fn advertised(&mut self, peer: Run, ip: IpAddr, profile: &Profile) {
        for address in &profile.addresses {
            self.tell(address.seen_at(ip), peer);
        }
    }

    fn hearsay(&mut self, entries: &[Entry]) {
        for entry in entries {
            for &address in &entry.addresses {
                self.tell(address, entry.run);
            }
        }
    }

    fn tell(&mut self, address: SocketAddr, run: Run) {
        if self.told.len() < MAX_TOLD || self.told.contains_key(&address) {
            let there = self.told.entry(address).or_default();
            if there.len() < MAX_THERE || there.contains_key(&run.id) {
                // A later run takes the place of an earlier one of the same node.
                let before = there.insert(run.id, run.incarnation).filter(|&before| before >= run.incarnation);
                match before {
                    Some(latest) => drop(there.insert(run.id, latest)),
                    None => drop(self.failures.remove(&address)),
                }
            }
        }
    }

    /// O10: somebody is said to be there whom the node may connect to.
    fn is_to_somebody(&self, to: SocketAddr, dialer: &Dialer<'_>) -> Verdict {
        if self.told.len() >= MAX_TOLD {
            return Ok(());
        }
        let Some(there) = self.told.get(&to) else { return Err(format!("it dials {to}, which nobody has named")) };
        let allowed =
            |id, incarnation| id != dialer.id && !dialer.departed.forbids(Run { id, incarnation }, dialer.now);
        if there.iter().any(|(&id, &incarnation)| allowed(id, incarnation)) {
            return Ok(());
        }
        Err(format!("it dials {to}, where only {there:?} are said to be, which left or were disconnected"))
    }

    fn within_policy(&self, to: SocketAddr) -> Verdict {
        match kind(to) {
            Some(kind) if self.kinds.contains(&kind) => Ok(()),
            kind => Err(format!("it dials {to} on hearsay, which is {kind:?}, and has to do with {:?}", self.kinds)),
        }
    }

    fn not_too_often(&mut self, to: SocketAddr, dialer: &Dialer<'_>) -> Verdict {
        // Each node that is said to be there has a schedule of its own.
        if self.told.get(&to).is_some_and(|there| there.len() > 1) {
            self.failures.remove(&to);
            return Ok(());
        }
        let failures = self.failures.entry(to).or_default();
        if failures.count < MANY_FAILURES {
            return Ok(());
        }
        failures.starts.push_back((dialer.now, dialer.timing.reconnect_max));
        if failures.starts.len() <= MANY_WAITS {
            return Ok(());
        }
        // The config may have changed on the way.
        let longest = failures.starts.iter().map(|(_, longest)| *longest).min().unwrap_or_default();
        let before = failures.starts.pop_front().map_or(dialer.now, |(before, _)| before);
        let span: Duration = dialer.now - before;
        if span < longest {
            return Err(format!(
                "{MANY_WAITS} dials to {to} within {span:?}, where {} have failed in a row",
                failures.count
            ));
        }
        Ok(())
    }
}

/// The kind of an address; `None`: one that hearsay must never be followed to.
fn kind(address: SocketAddr) -> Option<Kind> {
    let ip = address.ip().to_canonical();
    let never = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || never {
        return None;
    }
    let private = match ip {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1])),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    Some(if ip.is_loopback() {
        Kind::Loopback
    } else if private {
        Kind::Private
    } else {
        Kind::Global
    })
}

#[cfg(test)]
mod tests {
    use cluster_core::wire::Announce;
    use cluster_core::{Config, Reason};

    use super::super::tests::{link, node, run};
    use super::*;

    struct Case {
        dials: Dials,
        departed: Departed,
        limits: Limits,
        now: Instant,
    }

    fn at(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 7_000))
    }

    fn case() -> Case {
        let limits = Limits::default();
        let dials = Dials::new(vec![at(1)], &[at(2).into()], Instant::ZERO, &limits);
        Case { dials, departed: Departed::default(), limits, now: Instant::ZERO }
    }

    impl Case {
        fn hear(&mut self, run: Run, address: SocketAddr) {
            let entries = vec![Entry { run, addresses: vec![address] }];
            let from = super::super::tests::run(9, 1);
            self.dials.heard(from, at(9).ip(), &Frame::Announce(Announce { entries }));
        }

        fn dial(&mut self, number: u64, to: SocketAddr) -> Verdict {
            let node = node();
            let id = run(1, 1).id;
            let (limits, departed) = (&self.limits, &self.departed);
            self.dials.dial(link(number), to, &Dialer { id, now: self.now, limits, timing: node.timing(), departed })
        }

        fn over(&mut self, number: u64) {
            self.dials.over(link(number), self.now, node().timing().stable_after);
        }
    }

    #[test]
    fn only_those_are_dialled_whom_somebody_has_named() {
        let mut case = case();
        case.dial(1, at(2)).unwrap();
        case.dial(2, at(3)).unwrap_err();
        case.hear(run(3, 1), at(3));
        case.dial(3, at(3)).unwrap();
        case.dial(4, at(1)).unwrap_err();
        case.hear(run(1, 1), at(4));
        case.dial(5, at(4)).unwrap_err();
    }

    #[test]
    fn an_address_that_led_to_the_node_itself_is_not_dialled_again() {
        let mut case = case();
        case.dial(1, at(2)).unwrap();
        case.dials.connected(link(1), run(1, 1), run(1, 1), &Limits::default());
        case.dial(2, at(2)).unwrap_err();
    }

    #[test]
    fn who_left_or_was_disconnected_is_not_dialled() {
        for reason in [Reason::Left, Reason::LocalDisconnect] {
            let mut case = case();
            case.hear(run(3, 1), at(3));
            case.departed.down(run(3, 1), &reason, Instant::ZERO, 0, node().timing(), 8);
            case.dial(1, at(3)).unwrap_err();
            case.hear(run(4, 1), at(3));
            case.dial(2, at(3)).unwrap();
        }
    }

    #[test]
    fn hearsay_leads_nowhere_that_is_none_of_the_nodes_business() {
        let mut case = case();
        for wrong in ["127.0.0.1:80", "8.8.8.8:80", "169.254.1.1:80", "224.0.0.1:80", "10.0.0.7:0", "[fe80::1]:1"] {
            let address = wrong.parse().unwrap();
            case.hear(run(3, 1), address);
            assert!(case.dial(1, address).is_err(), "{wrong}");
        }
        case.dials.has_end_at("8.8.4.4:80".parse().unwrap());
        case.dial(1, "8.8.8.8:80".parse().unwrap()).unwrap();
    }

    #[test]
    fn hearsay_has_a_budget_and_few_places() {
        let mut case = case();
        for number in 10..42 {
            case.hear(run(number, 1), at(number));
            case.dial(u64::from(number), at(number)).unwrap();
            case.over(u64::from(number));
        }
        case.hear(run(50, 1), at(50));
        case.dial(50, at(50)).unwrap_err();
        let mut case = tests::case();
        for number in 10..26 {
            case.hear(run(number, 1), at(number));
            case.dial(u64::from(number), at(number)).unwrap();
        }
        case.hear(run(50, 1), at(50));
        case.dial(50, at(50)).unwrap_err();
    }

    #[test]
    fn where_links_do_not_last_dials_become_rare_too() {
        let dials = |lasts: Duration| {
            let mut case = case();
            case.hear(run(3, 1), at(3));
            (1..60).try_for_each(|number| {
                case.now = case.now + Duration::from_millis(500);
                case.dial(number, at(3))?;
                case.dials.connected(link(number), run(3, 1), run(1, 1), &case.limits);
                case.dials.up(link(number), run(3, 1), case.now);
                case.now = case.now + lasts;
                case.over(number);
                Ok::<(), String>(())
            })
        };
        dials(Duration::from_secs(10)).unwrap();
        dials(Duration::from_millis(500)).unwrap_err();
    }

    #[test]
    fn where_nobody_answers_dials_become_rare() {
        let mut case = case();
        case.hear(run(3, 1), at(3));
        let dials = |case: &mut Case, pause: Duration| {
            (0..60).try_for_each(|_| {
                case.now = case.now + pause;
                let verdict = case.dial(1, at(3));
                case.over(1);
                verdict
            })
        };
        dials(&mut case, Duration::from_secs(2)).unwrap();
        dials(&mut case, Duration::from_secs(1)).unwrap_err();
        assert_eq!(Config::insecure_plaintext().seeds(), []);
    }
}
