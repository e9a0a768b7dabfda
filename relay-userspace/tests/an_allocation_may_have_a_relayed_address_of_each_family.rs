//! ADDITIONAL-ADDRESS-FAMILY (RFC 8656 sections 7.2 and 7.3) and what becomes of the two relayed addresses.

mod common;

use std::net::SocketAddr;

use common::{Client, Seen, Sim, addr, config, dropped, dual_stack, peer, relaying_from, to_client, to_peer};
use relay_common::reason::Reason;
use turnpike::stun::{AddressFamily, Message, Method};
use turnpike::turn::{CoreConfig, EndCause, Event, Output, RelayAddr};

const V4: AddressFamily = AddressFamily::V4;
const V6: AddressFamily = AddressFamily::V6;
const PEER_V4: &str = "203.0.113.5:7000";
const PEER_V6: &str = "[2001:db8:ff::5]:7000";

fn both(sim: &mut Sim, client: &mut Client) -> (SocketAddr, SocketAddr) {
    match client.allocate_both(sim).all_relayed()[..] {
        [v4, v6] if v4.is_ipv4() && v6.is_ipv6() => (v4, v6),
        ref other => panic!("{other:?}"),
    }
}

fn closed(seen: &[Seen]) -> Vec<RelayAddr> {
    let close = |s: &Seen| match s {
        Seen::Other(Output::CloseRelay { relayed }) => Some(*relayed),
        _ => None,
    };
    seen.iter().filter_map(close).collect()
}

#[test]
fn both_addresses_are_named_and_each_reaches_peers_of_its_family() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    let mut client = Client::new(1);
    let reply = client.allocate_both(&mut sim);
    assert_eq!(reply.address_error(), None);
    let [v4, v6] = reply.all_relayed()[..] else { panic!("{:?}", reply.all_relayed()) };
    assert_eq!((v4.ip(), v6.ip()), (common::ip("198.51.100.7"), common::ip("2001:db8:1::7")));
    assert_eq!((sim.core.allocation_count(), sim.core.occupancy().relayed), (1, 2));

    assert_eq!(client.bind(&mut sim, 0x4000, addr(PEER_V4)).code(), 0);
    assert_eq!(client.bind(&mut sim, 0x4001, addr(PEER_V6)).code(), 0);
    assert_eq!(client.permit(&mut sim, &[addr("203.0.113.6:1"), addr("[2001:db8:ff::6]:1")]).code(), 0);
    for (number, relayed, to) in [(0x4000, v4, PEER_V4), (0x4001, v6, PEER_V6)] {
        let binding = sim.datapath.binding(client.five_tuple, number).unwrap();
        assert_eq!((binding.relayed.0, binding.peer), (relayed, peer(to)));
        let sent = client.channel_data(&mut sim, number, b"out");
        assert_eq!(sent, [Seen::ToPeer(RelayAddr(relayed), peer(to), b"out".into())]);
        let came = sim.peer_sends(relayed, peer(to), b"in");
        assert_eq!(to_client(&came), Some(&common::channel_data(number, b"in")[..]));
    }
    for (relayed, to) in [(v4, "203.0.113.6:9"), (v6, "[2001:db8:ff::6]:9")] {
        let sent = client.send(&mut sim, addr(to), b"out");
        assert_eq!(sent, [Seen::ToPeer(RelayAddr(relayed), peer(to), b"out".into())]);
        let came = sim.peer_sends(relayed, peer(to), b"in");
        let data = Message::parse(to_client(&came).unwrap()).unwrap();
        assert_eq!((data.xor_peer_address(), data.data()), (Ok(Some(addr(to))), Some(&b"in"[..])));
    }
}

#[test]
fn a_family_that_is_not_relayed_is_named_in_address_error_code_with_440() {
    let mut sim = Sim::new(config(), [1; 32]);
    let reply = Client::new(1).allocate_both(&mut sim);
    assert_eq!(reply.address_error(), Some((V6, 440)));
    assert!(matches!(reply.all_relayed()[..], [v4] if v4.is_ipv4()));

    let mut sim = Sim::new(relaying_from(&[("2001:db8:1::7", "2001:db8:1::7")]), [1; 32]);
    let reply = Client::new(1).allocate_both(&mut sim);
    assert_eq!(reply.address_error(), Some((V4, 440)));
    assert!(matches!(reply.all_relayed()[..], [v6] if v6.is_ipv6()));
}

#[test]
fn without_a_family_asked_for_a_server_that_relays_only_ipv6_says_440() {
    let mut sim = Sim::new(relaying_from(&[("2001:db8:1::7", "2001:db8:1::7")]), [1; 32]);
    let mut client = Client::new(1);
    assert_eq!(client.allocate(&mut sim).code(), 440);
    assert_eq!(client.allocate_of(&mut sim, V4).code(), 440);
    assert_eq!(client.allocate_of(&mut sim, V6).code(), 0);
}

#[test]
fn a_client_over_ipv6_that_asks_for_no_family_gets_ipv4() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    let mut client = Client::new(1);
    client.five_tuple.client.0 = addr("[2001:db8:9::9]:1234");
    client.five_tuple.listener = addr("[2001:db8:1::7]:3478");
    let reply = client.allocate(&mut sim);
    assert!(reply.relayed().is_ipv4());
    assert_eq!(reply.message().xor_mapped_address(), Ok(Some(addr("[2001:db8:9::9]:1234"))));
}

/// One family has no port left; then both.
#[test]
fn a_family_without_ports_is_named_with_508_and_two_without_are_an_error() {
    let one_port = || CoreConfig { relay_ports: 50_000..=50_000, ..dual_stack() };
    for (taken, left) in [(V4, V6), (V6, V4)] {
        let mut sim = Sim::new(one_port(), [1; 32]);
        let (mut first, mut second, mut third) = (Client::new(1), Client::new(2), Client::new(3));
        assert_eq!(first.allocate_of(&mut sim, taken).code(), 0);
        let reply = second.allocate_both(&mut sim);
        assert_eq!(reply.address_error(), Some((taken, 508)));
        assert!(matches!(reply.all_relayed()[..], [a] if a.is_ipv6() == (left == V6)));
        assert_eq!(third.allocate_both(&mut sim).code(), 508);
        assert_eq!(sim.shared.quota_used(), 2);
        first.refresh(&mut sim, 0);
        second.refresh(&mut sim, 0);
        assert_eq!(third.allocate_both(&mut sim).all_relayed().len(), 2);
        third.refresh(&mut sim, 0);
        sim.wait(41.0);
        sim.assert_empty();
    }
}

/// The sockets are opened one after the other; each may meet ports that other programs hold.
#[test]
fn ports_of_other_programs_are_passed_over_in_both_families() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    sim.foreign = (50_000..50_064).filter(|port| port % 4 != 0).collect();
    let (mut full, mut partial) = (0, 0);
    let mut clients: Vec<_> = (1..=8).map(Client::new).collect();
    for client in &mut clients {
        let reply = client.allocate_both(&mut sim);
        match (reply.code(), reply.address_error()) {
            (0, None) => full += 1,
            (0, Some((_, 508))) => partial += 1,
            (508, None) => {}
            other => panic!("{other:?}"),
        }
        sim.wait(61.0);
    }
    assert!(full > 4, "{full} full, {partial} partial");
    assert_eq!(sim.core.occupancy().relayed, 2 * full + partial);
    sim.foreign = (50_000..50_064).collect();
    assert_eq!(Client::new(99).allocate_both(&mut sim).code(), 508);
    assert_eq!(sim.core.occupancy().opening, 0);
    sim.foreign.clear();
    sim.wait(3700.0);
    sim.assert_empty();
}

#[test]
fn a_host_without_sockets_answers_508_and_keeps_nothing() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    sim.out_of_sockets = true;
    assert_eq!(Client::new(1).allocate_both(&mut sim).code(), 508);
    sim.wait(41.0);
    sim.assert_empty();
}

/// An operator bounds how many calls a user has.
#[test]
fn two_relayed_addresses_take_one_place_of_the_quota() {
    let mut sim = Sim::new(CoreConfig { user_quota: Some(2), ..dual_stack() }, [1; 32]);
    let (mut first, mut second, mut third) = (Client::new(1), Client::new(2), Client::new(3));
    both(&mut sim, &mut first);
    both(&mut sim, &mut second);
    assert_eq!(sim.shared.quota_used(), 2);
    assert_eq!(third.allocate_both(&mut sim).code(), 486);
    assert_eq!(first.refresh_of(&mut sim, V4, 0).code(), 0);
    assert_eq!(third.allocate_both(&mut sim).code(), 486, "the place goes with the last address");
    assert_eq!(first.refresh_of(&mut sim, V6, 0).code(), 0);
    both(&mut sim, &mut third);
}

#[test]
fn an_even_port_without_a_pair_may_be_asked_of_both_families() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    for port in 1..20 {
        let reply = Client::new(port).request(&mut sim, Method::ALLOCATE, |b| {
            b.requested_transport(17).even_port(false).additional_address_family(V6);
        });
        assert_eq!(reply.all_relayed().len(), 2);
        assert!(reply.all_relayed().iter().all(|a| a.port().is_multiple_of(2)));
    }
}

#[test]
fn a_retransmission_gets_the_same_two_addresses() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let request = client.signed(Method::ALLOCATE, |b| {
        b.requested_transport(17).additional_address_family(V6);
    });
    let first = client.exchange(&mut sim, &request);
    assert_eq!(first.all_relayed().len(), 2);
    assert_eq!(client.exchange(&mut sim, &request), first);
    client.refresh_of(&mut sim, V4, 0);
    assert_eq!(client.exchange(&mut sim, &request), first, "the allocation lives on in IPv6");
    client.refresh_of(&mut sim, V6, 0);
    assert_eq!(client.exchange(&mut sim, &request).code(), 437, "a late duplicate allocates nothing");
    assert_eq!(sim.core.allocation_count(), 0);
}

/// RFC 8656 section 8.1: the permissions and channels of the other family are not touched.
#[test]
fn a_refresh_with_lifetime_zero_and_a_family_ends_that_address_only() {
    for (gone, stays) in [(V4, V6), (V6, V4)] {
        let mut sim = Sim::new(dual_stack(), [1; 32]);
        let mut client = Client::new(1);
        let (v4, v6) = both(&mut sim, &mut client);
        client.bind(&mut sim, 0x4000, addr(PEER_V4));
        client.bind(&mut sim, 0x4001, addr(PEER_V6));
        let of = |family| if family == V4 { (0x4000, v4, PEER_V4) } else { (0x4001, v6, PEER_V6) };
        let (number, relayed, to) = of(gone);
        let (other_number, other_relayed, other_to) = of(stays);

        assert_eq!(client.refresh_of(&mut sim, gone, 0).lifetime(), 0);
        sim.datapath.assert_agrees_with(&sim.core);
        assert!(!sim.datapath.open.contains(&RelayAddr(relayed)));
        assert_eq!(dropped(&client.channel_data(&mut sim, number, b"x")), Some(Reason::NoBinding));
        assert_eq!(dropped(&client.send(&mut sim, addr(to), b"x")), Some(Reason::NoPermission));
        assert_eq!(dropped(&sim.peer_sends(relayed, peer(to), b"x")), Some(Reason::NoAllocation));
        for code in [
            client.bind(&mut sim, number, addr(to)).code(),
            client.permit(&mut sim, &[addr(to)]).code(),
            client.refresh_of(&mut sim, gone, 600).code(),
            client.refresh_of(&mut sim, gone, 0).code(),
        ] {
            assert_eq!(code, 443);
        }

        let sent = client.channel_data(&mut sim, other_number, b"out");
        assert_eq!(to_peer(&sent), Some((peer(other_to), &b"out"[..])));
        assert!(to_client(&sim.peer_sends(other_relayed, peer(other_to), b"in")).is_some());
        // The number is free for a peer of the family that is left.
        let another = SocketAddr::new(addr(other_to).ip(), 7001);
        assert_eq!(client.bind(&mut sim, number, another).code(), 0);
        assert_eq!(client.refresh_of(&mut sim, stays, 0).lifetime(), 0);
        sim.wait(41.0);
        sim.assert_empty();
    }
}

#[test]
fn each_address_lives_as_long_as_its_own_refreshes_say() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    let mut client = Client::new(1);
    let (v4, v6) = both(&mut sim, &mut client);
    assert_eq!(client.refresh_of(&mut sim, V6, 1800).lifetime(), 1800);
    client.bind(&mut sim, 0x4000, addr(PEER_V4));
    let seen = sim.wait(600.0);
    assert_eq!(closed(&seen), [RelayAddr(v4)]);
    assert!(!seen.iter().any(|s| matches!(s, Seen::Event(Event::AllocationEnded { .. }))));
    assert_eq!(client.refresh(&mut sim, 700).lifetime(), 700, "without a family: what is left");
    assert_eq!(client.refresh_of(&mut sim, V4, 700).code(), 443);
    let seen = sim.wait(700.0);
    assert_eq!(closed(&seen), [RelayAddr(v6)]);
    let ended = |s: &Seen| matches!(s, Seen::Event(Event::AllocationEnded { cause: EndCause::Expired, .. }));
    assert!(seen.iter().any(ended));
    sim.wait(41.0);
    sim.assert_empty();
}

#[test]
fn a_refresh_without_a_family_is_for_both() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    let mut client = Client::new(1);
    both(&mut sim, &mut client);
    client.refresh(&mut sim, 1200);
    sim.wait(1199.0);
    assert_eq!(sim.core.occupancy().relayed, 2);
    assert_eq!(client.refresh(&mut sim, 0).lifetime(), 0);
    assert_eq!(sim.core.occupancy().relayed, 0);
    sim.wait(41.0);
    sim.assert_empty();
}

#[test]
fn one_forbidden_or_unreachable_peer_leaves_the_others_of_a_request_without_permission() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    let mut client = Client::new(1);
    assert_eq!(client.allocate_of(&mut sim, V6).code(), 0);
    assert_eq!(client.permit(&mut sim, &[addr(PEER_V6), addr(PEER_V4)]).code(), 443);
    assert_eq!(sim.core.occupancy().permissions, 0);
    assert_eq!(dropped(&client.send(&mut sim, addr(PEER_V6), b"x")), Some(Reason::NoPermission));
}

/// Lesson 27, with two ports for each allocation and hardly any ports at all.
#[test]
fn a_handful_of_ports_runs_out_cleanly_and_comes_back_every_time() {
    for ports in [1_u16, 4, 5] {
        let config = CoreConfig { relay_ports: 50_001..=50_000 + ports, ..dual_stack() };
        let mut sim = Sim::new(config, [1; 32]);
        let mut clients: Vec<_> = (1..=ports + 1).map(Client::new).collect();
        for round in 0..50 {
            for client in &mut clients[..usize::from(ports)] {
                both(&mut sim, client);
            }
            let last = &mut clients[usize::from(ports)];
            assert_eq!(last.allocate_both(&mut sim).code(), 508);
            assert_eq!(last.allocate(&mut sim).code(), 508);
            assert_eq!(last.allocate_of(&mut sim, V6).code(), 508);
            assert_eq!(sim.shared.free_ports(), 0);
            match round % 3 {
                0 => drop(sim.wait(600.0)),
                1 => clients[..usize::from(ports)].iter_mut().for_each(|c| drop(c.refresh(&mut sim, 0))),
                _ => {
                    for client in &mut clients[..usize::from(ports)] {
                        client.refresh_of(&mut sim, V6, 0);
                        client.refresh_of(&mut sim, V4, 0);
                    }
                }
            }
            assert_eq!(sim.core.occupancy().relayed, 0);
        }
        sim.wait(41.0);
        sim.assert_empty();
    }
}
