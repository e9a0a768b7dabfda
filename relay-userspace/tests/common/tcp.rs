//! Clients and peers of TCP allocations (RFC 6062).

use std::net::SocketAddr;
use std::time::Duration;

use turnpike::stun::{Message, Method};
use turnpike::turn::{
    Carried, ConnectionId, CoreConfig, Event, FiveTuple, Input, Output, PeerAddr, RelayAddr, TcpEvent,
    TcpRelay, Transport,
};

use super::{Client, Reply, Seen, Sim, addr, config, to_client};

pub const LIMITS: TcpRelay = TcpRelay {
    allocation_connections: 4,
    user_connections: 9,
    total_connections: 6,
    idle: Duration::from_secs(3600),
};

/// The usual settings, with TCP allocations.
pub fn tcp_config() -> CoreConfig {
    CoreConfig { tcp_relay: Some(LIMITS), ..config() }
}

/// A core with those.
pub fn tcp_sim() -> Sim {
    Sim::new(tcp_config(), [7; 32])
}

pub fn over(transport: Transport, client: Client) -> Client {
    Client { five_tuple: FiveTuple { transport, ..client.five_tuple }, ..client }
}

/// A client over TCP.
pub fn tcp_client(port: u16) -> Client {
    over(Transport::Tcp, Client::new(port))
}

impl Client {
    pub fn allocate_tcp(&mut self, sim: &mut Sim) -> Reply {
        self.request(sim, Method::ALLOCATE, |b| {
            b.requested_transport(6);
        })
    }

    /// Sends a Connect request: the answer may come later.
    pub fn connect(&mut self, sim: &mut Sim, peer: SocketAddr) -> Vec<Seen> {
        if self.nonce.is_empty() {
            self.learn_nonce(sim);
        }
        let request = self.signed(Method::CONNECT, |b| {
            b.xor_peer_address(peer);
        });
        sim.client_sends(self.five_tuple, &request)
    }

    /// Connects to a peer that is there.
    pub fn connected(&mut self, sim: &mut Sim, peer: SocketAddr) -> ConnectionId {
        let seen = self.connect(sim, peer);
        let (connection, _, to) = asked_to_connect(&seen).unwrap_or_else(|| panic!("{seen:?}"));
        assert_eq!((to.0, to_client(&seen)), (peer, None), "the answer comes when the connection is there");
        let seen = sim.input(Input::PeerConnected { connection });
        let reply = Reply(to_client(&seen).expect("an answer").to_vec());
        assert!(reply.code() == 0 && reply.message().is_authentic(&self.key()));
        assert_eq!(reply.message().connection_id().unwrap(), Some(connection.0));
        sim.datapath.connections.insert(connection, super::Joined::Waiting);
        connection
    }

    /// Binds this client's connection, which it made for that alone.
    pub fn connection_bind(&mut self, sim: &mut Sim, connection: ConnectionId) -> Reply {
        self.request(sim, Method::CONNECTION_BIND, |b| {
            b.connection_id(connection.0);
        })
    }

    /// Binds a connection that this client, by its control connection, has: from another port, with the nonce that the
    /// control connection has.
    pub fn bind_with_nonce_of(
        &mut self,
        control: &Self,
        sim: &mut Sim,
        connection: ConnectionId,
    ) -> Vec<Seen> {
        self.nonce.clone_from(&control.nonce);
        let request = self.signed(Method::CONNECTION_BIND, |b| {
            b.connection_id(connection.0);
        });
        sim.client_sends(self.five_tuple, &request)
    }

    /// Such a request, for who sends it in a way of its own.
    pub fn bind_request(&mut self, sim: &mut Sim, connection: ConnectionId) -> Vec<u8> {
        self.learn_nonce(sim);
        self.signed(Method::CONNECTION_BIND, |b| {
            b.connection_id(connection.0);
        })
    }
}

impl Sim {
    /// A peer connects to a relayed transport address.
    pub fn peer_connects(&mut self, relayed: SocketAddr, peer: SocketAddr) -> Vec<Seen> {
        self.input(Input::PeerIncoming { relayed: RelayAddr(relayed), peer: PeerAddr(peer) })
    }

    /// A connection could not be made.
    pub fn connect_fails(&mut self, connection: ConnectionId) -> Vec<Seen> {
        self.datapath.connections.remove(&connection);
        self.input(Input::ConnectFailed { connection })
    }

    /// Either end of a connection closed it.
    pub fn connection_goes(&mut self, connection: ConnectionId) -> Vec<Seen> {
        self.datapath.connections.remove(&connection);
        self.input(Input::ConnectionGone { connection })
    }
}

pub fn asked_to_connect(seen: &[Seen]) -> Option<(ConnectionId, RelayAddr, PeerAddr)> {
    seen.iter().find_map(|s| match s {
        Seen::Other(Output::ConnectPeer { connection, relayed, peer }) => {
            Some((*connection, *relayed, *peer))
        }
        _ => None,
    })
}

/// The connection that a client is told of by a ConnectionAttempt indication, and whose it is.
pub fn attempt(seen: &[Seen]) -> Option<(ConnectionId, SocketAddr)> {
    let message = Message::parse(to_client(seen)?).ok()?;
    if message.method() != Method::CONNECTION_ATTEMPT {
        return None;
    }
    let connection = message.connection_id().unwrap().expect("CONNECTION-ID");
    Some((ConnectionId(connection), message.xor_peer_address().unwrap().expect("XOR-PEER-ADDRESS")))
}

pub fn closed(seen: &[Seen]) -> Vec<ConnectionId> {
    let of = |s: &Seen| match s {
        Seen::Other(Output::CloseConnection { connection }) => Some(*connection),
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

/// The error code of the only answer.
pub fn code(seen: &[Seen]) -> Option<u16> {
    to_client(seen).map(|bytes| Reply(bytes.to_vec()).code())
}

pub fn a_peer() -> SocketAddr {
    addr("203.0.113.1:1000")
}

/// What happened to connections.
pub fn events(seen: &[Seen]) -> Vec<TcpEvent> {
    let of = |s: &Seen| match s {
        Seen::Event(Event::Tcp(event)) => Some(*event),
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

/// Binds the connection, by one from this port of the client: where what it carries is counted.
pub fn joined(sim: &mut Sim, port: u16, connection: ConnectionId) -> Carried {
    let mut data = tcp_client(port);
    let request = data.bind_request(sim, connection);
    let seen = sim.client_sends(data.five_tuple, &request);
    let join = seen.iter().find_map(|s| match s {
        Seen::Other(Output::Join { carried, .. }) => Some(carried.clone()),
        _ => None,
    });
    join.unwrap_or_else(|| panic!("{seen:?}"))
}
