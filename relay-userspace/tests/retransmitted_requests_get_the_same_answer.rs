//! Lesson 28: a client that did not hear the answer asks again with the same bytes.

mod common;

use std::time::Duration;

use common::{Client, Sim, addr, config, sim};
use turnpike::stun::{AttributeType, Builder, Method};
use turnpike::turn::CoreConfig;

/// Writes the attributes of a request.
type Fill<'a> = &'a dyn Fn(&mut Builder<'_>);

fn again(client: &Client, sim: &mut Sim, request: &[u8]) -> u16 {
    let first = client.exchange(sim, request);
    for wait in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0] {
        sim.wait(wait);
        assert_eq!(client.exchange(sim, request), first);
    }
    first.code()
}

fn allocate_request(client: &mut Client, sim: &mut Sim) -> Vec<u8> {
    client.learn_nonce(sim);
    client.signed(Method::ALLOCATE, |b| {
        b.requested_transport(17).lifetime(Duration::from_secs(1800));
    })
}

#[test]
fn every_request_of_a_session() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let request = allocate_request(&mut client, &mut sim);
    assert_eq!(again(&client, &mut sim, &request), 0);
    assert_eq!(sim.core.allocation_count(), 1);
    let requests: [(Method, Fill<'_>); 5] = [
        (Method::REFRESH, &|b| {
            b.lifetime(Duration::from_secs(700));
        }),
        (Method::CREATE_PERMISSION, &|b| {
            b.xor_peer_address(addr("203.0.113.1:1"));
        }),
        (Method::CREATE_PERMISSION, &|b| {
            b.xor_peer_address(addr("127.0.0.1:1"));
        }),
        (Method::CHANNEL_BIND, &|b| {
            b.channel_number(0x4000).xor_peer_address(addr("203.0.113.1:1"));
        }),
        (Method::REFRESH, &|b| {
            b.lifetime(Duration::ZERO);
        }),
    ];
    for ((method, fill), code) in requests.into_iter().zip([0, 0, 403, 0, 0]) {
        let request = client.signed(method, fill);
        assert_eq!(again(&client, &mut sim, &request), code, "{method}");
    }
    sim.wait(40.0);
    sim.assert_empty();
}

#[test]
fn a_granted_allocate_is_repeated_for_as_long_as_the_allocation_lives() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let request = allocate_request(&mut client, &mut sim);
    let first = client.exchange(&mut sim, &request);
    sim.wait(1700.0);
    assert_eq!(client.exchange(&mut sim, &request), first);
    assert_eq!(client.allocate(&mut sim).code(), 437, "a new request is no retransmission");
}

#[test]
fn a_reserving_allocate_reserves_once() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let request = client.signed(Method::ALLOCATE, |b| {
        b.requested_transport(17).even_port(true);
    });
    assert_eq!(again(&client, &mut sim, &request), 0);
    assert_eq!(sim.shared.free_ports(), 63, "the reservation has ended by now");
    assert_eq!(sim.shared.reservations(), 0);
}

#[test]
fn a_refused_allocate_is_not_granted_to_a_client_that_gave_up() {
    let config = CoreConfig { total_quota: Some(1), ..config() };
    let mut sim = Sim::new(config, [1; 32]);
    let mut first = Client::new(1);
    first.allocated(&mut sim);
    let mut second = Client::new(2);
    let request = allocate_request(&mut second, &mut sim);
    let refusal = second.exchange(&mut sim, &request);
    assert_eq!(refusal.code(), 486);
    first.refresh(&mut sim, 0);
    sim.wait(30.0);
    assert_eq!(second.exchange(&mut sim, &request), refusal);
    assert_eq!(sim.core.allocation_count(), 0);
}

#[test]
fn a_late_copy_of_an_allocate_does_not_revive_a_deleted_allocation() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let request = allocate_request(&mut client, &mut sim);
    assert_eq!(client.exchange(&mut sim, &request).code(), 0);
    client.refresh(&mut sim, 0);
    // Nor is the client told of an address that is closed, and may be another's by now.
    assert_eq!(again(&client, &mut sim, &request), 437);
    assert_eq!(sim.core.allocation_count(), 0);
}

#[test]
fn the_same_bytes_from_another_client_are_another_request() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let request = allocate_request(&mut client, &mut sim);
    assert_eq!(client.exchange(&mut sim, &request).code(), 0);
    assert_eq!(Client::new(2).exchange(&mut sim, &request).code(), 438);
}

#[test]
fn a_client_whose_nat_changed_its_port_starts_anew_and_the_old_allocation_expires() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let old = client.allocated(&mut sim);
    let mut moved = Client::new(2);
    moved.nonce = client.nonce.clone();
    assert_eq!(moved.refresh(&mut sim, 600).code(), 437);
    let new = moved.allocated(&mut sim);
    assert_ne!(old, new);
    sim.wait(300.0);
    moved.refresh(&mut sim, 600);
    sim.wait(300.0);
    assert_eq!(sim.core.allocation_count(), 1);
    assert_eq!((sim.shared.free_ports(), sim.shared.quota_used()), (63, 1));
}

#[test]
fn answers_as_long_as_a_client_likes_are_not_kept() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let request = client.signed(Method::ALLOCATE, |b| {
        (0..1000).for_each(|n| _ = b.bytes(AttributeType(0x7000 + n), &[]));
    });
    assert_eq!(again(&client, &mut sim, &request), 420);
    assert_eq!(sim.core.occupancy().answers, 0);
}
