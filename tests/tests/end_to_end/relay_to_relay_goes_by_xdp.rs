//! What one client sends to another of the same server goes there in one run of XDP, whatever each of them uses, and
//! while the process is stopped. A client without a channel is told the relayed address that it knows the other by.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use relay_common::reason::Reason;
use turnpike::stun::AddressFamily;
use turnpike_tests::lab::{
    self, Host, OneNic, PATIENCE, Path, Received, Server, ServerOptions, TurnClient, TwoNic, wait_for,
};

use crate::common::{CHANNEL, PUBLIC, moved, start_in_both_families};

/// A client and how it talks to the other one.
pub(crate) struct End {
    client: TurnClient,
    relayed: SocketAddr,
    /// Its channel; without one, indications.
    channel: Option<u16>,
}

impl End {
    fn new(mut client: TurnClient, family: AddressFamily, channel: Option<u16>) -> Self {
        let relayed = client.allocate_of(family);
        Self { client, relayed, channel }
    }

    /// Lets in what the other sends.
    fn accept(&mut self, other: SocketAddr) {
        match self.channel {
            Some(channel) => self.client.bind(channel, other),
            None => self.client.permit(&[other]),
        }
    }

    fn send(&mut self, other: SocketAddr, data: &[u8]) {
        match self.channel {
            Some(channel) => self.client.send(channel, data),
            None => self.client.send_indication(other, data),
        }
    }

    fn receives(&mut self, other: SocketAddr, data: &[u8]) {
        let expected = match self.channel {
            Some(channel) => Received::Channel(channel, data.to_vec()),
            None => Received::Data(other, data.to_vec()),
        };
        assert_eq!(self.client.receive(PATIENCE), Some(expected));
    }
}

/// Two clients with these habits and a relayed address of this family each.
pub(crate) fn ends(clients: [TurnClient; 2], family: AddressFamily, habits: [Option<u16>; 2]) -> [End; 2] {
    let [alice, bob] = clients;
    [End::new(alice, family, habits[0]), End::new(bob, family, habits[1])]
}

/// Both ways once. The lengths need padding of their own (RFC 8489 section 14) in one direction.
fn both_ways(ends: &mut [End; 2], salt: u32) {
    let [alice, bob] = ends;
    let data = format!("to bob, {salt}").into_bytes();
    alice.send(bob.relayed, &data);
    bob.receives(alice.relayed, &data);
    let data = format!("to alice, {salt:05}").into_bytes();
    bob.send(alice.relayed, &data);
    alice.receives(bob.relayed, &data);
}

/// They talk until both ways go by XDP, and then while the process is stopped.
pub(crate) fn talk_by_xdp(server: &mut Server, mut ends: [End; 2]) {
    let relayed = [ends[0].relayed, ends[1].relayed];
    ends[0].accept(relayed[1]);
    ends[1].accept(relayed[0]);
    // XDP learns of a neighbour a little after the kernel; and one packet in 65,536 looks unfinished.
    let mut salt = 0;
    wait_for("forwarding by XDP", || {
        salt += 1;
        let moved = moved(server, || both_ways(&mut ends, salt));
        (moved.of(Path::Xdp, Reason::RelayToRelay) == 2).then_some(())
    });
    let before = server.counters();
    server.process().signal(Signal::SIGSTOP);
    both_ways(&mut ends, salt);
    server.process().signal(Signal::SIGCONT);
    let moved = &server.counters() - &before;
    assert_eq!(moved.of(Path::Xdp, Reason::RelayToRelay), 2, "{moved:?}");
    // One packet is one packet: it is not counted as one to a peer and one to a client as well.
    for path in [Path::Xdp, Path::Userspace] {
        assert_eq!(moved.relayed(path), (0, 0), "{moved:?}");
    }
    ends.iter_mut().for_each(|end| end.client.end());
}

/// Each pair of habits: channel to channel, Send to Send, and one of each.
pub(crate) fn habits() -> [[Option<u16>; 2]; 4] {
    let channels = [CHANNEL, CHANNEL + 1].map(Some);
    [channels, [None, None], [channels[0], None], [None, channels[1]]]
}

/// Every pair of the clients' families, with relayed addresses of either.
fn in_both_families(mode: &'static str, public: Option<[&str; 2]>) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    let (mut server, told) =
        start_in_both_families(&net, ServerOptions::new(mode).flag("--shards", 2), public);
    let families = [AddressFamily::V4, AddressFamily::V6];
    let by = |host: &Host, family| if family == AddressFamily::V6 { host.over_ipv6() } else { host.clone() };
    for of_alice in families {
        for of_bob in families {
            for (relayed, told) in families.into_iter().zip(told) {
                for habits in habits() {
                    let clients = [(&net.client, of_alice), (&net.peer, of_bob)].map(|(host, family)| {
                        TurnClient::new(&by(host, family), by(&net.server, family).at(3478))
                    });
                    let ends = self::ends(clients, relayed, habits);
                    assert_eq!(ends.each_ref().map(|end| end.relayed.ip()), [told; 2]);
                    talk_by_xdp(&mut server, ends);
                }
            }
        }
    }
}

#[test]
fn whatever_the_families_and_habits() {
    in_both_families("xdp", None);
}

#[test]
fn by_public_addresses_that_a_nat_maps() {
    in_both_families("xdp", Some(PUBLIC));
}

#[test]
fn from_one_network_card_to_the_other() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    let outside = net.server.at_address(net.relay_address());
    let options = ServerOptions::new("xdp").listen_on(&outside).relay_from(outside.address());
    let mut server = Server::start(&net.server, &options);
    // The other is on the far Ethernet, or on the same one: then the relayed addresses are of a card that no packet passes.
    for (host, listener) in [(&net.peer, outside.at(3478)), (&net.client, server.address())] {
        for habits in habits() {
            let alice = TurnClient::new(&net.client, server.address());
            let clients = [alice, TurnClient::new(host, listener)];
            talk_by_xdp(&mut server, ends(clients, AddressFamily::V4, habits));
        }
    }
}
