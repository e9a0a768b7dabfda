//! Connections of clients that speak TURN over a stream, on their way to a shard.

use std::any::Any;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

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
}

impl Streams {
    pub(super) fn new(mailboxes: Arc<[Mailbox]>) -> Self {
        Self { mailboxes }
    }

    /// Hands a connection to a shard, which serves it until it ends.
    pub fn admit(&self, stream: ClientStream) {
        let port = usize::from(stream.client.port());
        self.mailboxes[port % self.mailboxes.len()].post(Letter::Stream(Box::new(stream)));
    }
}
