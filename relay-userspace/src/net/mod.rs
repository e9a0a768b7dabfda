//! The sockets: UDP listeners, relayed transport addresses, and the shards that serve them.
//!
//! A [`Server`] runs one thread per shard. A shard owns a protocol core ([`crate::turn::Core`]), a socket of its own
//! for every listener (`SO_REUSEPORT`: the kernel hashes the 5-tuple, so a client always meets the same shard) and one
//! for all allocations it made, or one for each where the socket lookup program cannot run. Nothing on the packet path is locked, allocated or logged.
//!
//! This is the relay that works everywhere, without XDP and without privileges; it also serves whatever XDP passes
//! up.

mod batch;
mod control;
mod counters;
mod dtls;
mod effects;
mod errors;
#[cfg(test)]
mod fairness_tests;
mod foreign;
mod icmp;
mod limits;
mod listeners;
mod log;
mod lookup;
mod mailbox;
mod names;
mod peer_errors;
mod raw;
mod receiving;
mod relays;
#[cfg(any(test, fuzzing))]
mod rig;
mod sending;
mod server;
mod shard;
mod shared;
mod sockets;
mod streams;
mod sys;
mod tcp_relay;
mod token;
mod ttl;
mod walk;

pub use counters::{ByReason, Connected, ConnectionKind, Responses, Stats, TcpStats};
#[cfg(any(test, fuzzing))]
pub use dtls::DtlsRig;
pub use dtls::{DtlsConfig, DtlsDoor, DtlsEvent};
pub(crate) use limits::leave_reserve;
pub use server::{Asked, Reconfigured, RelaySockets, Server, ServerConfig};
pub use sockets::LISTENER_BUFFER;
pub use streams::{ClientStream, Framing, Place, Streams};
pub use walk::{Found, FoundSession, NoSessionId, Selection, SessionId, SessionQuery};
