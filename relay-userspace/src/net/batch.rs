//! Datagrams on their way through a shard: received many at a time, sent many at a time.
//!
//! What is to be sent refers to the buffers that it was received in, so no payload is copied; the buffers are used
//! again once everything is sent.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;

use relay_common::reason::Reason;

use super::counters::Counters;
use super::sys::{Datagram, ReceiveBuffers, Received, Sender};
use super::token::Token;

/// Receive buffers of a shard: enough that system calls are few beside packets, few enough to stay in the cache.
pub(super) const SLOTS: usize = 64;

/// The datagrams received since the last flush and what is to be sent because of them.
pub(super) struct Batch {
    buffers: ReceiveBuffers,
    used: usize,
    queue: Vec<Queued>,
    /// First bytes of the queued datagrams, one after the other.
    heads: Vec<u8>,
    sender: Sender,
}

/// A datagram that arrived; the default stands for none.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Arrival {
    /// The buffer it lies in.
    slot: usize,
    /// Bytes of its IP packet.
    pub(super) bytes: u64,
    /// Whether it came to a relayed transport address rather than to a listener.
    pub(super) from_peer: bool,
}

impl Arrival {
    /// A datagram of `len` bytes in a buffer, which came to the address `at`.
    pub(super) fn new(slot: usize, at: SocketAddr, len: usize, from_peer: bool) -> Self {
        /// IP (without options) and UDP.
        const HEADERS: [usize; 2] = [20 + 8, 40 + 8];
        Self { slot, bytes: (HEADERS[usize::from(at.is_ipv6())] + len) as u64, from_peer }
    }
}

struct Queued {
    socket: Option<Token>,
    /// The place in the queue: datagrams of one socket are sent in order.
    order: usize,
    to: SocketAddr,
    head: Range<usize>,
    body: Range<usize>,
    arrival: Arrival,
    /// What to count when it is sent: nothing for answers that are our own.
    relayed: Option<Reason>,
}

/// Where a datagram goes.
pub(super) struct Route {
    /// The socket that sends it; without one it counts as not sent.
    pub(super) socket: Option<Token>,
    /// Its destination.
    pub(super) to: SocketAddr,
    /// What it counts as once it is sent.
    pub(super) relayed: Option<Reason>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            buffers: ReceiveBuffers::new(SLOTS),
            used: 0,
            queue: Vec::with_capacity(2 * SLOTS),
            heads: Vec::with_capacity(SLOTS * 64),
            sender: Sender::new(SLOTS),
        }
    }

    /// How many datagrams can be received before the next flush.
    pub(super) fn room(&self) -> usize {
        SLOTS - self.used
    }

    /// Receives what waits at a socket, at most `most` datagrams, into a range of slots. An error is no concern of
    /// the relay: without `IP_RECVERR`, an unconnected socket reports no ICMP error, and a shortage of memory passes.
    pub(super) fn receive(&mut self, socket: &UdpSocket, most: usize) -> Range<usize> {
        let first = self.used;
        let slots = first..first + most.min(self.room());
        self.used += self.buffers.receive(socket, slots).unwrap_or(0);
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
        self.buffers.received(arrival.slot).datagram
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
            order: self.queue.len(),
            to: route.to,
            head: start..self.heads.len(),
            body,
            arrival,
            relayed: route.relayed,
        });
    }

    /// Sends what is queued, with one system call per socket where it can.
    pub(super) fn send<'s>(&mut self, socket: impl Fn(Token) -> Option<&'s UdpSocket>, counters: &Counters) {
        self.queue.sort_unstable_by_key(|queued| (queued.socket, queued.order));
        for run in self.queue.chunk_by(|a, b| a.socket == b.socket) {
            match run[0].socket.and_then(&socket) {
                Some(socket) => {
                    send_run(&mut self.sender, &self.buffers, &self.heads, socket, run, counters);
                }
                None => count_failed(run, counters),
            }
        }
        self.queue.clear();
        self.heads.clear();
    }

    /// Frees the buffers. What was queued must have been sent.
    pub(super) fn reuse_buffers(&mut self) {
        debug_assert!(self.queue.is_empty(), "queued datagrams refer to the buffers");
        self.used = 0;
    }
}

/// Sends datagrams of one socket. Never waits: what the kernel does not take is dropped and counted, as a router does.
fn send_run(
    sender: &mut Sender,
    buffers: &ReceiveBuffers,
    heads: &[u8],
    socket: &UdpSocket,
    run: &[Queued],
    counters: &Counters,
) {
    let mut rest = run;
    while !rest.is_empty() {
        let datagrams = rest.iter().map(|queued| Datagram {
            to: queued.to,
            head: &heads[queued.head.clone()],
            body: &buffers.received(queued.arrival.slot).datagram[queued.body.clone()],
        });
        match sender.send(socket, datagrams) {
            Ok(sent) => {
                for queued in &rest[..sent] {
                    if let Some(reason) = queued.relayed {
                        counters.datagram(reason, queued.arrival.bytes);
                    }
                }
                rest = &rest[sent..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The send buffer is full: so it is for the others.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return count_failed(rest, counters);
            }
            // Too large, no route, forbidden by a firewall: a matter of this one.
            Err(_) => {
                count_failed(&rest[..1], counters);
                rest = &rest[1..];
            }
        }
    }
}

fn count_failed(run: &[Queued], counters: &Counters) {
    for queued in run {
        counters.datagram(Reason::SendFailed, queued.arrival.bytes);
    }
}
