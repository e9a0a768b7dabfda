//! DTLS 1.2 (RFC 6347): TURN in datagrams that nobody on the way can read or change.
//!
//! The protocol is dimpl's, which holds no socket, clock or thread; what it computes with is ring's (`provider`). In front of
//! it is what must not need an association: a client's first message is read, answered with a cookie and forgotten (`hello`,
//! `cookie`), so that nothing is kept, nothing computed for long, and no more sent than was received, for anybody who has not
//! shown to be where its packets say.
//!
//! Where associations live is a matter of the shards ([`crate::net`]).

mod association;
mod call;
mod cookie;
mod hello;
mod provider;
mod suites;

#[cfg(test)]
mod tests;

pub use association::Identity;
pub(crate) use association::{Association, Failure, LONGEST_MESSAGE, Rules, Step};
pub use call::{Call, CallFailed, ToDo};
pub(crate) use cookie::CookieKeys;
pub(crate) use hello::{Alert, Hello, LONGEST_HELLO, NoHello, has_clear_alert, is_hello, is_ordinary};
pub(crate) use provider::can_sign;
