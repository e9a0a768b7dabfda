//! What the data path is told about permissions, which have no channel: Send and Data indications take the fast path.

mod common;

use std::net::SocketAddr;

use common::{Client, Seen, Sim, addr, dual_stack, ip, relaying_from, sim};
use turnpike::policy::{HostAddresses, PeerRules};
use turnpike::stun::{AddressFamily, Method};
use turnpike::turn::{CoreConfig, Output, Via};

const PEER: &str = "203.0.113.1:1000";

fn seconds_left(sim: &Sim, client: &Client, peer: &str) -> Option<u64> {
    let binding = sim.datapath.permission(client.five_tuple, ip(peer))?;
    Some(binding.deadline.since(sim.now).as_secs())
}

/// What the data path is told because of a request.
fn told(sim: &mut Sim, client: &mut Client, method: Method, peers: &[SocketAddr]) -> Vec<Seen> {
    let request = client.signed(method, |b| {
        peers.iter().for_each(|&peer| _ = b.xor_peer_address(peer));
    });
    let seen = sim.client_sends(client.five_tuple, &request);
    let told =
        |s: &&Seen| matches!(s, Seen::Other(Output::Bind(_) | Output::Extend(_) | Output::Unbind { .. }));
    seen.iter().filter(told).cloned().collect()
}

#[test]
fn a_permission_reaches_the_data_path_before_the_success_response_leaves() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    let request = client.signed(Method::CREATE_PERMISSION, |b| {
        b.xor_peer_address(addr(PEER));
    });
    let seen = sim.client_sends(client.five_tuple, &request);
    let [Seen::Other(Output::Bind(binding)), Seen::ToClient(..), Seen::Event(_)] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!((binding.five_tuple, binding.relayed.0), (client.five_tuple, relayed));
    assert_eq!((binding.via, binding.peer.0), (Via::Indications, addr("203.0.113.1:0")), "every port");
    assert_eq!(seconds_left(&sim, &client, "203.0.113.1"), Some(300));
}

#[test]
fn its_binding_lasts_as_long_as_permission_and_relayed_address_do() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    let mut client = Client::new(1);
    client.allocate_both(&mut sim);
    let peers = ["203.0.113.1", "2001:db8:ff::1"];
    sim.wait(400.0);
    client.permit(&mut sim, &peers.map(|peer| SocketAddr::new(ip(peer), 1)));
    let left = |sim: &Sim, client: &Client| peers.map(|peer| seconds_left(sim, client, peer));
    assert_eq!(left(&sim, &client), [Some(200); 2], "the allocation ends first");
    client.refresh_of(&mut sim, AddressFamily::V6, 600);
    assert_eq!(left(&sim, &client), [Some(200), Some(300)], "each family has its own time");
    client.refresh(&mut sim, 600);
    sim.wait(100.0);
    assert_eq!(left(&sim, &client), [Some(200); 2]);
    client.permit(&mut sim, &[SocketAddr::new(ip(peers[0]), 2)]);
    assert_eq!(left(&sim, &client), [Some(300), Some(200)]);
    assert_eq!(sim.datapath.ids.len(), 2, "they were extended, never taken down");
    client.refresh_of(&mut sim, AddressFamily::V4, 0);
    assert_eq!(left(&sim, &client), [None, Some(200)]);
    sim.wait(200.0);
    assert_eq!(left(&sim, &client), [None; 2]);
    sim.datapath.assert_agrees_with(&sim.core);
}

/// A request may name an address with the port of each of a peer's candidates.
#[test]
fn an_address_that_is_named_many_times_is_told_once() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    let candidates: Vec<_> = (1..=50).map(|port| addr(&format!("203.0.113.1:{port}"))).collect();
    let seen = told(&mut sim, &mut client, Method::CREATE_PERMISSION, &candidates);
    assert!(matches!(seen[..], [Seen::Other(Output::Bind(_))]), "{seen:?}");
    for (number, &peer) in (0x4000..).zip(&candidates) {
        assert_eq!(client.bind(&mut sim, number, peer).code(), 0);
    }
    sim.wait(1.0);
    let seen = told(&mut sim, &mut client, Method::CREATE_PERMISSION, &candidates);
    assert_eq!(seen.len(), 50 + 1, "each channel and the permission");
    assert!(seen.iter().all(|s| matches!(s, Seen::Other(Output::Extend(_)))), "{seen:?}");
    assert!(matches!(seen[50], Seen::Other(Output::Extend(b)) if b.via == Via::Indications), "it is last");
    assert_eq!(told(&mut sim, &mut client, Method::CREATE_PERMISSION, &candidates), [], "nothing moved");
}

#[test]
fn another_client_of_this_server_is_told_by_its_local_address() {
    let mut sim = Sim::new(relaying_from(&[("198.51.100.7", "10.0.0.7")]), [1; 32]);
    let (mut one, mut other) = (Client::new(1), Client::new(2));
    one.allocated(&mut sim);
    let public = other.allocated(&mut sim);
    assert_eq!(public.ip(), ip("198.51.100.7"));
    assert_eq!(one.permit(&mut sim, &[public]).code(), 0);
    assert_eq!(seconds_left(&sim, &one, "10.0.0.7"), Some(300));
    sim.datapath.assert_agrees_with(&sim.core);
}

/// XDP looks at the ports of our relayed addresses when a Send indication names one; it does not know that another
/// address leads there. And an IPv4-mapped address is an IPv4 one to its tables.
#[test]
fn what_leads_to_our_relayed_addresses_by_another_name_stays_in_userspace() {
    let mut config = dual_stack();
    let relay: Vec<_> = config.relay_addresses.iter().map(|a| a.local).collect();
    let host = HostAddresses { own: relay.clone(), relay, relay_ports: config.relay_ports.clone() };
    let allow = ["64:ff9b::/96", "203.0.113.0/24", "198.51.100.0/24"].map(|cidr| cidr.parse().unwrap());
    config.peer_rules = PeerRules::new(allow.into(), vec![], host).into();
    let mut sim = Sim::new(CoreConfig { ..config }, [1; 32]);
    let mut client = Client::new(1);
    client.allocate_both(&mut sim);
    let permit = |sim: &mut Sim, client: &mut Client, peer: &str| {
        assert_eq!(client.permit(sim, &[SocketAddr::new(ip(peer), 53)]).code(), 0, "{peer}");
        sim.datapath.permission(client.five_tuple, ip(peer)).is_some()
    };
    assert!(permit(&mut sim, &mut client, "64:ff9b::203.0.113.1"));
    assert!(permit(&mut sim, &mut client, "198.51.100.7"));
    assert!(!permit(&mut sim, &mut client, "64:ff9b::198.51.100.7"));
    assert!(!permit(&mut sim, &mut client, "::ffff:203.0.113.1"));
}
