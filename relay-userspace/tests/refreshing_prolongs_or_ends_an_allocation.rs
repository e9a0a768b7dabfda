//! Refresh requests (RFC 8656 section 8).

mod common;

use common::{Client, Seen, addr, sim};
use turnpike::stun::{AddressFamily, Method};
use turnpike::turn::{EndCause, Event, Output};

#[test]
fn a_refresh_starts_the_lifetime_anew() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    sim.wait(500.0);
    assert_eq!(client.refresh(&mut sim, 600).lifetime(), 600);
    sim.wait(599.0);
    assert_eq!(client.refresh(&mut sim, 7200).lifetime(), 3600);
    sim.wait(3599.0);
    assert_eq!(sim.core.allocation_count(), 1);
    sim.wait(1.0);
    sim.assert_empty();
}

#[test]
fn a_lifetime_of_zero_ends_the_allocation_and_all_that_belongs_to_it() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    client.bind(&mut sim, 0x4000, addr("203.0.113.1:1000"));
    let request = client.signed(Method::REFRESH, |b| {
        b.lifetime(std::time::Duration::ZERO);
    });
    let seen = sim.client_sends(client.five_tuple, &request);
    assert!(
        seen[..2].iter().all(|s| matches!(s, Seen::Other(Output::Unbind { .. }))),
        "permission and channel: {seen:?}"
    );
    assert!(matches!(seen[2], Seen::Other(Output::CloseRelay { relayed: r }) if r.0 == relayed));
    let deleted =
        |s: &Seen| matches!(s, Seen::Event(Event::AllocationEnded { cause: EndCause::Deleted, .. }));
    assert!(seen.iter().any(deleted));
    assert_eq!(client.refresh(&mut sim, 600).code(), 437);
    sim.wait(40.0);
    sim.assert_empty();
}

#[test]
fn requests_without_an_allocation_are_refused_with_437() {
    let mut sim = sim();
    let mut client = Client::new(1);
    assert_eq!(client.refresh(&mut sim, 600).code(), 437);
    assert_eq!(client.refresh(&mut sim, 0).code(), 437);
    assert_eq!(client.permit(&mut sim, &[addr("203.0.113.1:1000")]).code(), 437);
    assert_eq!(client.bind(&mut sim, 0x4000, addr("203.0.113.1:1000")).code(), 437);
    sim.assert_empty();
}

#[test]
fn a_refresh_for_the_other_family_is_refused_with_443() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    for (family, code) in [(AddressFamily::V6, 443), (AddressFamily::V4, 0)] {
        let reply = client.request(&mut sim, Method::REFRESH, |b| {
            b.requested_address_family(family);
        });
        assert_eq!(reply.code(), code);
    }
}

#[test]
fn a_refresh_prolongs_the_bindings_that_the_allocation_would_have_ended() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    sim.wait(400.0);
    client.bind(&mut sim, 0x4000, addr("203.0.113.1:1000"));
    let deadline = |sim: &common::Sim| {
        sim.datapath.binding(Client::new(1).five_tuple, 0x4000).unwrap().deadline.since(sim.now).as_secs()
    };
    assert_eq!(deadline(&sim), 200, "the allocation ends first");
    client.refresh(&mut sim, 600);
    assert_eq!(deadline(&sim), 300, "the permission ends first");
    sim.datapath.assert_agrees_with(&sim.core);
}
