//! The attributes' values as types. Every length is checked; of repeated attributes the first counts.

use std::net::SocketAddr;
use std::time::Duration;

use super::attribute::{Attribute, AttributeType};
use super::error::ErrorCode;
use super::message::Message;
use super::xor;

/// Longest USERNAME to send, in bytes (RFC 8489 section 14.3: fewer than 509). One of up to [`MAX_TEXT_LEN`] is read.
pub const MAX_USERNAME_LEN: usize = 508;

/// Longest REALM, NONCE, SOFTWARE or reason phrase in bytes (RFC 8489 sections 14.8 to 14.10 and 14.14: fewer than
/// 128 characters, which a receiver must expect to be up to 763 bytes).
pub const MAX_TEXT_LEN: usize = 763;

/// An attribute whose value is not what its RFC says; a request with one is answered 400.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed {0}")]
pub struct BadAttribute(pub AttributeType);

/// An address family as STUN numbers them (RFC 8489 section 14.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddressFamily {
    /// IPv4, 0x01.
    V4,
    /// IPv6, 0x02.
    V6,
    /// Any other number; RFC 8656 section 7.2 answers it 440.
    Unknown(u8),
}

impl AddressFamily {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
            Self::Unknown(n) => n,
        }
    }

    const fn from_number(n: u8) -> Self {
        match n {
            1 => Self::V4,
            2 => Self::V6,
            n => Self::Unknown(n),
        }
    }
}

/// An ICMP error as the ICMP attribute tells it (RFC 8656 section 18.13).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Icmp {
    /// The type, of ICMP or of ICMPv6 after the family of the peer's address. The attribute has room for 7 bits.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The next hop's MTU in bytes where the error is that a packet was too big, else zero.
    pub data: u32,
}

pub(super) type Value<T> = Result<Option<T>, BadAttribute>;

impl<'a> Message<'a> {
    /// USERNAME.
    pub fn username(&self) -> Value<&'a str> {
        self.text(AttributeType::USERNAME, MAX_TEXT_LEN)
    }

    /// REALM.
    pub fn realm(&self) -> Value<&'a str> {
        self.text(AttributeType::REALM, MAX_TEXT_LEN)
    }

    /// NONCE. Bytes, because it is opaque to whoever did not make it.
    pub fn nonce(&self) -> Value<&'a [u8]> {
        self.value(AttributeType::NONCE, |v| (v.len() <= MAX_TEXT_LEN).then_some(v))
    }

    /// SOFTWARE.
    pub fn software(&self) -> Value<&'a str> {
        self.text(AttributeType::SOFTWARE, MAX_TEXT_LEN)
    }

    /// ORIGIN: the web page that the client runs in (draft-ietf-tram-stun-origin). What is no text is no origin.
    pub fn origin(&self) -> Option<&'a str> {
        str::from_utf8(self.attribute(AttributeType::ORIGIN)?.value).ok()
    }

    /// XOR-MAPPED-ADDRESS: the client as the server sees it.
    pub fn xor_mapped_address(&self) -> Value<SocketAddr> {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS)
    }

    /// The first XOR-RELAYED-ADDRESS: what peers see.
    pub fn xor_relayed_address(&self) -> Value<SocketAddr> {
        self.xor_address(AttributeType::XOR_RELAYED_ADDRESS)
    }

    /// The first XOR-PEER-ADDRESS.
    pub fn xor_peer_address(&self) -> Value<SocketAddr> {
        self.xor_address(AttributeType::XOR_PEER_ADDRESS)
    }

    /// Every XOR-RELAYED-ADDRESS: one of each family when two were asked for (RFC 8656 section 7.3).
    pub fn xor_relayed_addresses(&self) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> + use<'a> {
        self.xor_addresses(AttributeType::XOR_RELAYED_ADDRESS)
    }

    /// Every XOR-PEER-ADDRESS: CreatePermission may carry several (RFC 8656 section 10.1).
    pub fn xor_peer_addresses(&self) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> + use<'a> {
        self.xor_addresses(AttributeType::XOR_PEER_ADDRESS)
    }

    /// LIFETIME, whole seconds.
    pub fn lifetime(&self) -> Value<Duration> {
        self.fixed(AttributeType::LIFETIME, |v| Duration::from_secs(u32::from_be_bytes(v).into()))
    }

    /// CHANNEL-NUMBER, in or out of the range that may be bound.
    pub fn channel_number(&self) -> Value<u16> {
        self.fixed(AttributeType::CHANNEL_NUMBER, |[high, low, _, _]| u16::from_be_bytes([high, low]))
    }

    /// DATA.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.attribute(AttributeType::DATA).map(|a| a.value)
    }

    /// REQUESTED-TRANSPORT: an IP protocol number, 17 for UDP.
    pub fn requested_transport(&self) -> Value<u8> {
        self.fixed(AttributeType::REQUESTED_TRANSPORT, |[protocol, _, _, _]| protocol)
    }

    /// EVEN-PORT: its R bit, whether the next higher port is to be reserved.
    pub fn even_port(&self) -> Value<bool> {
        self.fixed(AttributeType::EVEN_PORT, |[bits]| bits & 0x80 != 0)
    }

    /// CONNECTION-ID (RFC 6062 section 6.2.1).
    pub fn connection_id(&self) -> Value<u32> {
        self.fixed(AttributeType::CONNECTION_ID, u32::from_be_bytes)
    }

    /// RESERVATION-TOKEN.
    pub fn reservation_token(&self) -> Value<[u8; 8]> {
        self.fixed(AttributeType::RESERVATION_TOKEN, |token| token)
    }

    /// MOBILITY-TICKET (RFC 8016 section 3.3): opaque to whoever did not make it, and empty when one is asked for.
    pub fn mobility_ticket(&self) -> Option<&'a [u8]> {
        self.attribute(AttributeType::MOBILITY_TICKET).map(|a| a.value)
    }

    /// REQUESTED-ADDRESS-FAMILY.
    pub fn requested_address_family(&self) -> Value<AddressFamily> {
        self.family(AttributeType::REQUESTED_ADDRESS_FAMILY)
    }

    /// ADDITIONAL-ADDRESS-FAMILY.
    pub fn additional_address_family(&self) -> Value<AddressFamily> {
        self.family(AttributeType::ADDITIONAL_ADDRESS_FAMILY)
    }

    /// ADDRESS-ERROR-CODE: the family, and why there is no relayed address of it.
    pub fn address_error_code(&self) -> Value<(AddressFamily, ErrorCode)> {
        self.value(AttributeType::ADDRESS_ERROR_CODE, |v| {
            let (&[family, _, class, number], _) = v.split_first_chunk::<4>()?;
            Some((AddressFamily::from_number(family), ErrorCode::from_parts(class & 0x07, number)?))
        })
    }

    /// DONT-FRAGMENT is there; it has no value.
    pub fn dont_fragment(&self) -> bool {
        self.has(AttributeType::DONT_FRAGMENT)
    }

    /// ICMP.
    pub fn icmp(&self) -> Value<Icmp> {
        self.fixed(AttributeType::ICMP, |[_, _, h, l, a, b, c, d]| {
            let bits = u16::from_be_bytes([h, l]);
            // A code is a byte (RFC 792, RFC 4443); the ninth bit is not used.
            Icmp { kind: (bits >> 9) as u8, code: bits as u8, data: u32::from_be_bytes([a, b, c, d]) }
        })
    }

    /// ERROR-CODE and its reason phrase.
    pub fn error_code(&self) -> Value<(ErrorCode, &'a str)> {
        self.value(AttributeType::ERROR_CODE, |v| {
            let (&[_, _, class, number], reason) = v.split_first_chunk::<4>()?;
            let code = ErrorCode::from_parts(class & 0x07, number)?;
            Some((code, text(reason, MAX_TEXT_LEN)?))
        })
    }

    /// UNKNOWN-ATTRIBUTES, of a 420.
    pub fn unknown_attributes(&self) -> impl Iterator<Item = AttributeType> + use<'a> {
        let value = self.attribute(AttributeType::UNKNOWN_ATTRIBUTES).map_or(&[][..], |a| a.value);
        value.as_chunks::<2>().0.iter().map(|&n| AttributeType(u16::from_be_bytes(n)))
    }

    fn family(&self, kind: AttributeType) -> Value<AddressFamily> {
        self.fixed(kind, |[family, _, _, _]| AddressFamily::from_number(family))
    }

    fn xor_address(&self, kind: AttributeType) -> Value<SocketAddr> {
        self.value(kind, |v| xor::decode(v, xor::mask(self.transaction_id())))
    }

    fn xor_addresses(
        &self,
        kind: AttributeType,
    ) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> + use<'a> {
        let mask = xor::mask(self.transaction_id());
        let of_kind = self.attributes().filter(move |a| a.kind == kind);
        of_kind.map(move |a| xor::decode(a.value, mask).ok_or(BadAttribute(a.kind)))
    }

    pub(super) fn text(&self, kind: AttributeType, max: usize) -> Value<&'a str> {
        self.value(kind, |v| text(v, max))
    }

    pub(super) fn fixed<T, const N: usize>(
        &self,
        kind: AttributeType,
        read: impl FnOnce([u8; N]) -> T,
    ) -> Value<T> {
        self.value(kind, |v| v.try_into().ok().map(read))
    }

    pub(super) fn value<T>(&self, kind: AttributeType, read: impl FnOnce(&'a [u8]) -> Option<T>) -> Value<T> {
        match self.attribute(kind) {
            None => Ok(None),
            Some(Attribute { value, .. }) => read(value).map(Some).ok_or(BadAttribute(kind)),
        }
    }
}

fn text(bytes: &[u8], max: usize) -> Option<&str> {
    if bytes.len() > max {
        return None;
    }
    str::from_utf8(bytes).ok()
}
