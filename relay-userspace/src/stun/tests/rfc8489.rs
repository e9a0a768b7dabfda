//! The sample of RFC 8489 appendix B.1, and what its new attributes look like on the wire.

use super::*;

const NAME: &str = "マトリックス";
const REALM: &str = "example.org";
/// As it is after the OpaqueString profile.
const PASSWORD: &str = "TheMatrIX";

/// A Binding request with USERHASH and MESSAGE-INTEGRITY-SHA256, as erratum 6268 has it: the one that was printed first
/// counts 156 bytes of attributes where there are 136, and no key fits it.
const REQUEST: [u8; 164] = [
    0x00, 0x01, 0x00, 0x90, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29,
    0xda, 0x41, 0x2e, 0x00, 0x1e, 0x00, 0x20, 0x4a, 0x3c, 0xf3, 0x8f, 0xef, 0x69, 0x92, 0xbd, 0xa9, 0x52,
    0xc6, 0x78, 0x04, 0x17, 0xda, 0x0f, 0x24, 0x81, 0x94, 0x15, 0x56, 0x9e, 0x60, 0xb2, 0x05, 0xc4, 0x6e,
    0x41, 0x40, 0x7f, 0x17, 0x04, 0x00, 0x15, 0x00, 0x29, 0x6f, 0x62, 0x4d, 0x61, 0x74, 0x4a, 0x6f, 0x73,
    0x32, 0x41, 0x41, 0x41, 0x43, 0x66, 0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36,
    0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46, 0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73, 0x41, 0x00,
    0x00, 0x00, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72, 0x67,
    0x00, 0x00, 0x1d, 0x00, 0x04, 0x00, 0x02, 0x00, 0x00, 0x00, 0x1c, 0x00, 0x20, 0xb5, 0xc7, 0xbf, 0x00,
    0x5b, 0x6c, 0x52, 0xa2, 0x1c, 0x51, 0xc5, 0xe8, 0x92, 0xf8, 0x19, 0x24, 0x13, 0x62, 0x96, 0xcb, 0x92,
    0x7c, 0x43, 0x14, 0x93, 0x09, 0x27, 0x8c, 0xc6, 0x51, 0x8e, 0x65,
];

fn sample_key(algorithm: PasswordAlgorithm) -> Key {
    Key::with_algorithm(algorithm, NAME, REALM, PASSWORD)
}

#[test]
fn the_sample_request_of_appendix_b_1_is_read() {
    let message = Message::parse(&REQUEST).unwrap();
    assert_eq!(message.userhash(), Ok(Some(userhash(NAME, REALM))));
    assert_eq!(message.nonce(), Ok(Some(&b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"[..])));
    assert_eq!(message.realm(), Ok(Some(REALM)));
    assert_eq!(message.password_algorithm(), Ok(Some(PasswordAlgorithm::Sha256)));
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
}

#[test]
fn the_sample_request_of_appendix_b_1_is_authentic_and_no_other() {
    let authentic: Vec<_> = [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256]
        .into_iter()
        .filter(|a| Message::parse(&REQUEST).unwrap().is_authentic(&sample_key(*a)))
        .collect();
    assert_eq!(authentic, [PasswordAlgorithm::Sha256]);
    for bit in 0..REQUEST.len() * 8 {
        let mut bytes = REQUEST;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let key = sample_key(PasswordAlgorithm::Sha256);
        assert!(!Message::parse(&bytes).is_ok_and(|m| m.is_authentic(&key)), "bit {bit}");
    }
}

#[test]
fn the_sample_request_of_appendix_b_1_is_what_is_built() {
    let mut out = Vec::new();
    let id = TransactionId(REQUEST[8..20].try_into().unwrap());
    Builder::new(&mut out, MessageType::new(Method::BINDING, Class::Request), id)
        .userhash(&userhash(NAME, REALM))
        .nonce(b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA")
        .realm(REALM)
        .password_algorithm(PasswordAlgorithm::Sha256)
        .integrity_sha256(&sample_key(PasswordAlgorithm::Sha256));
    assert_eq!(out, REQUEST);
}

#[test]
fn a_shortened_integrity_is_never_authentic() {
    let key = Key::short_term("key");
    let whole = request(|b| _ = b.integrity_sha256(&key));
    assert!(Message::parse(&whole).unwrap().is_authentic(&key));
    for len in 0..32_usize {
        // The value as it would be right for this length: the length field is covered.
        let mut covered = request(|_| {});
        covered[2..4].copy_from_slice(&(4 + len.next_multiple_of(4) as u16).to_be_bytes());
        let value = hmac_sha256(b"key", &covered);
        let bytes = request(|b| _ = b.bytes(AttributeType::MESSAGE_INTEGRITY_SHA256, &value[..len]));
        assert!(!Message::parse(&bytes).unwrap().is_authentic(&key), "{len} bytes");
    }
}

fn hmac_sha256(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn of_both_integrity_attributes_the_one_with_sha256_counts() {
    let (key, other) = (Key::short_term("key"), Key::short_term("other"));
    let authentic = |first: &Key, second: &Key| {
        let bytes = request(|b| _ = b.integrity(first).integrity_sha256(second).fingerprint());
        Message::parse(&bytes).unwrap().is_authentic(&key)
    };
    assert!(authentic(&key, &key) && authentic(&other, &key));
    assert!(!authentic(&key, &other));
}

#[test]
fn attributes_between_and_after_the_two_integrity_attributes_are_ignored() {
    let key = Key::short_term("key");
    let bytes =
        request(|b| _ = b.integrity(&key).realm("evil").integrity_sha256(&key).username("eve").fingerprint());
    let message = Message::parse(&bytes).unwrap();
    assert!(message.is_authentic(&key));
    assert_eq!((message.realm(), message.username()), (Ok(None), Ok(None)));
}

#[test]
fn password_algorithms_are_read_as_they_are_written_and_nothing_else() {
    for (algorithm, value) in
        [(PasswordAlgorithm::Md5, [0, 1, 0, 0]), (PasswordAlgorithm::Sha256, [0, 2, 0, 0])]
    {
        let bytes =
            request(|b| _ = b.password_algorithm(algorithm).password_algorithms(&[0, 2, 0, 0, 0, 1, 0, 0]));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.attribute(AttributeType::PASSWORD_ALGORITHM).unwrap().value, value);
        assert_eq!(message.password_algorithm(), Ok(Some(algorithm)));
        assert_eq!(message.password_algorithms(), Some(&[0, 2, 0, 0, 0, 1, 0, 0][..]));
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
    }
    for value in [&[][..], &[0, 1], &[0, 3, 0, 0], &[0, 1, 0, 1], &[0, 1, 0, 0, 0], &[0, 2, 0, 4, 1, 2, 3, 4]]
    {
        let bytes = request(|b| _ = b.bytes(AttributeType::PASSWORD_ALGORITHM, value));
        let expected = Err(BadAttribute(AttributeType::PASSWORD_ALGORITHM));
        assert_eq!(Message::parse(&bytes).unwrap().password_algorithm(), expected, "{value:?}");
    }
}

#[test]
fn a_client_chooses_the_first_algorithm_that_it_knows() {
    use PasswordAlgorithm::{Md5, Sha256};
    for (offer, expected) in [
        (&[][..], None),
        (&[0, 2], None),
        (&[0, 2, 0, 0, 0, 1, 0, 0], Some(Sha256)),
        (&[0, 1, 0, 0, 0, 2, 0, 0], Some(Md5)),
        (&[0, 9, 0, 0, 0, 2, 0, 0], Some(Sha256)),
        (&[0, 9, 0, 4, 0, 2, 0, 0, 0, 1, 0, 0], None),
    ] {
        assert_eq!(PasswordAlgorithm::first_of(offer), expected, "{offer:?}");
    }
}

#[test]
fn a_userhash_has_32_bytes() {
    for len in [0, 31, 33] {
        let bytes = request(|b| _ = b.bytes(AttributeType::USERHASH, &vec![0; len]));
        assert_eq!(Message::parse(&bytes).unwrap().userhash(), Err(BadAttribute(AttributeType::USERHASH)));
    }
}
