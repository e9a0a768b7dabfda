//! The peer of a relayed address may be another relayed address of the same server.

use std::net::SocketAddr;

use turnpike::stun::AddressFamily;
use turnpike_tests::lab::{self, OneNic, PATIENCE, Received, Server, ServerOptions, TurnClient, TwoNic};

use crate::common::{CHANNEL, PUBLIC, start_in_both_families};

fn relay_to_relay(server: &Server, mut alice: TurnClient, mut bob: TurnClient) {
    let (of_alice, of_bob) = (alice.allocate(), bob.allocate());
    assert_eq!(server.address().is_ipv4(), of_alice.is_ipv4());
    talk(&mut alice, of_alice, CHANNEL, &mut bob, of_bob);
}

/// Each names the other by the relayed address that the other was told.
fn talk(
    alice: &mut TurnClient,
    of_alice: SocketAddr,
    channel: u16,
    bob: &mut TurnClient,
    of_bob: SocketAddr,
) {
    alice.permit(&[of_bob]);
    bob.permit(&[of_alice]);
    alice.send_indication(of_bob, b"hello");
    assert_eq!(bob.receive(PATIENCE), Some(Received::Data(of_alice, b"hello".into())));
    bob.send_indication(of_alice, b"hello yourself");
    assert_eq!(alice.receive(PATIENCE), Some(Received::Data(of_bob, b"hello yourself".into())));
    alice.bind(channel, of_bob);
    bob.bind(channel + 1, of_alice);
    for round in 0..20 {
        let data = format!("round {round}").into_bytes();
        alice.send(channel, &data);
        assert_eq!(bob.receive(PATIENCE), Some(Received::Channel(channel + 1, data.clone())));
        bob.send(channel + 1, &data);
        assert_eq!(alice.receive(PATIENCE), Some(Received::Channel(channel, data.clone())));
        alice.send_indication(of_bob, &data);
        assert_eq!(bob.receive(PATIENCE), Some(Received::Channel(channel + 1, data)));
    }
}

fn on_one_nic(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::on(&net.server, mode);
    let [alice, bob] = [&net.client, &net.peer].map(|host| TurnClient::new(host, server.address()));
    relay_to_relay(&server, alice, bob);
}

#[test]
fn in_driver_mode() {
    on_one_nic("xdp");
}

#[test]
fn in_generic_mode() {
    on_one_nic("xdp-generic");
}

#[test]
fn in_userspace() {
    on_one_nic("userspace");
}

#[test]
fn between_two_network_cards() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    let server = Server::start(&net.server, &ServerOptions::new("xdp").relay_from(net.relay_address()));
    let [alice, bob] = [(); 2].map(|()| TurnClient::new(&net.client, server.address()));
    relay_to_relay(&server, alice, bob);
}

/// Every pair of families, by the listener of either, among so many clients that some pairs share a shard and some do
/// not. `public` is what clients are told in place of the server's addresses.
fn in_both_families(mode: &'static str, public: Option<[&str; 2]>) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    let hosts = [net.server.clone(), net.server.over_ipv6()];
    let (_server, told) = start_in_both_families(&net, ServerOptions::new(mode).flag("--shards", 2), public);

    for _ in 0..6 {
        // Alice over IPv4 with both families, two others over IPv6 with one each.
        let mut alice = TurnClient::new(&net.client, hosts[0].at(3478));
        let of_alice = alice.allocate_both();
        assert_eq!(of_alice.map(|a| a.ip()), told);
        let bobs = [AddressFamily::V4, AddressFamily::V6].map(|family| {
            let mut bob = TurnClient::new(&net.peer.over_ipv6(), hosts[1].at(3478));
            let of_bob = bob.allocate_of(family);
            (bob, of_bob)
        });
        for (n, (mut bob, of_bob)) in bobs.into_iter().enumerate() {
            talk(&mut alice, of_alice[n], CHANNEL + 2 * n as u16, &mut bob, of_bob);
        }
    }
}

#[test]
fn in_both_families_in_driver_mode() {
    in_both_families("xdp", None);
}

#[test]
fn in_both_families_in_userspace() {
    in_both_families("userspace", None);
}

#[test]
fn by_public_addresses_that_a_nat_maps_in_driver_mode() {
    in_both_families("xdp", Some(PUBLIC));
}

#[test]
fn by_public_addresses_that_a_nat_maps_in_userspace() {
    in_both_families("userspace", Some(PUBLIC));
}
