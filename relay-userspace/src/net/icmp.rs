//! ICMP errors about packets that went out without a socket of their own, read from raw sockets.
//!
//! A raw socket is given every ICMP message that comes to this host, forged ones too: only errors about UDP from an open
//! relayed transport address count, and what the client hears of them is limited as ever.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use relay_common::checksum::fold;

use super::{raw, sockets, sys};
use crate::stun::Icmp;

/// As much of a message as is read: its headers, those of the packet in it with all options, and UDP's.
pub(super) const ENOUGH: usize = 256;

/// Buffer space: errors come at a limited rate from honest hosts, and of others some may be lost.
const BUFFER: usize = 256 << 10;

const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// An error, and the datagram that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IcmpError {
    pub(super) relayed: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) icmp: Icmp,
}

/// Opens a socket for the errors of one address family. As in `raw`, it is no UDP socket.
pub(super) fn open(ipv6: bool) -> io::Result<UdpSocket> {
    let (family, protocol) = if ipv6 {
        (AddressFamily::Inet6, SockProtocol::IcmpV6)
    } else {
        (AddressFamily::Inet, SockProtocol::Icmp)
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Raw, flags, protocol)?;
    sockets::set_buffers(&fd, BUFFER)?;
    // Bits of what not to be given. All but destination unreachable, time exceeded and parameter problem: 3, 11 and 12;
    // with packet too big, 1 to 4.
    if ipv6 {
        let mut filter = [u32::MAX; 8];
        filter[0] = !0b1_1110;
        sys::set_option_of(&fd, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &filter)?;
    } else {
        sys::set_option_of(&fd, libc::SOL_RAW, ICMP_FILTER, &!(1_u32 << 3 | 1 << 11 | 1 << 12))?;
    }
    Ok(fd.into())
}

const ICMP_FILTER: libc::c_int = 1;
const ICMPV6_FILTER: libc::c_int = 1;

/// Reads a message as a raw socket of IPv4 gives it, IP header first, or one of IPv6, without.
pub(super) fn read(ipv6: bool, message: &[u8]) -> Option<IcmpError> {
    if ipv6 { read_v6(message) } else { read_v4(message) }
}

fn read_v4(packet: &[u8]) -> Option<IcmpError> {
    let whole = packet.len() < ENOUGH;
    let message = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
    // Raw sockets are served before the kernel has looked at the checksum. Of a message that was cut it cannot be told.
    if whole && fold(raw::sum(message)) != 0xffff {
        return None;
    }
    let &[kind, code, _, _, pointer, _, mtu_high, mtu_low] = message.first_chunk()?;
    // What the kernel tells sockets of their own: the MTU of "fragmentation needed", the pointer of "parameter problem".
    let data = match (kind, code) {
        (3, 4) => u16::from_be_bytes([mtu_high, mtu_low]).into(),
        (12, _) => pointer.into(),
        _ => 0,
    };
    let inner = message.get(8..)?;
    let inner_header: &[u8; 20] = inner.first_chunk()?;
    let fragment = u16::from_be_bytes([inner_header[6], inner_header[7]]) & 0x1fff;
    if inner_header[0] >> 4 != 4 || inner_header[9] != UDP || fragment != 0 {
        return None;
    }
    let ports = inner.get(usize::from(inner_header[0] & 0xf) * 4..)?.first_chunk()?;
    let ip = |at: usize| -> IpAddr {
        Ipv4Addr::new(inner_header[at], inner_header[at + 1], inner_header[at + 2], inner_header[at + 3])
            .into()
    };
    Some(about(ip(12), ip(16), ports, Icmp { kind, code, data }))
}

fn read_v6(message: &[u8]) -> Option<IcmpError> {
    let &[kind, code, _, _, d0, d1, d2, d3] = message.first_chunk()?;
    let inner: &[u8; 44] = message.get(8..)?.first_chunk()?;
    // The only header that we send in between is that of a first fragment.
    let ports = match inner[6] {
        UDP => inner.last_chunk()?,
        FRAGMENT => {
            let with_fragment: &[u8; 52] = message.get(8..)?.first_chunk()?;
            let offset = u16::from_be_bytes([with_fragment[42], with_fragment[43]]) >> 3;
            with_fragment.last_chunk().filter(|_| with_fragment[40] == UDP && offset == 0)?
        }
        _ => return None,
    };
    if inner[0] >> 4 != 6 {
        return None;
    }
    let ip = |at: usize| -> IpAddr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&inner[at..at + 16]);
        Ipv6Addr::from(octets).into()
    };
    let icmp = Icmp { kind, code, data: u32::from_be_bytes([d0, d1, d2, d3]) };
    Some(about(ip(8), ip(24), ports, icmp))
}

fn about(from: IpAddr, to: IpAddr, ports: &[u8; 4], icmp: Icmp) -> IcmpError {
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    IcmpError { relayed: SocketAddr::new(from, port(0)), peer: SocketAddr::new(to, port(2)), icmp }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Fragmentation needed" for 1,300 bytes, about UDP from 192.0.2.1:50000 to 198.51.100.2:9.
    fn too_big() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 1, 192, 0, 2, 1];
        packet.extend([3, 4, 0, 0, 0, 0, 5, 20]);
        packet.extend([0x45, 0, 5, 220, 0, 0, 0x40, 0, 63, UDP, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
        packet.extend([0xc3, 0x50, 0, 9, 5, 200, 0, 0]);
        sign(&mut packet);
        packet
    }

    fn sign(packet: &mut [u8]) {
        packet[22..24].fill(0);
        let checksum = !fold(raw::sum(&packet[20..]));
        packet[22..24].copy_from_slice(&checksum.to_ne_bytes());
    }

    #[test]
    fn an_error_is_about_the_packet_that_it_quotes() {
        let expected = IcmpError {
            relayed: "192.0.2.1:50000".parse().unwrap(),
            peer: "198.51.100.2:9".parse().unwrap(),
            icmp: Icmp { kind: 3, code: 4, data: 1300 },
        };
        assert_eq!(read(false, &too_big()), Some(expected));
    }

    #[test]
    fn broken_messages_and_those_about_something_else_are_nothing() {
        let whole = too_big();
        for length in 0..whole.len() - 4 {
            let mut cut = whole[..length].to_vec();
            if length > 24 {
                sign(&mut cut);
            }
            assert_eq!(read(false, &cut), None, "{length} bytes");
        }
        // A checksum that is wrong, TCP, a later fragment.
        for (at, value, sealed) in [(27, 21, false), (37, 6, true), (35, 1, true)] {
            let mut other = whole.clone();
            other[at] = value;
            if sealed {
                sign(&mut other);
            }
            assert_eq!(read(false, &other), None, "byte {at}");
        }
    }

    #[test]
    fn ipv6_errors_are_read_with_and_without_a_fragment_header() {
        let mut message = vec![2, 0, 0, 0, 0, 0, 5, 0, 0x60, 0, 0, 0, 0, 16, UDP, 64];
        message.extend([[0x20, 1], [0xd, 0xb8]].concat());
        message.extend([0; 11]);
        message.push(1);
        message.extend([[0x20, 1], [0xd, 0xb8]].concat());
        message.extend([0; 11]);
        message.push(2);
        let ports = [0xc3, 0x50, 0, 9];
        let expected = IcmpError {
            relayed: "[2001:db8::1]:50000".parse().unwrap(),
            peer: "[2001:db8::2]:9".parse().unwrap(),
            icmp: Icmp { kind: 2, code: 0, data: 1280 },
        };
        assert_eq!(read(true, &[&message[..], &ports].concat()), Some(expected));
        message[14] = FRAGMENT;
        let first = [&message[..], &[UDP, 0, 0, 1, 0, 0, 0, 0], &ports].concat();
        assert_eq!(read(true, &first), Some(expected));
        let later = [&message[..], &[UDP, 0, 0, 9, 0, 0, 0, 0], &ports].concat();
        assert_eq!(read(true, &later), None);
    }
}
