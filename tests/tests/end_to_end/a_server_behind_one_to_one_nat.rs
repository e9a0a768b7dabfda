//! A server with a private address, to which a router maps a public one, as clouds do: clients are told the public one, and
//! XDP forwards between private ones. The NAT is the kernel's.

use relay_common::reason::Reason;
use turnpike::stun::AddressFamily;
use turnpike_tests::lab::{
    self, Host, Net, PATIENCE, Path, Received, Server, ServerOptions, TurnClient, receive,
};

use crate::common::{CHANNEL, Call, forwards};
use crate::relay_to_relay_goes_by_xdp::{ends, habits, talk_by_xdp};

/// A router with these rules of nftables.
fn nat(near: &Net, far: &Net, last_byte: u8, rules: &[&str]) -> Host {
    let router = near.host(last_byte);
    far.plug(&router, "eth1", last_byte);
    forwards(&router);
    router.run("nft", "add table ip nat");
    router.run("nft", "add chain ip nat before { type nat hook prerouting priority -100 ; }");
    router.run("nft", "add chain ip nat after { type nat hook postrouting priority 100 ; }");
    for rule in rules {
        router.run("nft", &format!("add rule ip nat {rule}"));
    }
    router
}

const PUBLIC: &str = "10.78.0.9";

/// The server at 10.77.0.1, behind a router that has its public address.
fn server(inside: &Net, outside: &Net) -> (Host, Host) {
    let host = inside.host(1);
    let rules = ["before ip daddr 10.78.0.9 dnat to 10.77.0.1", "after ip saddr 10.77.0.1 snat to 10.78.0.9"];
    let router = nat(inside, outside, 254, &rules);
    router.ip(&format!("addr add {PUBLIC}/24 dev eth1"));
    host.ip("route add default via 10.77.0.254");
    (host, router)
}

fn start(host: &Host) -> Server {
    Server::start(host, &ServerOptions::new("xdp").relay_from(format!("{PUBLIC}/{}", host.address())))
}

fn client_of(machine: &Host) -> TurnClient {
    TurnClient::new(machine, format!("{PUBLIC}:3478").parse().expect("an address"))
}

#[test]
fn is_reached_by_clients_and_peers_outside() {
    if lab::skipped() {
        return;
    }
    let (inside, outside) = (Net::new([10, 77, 0]), Net::new([10, 78, 0]));
    let (host, _router) = server(&inside, &outside);
    let server = start(&host);
    let mut client = client_of(&outside.host(2));
    let relayed = client.allocate();
    assert_eq!(relayed.ip().to_string(), PUBLIC);
    let mut call = Call::with(client, relayed, &outside.host(3));
    call.settle(&server);
    for _ in 0..5 {
        call.both_ways_by_xdp(&server);
    }
}

#[test]
fn is_reached_by_a_client_and_a_peer_each_behind_a_nat_of_its_own() {
    if lab::skipped() {
        return;
    }
    let (inside, outside) = (Net::new([10, 77, 0]), Net::new([10, 78, 0]));
    let (host, _router) = server(&inside, &outside);
    let server = start(&host);
    let homes = [79, 80].map(|second| Net::new([10, second, 0]));
    let masquerade = ["after oifname eth1 masquerade random"];
    let routers = [0, 1].map(|n: usize| nat(&homes[n], &outside, 251 + n as u8, &masquerade));
    let [at_home, away] = [0, 1].map(|n: usize| {
        let machine = homes[n].host(2);
        machine.ip(&format!("route add default via {}", routers[n].address()));
        machine
    });

    let mut client = client_of(&at_home);
    let relayed = client.allocate();
    // Where the peer's NAT will be seen, only its first packet tells.
    client.permit(&[(outside.address(252), 9).into()]);
    let peer = away.udp(0);
    peer.send_to(b"here I am", relayed).expect("reachable");
    let Some(Received::Data(mapped, _)) = client.receive(PATIENCE) else { panic!("the peer's first packet") };
    client.send_indication(mapped, b"and I am here");
    assert_eq!(receive(&peer, PATIENCE), Some((b"and I am here".to_vec(), relayed)));
    client.bind(CHANNEL, mapped);
    let mut call = Call::bound(client, relayed, peer);
    call.settle(&server);
    for _ in 0..5 {
        call.both_ways_by_xdp(&server);
    }
    assert_eq!(server.counters().of(Path::Xdp, Reason::NoDevice), 0);
}

#[test]
fn has_clients_outside_that_reach_each_other_by_xdp() {
    if lab::skipped() {
        return;
    }
    let (inside, outside) = (Net::new([10, 77, 0]), Net::new([10, 78, 0]));
    let (host, _router) = server(&inside, &outside);
    let mut server = start(&host);
    let machines = [2, 3].map(|last| outside.host(last));
    for habits in habits() {
        let clients = machines.each_ref().map(client_of);
        talk_by_xdp(&mut server, ends(clients, AddressFamily::V4, habits));
    }
}
