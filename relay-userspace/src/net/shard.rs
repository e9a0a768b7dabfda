//! One shard: a thread with its own protocol core and sockets.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use relay_common::reason::Reason;

use super::batch::{Arrival, Batch, Origin, SLOTS};
use super::counters::{Counter, Counters};
use super::dtls::{Associations, Common};
use super::listeners::Listener;
use super::log::Log;
use super::mailbox::{HandOn, HandedOn, Letter, Mailbox, Steering};
use super::relays::Relays;
use super::shared::Shared;
use super::streams::Connections;
use super::tcp_relay::TcpRelays;
use super::token::{Family, RelayToken, Token};
use super::walk::Walks;
use crate::datapath::FastPath;
use crate::time::Timestamp;
use crate::turn::{
    AllocationId, ClientAddr, Core, FiveTuple, Input, Outputs, PeerAddr, RelayAddr, RelayRefused, Transport,
};

/// Most datagrams taken from one relayed transport address before others have their turn.
const RELAY_TURN: usize = 16;

/// Datagrams that are queued before they are sent, where more are still to be handled.
const MOST_QUEUED: usize = 4 * SLOTS;

/// Connections that have their turn before others have theirs again.
pub(super) const STREAMS_TURN: usize = 8;

/// The protocol core, the sockets and all else that one thread needs. How the core's outputs are carried out is in
/// [`effects`](super::effects).
pub(super) struct Shard {
    pub(super) core: Core,
    pub(super) outputs: Outputs,
    /// Answers to OpenRelay that the core has not been given yet.
    pub(super) opened: VecDeque<(AllocationId, Result<(), RelayRefused>)>,
    pub(super) batch: Batch,
    pub(super) listeners: Vec<Listener>,
    pub(super) relays: Relays,
    pub(super) tcp_relays: TcpRelays,
    pub(super) epoll: Epoll,
    /// That of connections, which the other reports as one: however many have something to say, whatever else is ready has its
    /// turn after a few of them.
    pub(super) stream_epoll: Epoll,
    pub(super) fast_path: Box<dyn FastPath>,
    pub(super) counters: Arc<Counters>,
    pub(super) log: Log,
    /// The number of this shard: the place of its mailbox.
    pub(super) number: u16,
    /// Of all shards.
    pub(super) mailboxes: Arc<[Mailbox]>,
    handed_on: HandedOn,
    pub(super) walks: Walks,
    pub(super) connections: Connections,
    pub(super) associations: Associations,
    wall_clock_told: Option<Timestamp>,
}

/// What a shard is made of.
pub(super) struct Parts {
    pub(super) number: u16,
    pub(super) core: Core,
    pub(super) listeners: Vec<Listener>,
    /// Without them every allocation has a socket.
    pub(super) shared: Option<Shared>,
    pub(super) fast_path: Box<dyn FastPath>,
    pub(super) tcp_relays: TcpRelays,
    pub(super) counters: Arc<Counters>,
    pub(super) mailboxes: Arc<[Mailbox]>,
}

impl Shard {
    /// Registers the sockets.
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let stream_epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&stream_epoll.0, readable(Token::Streams))?;
        epoll.add(&parts.mailboxes[usize::from(parts.number)], readable(Token::Mail))?;
        for (index, listener) in parts.listeners.iter().enumerate() {
            epoll.add(&listener.socket, readable(Token::Listener(index as u16)))?;
        }
        for (family, receiver) in parts.shared.iter().flat_map(Shared::receivers) {
            epoll.add(&receiver.socket, readable(Token::Shared(family)))?;
            epoll.add(&receiver.icmp, readable(Token::Icmp(family)))?;
        }
        Ok(Self {
            core: parts.core,
            outputs: Outputs::default(),
            opened: VecDeque::new(),
            batch: Batch::new(),
            listeners: parts.listeners,
            relays: Relays::new(parts.shared),
            tcp_relays: parts.tcp_relays,
            epoll,
            stream_epoll,
            fast_path: parts.fast_path,
            counters: parts.counters,
            log: Log::new(parts.number.into()),
            number: parts.number,
            mailboxes: parts.mailboxes,
            handed_on: HandedOn::default(),
            walks: Walks::default(),
            connections: Connections::default(),
            associations: Associations::default(),
            wall_clock_told: None,
        })
    }

    /// Serves clients and peers until the server stops.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut now = Timestamp::now();
        while let Some(later) = self.turn(now)? {
            now = later;
        }
        Ok(())
    }

    /// Waits for what is ready, and serves some of each. Returns the time of that; `None` when the server stops.
    pub(super) fn turn(&mut self, before: Timestamp) -> io::Result<Option<Timestamp>> {
        let mut events = [EpollEvent::empty(); 64];
        let ready = match self.epoll.wait(&mut events, self.timeout(before)) {
            Err(Errno::EINTR) => 0,
            ready => ready?,
        };
        let now = Timestamp::now();
        self.tell_wall_clock(now);
        for event in &events[..ready] {
            match Token::from_bits(event.data()) {
                Token::Mail => {
                    for letter in self.mailbox().collect() {
                        match letter {
                            Letter::Configure(config, taken) => {
                                self.core.reconfigure(config);
                                drop(taken);
                            }
                            Letter::Walk(walk) => self.walks.add(walk),
                            Letter::Stream(stream) => self.admit(now, *stream),
                            Letter::Connection(connection) => self.take_over(now, connection),
                            Letter::TcpRelay(happening) => self.hear_of_connection(now, happening),
                            Letter::Dtls(listeners, common) => self.serve_dtls(listeners, common)?,
                            Letter::Stop => {
                                self.close_associations();
                                return Ok(None);
                            }
                        }
                    }
                    self.serve_handed_on(now);
                }
                Token::Listener(index) => self.serve_clients(now, usize::from(index)),
                Token::Relay(relay) => {
                    if self.batch.room() < RELAY_TURN {
                        // A listener carries as much as all its relayed addresses together.
                        (0..self.listeners.len()).for_each(|index| self.serve_clients(now, index));
                        self.serve_connections(now);
                    }
                    if event.events().contains(EpollFlags::EPOLLERR) {
                        self.take_errors(relay);
                    }
                    self.serve_peers(now, relay);
                }
                Token::Shared(family) => self.serve_all_peers(now, family),
                Token::Icmp(family) => self.take_icmp(family),
                Token::Streams => self.serve_connections(now),
                // The other epoll has those; and nobody waits for what a raw socket sends.
                Token::Stream(_) | Token::Raw(_) => {}
            }
        }
        self.flush();
        self.wake_core(now);
        self.tell_errors(now);
        self.check_connections(now);
        self.check_associations(now);
        self.walk_on(now);
        Ok(Some(now))
    }

    /// Until the next wake-up of the core, or check of a connection, rounded up: a millisecond late is harmless, a millisecond early is a busy loop.
    /// The fast path checks deadlines by itself, and so does the core with every input.
    fn timeout(&self, now: Timestamp) -> EpollTimeout {
        if !self.walks.is_empty() {
            return EpollTimeout::ZERO;
        }
        let wakeups =
            [self.core.next_wakeup(), self.connections.next_check(), self.associations.next_check()];
        let Some(wakeup) = wakeups.into_iter().flatten().min() else { return EpollTimeout::NONE };
        let wait = wakeup.since(now) + Duration::from_nanos(999_999);
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
    }

    /// Credentials expire by the time of day, which may be set at any time.
    fn tell_wall_clock(&mut self, now: Timestamp) {
        if self.wall_clock_told.is_none_or(|told| now.since(told) >= Duration::from_secs(1)) {
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.core.set_unix_time(now, unix.as_secs());
            self.wall_clock_told = Some(now);
        }
    }

    fn wake_core(&mut self, now: Timestamp) {
        while self.core.next_wakeup().is_some_and(|wakeup| wakeup <= now) {
            self.core.handle(now, Input::Wakeup, &mut self.outputs);
            self.carry_out(now, Arrival::default());
            self.flush();
        }
    }

    /// Takes what waits at a listener, as much as there are buffers.
    fn serve_clients(&mut self, now: Timestamp, index: usize) {
        self.flush();
        let Listener { address: listener, transport, socket, socket_drops } = &mut self.listeners[index];
        let (listener, transport) = (*listener, *transport);
        let slots = self.batch.receive(socket, SLOTS);
        note_drops(&self.batch, &slots, socket_drops, &self.counters.listener_drops);
        self.hear_steering(now);
        self.begin_dtls_turn();
        for slot in slots {
            let received = self.batch.received(slot);
            let arrival = Arrival::new(slot, listener, &received, Origin::Client);
            if transport == Transport::Dtls {
                self.take_dtls(now, (received.from, listener), arrival);
                continue;
            }
            let five_tuple = FiveTuple { client: ClientAddr(received.from), listener, transport };
            let input = Input::FromClient { five_tuple, datagram: received.datagram };
            self.core.handle(now, input, &mut self.outputs);
            self.carry_out(now, arrival);
            self.send_many();
        }
        self.flush();
    }

    /// Sends what is queued once it is much: the buffers may hold thousands of merged datagrams, and the first is not to wait for
    /// the last.
    pub(super) fn send_many(&mut self) {
        if self.batch.queued() >= MOST_QUEUED {
            self.send_queued();
        }
    }

    /// Has clients served over DTLS at these listeners.
    fn serve_dtls(&mut self, listeners: Vec<Listener>, common: Arc<Common>) -> io::Result<()> {
        self.associations.common = Some(common);
        for listener in listeners {
            let token = Token::Listener(self.listeners.len() as u16);
            self.epoll.add(&listener.socket, readable(token))?;
            self.listeners.push(listener);
        }
        Ok(())
    }

    /// Takes the datagrams that other shards received and this one is to handle.
    fn serve_handed_on(&mut self, now: Timestamp) {
        let mut handed_on = mem::take(&mut self.handed_on);
        self.mailbox().take_over(&mut handed_on);
        for index in 0..handed_on.len() {
            if self.batch.room() == 0 {
                self.flush();
            }
            let (HandOn { from, five_tuple, ip }, datagram) = handed_on.get(index);
            let slot = self.batch.take_over(datagram);
            let arrival = Arrival::handed_on(slot, five_tuple.listener, datagram, ip);
            self.core.handle(now, Input::Forwarded { from, five_tuple, datagram }, &mut self.outputs);
            self.carry_out(now, arrival);
        }
        self.flush();
        self.handed_on = handed_on;
    }

    /// Learns which clients' datagrams belong to other shards.
    fn hear_steering(&mut self, now: Timestamp) {
        for Steering { by, five_tuple, here } in self.mailbox().steering() {
            self.core.handle(now, Input::Steer { by, five_tuple, here }, &mut self.outputs);
            self.carry_out(now, Arrival::default());
        }
    }

    fn mailbox(&self) -> &Mailbox {
        &self.mailboxes[usize::from(self.number)]
    }

    /// Takes some of what waits at a relayed transport address.
    fn serve_peers(&mut self, now: Timestamp, token: RelayToken) {
        // Otherwise it was closed by an earlier event of the same round.
        let Some(relay) = self.relays.own_mut(token) else { return };
        let slots = self.batch.receive(&relay.socket, RELAY_TURN);
        note_drops(&self.batch, &slots, &mut relay.socket_drops, &self.counters.relay_drops);
        let relayed = self.relays.relayed(token);
        for slot in slots {
            let received = self.batch.received(slot);
            let arrival = Arrival::new(slot, relayed.0, &received, Origin::Peer);
            let input =
                Input::FromPeer { relayed, peer: PeerAddr(received.from), datagram: received.datagram };
            self.core.handle(now, input, &mut self.outputs);
            self.carry_out(now, arrival);
        }
    }

    /// Takes what waits at all relayed transport addresses of a family, as much as there are buffers. Clients have their
    /// turn in between: epoll reports both in turns.
    fn serve_all_peers(&mut self, now: Timestamp, family: Family) {
        self.flush();
        let Some(shared) = self.relays.shared_mut() else { return };
        let begun = shared.next_moment();
        let Some(receiver) = shared.receiver(family) else { return };
        let slots = self.batch.receive(&receiver.socket, SLOTS);
        note_drops(&self.batch, &slots, &mut receiver.socket_drops, &self.counters.relay_drops);
        // Those that the kernel merged are one in the socket's queue.
        let taken = SLOTS - self.batch.room();
        for slot in slots {
            let received = self.batch.received(slot);
            // The kernel says it of every datagram at a socket that asked.
            let Some(to) = received.said.to else { continue };
            let (relayed, arrival) = (RelayAddr(to), Arrival::new(slot, to, &received, Origin::Peer));
            if !self.relays.takes(relayed) {
                self.counters.datagram(Reason::NoAllocation, arrival.bytes);
                continue;
            }
            let input =
                Input::FromPeer { relayed, peer: PeerAddr(received.from), datagram: received.datagram };
            self.core.handle(now, input, &mut self.outputs);
            self.carry_out(now, arrival);
            self.send_many();
        }
        if let Some(shared) = self.relays.shared_mut() {
            shared.took(family, begun, taken, taken < SLOTS);
            if taken == SLOTS {
                // A round ends with an empty queue also where the last call came out even: what is shed wakes nobody.
                shared.look(family);
            }
        }
        self.flush();
    }
}

/// What epoll is to report for a socket: level-triggered, so that what is left after a turn is reported again, behind
/// the others.
pub(super) fn readable(token: Token) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, token.to_bits())
}

/// Counts what the kernel dropped at a socket since the last time; the newest datagram tells the newest count.
fn note_drops(batch: &Batch, slots: &Range<usize>, last: &mut u32, counter: &Counter) {
    let Some(newest) = slots.clone().last() else { return };
    if let Some(drops) = batch.received(newest).said.socket_drops {
        counter.add(u64::from(drops.wrapping_sub(*last)));
        *last = drops;
    }
}
