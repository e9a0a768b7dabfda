//! The relayed transport addresses of one shard, each a socket.

use std::io;
use std::iter;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::sockets;
use super::token::RelayToken;
use super::ttl::SteadyTtl;
use crate::turn::RelayAddr;

/// Sockets by relayed transport address. A place for every port, so that a packet finds its socket with one memory
/// access.
#[derive(Default)]
pub(super) struct Relays {
    addresses: Vec<(IpAddr, Box<[Option<Relay>]>)>,
    opened: u32,
}

/// An open relayed transport address.
pub(super) struct Relay {
    pub(super) socket: UdpSocket,
    /// The last reading of the socket's count of dropped datagrams.
    pub(super) socket_drops: u32,
    pub(super) ttl: SteadyTtl,
    generation: u32,
}

impl Relays {
    /// Opens a relayed transport address, always with a new socket: datagrams that an earlier holder of the port left
    /// unread went away with its socket.
    pub(super) fn open(&mut self, relayed: RelayAddr) -> io::Result<RelayToken> {
        let socket = sockets::open_relay(relayed.0)?;
        self.opened = self.opened.wrapping_add(1);
        let generation = self.opened;
        let address = self.find_or_add(relayed.0.ip());
        let place = &mut self.addresses[address].1[usize::from(relayed.0.port())];
        *place = Some(Relay { socket, socket_drops: 0, ttl: SteadyTtl::default(), generation });
        Ok(RelayToken { address: address as u16, port: relayed.0.port(), generation })
    }

    /// Closes a relayed transport address; what it had not read is gone.
    pub(super) fn close(&mut self, relayed: RelayAddr) {
        if let Some(address) = self.find(relayed.0.ip()) {
            self.addresses[address].1[usize::from(relayed.0.port())] = None;
        }
    }

    /// The token of an open relayed transport address.
    pub(super) fn token(&self, relayed: RelayAddr) -> Option<RelayToken> {
        let address = self.find(relayed.0.ip())?;
        let port = relayed.0.port();
        let relay = self.addresses[address].1[usize::from(port)].as_ref()?;
        Some(RelayToken { address: address as u16, port, generation: relay.generation })
    }

    /// The socket that a token was made for, unless it is closed.
    pub(super) fn get(&self, token: RelayToken) -> Option<&Relay> {
        let relay = self.addresses.get(usize::from(token.address))?.1[usize::from(token.port)].as_ref()?;
        (relay.generation == token.generation).then_some(relay)
    }

    /// As [`get`](Self::get).
    pub(super) fn get_mut(&mut self, token: RelayToken) -> Option<&mut Relay> {
        let (_, ports) = self.addresses.get_mut(usize::from(token.address))?;
        let relay = ports[usize::from(token.port)].as_mut()?;
        (relay.generation == token.generation).then_some(relay)
    }

    /// The relayed transport address of a token.
    pub(super) fn relayed(&self, token: RelayToken) -> RelayAddr {
        RelayAddr(SocketAddr::new(self.addresses[usize::from(token.address)].0, token.port))
    }

    fn find(&self, ip: IpAddr) -> Option<usize> {
        self.addresses.iter().position(|(known, _)| *known == ip)
    }

    fn find_or_add(&mut self, ip: IpAddr) -> usize {
        self.find(ip).unwrap_or_else(|| {
            let ports = iter::repeat_with(|| None).take(1 << 16).collect();
            self.addresses.push((ip, ports));
            self.addresses.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn free_port() -> RelayAddr {
        RelayAddr(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap())
    }

    #[test]
    fn a_token_of_a_closed_relay_does_not_reach_the_next_holder_of_the_port() {
        let (mut relays, relayed) = (Relays::default(), free_port());
        let old = relays.open(relayed).unwrap();
        relays.close(relayed);
        assert!(relays.get(old).is_none());
        let new = relays.open(relayed).unwrap();
        assert!(relays.get(old).is_none() && relays.get_mut(old).is_none());
        assert!(relays.get(new).is_some());
        assert_eq!(relays.token(relayed), Some(new));
        assert_eq!(relays.relayed(new), relayed);
    }

    #[test]
    fn what_an_old_holder_of_the_port_did_not_read_never_reaches_the_next_one() {
        let (mut relays, relayed) = (Relays::default(), free_port());
        relays.open(relayed).unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        peer.send_to(b"for the old client", relayed.0).unwrap();
        relays.close(relayed);
        let new = relays.open(relayed).unwrap();
        let unread = relays.get(new).unwrap().socket.recv_from(&mut [0; 64]);
        assert_eq!(unread.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_port_that_another_program_holds_is_refused_even_if_it_would_share() {
        let foreign = shared_socket();
        let refused = Relays::default().open(RelayAddr(foreign.local_addr().unwrap()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    fn shared_socket() -> UdpSocket {
        sockets::open_listener((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
    }
}
