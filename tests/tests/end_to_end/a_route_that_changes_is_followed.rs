//! A peer behind a gateway is reached by XDP through it, and through another gateway once the route says so.

use std::time::Duration;

use turnpike_tests::lab::{self, Net, OneNic, Server, receive, wait_for};

use crate::common::{CHANNEL, Call, router};

#[test]
fn from_one_gateway_to_another() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let far = Net::new([10, 78, 0]);
    let [first, _second] = [254, 253].map(|last_byte| router(&net.net, &far, last_byte));
    let peer = far.host(3);
    net.server.ip("route add 10.78.0.0/24 via 10.77.0.254");
    peer.ip("route add 10.77.0.0/24 via 10.78.0.254");

    let server = Server::on(&net.server, "xdp");
    let mut call = Call::new(&server, &net.client, &peer);
    call.settle(&server);
    call.both_ways_by_xdp(&server);

    net.server.ip("route replace 10.78.0.0/24 via 10.77.0.253");
    peer.ip("route replace 10.77.0.0/24 via 10.78.0.253");
    first.ip("link set eth0 down");
    first.ip("link set eth1 down");
    wait_for("media through the other gateway", || {
        call.client.send(CHANNEL, b"which way?");
        receive(&call.peer, Duration::from_millis(100))
    });
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}
