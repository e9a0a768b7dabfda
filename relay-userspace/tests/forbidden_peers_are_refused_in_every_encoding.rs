//! Lesson 35: {CreatePermission, ChannelBind, Send} x every way to write an address that must not be reached.

mod common;

use std::net::SocketAddr;

use common::{Client, Sim, config, dropped, ip};
use turnpike::stun::{AddressFamily, Method};
use turnpike::turn::{Input, PeerAddr, RelayAddr, RelayAddress};

const V4: [&str; 12] = [
    "0.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.55",
];

/// An IPv4 address in the IPv6 forms that lead to it.
fn encodings(v4: &str) -> [String; 5] {
    let [a, b, c, d] = v4.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let hex = format!("{a:02x}{b:02x}:{c:02x}{d:02x}");
    [
        format!("::ffff:{v4}"),
        format!("::{v4}"),
        format!("64:ff9b::{hex}"),
        format!("2002:{hex}::1"),
        format!("2001:0:{hex}::1"),
    ]
}

const V6: [&str; 7] = ["::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::55"];

fn server() -> (Sim, Client, Client) {
    let mut config = config();
    let v6 = ip("2001:4860::7");
    config.relay_addresses.push(RelayAddress { public: v6, local: v6 });
    let mut sim = Sim::new(config, [1; 32]);
    let (mut over_v4, mut over_v6) = (Client::new(1), Client::new(2));
    over_v4.allocated(&mut sim);
    let reply = over_v6.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).requested_address_family(AddressFamily::V6);
    });
    assert_eq!(reply.code(), 0);
    (sim, over_v4, over_v6)
}

fn assert_out_of_reach(sim: &mut Sim, client: &mut Client, peer: SocketAddr) {
    assert_eq!(client.permit(sim, &[peer]).code(), 403, "CreatePermission {peer}");
    assert_eq!(client.bind(sim, 0x4000, peer).code(), 403, "ChannelBind {peer}");
    assert!(dropped(&client.send(sim, peer, b"x")).is_some(), "Send {peer}");
    let relays: Vec<_> = sim.datapath.open.iter().copied().collect();
    for RelayAddr(relayed) in relays {
        assert!(dropped(&sim.peer_sends(relayed, PeerAddr(peer), b"x")).is_some(), "data of {peer}");
    }
    let other_family = if peer.is_ipv4() { 2 } else { 1 };
    let mut other = Client::new(other_family);
    assert_eq!(other.permit(sim, &[peer]).code(), 443, "the other family {peer}");
    assert_eq!(other.bind(sim, 0x4000, peer).code(), 443, "the other family {peer}");
    assert!(dropped(&other.send(sim, peer, b"x")).is_some(), "the other family {peer}");
}

#[test]
fn by_create_permission_channel_bind_and_send() {
    let (mut sim, mut over_v4, mut over_v6) = server();
    for peer in V4 {
        assert_out_of_reach(&mut sim, &mut over_v4, SocketAddr::new(ip(peer), 53));
        for peer in encodings(peer) {
            assert_out_of_reach(&mut sim, &mut over_v6, SocketAddr::new(ip(&peer), 53));
        }
    }
    for peer in V6 {
        assert_out_of_reach(&mut sim, &mut over_v6, SocketAddr::new(ip(peer), 53));
    }
    assert!(sim.datapath.ids.is_empty(), "nothing of this reached the data path");
    assert_eq!(sim.core.occupancy().permissions, 0);
    sim.input(Input::Wakeup);
    assert_eq!(over_v6.permit(&mut sim, &[SocketAddr::new(ip("2001:4860::1"), 53)]).code(), 0);
    assert_eq!(over_v4.permit(&mut sim, &[SocketAddr::new(ip("8.8.8.8"), 53)]).code(), 0);
}
