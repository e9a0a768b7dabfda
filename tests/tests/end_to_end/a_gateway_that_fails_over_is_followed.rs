//! Another gateway, or another machine in a gateway's place, carries a running call on within a second.

use turnpike_tests::lab::{self, Host, Net, OneNic, Server};

use crate::common::{Call, router, take_over};
use crate::stream::{RATE, Stream, stream};

/// A peer behind the first of two gateways, and a call with it that XDP forwards.
fn scene() -> Option<(OneNic, Net, [Host; 2], Host, Server, Call)> {
    if lab::skipped() {
        return None;
    }
    let net = OneNic::new();
    let far = Net::new([10, 78, 0]);
    let gateways = [254, 253].map(|last_byte| router(&net.net, &far, last_byte));
    let peer = far.host(3);
    net.server.ip("route add 10.78.0.0/24 via 10.77.0.254");
    peer.ip("route add 10.77.0.0/24 via 10.78.0.254");
    let server = Server::on(&net.server, "xdp");
    let mut call = Call::new(&server, &net.client, &peer);
    call.settle(&server);
    Some((net, far, gateways, peer, server, call))
}

fn down(gateway: &Host) {
    gateway.ip("link set eth0 down");
    gateway.ip("link set eth1 down");
}

#[track_caller]
fn less_than_a_second_was_lost(stream: Stream) {
    eprintln!("{stream:?}");
    assert!(stream.lost_to_peer < RATE && stream.lost_to_client < RATE, "{stream:?}");
}

#[test]
fn when_the_route_is_replaced() {
    let Some((net, _far, [first, _second], peer, server, mut call)) = scene() else { return };
    let result = stream(&mut call, || {
        down(&first);
        net.server.ip("route replace 10.78.0.0/24 via 10.77.0.253");
        peer.ip("route replace 10.77.0.0/24 via 10.78.0.253");
    });
    less_than_a_second_was_lost(result);
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}

#[test]
fn when_its_address_moves_to_another_mac_address() {
    let Some((net, far, [first, second], _peer, server, mut call)) = scene() else { return };
    let result = stream(&mut call, || {
        down(&first);
        take_over(net.net.address(254), &second, "eth0");
        take_over(far.address(254), &second, "eth1");
    });
    less_than_a_second_was_lost(result);
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}

#[test]
fn when_nothing_fails_nothing_is_lost() {
    let Some((_net, _far, _gateways, _peer, server, mut call)) = scene() else { return };
    let result = stream(&mut call, || ());
    assert_eq!(result, Stream { sent: result.sent, ..Stream::default() });
    assert!(result.sent >= 4 * RATE - 10);
    call.both_ways_by_xdp(&server);
}
