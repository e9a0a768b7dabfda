//! Bandwidth and packet rates of allocations and users, in both directions (lessons 41, 42 and 48).

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Client, SECRET, Seen, Sim, UNIX_START, addr, config, dropped, peer};
use relay_common::reason::Reason;
use turnpike::auth::time_limited;
use turnpike::policy::Rate;
use turnpike::turn::{CoreConfig, Rates, Throughput};

const PEER: &str = "203.0.113.1:1";

fn per_second(units: u64) -> Option<Rate> {
    Some(Rate::new(units, Duration::from_secs(1), units))
}

fn bytes(units: u64) -> Throughput {
    Throughput { bytes: per_second(units), packets: None }
}

fn packets(units: u64) -> Throughput {
    Throughput { bytes: None, packets: per_second(units) }
}

fn with(rates: Rates) -> CoreConfig {
    CoreConfig { rates, ..config() }
}

/// A client with a channel, and its relayed address.
fn connected(sim: &mut Sim, mut client: Client) -> (Client, SocketAddr) {
    let relayed = client.allocated(sim);
    assert_eq!(client.bind(sim, 0x4000, addr(PEER)).code(), 0);
    (client, relayed)
}

/// How many were relayed; the others are dropped and counted.
fn relayed(seen: impl Iterator<Item = Vec<Seen>>) -> usize {
    let relayed = seen.filter(|seen| {
        let relayed = matches!(seen[..], [Seen::ToPeer(..) | Seen::ToClient(..)]);
        assert!(relayed || dropped(seen) == Some(Reason::RateLimited), "{seen:?}");
        relayed
    });
    relayed.count()
}

fn by_channel(sim: &mut Sim, client: &Client, length: usize, times: usize) -> usize {
    relayed((0..times).map(|_| client.channel_data(sim, 0x4000, &vec![7; length])))
}

fn by_send(sim: &mut Sim, client: &mut Client, length: usize, times: usize) -> usize {
    relayed((0..times).map(|_| client.send(sim, addr(PEER), &vec![7; length])))
}

fn to_client(sim: &mut Sim, at: SocketAddr, length: usize, times: usize) -> usize {
    relayed((0..times).map(|_| sim.peer_sends(at, peer(PEER), &vec![7; length])))
}

#[test]
fn an_allocation_gets_no_more_bandwidth_than_its_limit_in_either_direction() {
    let mut sim = Sim::new(with(Rates { allocation: bytes(10_000), ..Rates::default() }), [1; 32]);
    let (mut client, at) = connected(&mut sim, Client::new(1));
    assert_eq!(by_channel(&mut sim, &client, 1_000, 100), 10);
    assert_eq!(by_send(&mut sim, &mut client, 1_000, 100), 0, "channels and indications count together");
    assert_eq!(to_client(&mut sim, at, 1_000, 100), 10, "the other direction counts for itself");
    sim.sleep(0.5);
    assert_eq!(by_send(&mut sim, &mut client, 1_000, 100), 5);
    assert_eq!(to_client(&mut sim, at, 500, 100), 10);
    // Every byte counts, and what does not fit leaves the room to what does.
    sim.sleep(0.1);
    assert_eq!((by_channel(&mut sim, &client, 1_001, 5), by_channel(&mut sim, &client, 1_000, 5)), (0, 1));

    let (other, _) = connected(&mut sim, Client::new(2));
    assert_eq!(by_channel(&mut sim, &other, 1_000, 100), 10, "each allocation has its own");
}

#[test]
fn an_allocation_gets_no_more_packets_than_its_limit_in_either_direction() {
    let mut sim = Sim::new(with(Rates { allocation: packets(50), ..Rates::default() }), [1; 32]);
    let (mut client, at) = connected(&mut sim, Client::new(1));
    assert_eq!(by_channel(&mut sim, &client, 0, 30) + by_send(&mut sim, &mut client, 1_200, 100), 50);
    assert_eq!(to_client(&mut sim, at, 1_200, 100), 50);
    sim.sleep(0.1);
    assert_eq!((by_channel(&mut sim, &client, 1, 100), to_client(&mut sim, at, 1, 100)), (5, 5));
}

#[test]
fn the_allocations_of_a_user_share_its_limits_over_all_shards() {
    for (limit, expected) in [(bytes(10_000), 10), (packets(10), 10)] {
        let mut one = Sim::new(with(Rates { user: limit, ..Rates::default() }), [1; 32]);
        let mut two = Sim::sharing(one.config.clone(), one.shared.clone(), [2; 32]);
        let (first, _) = connected(&mut one, Client::new(1));
        let (second, at) = connected(&mut two, Client::new(2));
        assert_eq!(
            by_channel(&mut one, &first, 1_000, 6) + by_channel(&mut two, &second, 1_000, 100),
            expected
        );
        assert_eq!(to_client(&mut two, at, 1_000, 100), expected);
        let (bob, _) = connected(&mut one, Client::with(3, "bob", "builder"));
        assert_eq!(by_channel(&mut one, &bob, 1_000, 100), expected, "other users are not touched");
    }
}

#[test]
fn what_one_limit_refuses_counts_for_no_other() {
    let (allocation, user) = (Throughput { bytes: per_second(1_000), packets: per_second(100) }, packets(10));
    let mut sim = Sim::new(with(Rates { allocation, user, ..Rates::default() }), [1; 32]);
    let (first, _) = connected(&mut sim, Client::new(1));
    let (second, _) = connected(&mut sim, Client::new(2));
    assert_eq!(by_channel(&mut sim, &first, 200, 1_000), 5, "by its bytes");
    assert_eq!(by_channel(&mut sim, &second, 1, 1_000), 5, "by the user's packets");
    assert_eq!(by_channel(&mut sim, &first, 0, 1_000), 0);
    sim.sleep(1.0);
    assert_eq!(by_channel(&mut sim, &first, 0, 1_000), 10, "no debt is left of what was dropped");
}

#[test]
fn what_the_users_limit_refuses_takes_nothing_from_the_allocation() {
    let minute = Some(Rate::new(20, Duration::from_secs(60), 20));
    let allocation = Throughput { bytes: None, packets: minute };
    let mut sim = Sim::new(with(Rates { allocation, user: packets(10), ..Rates::default() }), [1; 32]);
    let (client, _) = connected(&mut sim, Client::new(1));
    assert_eq!(by_channel(&mut sim, &client, 1, 1_000), 10, "by the user's packets");
    sim.sleep(1.0);
    assert_eq!(by_channel(&mut sim, &client, 1, 1_000), 10, "the rest of the allocation's");
    sim.sleep(1.0);
    assert_eq!(by_channel(&mut sim, &client, 1, 1_000), 0);
}

/// Lesson 42.
#[test]
fn hanging_up_and_calling_again_is_no_way_out_of_a_rate() {
    let minute = Rate::new(60, Duration::from_secs(60), 60);
    let user = Throughput { bytes: None, packets: Some(minute) };
    let mut sim = Sim::new(with(Rates { user, ..Rates::default() }), [1; 32]);
    let mut total = 0;
    for port in 1..=10 {
        // A fresh credential each time.
        let (username, password) = time_limited(SECRET, "carol", UNIX_START + 900 + u64::from(port));
        let (mut client, _) = connected(&mut sim, Client::with(port, &username, &password));
        total += by_channel(&mut sim, &client, 100, 100);
        assert_eq!(client.refresh(&mut sim, 0).code(), 0);
        sim.sleep(1.0);
    }
    assert_eq!(total, 60 + 9, "one burst, and one packet a second");
    sim.wait(100.0);
    sim.assert_empty();
}

/// XDP does not count yet what it forwards.
#[test]
fn an_allocation_whose_data_is_limited_never_takes_the_fast_path() {
    let limits = [
        Rates { allocation: bytes(1_000_000), ..Rates::default() },
        Rates { allocation: packets(1_000_000), ..Rates::default() },
        Rates { user: bytes(1_000_000), ..Rates::default() },
        Rates { user: packets(1_000_000), ..Rates::default() },
    ];
    for rates in limits {
        let mut sim = Sim::new(with(rates), [1; 32]);
        let (mut client, at) = connected(&mut sim, Client::new(1));
        client.permit(&mut sim, &[addr(PEER)]);
        client.refresh(&mut sim, 1_200);
        sim.wait(200.0);
        client.permit(&mut sim, &[addr(PEER)]);
        assert_eq!((sim.core.bindings().count(), sim.datapath.ids.len()), (0, 0));
        assert_eq!((by_channel(&mut sim, &client, 10, 1), to_client(&mut sim, at, 10, 1)), (1, 1));
        // Userspace keeps to permission and channel by itself.
        sim.wait(301.0);
        let seen = client.channel_data(&mut sim, 0x4000, b"x");
        assert_eq!(dropped(&seen), Some(Reason::NoPermission));
        sim.wait(200.0);
        client.permit(&mut sim, &[addr(PEER)]);
        assert_eq!(dropped(&client.channel_data(&mut sim, 0x4000, b"x")), Some(Reason::Expired));
        let seen = client.refresh(&mut sim, 0);
        assert_eq!(seen.code(), 0);
        assert!(sim.datapath.ids.is_empty());
    }

    let new_peers = per_second(1_000);
    let mut sim = Sim::new(with(Rates { new_peers, ..Rates::default() }), [1; 32]);
    connected(&mut sim, Client::new(1));
    assert_eq!(sim.core.bindings().count(), 2, "a limit on new peers is kept by the requests");
}

#[test]
fn an_allocation_keeps_the_limits_that_it_was_made_with() {
    let mut sim = Sim::new(config(), [1; 32]);
    let (free, _) = connected(&mut sim, Client::new(1));
    let limited = Arc::new(with(Rates { allocation: packets(10), ..Rates::default() }));
    sim.core.reconfigure(limited);
    let (held, _) = connected(&mut sim, Client::new(2));
    assert_eq!((by_channel(&mut sim, &free, 1, 100), by_channel(&mut sim, &held, 1, 100)), (100, 10));
    assert_eq!(sim.core.bindings().count(), 2, "the channel and the permission of one");
    sim.core.reconfigure(Arc::new(config()));
    sim.sleep(1.0);
    assert_eq!(by_channel(&mut sim, &held, 1, 100), 10);
}

#[test]
fn a_burst_of_a_key_frame_passes_a_limit_that_its_stream_does_not_exceed() {
    // 8 Mbit/s are allowed; 30 frames a second take a quarter of it, every hundredth is a key frame of 250 packets.
    let rate = 1_000_000;
    let mut sim = Sim::new(with(Rates { allocation: bytes(rate), ..Rates::default() }), [1; 32]);
    let (client, _) = connected(&mut sim, Client::new(1));
    for frame in 0..600 {
        let frame = if frame % 100 == 0 { 250 } else { 6 };
        assert_eq!(by_channel(&mut sim, &client, 1_200, frame), frame);
        sim.sleep(1.0 / 30.0);
    }
}

/// Neither a move (RFC 8016) nor other settings bring an allocation into XDP that is to be counted, nor out of it.
#[test]
fn a_move_or_a_reload_changes_nothing_of_what_takes_the_fast_path() {
    let limits = Rates { allocation: packets(50), ..Rates::default() };
    let mobile = |rates| CoreConfig { rates, mobility: true, ..config() };
    let mut sim = Sim::new(mobile(limits), [1; 32]);
    let with_channel = |sim: &mut Sim, port| {
        let mut client = Client::new(port);
        let (_, ticket) = client.allocated_mobile(sim);
        assert_eq!(client.bind(sim, 0x4000, addr(PEER)).code(), 0);
        (client, ticket)
    };
    let moves = |sim: &mut Sim, client: &Client, ticket: &[u8], port| {
        let mut moved = client.moved(port);
        let ticket = moved.refresh_with(sim, ticket).ticket();
        moved.channel_data(sim, 0x4000, b"here");
        assert_eq!(moved.bind(sim, 0x4000, addr(PEER)).code(), 0);
        (moved, ticket)
    };
    let (limited, ticket) = with_channel(&mut sim, 1);
    let (limited, ticket) = moves(&mut sim, &limited, &ticket, 2);
    assert_eq!(sim.datapath.bindings.len(), 0);

    sim.core.reconfigure(Arc::new(mobile(Rates::default())));
    sim.sleep(2.0);
    let (limited, ticket) = moves(&mut sim, &limited, &ticket, 3);
    assert_eq!(sim.datapath.bindings.len(), 0, "limited to its end");
    assert_eq!(by_channel(&mut sim, &limited, 1, 100), 49);

    let (free, other) = with_channel(&mut sim, 11);
    assert!(sim.datapath.binding(free.five_tuple, 0x4000).is_some());
    sim.core.reconfigure(Arc::new(mobile(limits)));
    let (free, _) = moves(&mut sim, &free, &other, 12);
    assert!(sim.datapath.binding(free.five_tuple, 0x4000).is_some());
    assert_eq!(by_channel(&mut sim, &free, 1, 100), 100);
    sim.sleep(2.0);
    moves(&mut sim, &limited, &ticket, 4);
    assert_eq!(sim.datapath.bindings.len(), 2, "of the one that is free");
    sim.datapath.assert_agrees_with(&sim.core);
    sim.wait(1300.0);
    sim.assert_empty();
}
