//! A peer whose address moves to another machine, and so to another MAC address, is followed by XDP.

use std::time::Duration;

use turnpike_tests::lab::{self, Host, OneNic, Path, Server, ServerOptions, TwoNic, receive, wait_for};

use crate::common::{CHANNEL, Call, moved, take_over};

fn follow(server: &Server, mut call: Call, peer: &Host, standby: &Host) {
    call.settle(server);
    let port = call.peer_address().port();
    peer.ip("link set eth0 down");
    let std::net::IpAddr::V4(address) = peer.address() else { unreachable!("labs have IPv4") };
    take_over(address, standby, "eth0");
    call.peer = standby.enter(|| std::net::UdpSocket::bind((peer.address(), port)).expect("its own now"));
    wait_for("media at the standby", || {
        call.client.send(CHANNEL, b"where are you?");
        receive(&call.peer, Duration::from_millis(100))
    });
    let moved = moved(server, || call.both_ways());
    assert_eq!(moved.relayed(Path::Xdp), (1, 1), "{moved:?}");
}

#[test]
fn on_the_clients_network() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let standby = net.net.host(4);
    let server = Server::on(&net.server, "xdp");
    let call = Call::new(&server, &net.client, &net.peer);
    follow(&server, call, &net.peer, &standby);
}

#[test]
fn on_another_network() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    let standby = net.outside.host(4);
    let server = Server::start(&net.server, &ServerOptions::new("xdp").relay_from(net.relay_address()));
    let call = Call::new(&server, &net.client, &net.peer);
    follow(&server, call, &net.peer, &standby);
}
