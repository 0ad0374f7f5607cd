//! Where nodes are: what users name, what nodes advertise, and which gossip may be followed.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// What a user names: `host:port`, where the host is a name, an IPv4 address or an IPv6 address in brackets.
///
/// A name is resolved by the driver afresh before each try. At most 253 bytes of host.
///
/// ```
/// use cluster_core::Target;
///
/// let target: Target = "node-1.example:7000".parse()?;
/// assert_eq!(target.to_string(), "node-1.example:7000");
/// assert!("node-1.example".parse::<Target>().is_err());
/// # Ok::<(), cluster_core::ParseTargetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(String);

impl Target {
    /// The longest host name DNS allows.
    pub const MAX_HOST: usize = 253;

    /// The text `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The socket address that the text states literally, if it does; then nothing needs to be resolved.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        self.0.parse().ok()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Target, ParseTargetError> {
        if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
            return Ok(Target(text.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(ParseTargetError::NoPort)?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(ParseTargetError::BadPort);
        }
        let printable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if host.is_empty() || host.len() > Target::MAX_HOST || !host.bytes().all(printable) {
            return Err(ParseTargetError::BadHost);
        }
        Ok(Target(text.into()))
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target(alloc::format!("{address}"))
    }
}

/// A text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseTargetError {
    /// There is no `:port` at the end.
    NoPort,
    /// The port is not a number from 1 to 65535.
    BadPort,
    /// The host is empty, longer than 253 bytes, or has characters that no host name has.
    BadHost,
}

impl fmt::Display for ParseTargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseTargetError::NoPort => "an address is host:port, and the port is missing",
            ParseTargetError::BadPort => "the port is not a number from 1 to 65535",
            ParseTargetError::BadHost => "the host is neither a name nor an IP address (write IPv6 in brackets)",
        })
    }
}

impl core::error::Error for ParseTargetError {}

/// An address as a node advertises it: complete, or only a port when the node is bound to an unspecified IP.
///
/// Of a port alone, the others fill in the IP that they see the node come from, or that they dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Advertised {
    /// Reachable at this socket address.
    Socket(SocketAddr),
    /// Reachable at this port of whatever IP the node is seen at.
    Port(u16),
}

impl Advertised {
    /// The address to dial, given the IP at which the advertising node was seen.
    #[must_use]
    pub fn seen_at(self, ip: IpAddr) -> SocketAddr {
        match self {
            Advertised::Socket(address) => address,
            Advertised::Port(port) => SocketAddr::new(ip, port),
        }
    }
}

impl From<SocketAddr> for Advertised {
    fn from(address: SocketAddr) -> Advertised {
        if address.ip().is_unspecified() { Advertised::Port(address.port()) } else { Advertised::Socket(address) }
    }
}

/// A socket that serves both IP versions names IPv4 addresses in their IPv6 form; everyone else does not.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host may draw its addresses from.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) if v6.is_loopback() => v6.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// How far an address reaches. Hearsay is only followed to kinds of address that the node itself has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Never dialled on hearsay: link-local, multicast, broadcast, unspecified, or port 0.
    Never,
    /// Set aside by the IANA registries of special-purpose addresses (RFC 6890), 192.0.0.0/24 and 2001::/23 as a whole,
    /// and of no other kind, or not assigned: dialled on hearsay only if it is listed.
    Special,
    Loopback,
    /// RFC 1918, RFC 6598 (shared address space), RFC 2544 (benchmarks) or RFC 4193 (unique local).
    Private,
    Global,
}

pub(crate) fn reach(address: SocketAddr) -> Reach {
    match address.ip().to_canonical() {
        _ if address.port() == 0 => Reach::Never,
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    match ip.octets() {
        [0, ..] | [255, 255, 255, 255] => Reach::Never,
        _ if ip.is_link_local() || ip.is_multicast() => Reach::Never,
        _ if ip.is_loopback() => Reach::Loopback,
        [100, 64..128, ..] | [198, 18..20, ..] => Reach::Private,
        _ if ip.is_private() => Reach::Private,
        // Protocol assignments, documentation, the relays of 6to4, and what is reserved.
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => Reach::Special,
        _ if ip.is_documentation() => Reach::Special,
        _ => Reach::Global,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    let [high, low] = [ip.segments()[6], ip.segments()[7]].map(u16::to_be_bytes);
    match ip.segments() {
        _ if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() => Reach::Never,
        _ if ip.is_loopback() => Reach::Loopback,
        _ if ip.is_unique_local() => Reach::Private,
        // A translator or a relay passes on what is said there to the IPv4 address within.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => reach_v4([high[0], high[1], low[0], low[1]].into()),
        [0x2002, one, other, ..] => {
            let [one, other] = [one, other].map(u16::to_be_bytes);
            reach_v4([one[0], one[1], other[0], other[1]].into())
        }
        // Protocol assignments, Teredo among them, and documentation.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => Reach::Special,
        [0x2000..0x4000, ..] => Reach::Global,
        _ => Reach::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reach_of_an_address_follows_the_registries() {
        for (text, expected) in [
            ("127.0.0.1:1", Reach::Loopback),
            ("[::1]:1", Reach::Loopback),
            ("[::ffff:127.0.0.1]:1", Reach::Loopback),
            ("10.1.2.3:1", Reach::Private),
            ("172.16.0.1:1", Reach::Private),
            ("192.168.0.1:1", Reach::Private),
            ("100.64.0.1:1", Reach::Private),
            ("[fd00::1]:1", Reach::Private),
            ("8.8.8.8:1", Reach::Global),
            ("[2001:4860::1]:1", Reach::Global),
            ("169.254.169.254:1", Reach::Never),
            ("[fe80::1]:1", Reach::Never),
            ("224.0.0.1:1", Reach::Never),
            ("[ff02::1]:1", Reach::Never),
            ("255.255.255.255:1", Reach::Never),
            ("0.0.0.0:1", Reach::Never),
            ("[::]:1", Reach::Never),
            ("8.8.8.8:0", Reach::Never),
            ("198.19.0.1:1", Reach::Private),
            ("198.20.0.1:1", Reach::Global),
            ("100.128.0.1:1", Reach::Global),
            ("192.0.0.8:1", Reach::Special),
            ("192.0.1.1:1", Reach::Global),
            ("192.0.2.1:1", Reach::Special),
            ("192.88.99.1:1", Reach::Special),
            ("198.51.100.1:1", Reach::Special),
            ("203.0.113.1:1", Reach::Special),
            ("240.0.0.1:1", Reach::Special),
            ("[64:ff9b::a00:1]:1", Reach::Private),
            ("[64:ff9b::7f00:1]:1", Reach::Loopback),
            ("[64:ff9b::a9fe:a9fe]:1", Reach::Never),
            ("[64:ff9b::808:808]:1", Reach::Global),
            ("[64:ff9b:1::808:808]:1", Reach::Special),
            ("[2002:a00:1::1]:1", Reach::Private),
            ("[2002:808:808::1]:1", Reach::Global),
            ("[::10.0.0.1]:1", Reach::Special),
            ("[2001:0:1::1]:1", Reach::Special),
            ("[2001:1ff::1]:1", Reach::Special),
            ("[2001:200::1]:1", Reach::Global),
            ("[2001:db8::1]:1", Reach::Special),
            ("[3fff:fff::1]:1", Reach::Special),
            ("[3fff:1000::1]:1", Reach::Global),
            ("[fec0::1]:1", Reach::Special),
            ("[100::1]:1", Reach::Special),
            ("[4000::1]:1", Reach::Special),
        ] {
            assert_eq!(reach(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
    }

    #[test]
    fn only_host_and_port_make_a_target() {
        for good in ["localhost:1", "[::1]:80", "1.2.3.4:65535", "a-b.c_d:9"] {
            assert_eq!(good.parse::<Target>().map(|target| target.0), Ok(good.into()));
        }
        for (bad, error) in [
            ("localhost", ParseTargetError::NoPort),
            ("localhost:", ParseTargetError::BadPort),
            ("localhost:0", ParseTargetError::BadPort),
            ("localhost:65536", ParseTargetError::BadPort),
            ("localhost:+1", ParseTargetError::BadPort),
            (":1", ParseTargetError::BadHost),
            ("a b:1", ParseTargetError::BadHost),
            ("::1:80", ParseTargetError::BadHost),
        ] {
            assert_eq!(bad.parse::<Target>(), Err(error), "{bad}");
        }
    }
}
