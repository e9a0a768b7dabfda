//! Where a packet goes may depend on where it comes from (`ip rule`), and whether it is taken on where it came in
//! (`rp_filter`). XDP does what the kernel would do, or leaves the packet to it.

use std::net::UdpSocket;

use relay_common::reason::Reason;
use turnpike_tests::lab::{
    self, Host, Net, PATIENCE, Path, QUIET, Received, Server, ServerOptions, TurnClient, TwoNic, wait_for,
};

use crate::common::{CHANNEL, Call, assert_xdp, moved, router};

#[test]
fn a_rule_for_the_relayed_address_chooses_the_gateway_now_and_when_it_changes() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    let far = Net::new([10, 79, 0]);
    let [first, second] = [(&net.inside, 254), (&net.outside, 253)].map(|(near, at)| router(near, &far, at));
    let peer = far.host(3);
    peer.ip("route add 10.78.0.0/24 via 10.79.0.253");
    second.ip("route add 10.77.0.0/24 via 10.78.0.1");
    // Who looks at the destination alone goes by a gateway that forwards nothing.
    first.set("ipv4/ip_forward", "0");
    net.server.ip("route add default via 10.77.0.254");
    net.server.ip("route add default via 10.78.0.253 table 100");
    net.server.ip("rule add from 10.78.0.1 lookup 100");

    let server = Server::start(&net.server, &ServerOptions::new("xdp").relay_from(net.relay_address()));
    let mut call = Call::new(&server, &net.client, &peer);
    call.settle(&server);
    call.both_ways_by_xdp(&server);

    first.set("ipv4/ip_forward", "1");
    second.set("ipv4/ip_forward", "0");
    net.server.ip("rule del from 10.78.0.1 lookup 100");
    first.ip("route add 10.78.0.0/24 via 10.77.0.1");
    peer.ip("route replace 10.78.0.0/24 via 10.79.0.254");
    wait_for("media by the other gateway", || {
        call.client.send(CHANNEL, b"which way?");
        lab::receive(&call.peer, QUIET)
    });
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}

/// A peer that is reached by `eth0`, but whose packets come in by `eth1`.
fn asymmetric(net: &TwoNic) -> (Host, UdpSocket) {
    let gateway = router(&net.inside, &net.outside, 254);
    gateway.ip("route add 10.80.0.3/32 via 10.78.0.3");
    net.peer.ip("addr add 10.80.0.3/32 dev lo");
    net.server.ip("route add 10.80.0.3/32 via 10.77.0.254");
    let peer = net.peer.enter(|| UdpSocket::bind("10.80.0.3:0")).expect("its address");
    (gateway, peer)
}

#[test]
fn a_strict_rp_filter_keeps_out_what_comes_in_by_another_interface_than_it_is_answered() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    for interface in ["all", "eth0", "eth1"] {
        net.server.set(&format!("ipv4/conf/{interface}/rp_filter"), "0");
    }
    let (_gateway, peer) = asymmetric(&net);
    let server = Server::start(&net.server, &ServerOptions::new("xdp").relay_from(net.relay_address()));
    let mut client = TurnClient::new(&net.client, server.address());
    let relayed = client.allocate();
    client.bind(CHANNEL, peer.local_addr().expect("bound"));
    let mut call = Call::bound(client, relayed, peer);
    // Nobody minds yet.
    call.settle(&server);
    call.both_ways_by_xdp(&server);

    let mut round = 0_u32;
    let mut peer_sends = |call: &mut Call| {
        round += 1;
        let data = round.to_be_bytes();
        call.peer.send_to(&data, call.relayed).expect("reachable");
        let got = call.client.receive(QUIET);
        assert!(got.is_none() || got == Some(Received::Channel(CHANNEL, data.into())), "{got:?}");
        got.is_some()
    };
    net.server.set("ipv4/conf/eth1/rp_filter", "1");
    wait_for("the setting to be seen", || {
        let moved = moved(&server, || _ = peer_sends(&mut call));
        (moved.of(Path::Xdp, Reason::ReversePath) == 1).then_some(())
    });
    let strict = moved(&server, || assert!(!peer_sends(&mut call), "the kernel drops it"));
    assert_xdp(&strict, Reason::ReversePath, 1);
    assert_eq!(strict.relayed(Path::Userspace), (0, 0), "{strict:?}");
    // The other direction is as it should be.
    let other = moved(&server, || call.client_sends(b"to the peer"));
    assert_eq!(other.relayed(Path::Xdp), (1, 0), "{other:?}");

    net.server.set("ipv4/conf/eth1/rp_filter", "2");
    wait_for("loose is enough", || peer_sends(&mut call).then_some(()));
    call.settle(&server);
    // The larger of an interface's setting and that of all counts.
    net.server.set("ipv4/conf/eth1/rp_filter", "0");
    net.server.set("ipv4/conf/all/rp_filter", "1");
    wait_for("all of them are strict", || (!peer_sends(&mut call)).then_some(()));
}

/// A call over two cards, both with a strict `rp_filter`.
fn strict() -> Option<(TwoNic, Server, Call)> {
    if lab::skipped() {
        return None;
    }
    let net = TwoNic::new();
    net.server.set("ipv4/conf/all/rp_filter", "1");
    let server = Server::start(&net.server, &ServerOptions::new("xdp").relay_from(net.relay_address()));
    let call = Call::new(&server, &net.client, &net.peer);
    Some((net, server, call))
}

#[test]
fn a_strict_rp_filter_costs_nothing_where_packets_come_in_as_they_are_answered() {
    let Some((_net, server, mut call)) = strict() else { return };
    call.settle(&server);
    for _ in 0..10 {
        call.both_ways_by_xdp(&server);
    }
    assert_eq!(server.counters().of(Path::Xdp, Reason::ReversePath), 0);
}

#[test]
fn a_strict_rp_filter_takes_nothing_from_a_call_while_its_way_back_is_not_known() {
    let Some((_net, _server, mut call)) = strict() else { return };
    // Before any neighbour is resolved, and after.
    for n in 0..20_u8 {
        call.client_sends(&[n; 100]);
        call.peer.send_to(&[n; 101], call.relayed).expect("reachable");
        assert_eq!(call.client.receive(PATIENCE), Some(Received::Channel(CHANNEL, vec![n; 101])));
    }
}
