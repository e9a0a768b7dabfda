//! Tests of the codec as a whole.

mod honoured;
mod properties;
mod rfc5769;
mod rfc8489;
mod values;

use super::*;

const ID: TransactionId = TransactionId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);

/// An Allocate request with what `attributes` adds.
fn request(attributes: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    attributes(&mut Builder::new(&mut out, MessageType::new(Method::ALLOCATE, Class::Request), ID));
    out
}

/// Reads everything there is to read, for tests that nothing panics.
fn read_everything(message: &Message<'_>) {
    let _ = (message.username(), message.realm(), message.nonce(), message.software(), message.data());
    let _ = (message.xor_mapped_address(), message.xor_relayed_address(), message.xor_peer_address());
    let _ = (message.alternate_server(), message.lifetime(), message.channel_number());
    let _ = (message.requested_transport(), message.even_port(), message.reservation_token());
    let _ = (message.requested_address_family(), message.additional_address_family());
    let _ = (message.address_error_code(), message.xor_relayed_addresses().count());
    let _ = (
        message.origin(),
        message.dont_fragment(),
        message.error_code(),
        message.unknown_attributes().count(),
    );
    let _ = (message.xor_peer_addresses().count(), message.unknown_required().count());
    let _ = (message.message_type(), message.transaction_id(), message.attributes().count());
    let _ = (message.userhash(), message.password_algorithm(), message.password_algorithms());
    let _ = (message.integrity(), message.origin());
    let _ = message.is_authentic(&Key::short_term("x"));
}
