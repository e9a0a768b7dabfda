//! Values of attributes: what is written is read, what is malformed is called so.

use std::time::Duration;

use super::*;

#[test]
fn every_attribute_is_read_as_it_was_written() {
    let (v4, v6) = ("192.0.2.7:4321".parse().unwrap(), "[2001:db8::7]:65535".parse().unwrap());
    let bytes = request(|b| {
        b.username("1700000000:bob").realm("example.org").nonce(b"n").software("turnpike 1");
        b.xor_mapped_address(v4).xor_relayed_address(v6).xor_peer_address(v4);
        b.lifetime(Duration::from_millis(600_999)).channel_number(0x4001).requested_transport(17);
        b.even_port(true).reservation_token(*b"8 bytes.").dont_fragment();
        b.mobility_ticket(b"ticket");
        b.icmp(Icmp { kind: 11, code: 255, data: 0x0102_0304 });
        b.requested_address_family(AddressFamily::V6).data(b"payload").unwrap();
    });
    let m = Message::parse(&bytes).unwrap();
    assert_eq!(m.username(), Ok(Some("1700000000:bob")));
    assert_eq!(m.realm(), Ok(Some("example.org")));
    assert_eq!(m.nonce(), Ok(Some(&b"n"[..])));
    assert_eq!(m.software(), Ok(Some("turnpike 1")));
    assert_eq!(m.xor_mapped_address(), Ok(Some(v4)));
    assert_eq!(m.xor_relayed_address(), Ok(Some(v6)));
    assert_eq!(m.xor_peer_address(), Ok(Some(v4)));
    assert_eq!(m.lifetime(), Ok(Some(Duration::from_secs(600))));
    assert_eq!(m.channel_number(), Ok(Some(0x4001)));
    assert_eq!(m.requested_transport(), Ok(Some(17)));
    assert_eq!(m.even_port(), Ok(Some(true)));
    assert_eq!(m.reservation_token(), Ok(Some(*b"8 bytes.")));
    assert_eq!(m.requested_address_family(), Ok(Some(AddressFamily::V6)));
    assert_eq!(m.additional_address_family(), Ok(None));
    assert!(m.dont_fragment());
    assert_eq!(m.mobility_ticket(), Some(&b"ticket"[..]));
    assert_eq!(m.icmp(), Ok(Some(Icmp { kind: 11, code: 255, data: 0x0102_0304 })));
    assert_eq!(m.data(), Some(&b"payload"[..]));
    assert_eq!(m.unknown_required().count(), 0);
}

#[test]
fn a_value_of_the_wrong_length_is_called_malformed() {
    type Read = fn(&Message<'_>) -> Option<BadAttribute>;
    let cases: [(AttributeType, &[usize], Read); 13] = [
        (AttributeType::LIFETIME, &[0, 3, 5, 8], |m| m.lifetime().err()),
        (AttributeType::CHANNEL_NUMBER, &[0, 2, 5], |m| m.channel_number().err()),
        (AttributeType::REQUESTED_TRANSPORT, &[0, 1, 5], |m| m.requested_transport().err()),
        (AttributeType::EVEN_PORT, &[0, 2, 4], |m| m.even_port().err()),
        (AttributeType::RESERVATION_TOKEN, &[0, 7, 9], |m| m.reservation_token().err()),
        (AttributeType::REQUESTED_ADDRESS_FAMILY, &[0, 1, 8], |m| m.requested_address_family().err()),
        (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[0, 1, 8], |m| m.additional_address_family().err()),
        (AttributeType::ICMP, &[0, 4, 7, 9], |m| m.icmp().err()),
        (AttributeType::XOR_PEER_ADDRESS, &[0, 3, 4, 8, 20], |m| m.xor_peer_address().err()),
        (AttributeType::ERROR_CODE, &[0, 3, 4], |m| m.error_code().err()),
        (AttributeType::USERNAME, &[764], |m| m.username().err()),
        (AttributeType::REALM, &[764], |m| m.realm().err()),
        (AttributeType::NONCE, &[764], |m| m.nonce().err()),
    ];
    for (kind, lengths, read) in cases {
        for &len in lengths {
            let bytes = request(|b| _ = b.bytes(kind, &vec![0; len]));
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(read(&message), Some(BadAttribute(kind)), "{len} bytes");
        }
    }
    // RFC 8489 section 14.3: 508 may be sent, and 763 must be read.
    let longest = request(|b| _ = b.username(&"u".repeat(MAX_TEXT_LEN)));
    assert_eq!(Message::parse(&longest).unwrap().username().unwrap().unwrap().len(), 763);
}

#[test]
fn an_address_whose_length_is_not_its_familys_is_malformed() {
    for (family, len) in [(1, 16), (2, 4), (0, 4), (3, 16), (1, 3), (1, 5), (2, 15), (2, 17)] {
        let mut value = vec![0, family, 0, 0];
        value.resize(4 + len, 0);
        let bytes = request(|b| _ = b.bytes(AttributeType::XOR_PEER_ADDRESS, &value));
        let message = Message::parse(&bytes).unwrap();
        assert!(message.xor_peer_address().is_err(), "family {family}, {len} bytes");
        assert!(message.xor_peer_addresses().all(|peer| peer.is_err()));
    }
}

#[test]
fn hostile_user_names_are_refused_or_come_through_unharmed() {
    for name in ["%s%n", "a'; DROP TABLE users; --", "\"", "nul\0nul", "\r\n", "\u{202e}"] {
        let bytes = request(|b| _ = b.username(name));
        assert_eq!(Message::parse(&bytes).unwrap().username(), Ok(Some(name)));
    }
    for bad in [&b"\xff\xfe"[..], b"\xc3", b"\xed\xa0\x80", b"a\xc0\x80"] {
        let bytes = request(|b| _ = b.bytes(AttributeType::USERNAME, bad));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.username(), Err(BadAttribute(AttributeType::USERNAME)));
    }
}

#[test]
fn an_unknown_family_is_not_malformed_because_the_answer_is_another() {
    let bytes = request(|b| _ = b.bytes(AttributeType::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0]));
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.requested_address_family(), Ok(Some(AddressFamily::Unknown(9))));
}

#[test]
fn payloads_up_to_the_end_of_the_length_field_fit_and_longer_ones_are_refused() {
    let build = |len: usize| {
        let mut out = b"before".to_vec();
        let mut builder = Builder::new(&mut out, MessageType::new(Method::DATA, Class::Indication), ID);
        builder.xor_peer_address("[2001:db8::1]:1".parse().unwrap());
        builder.data(&vec![7; len]).map(|b| b.finish()).map(|range| out[range].to_vec())
    };
    // 65,532 is the largest multiple of four in 16 bits; 24 go to the address, 4 to the header of DATA.
    assert_eq!(Message::parse(&build(65_504).unwrap()).unwrap().data().unwrap().len(), 65_504);
    assert_eq!(build(65_505), Err(TooLong));
    assert_eq!(build(70_000), Err(TooLong));
}

#[test]
fn the_answers_to_strangers_are_as_short_as_they_can_be() {
    let bytes = request(|_| {});
    let request = Message::parse(&bytes).unwrap();
    let mut out = Vec::new();
    let binding = |mapped: &str, out: &mut Vec<u8>| {
        Builder::success(out, &request).xor_mapped_address(mapped.parse().unwrap()).finish().len()
    };
    assert_eq!(binding("192.0.2.1:1", &mut out), 32);
    assert_eq!(binding("[2001:db8::1]:1", &mut out), 44);
    let mut refusal = Builder::error(&mut out, &request, ErrorCode::UNAUTHENTICATED, "");
    assert_eq!(refusal.realm("example.org").nonce(&[b'n'; 12]).finish().len(), 20 + 8 + 16 + 16);
}

/// RFC 8656 section 18.13: 16 bits reserved, 7 of the type, 9 of the code, 32 of data.
#[test]
fn an_icmp_attribute_has_seven_bits_of_type_and_nine_of_code() {
    let bytes = request(|b| {
        b.icmp(Icmp { kind: 3, code: 4, data: 1400 });
    });
    let attribute = Message::parse(&bytes).unwrap().attributes().next().unwrap();
    assert_eq!((attribute.kind, attribute.value), (AttributeType(0x8004), &[0, 0, 6, 4, 0, 0, 5, 120][..]));
}

/// RFC 8656 section 18.12: 13 bits between family and code MUST be zero.
#[test]
fn an_address_error_code_has_zeros_between_family_and_code() {
    let bytes = request(|b| {
        b.address_error_code(AddressFamily::V6, ErrorCode::INSUFFICIENT_CAPACITY);
    });
    let attribute = Message::parse(&bytes).unwrap().attributes().next().unwrap();
    assert_eq!((attribute.kind, &attribute.value[..4]), (AttributeType(0x8001), &[2, 0, 5, 8][..]));
}
