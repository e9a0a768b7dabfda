//! What a shard counts, and the sums over all shards that others may read.

use std::array;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

use relay_common::reason::Reason;
use relay_common::tables::Count;

use super::streams::Framing;
use crate::datapath::NotInstalled;
use crate::stun::Method;
use crate::turn::{TcpEvent, Transport};

/// What the sockets of a server have done since it started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Datagrams by what became of them, indexed by [`Reason`]. Bytes are those of the IP packets as they arrived
    /// (without options), as in the XDP counters.
    pub reasons: ByReason<Count>,
    /// Responses sent, by method and code; only those that occurred.
    pub responses: Vec<Responses>,
    /// Allocations made.
    pub allocations_created: u64,
    /// Allocations that ended.
    pub allocations_ended: u64,
    /// Relayed transport addresses that another program held, so that another port was tried.
    pub ports_in_use: u64,
    /// Relayed transport addresses that could not be opened for want of descriptors or memory.
    pub ports_without_resources: u64,
    /// Channel bindings installed in the fast path.
    pub bindings_installed: u64,
    /// Channel bindings left on the slow path because the tables were full.
    pub bindings_refused_full: u64,
    /// Channel bindings left on the slow path because there is no fast path.
    pub bindings_without_fast_path: u64,
    /// What happened to connections of TCP allocations.
    pub tcp: TcpStats,
    /// Datagrams that the kernel dropped because a listener's receive buffer was full.
    pub listener_drops: u64,
    /// Datagrams that the kernel dropped because the receive buffer of a relayed transport address was full.
    pub relay_drops: u64,
    /// Connections of clients by kind, in the order of [`ConnectionKind::ALL`].
    pub connections: [Connected; ConnectionKind::ALL.len()],
    /// Connections that were closed as they came: a shard had as many as it takes, or they had broken off.
    pub connections_refused: u64,
}

/// Connections of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Connected {
    /// Made since the start.
    pub opened: u64,
    /// Of those, ended.
    pub closed: u64,
}

impl Connected {
    /// There now.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }
}

/// What a client's connection is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionKind {
    /// TURN over TCP.
    Tcp,
    /// TURN over TLS.
    Tls,
    /// TURN in a WebSocket over TCP.
    Ws,
    /// TURN in a WebSocket over TLS.
    Wss,
}

impl ConnectionKind {
    /// All kinds, in the order of their counts.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    pub(super) fn of(transport: Transport, framing: Framing) -> Self {
        match (framing, transport.is_encrypted()) {
            (Framing::Turn, false) => Self::Tcp,
            (Framing::Turn, true) => Self::Tls,
            (Framing::WebSocket, false) => Self::Ws,
            (Framing::WebSocket, true) => Self::Wss,
        }
    }

    /// The name in metrics and on the status screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// One thing for each [`Reason`], indexed by it. A plain array has no default beyond 32 elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ByReason<T>([T; Reason::COUNT]);

impl<T: Default> Default for ByReason<T> {
    fn default() -> Self {
        Self(array::from_fn(|_| T::default()))
    }
}

impl<T> Deref for ByReason<T> {
    type Target = [T; Reason::COUNT];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for ByReason<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Stats {
    /// Datagrams of one fate.
    pub fn reason(&self, reason: Reason) -> Count {
        self.reasons[reason as usize]
    }

    /// Connections of one kind.
    pub fn connections(&self, kind: ConnectionKind) -> Connected {
        self.connections[kind as usize]
    }

    /// Allocations alive now.
    pub fn allocations(&self) -> u64 {
        self.allocations_created.saturating_sub(self.allocations_ended)
    }

    /// Responses to one method with one code (`None`: success).
    pub fn responses(&self, method: &str, code: Option<u16>) -> u64 {
        self.responses.iter().filter(|r| r.method == method && r.code == code).map(|r| r.count).sum()
    }
}

/// Connections of TCP allocations with peers (RFC 6062).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpStats {
    /// Made for a client's Connect request.
    pub connected: u64,
    /// Asked for by a client, in vain.
    pub connect_failed: u64,
    /// Made by peers, and told to the client.
    pub accepted: u64,
    /// Made by peers, and closed: without permission, or beyond a limit.
    pub refused: u64,
    /// Joined to a connection of the client.
    pub bound: u64,
    /// Closed because the client bound none to it in time.
    pub not_bound: u64,
    /// Ended after they were joined.
    pub ended: u64,
    /// Refused, or closed as they came, because the user had as many as one may have.
    pub over_quota: u64,
    /// Bytes carried from clients to peers.
    pub to_peer: u64,
    /// Bytes carried from peers to clients.
    pub to_client: u64,
}

impl TcpStats {
    /// Joined now.
    pub fn active(&self) -> u64 {
        self.bound.saturating_sub(self.ended)
    }
}

/// How often a method was answered in one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Responses {
    /// The method's name in lower case, words joined by `_`; `other` for one that is not known.
    pub method: &'static str,
    /// The error code; `None` for success, 0 for a code that is not counted apart.
    pub code: Option<u16>,
    /// How often.
    pub count: u64,
}

/// Methods counted apart; the last takes the rest.
const METHODS: [(u16, &str); 8] = [
    (Method::BINDING.get(), "binding"),
    (Method::ALLOCATE.get(), "allocate"),
    (Method::REFRESH.get(), "refresh"),
    (Method::CREATE_PERMISSION.get(), "create_permission"),
    (Method::CHANNEL_BIND.get(), "channel_bind"),
    (Method::CONNECT.get(), "connect"),
    (Method::CONNECTION_BIND.get(), "connection_bind"),
    (0, "other"),
];

/// Outcomes counted apart: success and the error codes of RFC 8489 section 14.8, RFC 8656 section 19 and RFC 8016 section 3.1; the last takes
/// the rest.
const CODES: [Option<u16>; 19] = [
    None,
    Some(300),
    Some(400),
    Some(401),
    Some(403),
    Some(405),
    Some(420),
    Some(437),
    Some(438),
    Some(440),
    Some(441),
    Some(442),
    Some(443),
    Some(446),
    Some(447),
    Some(486),
    Some(500),
    Some(508),
    Some(0),
];

/// The counters of one shard. Only its thread writes, others read at any time: no locked instruction is needed.
#[derive(Default, Debug)]
pub(super) struct Counters {
    packets: ByReason<Counter>,
    bytes: ByReason<Counter>,
    responses: [[Counter; CODES.len()]; METHODS.len()],
    pub(super) allocations_created: Counter,
    pub(super) allocations_ended: Counter,
    pub(super) ports_in_use: Counter,
    pub(super) ports_without_resources: Counter,
    pub(super) bindings_installed: Counter,
    bindings_refused_full: Counter,
    bindings_without_fast_path: Counter,
    tcp: [Counter; 8],
    pub(super) tcp_to_peer: Counter,
    pub(super) tcp_to_client: Counter,
    pub(super) listener_drops: Counter,
    pub(super) relay_drops: Counter,
    connections: [ConnectionCounters; ConnectionKind::ALL.len()],
    pub(super) connections_refused: Counter,
}

/// Of the connections of one kind. One that moved may have been opened in another shard.
#[derive(Default, Debug)]
pub(super) struct ConnectionCounters {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
}

impl Counters {
    /// A datagram met its fate; `bytes` are those of the IP packet that brought it.
    pub(super) fn datagram(&self, reason: Reason, bytes: u64) {
        self.packets[reason as usize].add(1);
        self.bytes[reason as usize].add(bytes);
    }

    /// A request was answered, with an error code or with success.
    pub(super) fn response(&self, method: u16, code: Option<u16>) {
        let method = METHODS.iter().position(|(m, _)| *m == method).unwrap_or(METHODS.len() - 1);
        let code = CODES.iter().position(|c| *c == code).unwrap_or(CODES.len() - 1);
        self.responses[method][code].add(1);
    }

    /// The counters of one kind of connection.
    pub(super) fn connections(&self, kind: ConnectionKind) -> &ConnectionCounters {
        &self.connections[kind as usize]
    }

    /// A binding stays on the slow path.
    pub(super) fn not_installed(&self, why: NotInstalled) {
        match why {
            NotInstalled::Full => self.bindings_refused_full.add(1),
            NotInstalled::NoFastPath => self.bindings_without_fast_path.add(1),
        }
    }

    /// Something happened to a connection of a TCP allocation.
    pub(super) fn tcp(&self, event: TcpEvent) {
        self.tcp[event as usize].add(1);
    }

    /// Adds this shard's counters to the sums.
    pub(super) fn add_to(&self, sums: &mut Stats) {
        for (sum, (packets, bytes)) in sums.reasons.iter_mut().zip(self.packets.iter().zip(self.bytes.iter()))
        {
            sum.packets += packets.get();
            sum.bytes += bytes.get();
        }
        for ((_, method), counters) in METHODS.iter().zip(&self.responses) {
            for (&code, counter) in CODES.iter().zip(counters).filter(|(_, counter)| counter.get() > 0) {
                sums.add_responses(Responses { method, code, count: counter.get() });
            }
        }
        sums.allocations_created += self.allocations_created.get();
        sums.allocations_ended += self.allocations_ended.get();
        sums.ports_in_use += self.ports_in_use.get();
        sums.ports_without_resources += self.ports_without_resources.get();
        sums.bindings_installed += self.bindings_installed.get();
        sums.bindings_refused_full += self.bindings_refused_full.get();
        sums.bindings_without_fast_path += self.bindings_without_fast_path.get();
        let of = |event: TcpEvent| self.tcp[event as usize].get();
        sums.tcp.connected += of(TcpEvent::Connected);
        sums.tcp.connect_failed += of(TcpEvent::ConnectFailed);
        sums.tcp.accepted += of(TcpEvent::Accepted);
        sums.tcp.refused += of(TcpEvent::Refused);
        sums.tcp.bound += of(TcpEvent::Bound);
        sums.tcp.not_bound += of(TcpEvent::NotBound);
        sums.tcp.over_quota += of(TcpEvent::OverQuota);
        sums.tcp.ended += of(TcpEvent::Ended);
        sums.tcp.to_peer += self.tcp_to_peer.get();
        sums.tcp.to_client += self.tcp_to_client.get();
        sums.listener_drops += self.listener_drops.get();
        sums.relay_drops += self.relay_drops.get();
        for (sum, counters) in sums.connections.iter_mut().zip(&self.connections) {
            sum.opened += counters.opened.get();
            sum.closed += counters.closed.get();
        }
        sums.connections_refused += self.connections_refused.get();
    }
}

impl Stats {
    fn add_responses(&mut self, more: Responses) {
        match self.responses.iter_mut().find(|r| (r.method, r.code) == (more.method, more.code)) {
            Some(known) => known.count += more.count,
            None => self.responses.push(more),
        }
    }
}

/// A number with one writer.
#[derive(Default, Debug)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_the_sums_over_all_shards() {
        let shards = [Counters::default(), Counters::default()];
        for shard in &shards {
            shard.datagram(Reason::ToPeer, 128);
            shard.response(0x003, None);
            shard.response(0x003, Some(401));
            shard.response(0x0bb, Some(499));
            shard.allocations_created.add(2);
            shard.allocations_ended.add(1);
            shard.not_installed(NotInstalled::Full);
        }
        let mut stats = Stats::default();
        shards.iter().for_each(|shard| shard.add_to(&mut stats));
        assert_eq!(stats.reason(Reason::ToPeer), Count { packets: 2, bytes: 256 });
        assert_eq!(stats.reason(Reason::ToClient), Count::default());
        assert_eq!(stats.responses("allocate", None), 2);
        assert_eq!(stats.responses("allocate", Some(401)), 2);
        assert_eq!(stats.responses("other", Some(0)), 2);
        assert_eq!(stats.responses.len(), 3);
        assert_eq!((stats.allocations(), stats.bindings_refused_full), (2, 2));
    }
}
