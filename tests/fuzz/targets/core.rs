//! Any sequence of what clients, peers, the host and the clock can do to a protocol core. The simulated server checks
//! every effect; here the books must balance after each step and be empty when all is over.
#![no_main]

#[path = "../../../relay-userspace/tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;

use arbitrary::Arbitrary;
use common::{Client, Joined, LIMITS, Sim, addr, dual_stack, over};
use libfuzzer_sys::fuzz_target;
use turnpike::stun::{AttributeType, Class, Icmp, Message, Method};
use turnpike::turn::{ConnectionId, CoreConfig, Input, PeerAddr, TcpRelay, Transport};

#[derive(Arbitrary, Debug)]
enum Step {
    /// A datagram of the fuzzer's own.
    Raw {
        client: u8,
        datagram: Vec<u8>,
    },
    /// A request with any attributes, authenticated or not.
    Message {
        client: u8,
        method: u16,
        class: u8,
        signed: bool,
        attributes: Vec<(u16, Vec<u8>)>,
    },
    Allocate {
        client: u8,
        even_port: Option<bool>,
        family: Option<u8>,
        additional: Option<u8>,
        mobile: bool,
    },
    /// Comes with the last ticket, which may be another client's.
    Move {
        client: u8,
    },
    IcmpError {
        relayed: u8,
        peer: u8,
        kind: u8,
        code: u8,
    },
    /// Claims what the last EVEN-PORT reserved.
    Claim {
        client: u8,
    },
    Refresh {
        client: u8,
        seconds: u16,
    },
    Permit {
        client: u8,
        peers: Vec<u8>,
    },
    Bind {
        client: u8,
        number: u8,
        peer: u8,
    },
    ChannelData {
        client: u8,
        number: u8,
        data: Vec<u8>,
    },
    Send {
        client: u8,
        peer: u8,
        data: Vec<u8>,
    },
    FromPeer {
        relayed: u8,
        peer: u8,
        data: Vec<u8>,
    },
    /// The last request once more.
    Again {
        client: u8,
    },
    OtherProgramHolds {
        port: u8,
    },
    AllocateTcp {
        client: u8,
    },
    Connect {
        client: u8,
        peer: u8,
    },
    /// A connection of a TCP allocation got on, or did not.
    Tcp {
        news: TcpNews,
        connection: u8,
    },
    /// A peer connects.
    PeerIncoming {
        relayed: u8,
        peer: u8,
    },
    /// By a connection of its own, which may be in use already.
    ConnectionBind {
        client: u8,
        connection: u8,
        port: u8,
    },
    OutOfSockets(bool),
    Wait {
        seconds: u16,
    },
    Sleep {
        seconds: u16,
    },
}

#[derive(Arbitrary, Debug)]
enum TcpNews {
    Connected,
    Failed,
    Gone,
    Carried,
}

struct World {
    sim: Sim,
    clients: Vec<(Client, Vec<u8>)>,
    token: [u8; 8],
    ticket: Vec<u8>,
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Raw { client, datagram } => self.send_raw(client, datagram),
            Step::Message { client, method, class, signed, attributes } => {
                let method = METHODS[usize::from(method) % METHODS.len()];
                let fill = |b: &mut turnpike::stun::Builder<'_>| {
                    for (kind, value) in attributes.iter().take(32) {
                        b.bytes(AttributeType(*kind), &value[..value.len().min(1000)]);
                    }
                };
                if signed {
                    return self.request(client, method, fill);
                }
                let class =
                    [Class::Request, Class::Indication, Class::Success, Class::Error][usize::from(class) % 4];
                let datagram = self.client(client).0.plain(method, class, fill);
                self.send_raw(client, datagram);
            }
            Step::Move { client } => {
                let ticket = self.ticket.clone();
                self.request(client, Method::REFRESH, |b| {
                    b.mobility_ticket(&ticket);
                });
            }
            Step::IcmpError { relayed, peer, kind, code } => {
                let Some(relayed) = self.relayed(relayed) else { return };
                let peer = PeerAddr(self.peer(peer));
                self.sim.icmp_error(relayed, peer, Icmp { kind, code, data: 1280 });
            }
            Step::Allocate { client, even_port, family, additional, mobile } => {
                self.request(client, Method::ALLOCATE, |b| {
                    b.requested_transport(17);
                    if mobile {
                        b.mobility_ticket(&[]);
                    }
                    if let Some(reserve) = even_port {
                        b.even_port(reserve);
                    }
                    if let Some(family) = family {
                        b.bytes(AttributeType::REQUESTED_ADDRESS_FAMILY, &[family % 4, 0, 0, 0]);
                    }
                    if let Some(family) = additional {
                        b.bytes(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[family % 4, 0, 0, 0]);
                    }
                });
            }
            Step::Claim { client } => {
                let token = self.token;
                self.request(client, Method::ALLOCATE, |b| {
                    b.requested_transport(17).reservation_token(token);
                });
            }
            Step::Refresh { client, seconds } => self.request(client, Method::REFRESH, |b| {
                b.lifetime(std::time::Duration::from_secs(seconds.into()));
            }),
            Step::Permit { client, peers } => {
                let peers: Vec<_> = peers.iter().take(8).map(|&peer| self.peer(peer)).collect();
                self.request(client, Method::CREATE_PERMISSION, |b| {
                    peers.iter().for_each(|&peer| _ = b.xor_peer_address(peer));
                });
            }
            Step::Bind { client, number, peer } => {
                let peer = self.peer(peer);
                self.request(client, Method::CHANNEL_BIND, |b| {
                    b.channel_number(channel(number)).xor_peer_address(peer);
                });
            }
            Step::ChannelData { client, number, data } => {
                let client = &self.clients[usize::from(client) % self.clients.len()].0;
                client.channel_data(&mut self.sim, channel(number), &data[..data.len().min(1500)]);
            }
            Step::Send { client, peer, data } => {
                let peer = self.peer(peer);
                let client = usize::from(client) % self.clients.len();
                self.clients[client].0.send(&mut self.sim, peer, &data[..data.len().min(1500)]);
            }
            Step::FromPeer { relayed, peer, data } => {
                let Some(relayed) = self.relayed(relayed) else { return };
                let peer = PeerAddr(self.peer(peer));
                self.sim.peer_sends(relayed, peer, &data);
            }
            Step::Again { client } => {
                let datagram = self.client(client).1.clone();
                self.send_raw(client, datagram);
            }
            Step::AllocateTcp { client } => {
                self.request(client, Method::ALLOCATE, |b| _ = b.requested_transport(6));
            }
            Step::Connect { client, peer } => {
                let peer = self.peer(peer);
                self.request(client, Method::CONNECT, |b| _ = b.xor_peer_address(peer));
            }
            Step::Tcp { news, connection } => {
                let Some(connection) = self.connection(connection) else { return };
                let connecting = matches!(self.sim.datapath.connections[&connection], Joined::Connecting(..));
                match news {
                    // Those who make connections tell of one once.
                    TcpNews::Connected if connecting => {
                        self.sim.datapath.connections.insert(connection, Joined::Waiting);
                        self.sim.input(Input::PeerConnected { connection });
                    }
                    TcpNews::Failed if connecting => drop(self.sim.connect_fails(connection)),
                    TcpNews::Gone => drop(self.sim.connection_goes(connection)),
                    TcpNews::Carried => drop(self.sim.input(Input::ConnectionCarried { connection })),
                    TcpNews::Connected | TcpNews::Failed => {}
                }
            }
            Step::PeerIncoming { relayed, peer } => {
                let mut listening: Vec<_> = self.sim.datapath.listening.iter().map(|r| r.0).collect();
                listening.sort();
                let Some(count) = std::num::NonZero::new(listening.len()) else { return };
                let peer = self.peer(peer);
                self.sim.peer_connects(listening[usize::from(relayed) % count], peer);
            }
            Step::ConnectionBind { client, connection, port } => {
                let Some(connection) = self.connection(connection) else { return };
                let client = self.client(client).0.clone();
                let mut data = over(Transport::Tls, client);
                data.five_tuple.client.0.set_port(5000 + u16::from(port));
                let request = data.signed(Method::CONNECTION_BIND, |b| _ = b.connection_id(connection.0));
                self.sim.client_sends(data.five_tuple, &request);
            }
            Step::OtherProgramHolds { port } => {
                self.sim.foreign.insert(50_000 + u16::from(port % 64));
            }
            Step::OutOfSockets(so) => {
                self.sim.out_of_sockets = so;
                self.sim.foreign.clear();
            }
            Step::Wait { seconds } => drop(self.sim.wait(seconds.into())),
            Step::Sleep { seconds } => self.sim.sleep(seconds.into()),
        }
    }

    fn client(&mut self, index: u8) -> &mut (Client, Vec<u8>) {
        let index = usize::from(index) % self.clients.len();
        &mut self.clients[index]
    }

    fn request(&mut self, client: u8, method: Method, fill: impl Fn(&mut turnpike::stun::Builder<'_>)) {
        let datagram = self.client(client).0.signed(method, fill);
        self.client(client).1.clone_from(&datagram);
        self.send_raw(client, datagram);
    }

    /// Sends, and learns what a client learns from the answer.
    fn send_raw(&mut self, client: u8, datagram: Vec<u8>) {
        let five_tuple = self.client(client).0.five_tuple;
        for seen in self.sim.client_sends(five_tuple, &datagram) {
            let common::Seen::ToClient(to, bytes) = seen else { continue };
            let message = Message::parse(&bytes).expect("the server sends well-formed messages");
            if to != five_tuple {
                continue;
            }
            if let Ok(Some(nonce)) = message.nonce() {
                self.client(client).0.nonce = nonce.to_vec();
            }
            if let Some(ticket) = message.mobility_ticket() {
                self.ticket = ticket.to_vec();
            }
            if let Ok(Some(token)) = message.reservation_token() {
                self.token = token;
            }
        }
    }

    fn connection(&self, index: u8) -> Option<ConnectionId> {
        let mut all: Vec<_> = self.sim.datapath.connections.keys().copied().collect();
        all.sort();
        let count = std::num::NonZero::new(all.len())?;
        Some(all[usize::from(index) % count])
    }

    fn relayed(&self, index: u8) -> Option<SocketAddr> {
        let mut open: Vec<_> = self.sim.datapath.open.iter().map(|r| r.0).collect();
        open.sort();
        let count = std::num::NonZero::new(open.len())?;
        Some(open[usize::from(index) % count])
    }

    fn peer(&self, index: u8) -> SocketAddr {
        let own = self.sim.datapath.open.iter().map(|r| r.0).min();
        match index % 6 {
            0 => addr("203.0.113.1:1000"),
            1 => addr("203.0.113.1:1001"),
            2 => addr("203.0.113.2:1000"),
            3 => addr("127.0.0.1:80"),
            4 => addr("[2001:db8::7]:9"),
            _ => own.unwrap_or(addr("[::ffff:10.0.0.1]:53")),
        }
    }

    fn check(&mut self) {
        self.sim.input(Input::Wakeup);
        self.sim.datapath.assert_agrees_with(&self.sim.core);
        assert!(self.sim.datapath.bindings.values().all(|binding| binding.deadline > self.sim.now));
        let live = self.sim.core.allocation_count() + self.sim.shared.reservations();
        assert_eq!(self.sim.shared.quota_used() as usize, live);
        assert_eq!(self.sim.shared.connections(), self.sim.datapath.connections.len());
    }
}

const METHODS: [Method; 10] = [
    Method::BINDING,
    Method::ALLOCATE,
    Method::REFRESH,
    Method::SEND,
    Method::DATA,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::CONNECT,
    Method::CONNECTION_BIND,
    Method::BINDING,
];

/// Five good numbers and some that are none.
fn channel(number: u8) -> u16 {
    [0x4000, 0x4001, 0x4fff, 0x5000, 0x7fff, 0x3fff, 0x8000][usize::from(number) % 7]
}

fuzz_target!(|input: (Option<u8>, Vec<Step>)| {
    let (quota, steps) = input;
    let limit = quota.map(|quota| u32::from(quota) + 1);
    let sim = Sim::new(
        CoreConfig {
            user_quota: limit,
            total_quota: limit,
            mobility: true,
            tcp_relay: Some(TcpRelay { user_connections: 5, ..LIMITS }),
            ..dual_stack()
        },
        [7; 32],
    );
    let mut clients: Vec<_> = (0..3).map(|i| (Client::new(1000 + i), Vec::new())).collect();
    clients.push((Client::with(2000, "bob", "builder"), Vec::new()));
    clients[2].0 = clients[2].0.clone().modern();
    clients.push((over(Transport::Tcp, Client::new(3000)), Vec::new()));
    let number = clients.len() as u8;
    let mut world = World { sim, clients, token: [0; 8], ticket: Vec::new() };
    for client in 0..number {
        world.request(client, Method::ALLOCATE, |_| {});
        world.sim.wait(1.0);
    }
    for step in steps {
        world.step(step);
        world.check();
    }
    world.sim.wait(10_000.0);
    world.sim.assert_empty();
});
