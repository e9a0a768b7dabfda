//! VLANs (IEEE 802.1Q), VLANs within VLANs (802.1ad) and bonds. Kernels without such devices exist; there these tests say
//! so and do nothing, unless `TURNPIKE_TEST_DEVICES=vlan,bond` says that they have to.

use std::net::Ipv4Addr;

use relay_common::reason::Reason;
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::lab::{
    self, Host, Net, OneNic, PATIENCE, Path, Server, ServerOptions, TurnClient, Wire, wait_for,
};

use crate::common::{CHANNEL, Call, moved};
use crate::stream::{RATE, stream};

/// Gives a machine a VLAN device on another of its devices, with an address.
fn vlan(machine: &Host, lower: &str, name: &str, id: u16, address: Option<Ipv4Addr>) {
    vlan_of_kind(machine, lower, name, "802.1Q", id, address);
}

fn vlan_of_kind(machine: &Host, lower: &str, name: &str, protocol: &str, id: u16, address: Option<Ipv4Addr>) {
    machine.ip(&format!("link add link {lower} name {name} type vlan protocol {protocol} id {id}"));
    machine.ip(&format!("link set {name} up"));
    if let Some(address) = address {
        machine.ip(&format!("addr add {address}/24 dev {name}"));
    }
}

const INSIDE: [u8; 3] = [10, 80, 0];
const OUTSIDE: [u8; 3] = [10, 81, 0];

fn at([a, b, c]: [u8; 3], d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

/// Serves on one address and relays from another, with the program on this card.
fn start(machine: &Host, interface: &str, relay: Ipv4Addr) -> Server {
    let options = ServerOptions::new("xdp").flag("--interface", interface).relay_from(relay);
    let server = Server::start(machine, &options);
    assert_eq!(server.mode(interface).0, lab::xdp_mode());
    server
}

fn by_xdp(server: &Server, client: &Host, peer: &Host) -> Call {
    let mut call = Call::new(server, client, peer);
    call.settle(server);
    for _ in 0..5 {
        call.both_ways_by_xdp(server);
    }
    call
}

#[test]
fn a_vlan_on_either_side() {
    if lab::skipped() || lab::kernel_lacks("vlan") {
        return;
    }
    let net = OneNic::new();
    vlan(&net.server, "eth0", "eth0.7", 7, Some(at(INSIDE, 1)));
    vlan(&net.server, "eth0", "eth0.9", 9, Some(at(OUTSIDE, 1)));
    vlan(&net.client, "eth0", "eth0.7", 7, Some(at(INSIDE, 2)));
    vlan(&net.peer, "eth0", "eth0.9", 9, Some(at(OUTSIDE, 3)));
    let tagged = net.server.at_address(at(INSIDE, 1));
    let server = start(&tagged, "eth0", at(OUTSIDE, 1));
    by_xdp(&server, &net.client.at_address(at(INSIDE, 2)), &net.peer.at_address(at(OUTSIDE, 3)));
}

#[test]
fn a_vlan_on_one_side_and_none_on_the_other() {
    if lab::skipped() || lab::kernel_lacks("vlan") {
        return;
    }
    let net = OneNic::new();
    vlan(&net.server, "eth0", "eth0.9", 9, Some(at(OUTSIDE, 1)));
    vlan(&net.peer, "eth0", "eth0.9", 9, Some(at(OUTSIDE, 3)));
    let server = start(&net.server, "eth0", at(OUTSIDE, 1));
    by_xdp(&server, &net.client, &net.peer.at_address(at(OUTSIDE, 3)));
}

#[test]
fn a_vlan_within_a_vlan() {
    if lab::skipped() || lab::kernel_lacks("vlan") {
        return;
    }
    let net = OneNic::new();
    let machines = [(&net.server, 1), (&net.client, 2), (&net.peer, 3)];
    for (machine, last) in machines {
        vlan_of_kind(machine, "eth0", "service", "802.1ad", 100, None);
        if last != 3 {
            vlan(machine, "service", "inside", 7, Some(at(INSIDE, last)));
        }
        if last != 2 {
            vlan(machine, "service", "outside", 9, Some(at(OUTSIDE, last)));
        }
    }
    let tagged = net.server.at_address(at(INSIDE, 1));
    let server = start(&tagged, "eth0", at(OUTSIDE, 1));
    by_xdp(&server, &net.client.at_address(at(INSIDE, 2)), &net.peer.at_address(at(OUTSIDE, 3)));
}

/// Whoever shares the cable could otherwise talk in the name of a peer in a VLAN where he is not.
#[test]
fn what_comes_by_another_vlan_than_its_sender_is_in_is_left_to_the_kernel() {
    if lab::skipped() || lab::kernel_lacks("vlan") {
        return;
    }
    let net = OneNic::new();
    vlan(&net.server, "eth0", "eth0.7", 7, Some(at(INSIDE, 1)));
    vlan(&net.client, "eth0", "eth0.7", 7, Some(at(INSIDE, 2)));
    let tagged = net.server.at_address(at(INSIDE, 1));
    let server = start(&tagged, "eth0", at(INSIDE, 1));
    let client = net.client.at_address(at(INSIDE, 2));
    vlan(&net.peer, "eth0", "eth0.7", 7, Some(at(INSIDE, 3)));
    let call = by_xdp(&server, &client, &net.peer.at_address(at(INSIDE, 3)));

    let mut wire = Wire::open(&net.client, "eth0");
    let mut datagram =
        Datagram::new(call.client.address(), call.client.server(), channel_data(CHANNEL, b"forged", 0));
    datagram.macs = (net.server.mac("eth0"), net.client.mac("eth0"));
    for tags in [vec![(0x8100, 8)], vec![(0x88a8, 7)], vec![(0x8100, 7), (0x8100, 7)]] {
        let before = server.counters();
        wire.send(&Datagram { tags: tags.clone(), ..datagram.clone() }.frame());
        wait_for("the frame to be counted", || {
            let moved = &server.counters() - &before;
            (moved.of(Path::Xdp, Reason::ReversePath) == 1).then_some(())
        });
        assert_eq!(lab::receive(&call.peer, lab::QUIET), None, "{tags:?}");
    }
    let moved = moved(&server, || {
        wire.send(&Datagram { tags: vec![(0x8100, 7)], ..datagram.clone() }.frame());
        assert!(lab::receive(&call.peer, PATIENCE).is_some(), "with its own tag it is relayed");
    });
    assert_eq!(moved.relayed(Path::Xdp), (1, 0), "{moved:?}");
}

/// A machine on an Ethernet by two cards that are one bond.
fn bonded(net: &Net, last_byte: u8, mode: &str) -> Host {
    let machine = net.host(last_byte);
    net.plug(&machine, "eth1", 200);
    machine.ip(&format!("link add bond0 type bond mode {mode} miimon 50"));
    for card in ["eth0", "eth1"] {
        machine.ip(&format!("addr flush dev {card}"));
        machine.ip(&format!("link set {card} down"));
        machine.ip(&format!("link set {card} master bond0"));
    }
    machine.ip("link set bond0 up");
    machine
}

#[test]
fn a_bond_of_which_one_cable_breaks() {
    if lab::skipped() || lab::kernel_lacks("bond") {
        return;
    }
    let net = Net::new([10, 77, 0]);
    let [client, peer] = [2, 3].map(|last| net.host(last));
    let machine = bonded(&net, 1, "active-backup");
    machine.ip("addr add 10.77.0.1/24 dev bond0");
    let server = Server::on(&machine, "xdp");
    assert_eq!(server.mode("bond0").0, lab::xdp_mode());
    let mut call = by_xdp(&server, &client, &peer);

    let lost = stream(&mut call, || drop(machine.ip("link set eth0 down")));
    assert!(lost.lost_to_peer < RATE && lost.lost_to_client < RATE, "{lost:?}");
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}

#[test]
fn a_vlan_on_a_bond() {
    if lab::skipped() || lab::kernel_lacks("bond") || lab::kernel_lacks("vlan") {
        return;
    }
    let net = OneNic::new();
    let machine = bonded(&net.net, 9, "active-backup");
    vlan(&machine, "bond0", "bond0.7", 7, Some(at(INSIDE, 1)));
    vlan(&net.client, "eth0", "eth0.7", 7, Some(at(INSIDE, 2)));
    vlan(&net.peer, "eth0", "eth0.7", 7, Some(at(INSIDE, 3)));
    let tagged = machine.at_address(at(INSIDE, 1));
    let server = start(&tagged, "bond0", at(INSIDE, 1));
    by_xdp(&server, &net.client.at_address(at(INSIDE, 2)), &net.peer.at_address(at(INSIDE, 3)));
}

/// An address on the VLAN itself and no word of the card: XDP runs on the VLAN, in generic mode.
#[test]
fn a_vlan_whose_card_is_not_named() {
    if lab::skipped() || lab::kernel_lacks("vlan") {
        return;
    }
    let net = OneNic::new();
    for (machine, last) in [(&net.server, 1), (&net.client, 2), (&net.peer, 3)] {
        vlan(machine, "eth0", "eth0.7", 7, Some(at(INSIDE, last)));
    }
    let tagged = net.server.at_address(at(INSIDE, 1));
    let server = Server::on(&tagged, "auto");
    assert_eq!(server.mode("eth0.7").0, "xdp-generic");
    let mut client = TurnClient::new(&net.client.at_address(at(INSIDE, 2)), server.address());
    let relayed = client.allocate();
    let mut call = Call::with(client, relayed, &net.peer.at_address(at(INSIDE, 3)));
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}
