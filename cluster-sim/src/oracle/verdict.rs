//! What all checks share: how they answer, when something happens, and which network an address belongs to.

use std::net::{IpAddr, Ipv6Addr};

use cluster_core::Instant;

/// What a check says: the words of the violation, if there is one.
pub(crate) type Verdict = Result<(), String>;

/// When something happens: by the host's own clock, and by the world's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) clock: Instant,
    pub(crate) world: u64,
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host may draw its addresses from.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}
