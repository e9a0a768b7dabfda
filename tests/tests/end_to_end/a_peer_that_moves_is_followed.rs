//! A peer whose address moves to another machine, and so to another MAC address, is followed by XDP.

use std::time::Duration;

use turnpike_tests::lab::{
    self, Host, Namespace, OneNic, Path, Server, ServerOptions, TwoNic, Wire, receive, wait_for,
};

use crate::common::{CHANNEL, Call, moved};

/// Takes an address over as a standby machine does: with a gratuitous ARP (RFC 5227 section 3).
fn take_over(from: &Host, to: &Namespace) {
    let std::net::IpAddr::V4(address) = from.address() else { unreachable!("labs have IPv4") };
    from.ip("link set eth0 down");
    to.ip(&format!("addr add {address}/24 dev eth0"));
    let mac = to.mac("eth0");
    let mut arp = [&[0xff; 6], &mac[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    arp.extend([&mac[..], &address.octets(), &[0; 6], &address.octets()].concat());
    Wire::open(to, "eth0").send(&arp);
}

fn follow(server: &Server, mut call: Call, peer: &Host, standby: &Host) {
    call.settle(server);
    let port = call.peer_address().port();
    take_over(peer, standby);
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
