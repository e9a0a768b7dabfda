//! Attribute numbers and the type-length-value layout (RFC 8489 section 14).

use std::fmt;

/// An attribute's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttributeType(pub u16);

/// The numbers this crate gives a meaning to, with their names.
macro_rules! attribute_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl AttributeType {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// The name in the RFC, `None` for a number without a meaning here.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

attribute_types! {
    /// RFC 8489 section 14.1.
    MAPPED_ADDRESS = 0x0001, "MAPPED-ADDRESS";
    /// RFC 5780 section 7.2.
    CHANGE_REQUEST = 0x0003, "CHANGE-REQUEST";
    /// RFC 8489 section 14.3.
    USERNAME = 0x0006, "USERNAME";
    /// RFC 8489 section 14.5.
    MESSAGE_INTEGRITY = 0x0008, "MESSAGE-INTEGRITY";
    /// RFC 8489 section 14.8.
    ERROR_CODE = 0x0009, "ERROR-CODE";
    /// RFC 8489 section 14.13.
    UNKNOWN_ATTRIBUTES = 0x000a, "UNKNOWN-ATTRIBUTES";
    /// RFC 8656 section 18.1.
    CHANNEL_NUMBER = 0x000c, "CHANNEL-NUMBER";
    /// RFC 8656 section 18.2.
    LIFETIME = 0x000d, "LIFETIME";
    /// RFC 8656 section 18.3.
    XOR_PEER_ADDRESS = 0x0012, "XOR-PEER-ADDRESS";
    /// RFC 8656 section 18.4.
    DATA = 0x0013, "DATA";
    /// RFC 8489 section 14.9.
    REALM = 0x0014, "REALM";
    /// RFC 8489 section 14.10.
    NONCE = 0x0015, "NONCE";
    /// RFC 8656 section 18.5.
    XOR_RELAYED_ADDRESS = 0x0016, "XOR-RELAYED-ADDRESS";
    /// RFC 8656 section 18.6.
    REQUESTED_ADDRESS_FAMILY = 0x0017, "REQUESTED-ADDRESS-FAMILY";
    /// RFC 8656 section 18.7.
    EVEN_PORT = 0x0018, "EVEN-PORT";
    /// RFC 8656 section 18.8.
    REQUESTED_TRANSPORT = 0x0019, "REQUESTED-TRANSPORT";
    /// RFC 8656 section 18.9.
    DONT_FRAGMENT = 0x001a, "DONT-FRAGMENT";
    /// RFC 8489 section 14.6.
    MESSAGE_INTEGRITY_SHA256 = 0x001c, "MESSAGE-INTEGRITY-SHA256";
    /// RFC 8489 section 14.12.
    PASSWORD_ALGORITHM = 0x001d, "PASSWORD-ALGORITHM";
    /// RFC 8489 section 14.4.
    USERHASH = 0x001e, "USERHASH";
    /// RFC 8489 section 14.2.
    XOR_MAPPED_ADDRESS = 0x0020, "XOR-MAPPED-ADDRESS";
    /// RFC 8656 section 18.10.
    RESERVATION_TOKEN = 0x0022, "RESERVATION-TOKEN";
    /// RFC 5780 section 7.6.
    PADDING = 0x0026, "PADDING";
    /// RFC 5780 section 7.5.
    RESPONSE_PORT = 0x0027, "RESPONSE-PORT";
    /// RFC 6062 section 6.2.1.
    CONNECTION_ID = 0x002a, "CONNECTION-ID";
    /// RFC 8656 section 18.11.
    ADDITIONAL_ADDRESS_FAMILY = 0x8000, "ADDITIONAL-ADDRESS-FAMILY";
    /// RFC 8656 section 18.12.
    ADDRESS_ERROR_CODE = 0x8001, "ADDRESS-ERROR-CODE";
    /// RFC 8489 section 14.11.
    PASSWORD_ALGORITHMS = 0x8002, "PASSWORD-ALGORITHMS";
    /// RFC 8489 section 14.16.
    ALTERNATE_DOMAIN = 0x8003, "ALTERNATE-DOMAIN";
    /// RFC 8656 section 18.13.
    ICMP = 0x8004, "ICMP";
    /// RFC 8489 section 14.14.
    SOFTWARE = 0x8022, "SOFTWARE";
    /// RFC 8489 section 14.15.
    ALTERNATE_SERVER = 0x8023, "ALTERNATE-SERVER";
    /// RFC 8489 section 14.7.
    FINGERPRINT = 0x8028, "FINGERPRINT";
    /// RFC 5780 section 7.3.
    RESPONSE_ORIGIN = 0x802b, "RESPONSE-ORIGIN";
    /// RFC 5780 section 7.4.
    OTHER_ADDRESS = 0x802c, "OTHER-ADDRESS";
    /// Which web page the client runs in: draft-ietf-tram-stun-origin.
    ORIGIN = 0x802f, "ORIGIN";
    /// RFC 8016 section 3.
    MOBILITY_TICKET = 0x8030, "MOBILITY-TICKET";
}

impl AttributeType {
    /// Whether a receiver that does not know the attribute must refuse the request (RFC 8489 section 14).
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

impl fmt::Debug for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "attribute {:#06x}", self.0),
        }
    }
}

/// An attribute where it lies in its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attribute<'a> {
    /// Its number.
    pub kind: AttributeType,
    /// Its value, without the padding.
    pub value: &'a [u8],
}

/// Bytes of type and length before the value.
pub(super) const HEADER_LEN: usize = 4;

/// Takes the first attribute off `bytes` and returns it with what follows its padding; `None` when it does not fit.
pub(super) fn split_first(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let (&[t0, t1, l0, l1], rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let value = rest.get(..len)?;
    let rest = rest.get(len.next_multiple_of(4)..)?;
    Some((Attribute { kind: AttributeType(u16::from_be_bytes([t0, t1])), value }, rest))
}
