//! Opening UDP sockets with the options that relaying needs.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket, sockopt,
};

use super::{limits, sys};

/// Buffer space of a listener, which carries the media of all clients of its shard: about 1,800 packets, 18 ms at
/// 100,000 a second. The kernel doubles it for its own overhead.
const LISTENER_BUFFER: usize = 4 << 20;

/// Buffer space of a relayed transport address: a burst of a few hundred full packets (a key frame). It is a limit, not
/// a reservation.
const RELAY_BUFFER: usize = 1 << 20;

/// Opens a relayed transport address. Neither `SO_REUSEADDR` nor `SO_REUSEPORT` is set, so that a port that another
/// program holds is refused (`EADDRINUSE`), and what we hold is ours alone.
pub(super) fn open_relay(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(local, RELAY_BUFFER, false)?;
    limits::leave_reserve(&socket)?;
    Ok(socket)
}

/// Opens one shard's socket of a listener.
pub(super) fn open_listener(local: SocketAddr) -> io::Result<UdpSocket> {
    open(local, LISTENER_BUFFER, true)
}

/// What a listener's receive buffer came to, and what it should be, in bytes.
pub(super) fn listener_buffer(listener: &UdpSocket) -> io::Result<(usize, usize)> {
    Ok((getsockopt(listener, sockopt::RcvBuf)? / 2, LISTENER_BUFFER))
}

fn open(local: SocketAddr, buffer: usize, shared: bool) -> io::Result<UdpSocket> {
    let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    // The forcing options need CAP_NET_ADMIN; the others are held to net.core.rmem_max and wmem_max.
    if setsockopt(&fd, sockopt::RcvBufForce, &buffer).is_err() {
        setsockopt(&fd, sockopt::RcvBuf, &buffer)?;
    }
    if setsockopt(&fd, sockopt::SndBufForce, &buffer).is_err() {
        setsockopt(&fd, sockopt::SndBuf, &buffer)?;
    }
    setsockopt(&fd, sockopt::RxqOvfl, &1)?;
    if local.is_ipv4() {
        sys::set_no_path_mtu(&fd)?;
    } else {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if shared {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
    Ok(fd.into())
}
