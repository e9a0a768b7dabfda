//! turn-server-proto as a server that answers at once: it gets the sockets that it asks for.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use turn_server_proto::api::{SocketAllocateError, Transmit, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun::Instant;
use turn_server_proto::types::{AddressFamily, TransportType};
use turnpike::stun::Icmp;
use turnpike::time::Timestamp;

/// The other server.
pub(crate) struct Oracle {
    server: TurnServer,
    listener: SocketAddr,
    /// The relayed transport addresses that it has not closed.
    pub open: HashSet<SocketAddr>,
}

/// A datagram that it sends.
pub(crate) struct Sent {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Oracle {
    pub(crate) fn new(listener: SocketAddr, realm: &str, users: &[(&str, &str)]) -> Self {
        let mut server = TurnServer::new(TransportType::Udp, listener, realm.into());
        for (name, password) in users {
            server.add_user((*name).into(), (*password).into());
        }
        // How long nonces live is each server's own affair: this one's outlive every test.
        server.set_nonce_expiry_duration(Duration::from_secs(1 << 30));
        Self { server, listener, open: HashSet::new() }
    }

    /// Gives it a datagram, whoever sent it. `socket` opens a relayed transport address of a family.
    pub(crate) fn receives(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        to: SocketAddr,
        datagram: &[u8],
        socket: &mut dyn FnMut(AddressFamily) -> Result<SocketAddr, SocketAllocateError>,
    ) -> Vec<Sent> {
        self.wake(now, socket);
        let instant = instant(now);
        let transmit = Transmit::new(datagram.to_vec(), TransportType::Udp, from, to);
        let answer = self.server.recv(transmit, instant).map(|transmit| transmit.build());
        self.wake(now, socket);
        let later = std::iter::from_fn(|| self.server.poll_transmit(instant));
        let sent = answer.into_iter().chain(later);
        sent.map(|t| Sent { from: t.from, to: t.to, bytes: t.data }).collect()
    }

    /// Gives it an ICMP error about a datagram from a relayed transport address to a peer: the packet that its host
    /// would get, from the ICMP header on.
    pub(crate) fn icmp_error(
        &mut self,
        now: Timestamp,
        relayed: SocketAddr,
        peer: SocketAddr,
        icmp: Icmp,
    ) -> Option<Sent> {
        let mut packet = vec![icmp.kind, icmp.code, 0, 0];
        packet.extend(icmp.data.to_be_bytes());
        let family = match (relayed.ip(), peer.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                packet.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
                packet.extend([from.octets(), to.octets()].concat());
                AddressFamily::IPV4
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                packet.extend([0x60, 0, 0, 0, 0, 8, 17, 64]);
                packet.extend([from.octets(), to.octets()].concat());
                AddressFamily::IPV6
            }
            _ => panic!("{relayed} does not relay to {peer}"),
        };
        packet.extend([relayed.port().to_be_bytes(), peer.port().to_be_bytes(), [0, 8], [0, 0]].concat());
        let sent = self.server.recv_icmp(family, packet, instant(now))?;
        Some(Sent { from: sent.from, to: sent.to, bytes: sent.data })
    }

    /// Lets it expire what is due and open and close sockets.
    pub(crate) fn wake(
        &mut self,
        now: Timestamp,
        socket: &mut dyn FnMut(AddressFamily) -> Result<SocketAddr, SocketAllocateError>,
    ) {
        let now = instant(now);
        loop {
            match self.server.poll(now) {
                TurnServerPollRet::WaitUntil(_) => return,
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    let opened = socket(family);
                    self.open.extend(opened);
                    self.server.allocated_socket(
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                        opened,
                        now,
                    );
                }
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    assert!(self.open.remove(&listen_addr), "{listen_addr} was not open");
                }
                other => panic!("nothing here is over TCP: {other:?}"),
            }
        }
    }

    pub(crate) fn listener(&self) -> SocketAddr {
        self.listener
    }
}

fn instant(now: Timestamp) -> Instant {
    Instant::from_nanos(i64::try_from(now.0).expect("the clock starts near zero"))
}
