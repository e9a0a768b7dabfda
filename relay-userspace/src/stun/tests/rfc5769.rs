//! The test vectors of RFC 5769.

use super::*;

const REQUEST: &str = "
    00010058 2112a442 b7e7a701 bc34d686 fa87dfae
    80220010 5354554e 20746573 7420636c 69656e74
    00240004 6e0001ff
    80290008 932ff9b1 51263b36
    00060009 6576746a 3a683676 59202020
    00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
    80280004 e57a3bcf";

const IPV4_RESPONSE: &str = "
    0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200008 0001a147 e112a643
    00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
    80280004 c07d4c96";

const IPV6_RESPONSE: &str = "
    01010048 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
    00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
    80280004 c8fb0b4c";

const LONG_TERM_REQUEST: &str = "
    00010060 2112a442 78ad3433 c6ad72c0 29da412e
    00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
    0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
    0014000b 6578616d 706c652e 6f726700
    00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666";

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn the_sample_request_of_section_2_1_is_read_and_authentic() {
    let bytes = bytes(REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.message_type(), MessageType::new(Method::BINDING, Class::Request));
    assert_eq!(message.software(), Ok(Some("STUN test client")));
    assert_eq!(message.username(), Ok(Some("evtj:h6vY")));
    assert!(message.is_authentic(&Key::short_term(PASSWORD)));
    assert!(!message.is_authentic(&Key::short_term("VOkJxbRl1RmTxUk/WvJxBT")));
    assert!(message.has(AttributeType::FINGERPRINT));
    // ICE's PRIORITY means nothing to a TURN server.
    assert_eq!(message.unknown_required().collect::<Vec<_>>(), [AttributeType(0x0024)]);
}

#[test]
fn the_sample_responses_of_sections_2_2_and_2_3_are_read_and_authentic() {
    let responses =
        [(IPV4_RESPONSE, "192.0.2.1:32853"), (IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")];
    for (hex, mapped) in responses {
        let bytes = bytes(hex);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.message_type(), MessageType::new(Method::BINDING, Class::Success));
        assert_eq!(message.software(), Ok(Some("test vector")));
        assert_eq!(message.xor_mapped_address(), Ok(Some(mapped.parse().unwrap())));
        assert!(message.is_authentic(&Key::short_term(PASSWORD)));
    }
}

#[test]
fn the_sample_request_of_section_2_4_is_authentic_with_long_term_credentials() {
    let bytes = bytes(LONG_TERM_REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.username(), Ok(Some("マトリックス")));
    assert_eq!(message.realm(), Ok(Some("example.org")));
    assert_eq!(message.nonce(), Ok(Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..])));
    // The password after its preparation, which is the operator's.
    let key = Key::long_term("マトリックス", "example.org", "TheMatrIX");
    assert!(message.is_authentic(&key));
    assert!(!message.is_authentic(&Key::long_term("マトリックス", "example.com", "TheMatrIX")));
}

#[test]
fn the_builder_writes_the_long_term_request_to_the_byte() {
    let expected = bytes(LONG_TERM_REQUEST);
    let id = Message::parse(&expected).unwrap().transaction_id();
    let mut out = Vec::new();
    Builder::new(&mut out, MessageType::new(Method::BINDING, Class::Request), id)
        .username("マトリックス")
        .nonce(b"f//499k954d6OL34oL9FSTvy64sA")
        .realm("example.org")
        .integrity(&Key::long_term("マトリックス", "example.org", "TheMatrIX"));
    assert_eq!(out, expected);
}

#[test]
fn the_builder_writes_the_ipv4_and_ipv6_responses_but_for_their_padding() {
    // The vectors pad with spaces, which the integrity covers; this compares up to there.
    for (hex, mapped) in
        [(IPV4_RESPONSE, "192.0.2.1:32853"), (IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let expected = bytes(hex);
        let id = Message::parse(&expected).unwrap().transaction_id();
        let mut out = Vec::new();
        Builder::new(&mut out, MessageType::new(Method::BINDING, Class::Success), id)
            .software("test vector")
            .xor_mapped_address(mapped.parse().unwrap())
            .integrity(&Key::short_term(PASSWORD))
            .fingerprint();
        assert_eq!(out.len(), expected.len());
        assert_eq!(out[..4], expected[..4]);
        assert_eq!(out[36..expected.len() - 32], expected[36..expected.len() - 32]);
    }
}

#[test]
fn a_message_cut_at_any_byte_is_refused() {
    for hex in [REQUEST, IPV4_RESPONSE, IPV6_RESPONSE, LONG_TERM_REQUEST] {
        let bytes = bytes(hex);
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_err(), "cut to {end} of {} bytes", bytes.len());
        }
        assert_eq!(Message::parse(&[&bytes[..], &[0; 4]].concat()).unwrap_err(), ParseError::Length);
    }
}

#[test]
fn a_message_cut_at_any_byte_with_its_length_made_to_fit_is_never_authentic() {
    let whole = bytes(REQUEST);
    for end in 20..whole.len() - 8 {
        let mut bytes = whole[..end].to_vec();
        bytes[2..4].copy_from_slice(&(end as u16 - 20).to_be_bytes());
        if let Ok(message) = Message::parse(&bytes) {
            read_everything(&message);
            assert!(!message.is_authentic(&Key::short_term(PASSWORD)), "cut to {end} bytes");
        }
    }
}

/// The message with each of its bits changed in turn.
fn with_a_bit_changed(hex: &str) -> impl Iterator<Item = Vec<u8>> {
    let whole = bytes(hex);
    (0..whole.len() * 8).map(move |bit| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    })
}

#[test]
fn no_fingerprint_passes_when_a_bit_was_changed() {
    for (bit, bytes) in with_a_bit_changed(REQUEST).enumerate() {
        // A changed type or length may hide FINGERPRINT, but then it is not there.
        let passed = Message::parse(&bytes).is_ok_and(|m| m.has(AttributeType::FINGERPRINT));
        assert!(!passed, "bit {bit}");
    }
}

#[test]
fn no_request_is_authentic_when_a_bit_was_changed() {
    let key = Key::long_term("マトリックス", "example.org", "TheMatrIX");
    for (bit, bytes) in with_a_bit_changed(LONG_TERM_REQUEST).enumerate() {
        let authentic = Message::parse(&bytes).is_ok_and(|m| m.is_authentic(&key));
        assert!(!authentic, "bit {bit}");
    }
}
