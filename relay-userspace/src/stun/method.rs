//! The message type: what is asked (method) and which way it goes (class), RFC 8489 section 5.

use std::fmt;

/// A STUN method, 12 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Method(u16);

impl Method {
    /// RFC 8489 section 18.2.
    pub const BINDING: Self = Self(0x001);
    /// RFC 8656 section 17; the ones below too.
    pub const ALLOCATE: Self = Self(0x003);
    /// Prolongs or ends an allocation.
    pub const REFRESH: Self = Self(0x004);
    /// Client to peer; an indication only.
    pub const SEND: Self = Self(0x006);
    /// Peer to client; an indication only.
    pub const DATA: Self = Self(0x007);
    /// Lets peers in.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// Gives a peer a channel number.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// Has a TCP allocation connect to a peer (RFC 6062 section 6.1; the ones below too).
    pub const CONNECT: Self = Self(0x00a);
    /// Makes the connection that it comes by the other end of a peer's.
    pub const CONNECTION_BIND: Self = Self(0x00b);
    /// A peer connected; an indication only.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00c);

    /// The number, as RFC 8489 section 18.2 registers it.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::BINDING => "Binding",
            Self::ALLOCATE => "Allocate",
            Self::REFRESH => "Refresh",
            Self::SEND => "Send",
            Self::DATA => "Data",
            Self::CREATE_PERMISSION => "CreatePermission",
            Self::CHANNEL_BIND => "ChannelBind",
            Self::CONNECT => "Connect",
            Self::CONNECTION_BIND => "ConnectionBind",
            Self::CONNECTION_ATTEMPT => "ConnectionAttempt",
            Self(number) => return write!(f, "method {number:#05x}"),
        })
    }
}

/// Which of the four kinds of message it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer when it went well.
    Success,
    /// The answer when it did not.
    Error,
}

/// Method and class, as the first 14 bits after the two zero bits carry them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MessageType {
    /// What is asked.
    pub method: Method,
    /// Which way.
    pub class: Class,
}

impl MessageType {
    /// Method and class together.
    pub const fn new(method: Method, class: Class) -> Self {
        Self { method, class }
    }

    /// From the first 16 bits of a message; the two top bits are not looked at.
    pub(crate) const fn from_bits(bits: u16) -> Self {
        // RFC 8489 section 5, figure 3: M11-M7, C1, M6-M4, C0, M3-M0.
        let method = (bits & 0x3e00) >> 2 | (bits & 0x00e0) >> 1 | bits & 0x000f;
        let class = match bits & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        Self { method: Method(method), class }
    }

    /// The first 16 bits of a message.
    pub(crate) const fn to_bits(self) -> u16 {
        let m = self.method.0;
        let class = match self.class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        (m & 0x0f80) << 2 | (m & 0x0070) << 1 | m & 0x000f | class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_type_survives_the_wire() {
        for bits in 0..0x4000 {
            assert_eq!(MessageType::from_bits(bits).to_bits(), bits);
        }
    }

    #[test]
    fn message_types_are_those_of_the_rfc() {
        let bits = |method, class| MessageType::new(method, class).to_bits();
        assert_eq!(bits(Method::BINDING, Class::Request), 0x0001);
        assert_eq!(bits(Method::BINDING, Class::Success), 0x0101);
        assert_eq!(bits(Method::ALLOCATE, Class::Error), 0x0113);
        assert_eq!(bits(Method::SEND, Class::Indication), 0x0016);
        assert_eq!(bits(Method::DATA, Class::Indication), 0x0017);
        assert_eq!(bits(Method::CHANNEL_BIND, Class::Success), 0x0109);
    }
}
