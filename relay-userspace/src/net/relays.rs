//! The relayed transport addresses of one shard: each a socket, or all of them the shared ones.

use std::io;
use std::iter;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::shared::{Moment, Shared};
use super::sockets;
use super::token::{Family, RelayToken};
use super::ttl::SteadyTtl;
use crate::turn::RelayAddr;

/// What there is by relayed transport address. A place for every port, so that a packet finds its own with one memory
/// access.
#[derive(Default)]
pub(super) struct Relays {
    addresses: Vec<(IpAddr, Box<[Place]>)>,
    opened: u32,
    shared: Option<Shared>,
}

/// A port of a relay address.
#[derive(Default)]
struct Place {
    /// Without shared sockets, while it is open. With them, once something was sent that only this can send.
    own: Option<Box<OwnSocket>>,
    /// When it was closed last; zero is never.
    closed: Moment,
    /// Which opening this is; 0 while it is closed.
    generation: u32,
}

/// The socket of a relayed transport address.
pub(super) struct OwnSocket {
    pub(super) socket: UdpSocket,
    /// The last reading of the socket's count of dropped datagrams.
    pub(super) socket_drops: u32,
    pub(super) ttl: SteadyTtl,
}

impl OwnSocket {
    fn open(relayed: SocketAddr) -> io::Result<Box<Self>> {
        let socket = sockets::open_relay(relayed)?;
        Ok(Box::new(Self { socket, socket_drops: 0, ttl: SteadyTtl::default() }))
    }
}

impl Relays {
    /// With shared sockets, or one for each.
    pub(super) fn new(shared: Option<Shared>) -> Self {
        let addresses = shared.iter().flat_map(|shared| shared.addresses().iter().map(|ip| (*ip, places())));
        Self { addresses: addresses.collect(), opened: 0, shared }
    }

    /// Opens a relayed transport address. Without shared sockets always with a new one: datagrams that an earlier holder of
    /// the port left unread went away with its socket.
    pub(super) fn open(&mut self, relayed: RelayAddr) -> io::Result<RelayToken> {
        let (ip, port) = (relayed.0.ip(), relayed.0.port());
        let own = match &self.shared {
            None => Some(OwnSocket::open(relayed.0)?),
            Some(shared) => {
                shared.open(self.find(ip).ok_or(io::ErrorKind::AddrNotAvailable)?, port)?;
                None
            }
        };
        let address = self.find_or_add(ip);
        // Never 0.
        self.opened = self.opened.checked_add(1).unwrap_or(1);
        let place = &mut self.addresses[address].1[usize::from(port)];
        (place.own, place.generation) = (own, self.opened);
        if let Some(shared) = &mut self.shared
            && shared.may_hold(family(ip), place.closed)
        {
            shared.look(family(ip));
        }
        Ok(RelayToken { address: address as u16, port, generation: self.opened })
    }

    /// Closes a relayed transport address; what it had not read is gone.
    pub(super) fn close(&mut self, relayed: RelayAddr) {
        if let Some(address) = self.find(relayed.0.ip()) {
            let closed = self.shared.as_mut().map(|shared| {
                shared.close(address, relayed.0.port());
                shared.next_moment()
            });
            let closed = closed.unwrap_or_default();
            let place = &mut self.addresses[address].1[usize::from(relayed.0.port())];
            *place = Place { own: None, closed, generation: 0 };
        }
    }

    /// The token of an open relayed transport address.
    pub(super) fn token(&self, relayed: RelayAddr) -> Option<RelayToken> {
        let address = self.find(relayed.0.ip())?;
        let port = relayed.0.port();
        let generation = self.addresses[address].1[usize::from(port)].generation;
        (generation != 0).then_some(RelayToken { address: address as u16, port, generation })
    }

    /// Whether a datagram that was read from the shared queue is for this relayed transport address as it is open now, and
    /// not for an earlier holder of the port.
    pub(super) fn takes(&self, relayed: RelayAddr) -> bool {
        let Some(token) = self.token(relayed) else { return false };
        let place = &self.addresses[usize::from(token.address)].1[usize::from(token.port)];
        self.shared.as_ref().is_none_or(|shared| !shared.may_hold(family(relayed.0.ip()), place.closed))
    }

    /// Whether it is still open as it was when the token was made.
    pub(super) fn is_open(&self, token: RelayToken) -> bool {
        self.place(token).is_some()
    }

    /// The socket of its own that it has.
    pub(super) fn own(&self, token: RelayToken) -> Option<&OwnSocket> {
        self.place(token)?.own.as_deref()
    }

    /// As [`own`](Self::own).
    pub(super) fn own_mut(&mut self, token: RelayToken) -> Option<&mut OwnSocket> {
        let (_, ports) = self.addresses.get_mut(usize::from(token.address))?;
        let place = &mut ports[usize::from(token.port)];
        place.own.as_deref_mut().filter(|_| place.generation == token.generation)
    }

    /// Opens a socket of its own for a relayed transport address that shares one, for what only such a socket can send. It
    /// stays until the end, as there will be more of it. What comes in goes by the shared one all the same.
    pub(super) fn need_own(&mut self, token: RelayToken) {
        if !self.is_open(token) || self.own(token).is_some() {
            return;
        }
        let relayed = self.relayed(token);
        match OwnSocket::open(relayed.0) {
            Ok(own) => self.addresses[usize::from(token.address)].1[usize::from(token.port)].own = Some(own),
            // What was to be sent is counted as not sent.
            Err(error) => tracing::debug!(relayed = %relayed.0, %error, "no socket for large datagrams"),
        }
    }

    /// The shared sockets.
    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// As [`shared`](Self::shared).
    pub(super) fn shared_mut(&mut self) -> Option<&mut Shared> {
        self.shared.as_mut()
    }

    /// The relayed transport address of a token.
    pub(super) fn relayed(&self, token: RelayToken) -> RelayAddr {
        RelayAddr(SocketAddr::new(self.addresses[usize::from(token.address)].0, token.port))
    }

    fn place(&self, token: RelayToken) -> Option<&Place> {
        let place = &self.addresses.get(usize::from(token.address))?.1[usize::from(token.port)];
        (place.generation == token.generation).then_some(place)
    }

    fn find(&self, ip: IpAddr) -> Option<usize> {
        self.addresses.iter().position(|(known, _)| *known == ip)
    }

    fn find_or_add(&mut self, ip: IpAddr) -> usize {
        self.find(ip).unwrap_or_else(|| {
            self.addresses.push((ip, places()));
            self.addresses.len() - 1
        })
    }
}

/// The place of an address's family.
pub(super) fn family(ip: IpAddr) -> Family {
    ip.is_ipv6().into()
}

fn places() -> Box<[Place]> {
    iter::repeat_with(Place::default).take(1 << 16).collect()
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
        assert!(!relays.is_open(old));
        let new = relays.open(relayed).unwrap();
        assert!(!relays.is_open(old) && relays.own_mut(old).is_none());
        assert!(relays.own(new).is_some());
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
        let unread = relays.own(new).unwrap().socket.recv_from(&mut [0; 64]);
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
