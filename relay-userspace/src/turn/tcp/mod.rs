//! TCP allocations (RFC 6062): relayed transport addresses that peers connect to, and that connections to peers leave from.
//!
//! The core knows connections by their CONNECTION-ID alone and moves no byte of theirs. It has the caller connect to a peer,
//! or keep or close what a peer opened; and once a client has bound a connection of its own to one of a peer, the caller
//! joins the two and carries what comes, as-is and both ways (section 5.4).
//!
//! A client's second connection may arrive at any shard. Which one has the allocation is looked up by CONNECTION-ID, and
//! the connection goes there as a whole ([`Output::Forward`](super::Output::Forward)).

mod bind;
mod carried;
mod connect;
mod connections;
mod end;
mod incoming;
mod pace;

use std::fmt;
use std::time::Duration;

pub use carried::Carried;
pub(super) use connections::{Connection, Connections, TcpAllocation};
pub use pace::Pace;

/// CONNECTION-ID (RFC 6062 section 6.2.1): names a connection of a peer, among those of all shards. Random, so that nobody
/// comes across another's; whoever does must still be the same user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u32);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// How much TCP allocations may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpRelay {
    /// Most connections with peers of one allocation, those included that are being made or wait for the client (508
    /// beyond).
    pub allocation_connections: usize,
    /// The same over all allocations of a user, whatever their shards (486 beyond).
    pub user_connections: usize,
    /// The same over all allocations and shards (508 beyond).
    pub total_connections: usize,
    /// How long a connection may carry nothing before it is closed.
    pub idle: Duration,
}

/// How long a peer may take to answer: "The timeout value MUST be at least 30 seconds" (RFC 6062 section 5.2).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection of a peer waits for the client: "If no ConnectionBind request associated with this peer data
/// connection is received after 30 seconds, the peer data connection MUST be closed" (RFC 6062 sections 5.2 and 5.3).
const BIND_TIMEOUT: Duration = Duration::from_secs(30);

/// Something that happened to a connection, for the counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpEvent {
    /// A client's Connect request led to a connection.
    Connected,
    /// It did not: the peer refused, could not be reached, or took too long.
    ConnectFailed,
    /// A peer connected and the client was told.
    Accepted,
    /// A peer connected that has no permission, or for whom there was no room.
    Refused,
    /// A client bound a connection of its own to one of a peer.
    Bound,
    /// A connection that no client bound within 30 seconds was closed.
    NotBound,
    /// A connection ended that was bound.
    Ended,
    /// A connection was refused to a client, or closed to a peer, because the user has as many as one may have.
    OverQuota,
}
