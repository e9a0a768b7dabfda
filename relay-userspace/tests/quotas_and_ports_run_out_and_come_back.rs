//! Limits that bite and recover: 486 and 508 (RFC 8656 section 7.2), lessons 27, 38, 41 and 42.

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::{Client, SECRET, Sim, UNIX_START, config, sim};
use turnpike::auth::time_limited;
use turnpike::policy::Rate;
use turnpike::stun::Method;
use turnpike::turn::{CoreConfig, Rates};

#[test]
fn a_user_gets_no_more_than_its_quota_and_others_are_not_touched() {
    let mut sim = Sim::new(CoreConfig { user_quota: Some(2), ..config() }, [1; 32]);
    let mut clients: Vec<_> = (1..=3).map(Client::new).collect();
    assert_eq!(clients[0].allocate(&mut sim).code(), 0);
    assert_eq!(clients[1].allocate(&mut sim).code(), 0);
    assert_eq!(clients[2].allocate(&mut sim).code(), 486);
    assert_eq!(Client::with(4, "bob", "builder").allocate(&mut sim).code(), 0);
    clients[0].refresh(&mut sim, 0);
    assert_eq!(clients[2].allocate(&mut sim).code(), 0);
    sim.wait(601.0);
    assert_eq!(clients[0].allocate(&mut sim).code(), 0, "expiry gives places back too");
}

#[test]
fn an_account_may_have_a_smaller_quota_than_others_but_no_larger_one() {
    for (quota, own, allowed) in [(None, 1, 1), (Some(3), 1, 1), (Some(1), 3, 1)] {
        let smaller_quotas = [("alice".to_owned(), own)].into();
        let mut sim = Sim::new(CoreConfig { user_quota: quota, smaller_quotas, ..config() }, [1; 32]);
        let codes: Vec<u16> = (1..=2).map(|n| Client::new(n).allocate(&mut sim).code()).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), allowed, "{codes:?}");
        assert_eq!(codes[1], 486);
        assert_eq!(Client::with(9, "bob", "builder").allocate(&mut sim).code(), 0);
    }
}

#[test]
fn all_users_together_get_no_more_than_the_total_over_all_cores() {
    let mut one = Sim::new(CoreConfig { total_quota: Some(2), ..config() }, [1; 32]);
    let mut two = Sim::sharing(one.config.clone(), one.shared.clone(), [2; 32]);
    let mut alice = Client::new(1);
    assert_eq!(alice.allocate(&mut one).code(), 0);
    assert_eq!(Client::with(2, "bob", "builder").allocate(&mut two).code(), 0);
    assert_eq!(Client::new(3).allocate(&mut two).code(), 486);
    alice.refresh(&mut one, 0);
    assert_eq!(Client::new(4).allocate(&mut two).code(), 0);
}

/// Lesson 42.
#[test]
fn a_fresh_credential_of_the_same_person_is_no_way_out_of_the_quota() {
    let mut sim = Sim::new(CoreConfig { user_quota: Some(2), ..config() }, [1; 32]);
    let mut client = |port| {
        let (username, password) = time_limited(SECRET, "carol", UNIX_START + 900 + u64::from(port));
        Client::with(port, &username, &password).allocate(&mut sim).code()
    };
    assert_eq!([client(1), client(2), client(3)], [0, 0, 486]);
}

#[test]
fn a_reserved_port_takes_a_place_of_the_quota() {
    let mut sim = Sim::new(CoreConfig { user_quota: Some(2), ..config() }, [1; 32]);
    let reserve = |client: &mut Client, sim: &mut Sim| {
        client.request(sim, Method::ALLOCATE, |b| {
            b.requested_transport(17).even_port(true);
        })
    };
    let (mut first, mut second) = (Client::new(1), Client::new(2));
    let token = reserve(&mut first, &mut sim).message().reservation_token().unwrap().unwrap();
    first.refresh(&mut sim, 0);
    assert_eq!(reserve(&mut second, &mut sim).code(), 486);
    let reply = second.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).reservation_token(token);
    });
    assert_eq!(reply.code(), 0);
    assert_eq!(sim.shared.quota_used(), 1);
}

fn peers(numbers: std::ops::Range<u8>) -> Vec<SocketAddr> {
    numbers.map(|n| SocketAddr::new([203, 0, 113, n].into(), 7)).collect()
}

#[test]
fn an_allocation_has_no_more_permissions_and_channels_than_its_limit() {
    let mut sim = Sim::new(CoreConfig { allocation_peers: 4, ..config() }, [1; 32]);
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    assert_eq!(client.permit(&mut sim, &peers(0..5)).code(), 508);
    assert_eq!(sim.core.occupancy().permissions, 0, "all of a request or nothing");
    assert_eq!(client.permit(&mut sim, &peers(0..4)).code(), 0);
    assert_eq!(client.permit(&mut sim, &peers(0..4)).code(), 0, "these are there already");
    assert_eq!(client.permit(&mut sim, &peers(4..5)).code(), 508);
    assert_eq!(client.bind(&mut sim, 0x4000, peers(4..5)[0]).code(), 508);
    for port in 0..4 {
        let peer = SocketAddr::new([203, 0, 113, 1].into(), 1000 + port);
        assert_eq!(client.bind(&mut sim, 0x4000 + port, peer).code(), 0);
    }
    assert_eq!(client.bind(&mut sim, 0x4004, peers(1..2)[0]).code(), 508);
    let mut other = Client::new(2);
    other.allocated(&mut sim);
    assert_eq!(other.permit(&mut sim, &peers(4..8)).code(), 0, "each allocation has its own");
}

/// Lessons 42 and 48.
#[test]
fn a_user_names_new_peers_no_faster_than_its_limit() {
    let new_peers = Some(Rate::new(10, Duration::from_secs(60), 10));
    let rates = Rates { new_peers, ..Rates::default() };
    let mut sim = Sim::new(CoreConfig { rates, ..config() }, [1; 32]);
    let (mut first, mut second) = (Client::new(1), Client::new(2));
    first.allocated(&mut sim);
    second.allocated(&mut sim);
    assert_eq!(first.permit(&mut sim, &peers(0..11)).code(), 508);
    assert_eq!(first.permit(&mut sim, &peers(0..6)).code(), 0, "what was refused was not counted");
    assert_eq!(second.bind(&mut sim, 0x4000, peers(7..8)[0]).code(), 0);
    assert_eq!(second.permit(&mut sim, &peers(10..13)).code(), 0);
    assert_eq!(second.permit(&mut sim, &peers(20..21)).code(), 508, "the user's, not the allocation's");
    assert_eq!(second.bind(&mut sim, 0x4001, peers(20..21)[0]).code(), 508);
    // What is there can be refreshed, and be bound to, without end.
    for _ in 0..100 {
        assert_eq!(first.permit(&mut sim, &peers(0..6)).code(), 0);
        assert_eq!(second.bind(&mut sim, 0x4000, peers(7..8)[0]).code(), 0);
    }
    let mut bob = Client::with(3, "bob", "builder");
    bob.allocated(&mut sim);
    assert_eq!(bob.permit(&mut sim, &peers(0..10)).code(), 0, "others are not touched");

    // Neither a new allocation nor no allocation at all makes the user another one.
    first.refresh(&mut sim, 0);
    second.refresh(&mut sim, 0);
    sim.wait(12.0);
    first.allocated(&mut sim);
    assert_eq!(first.permit(&mut sim, &peers(20..23)).code(), 508);
    assert_eq!(first.permit(&mut sim, &peers(20..22)).code(), 0, "two for twelve seconds");
    sim.wait(60.0);
    assert_eq!(first.permit(&mut sim, &peers(30..40)).code(), 0);
}

/// Lesson 27.
#[test]
fn every_port_can_be_had_and_all_come_back() {
    let mut sim = sim();
    for round in 0..20 {
        let mut clients: Vec<_> = (1..=65).map(Client::new).collect();
        let ports: HashSet<_> = clients[..64].iter_mut().map(|c| c.allocated(&mut sim).port()).collect();
        assert_eq!((ports.len(), sim.core.allocation_count()), (64, 64));
        assert_eq!(clients[64].allocate(&mut sim).code(), 508);
        if round % 2 == 0 {
            clients[..64].iter_mut().for_each(|c| assert_eq!(c.refresh(&mut sim, 0).code(), 0));
            assert_eq!(clients[64].allocate(&mut sim).code(), 0);
            clients[64].refresh(&mut sim, 0);
            // The next clients send the same bytes. For so long they would be taken for late duplicates.
            sim.wait(40.0);
        } else {
            sim.wait(600.0);
        }
        assert_eq!(sim.core.allocation_count(), 0);
    }
    sim.wait(40.0);
    sim.assert_empty();
}

/// Lesson 38.
#[test]
fn ports_nonces_and_tokens_cannot_be_told_from_earlier_ones() {
    let wide = || CoreConfig { relay_ports: 10_000..=59_999, ..config() };
    let run = |seed| {
        let mut sim = Sim::new(wide(), [seed; 32]);
        let replies: Vec<_> = (1..=200)
            .map(|port| {
                let mut client = Client::new(port);
                let reply = client.request(&mut sim, Method::ALLOCATE, |b| {
                    b.requested_transport(17).even_port(true);
                });
                let token = reply.message().reservation_token().unwrap().unwrap();
                (reply.relayed().port(), token, client.nonce)
            })
            .collect();
        replies
    };
    let (a, b) = (run(1), run(2));
    let tokens: HashSet<_> = a.iter().chain(&b).map(|r| r.1).collect();
    let nonces: HashSet<_> = a.iter().chain(&b).map(|r| &r.2).collect();
    assert_eq!((tokens.len(), nonces.len()), (400, 400));
    let same_port = a.iter().zip(&b).filter(|(a, b)| a.0 == b.0).count();
    assert!(same_port < 5, "{same_port} of 200 ports are the same for another seed");
    let mut steps: Vec<_> = a.windows(2).map(|w| i32::from(w[1].0) - i32::from(w[0].0)).collect();
    steps.sort_unstable();
    steps.dedup();
    assert!(steps.len() > 180, "the steps from port to port repeat");
    let upper_half = a.iter().filter(|r| r.0 >= 35_000).count();
    assert!((60..140).contains(&upper_half), "{upper_half} of 200 ports are in the upper half");
}
