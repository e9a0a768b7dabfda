//! Binding requests (RFC 8489 section 3) and everything that is not to be answered.

mod common;

use common::{Client, Seen, addr, config, dropped, sim, to_client};
use relay_common::reason::Reason;
use turnpike::stun::{AttributeType, Class, Message, Method};
use turnpike::turn::{ClientAddr, CoreConfig};

#[test]
fn an_ipv4_client_gets_32_bytes_and_an_ipv6_client_44() {
    let mut sim = common::Sim::new(CoreConfig { software: Some("Turnpike".into()), ..config() }, [1; 32]);
    let mut client = Client::new(4000);
    let request = client.plain(Method::BINDING, Class::Request, |_| ());
    let reply = client.exchange(&mut sim, &request);
    assert_eq!(reply.0.len(), 32);
    assert_eq!(reply.message().xor_mapped_address(), Ok(Some(addr("192.0.2.9:4000"))));

    client.five_tuple.client = ClientAddr(addr("[2001:db8::9]:4000"));
    let reply = client.exchange(&mut sim, &request);
    assert_eq!(reply.0.len(), 44);
    assert_eq!(reply.message().xor_mapped_address(), Ok(Some(addr("[2001:db8::9]:4000"))));
}

#[test]
fn an_answer_has_a_fingerprint_when_the_request_had_one() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let request = client.plain(Method::BINDING, Class::Request, |b| {
        b.fingerprint();
    });
    let reply = client.exchange(&mut sim, &request);
    assert!(reply.message().has(AttributeType::FINGERPRINT));
    assert_eq!(reply.0.len(), 40);

    let mut wrong = request;
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(dropped(&sim.client_sends(client.five_tuple, &wrong)), Some(Reason::Malformed));
}

#[test]
fn unknown_attributes_that_must_be_understood_are_listed() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let request = client.plain(Method::BINDING, Class::Request, |b| {
        b.bytes(AttributeType(0x0002), &[0; 4])
            .bytes(AttributeType(0x7abc), b"x")
            .bytes(AttributeType(0xfffe), b"x");
    });
    let reply = client.exchange(&mut sim, &request);
    assert_eq!(reply.code(), 420);
    let unknown: Vec<_> = reply.message().unknown_attributes().collect();
    assert_eq!(unknown, [AttributeType(0x0002), AttributeType(0x7abc)]);
}

#[test]
fn indications_and_responses_are_never_answered() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let keepalive = client.plain(Method::BINDING, Class::Indication, |_| ());
    assert_eq!(sim.client_sends(client.five_tuple, &keepalive), []);
    for (method, class) in [
        (Method::BINDING, Class::Success),
        (Method::ALLOCATE, Class::Error),
        (Method::ALLOCATE, Class::Indication),
        (Method::DATA, Class::Indication),
        (Method::SEND, Class::Request),
        (Method::DATA, Class::Request),
    ] {
        let message = client.plain(method, class, |_| ());
        let seen = sim.client_sends(client.five_tuple, &message);
        assert_eq!(dropped(&seen), Some(Reason::Unexpected), "{method} {class:?}");
    }
}

#[test]
fn what_is_no_message_is_dropped_with_its_reason() {
    let mut sim = sim();
    let five_tuple = Client::new(4000).five_tuple;
    for (datagram, reason) in [
        (&[][..], Reason::Malformed),
        (&[0x00], Reason::Malformed),
        (&[0x00, 0x01, 0x00, 0x00], Reason::Malformed),
        (&[0x80; 30], Reason::Malformed),
        (&[0x16; 30], Reason::Malformed),
        (&[0x40, 0x00, 0x00], Reason::ChannelDataLength),
        (&[0x40, 0x00, 0x00, 0x00], Reason::NoAllocation),
    ] {
        assert_eq!(dropped(&sim.client_sends(five_tuple, datagram)), Some(reason), "{datagram:x?}");
    }
}

/// Lesson 29: whatever strangers send, nothing is kept.
#[test]
fn nothing_is_remembered_of_a_client_that_did_not_authenticate() {
    // All at one instant, from one network: without a limit, so that each is answered.
    let mut sim = common::Sim::new(CoreConfig { strangers: None, ..config() }, [1; 32]);
    for port in 1..2_000 {
        let mut client = Client::new(port);
        for method in [Method::BINDING, Method::ALLOCATE, Method::REFRESH, Method::CHANNEL_BIND] {
            let request = client.plain(method, Class::Request, |b| {
                b.requested_transport(17);
            });
            client.exchange(&mut sim, &request);
            client.nonce = b"forged".into();
            let request = client.signed(method, |_| ());
            client.exchange(&mut sim, &request);
        }
    }
    sim.assert_empty();
}

/// Lesson 37: the server's buffers are reused, and their old content must not show in the padding.
#[test]
fn padding_is_zero_whatever_the_buffer_held_before() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let relayed = client.allocated(&mut sim);
    client.permit(&mut sim, &[addr("203.0.113.1:1")]);
    let peer = common::peer("203.0.113.1:1");
    sim.peer_sends(relayed, peer, &[0xff; 1200]);
    for length in 1..8 {
        let seen = sim.peer_sends(relayed, peer, &vec![0xee; length]);
        let bytes = to_client(&seen).unwrap();
        let padding = &bytes[bytes.len() - (length.next_multiple_of(4) - length)..];
        assert!(padding.iter().all(|&b| b == 0), "{bytes:x?}");
        assert_eq!(Message::parse(bytes).unwrap().data(), Some(&vec![0xee; length][..]));
    }
    // REALM of the 401 has eleven bytes.
    let request = client.plain(Method::ALLOCATE, Class::Request, |_| ());
    let reply = client.exchange(&mut sim, &request);
    let realm = reply.0.windows(11).position(|w| w == common::REALM.as_bytes()).unwrap();
    assert_eq!(reply.0[realm + 11], 0);
    assert!(sim.client_sends(client.five_tuple, &request).iter().any(|s| matches!(s, Seen::ToClient(..))));
}
