//! The attributes of NAT behaviour discovery (RFC 5780 section 7) and of the alternate server (RFC 8489 sections 14.15
//! and 14.16), read and written.

use std::net::SocketAddr;

use super::attribute::AttributeType;
use super::builder::Builder;
use super::message::Message;
use super::values::{MAX_TEXT_LEN, Value};
use super::xor;

/// The flags of CHANGE-REQUEST: from which of its addresses the server is to answer (RFC 5780 section 7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangeRequest {
    /// "Change IP".
    pub ip: bool,
    /// "Change port".
    pub port: bool,
}

impl ChangeRequest {
    const IP: u32 = 0x04;
    const PORT: u32 = 0x02;
}

impl<'a> Message<'a> {
    /// CHANGE-REQUEST.
    pub fn change_request(&self) -> Value<ChangeRequest> {
        self.fixed(AttributeType::CHANGE_REQUEST, |flags| {
            let flags = u32::from_be_bytes(flags);
            ChangeRequest { ip: flags & ChangeRequest::IP != 0, port: flags & ChangeRequest::PORT != 0 }
        })
    }

    /// RESPONSE-PORT. RFC 5780 section 7.5 leaves open whether the two bytes of padding count as its value; both are
    /// understood.
    pub fn response_port(&self) -> Value<u16> {
        self.value(AttributeType::RESPONSE_PORT, |v| match v {
            &[high, low] | &[high, low, _, _] => Some(u16::from_be_bytes([high, low])),
            _ => None,
        })
    }

    /// PADDING: its length in bytes.
    pub fn padding(&self) -> Option<usize> {
        self.attribute(AttributeType::PADDING).map(|a| a.value.len())
    }

    /// MAPPED-ADDRESS.
    pub fn mapped_address(&self) -> Value<SocketAddr> {
        self.plain_address(AttributeType::MAPPED_ADDRESS)
    }

    /// RESPONSE-ORIGIN: where the answer was sent from.
    pub fn response_origin(&self) -> Value<SocketAddr> {
        self.plain_address(AttributeType::RESPONSE_ORIGIN)
    }

    /// OTHER-ADDRESS: where it would have been sent from with both flags of CHANGE-REQUEST.
    pub fn other_address(&self) -> Value<SocketAddr> {
        self.plain_address(AttributeType::OTHER_ADDRESS)
    }

    /// The first ALTERNATE-SERVER, of a 300: the one of the client's address family (RFC 8489 section 10).
    pub fn alternate_server(&self) -> Value<SocketAddr> {
        self.plain_address(AttributeType::ALTERNATE_SERVER)
    }

    /// ALTERNATE-DOMAIN, of a 300.
    pub fn alternate_domain(&self) -> Value<&'a str> {
        self.text(AttributeType::ALTERNATE_DOMAIN, MAX_TEXT_LEN)
    }

    fn plain_address(&self, kind: AttributeType) -> Value<SocketAddr> {
        self.value(kind, |v| xor::decode(v, xor::NO_MASK))
    }
}

impl Builder<'_> {
    /// CHANGE-REQUEST.
    pub fn change_request(&mut self, change: ChangeRequest) -> &mut Self {
        let ip = if change.ip { ChangeRequest::IP } else { 0 };
        let port = if change.port { ChangeRequest::PORT } else { 0 };
        self.bytes(AttributeType::CHANGE_REQUEST, &(ip | port).to_be_bytes())
    }

    /// RESPONSE-PORT.
    pub fn response_port(&mut self, port: u16) -> &mut Self {
        let [high, low] = port.to_be_bytes();
        self.bytes(AttributeType::RESPONSE_PORT, &[high, low, 0, 0])
    }

    /// PADDING: so many zeros.
    ///
    /// # Panics
    /// When the message grows beyond the 65,535 bytes that its length field can count.
    pub fn padding(&mut self, length: usize) -> &mut Self {
        self.with(AttributeType::PADDING, |out| out.resize(out.len() + length, 0))
    }

    /// MAPPED-ADDRESS.
    pub fn mapped_address(&mut self, address: SocketAddr) -> &mut Self {
        self.plain_address(AttributeType::MAPPED_ADDRESS, address)
    }

    /// RESPONSE-ORIGIN.
    pub fn response_origin(&mut self, address: SocketAddr) -> &mut Self {
        self.plain_address(AttributeType::RESPONSE_ORIGIN, address)
    }

    /// OTHER-ADDRESS.
    pub fn other_address(&mut self, address: SocketAddr) -> &mut Self {
        self.plain_address(AttributeType::OTHER_ADDRESS, address)
    }

    /// ALTERNATE-SERVER.
    pub fn alternate_server(&mut self, address: SocketAddr) -> &mut Self {
        self.plain_address(AttributeType::ALTERNATE_SERVER, address)
    }

    /// ALTERNATE-DOMAIN.
    pub fn alternate_domain(&mut self, domain: &str) -> &mut Self {
        self.bytes(AttributeType::ALTERNATE_DOMAIN, domain.as_bytes())
    }

    fn plain_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        self.with(kind, |out| xor::encode(out, address, xor::NO_MASK))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Class, MessageType, Method, TransactionId};
    use super::*;

    const REQUEST: MessageType = MessageType::new(Method::BINDING, Class::Request);

    #[test]
    fn the_flags_are_where_the_rfc_has_them() {
        for (change, bits) in [((false, false), 0), ((true, false), 4), ((false, true), 2), ((true, true), 6)]
        {
            let change = ChangeRequest { ip: change.0, port: change.1 };
            let mut bytes = Vec::new();
            Builder::new(&mut bytes, REQUEST, TransactionId([1; 12])).change_request(change);
            assert_eq!(bytes[20..], [0, 3, 0, 4, 0, 0, 0, bits]);
            assert_eq!(Message::parse(&bytes).unwrap().change_request(), Ok(Some(change)));
        }
    }

    #[test]
    fn a_port_is_read_with_and_without_its_padding_and_nothing_else_is() {
        for (value, port) in [
            (&[0x12, 0x34][..], Ok(Some(0x1234))),
            (&[0x12, 0x34, 0, 0], Ok(Some(0x1234))),
            (&[0x12], Err(())),
            (&[0x12, 0x34, 0, 0, 0, 0], Err(())),
        ] {
            let mut bytes = Vec::new();
            let id = TransactionId([1; 12]);
            Builder::new(&mut bytes, REQUEST, id).bytes(AttributeType::RESPONSE_PORT, value);
            assert_eq!(Message::parse(&bytes).unwrap().response_port().map_err(drop), port, "{value:x?}");
        }
    }

    #[test]
    fn addresses_are_not_obfuscated() {
        let address: SocketAddr = "192.0.2.1:3478".parse().unwrap();
        let mut bytes = Vec::new();
        Builder::new(&mut bytes, REQUEST, TransactionId([1; 12])).other_address(address);
        assert_eq!(bytes[20..], [0x80, 0x2c, 0, 8, 0, 1, 0x0d, 0x96, 192, 0, 2, 1]);
        assert_eq!(Message::parse(&bytes).unwrap().other_address(), Ok(Some(address)));
    }
}
