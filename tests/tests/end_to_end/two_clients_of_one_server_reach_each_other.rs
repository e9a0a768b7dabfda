//! The peer of a relayed address may be another relayed address of the same server.

use turnpike_tests::lab::{self, OneNic, PATIENCE, Received, Server, ServerOptions, TurnClient, TwoNic};

use crate::common::CHANNEL;

fn relay_to_relay(server: &Server, mut alice: TurnClient, mut bob: TurnClient) {
    let (of_alice, of_bob) = (alice.allocate(), bob.allocate());
    assert_eq!(server.address().is_ipv4(), of_alice.is_ipv4());
    alice.bind(CHANNEL, of_bob);
    bob.bind(CHANNEL + 1, of_alice);
    for round in 0..20 {
        let data = format!("round {round}").into_bytes();
        alice.send(CHANNEL, &data);
        assert_eq!(bob.receive(PATIENCE), Some(Received::Channel(CHANNEL + 1, data.clone())));
        bob.send(CHANNEL + 1, &data);
        assert_eq!(alice.receive(PATIENCE), Some(Received::Channel(CHANNEL, data.clone())));
        alice.send_indication(of_bob, &data);
        assert_eq!(bob.receive(PATIENCE), Some(Received::Channel(CHANNEL + 1, data)));
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
