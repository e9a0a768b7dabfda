//! 300 Try Alternate (RFC 8489 sections 10 and 14.8), always or while the server is drained.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use common::{Client, Reply, Sim, addr, config};
use turnpike::stun::{AttributeType, Class, Method};
use turnpike::turn::{Alternate, ClientAddr, CoreConfig, RedirectWhen};

const ELSEWHERE: [&str; 3] = ["192.0.2.80:3478", "192.0.2.81:443", "[2001:db8::80]:3478"];

fn alternate(when: RedirectWhen, servers: &[&str]) -> Option<Alternate> {
    let servers = servers.iter().map(|s| addr(s)).collect();
    Some(Alternate { servers, domain: None, when })
}

fn always(servers: &[&str]) -> Sim {
    Sim::new(CoreConfig { alternate: alternate(RedirectWhen::Always, servers), ..config() }, [1; 32])
}

/// Has the server drained, or no longer.
fn drain(sim: &mut Sim, draining: bool, alternate: Option<Alternate>) {
    sim.core.reconfigure(Arc::new(CoreConfig { draining, alternate, ..config() }));
}

fn v6_client(port: u16) -> Client {
    let mut client = Client::new(port);
    client.five_tuple.client = ClientAddr(SocketAddr::new("2001:db8::9".parse().unwrap(), port));
    client
}

/// The servers that a 300 names, in order. That it is authentic was checked when it came.
fn named(reply: &Reply) -> Vec<SocketAddr> {
    assert_eq!(reply.code(), 300);
    let message = reply.message();
    let servers = message.attributes().filter(|a| a.kind == AttributeType::ALTERNATE_SERVER);
    servers
        .map(|a| {
            let (family, port) = (a.value[1], u16::from_be_bytes([a.value[2], a.value[3]]));
            let ip = match family {
                1 => <[u8; 4]>::try_from(&a.value[4..]).unwrap().into(),
                _ => <[u8; 16]>::try_from(&a.value[4..]).unwrap().into(),
            };
            SocketAddr::new(ip, port)
        })
        .collect()
}

/// RFC 8489 section 10: the mandatory one is of the client's family, one of the other family follows it.
#[test]
fn the_first_server_named_is_of_the_clients_family() {
    let mut sim = always(&ELSEWHERE[1..]);
    let [v4, v6] = [addr(ELSEWHERE[1]), addr(ELSEWHERE[2])];
    assert_eq!(named(&Client::new(1).allocate(&mut sim)), [v4, v6]);
    assert_eq!(named(&v6_client(1).allocate(&mut sim)), [v6, v4]);
    sim.wait(40.0);
    sim.assert_empty();
}

#[test]
fn clients_for_whom_there_is_no_server_of_their_family_are_served_here() {
    let mut sim = always(&ELSEWHERE[..2]);
    assert_eq!(v6_client(1).allocate(&mut sim).code(), 0);
    assert_eq!(Client::new(1).allocate(&mut sim).code(), 300);
}

#[test]
fn clients_are_spread_over_the_servers() {
    let mut sim = always(&ELSEWHERE);
    let mut count = HashMap::new();
    for port in 1..=400 {
        *count.entry(named(&Client::new(port).allocate(&mut sim))[0]).or_insert(0) += 1;
    }
    assert_eq!(count.len(), 2);
    assert!(count.values().all(|n| (140..=260).contains(n)), "{count:?}");
}

#[test]
fn the_domain_of_the_servers_is_named_where_there_is_one() {
    let mut sim = always(&ELSEWHERE);
    let reply = Client::new(1).allocate(&mut sim);
    assert_eq!(reply.message().alternate_domain(), Ok(None));
    let domain = Some("turn2.example.org".to_owned());
    let alternate = alternate(RedirectWhen::Always, &ELSEWHERE).map(|a| Alternate { domain, ..a });
    drain(&mut sim, false, alternate);
    let reply = Client::new(2).allocate(&mut sim);
    assert_eq!(reply.message().alternate_domain(), Ok(Some("turn2.example.org")));
}

/// RFC 8489 section 14.8: a 300 "MUST only be sent if the request included either a USERNAME or USERHASH attribute and
/// a valid MESSAGE-INTEGRITY". That it is signed itself is checked for every reply of `Client::request`.
#[test]
fn strangers_and_guessers_are_challenged_and_not_redirected() {
    let mut sim = always(&ELSEWHERE);
    let mut client = Client::new(1);
    let request = client.plain(Method::ALLOCATE, Class::Request, |b| {
        b.requested_transport(17);
    });
    let reply = client.exchange(&mut sim, &request);
    assert_eq!(reply.code(), 401);
    assert!(!reply.message().has(AttributeType::ALTERNATE_SERVER));
    let mut guesser = Client::with(2, common::USER, "guess");
    assert_eq!(guesser.allocate(&mut sim).code(), 401);
    let binding = client.plain(Method::BINDING, Class::Request, |_| ());
    assert_eq!(client.exchange(&mut sim, &binding).0.len(), 32);
}

#[test]
fn a_request_that_is_malformed_is_told_so_and_not_sent_on_to_fail_elsewhere() {
    let reply = Client::new(1).request(&mut always(&ELSEWHERE), Method::ALLOCATE, |_| ());
    assert_eq!(reply.code(), 400);
}

#[test]
fn a_retransmitted_request_is_sent_to_the_same_server() {
    let mut sim = always(&ELSEWHERE);
    for port in 1..20 {
        let mut client = Client::new(port);
        client.learn_nonce(&mut sim);
        let request = client.signed(Method::ALLOCATE, |b| {
            b.requested_transport(17);
        });
        let first = client.exchange(&mut sim, &request);
        assert_eq!(first.code(), 300);
        assert_eq!(client.exchange(&mut sim, &request), first);
    }
}

#[test]
fn a_server_for_draining_is_named_only_while_draining() {
    let servers = || alternate(RedirectWhen::Draining, &ELSEWHERE);
    let mut sim = Sim::new(CoreConfig { alternate: servers(), ..config() }, [1; 32]);
    assert_eq!(Client::new(1).allocate(&mut sim).code(), 0);
    drain(&mut sim, true, servers());
    assert_eq!(Client::new(2).allocate(&mut sim).code(), 300);
    drain(&mut sim, false, servers());
    assert_eq!(Client::new(3).allocate(&mut sim).code(), 0);
}

#[test]
fn a_server_for_always_is_named_while_draining_too() {
    let mut sim = Sim::new(config(), [1; 32]);
    drain(&mut sim, true, alternate(RedirectWhen::Always, &ELSEWHERE));
    assert_eq!(Client::new(1).allocate(&mut sim).code(), 300);
}

#[test]
fn without_a_server_to_name_a_draining_one_has_no_capacity() {
    let mut sim = Sim::new(config(), [1; 32]);
    drain(&mut sim, true, None);
    let mut client = Client::new(1);
    let reply = client.allocate(&mut sim);
    assert_eq!(reply.code(), 508);
    assert_eq!(reply.message().error_code().unwrap().unwrap().1, "Insufficient Capacity");
    drain(&mut sim, true, alternate(RedirectWhen::Draining, &ELSEWHERE[..1]));
    assert_eq!(v6_client(1).allocate(&mut sim).code(), 508);
    sim.wait(40.0);
    sim.assert_empty();
}

#[test]
fn what_is_there_goes_on_while_the_server_is_drained() {
    let mut sim = Sim::new(config(), [1; 32]);
    let mut client = Client::new(1);
    let peer = addr("203.0.113.1:1000");
    client.allocated(&mut sim);
    drain(&mut sim, true, alternate(RedirectWhen::Draining, &ELSEWHERE));
    assert_eq!(client.refresh(&mut sim, 700).lifetime(), 700);
    assert_eq!(client.permit(&mut sim, &[peer]).code(), 0);
    assert_eq!(client.bind(&mut sim, 0x4000, peer).code(), 0);
    let seen = client.channel_data(&mut sim, 0x4000, b"data");
    assert_eq!(common::to_peer(&seen), Some((common::peer("203.0.113.1:1000"), &b"data"[..])));
    // RFC 8656 section 7.2: another Allocate of the same client is a mistake, wherever new ones go.
    assert_eq!(client.allocate(&mut sim).code(), 437);
    let binding = client.plain(Method::BINDING, Class::Request, |_| ());
    assert_eq!(client.exchange(&mut sim, &binding).code(), 0);
}

/// The second port of a pair belongs to a call that is here.
#[test]
fn a_reserved_port_is_given_while_the_server_is_drained() {
    let mut sim = Sim::new(config(), [1; 32]);
    let reply = Client::new(1).request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).even_port(true);
    });
    let token = reply.message().reservation_token().unwrap().unwrap();
    drain(&mut sim, true, alternate(RedirectWhen::Draining, &ELSEWHERE));
    let mut second = Client::new(2);
    let reply = second.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).reservation_token(token);
    });
    assert_eq!(reply.code(), 0);
    assert_eq!(reply.relayed().port() % 2, 1);
}
