//! The client's side: connections that carry TURN messages to a server over UDP, TCP, TLS or a WebSocket, directly or
//! through an HTTP proxy.
//!
//! A [`Connector`] knows where to and how. It goes [step by step](Step), and when it fails it says at which step and what the
//! likely reason is. `turnpike probe` and `turnpike tunnel` are made of it.

mod connect;
mod connection;
mod failure;
mod proxy;
mod splitter;
mod tls;
mod url;
mod websocket;

#[cfg(test)]
pub(crate) mod fakes;
#[cfg(test)]
mod tests;

pub use connect::{Connector, Done, Step};
pub use connection::{Connection, Incoming, Lost, Receiver, Sender};
pub use failure::{Failed, Failure};
pub use proxy::{BadProxy, Proxy, Refusal};
pub use splitter::Splitter;
pub use tls::{TlsFailure, Trust, TrustError};
pub use url::{Carrier, ServerUrl};
pub use websocket::UpgradeFailure;
