//! Which attributes count.

use super::*;

fn key() -> Key {
    Key::long_term("alice", "example.org", "secret")
}

#[test]
fn attributes_after_message_integrity_are_ignored() {
    let bytes = request(|b| {
        b.username("alice")
            .integrity(&key())
            .lifetime(std::time::Duration::from_secs(9))
            .bytes(AttributeType(0x7fff), &[]);
        b.xor_peer_address("192.0.2.1:1".parse().unwrap()).realm("evil").fingerprint();
    });
    let message = Message::parse(&bytes).unwrap();
    assert!(message.is_authentic(&key()));
    let kinds: Vec<_> = message.attributes().map(|a| a.kind).collect();
    let expected = [AttributeType::USERNAME, AttributeType::MESSAGE_INTEGRITY, AttributeType::FINGERPRINT];
    assert_eq!(kinds, expected);
    assert_eq!((message.lifetime(), message.realm()), (Ok(None), Ok(None)));
    assert_eq!(message.xor_peer_addresses().count(), 0);
    assert_eq!(message.unknown_required().count(), 0);
}

#[test]
fn after_message_integrity_only_the_sha256_one_and_fingerprint_count() {
    let bytes = request(|b| {
        b.integrity(&key()).bytes(AttributeType::MESSAGE_INTEGRITY_SHA256, &[0; 32]);
        b.bytes(AttributeType::MESSAGE_INTEGRITY_SHA256, &[1; 32])
            .integrity(&key())
            .realm("evil")
            .fingerprint();
    });
    let kinds: Vec<_> = Message::parse(&bytes).unwrap().attributes().map(|a| a.kind).collect();
    assert_eq!(
        kinds,
        [
            AttributeType::MESSAGE_INTEGRITY,
            AttributeType::MESSAGE_INTEGRITY_SHA256,
            AttributeType::FINGERPRINT
        ]
    );
}

#[test]
fn nothing_counts_after_fingerprint() {
    let bytes = request(|b| {
        b.username("alice").fingerprint().integrity(&key()).username("eve").realm("evil");
    });
    // Attributes after it do not make FINGERPRINT wrong, they are just not there.
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.attributes().count(), 2);
    assert!(message.integrity().is_none() && !message.is_authentic(&key()));
}

#[test]
fn of_repeated_attributes_the_first_counts() {
    let bytes = request(|b| {
        b.username("alice").username("eve").requested_transport(17).requested_transport(6);
    });
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.username(), Ok(Some("alice")));
    assert_eq!(message.requested_transport(), Ok(Some(17)));
}

#[test]
fn every_peer_of_a_create_permission_is_read_in_order() {
    let peers = ["192.0.2.1:1000", "[2001:db8::1]:2000", "192.0.2.3:0"].map(|p| p.parse().unwrap());
    let bytes = request(|b| peers.iter().for_each(|&peer| _ = b.xor_peer_address(peer)));
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.xor_peer_addresses().map(Result::unwrap).collect::<Vec<_>>(), peers);
    assert_eq!(message.xor_peer_address(), Ok(Some(peers[0])));
}

#[test]
fn unknown_attributes_are_listed_when_they_must_be_understood() {
    let bytes = request(|b| {
        b.bytes(AttributeType(0x0002), &[0; 4])
            .bytes(AttributeType(0xc001), &[1])
            .lifetime(Default::default());
        b.bytes(AttributeType(0x7ffe), &[]);
    });
    let message = Message::parse(&bytes).unwrap();
    let unknown: Vec<_> = message.unknown_required().collect();
    assert_eq!(unknown, [AttributeType(0x0002), AttributeType(0x7ffe)]);

    let mut out = Vec::new();
    let code = ErrorCode::UNKNOWN_ATTRIBUTE;
    Builder::error(&mut out, &message, code, code.reason()).unknown_attributes(unknown.clone());
    let answer = Message::parse(&out).unwrap();
    assert_eq!(answer.unknown_attributes().collect::<Vec<_>>(), unknown);
    assert_eq!(answer.error_code(), Ok(Some((code, "Unknown Attribute"))));
    assert_eq!((answer.class(), answer.method()), (Class::Error, Method::ALLOCATE));
    assert_eq!(answer.transaction_id(), ID);
}

#[test]
fn what_is_not_stun_is_told_apart() {
    let stun = request(|_| {});
    let changed = |i: usize, byte: u8| {
        let mut bytes = stun.clone();
        bytes[i] = byte;
        Message::parse(&bytes).unwrap_err()
    };
    assert_eq!(Message::parse(&stun[..19]).unwrap_err(), ParseError::Short);
    assert_eq!(changed(0, 0x40), ParseError::NotStun);
    assert_eq!(changed(0, 0x80), ParseError::NotStun);
    assert_eq!(changed(4, 0), ParseError::NoCookie);
    assert_eq!(changed(3, 4), ParseError::Length);

    let odd = [&stun[..], &[0; 3]].concat();
    assert_eq!(Message::parse(&[&odd[..3], &[3], &odd[4..]].concat()).unwrap_err(), ParseError::Length);
    let beyond = [&stun[..3], &[8], &stun[4..], &[0, 6, 0, 5, 0, 0, 0, 0]].concat();
    assert_eq!(Message::parse(&beyond).unwrap_err(), ParseError::Attribute);
}

#[test]
fn a_wrong_fingerprint_is_refused_whatever_its_length() {
    for len in [0, 3, 4, 5, 8] {
        let bytes = request(|b| _ = b.bytes(AttributeType::FINGERPRINT, &vec![0; len]));
        assert_eq!(Message::parse(&bytes).unwrap_err(), ParseError::Fingerprint);
    }
}

#[test]
fn an_integrity_of_the_wrong_length_is_never_authentic() {
    let good = request(|b| _ = b.integrity(&key()));
    let value = &good[24..];
    for len in 0..20 {
        let bytes = request(|b| _ = b.bytes(AttributeType::MESSAGE_INTEGRITY, &value[..len]));
        assert!(!Message::parse(&bytes).unwrap().is_authentic(&key()), "{len} bytes");
    }
    assert!(Message::parse(&good).unwrap().is_authentic(&key()));
}
