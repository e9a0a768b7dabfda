//! Allocate requests, by the steps of RFC 8656 section 7.2.

mod common;

use std::time::Duration;

use common::{Client, Reply, Seen, Sim, addr, config, ip, sim};
use turnpike::stun::{AddressFamily, AttributeType, Builder, Method};
use turnpike::turn::{CoreConfig, EndCause, Event, Output, RelayAddress};

fn allocate(client: &mut Client, sim: &mut Sim, fill: impl Fn(&mut Builder<'_>)) -> Reply {
    client.request(sim, Method::ALLOCATE, |b| {
        b.requested_transport(17);
        fill(b);
    })
}

#[test]
fn the_answer_names_the_relayed_address_the_lifetime_and_the_client() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let reply = client.allocate(&mut sim);
    let relayed = reply.relayed();
    assert_eq!(relayed.ip(), ip("198.51.100.7"));
    assert!((50_000..=50_063).contains(&relayed.port()));
    assert_eq!(reply.lifetime(), 600);
    assert_eq!(reply.message().xor_mapped_address(), Ok(Some(client.five_tuple.client.0)));
    assert!(!reply.message().has(AttributeType::SOFTWARE));
    assert!(!reply.message().has(AttributeType::FINGERPRINT));
    assert!(!reply.message().has(AttributeType::RESERVATION_TOKEN));
}

#[test]
fn the_relay_is_open_before_the_client_hears_of_it() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    client.learn_nonce(&mut sim);
    let request = client.signed(Method::ALLOCATE, |b| {
        b.requested_transport(17);
    });
    let seen = sim.client_sends(client.five_tuple, &request);
    let kinds: Vec<_> = seen
        .iter()
        .map(|s| match s {
            Seen::Other(Output::OpenRelay { .. }) => "open",
            Seen::ToClient(..) => "answer",
            Seen::Event(Event::Answered { method: 3 }) => "answered",
            Seen::Event(Event::AllocationCreated { username, .. }) if username == common::USER => "created",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["open", "answer", "answered", "created"]);
}

#[test]
fn the_lifetime_asked_for_is_given_within_limits() {
    let mut sim = sim();
    for (port, asked, given) in [(1, 0, 600), (2, 60, 600), (3, 1800, 1800), (4, 90_000, 3600)] {
        let reply = allocate(&mut Client::new(port), &mut sim, |b| {
            b.lifetime(Duration::from_secs(asked));
        });
        assert_eq!(reply.lifetime(), given);
    }
    sim.wait(599.0);
    assert_eq!(sim.core.allocation_count(), 4);
    sim.wait(1.0);
    assert_eq!(sim.core.allocation_count(), 2);
    sim.wait(1200.0);
    assert_eq!(sim.core.allocation_count(), 1);
    let seen = sim.wait(1800.0);
    assert!(seen.iter().any(|s| matches!(s, Seen::Other(Output::CloseRelay { .. }))));
    let expired =
        |s: &Seen| matches!(s, Seen::Event(Event::AllocationEnded { cause: EndCause::Expired, .. }));
    assert!(seen.iter().any(expired));
    sim.assert_empty();
}

#[test]
fn a_second_allocation_of_the_same_client_is_refused_with_437() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    client.allocated(&mut sim);
    assert_eq!(client.allocate(&mut sim).code(), 437);
    assert_eq!(sim.core.allocation_count(), 1);
}

#[test]
fn requested_transport_must_be_there_and_be_udp() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let mut code = |fill: &dyn Fn(&mut Builder<'_>)| client.request(&mut sim, Method::ALLOCATE, fill).code();
    assert_eq!(code(&|_| ()), 400);
    assert_eq!(
        code(&|b| {
            b.bytes(AttributeType::REQUESTED_TRANSPORT, &[17]);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            b.requested_transport(6);
        }),
        442
    );
    assert_eq!(
        code(&|b| {
            b.requested_transport(17);
        }),
        0
    );
}

#[test]
fn attributes_that_contradict_each_other_are_refused_with_400() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let v4 = |b: &mut Builder<'_>| {
        b.requested_address_family(AddressFamily::V4);
    };
    let token = |b: &mut Builder<'_>| {
        b.reservation_token([1; 8]);
    };
    let additional = |b: &mut Builder<'_>| {
        b.bytes(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    };
    let mut code = |fill: &dyn Fn(&mut Builder<'_>)| allocate(&mut client, &mut sim, fill).code();
    assert_eq!(
        code(&|b| {
            token(b);
            b.even_port(false);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            token(b);
            v4(b);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            token(b);
            additional(b);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            v4(b);
            additional(b);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            additional(b);
            b.even_port(true);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            b.bytes(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0]);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            b.bytes(AttributeType::EVEN_PORT, &[]);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            b.bytes(AttributeType::RESERVATION_TOKEN, &[1; 7]);
        }),
        400
    );
    assert_eq!(
        code(&|b| {
            b.bytes(AttributeType::LIFETIME, &[1; 2]);
        }),
        400
    );
    sim.wait(40.0);
    sim.assert_empty();
}

#[test]
fn what_the_server_cannot_do_is_refused_with_its_own_code() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let mut reply = |fill: &dyn Fn(&mut Builder<'_>)| allocate(&mut client, &mut sim, fill);
    assert_eq!(
        reply(&|b| {
            b.requested_address_family(AddressFamily::V6);
        })
        .code(),
        440
    );
    assert_eq!(
        reply(&|b| {
            b.requested_address_family(AddressFamily::Unknown(3));
        })
        .code(),
        440
    );
    assert_eq!(
        reply(&|b| {
            b.reservation_token([1; 8]);
        })
        .code(),
        508
    );
    let refused = reply(&|b| {
        b.dont_fragment().bytes(AttributeType(0x7ffe), &[]).bytes(AttributeType(0x7fff), &[]);
    });
    assert_eq!(refused.code(), 420);
    let unknown: Vec<_> = refused.message().unknown_attributes().collect();
    assert_eq!(unknown, [AttributeType(0x7ffe), AttributeType(0x7fff)]);
    sim.wait(40.0);
    sim.assert_empty();
}

#[test]
fn an_ipv6_relay_address_serves_clients_that_ask_for_it() {
    let mut config = config();
    let v6 = ip("2001:db8::7");
    config.relay_addresses.push(RelayAddress { public: v6, local: v6 });
    let mut sim = Sim::new(config, [1; 32]);
    let reply = allocate(&mut Client::new(1), &mut sim, |b| {
        b.requested_address_family(AddressFamily::V6);
    });
    assert_eq!(reply.relayed().ip(), v6);
    assert!(Client::new(2).allocated(&mut sim).is_ipv4(), "IPv4 is what a client gets that does not ask");
}

#[test]
fn even_port_gives_an_even_port_and_holds_no_other() {
    let mut sim = sim();
    for port in 1..=32 {
        let reply = allocate(&mut Client::new(port), &mut sim, |b| {
            b.even_port(false);
        });
        assert_eq!(reply.relayed().port() % 2, 0);
    }
    assert_eq!(sim.shared.free_ports(), 32);
    let reply = allocate(&mut Client::new(33), &mut sim, |b| {
        b.even_port(false);
    });
    assert_eq!(reply.code(), 508, "no even port is left");
    assert_eq!(Client::new(34).allocated(&mut sim).port() % 2, 1);
}

fn reserve(client: &mut Client, sim: &mut Sim) -> (u16, [u8; 8]) {
    let reply = allocate(client, sim, |b| {
        b.even_port(true);
    });
    let token = reply.message().reservation_token().unwrap().expect("RESERVATION-TOKEN");
    (reply.relayed().port(), token)
}

#[test]
fn a_reserved_port_goes_to_who_shows_the_token() {
    let mut sim = sim();
    let (even, token) = reserve(&mut Client::new(1), &mut sim);
    assert_eq!(even % 2, 0);
    sim.wait(29.0);
    // From another shard: the second client need not be served by the same core.
    let mut other = Sim::sharing(sim.config.clone(), sim.shared.clone(), [9; 32]);
    let use_token = |client: &mut Client, sim: &mut Sim| {
        allocate(client, sim, |b| {
            b.reservation_token(token);
        })
    };
    assert_eq!(use_token(&mut Client::with(2, "bob", "builder"), &mut other).code(), 508, "not his");
    assert_eq!(use_token(&mut Client::new(3), &mut other).relayed().port(), even + 1);
    assert_eq!(use_token(&mut Client::new(4), &mut other).code(), 508, "a token is good for once");
    sim.wait(5000.0);
    other.wait(5000.0);
    sim.assert_empty();
    other.assert_empty();
}

#[test]
fn two_cores_that_draw_the_same_token_reserve_two_ports() {
    let mut one = sim();
    let mut two = Sim::sharing(one.config.clone(), one.shared.clone(), [7; 32]);
    let (_, a) = reserve(&mut Client::new(1), &mut one);
    let (_, b) = reserve(&mut Client::new(1), &mut two);
    assert_ne!(a, b);
    assert_eq!(one.shared.reservations(), 2);
}

#[test]
fn a_reservation_ends_after_thirty_seconds() {
    let mut sim = sim();
    let (_, token) = reserve(&mut Client::new(1), &mut sim);
    assert_eq!((sim.shared.free_ports(), sim.shared.quota_used()), (62, 2));
    sim.wait(30.0);
    assert_eq!((sim.shared.free_ports(), sim.shared.quota_used()), (63, 1));
    let reply = allocate(&mut Client::new(2), &mut sim, |b| {
        b.reservation_token(token);
    });
    assert_eq!(reply.code(), 508);
}

#[test]
fn a_port_that_another_program_holds_is_passed_over() {
    let mut sim = Sim::new(CoreConfig { relay_ports: 50_000..=50_007, ..config() }, [3; 32]);
    sim.foreign.extend([50_000, 50_001, 50_002, 50_004, 50_005, 50_006, 50_007]);
    assert_eq!(Client::new(1).allocated(&mut sim).port(), 50_003);
    assert_eq!(Client::new(2).allocate(&mut sim).code(), 508);
    // After a while they are tried again.
    sim.foreign.clear();
    sim.wait(60.0);
    assert_eq!(sim.shared.free_ports(), 7);
    assert_eq!(Client::new(3).allocate(&mut sim).code(), 0);
}

#[test]
fn a_pair_is_given_up_whole_when_its_even_port_is_taken() {
    let mut sim = Sim::new(CoreConfig { relay_ports: 50_000..=50_003, ..config() }, [3; 32]);
    sim.foreign.insert(50_000);
    let (even, _) = reserve(&mut Client::new(1), &mut sim);
    assert_eq!(even, 50_002);
    assert_eq!(Client::new(2).allocated(&mut sim).port(), 50_001);
}

#[test]
fn a_host_without_sockets_answers_508_and_recovers() {
    let mut sim = sim();
    sim.out_of_sockets = true;
    let mut client = Client::new(1);
    assert_eq!(client.allocate(&mut sim).code(), 508);
    assert_eq!((sim.shared.free_ports(), sim.shared.quota_used()), (64, 0));
    sim.out_of_sockets = false;
    assert_eq!(client.allocate(&mut sim).code(), 0);
}

#[test]
fn behind_a_nat_clients_are_told_the_public_address() {
    let mut config = config();
    config.relay_addresses = vec![RelayAddress { public: ip("198.51.100.7"), local: ip("10.0.0.2") }];
    let mut sim = Sim::new(config, [1; 32]);
    let relayed = Client::new(1).allocated(&mut sim);
    assert_eq!(relayed.ip(), ip("198.51.100.7"));
    let open: Vec<_> = sim.datapath.open.iter().map(|r| r.0).collect();
    assert_eq!(open, [std::net::SocketAddr::new(ip("10.0.0.2"), relayed.port())]);
    assert_eq!(addr("10.0.0.2:1").ip(), open[0].ip());
}
