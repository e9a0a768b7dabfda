//! Clients over IPv4 and IPv6 reach peers of both families, with the same program and the same process.

use std::net::SocketAddr;

use turnpike::stun::AddressFamily;
use turnpike_tests::lab::{
    self, Host, OneNic, PATIENCE, Path, Received, Server, ServerOptions, TurnClient, receive, wait_for,
};

use crate::common::{CHANNEL, Call, moved, path};

/// Serves on and relays from both addresses of the lab's server.
fn server(net: &OneNic, mode: &'static str) -> Server {
    let v6 = net.server.over_ipv6();
    let options = ServerOptions::new(mode).listen_on(&v6);
    Server::start(&net.server, &options.relay_from(net.server.address()).relay_from(v6.address()))
}

/// A machine by its address of a family.
fn of(host: &Host, family: AddressFamily) -> Host {
    if family == AddressFamily::V6 { host.over_ipv6() } else { host.clone() }
}

fn client(net: &OneNic, family: AddressFamily) -> TurnClient {
    let server = of(&net.server, family).at(3478);
    TurnClient::new(&of(&net.client, family), server)
}

/// The four pairs of the client's family and the peer's.
fn mixtures() -> [(AddressFamily, AddressFamily); 4] {
    use AddressFamily::{V4, V6};
    [(V6, V6), (V4, V6), (V6, V4), (V4, V4)]
}

fn channels(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    let server = server(&net, mode);
    assert_eq!(server.mode("eth0").0, mode);
    for (clients, peers) in mixtures() {
        let mut client = client(&net, clients);
        let relayed = client.allocate_of(peers);
        let mut call = Call::with(client, relayed, &of(&net.peer, peers));
        if mode == "userspace" {
            let before = server.counters();
            call.both_ways();
            // The process counts a packet a moment after it has sent it.
            wait_for(&format!("both packets counted, {clients:?} to {peers:?}"), || {
                ((&server.counters() - &before).relayed(Path::Userspace) == (1, 1)).then_some(())
            });
        } else {
            call.settle(&server);
            call.both_ways_by_xdp(&server);
        }
    }
}

#[test]
fn by_channel_in_driver_mode() {
    channels("xdp");
}

#[test]
fn by_channel_in_generic_mode() {
    channels("xdp-generic");
}

#[test]
fn by_channel_in_userspace() {
    channels("userspace");
}

fn indications(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    let server = server(&net, mode);
    for (clients, peers) in mixtures() {
        let mut client = client(&net, clients);
        let relayed = client.allocate_of(peers);
        let peer = of(&net.peer, peers).udp(0);
        let at = peer.local_addr().expect("bound");
        client.permit(&[at]);
        let mut round = |salt: u8| {
            client.send_indication(at, &[salt; 100]);
            assert_eq!(receive(&peer, PATIENCE), Some((vec![salt; 100], relayed)));
            peer.send_to(&[salt; 99], relayed).expect("the server is reachable");
            assert_eq!(client.receive(PATIENCE), Some(Received::Data(at, vec![salt; 99])));
        };
        // XDP learns of a neighbour a little after the kernel.
        let mut salt = 0_u8;
        wait_for(&format!("{clients:?} to {peers:?} on the path expected"), || {
            salt = salt.wrapping_add(1);
            let before = server.counters();
            (0..5).for_each(|n| round(salt.wrapping_add(n)));
            ((&server.counters() - &before).relayed(path(mode)) == (5, 5)).then_some(())
        });
    }
}

#[test]
fn by_indication_in_driver_mode() {
    indications("xdp");
}

#[test]
fn by_indication_in_userspace() {
    indications("userspace");
}

/// One allocation, a peer of each family, over a listener of each.
fn both_at_once(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    let server = server(&net, mode);
    for family in [AddressFamily::V4, AddressFamily::V6] {
        let mut client = client(&net, family);
        let relayed = client.allocate_both();
        let peers = [net.peer.udp(0), net.peer.over_ipv6().udp(0)];
        let addresses: [SocketAddr; 2] = std::array::from_fn(|n| peers[n].local_addr().expect("bound"));
        client.bind(CHANNEL, addresses[0]);
        client.bind(CHANNEL + 1, addresses[1]);
        let mut salt = 0_u32;
        let mut round = |client: &mut TurnClient| {
            salt += 1;
            for (n, peer) in peers.iter().enumerate() {
                let (channel, data) = (CHANNEL + n as u16, salt.to_be_bytes().repeat(20));
                client.send(channel, &data);
                assert_eq!(receive(peer, PATIENCE), Some((data.clone(), relayed[n])));
                peer.send_to(&data, relayed[n]).expect("the server is reachable");
                assert_eq!(client.receive(PATIENCE), Some(Received::Channel(channel, data)));
            }
        };
        let expected = if mode == "userspace" { Path::Userspace } else { Path::Xdp };
        wait_for("both peers on the path expected", || {
            let moved = moved(&server, || round(&mut client));
            (moved.relayed(expected) == (2, 2)).then_some(())
        });
        let before = server.status()["allocations"].clone();
        client.end();
        assert_ne!(server.status()["allocations"], before);
    }
}

#[test]
fn both_at_once_in_driver_mode() {
    both_at_once("xdp");
}

#[test]
fn both_at_once_in_userspace() {
    both_at_once("userspace");
}
