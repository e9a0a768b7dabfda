//! Random operations of clients with TCP allocations (RFC 6062) and their peers, among others with UDP: no connection, name
//! or port leaks, and none outlives its allocation.

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::{Client, Joined, LIMITS, Seen, Sim, addr, attempt, code, dual_stack, over};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use turnpike::stun::{AddressFamily, Method};
use turnpike::turn::{ConnectionId, CoreConfig, Input, Output, TcpRelay, Transport};

const CLIENTS: u16 = 8;
const STEPS: usize = 4_000;

/// Most connections of one user: fewer than of all.
const OF_USER: usize = 5;

struct Run {
    sim: Sim,
    rng: StdRng,
    clients: Vec<Client>,
    /// For connections that are to be bound.
    next_port: u16,
    bound: usize,
    /// Names seen, alive or not.
    names: Vec<ConnectionId>,
}

impl Run {
    fn any<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let number = self.rng.random_range(0..of.len().max(1));
        of.get(number).cloned()
    }

    fn connection(&mut self, is: impl Fn(&Joined) -> bool) -> Option<ConnectionId> {
        let of_kind = self.sim.datapath.connections.iter().filter(|(_, joined)| is(joined));
        let mut ids: Vec<_> = of_kind.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        self.any(&ids)
    }

    fn peer(&mut self) -> SocketAddr {
        let port = self.rng.random_range(1..6);
        let ip = ["203.0.113.1", "203.0.113.2", "10.0.0.1", "[2001:db8:ff::1]"][self.rng.random_range(0..4)];
        addr(&format!("{ip}:{port}"))
    }

    fn step(&mut self) {
        let peer = self.peer();
        let number = self.rng.random_range(0..self.clients.len());
        let (sim, client) = (&mut self.sim, &mut self.clients[number]);
        match self.rng.random_range(0..100) {
            0..6 => drop(client.allocate_tcp(sim)),
            6..9 => drop(client.request(sim, Method::ALLOCATE, |b| {
                b.requested_transport(6).additional_address_family(AddressFamily::V6);
            })),
            9..11 => drop(client.allocate_both(sim)),
            11..20 => drop(client.permit(sim, &[peer])),
            20..40 => {
                let seen = client.connect(sim, peer);
                self.names.extend(common::asked_to_connect(&seen).map(|(id, ..)| id));
            }
            40..55 => {
                if let Some(connection) = self.connection(|j| matches!(j, Joined::Connecting(..))) {
                    self.sim.datapath.connections.insert(connection, Joined::Waiting);
                    let seen = self.sim.input(Input::PeerConnected { connection });
                    assert_eq!(code(&seen), Some(0));
                }
            }
            55..58 => {
                if let Some(connection) = self.connection(|j| matches!(j, Joined::Connecting(..))) {
                    assert_eq!(code(&self.sim.connect_fails(connection)), Some(447));
                }
            }
            58..68 => {
                let mut relayed: Vec<_> = sim.datapath.listening.iter().map(|r| r.0).collect();
                relayed.sort_unstable();
                if let Some(relayed) = self.any(&relayed) {
                    let seen = self.sim.peer_connects(relayed, peer);
                    let refused = seen.contains(&Seen::Other(Output::RefusePeer));
                    assert_ne!(refused, attempt(&seen).is_some());
                    self.names.extend(attempt(&seen).map(|(id, _)| id));
                }
            }
            68..82 => {
                let waiting = self.connection(|j| *j == Joined::Waiting);
                let connection = if self.rng.random_range(0..8) == 0 {
                    let names = self.names.clone();
                    self.any(&names)
                } else {
                    waiting
                };
                if let Some(connection) = connection {
                    self.next_port += 1;
                    let mut data = over(Transport::Tls, self.clients[number].clone());
                    data.five_tuple.client.0.set_port(self.next_port);
                    data.nonce = Vec::new();
                    let reply = data.connection_bind(&mut self.sim, connection).code();
                    assert!([0, 400, 441].contains(&reply), "{reply}");
                    self.bound += usize::from(reply == 0);
                }
            }
            82..87 => {
                if let Some(connection) = self.connection(|_| true) {
                    self.sim.input(Input::ConnectionCarried { connection });
                    self.sim.connection_goes(connection);
                }
            }
            87..90 => drop(client.refresh(sim, self.rng.random_range(0..2000))),
            90..93 => {
                // Answered together with the Connect requests that wait, so not by what expects one answer.
                let one_family = self.rng.random_range(0..3) == 0;
                let request = client.signed(Method::REFRESH, |b| {
                    b.lifetime(Duration::ZERO);
                    if one_family {
                        b.requested_address_family(AddressFamily::V4);
                    }
                });
                sim.client_sends(client.five_tuple, &request);
            }
            93..94 => {
                // Late news of what is over.
                if let Some(connection) = self.names.clone().first().copied()
                    && !sim.datapath.connections.contains_key(&connection)
                {
                    for input in [
                        Input::PeerConnected { connection },
                        Input::ConnectFailed { connection },
                        Input::ConnectionGone { connection },
                    ] {
                        assert_eq!(sim.input(input), []);
                    }
                }
            }
            94..98 => drop(sim.wait(self.rng.random_range(0.0..20.0))),
            98..99 => drop(sim.wait(self.rng.random_range(0.0..700.0))),
            _ => sim.sleep(self.rng.random_range(0.0..1000.0)),
        }
    }

    fn check(&mut self) {
        let sim = &mut self.sim;
        // Ports are free with the input after the one that gave them up.
        sim.input(Input::Wakeup);
        sim.input(Input::Wakeup);
        sim.datapath.assert_agrees_with(&sim.core);
        assert_eq!(sim.shared.connections(), sim.datapath.connections.len());
        assert!(sim.shared.connections() <= LIMITS.total_connections);
        let sessions: Vec<_> =
            (0..sim.core.places()).filter_map(|place| Some(sim.core.look(place)?.session(sim.now))).collect();
        assert_eq!(sessions.iter().map(|s| s.connections).sum::<usize>(), sim.shared.connections());
        assert!(sessions.iter().all(|s| s.connections <= LIMITS.allocation_connections));
        for user in ["alice", "bob"] {
            let of_user = sessions.iter().filter(|s| s.username == user).map(|s| s.connections);
            assert!(of_user.sum::<usize>() <= OF_USER);
        }
        let data: HashSet<_> =
            sim.datapath.connections.values().filter(|j| matches!(j, Joined::To(_))).collect();
        let joined = sim.datapath.connections.values().filter(|j| matches!(j, Joined::To(_))).count();
        assert_eq!(data.len(), joined, "a client's connection is joined to one");
        let ports = sim.shared.free_ports() + sim.core.occupancy().relayed;
        assert_eq!(ports, 2 * 64, "a port is free or an allocation's");
        assert!(sim.datapath.bindings.values().all(|b| !sim.datapath.listening.contains(&b.relayed)));
    }
}

#[test]
fn connections_names_and_ports_are_conserved_over_random_operations() {
    for seed in 0..6 {
        let limits = TcpRelay { user_connections: OF_USER, ..LIMITS };
        let config = CoreConfig { tcp_relay: Some(limits), ..dual_stack() };
        let clients = (0..CLIENTS).map(|i| {
            let client = if i % 3 == 0 { Client::with(1 + i, "bob", "builder") } else { Client::new(1 + i) };
            over(if i % 2 == 0 { Transport::Tcp } else { Transport::Tls }, client)
        });
        let mut run = Run {
            sim: Sim::new(config, [seed as u8; 32]),
            rng: StdRng::seed_from_u64(seed),
            clients: clients.collect(),
            next_port: 1000,
            bound: 0,
            names: Vec::new(),
        };
        for _ in 0..STEPS {
            run.step();
            run.check();
        }
        assert!(run.bound > STEPS / 100, "too little happened: {}", run.bound);
        // Those that are joined end with their allocations.
        run.sim.wait(10_000.0);
        run.sim.assert_empty();
    }
}
