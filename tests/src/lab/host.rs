//! A machine of the lab: a namespace whose first interface is `eth0`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::namespace::Namespace;

/// A machine with an address on `eth0`, and how its tests speak of it: by its IPv4 address, or by
/// [the other](Self::over_ipv6).
#[derive(Clone, Debug)]
pub struct Host {
    namespace: Namespace,
    address: IpAddr,
    v6: Ipv6Addr,
}

impl std::ops::Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Host {
    pub(super) fn new(namespace: Namespace, address: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self { namespace, address: address.into(), v6 }
    }

    /// The same machine by its IPv6 address, on a [dual-stack](super::Net::dual_stack) network.
    pub fn over_ipv6(&self) -> Self {
        Self { address: self.v6.into(), ..self.clone() }
    }

    /// The same machine by another of its addresses.
    pub fn at_address(&self, address: impl Into<IpAddr>) -> Self {
        Self { address: address.into(), ..self.clone() }
    }

    /// The address of `eth0`, or the one that it is spoken of by.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A port at that address.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(), port)
    }

    /// A UDP socket at this port, 0 for any. Its `recv` waits for [`QUIET`](super::QUIET) only: see [`receive`].
    pub fn udp(&self, port: u16) -> UdpSocket {
        let at = self.at(port);
        self.enter(|| UdpSocket::bind(at)).unwrap_or_else(|e| panic!("{at}: {e}"))
    }
}

/// The next datagram and who sent it, unless none comes within `limit`.
pub fn receive(socket: &UdpSocket, limit: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 65_536];
    socket.set_read_timeout(Some(super::scaled(limit))).expect("a time limit");
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => {
            buffer.truncate(length);
            Some((buffer, from))
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
        // An ICMP error about something sent earlier is no datagram.
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => None,
        Err(e) => panic!("recv_from: {e}"),
    }
}
