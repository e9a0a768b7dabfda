//! The IPv4 addresses that hide in IPv6 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Every address that a packet to `ip` may end up at: the address itself, IPv4-mapped ones as their IPv4 address (which
/// is what the kernel sends to), and the IPv4 addresses that translators and tunnels read out of it.
pub(super) fn faces(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let ip = ip.to_canonical();
    let hidden = match ip {
        IpAddr::V4(_) => [None; 4],
        IpAddr::V6(v6) => hidden(v6),
    };
    std::iter::once(ip).chain(hidden.into_iter().flatten().map(IpAddr::V4))
}

/// Whether packets to `ip` go through a tunnel that anybody can reach by IPv4: 6to4 or Teredo.
pub fn is_tunnelled(ip: IpAddr) -> bool {
    let IpAddr::V6(ip) = ip else { return false };
    matches!(ip.segments(), [0x2002, ..] | [0x2001, 0, ..])
}

fn hidden(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let octets = ip.octets();
    let v4 = |places: [usize; 4]| Some(Ipv4Addr::from(places.map(|i| octets[i])));
    let last = v4([12, 13, 14, 15]);
    match ip.segments() {
        // Unspecified and loopback, which hide nothing.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None; 4],
        // IPv4-compatible (RFC 4291 section 2.5.5.1), NAT64 (RFC 6052 section 2.1).
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => [last, None, None, None],
        // NAT64 with a prefix of the operator's choice (RFC 8215), of 48, 56, 64 or 96 bits, each with its own place for
        // the address (RFC 6052 section 2.2). Which one is not known here: all count, save those that read 0.x.y.z,
        // where the other places have their zeros.
        [0x64, 0xff9b, 1, ..] => [v4([6, 7, 9, 10]), v4([7, 9, 10, 11]), v4([9, 10, 11, 12]), last]
            .map(|v4| v4.filter(|v4| v4.octets()[0] != 0)),
        // 6to4 (RFC 3056 section 2).
        [0x2002, ..] => [v4([2, 3, 4, 5]), None, None, None],
        // Teredo (RFC 4380 section 4): the server, and the client with all bits inverted.
        [0x2001, 0, ..] => [v4([4, 5, 6, 7]), last.map(|client| !client), None, None],
        _ => [None; 4],
    }
}
