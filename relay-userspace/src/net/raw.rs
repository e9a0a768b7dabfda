//! Packets that are sent with headers of our own, by a raw socket: it needs no port, so one serves all allocations.
//!
//! The kernel fills in length, identification and checksum of the IPv4 header, and refuses what is larger than the
//! interface's MTU: a raw socket does not fragment.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, socket};
use relay_common::checksum::{fold, udp_field};

use super::control::IpFields;
use super::{sockets, sys};

/// Room for the headers of IPv6 and UDP.
pub(super) const HEADERS: usize = 48;

/// The largest IPv6 packet that every way takes (RFC 8200 section 5). Larger ones may have to be fragmented for the MTU of
/// a path, which the kernel learns and does for its own sockets only.
const IPV6_MIN_MTU: usize = 1280;

/// The largest UDP payload that an IPv4 packet holds.
const IPV4_MOST: usize = 65_507;

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const DEFAULT_TTL: u8 = 64;

/// Whether a datagram may be sent this way; else it takes a socket that is bound to its relayed transport address.
/// UDP sockets refuse port 0, so it is left to them to say so.
pub(super) fn carries(to: SocketAddr, payload: usize) -> bool {
    let most = if to.is_ipv6() { IPV6_MIN_MTU - HEADERS } else { IPV4_MOST };
    to.port() != 0 && payload <= most
}

/// Opens the socket that sends from a relay address. Bound to it, so that routes that depend on the source are followed.
/// It receives nothing, and is told of no ICMP errors (`IP_RECVERR` is not set): before Linux 6.18 those about packets of the
/// protocol number of `IPPROTO_RAW`, which anybody can forge, would fail the next call to send.
///
/// It is an [`UdpSocket`] because `std` has no raw one; none of its own methods is used.
pub(super) fn open(ip: IpAddr) -> io::Result<UdpSocket> {
    let family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Raw, flags, SockProtocol::Raw)?;
    sockets::for_sending_alone(&fd)?;
    let (level, mtu, omit) = if ip.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
    };
    // No notice of a path MTU that a forged ICMP message may claim.
    sys::set_option(&fd, level, mtu, omit)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(ip, 0)))?;
    Ok(fd.into())
}

/// Writes the headers of a datagram that [may be sent](carries) so, and says how long they are.
pub(super) fn write_headers(
    headers: &mut [u8; HEADERS],
    (from, to): (SocketAddr, SocketAddr),
    ip: Option<IpFields>,
    dont_fragment: bool,
    payload: &[u8],
) -> usize {
    let IpFields { ttl, tos } = ip.unwrap_or(IpFields { ttl: DEFAULT_TTL, tos: 0 });
    let udp_len = (UDP_HEADER + payload.len()) as u16;
    let at = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            headers[..12].copy_from_slice(&[0x45, tos, 0, 0, 0, 0, 0, 0, ttl, UDP, 0, 0]);
            headers[6] = u8::from(dont_fragment) << 6;
            headers[12..16].copy_from_slice(&from.octets());
            headers[16..20].copy_from_slice(&to.octets());
            20
        }
        (from_ip, to_ip) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let start = 6 << 28 | u32::from(tos) << 20 | flow_label(from, to);
            headers[..4].copy_from_slice(&start.to_be_bytes());
            headers[4..6].copy_from_slice(&udp_len.to_be_bytes());
            headers[6..8].copy_from_slice(&[UDP, ttl]);
            headers[8..24].copy_from_slice(&octets(from_ip));
            headers[24..40].copy_from_slice(&octets(to_ip));
            40
        }
    };
    let udp = &mut headers[at..at + UDP_HEADER];
    udp[..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    udp[6..].fill(0);
    // Addresses and the UDP header lie one after the other; the rest of the pseudo-header is protocol and length.
    let addresses = if at == 20 { 12 } else { 8 };
    let sum = sum(&headers[addresses..at + UDP_HEADER])
        + sum(payload)
        + u64::from(u16::from(UDP).to_be())
        + u64::from(udp_len.to_be());
    let checksum = udp_field(!fold(sum));
    headers[at + 6..at + 8].copy_from_slice(&checksum.to_ne_bytes());
    at + UDP_HEADER
}

/// The sum of the words of at most 64 KiB, for [`fold`].
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_ne_bytes(last))
}

/// A hash of the 5-tuple, never zero, as the kernel gives its own sockets' packets (RFC 6437 section 3).
fn flow_label(from: SocketAddr, to: SocketAddr) -> u32 {
    let low = |addr: SocketAddr| match addr.ip() {
        IpAddr::V6(v6) => fold_ip(v6) ^ u64::from(addr.port()).rotate_left(24),
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
    };
    let mixed = low(from).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low(to).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    ((mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as u32).max(1)
}

fn fold_ip(ip: Ipv6Addr) -> u64 {
    let bits = ip.to_bits();
    (bits >> 64) as u64 ^ bits as u64
}

#[cfg(test)]
mod tests {
    use etherparse::{IpSlice, SlicedPacket, TransportSlice};
    use nix::errno::Errno;
    use nix::sys::socket::{MsgFlags, getsockopt, recv, sendto, sockopt};

    use super::*;

    /// What another implementation reads.
    #[test]
    fn the_headers_are_well_formed_in_both_families() {
        let ip = Some(IpFields { ttl: 17, tos: 0xb9 });
        for (from, to) in
            [("192.0.2.1:49152", "198.51.100.2:9"), ("[2001:db8::1]:49153", "[2001:db8::2]:65535")]
        {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for len in [0, 1, 2, 3, 4, 5, 160, 1_232] {
                let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
                let mut headers = [0xaa; HEADERS];
                let header_len = write_headers(&mut headers, (from, to), ip, true, &payload);
                let mut packet = [&headers[..header_len], &payload].concat();
                if from.is_ipv4() {
                    // As the kernel does.
                    let total = packet.len() as u16;
                    packet[2..4].copy_from_slice(&total.to_be_bytes());
                    let checksum = !fold(sum(&packet[..20]));
                    packet[10..12].copy_from_slice(&checksum.to_ne_bytes());
                }
                let sliced = SlicedPacket::from_ip(&packet).unwrap();
                let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
                let (header, read) = (udp.to_header(), udp.payload());
                assert_eq!((header.source_port, header.destination_port), (from.port(), to.port()));
                assert_eq!(read, payload);
                let IpSlice::Ipv4(v4) = IpSlice::from_slice(&packet).unwrap() else {
                    let IpSlice::Ipv6(v6) = IpSlice::from_slice(&packet).unwrap() else { unreachable!() };
                    let v6 = v6.header().to_header();
                    assert_eq!(header.checksum, header.calc_checksum_ipv6(&v6, &payload).unwrap());
                    assert_eq!((v6.hop_limit, v6.traffic_class), (17, 0xb9));
                    assert_ne!(v6.flow_label.value(), 0);
                    continue;
                };
                let v4 = v4.header().to_header();
                assert_eq!(header.checksum, header.calc_checksum_ipv4(&v4, &payload).unwrap());
                assert_eq!((v4.time_to_live, v4.dont_fragment), (17, true));
            }
        }
    }

    /// Of the protocol number that raw senders have: whoever may send one to a relay address would fill them.
    #[test]
    fn a_sender_holds_nothing_of_what_is_sent_to_it() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        let sender = match open(ip) {
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && std::env::var_os("CI").is_none() =>
            {
                return eprintln!("NOT RUN: raw sockets need CAP_NET_RAW");
            }
            sender => sender.unwrap(),
        };
        assert!(
            getsockopt(&sender, sockopt::SndBuf).unwrap() >= 256 << 20,
            "neighbours that are not there fill it"
        );
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let other = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw).unwrap();
        let mut packet = [0; 28];
        packet[..20]
            .copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 255, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        let to = SockaddrStorage::from(SocketAddr::new(ip, 0));
        sendto(other.as_raw_fd(), &packet, &to, MsgFlags::empty()).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(
            recv(other.as_raw_fd(), &mut buffer, MsgFlags::empty()),
            Ok(28),
            "one without a filter takes it"
        );
        assert_eq!(recv(sender.as_raw_fd(), &mut buffer, MsgFlags::empty()), Err(Errno::EAGAIN));
    }

    #[test]
    fn what_may_have_to_be_fragmented_for_a_path_is_left_to_the_kernel() {
        let to = |text: &str| text.parse().unwrap();
        assert!(carries(to("[2001:db8::1]:1"), 1_232) && !carries(to("[2001:db8::1]:1"), 1_233));
        assert!(carries(to("192.0.2.1:1"), 1_500), "the kernel says by EMSGSIZE what is too large");
        assert!(!carries(to("192.0.2.1:0"), 1));
    }
}
