//! DONT-FRAGMENT (RFC 8656 sections 7.2 and 14): served in Allocate, sets DF in a Send indication from IPv4 to IPv4, and
//! MUST be ignored where either side is IPv6 (section 13).

mod common;

use std::net::SocketAddr;

use common::{Client, Sim, addr, config, ip, peer, to_peer};
use turnpike::stun::{AddressFamily, Class, Method};
use turnpike::turn::{ClientAddr, RelayAddress};

const V4_PEER: &str = "203.0.113.1:1000";
const V6_PEER: &str = "[2a00::1]:1000";

/// Whether a Send indication with DONT-FRAGMENT goes out with DF.
fn sent_whole(sim: &mut Sim, client: &str, to: &str) -> bool {
    let mut client = {
        let mut one = Client::new(1);
        one.five_tuple.client = ClientAddr(addr(client));
        one
    };
    let to: SocketAddr = addr(to);
    let family = if to.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 };
    let granted = client.request(sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).requested_address_family(family).dont_fragment();
    });
    assert_eq!(granted.code(), 0);
    client.bind(sim, 0x4000, to);
    client.channel_data(sim, 0x4000, b"x");
    assert!(!sim.dont_fragment, "ChannelData");
    client.send(sim, to, b"x");
    assert!(!sim.dont_fragment, "a Send indication without the attribute");
    let indication = client.plain(Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(to).dont_fragment().data(b"whole").unwrap();
    });
    let seen = sim.client_sends(client.five_tuple, &indication);
    assert_eq!(to_peer(&seen), Some((peer(&to.to_string()), &b"whole"[..])));
    sim.dont_fragment
}

#[test]
fn whatever_the_families_the_data_is_sent() {
    let mut config = config();
    let v6 = ip("2001:db8::7");
    config.relay_addresses.push(RelayAddress { public: v6, local: v6 });
    let mut sim = Sim::new(config, [1; 32]);
    assert!(sent_whole(&mut sim, "192.0.2.9:1", V4_PEER));
    assert!(!sent_whole(&mut sim, "192.0.2.9:2", V6_PEER));
    assert!(!sent_whole(&mut sim, "[2a00::2]:1", V4_PEER));
    assert!(!sent_whole(&mut sim, "[2a00::2]:2", V6_PEER));
}
