//! Clients and peers behind any of several network cards, and several addresses on one: XDP forwards between all of them
//! that run it in one mode, and what it cannot forward the process relays.

use std::collections::BTreeSet;
use std::net::IpAddr;

use relay_common::reason::Reason;
use turnpike_tests::lab::{self, Host, Net, OneNic, Path, Server, ServerOptions, TurnClient, TwoNic};

use crate::common::{Call, moved};

/// A server on three Ethernets, 10.77.0.0/24 to 10.79.0.0/24, and a machine on each that routes through it.
struct ThreeNic {
    _nets: [Net; 3],
    server: Host,
    machines: [Host; 3],
}

impl ThreeNic {
    fn new() -> Self {
        let nets = [77, 78, 79].map(|second| Net::new([10, second, 0]));
        let server = nets[0].host(1);
        nets[1].plug(&server, "eth1", 1);
        nets[2].plug(&server, "eth2", 1);
        let machines = [0, 1, 2].map(|n: usize| {
            let machine = nets[n].host(3);
            machine.ip(&format!("route add default via {}", nets[n].address(1)));
            machine
        });
        Self { _nets: nets, server, machines }
    }
}

#[test]
fn between_any_two_of_three_and_back_by_the_one_it_came_from() {
    if lab::skipped() {
        return;
    }
    let net = ThreeNic::new();
    let mut options = ServerOptions::new("xdp");
    for second in [77, 78, 79] {
        options = options.relay_from(format!("10.{second}.0.1"));
        if second != 77 {
            options = options.flag("--listen", format!("udp://10.{second}.0.1:3478"));
        }
    }
    let server = Server::start(&net.server, &options);
    let mut relayed_from = BTreeSet::new();
    for (n, client) in net.machines.iter().enumerate() {
        for peer in &net.machines {
            let listener = format!("10.{}.0.1:3478", 77 + n).parse().expect("an address");
            let mut client = TurnClient::new(client, listener);
            let relayed = client.allocate();
            relayed_from.insert(relayed.ip());
            let mut call = Call::with(client, relayed, peer);
            call.settle(&server);
            call.both_ways_by_xdp(&server);
        }
    }
    assert!(relayed_from.len() > 1, "relayed addresses of several cards were given out: {relayed_from:?}");
}

#[test]
fn with_several_listening_and_relay_addresses_on_one() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    for last in [5, 6, 7] {
        net.server.ip(&format!("addr add 10.77.0.{last}/24 dev eth0"));
    }
    let options = ServerOptions::new("xdp").flag("--listen", "udp://10.77.0.5:3478");
    let server = Server::start(&net.server, &options.relay_from("10.77.0.6").relay_from("10.77.0.7"));
    let mut relayed_from = BTreeSet::new();
    for listener in ["10.77.0.1:3478", "10.77.0.5:3478"].repeat(4) {
        let mut client = TurnClient::new(&net.client, listener.parse().expect("an address"));
        let relayed = client.allocate();
        relayed_from.insert(relayed.ip());
        let mut call = Call::with(client, relayed, &net.peer);
        call.settle(&server);
        call.both_ways_by_xdp(&server);
    }
    let both: BTreeSet<IpAddr> = ["10.77.0.6", "10.77.0.7"].map(|a| a.parse().expect("an address")).into();
    assert_eq!(relayed_from, both);
}

/// Moves the second card's address to a bridge on it, which has no XDP of its own.
fn bridge_on_the_second(net: &TwoNic) {
    net.server.ip("addr flush dev eth1");
    net.server.ip("link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
    net.server.ip("link set eth1 master br1");
    net.server.ip("link set br1 up");
    net.server.ip("addr add 10.78.0.1/24 dev br1");
}

#[test]
fn one_in_generic_mode_beside_one_in_driver_mode_loses_nothing() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    bridge_on_the_second(&net);
    let options = ServerOptions::new("auto").relay_from(net.relay_address());
    let server = Server::start(&net.server, &options);
    assert_eq!([server.mode("eth0").0, server.mode("br1").0], ["xdp", "xdp-generic"]);
    let mut call = Call::new(&server, &net.client, &net.peer);
    for _ in 0..20 {
        call.both_ways();
    }
    // A driver's frame cannot be handed to a device without native XDP; the other way round it can.
    let moved = moved(&server, || call.both_ways());
    assert_eq!(moved.of(Path::Xdp, Reason::NextHop), 1, "{moved:?}");
    assert_eq!(moved.relayed(Path::Userspace).0, 1, "{moved:?}");
}

/// A peer behind a device of the server that does not run the program, and a call that is relayed all the same.
fn by_a_device_without_the_program(net: &TwoNic) {
    let options = ServerOptions::new("xdp").flag("--interface", "eth0");
    let server = Server::start(&net.server, &options);
    net.peer.ip("route add 10.77.0.0/24 via 10.78.0.1");
    let mut call = Call::new(&server, &net.client, &net.peer);
    for _ in 0..10 {
        call.both_ways();
    }
    let moved = moved(&server, || call.both_ways());
    assert_eq!(moved.of(Path::Xdp, Reason::NextHop), 1, "{moved:?}");
    assert_eq!(moved.relayed(Path::Userspace), (1, 1), "{moved:?}");
}

#[test]
fn a_peer_behind_a_bridge_is_reached_by_the_process() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    bridge_on_the_second(&net);
    by_a_device_without_the_program(&net);
}

#[test]
fn a_peer_behind_a_macvlan_is_reached_by_the_process() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    net.server.ip("addr flush dev eth1");
    net.server.ip("link add mv1 link eth1 type macvlan mode bridge");
    net.server.ip("link set mv1 up");
    net.server.ip("addr add 10.78.0.1/24 dev mv1");
    by_a_device_without_the_program(&net);
}

#[test]
fn a_peer_on_the_link_and_one_behind_the_gateway_at_once() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let far = Net::new([10, 78, 0]);
    let _gateway = crate::common::router(&net.net, &far, 254);
    let behind = far.host(3);
    net.server.ip("route add default via 10.77.0.254");
    behind.ip("route add default via 10.78.0.254");
    let server = Server::on(&net.server, "xdp");
    let mut calls = [&net.peer, &behind].map(|peer| Call::new(&server, &net.client, peer));
    for call in &mut calls {
        call.settle(&server);
    }
    for _ in 0..5 {
        for call in &mut calls {
            call.both_ways_by_xdp(&server);
        }
    }
}
