//! O11: whom a node dials. Dials that its user did not ask for go only where a peer or a member is said to be, only to
//! kinds of address that the node has to do with, and never to the node itself. They do not flood a third party.
//!
//! These are promises to others. How soon, how often and in which order a node dials is its policy, which may change while
//! they hold; scenarios check it (`INVARIANTS.md` lists them).

mod floods;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cluster_core::wire::{Entry, Profile};
use cluster_core::{Frame, Incarnation, Instant, JoinId, Limits, LinkId, NodeId, Run, Target};

use self::floods::Floods;
use self::wanted::Wanted;
use super::departed::Departed;
use super::{Verdict, network};

/// Of how many addresses it is remembered who is said to be there. Beyond, dials are not held against it.
const MAX_TOLD: usize = 1 << 14;

/// How many nodes are remembered to be said to be at one address: more than can all have left.
const MAX_THERE: usize = 256;

/// Of how many of its own aliases a node is expected to know at any time.
const MAX_SELF: usize = 32;

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
    under_way: BTreeMap<LinkId, Dial>,
    floods: Floods,
}

#[derive(Clone, Copy, Debug)]
struct Dial {
    to: SocketAddr,
    named: bool,
    hearsay: bool,
    proven: bool,
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
    pub(super) departed: &'a Departed,
}

impl Dials {
    /// A node that listens and can be dialled at `own`, and whose seeds are these.
    pub(super) fn new(own: Vec<SocketAddr>, seeds: &[Target]) -> Dials {
        let mut dials = Dials {
            wanted: Wanted::default(),
            own: BTreeSet::new(),
            aliases: BTreeSet::new(),
            kinds: BTreeSet::new(),
            told: BTreeMap::new(),
            reached: BTreeSet::new(),
            under_way: BTreeMap::new(),
            floods: Floods::default(),
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
        self.under_way.insert(link, Dial { to, named, hearsay, proven: false });
        if named {
            return Ok(());
        }
        self.is_to_somebody(to, dialer)?;
        if hearsay {
            self.within_policy(to)?;
            self.is_one_of_few(to, dialer.limits.max_dials_per_ip)?;
        }
        self.floods.dial(to.ip(), dialer.now)
    }

    /// A dial has found somebody.
    pub(super) fn connected(&mut self, link: LinkId, run: Run, own: Run) {
        let Some(dial) = self.under_way.get_mut(&link) else { return };
        let to = dial.to;
        dial.proven = true;
        self.reached.insert(to);
        self.tell(to, run);
        if run == own && self.aliases.len() < MAX_SELF {
            self.aliases.insert(to);
        }
    }

    /// A link is over.
    pub(super) fn over(&mut self, link: LinkId, now: Instant) {
        if let Some(dial) = self.under_way.remove(&link)
            && !dial.named
            && !dial.proven
        {
            self.floods.failed(dial.to.ip(), now);
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
                let latest = there.entry(run.id).or_insert(run.incarnation);
                *latest = run.incarnation.max(*latest);
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

    /// Dials on hearsay go to a host a few at a time, whatever number of nodes is said to be there.
    fn is_one_of_few(&self, to: SocketAddr, most: usize) -> Verdict {
        let there = |dial: &&Dial| dial.hearsay && !dial.proven && network(dial.to.ip()) == network(to.ip());
        let under_way = self.under_way.values().filter(there).count();
        if under_way <= most || to.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(format!("{under_way} dials on hearsay to {} are under way, and {most} are allowed", to.ip()))
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
    use std::time::Duration;

    use cluster_core::Reason;
    use cluster_core::wire::Announce;

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
        let dials = Dials::new(vec![at(1)], &[at(2).into()]);
        Case { dials, departed: Departed::default(), limits, now: Instant::ZERO }
    }

    impl Case {
        fn hear(&mut self, run: Run, address: SocketAddr) {
            let entries = vec![Entry { run, addresses: vec![address] }];
            let from = super::super::tests::run(9, 1);
            self.dials.heard(from, at(9).ip(), &Frame::Announce(Announce { entries }));
        }

        fn dial(&mut self, number: u64, to: SocketAddr) -> Verdict {
            let id = run(1, 1).id;
            let (limits, departed) = (&self.limits, &self.departed);
            self.dials.dial(link(number), to, &Dialer { id, now: self.now, limits, departed })
        }

        fn over(&mut self, number: u64) {
            self.dials.over(link(number), self.now);
        }
    }

    #[test]
    fn dial_to_an_address_that_nobody_named_is_found() {
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
    fn second_dial_of_the_node_to_itself_is_found() {
        let mut case = case();
        case.dial(1, at(2)).unwrap();
        case.dials.connected(link(1), run(1, 1), run(1, 1));
        case.dial(2, at(2)).unwrap_err();
    }

    #[test]
    fn dial_to_a_departed_node_is_found() {
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
    fn dial_on_hearsay_to_a_foreign_kind_of_address_is_found() {
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
    fn dials_on_hearsay_go_to_a_host_a_few_at_a_time() {
        let mut case = case();
        let place = |port: u16| SocketAddr::from(([10, 0, 0, 7], port));
        for port in 1..=3 {
            case.hear(run(port as u8 + 10, 1), place(port));
        }
        case.dial(1, place(1)).unwrap();
        case.dial(2, place(2)).unwrap();
        case.dial(3, place(3)).unwrap_err();
        case.over(3);
        case.over(1);
        case.dial(4, place(3)).unwrap();
    }

    #[test]
    fn dials_that_fail_one_after_the_other_flood_nobody() {
        let fail = |pause: Duration, finds: bool| {
            let mut case = case();
            case.hear(run(3, 1), at(3));
            (0..2_000).try_for_each(|_| {
                case.now = case.now + pause;
                case.dial(1, at(3))?;
                if finds {
                    case.dials.connected(link(1), run(3, 1), run(1, 1));
                }
                case.over(1);
                Ok::<(), String>(())
            })
        };
        fail(Duration::from_millis(250), false).unwrap();
        fail(Duration::from_millis(1), true).unwrap();
        fail(Duration::from_millis(1), false).unwrap_err();
        let mut named = case();
        (0..2_000).for_each(|_| {
            named.dial(1, at(2)).unwrap();
            named.over(1);
        });
    }
}
