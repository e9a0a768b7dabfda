//! STUN messages (RFC 8489) with TURN's methods and attributes (RFC 8656): parsing, building, integrity.
//!
//! [`Message`] reads a datagram where it lies, [`Builder`] appends one to a buffer. The server and the client of
//! `turnpike probe` use the same two.

mod attribute;
mod builder;
mod discovery;
mod error;
mod integrity;
mod long_term;
mod message;
mod method;
mod values;
mod xor;

#[cfg(test)]
mod tests;

pub use attribute::{Attribute, AttributeType};
pub use builder::{Builder, TooLong};
pub use discovery::ChangeRequest;
pub use error::ErrorCode;
pub use integrity::{Integrity, Key};
pub use long_term::{PasswordAlgorithm, UnknownAlgorithm, userhash};
pub use message::{HEADER_LEN, MAGIC_COOKIE, Message, ParseError, TransactionId};
pub use method::{Class, MessageType, Method};
pub use values::{AddressFamily, BadAttribute, MAX_TEXT_LEN, MAX_USERNAME_LEN};
