//! Permissions (RFC 8656 sections 9 and 10).

mod common;

use std::time::Duration;

use common::{Client, addr, dropped, peer, sim, to_client, to_peer};
use relay_common::reason::Reason;
use turnpike::policy::{PeerRules, Rate};
use turnpike::stun::{AttributeType, Message, Method};
use turnpike::turn::{CoreConfig, Rates};

const PEER: &str = "203.0.113.1:1000";

#[test]
fn a_permission_counts_for_every_port_of_its_address_and_for_no_other_address() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    assert_eq!(dropped(&sim.peer_sends(relayed, peer(PEER), b"early")), Some(Reason::NoPermission));
    assert_eq!(dropped(&client.send(&mut sim, addr(PEER), b"early")), Some(Reason::NoPermission));

    assert_eq!(client.permit(&mut sim, &[addr("203.0.113.1:0")]).code(), 0);
    let seen = sim.peer_sends(relayed, peer(PEER), b"hello");
    let data = Message::parse(to_client(&seen).unwrap()).unwrap();
    assert_eq!(data.method(), Method::DATA);
    assert_eq!(data.xor_peer_address(), Ok(Some(addr(PEER))));
    assert_eq!(data.data(), Some(&b"hello"[..]));
    assert!(!data.has(AttributeType::SOFTWARE));
    assert!(to_client(&sim.peer_sends(relayed, peer("203.0.113.1:9"), b"x")).is_some());
    let seen = client.send(&mut sim, addr(PEER), b"back");
    assert_eq!(to_peer(&seen), Some((peer(PEER), &b"back"[..])));

    assert_eq!(dropped(&sim.peer_sends(relayed, peer("203.0.113.2:1000"), b"x")), Some(Reason::NoPermission));
}

#[test]
fn a_permission_lasts_exactly_five_minutes_and_data_does_not_prolong_it() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    client.permit(&mut sim, &[addr(PEER)]);
    sim.sleep(299.999);
    assert!(to_peer(&client.send(&mut sim, addr(PEER), b"x")).is_some());
    assert!(to_client(&sim.peer_sends(relayed, peer(PEER), b"x")).is_some());
    sim.sleep(0.001);
    assert_eq!(dropped(&client.send(&mut sim, addr(PEER), b"x")), Some(Reason::NoPermission));
    assert_eq!(dropped(&sim.peer_sends(relayed, peer(PEER), b"x")), Some(Reason::NoPermission));
}

#[test]
fn a_request_for_several_peers_is_granted_for_all_or_for_none() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    let (a, b) = (addr("203.0.113.1:1"), addr("203.0.113.2:1"));
    assert_eq!(client.permit(&mut sim, &[a, b, addr("127.0.0.1:1")]).code(), 403);
    assert_eq!(client.permit(&mut sim, &[a, b, addr("[2001:4860::1]:1")]).code(), 443);
    let malformed = client.request(&mut sim, Method::CREATE_PERMISSION, |m| {
        m.xor_peer_address(a).bytes(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 2]);
    });
    assert_eq!(malformed.code(), 400);
    assert_eq!(client.permit(&mut sim, &[]).code(), 400);
    assert_eq!(sim.core.occupancy().permissions, 0);
    assert_eq!(client.permit(&mut sim, &[a, b, a]).code(), 0);
    assert_eq!(sim.core.occupancy().permissions, 2);
}

/// Lesson 41: the limit is one that bites.
#[test]
fn an_allocation_has_a_bounded_number_of_permissions() {
    let mut config = common::config();
    config.peer_rules = PeerRules::default().into();
    let mut sim = common::Sim::new(config, [1; 32]);
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    let peers: Vec<_> = (0..4097_u32).map(|i| addr(&format!("9.9.{}.{}:1", i >> 8, i & 0xff))).collect();
    for chunk in peers[..4096].chunks(512) {
        assert_eq!(client.permit(&mut sim, chunk).code(), 0);
    }
    assert_eq!(client.permit(&mut sim, &peers[4096..]).code(), 508);
    assert_eq!(client.bind(&mut sim, 0x4000, peers[4096]).code(), 508);
    assert_eq!(client.permit(&mut sim, &peers[..1]).code(), 0, "those there can be refreshed");
    sim.wait(10_000.0);
    sim.assert_empty();
}

#[test]
fn an_address_that_a_request_names_twice_is_one_permission_also_at_the_limits() {
    let new_peers = Some(Rate::new(4, Duration::from_secs(60), 4));
    let rates = Rates { new_peers, ..Rates::default() };
    let mut sim = common::Sim::new(CoreConfig { allocation_peers: 4, rates, ..common::config() }, [1; 32]);
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    // The candidates of two peers: each has several ports.
    let candidates: Vec<_> =
        (1..=3).flat_map(|port| [1, 2].map(|n| addr(&format!("203.0.113.{n}:{port}")))).collect();
    assert_eq!(client.permit(&mut sim, &candidates).code(), 0);
    assert_eq!(sim.core.occupancy().permissions, 2);
    let more: Vec<_> = [3, 4, 1, 4, 3].map(|n| addr(&format!("203.0.113.{n}:1"))).into();
    assert_eq!(client.permit(&mut sim, &more).code(), 0);
    assert_eq!(client.permit(&mut sim, &[addr("203.0.113.5:1")]).code(), 508);
}
