//! Random operations of many clients, with jumps of the clock: nothing leaks, nothing outlives what it belongs to, and
//! the data path always knows exactly the bindings that are alive.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::{Client, Sim, addr, dual_stack};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use turnpike::policy::Rate;
use turnpike::stun::{AddressFamily, Method};
use turnpike::turn::{CoreConfig, Input, Rates, Throughput};

const CLIENTS: u16 = 12;
const STEPS: usize = 4_000;

fn peers(sim: &Sim) -> Vec<SocketAddr> {
    let mut peers: Vec<_> =
        ["203.0.113.1:1000", "203.0.113.1:1001", "203.0.113.2:1000", "203.0.113.3:7"].map(addr).into();
    peers.extend(
        ["2001:db8:ff::1", "2001:db8:ff::2"].map(|peer| SocketAddr::new(peer.parse().unwrap(), 1000)),
    );
    // Another client of this server, of each family.
    peers.extend(sim.datapath.open.iter().map(|r| r.0).min());
    peers.extend(sim.datapath.open.iter().map(|r| r.0).max());
    peers
}

/// A ticket of some client, used by one that may be the same, at the same port or another.
fn use_ticket(sim: &mut Sim, clients: &mut [Client], tickets: &mut Vec<Vec<u8>>, rng: &mut StdRng) {
    let number = rng.random_range(0..clients.len());
    let any = rng.random_range(0..tickets.len().max(1));
    let Some(ticket) = (if rng.random() { tickets.last() } else { tickets.get(any) }) else { return };
    let reply = clients[number].refresh_with(sim, ticket);
    if reply.code() == 0 {
        tickets.push(reply.ticket());
        let peer = peers(sim)[0];
        clients[number].bind(sim, 0x4000, peer);
        if rng.random() {
            clients[number].channel_data(sim, 0x4000, b"here");
        }
    }
    if tickets.len() > 8 {
        tickets.remove(0);
    }
}

fn step(sim: &mut Sim, clients: &mut [Client], tickets: &mut Vec<Vec<u8>>, rng: &mut StdRng) {
    if rng.random_range(0..5) == 0 {
        return use_ticket(sim, clients, tickets, rng);
    }
    let client = rng.random_range(0..clients.len());
    let client = &mut clients[client];
    if rng.random_range(0..20) == 0 {
        let modern =
            Client::with(client.five_tuple.client.0.port(), &client.username, &client.password).modern();
        *client = Client { transactions: client.transactions, anonymous: rng.random(), ..modern };
    }
    let peers = peers(sim);
    let peer = peers[rng.random_range(0..peers.len())];
    let number = 0x4000 + rng.random_range(0..5);
    match rng.random_range(0..100) {
        0..3 => drop(client.allocate(sim)),
        3..5 => drop(client.allocate_of(sim, AddressFamily::V6)),
        5..9 => drop(client.allocate_both(sim)),
        9..15 => {
            let reply = client.request(sim, Method::ALLOCATE, |b| {
                b.requested_transport(17).mobility_ticket(&[]);
                b.additional_address_family(AddressFamily::V6);
            });
            if reply.code() == 0 {
                tickets.push(reply.ticket());
            }
        }
        15..20 => {
            let reserve = rng.random();
            let reply = client.request(sim, Method::ALLOCATE, |b| {
                b.requested_transport(17).even_port(reserve);
            });
            if let Some(token) = reply.message().reservation_token().unwrap()
                && rng.random()
            {
                let other = &mut clients[rng.random_range(0..usize::from(CLIENTS))];
                other.request(sim, Method::ALLOCATE, |b| {
                    b.requested_transport(17).reservation_token(token);
                });
            }
        }
        20..25 => drop(client.refresh(sim, rng.random_range(0..2000))),
        25..30 => drop(client.refresh_of(sim, family(rng), rng.random_range(0..2000))),
        30..34 => drop(client.refresh(sim, 0)),
        34..38 => drop(client.refresh_of(sim, family(rng), 0)),
        38..45 => drop(client.permit(sim, &[peer, peers[0]])),
        45..70 => drop(client.bind(sim, number, peer)),
        70..80 => drop(client.channel_data(sim, number, b"data")),
        80..84 => drop(client.send(sim, peer, b"data")),
        84..88 => {
            let relayed = sim.datapath.open.iter().map(|r| r.0).max();
            let peer = turnpike::turn::PeerAddr(peer);
            drop(relayed.map(|relayed| sim.peer_sends(relayed, peer, b"data")));
        }
        88..90 => drop(sim.foreign.insert(50_000 + rng.random_range(0..64))),
        90..92 => {
            sim.foreign.clear();
            sim.out_of_sockets = false;
        }
        92..93 => sim.out_of_sockets = rng.random(),
        93..98 => drop(sim.wait(rng.random_range(0.0..100.0))),
        98..99 => drop(sim.wait(rng.random_range(0.0..1000.0))),
        _ => sim.sleep(rng.random_range(0.0..2000.0)),
    }
}

fn family(rng: &mut StdRng) -> AddressFamily {
    if rng.random() { AddressFamily::V4 } else { AddressFamily::V6 }
}

fn check(sim: &mut Sim) {
    sim.input(Input::Wakeup);
    sim.datapath.assert_agrees_with(&sim.core);
    for binding in sim.datapath.bindings.values() {
        assert!(binding.deadline > sim.now, "{binding:?} is past its deadline");
    }
    // Allocations and reservations hold a place each, and nothing else does; relayed addresses and reservations a
    // port each, and so do for a while those that another program held.
    let live = sim.core.allocation_count() + sim.shared.reservations();
    assert_eq!(sim.shared.quota_used() as usize, live);
    let occupancy = sim.core.occupancy();
    assert!((occupancy.allocations..=2 * occupancy.allocations).contains(&occupancy.relayed));
    assert!(sim.shared.free_ports() <= 2 * 64 - occupancy.relayed - sim.shared.reservations());
    for binding in sim.datapath.bindings.values() {
        assert_eq!(binding.relayed.family(), binding.peer.family());
        // With limits every binding is counted, and by its own allocation's meter.
        assert_eq!(binding.meter != 0, sim.config.rates != Rates::default());
    }
    let mut owners = HashMap::new();
    for binding in sim.datapath.bindings.values().filter(|binding| binding.meter != 0) {
        assert_eq!(*owners.entry(binding.meter).or_insert(binding.five_tuple), binding.five_tuple);
    }
    // A meter for each allocation with limits, and one for each user who owes something or is here.
    let meters = sim.shared.meters();
    let own = if sim.config.rates == Rates::default() { 0 } else { sim.core.allocation_count() };
    assert!((own..=own + 2).contains(&meters.held), "{meters:?} for {own} allocations");
    assert!(sim.shared.users() <= 2);
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let quota = |limit: u32| (!seed.is_multiple_of(3)).then_some(limit);
    // Limits that are reached now and then, in half of the runs.
    let rate = |units, seconds| Some(Rate::new(units, Duration::from_secs(seconds), units));
    let rates = match seed % 2 {
        0 => Rates::default(),
        _ => Rates {
            allocation: Throughput { bytes: rate(8, 60), packets: None },
            user: Throughput { bytes: None, packets: rate(8, 60) },
            new_peers: rate(60, 60),
        },
    };
    let limits = CoreConfig { user_quota: quota(7), total_quota: quota(9), mobility: true, ..dual_stack() };
    let config = CoreConfig { rates, allocation_peers: 3, ..limits };
    let mut sim = Sim::new(config, [seed as u8; 32]);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|i| if i % 2 == 0 { Client::new(1000 + i) } else { Client::with(1000 + i, "bob", "builder") })
        .collect();
    let mut tickets = Vec::new();
    let mut moves = 0;
    for _ in 0..STEPS {
        let before: HashMap<_, _> = sim.core.bindings().map(|b| (b.relayed, b.five_tuple)).collect();
        step(&mut sim, &mut clients, &mut tickets, &mut rng);
        check(&mut sim);
        moves += sim
            .core
            .bindings()
            .filter(|b| before.get(&b.relayed).is_some_and(|five_tuple| *five_tuple != b.five_tuple))
            .count();
    }
    assert!(sim.datapath.ids.len() > STEPS / 20, "too little happened: {}", sim.datapath.ids.len());
    if rates == Rates::default() {
        assert!(moves > STEPS / 400, "too few moved: {moves}");
    }
    sim.wait(10_000.0);
    sim.assert_empty();
}

#[test]
fn ports_quotas_and_bindings_are_conserved_over_random_operations() {
    for seed in 0..6 {
        run(seed);
    }
}

/// The same seed gives the same run: nothing depends on the process's own randomness.
#[test]
fn a_run_can_be_repeated() {
    let trace = || {
        let mut rng = StdRng::seed_from_u64(99);
        let config = turnpike::turn::CoreConfig { mobility: true, ..dual_stack() };
        let mut sim = Sim::new(config, [1; 32]);
        let mut clients: Vec<_> = (0..CLIENTS).map(|i| Client::new(1000 + i)).collect();
        let mut tickets = Vec::new();
        (0..300).for_each(|_| step(&mut sim, &mut clients, &mut tickets, &mut rng));
        let mut bindings: Vec<_> = sim.core.bindings().collect();
        bindings.sort_by_key(|b| b.id);
        (bindings, sim.core.occupancy(), sim.shared.free_ports())
    };
    assert_eq!(trace(), trace());
}
