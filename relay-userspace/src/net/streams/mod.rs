//! Clients that speak TURN over a stream: TCP, TLS, or a WebSocket over either.
//!
//! A connection is made and told apart from others elsewhere, and handed to a shard once it is known to carry TURN. From then
//! on it belongs to that shard, with its TLS, its framing and what waits to be sent: [`connection`]. The shard reads it when
//! epoll says so ([`serve`]), writes what a batch of peers' datagrams came to in one call ([`send`]), and sees to it that none
//! stays for longer than it is of use ([`end`]).

mod connection;
mod end;
mod outgoing;
mod send;
mod serve;
mod table;
mod websocket;

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

pub(super) use connection::Connection;
pub(super) use table::Connections;

use super::mailbox::{Letter, Mailbox};
use crate::turn::{ClientAddr, FiveTuple, Transport};

/// How TURN messages follow each other on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// One after the other, ChannelData padded to four bytes (RFC 8656 section 12.5).
    Turn,
    /// Each in a binary message of a WebSocket whose HTTP upgrade is over.
    WebSocket,
}

/// A connection that turned out to carry TURN.
pub struct ClientStream {
    /// The connection.
    pub socket: TcpStream,
    /// Its TLS, after the handshake.
    pub tls: Option<Box<rustls::ServerConnection>>,
    /// How messages follow each other.
    pub framing: Framing,
    /// The client; as a trusted proxy told it, if one did.
    pub client: SocketAddr,
    /// The address that the client connected to.
    pub listener: SocketAddr,
    /// TCP, or TLS over it; also below a WebSocket.
    pub transport: Transport,
    /// What was read already, decrypted.
    pub early: Vec<u8>,
    /// To be kept as long as the connection: see [`Place`].
    pub place: Place,
}

/// A connection's place in the limits of who let it in, given back when this is dropped.
#[derive(Debug, Default)]
pub struct Place {
    _ticket: Option<Box<dyn Any + Send>>,
}

impl Place {
    /// Whatever gives the place back when it is dropped.
    pub fn new(ticket: impl Any + Send) -> Self {
        Self { _ticket: Some(Box::new(ticket)) }
    }
}

impl ClientStream {
    /// The name of its allocation.
    pub fn five_tuple(&self) -> FiveTuple {
        FiveTuple { client: ClientAddr(self.client), listener: self.listener, transport: self.transport }
    }
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream")
            .field("five_tuple", &self.five_tuple())
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

/// Where connections are handed to the shards of a server. It may outlive the server: what is handed over then is closed.
#[derive(Clone, Debug)]
pub struct Streams {
    mailboxes: Arc<[Mailbox]>,
    /// Nobody outside can tell which shard a client comes to.
    hash: RandomState,
}

impl Streams {
    pub(super) fn new(mailboxes: Arc<[Mailbox]>) -> Self {
        Self { mailboxes, hash: RandomState::new() }
    }

    /// Hands a connection to a shard, which serves it until it ends. It may have more to read than `early`, its TLS
    /// something to send.
    pub fn admit(&self, stream: ClientStream) {
        // Not by the port: many systems give clients even ones only.
        let shard = self.hash.hash_one(stream.client) % self.mailboxes.len() as u64;
        self.mailboxes[shard as usize].post(Letter::Stream(Box::new(stream)));
    }
}

/// How long somebody is waited for. Tests wait for a fiftieth of it.
const fn seconds(seconds: u64) -> Duration {
    Duration::from_millis(if cfg!(test) { seconds * 20 } else { seconds * 1000 })
}

/// A message to a client, in two parts.
#[derive(Clone, Copy, Debug)]
struct Whole<'a> {
    head: &'a [u8],
    body: &'a [u8],
}

#[cfg(test)]
pub(super) mod patience_tests;
