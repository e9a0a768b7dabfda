//! What of a request counts and what does not, and what a refusal may say (RFC 8489 sections 6.3, 9.2.4 and 14).

mod common;

use std::time::Duration;

use common::{Client, REALM, addr, sim};
use turnpike::stun::{AttributeType, Builder, Class, Method};

const PEER: &str = "203.0.113.1:1000";

/// Attributes of other requests and of responses, and two that nobody knows and nobody has to.
fn beside_the_point(b: &mut Builder<'_>) {
    b.bytes(AttributeType::DATA, b"data").bytes(AttributeType::ERROR_CODE, &[0, 0, 4, 0]);
    b.bytes(AttributeType::XOR_MAPPED_ADDRESS, &[1]).bytes(AttributeType::MAPPED_ADDRESS, &[]);
    b.bytes(AttributeType(0x8fff), b"optional").bytes(AttributeType(0xffff), &[]);
}

/// Section 6.3: what is known but unexpected SHOULD be ignored, what is unknown and optional MUST be.
#[test]
fn attributes_that_a_request_has_no_use_for_are_ignored() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let request = client.plain(Method::BINDING, Class::Request, |b| {
        beside_the_point(b);
        b.lifetime(Duration::ZERO).requested_transport(17).username("alice");
    });
    assert_eq!(client.exchange(&mut sim, &request).0.len(), 32);

    type Fill = fn(&mut Builder<'_>);
    let requests: [(Method, Fill); 4] = [
        (Method::ALLOCATE, |b| {
            b.requested_transport(17).channel_number(1).bytes(AttributeType::XOR_PEER_ADDRESS, &[7]);
        }),
        (Method::CREATE_PERMISSION, |b| {
            b.xor_peer_address(addr(PEER)).lifetime(Duration::ZERO).channel_number(1);
        }),
        (Method::CHANNEL_BIND, |b| {
            b.xor_peer_address(addr(PEER)).channel_number(0x4000).lifetime(Duration::ZERO).even_port(true);
        }),
        (Method::REFRESH, |b| {
            b.requested_transport(6).channel_number(1).bytes(AttributeType::XOR_PEER_ADDRESS, &[7]);
        }),
    ];
    for (method, fill) in requests {
        let reply = client.request(&mut sim, method, |b| {
            beside_the_point(b);
            fill(b);
        });
        assert_eq!(reply.code(), 0, "{method}");
    }
    assert_eq!(sim.core.allocation_count(), 1);
}

/// Sections 14.1 and 14.2, RFC 8656 sections 18.1, 18.6, 18.7 and 18.8.
#[test]
fn reserved_bits_are_ignored() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let reply = client.request(&mut sim, Method::ALLOCATE, |b| {
        b.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0xff, 0xff, 0xff]);
        b.bytes(AttributeType::EVEN_PORT, &[0x7f]);
        b.bytes(AttributeType::REQUESTED_ADDRESS_FAMILY, &[1, 0xff, 0xff, 0xff]);
    });
    assert_eq!(reply.code(), 0);
    assert!(!reply.message().has(AttributeType::RESERVATION_TOKEN), "R is not set");
    let both = Client::new(2).request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).bytes(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0xff, 0xff, 0xff]);
    });
    assert_eq!(both.code(), 0);
    // 203.0.113.1:1000 under the magic cookie, and a first byte that says nothing.
    let peer = [0xff, 1, 0x03 ^ 0x21, 0xe8 ^ 0x12, 203 ^ 0x21, 0x12, 113 ^ 0xa4, 1 ^ 0x42];
    let bound = client.request(&mut sim, Method::CHANNEL_BIND, |b| {
        b.bytes(AttributeType::CHANNEL_NUMBER, &[0x40, 1, 0xff, 0xff]);
        b.bytes(AttributeType::XOR_PEER_ADDRESS, &peer);
    });
    assert_eq!(bound.code(), 0);
    assert_eq!(sim.datapath.binding(client.five_tuple, 0x4001).expect("a binding").peer, common::peer(PEER));
}

/// Section 6.3.1: after authentication, in all methods; RFC 8489 section 14.13 for the list.
#[test]
fn every_method_lists_what_it_must_understand_and_does_not() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    let unknown = |b: &mut Builder<'_>| {
        b.requested_transport(17).xor_peer_address(addr(PEER)).channel_number(0x4000);
        b.bytes(AttributeType(0x7123), &[])
            .bytes(AttributeType(0x8123), &[])
            .bytes(AttributeType(0x0002), &[]);
    };
    for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let stranger = client.plain(method, Class::Request, unknown);
        assert_eq!(client.exchange(&mut sim, &stranger).code(), 401, "{method}");
        let reply = client.request(&mut sim, method, unknown);
        assert_eq!(reply.code(), 420, "{method}");
        let listed: Vec<_> = reply.message().unknown_attributes().collect();
        assert_eq!(listed, [AttributeType(0x7123), AttributeType(0x0002)], "{method}");
    }
    assert_eq!(sim.core.occupancy().permissions, 0);
}

/// Section 14.3: a receiver must be able to read 763 bytes, though nobody may send more than 508.
#[test]
fn a_long_user_name_is_an_unknown_user_and_not_a_malformed_request() {
    let mut sim = sim();
    for (length, code) in [(508, 401), (509, 401), (763, 401), (764, 400)] {
        let mut client = Client::with(1, &"u".repeat(length), "guess");
        client.learn_nonce(&mut sim);
        let request = client.signed(Method::ALLOCATE, |b| {
            b.requested_transport(17);
        });
        assert_eq!(client.exchange(&mut sim, &request).code(), code, "{length} bytes");
    }
}

/// Section 9.2.4: neither name nor integrity, and REALM and NONCE only where they tell how to go on.
#[test]
fn a_refusal_to_a_stranger_says_no_more_than_its_code_needs() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let (key, nonce) = (client.key(), client.nonce.clone());
    let wrong = Client::with(1, "alice", "guess").key();
    type Fill<'a> = &'a dyn Fn(&mut Builder<'_>);
    let requests: [(u16, Fill<'_>); 4] = [
        (400, &|b| {
            b.username("alice").realm(REALM).integrity(&key);
        }),
        (401, &|b| {
            b.requested_transport(17);
        }),
        (401, &|b| {
            b.username("alice").realm(REALM).nonce(&nonce).integrity(&wrong);
        }),
        (438, &|b| {
            b.username("alice").realm(REALM).nonce(b"old").integrity(&key);
        }),
    ];
    for (code, fill) in requests {
        let request = client.plain(Method::ALLOCATE, Class::Request, fill);
        let reply = client.exchange(&mut sim, &request);
        assert_eq!(reply.code(), code);
        let message = reply.message();
        for kind in [
            AttributeType::USERNAME,
            AttributeType::USERHASH,
            AttributeType::MESSAGE_INTEGRITY,
            AttributeType::MESSAGE_INTEGRITY_SHA256,
        ] {
            assert!(!message.has(kind), "{code} has {kind}");
        }
        for kind in [AttributeType::REALM, AttributeType::NONCE] {
            assert_eq!(message.has(kind), code != 400, "{kind} in a {code}");
        }
    }
}
