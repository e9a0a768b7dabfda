//! The IPv4 addresses that hide in IPv6 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cidr::Cidr;

/// RFC 4291 section 2.5.5.1, deprecated.
const COMPATIBLE: Cidr = Cidr::v6([0, 0, 0, 0, 0, 0, 0, 0], 96);
/// RFC 6052 section 2.1.
const NAT64: Cidr = Cidr::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// RFC 8215: for NAT64 with prefixes of the operator's choice.
const NAT64_LOCAL: Cidr = Cidr::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
/// RFC 3056 section 2.
const SIX_TO_FOUR: Cidr = Cidr::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
/// RFC 4380 section 4.
const TEREDO: Cidr = Cidr::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

/// Every address that a packet to `ip` may end up at: the address itself, IPv4-mapped ones as their IPv4 address (which is
/// what the kernel sends to), and the IPv4 addresses that translators and tunnels read out of it.
pub(super) fn faces(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let ip = ip.to_canonical();
    let hidden = match ip {
        IpAddr::V4(_) => [None; 4],
        IpAddr::V6(v6) => hidden(v6),
    };
    std::iter::once(ip).chain(hidden.into_iter().flatten().map(IpAddr::V4))
}

fn hidden(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let o = ip.octets();
    let v4 = |places: [usize; 4]| Some(Ipv4Addr::from(places.map(|i| o[i])));
    let last = v4([12, 13, 14, 15]);
    let within = |cidr: Cidr| cidr.contains(ip.into());
    if within(COMPATIBLE) || within(NAT64) {
        [last, None, None, None]
    } else if within(SIX_TO_FOUR) {
        [v4([2, 3, 4, 5]), None, None, None]
    } else if within(TEREDO) {
        // The server, and the client's address with all bits inverted.
        [v4([4, 5, 6, 7]), last.map(|client| Ipv4Addr::from_bits(!client.to_bits())), None, None]
    } else if within(NAT64_LOCAL) {
        // The prefix may have 48, 56, 64 or 96 bits, each with its own place for the address (RFC 6052 section 2.2).
        // Which one is not known here: all count, save those that read 0.x.y.z, where the other places have their zeros.
        [v4([6, 7, 9, 10]), v4([7, 9, 10, 11]), v4([9, 10, 11, 12]), last]
            .map(|v4| v4.filter(|v4| v4.octets()[0] != 0))
    } else {
        [None; 4]
    }
}
