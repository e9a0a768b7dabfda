//! Any bytes as a STUN message: nothing panics, and what is read is within the datagram and means the same when it is
//! written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::stun::{Builder, Key, Message};

fuzz_target!(|datagram: &[u8]| {
    let Ok(message) = Message::parse(datagram) else { return };
    assert_eq!(message.as_bytes(), datagram);
    read_all(&message);

    // The attributes that count, written again, are the same attributes. The first that ends the message is left
    // out: its value depends on the bytes before it.
    let mut bytes = Vec::new();
    let mut copy = Builder::new(&mut bytes, message.message_type(), message.transaction_id());
    let ends = ["MESSAGE-INTEGRITY", "MESSAGE-INTEGRITY-SHA256", "FINGERPRINT"];
    let counting =
        || message.attributes().take_while(|a| !a.kind.name().is_some_and(|name| ends.contains(&name)));
    for attribute in counting() {
        copy.bytes(attribute.kind, attribute.value);
    }
    let copy = Message::parse(&bytes).expect("what the builder writes is well-formed");
    assert!(copy.attributes().eq(counting()));
});

/// Every reader of the server and of the client.
fn read_all(message: &Message<'_>) {
    let _ = (message.username(), message.realm(), message.nonce(), message.software(), message.data());
    let _ = (message.xor_mapped_address(), message.xor_relayed_address(), message.xor_peer_address());
    let _ = (message.lifetime(), message.channel_number(), message.requested_transport());
    let _ = (message.even_port(), message.reservation_token(), message.dont_fragment());
    let _ = (message.requested_address_family(), message.additional_address_family(), message.error_code());
    let _ = (message.xor_peer_addresses().count(), message.unknown_required().count());
    let _ = (message.unknown_attributes().count(), message.integrity());
    let _ = (message.userhash(), message.password_algorithm(), message.password_algorithms());
    let _ = (message.mobility_ticket(), message.icmp(), message.origin(), message.address_error_code());
    let _ = (message.change_request(), message.response_port(), message.padding(), message.mapped_address());
    let _ = (message.response_origin(), message.other_address());
    let _ = (message.alternate_server(), message.alternate_domain(), message.xor_relayed_addresses().count());
    assert!(!message.is_authentic(&Key::short_term("a key that no input was made with")));
}
