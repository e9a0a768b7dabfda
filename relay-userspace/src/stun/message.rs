//! Reading a message: the header, the attributes in their order, and which of them count.

use super::attribute::{self, Attribute, AttributeType};
use super::integrity;
use super::method::{Class, MessageType, Method};

/// Bytes of the STUN header.
pub const HEADER_LEN: usize = 20;

/// Bytes 4 to 7 of every message since RFC 5389.
pub const MAGIC_COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();

/// The message whose FINGERPRINT is not looked at.
const SEND: MessageType = MessageType::new(Method::SEND, Class::Indication);

/// What pairs an answer with its request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TransactionId(pub [u8; 12]);

/// A well-formed message, borrowed from its datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    message_type: MessageType,
}

/// Why a datagram is not a message; it is to be dropped without an answer (RFC 8489 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Shorter than the header.
    #[error("the datagram is shorter than a STUN header")]
    Short,
    /// The two top bits are not zero.
    #[error("the two top bits are set: not STUN")]
    NotStun,
    /// Not the magic cookie: another protocol, or a client of RFC 3489.
    #[error("the magic cookie is missing")]
    NoCookie,
    /// The length field is no multiple of four, or not what follows the header.
    #[error("the length field does not fit the datagram")]
    Length,
    /// An attribute reaches beyond the end of the message.
    #[error("an attribute does not fit the message")]
    Attribute,
    /// FINGERPRINT is there and wrong.
    #[error("the fingerprint is wrong")]
    Fingerprint,
}

impl<'a> Message<'a> {
    /// Reads one datagram, which must be one message and nothing else. A FINGERPRINT, where there is one, is right
    /// in every message that this returns, Send indications excepted: there it is over all of the data, the data path
    /// does not read that, and nothing is told apart by it (`docs/decisions/0005-indications.md`).
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (header, body) = datagram.split_first_chunk::<HEADER_LEN>().ok_or(ParseError::Short)?;
        if header[0] & 0xc0 != 0 {
            return Err(ParseError::NotStun);
        }
        if header[4..8] != MAGIC_COOKIE {
            return Err(ParseError::NoCookie);
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !length.is_multiple_of(4) || length != body.len() {
            return Err(ParseError::Length);
        }
        let mut rest = body;
        while !rest.is_empty() {
            (_, rest) = attribute::split_first(rest).ok_or(ParseError::Attribute)?;
        }

        let message_type = MessageType::from_bits(u16::from_be_bytes([header[0], header[1]]));
        let message = Self { bytes: datagram, message_type };
        match message.locate(AttributeType::FINGERPRINT) {
            Some((covered, a)) if message_type != SEND && a.value != integrity::fingerprint(covered) => {
                Err(ParseError::Fingerprint)
            }
            _ => Ok(message),
        }
    }

    /// Method and class.
    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// What is asked.
    pub fn method(&self) -> Method {
        self.message_type.method
    }

    /// Request, indication, success or error.
    pub fn class(&self) -> Class {
        self.message_type.class
    }

    /// What pairs an answer with its request.
    pub fn transaction_id(&self) -> TransactionId {
        TransactionId(self.bytes[8..HEADER_LEN].try_into().expect("the header was checked"))
    }

    /// The whole message, header included.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes that count, in their order. What follows an integrity attribute is not covered by it and left
    /// out, FINGERPRINT excepted; so is whatever follows FINGERPRINT (RFC 8489 sections 14.5 to 14.7).
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        self.located().map(|(_, a)| a)
    }

    /// The first attribute of this number: of repeated ones the first counts (RFC 8489 section 14).
    pub fn attribute(&self, kind: AttributeType) -> Option<Attribute<'a>> {
        self.attributes().find(|a| a.kind == kind)
    }

    /// Whether there is an attribute of this number.
    pub fn has(&self, kind: AttributeType) -> bool {
        self.attribute(kind).is_some()
    }

    /// The attributes that a server must understand and this crate does not: the content of a 420
    /// (RFC 8489 section 6.3.1). Repeated ones are repeated.
    pub fn unknown_required(&self) -> impl Iterator<Item = AttributeType> + use<'a> {
        self.attributes().map(|a| a.kind).filter(|t| t.is_comprehension_required() && t.name().is_none())
    }

    /// An attribute with the bytes of the message before it, which are what integrity attributes cover.
    pub(super) fn locate(&self, kind: AttributeType) -> Option<(&'a [u8], Attribute<'a>)> {
        self.located().find(|(_, a)| a.kind == kind)
    }

    fn located(&self) -> Located<'a> {
        Located { bytes: self.bytes, at: HEADER_LEN, honoured: Honoured::All }
    }
}

/// Which attributes still count, from the integrity attributes met so far.
#[derive(Clone, Copy)]
enum Honoured {
    All,
    /// After MESSAGE-INTEGRITY (RFC 8489 section 14.5).
    Sha256AndFingerprint,
    /// After MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6).
    Fingerprint,
    /// After FINGERPRINT (RFC 8489 section 14.7).
    Nothing,
}

struct Located<'a> {
    bytes: &'a [u8],
    at: usize,
    honoured: Honoured,
}

impl<'a> Iterator for Located<'a> {
    type Item = (&'a [u8], Attribute<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (before, rest) = self.bytes.split_at_checked(self.at)?;
            let (attribute, rest) = attribute::split_first(rest)?;
            self.at = self.bytes.len() - rest.len();

            let counts = match self.honoured {
                Honoured::All => true,
                Honoured::Sha256AndFingerprint => matches!(
                    attribute.kind,
                    AttributeType::MESSAGE_INTEGRITY_SHA256 | AttributeType::FINGERPRINT
                ),
                Honoured::Fingerprint => attribute.kind == AttributeType::FINGERPRINT,
                Honoured::Nothing => return None,
            };
            if !counts {
                continue;
            }
            match attribute.kind {
                AttributeType::MESSAGE_INTEGRITY => self.honoured = Honoured::Sha256AndFingerprint,
                AttributeType::MESSAGE_INTEGRITY_SHA256 => self.honoured = Honoured::Fingerprint,
                AttributeType::FINGERPRINT => self.honoured = Honoured::Nothing,
                _ => {}
            }
            return Some((before, attribute));
        }
    }
}
