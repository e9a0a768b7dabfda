//! Opening UDP sockets with the options that relaying needs.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use libc::c_int;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket, sockopt,
};

use super::{limits, sys};

/// Buffer space of a listener, which carries the media of all clients of its shard: about 1,800 packets, 18 ms at
/// 100,000 a second. The kernel doubles it for its own overhead.
pub const LISTENER_BUFFER: usize = 4 << 20;

/// Buffer space of a relayed transport address: a burst of a few hundred full packets (a key frame). It is a limit, not
/// a reservation.
const RELAY_BUFFER: usize = 1 << 20;

/// Buffer space of the socket of all relayed transport addresses of a shard: some 25,000 full packets. How much of it one
/// of them may take is a matter of the socket lookup program ([`steer::ROUND`](relay_common::steer::ROUND)).
pub(super) const SHARED_BUFFER: usize = 32 << 20;

/// Buffer space of a raw socket, which carries what a shard sends from one relay address. A limit, not a reservation: more than
/// the packets that wait for all neighbours that a host looks for at once (1,024 times 208 KiB), which are charged to it. Else
/// a client that names some that are not there would keep everybody from sending.
const RAW_SEND_BUFFER: usize = 256 << 20;

/// Opens a relayed transport address. Neither `SO_REUSEADDR` nor `SO_REUSEPORT` is set, so that a port that another
/// program holds is refused (`EADDRINUSE`), and what we hold is ours alone.
pub(super) fn open_relay(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(local, RELAY_BUFFER, false)?;
    limits::leave_reserve(&socket)?;
    // ICMP errors of peers are told to the client (RFC 8656 section 11.5).
    let (level, option) = match local {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    sys::set_option(&socket, level, option, 1)?;
    Ok(socket)
}

/// Opens a shard's socket for what comes to all of its relayed transport addresses of one family, which the socket lookup
/// program leads there. It is bound because the kernel knows no other sockets, where nobody sends to.
pub(super) fn open_shared(ipv6: bool) -> io::Result<UdpSocket> {
    let socket = open(loopback(ipv6), SHARED_BUFFER, false)?;
    have_merged(&socket);
    let (level, option) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR)
    } else {
        (libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR)
    };
    sys::set_option(&socket, level, option, 1)?;
    Ok(socket)
}

/// Opens a socket that takes and drops whatever is led to it.
pub(super) fn open_sink(ipv6: bool) -> io::Result<UdpSocket> {
    let socket = open(loopback(ipv6), 0, false)?;
    receive_nothing(&socket)?;
    Ok(socket)
}

/// Readies a raw socket to send only. Whoever sends packets of its protocol number, 255, must not fill it.
pub(super) fn for_sending_alone(raw: &impl AsFd) -> io::Result<()> {
    receive_nothing(raw)?;
    set_receive_buffer(raw, 0)?;
    set_send_buffer(raw, RAW_SEND_BUFFER)
}

/// Has a socket drop whatever comes, by a filter that lets no byte of anything pass.
fn receive_nothing(socket: &impl AsFd) -> io::Result<()> {
    let drop_all = [libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 }];
    let program = libc::sock_fprog { len: 1, filter: drop_all.as_ptr().cast_mut() };
    sys::set_option_of(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// `BPF_RET | BPF_K` of classic BPF.
const RETURN: u16 = 0x06;

fn loopback(ipv6: bool) -> SocketAddr {
    if ipv6 { (Ipv6Addr::LOCALHOST, 0).into() } else { (Ipv4Addr::LOCALHOST, 0).into() }
}

/// Has what an IPv4 socket sends from now on go with DF set or not (RFC 8656 section 14, fragmentation fields).
///
/// Not set (`IP_PMTUDISC_OMIT`, kernel 3.15), the kernel fragments at the interface's MTU: the alternate behaviour, as the
/// DF bit of what arrives is not told. Set (`IP_PMTUDISC_PROBE`), it refuses what is larger than the interface's MTU.
/// Either way it takes no notice of the path MTU that a forged ICMP message may claim.
pub(super) fn set_dont_fragment(socket: &UdpSocket, dont_fragment: bool) -> io::Result<()> {
    let value = if dont_fragment { libc::IP_PMTUDISC_PROBE } else { libc::IP_PMTUDISC_OMIT };
    sys::set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value)
}

/// Has what a socket sends from now on go with this TTL or hop limit, at least 1, unless a datagram has its own.
pub(super) fn set_ttl(socket: &UdpSocket, ipv6: bool, ttl: u8) -> io::Result<()> {
    let (level, option) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) } else { (libc::IPPROTO_IP, libc::IP_TTL) };
    sys::set_option(socket, level, option, ttl.into())
}

/// Opens one shard's socket of a listener, of which each datagram comes alone.
pub(super) fn open_listener(local: SocketAddr) -> io::Result<UdpSocket> {
    open(local, LISTENER_BUFFER, true)
}

/// Has the kernel merge datagrams of one flow that come together (`UDP_GRO`, kernel 5.0). Else each comes alone.
pub(super) fn have_merged(socket: &UdpSocket) {
    if let Err(error) = sys::set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1) {
        tracing::debug!(%error, "the kernel merges no datagrams");
    }
}

/// How many datagrams a socket has dropped in its life, as the kernel counts them: the number goes round
/// (`SO_MEMINFO`, kernel 4.12).
pub(super) fn dropped(socket: &UdpSocket) -> io::Result<u32> {
    /// `SK_MEMINFO_DROPS`, the last of nine numbers.
    const DROPS: usize = 8;
    Ok(sys::option_of::<[u32; DROPS + 1]>(socket, libc::SOL_SOCKET, libc::SO_MEMINFO)?[DROPS])
}

/// What a listener's receive buffer came to, and what it should be, in bytes.
pub(super) fn listener_buffer(listener: &UdpSocket) -> io::Result<(usize, usize)> {
    Ok((getsockopt(listener, sockopt::RcvBuf)? / 2, LISTENER_BUFFER))
}

fn open(local: SocketAddr, buffer: usize, shared: bool) -> io::Result<UdpSocket> {
    let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    set_buffers(&fd, buffer)?;
    setsockopt(&fd, sockopt::RxqOvfl, &1)?;
    if shared {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    let ip_options = if local.is_ipv4() { IPV4_OPTIONS } else { IPV6_OPTIONS };
    for &(level, option, value) in ip_options {
        sys::set_option(&fd, level, option, value)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
    Ok(fd.into())
}

/// Sets the buffer space of a socket.
pub(super) fn set_buffers(fd: &impl AsFd, buffer: usize) -> io::Result<()> {
    set_receive_buffer(fd, buffer)?;
    set_send_buffer(fd, buffer)
}

// The forcing options need CAP_NET_ADMIN; the others are held to net.core.rmem_max and wmem_max.

fn set_receive_buffer(fd: &impl AsFd, buffer: usize) -> io::Result<()> {
    if setsockopt(fd, sockopt::RcvBufForce, &buffer).is_err() {
        setsockopt(fd, sockopt::RcvBuf, &buffer)?;
    }
    Ok(())
}

fn set_send_buffer(fd: &impl AsFd, buffer: usize) -> io::Result<()> {
    if setsockopt(fd, sockopt::SndBufForce, &buffer).is_err() {
        setsockopt(fd, sockopt::SndBuf, &buffer)?;
    }
    Ok(())
}

/// To be told TTL and DSCP of what arrives, and to fragment what is sent: see [`set_dont_fragment`].
const IPV4_OPTIONS: &[(c_int, c_int, c_int)] = &[
    (libc::IPPROTO_IP, libc::IP_RECVTTL, 1),
    (libc::IPPROTO_IP, libc::IP_RECVTOS, 1),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT),
];

/// The same for IPv6, where no router fragments: the kernel's default is to send fragments no larger than the path MTU
/// that it learnt, which is never below 1,280, and a socket that took no notice would not be told of "packet too big".
/// The flow label is a hash of the 5-tuple, as RFC 8656 section 13 prefers, unless `net.ipv6.auto_flowlabels` is 0.
const IPV6_OPTIONS: &[(c_int, c_int, c_int)] = &[
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1),
    (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT),
    (libc::IPPROTO_IPV6, libc::IPV6_AUTOFLOWLABEL, 1),
];
