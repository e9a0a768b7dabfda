//! A relayed port that went to a new allocation never delivers to the client that had it before, nor relays for it.

use turnpike_tests::lab::{
    self, OneNic, PATIENCE, QUIET, Received, Server, ServerOptions, TurnClient, receive,
};

use crate::common::{CHANNEL, Call};

fn reuse(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    // One port: whoever allocates next has it.
    let options = ServerOptions { relay_ports: "50000-50000", ..ServerOptions::new(mode) };
    let server = Server::start(&net.server, &options);
    let mut old = Call::new(&server, &net.client, &net.peer);
    old.both_ways();
    old.client.end();
    old.is_dead();

    let mut new = TurnClient::new(&net.client, server.address());
    assert_eq!(new.allocate(), old.relayed);
    // The new client has not let the peer in yet.
    old.is_dead();
    assert_eq!(new.receive(QUIET), None);

    const OTHER: u16 = 0x4002;
    new.bind(OTHER, old.peer_address());
    for _ in 0..20 {
        old.peer.send_to(b"for the new client", old.relayed).expect("reachable");
        let got = new.receive(PATIENCE);
        assert_eq!(got, Some(Received::Channel(OTHER, b"for the new client".to_vec())));
        old.client.send(CHANNEL, b"from the old client");
    }
    assert_eq!(old.client.receive(QUIET), None, "what the old client received");
    assert_eq!(receive(&old.peer, QUIET), None, "what the peer received from the old client");
}

#[test]
fn in_driver_mode() {
    reuse("xdp");
}

#[test]
fn in_userspace() {
    reuse("userspace");
}
