//! What XDP sends has the next hop's MAC address, not the one it came from, and right lengths and checksums everywhere.

use turnpike_tests::frames::channel_data;
use turnpike_tests::lab::{self, Namespace, PATIENCE, Server, ServerOptions, TwoNic, Wire};

use crate::common::{CHANNEL, Call, settled};

/// Sends both ways and looks at the frames. `Wire` checks their lengths and checksums.
fn look(call: &mut Call, client: &Namespace, peer: &Namespace, macs: [([u8; 6], [u8; 6]); 2]) {
    for data in [&b"even"[..], b"odd", b"", &[0xff; 1400]] {
        let (mut at_peer, mut at_client) = (Wire::open(peer, "eth0"), Wire::open(client, "eth0"));
        call.client_sends(data);
        call.peer_sends(data);
        let there = at_peer.find_payload(PATIENCE, data).expect("the peer's frame");
        assert_eq!(there.macs, macs[0], "destination and source MAC towards the peer");
        assert_eq!((there.src, there.dst), (call.relayed, call.peer_address()));
        let back =
            at_client.find_payload(PATIENCE, &channel_data(CHANNEL, data, 0)).expect("the client's frame");
        assert_eq!(back.macs, macs[1], "destination and source MAC towards the client");
        assert_eq!((back.src, back.dst), (call.client.server(), call.client.address()));
        assert!(there.checksum && back.checksum, "a checksum that was there stays there");
    }
}

#[test]
fn with_one_network_card() {
    let Some((net, _server, mut call)) = settled("xdp") else { return };
    let [server, client, peer] = [&net.server, &net.client, &net.peer].map(|host| host.mac("eth0"));
    look(&mut call, &net.client, &net.peer, [(peer, server), (client, server)]);
}

#[test]
fn between_two_network_cards() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    let server = Server::start(&net.server, &ServerOptions::new("xdp").relay_from(net.relay_address()));
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.settle(&server);
    let [client, peer] = [&net.client, &net.peer].map(|host| host.mac("eth0"));
    let [inside, outside] = ["eth0", "eth1"].map(|interface| net.server.mac(interface));
    look(&mut call, &net.client, &net.peer, [(peer, outside), (client, inside)]);
}
