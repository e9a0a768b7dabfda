//! Writing a message at the end of a buffer.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::attribute::{self, AttributeType};
use super::error::ErrorCode;
use super::integrity::{self, Integrity, Key};
use super::message::{HEADER_LEN, MAGIC_COOKIE, Message, TransactionId};
use super::method::{Class, MessageType};
use super::values::{AddressFamily, Icmp};
use super::xor;

/// Appends one message to a buffer that may hold others before it. The length field is right after each step, so a
/// message may be left as it is at any point.
#[derive(Debug)]
pub struct Builder<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
}

/// The value does not fit into a STUN message, whose length is counted in 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the value does not fit into a STUN message")]
pub struct TooLong;

impl<'b> Builder<'b> {
    /// Starts a message.
    pub fn new(out: &'b mut Vec<u8>, message_type: MessageType, id: TransactionId) -> Self {
        let start = out.len();
        out.extend(message_type.to_bits().to_be_bytes());
        out.extend([0, 0]);
        out.extend(MAGIC_COOKIE);
        out.extend(id.0);
        Self { out, start }
    }

    /// Starts the success response to a request.
    pub fn success(out: &'b mut Vec<u8>, request: &Message<'_>) -> Self {
        Self::new(out, MessageType::new(request.method(), Class::Success), request.transaction_id())
    }

    /// Starts the error response to a request. The reason phrase may be empty, which keeps answers to
    /// unauthenticated requests short; [`ErrorCode::reason`] is the usual one.
    pub fn error(out: &'b mut Vec<u8>, request: &Message<'_>, code: ErrorCode, reason: &str) -> Self {
        let error = MessageType::new(request.method(), Class::Error);
        let mut builder = Self::new(out, error, request.transaction_id());
        let [class, number] = code.parts();
        builder.with(AttributeType::ERROR_CODE, |out| {
            out.extend([0, 0, class, number]);
            out.extend(reason.bytes());
        });
        builder
    }

    /// Where the message lies in the buffer.
    pub fn finish(&self) -> Range<usize> {
        self.start..self.out.len()
    }

    /// USERNAME.
    pub fn username(&mut self, name: &str) -> &mut Self {
        self.bytes(AttributeType::USERNAME, name.as_bytes())
    }

    /// REALM.
    pub fn realm(&mut self, realm: &str) -> &mut Self {
        self.bytes(AttributeType::REALM, realm.as_bytes())
    }

    /// NONCE.
    pub fn nonce(&mut self, nonce: &[u8]) -> &mut Self {
        self.bytes(AttributeType::NONCE, nonce)
    }

    /// SOFTWARE.
    pub fn software(&mut self, software: &str) -> &mut Self {
        self.bytes(AttributeType::SOFTWARE, software.as_bytes())
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> &mut Self {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address)
    }

    /// XOR-RELAYED-ADDRESS.
    pub fn xor_relayed_address(&mut self, address: SocketAddr) -> &mut Self {
        self.xor_address(AttributeType::XOR_RELAYED_ADDRESS, address)
    }

    /// XOR-PEER-ADDRESS.
    pub fn xor_peer_address(&mut self, address: SocketAddr) -> &mut Self {
        self.xor_address(AttributeType::XOR_PEER_ADDRESS, address)
    }

    /// LIFETIME: whole seconds, what is left over is cut off.
    pub fn lifetime(&mut self, lifetime: Duration) -> &mut Self {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        self.bytes(AttributeType::LIFETIME, &seconds.to_be_bytes())
    }

    /// CONNECTION-ID.
    pub fn connection_id(&mut self, id: u32) -> &mut Self {
        self.bytes(AttributeType::CONNECTION_ID, &id.to_be_bytes())
    }

    /// CHANNEL-NUMBER.
    pub fn channel_number(&mut self, number: u16) -> &mut Self {
        let [high, low] = number.to_be_bytes();
        self.bytes(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0])
    }

    /// DATA; the only attribute whose size a stranger decides.
    pub fn data(&mut self, payload: &[u8]) -> Result<&mut Self, TooLong> {
        let length = self.out.len() - self.start - HEADER_LEN + attribute::HEADER_LEN + payload.len();
        if length.next_multiple_of(4) > usize::from(u16::MAX) {
            return Err(TooLong);
        }
        Ok(self.bytes(AttributeType::DATA, payload))
    }

    /// REQUESTED-TRANSPORT: an IP protocol number, 17 for UDP.
    pub fn requested_transport(&mut self, protocol: u8) -> &mut Self {
        self.bytes(AttributeType::REQUESTED_TRANSPORT, &[protocol, 0, 0, 0])
    }

    /// EVEN-PORT, with its R bit: whether the next higher port is to be reserved.
    pub fn even_port(&mut self, reserve_next: bool) -> &mut Self {
        self.bytes(AttributeType::EVEN_PORT, &[u8::from(reserve_next) << 7])
    }

    /// RESERVATION-TOKEN.
    pub fn reservation_token(&mut self, token: [u8; 8]) -> &mut Self {
        self.bytes(AttributeType::RESERVATION_TOKEN, &token)
    }

    /// MOBILITY-TICKET; an empty one asks for a ticket (RFC 8016 section 3.1.1). At most 512 bytes.
    pub fn mobility_ticket(&mut self, ticket: &[u8]) -> &mut Self {
        self.bytes(AttributeType::MOBILITY_TICKET, ticket)
    }

    /// REQUESTED-ADDRESS-FAMILY.
    pub fn requested_address_family(&mut self, family: AddressFamily) -> &mut Self {
        self.bytes(AttributeType::REQUESTED_ADDRESS_FAMILY, &[family.number(), 0, 0, 0])
    }

    /// ADDITIONAL-ADDRESS-FAMILY.
    pub fn additional_address_family(&mut self, family: AddressFamily) -> &mut Self {
        self.bytes(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[family.number(), 0, 0, 0])
    }

    /// ADDRESS-ERROR-CODE: why there is no relayed address of a family, with the usual reason phrase.
    pub fn address_error_code(&mut self, family: AddressFamily, code: ErrorCode) -> &mut Self {
        let [class, number] = code.parts();
        self.with(AttributeType::ADDRESS_ERROR_CODE, |out| {
            out.extend([family.number(), 0, class, number]);
            out.extend(code.reason().bytes());
        })
    }

    /// DONT-FRAGMENT.
    pub fn dont_fragment(&mut self) -> &mut Self {
        self.bytes(AttributeType::DONT_FRAGMENT, &[])
    }

    /// ICMP. Seven bits of the type are sent, which all errors fit (RFC 8656 section 18.13).
    pub fn icmp(&mut self, icmp: Icmp) -> &mut Self {
        let bits = u16::from(icmp.kind) << 9 | u16::from(icmp.code);
        let ([h, l], [a, b, c, d]) = (bits.to_be_bytes(), icmp.data.to_be_bytes());
        self.bytes(AttributeType::ICMP, &[0, 0, h, l, a, b, c, d])
    }

    /// UNKNOWN-ATTRIBUTES, of a 420.
    pub fn unknown_attributes(&mut self, types: impl IntoIterator<Item = AttributeType>) -> &mut Self {
        self.with(AttributeType::UNKNOWN_ATTRIBUTES, |out| {
            out.extend(types.into_iter().flat_map(|t| t.0.to_be_bytes()))
        })
    }

    /// The integrity attribute of this kind over everything so far.
    pub fn sign(&mut self, key: &Key, integrity: Integrity) -> &mut Self {
        match integrity {
            Integrity::Sha1 => self.integrity(key),
            Integrity::Sha256 => self.integrity_sha256(key),
        }
    }

    /// MESSAGE-INTEGRITY over everything so far. Only MESSAGE-INTEGRITY-SHA256 and FINGERPRINT may follow.
    pub fn integrity(&mut self, key: &Key) -> &mut Self {
        let value = integrity::message_integrity(key, &self.out[self.start..]);
        self.bytes(AttributeType::MESSAGE_INTEGRITY, &value)
    }

    /// MESSAGE-INTEGRITY-SHA256 over everything so far, in full length. Only FINGERPRINT may follow.
    pub fn integrity_sha256(&mut self, key: &Key) -> &mut Self {
        let value = integrity::message_integrity_sha256(key, &self.out[self.start..]);
        self.bytes(AttributeType::MESSAGE_INTEGRITY_SHA256, &value)
    }

    /// FINGERPRINT over everything so far. Nothing may follow.
    pub fn fingerprint(&mut self) -> &mut Self {
        let value = integrity::fingerprint(&self.out[self.start..]);
        self.bytes(AttributeType::FINGERPRINT, &value)
    }

    /// Any attribute, from the bytes of its value.
    ///
    /// # Panics
    /// When the message grows beyond the 65,535 bytes that its length field can count.
    pub fn bytes(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        self.with(kind, |out| out.extend_from_slice(value))
    }

    fn xor_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let id = self.out[self.start + 8..self.start + HEADER_LEN].try_into().expect("the header is there");
        self.with(kind, |out| xor::encode(out, address, xor::mask(TransactionId(id))))
    }

    /// Appends an attribute whose value `write` appends, then its padding, and counts both. The padding is zero
    /// (RFC 8489 section 14), never what the buffer held before.
    pub(super) fn with(&mut self, kind: AttributeType, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let at = self.out.len();
        self.out.extend(kind.0.to_be_bytes());
        self.out.extend([0, 0]);
        write(self.out);
        let value_len = self.out.len() - at - attribute::HEADER_LEN;
        let padded = value_len.next_multiple_of(4);
        self.out.resize(at + attribute::HEADER_LEN + padded, 0);
        self.set_length(at + 2, value_len);
        self.set_length(self.start + 2, self.out.len() - self.start - HEADER_LEN);
        self
    }

    fn set_length(&mut self, at: usize, length: usize) {
        let length = u16::try_from(length).expect("attributes of bounded size fit a message");
        self.out[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
}
