//! Properties over random messages.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Numbers that the codec has an opinion on, and any other.
fn kind() -> impl Strategy<Value = AttributeType> {
    let known: Vec<u16> = (0..=u16::MAX).filter(|&n| AttributeType(n).name().is_some()).collect();
    prop_oneof![proptest::sample::select(known), any::<u16>()].prop_map(AttributeType)
}

fn attributes() -> impl Strategy<Value = Vec<(AttributeType, Vec<u8>)>> {
    vec((kind(), vec(any::<u8>(), 0..40)), 0..12)
}

fn built(attributes: &[(AttributeType, Vec<u8>)]) -> Vec<u8> {
    request(|b| attributes.iter().for_each(|(kind, value)| _ = b.bytes(*kind, value)))
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::parse(&bytes) {
            read_everything(&message);
        }
    }

    #[test]
    fn no_change_to_a_message_makes_the_parser_panic(
        attributes in attributes(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end: prop::sample::Index,
    ) {
        let mut bytes = built(&attributes);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate((end.index(bytes.len() + 1) & !3).max(HEADER_LEN));
        let length = (bytes.len() - HEADER_LEN) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&MAGIC_COOKIE);
        if let Ok(message) = Message::parse(&bytes) {
            read_everything(&message);
        }
    }

    #[test]
    fn what_is_built_is_what_is_parsed(mut attributes in attributes()) {
        // These end what counts, and have tests of their own.
        attributes.retain(|(kind, _)| {
            !matches!(*kind, AttributeType::MESSAGE_INTEGRITY | AttributeType::MESSAGE_INTEGRITY_SHA256 | AttributeType::FINGERPRINT)
        });
        let key = Key::short_term("key");
        let bytes = request(|b| {
            attributes.iter().for_each(|(kind, value)| _ = b.bytes(*kind, value));
            b.integrity(&key).fingerprint();
        });
        let message = Message::parse(&bytes).unwrap();
        prop_assert!(message.is_authentic(&key));
        prop_assert!(!message.is_authentic(&Key::short_term("other")));
        let parsed: Vec<_> = message.attributes().map(|a| (a.kind, a.value.to_vec())).collect();
        prop_assert_eq!(&parsed[..attributes.len()], &attributes[..]);
        prop_assert_eq!(parsed.len(), attributes.len() + 2);
    }

    #[test]
    fn padding_is_zero_and_never_what_the_buffer_held_before(attributes in attributes()) {
        let mut out = vec![0xff; 4096];
        out.clear();
        let mut builder = Builder::new(&mut out, MessageType::new(Method::DATA, Class::Indication), ID);
        let mut expected_end = HEADER_LEN;
        let mut padding = Vec::new();
        for (kind, value) in &attributes {
            builder.bytes(*kind, value);
            let value_end = expected_end + 4 + value.len();
            expected_end = value_end.next_multiple_of(4);
            padding.extend(value_end..expected_end);
        }
        prop_assert_eq!(builder.finish(), 0..expected_end);
        prop_assert!(padding.iter().all(|&at| out[at] == 0));
    }

    #[test]
    fn messages_share_a_buffer_without_touching_each_other(first in attributes(), second in attributes()) {
        let alone = built(&second);
        let mut out = built(&first);
        let before = out.clone();
        let kind = MessageType::new(Method::ALLOCATE, Class::Request);
        let mut builder = Builder::new(&mut out, kind, ID);
        second.iter().for_each(|(kind, value)| _ = builder.bytes(*kind, value));
        let range = builder.finish();
        prop_assert_eq!(&out[range.clone()], &alone[..]);
        prop_assert_eq!(&out[..range.start], &before[..]);
    }

    #[test]
    fn every_address_survives_the_wire(ip: std::net::IpAddr, port: u16, id: [u8; 12]) {
        let address = std::net::SocketAddr::new(ip, port);
        let mut out = Vec::new();
        Builder::new(&mut out, MessageType::new(Method::SEND, Class::Indication), TransactionId(id))
            .xor_peer_address(address);
        prop_assert_eq!(Message::parse(&out).unwrap().xor_peer_address(), Ok(Some(address)));
    }
}
