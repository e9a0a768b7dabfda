//! Datagrams on their way through a shard: received many at a time, sent many at a time.
//!
//! What is to be sent refers to the buffers that it was received in, so no payload is copied; the buffers are used
//! again once everything is sent.

use std::io;
use std::iter;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::slice;

use relay_common::reason::Reason;

use super::control::IpFields;
use super::counters::Counters;
use super::errors::{self, SocketError};
use super::sockets;
use super::sys::{Datagram, ReceiveBuffers, Received, Sender};
use super::token::{RelayToken, Token};
use super::ttl::SteadyTtl;
use crate::stun::Icmp;

/// Receive buffers of a shard: enough that system calls are few beside packets, few enough to stay in the cache.
pub(super) const SLOTS: usize = 64;

/// How often a call is made that fails at a relayed transport address. One call fails for each ICMP error about an earlier
/// datagram, and nothing says that it is not this one's own failure. The kernel forgets the error with that, unless the
/// error queue is read while there is more in it.
const TRIES: usize = 3;

/// Most ICMP errors that wait to be told, and most that are taken from a socket before others have their turn.
pub(super) const MOST_ERRORS: usize = 64;

/// Most errors that are taken to find the one about a datagram that was just refused: about as many as a socket's buffer
/// holds.
const MOST_SOUGHT: usize = 4096;

/// Code 4 of "destination unreachable" (RFC 1191 section 4).
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);

/// The datagrams received since the last flush and what is to be sent because of them.
pub(super) struct Batch {
    buffers: ReceiveBuffers,
    used: usize,
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
    /// The buffer it lies in.
    slot: usize,
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

#[derive(Clone)]
struct Queued {
    socket: Option<Token>,
    /// The relayed transport address that it leaves from, where that is not the socket.
    relay: Option<RelayToken>,
    /// The place in the queue: datagrams of one socket are sent in order.
    order: usize,
    to: SocketAddr,
    head: Range<usize>,
    body: Range<usize>,
    arrival: Arrival,
    ip: Option<IpFields>,
    dont_fragment: bool,
    /// What to count when it is sent: nothing for answers that are our own.
    relayed: Option<Reason>,
}

impl Queued {
    /// Whether it is sent with headers of our own, which are its head.
    fn is_raw(&self) -> bool {
        matches!(self.socket, Some(Token::Raw(_)))
    }

    /// What must be the same for all datagrams of a call.
    fn call(&self) -> (Option<Token>, bool) {
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
            used: 0,
            queue: Vec::with_capacity(2 * SLOTS),
            heads: Vec::with_capacity(SLOTS * 64),
            sender: Sender::new(SLOTS),
            errors: Vec::with_capacity(MOST_ERRORS),
            oversized: Vec::new(),
        }
    }

    /// How many datagrams can be received before the next flush.
    pub(super) fn room(&self) -> usize {
        SLOTS - self.used
    }

    /// Receives what waits at a socket, at most `most` datagrams, into a range of slots. An error is not that of what
    /// waits: an ICMP error, which is in the error queue too, or a shortage of memory, which passes. After a few of them
    /// it is for epoll to report the socket again.
    pub(super) fn receive(&mut self, socket: &UdpSocket, most: usize) -> Range<usize> {
        let first = self.used;
        let slots = first..first + most.min(self.room());
        for _ in 0..TRIES {
            match self.buffers.receive(socket, slots.clone()) {
                Ok(received) => {
                    self.used += received;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        first..self.used
    }

    /// Takes a datagram that another shard received; there must be room. Returns its slot.
    pub(super) fn take_over(&mut self, datagram: &[u8]) -> usize {
        let slot = self.used;
        self.buffers.fill(slot, datagram);
        self.used += 1;
        slot
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
        self.used = 0;
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

/// Datagrams of one socket on their way out.
struct Sending<'a> {
    buffers: &'a ReceiveBuffers,
    heads: &'a [u8],
    socket: &'a UdpSocket,
    /// What the socket is set to.
    ttl: Option<u8>,
    token: Token,
    counters: &'a Counters,
    errors: &'a mut Vec<PeerError>,
    oversized: &'a mut Vec<Queued>,
}

impl Sending<'_> {
    fn send(&mut self, sender: &mut Sender, run: &[Queued]) {
        if !run[0].call().1 {
            return self.send_all(sender, run);
        }
        // Linux has no control message for DF: the socket is another one meanwhile.
        if sockets::set_dont_fragment(self.socket, true).is_err() {
            return count(run, Reason::SendFailed, self.counters);
        }
        self.send_all(sender, run);
        let reset = sockets::set_dont_fragment(self.socket, false);
        debug_assert!(reset.is_ok(), "an option that was set before can be set again: {reset:?}");
    }

    /// Never waits: what the kernel does not take is dropped and counted, as a router does.
    fn send_all(&mut self, sender: &mut Sender, run: &[Queued]) {
        let (mut rest, mut tries) = (run, 0);
        while let [first, others @ ..] = rest {
            let datagrams = rest.iter().map(|queued| {
                let raw = queued.is_raw();
                let mut to = queued.to;
                if raw {
                    // A raw socket takes it for a protocol.
                    to.set_port(0);
                }
                Datagram {
                    to,
                    head: &self.heads[queued.head.clone()],
                    body: &self.buffers.datagram(queued.arrival.slot)[queued.body.clone()],
                    ip: queued.ip.filter(|_| !raw),
                }
            });
            match sender.send(self.socket, self.ttl, datagrams) {
                Ok(sent) => {
                    for queued in &rest[..sent] {
                        if let Some(reason) = queued.relayed {
                            self.counters.datagram(reason, queued.arrival.bytes);
                        }
                    }
                    (rest, tries) = (&rest[sent..], 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The send buffer is full: so it is for the others.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return count(rest, Reason::SendFailed, self.counters);
                }
                Err(error) if first.is_raw() && error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    // A socket of its own fragments it, or says for which MTU it was refused.
                    self.oversized.push(first.clone());
                    (rest, tries) = (others, 0);
                }
                Err(error) => {
                    tries += 1;
                    if let Some(mtu) = self.refused(first, &error) {
                        self.too_big(first, mtu);
                    } else if tries < TRIES && self.may_be_of_another(&error) {
                        continue;
                    } else {
                        // Too large, no route, forbidden by a firewall: a matter of this one.
                        count(slice::from_ref(first), Reason::SendFailed, self.counters);
                    }
                    (rest, tries) = (others, 0);
                }
            }
        }
    }

    /// Whether it may be an ICMP error that failed a call, and not its own datagram. Listeners have no error queue. A full
    /// queue at the interface (`ENOBUFS`, which sockets with an error queue are told) is not one, and would only be full
    /// again.
    fn may_be_of_another(&self, error: &io::Error) -> bool {
        matches!(self.token, Token::Relay(_)) && error.raw_os_error() != Some(libc::ENOBUFS)
    }

    /// The interface's MTU, if a datagram was refused for it.
    fn refused(&mut self, queued: &Queued, error: &io::Error) -> Option<u32> {
        match self.token {
            Token::Relay(relay) if queued.dont_fragment && error.raw_os_error() == Some(libc::EMSGSIZE) => {
                take_errors(relay, self.socket, MOST_SOUGHT, self.errors, self.counters)
            }
            _ => None,
        }
    }

    /// A datagram that was not to be fragmented was not sent. The client is told as a router would tell it.
    fn too_big(&mut self, queued: &Queued, mtu: u32) {
        count(slice::from_ref(queued), Reason::TooBig, self.counters);
        let relay = match self.token {
            Token::Relay(relay) => Some(relay),
            _ => queued.relay,
        };
        if let Some(relay) = relay {
            let (kind, code) = FRAGMENTATION_NEEDED;
            let icmp = Icmp { kind, code, data: mtu };
            keep(self.errors, PeerError { relay, peer: queued.to, icmp }, self.counters);
        }
    }
}

/// Takes at most `most` errors off a socket's queue. Ends, with the interface's MTU, at one about a datagram that was
/// refused for it.
fn take_errors(
    relay: RelayToken,
    socket: &UdpSocket,
    most: usize,
    errors: &mut Vec<PeerError>,
    counters: &Counters,
) -> Option<u32> {
    iter::from_fn(|| errors::take(socket)).take(most).find_map(|error| {
        match error {
            SocketError::Icmp { peer, icmp } => keep(errors, PeerError { relay, peer, icmp }, counters),
            SocketError::TooBig { mtu } => return Some(mtu),
            SocketError::Other => {}
        }
        None
    })
}

fn keep(errors: &mut Vec<PeerError>, error: PeerError, counters: &Counters) {
    if errors.len() < MOST_ERRORS {
        errors.push(error);
    } else {
        counters.datagram(Reason::IcmpRate, Arrival::icmp(error.peer).bytes);
    }
}

fn count(run: &[Queued], reason: Reason, counters: &Counters) {
    for queued in run {
        counters.datagram(reason, queued.arrival.bytes);
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
