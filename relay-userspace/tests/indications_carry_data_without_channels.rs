//! Send and Data indications (RFC 8656 section 11).

mod common;

use common::{Client, Sim, addr, dropped, peer, sim, to_client, to_peer};
use relay_common::reason::Reason;
use turnpike::stun::{AttributeType, Builder, Class, Message, Method};

const PEER: &str = "203.0.113.1:1000";

fn permitted() -> (Sim, Client, std::net::SocketAddr) {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    client.permit(&mut sim, &[addr(PEER)]);
    (sim, client, relayed)
}

#[test]
fn data_of_every_size_arrives_whole() {
    let (mut sim, mut client, relayed) = permitted();
    for size in (0..20).chain([1199, 1472, 60_000]) {
        let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let seen = client.send(&mut sim, addr(PEER), &data);
        assert_eq!(to_peer(&seen), Some((peer(PEER), &data[..])));
        let seen = sim.peer_sends(relayed, peer(PEER), &data);
        let message = Message::parse(to_client(&seen).unwrap()).unwrap();
        assert_eq!((message.data(), message.xor_peer_address()), (Some(&data[..]), Ok(Some(addr(PEER)))));
    }
}

#[test]
fn an_indication_that_lacks_something_is_dropped() {
    let (mut sim, mut client, _) = permitted();
    let peer = addr(PEER);
    let mut send = |fill: &dyn Fn(&mut Builder<'_>)| {
        let indication = client.plain(Method::SEND, Class::Indication, fill);
        dropped(&sim.client_sends(client.five_tuple, &indication))
    };
    assert_eq!(
        send(&|b| {
            b.xor_peer_address(peer);
        }),
        Some(Reason::Malformed)
    );
    assert_eq!(
        send(&|b| {
            b.data(b"x").unwrap();
        }),
        Some(Reason::Malformed)
    );
    let short = |b: &mut Builder<'_>| {
        b.bytes(AttributeType::XOR_PEER_ADDRESS, &[0, 1]).data(b"x").unwrap();
    };
    assert_eq!(send(&short), Some(Reason::Malformed));
    let unknown = |b: &mut Builder<'_>| {
        b.xor_peer_address(peer).bytes(AttributeType(0x7000), b"x").data(b"x").unwrap();
    };
    assert_eq!(send(&unknown), Some(Reason::Unexpected));
    let optional = |b: &mut Builder<'_>| {
        b.xor_peer_address(peer).bytes(AttributeType(0xf000), b"x").data(b"x").unwrap();
    };
    assert_eq!(send(&optional), None);
}

#[test]
fn strangers_and_dead_allocations_relay_nothing() {
    let (mut sim, mut client, relayed) = permitted();
    assert_eq!(dropped(&Client::new(2).send(&mut sim, addr(PEER), b"x")), Some(Reason::NoAllocation));
    assert_eq!(
        dropped(&sim.peer_sends(addr("198.51.100.7:49999"), peer(PEER), b"x")),
        Some(Reason::NoAllocation)
    );
    client.refresh(&mut sim, 0);
    assert_eq!(dropped(&client.send(&mut sim, addr(PEER), b"x")), Some(Reason::NoAllocation));
    assert_eq!(dropped(&sim.peer_sends(relayed, peer(PEER), b"x")), Some(Reason::NoAllocation));
}

#[test]
fn each_data_indication_has_its_own_transaction_id() {
    let (mut sim, _, relayed) = permitted();
    let ids: std::collections::HashSet<_> = (0..100)
        .map(|_| {
            let seen = sim.peer_sends(relayed, peer(PEER), b"x");
            Message::parse(to_client(&seen).unwrap()).unwrap().transaction_id()
        })
        .collect();
    assert_eq!(ids.len(), 100);
}

/// XDP does not read the data, which it is over, and userspace takes what XDP takes.
#[test]
fn a_wrong_fingerprint_in_a_send_indication_is_not_looked_at() {
    let (mut sim, client, _) = permitted();
    let indication = client.clone().plain(Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(addr(PEER)).data(b"media").unwrap().bytes(AttributeType::FINGERPRINT, &[1; 4]);
    });
    let seen = sim.client_sends(client.five_tuple, &indication);
    assert_eq!(to_peer(&seen), Some((peer(PEER), &b"media"[..])));
}
