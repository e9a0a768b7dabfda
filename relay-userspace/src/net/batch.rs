//! Datagrams on their way through a shard: received many at a time, sent many at a time.
//!
//! What is to be sent refers to the buffers that it was received in, so no payload is copied; the buffers are used
//! again once everything is sent.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;

use relay_common::reason::Reason;

use super::control::IpFields;
use super::counters::Counters;
use super::receiving::{ReceiveBuffers, Received};
use super::sending::{Sending, count, keep, take_errors};
use super::sys::Sender;
use super::token::{RelayToken, Token};
use super::ttl::SteadyTtl;
use crate::stun::Icmp;

/// Receive buffers of a shard: enough that system calls are few beside packets, few enough to stay in the cache.
pub(super) const SLOTS: usize = 64;

/// How often a call is made that fails at a relayed transport address. One call fails for each ICMP error about an earlier
/// datagram, and nothing says that it is not this one's own failure. The kernel forgets the error with that, unless the
/// error queue is read while there is more in it.
pub(super) const TRIES: usize = 3;

/// Most ICMP errors that wait to be told, and most that are taken from a socket before others have their turn.
pub(super) const MOST_ERRORS: usize = 64;

/// The datagrams received since the last flush and what is to be sent because of them.
pub(super) struct Batch {
    buffers: ReceiveBuffers,
    queue: Vec<Queued>,
    /// First bytes of the queued datagrams, one after the other.
    heads: Vec<u8>,
    sender: Sender,
    errors: Vec<PeerError>,
    /// What a raw socket refused because it would have to be fragmented.
    oversized: Vec<Queued>,
}

/// An ICMP error about what a relayed transport address sent to a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerError {
    pub(super) relay: RelayToken,
    pub(super) peer: SocketAddr,
    pub(super) icmp: Icmp,
}

/// What came, and from whom.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Origin {
    /// A datagram at a listener, or nothing at all.
    #[default]
    Client,
    /// A datagram at a relayed transport address.
    Peer,
    /// An ICMP error at a relayed transport address.
    Icmp,
}

/// A datagram that arrived; the default stands for none.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Arrival {
    /// The place that it has among what was received.
    pub(super) slot: usize,
    /// Bytes of its IP packet.
    pub(super) bytes: u64,
    pub(super) origin: Origin,
    /// Of its IP header, as it arrived.
    pub(super) ip: Option<IpFields>,
}

impl Arrival {
    /// A datagram in a buffer, which came to the address `at`.
    pub(super) fn new(slot: usize, at: SocketAddr, received: &Received<'_>, origin: Origin) -> Self {
        let bytes = (headers(at) + received.datagram.len()) as u64;
        Self { slot, bytes, origin, ip: received.said.ip }
    }

    /// A datagram in a buffer, which another shard received at the listener `at`.
    pub(super) fn handed_on(slot: usize, at: SocketAddr, datagram: &[u8], ip: Option<IpFields>) -> Self {
        let bytes = (headers(at) + datagram.len()) as u64;
        Self { slot, bytes, origin: Origin::Client, ip }
    }

    /// A message in a buffer, which came by a client's connection. How many packets brought it is not told, and so nothing is
    /// counted for their headers.
    pub(super) fn message(slot: usize, message: &[u8]) -> Self {
        Self { slot, bytes: message.len() as u64, ..Self::default() }
    }

    /// An ICMP error that came to the address `at`. How long it was is not told: it counts as the shortest there is.
    pub(super) fn icmp(at: SocketAddr) -> Self {
        // IP and ICMP, and of the packet that it is about, IP and UDP.
        Self { bytes: (2 * headers(at)) as u64, origin: Origin::Icmp, ..Self::default() }
    }
}

/// Bytes of IP (without options) and UDP; ICMP's header is as long as UDP's.
fn headers(at: SocketAddr) -> usize {
    if at.is_ipv6() { 40 + 8 } else { 20 + 8 }
}

/// A datagram to send.
#[derive(Clone)]
pub(super) struct Queued {
    pub(super) socket: Option<Token>,
    /// The relayed transport address that it leaves from, where that is not the socket.
    pub(super) relay: Option<RelayToken>,
    /// The place in the queue: datagrams of one socket are sent in order.
    pub(super) order: usize,
    pub(super) to: SocketAddr,
    pub(super) head: Range<usize>,
    pub(super) body: Range<usize>,
    pub(super) arrival: Arrival,
    pub(super) ip: Option<IpFields>,
    pub(super) dont_fragment: bool,
    /// What to count when it is sent: nothing for answers that are our own.
    pub(super) relayed: Option<Reason>,
}

impl Queued {
    /// Whether it is sent with headers of our own, which are its head.
    pub(super) fn is_raw(&self) -> bool {
        matches!(self.socket, Some(Token::Raw(_)))
    }

    /// What must be the same for all datagrams of a call.
    pub(super) fn call(&self) -> (Option<Token>, bool) {
        (self.socket, self.dont_fragment && !self.is_raw())
    }
}

/// Where a datagram goes.
pub(super) struct Route {
    /// The socket that sends it; without one it counts as not sent.
    pub(super) socket: Option<Token>,
    /// The relayed transport address that it leaves from, if a raw socket sends it.
    pub(super) relay: Option<RelayToken>,
    /// Its destination.
    pub(super) to: SocketAddr,
    /// Of its IP header; without it the host's defaults.
    pub(super) ip: Option<IpFields>,
    /// To be sent whole or not at all. For relayed transport addresses of IPv4.
    pub(super) dont_fragment: bool,
    /// What it counts as once it is sent.
    pub(super) relayed: Option<Reason>,
}

impl Route {
    /// For a datagram that is our own: with the IP header that this host gives it.
    pub(super) fn own(socket: Option<Token>, to: SocketAddr, relayed: Option<Reason>) -> Self {
        Self { socket, relay: None, to, ip: None, dont_fragment: false, relayed }
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            buffers: ReceiveBuffers::new(SLOTS),
            queue: Vec::with_capacity(2 * SLOTS),
            heads: Vec::with_capacity(SLOTS * 64),
            sender: Sender::new(SLOTS),
            errors: Vec::with_capacity(MOST_ERRORS),
            oversized: Vec::new(),
        }
    }

    /// How many datagrams can surely be received before the next flush; those that the kernel merged count as one.
    pub(super) fn room(&self) -> usize {
        self.buffers.room()
    }

    /// Receives what waits at a socket, at most `most` datagrams as the kernel has them, which may have merged some, into a
    /// range of slots. An error is not that of what waits: an ICMP error, which is in the error queue too, or a shortage of
    /// memory, which passes. After a few of them it is for epoll to report the socket again.
    pub(super) fn receive(&mut self, socket: &UdpSocket, most: usize) -> Range<usize> {
        for _ in 0..TRIES {
            match self.buffers.receive(socket, most) {
                Ok(received) => return received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        let none = self.buffers.datagrams();
        none..none
    }

    /// Takes a datagram that another shard received, or a message of a connection; there must be room. Returns its slot.
    pub(super) fn take_over(&mut self, datagram: &[u8]) -> usize {
        self.buffers.put(datagram)
    }

    /// Puts what was in a datagram of DTLS in its place. What refers to that must have been sent.
    pub(super) fn replace(&mut self, slot: usize, message: &[u8]) {
        self.buffers.replace(slot, message);
    }

    /// The datagram of an arrival.
    pub(super) fn datagram(&self, arrival: Arrival) -> &[u8] {
        self.buffers.datagram(arrival.slot)
    }

    /// A received datagram.
    pub(super) fn received(&self, slot: usize) -> Received<'_> {
        self.buffers.received(slot)
    }

    /// Queues a datagram made of `head` and a range of the datagram that caused it.
    pub(super) fn push(&mut self, route: Route, head: &[u8], body: Range<usize>, arrival: Arrival) {
        let start = self.heads.len();
        self.heads.extend_from_slice(head);
        self.queue.push(Queued {
            socket: route.socket,
            relay: route.relay,
            order: self.queue.len(),
            to: route.to,
            head: start..self.heads.len(),
            body,
            arrival,
            ip: route.ip,
            dont_fragment: route.dont_fragment,
            relayed: route.relayed,
        });
    }

    /// How many datagrams are queued.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Takes what is queued to be sent, where it refers to nothing that was received.
    #[cfg(any(test, fuzzing))]
    pub(super) fn take_queued(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let whole = |queued: Queued| {
            assert!(queued.body.is_empty());
            (queued.to, self.heads[queued.head].to_vec())
        };
        let taken = self.queue.drain(..).map(whole).collect();
        self.heads.clear();
        taken
    }

    /// Sends what is queued, with one system call per socket where it can. `socket` knows the sockets, and of those of
    /// relayed transport addresses the TTL.
    pub(super) fn send<'s>(
        &mut self,
        socket: impl Fn(Token) -> Option<(&'s UdpSocket, Option<&'s SteadyTtl>)>,
        counters: &Counters,
    ) {
        self.queue.sort_unstable_by_key(|queued| (queued.socket, queued.order));
        for run in self.queue.chunk_by(|a, b| a.call() == b.call()) {
            let Some((token, (socket, steady))) = run[0].socket.and_then(|t| Some((t, socket(t)?))) else {
                count(run, Reason::SendFailed, counters);
                continue;
            };
            let (buffers, heads) = (&self.buffers, &self.heads);
            let (errors, oversized) = (&mut self.errors, &mut self.oversized);
            let ttl = steady.zip(run[0].ip).and_then(|(s, ip)| s.follow(socket, run[0].to.is_ipv6(), ip.ttl));
            let mut sending = Sending { buffers, heads, socket, ttl, token, counters, errors, oversized };
            sending.send(&mut self.sender, run);
        }
        self.queue.clear();
        self.heads.clear();
    }

    /// Queues again, for sockets of their own, what a raw socket refused because it would have to be fragmented. Returns
    /// from where those are, nothing when there was nothing.
    pub(super) fn requeue_oversized(&mut self) -> impl Iterator<Item = RelayToken> {
        self.queue.extend(self.oversized.drain(..).map(|queued| Queued {
            socket: queued.relay.map(Token::Relay),
            head: 0..0,
            ..queued
        }));
        self.queue.iter().filter_map(|queued| queued.relay)
    }

    /// Frees the buffers. What was queued must have been sent.
    pub(super) fn reuse_buffers(&mut self) {
        debug_assert!(self.queue.is_empty(), "queued datagrams refer to the buffers");
        self.buffers.clear();
    }

    /// Takes what waits in the error queue of a relayed transport address, at most [`MOST_ERRORS`].
    pub(super) fn receive_errors(&mut self, relay: RelayToken, socket: &UdpSocket, counters: &Counters) {
        take_errors(relay, socket, MOST_ERRORS, &mut self.errors, counters);
    }

    /// Keeps an ICMP error that came otherwise.
    pub(super) fn keep_error(&mut self, error: PeerError, counters: &Counters) {
        keep(&mut self.errors, error, counters);
    }

    /// The ICMP errors taken so far, which the client is to be told.
    pub(super) fn errors(&mut self) -> &mut Vec<PeerError> {
        &mut self.errors
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
