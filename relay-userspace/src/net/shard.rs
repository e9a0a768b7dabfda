//! One shard: a thread with its own protocol core and sockets.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::batch::{Arrival, Batch, SLOTS};
use super::counters::{Counter, Counters};
use super::listeners::Listener;
use super::log::Log;
use super::mailbox::{Letter, Mailbox};
use super::relays::Relays;
use super::token::{RelayToken, Token};
use crate::datapath::FastPath;
use crate::time::Timestamp;
use crate::turn::{
    AllocationId, ClientAddr, Core, FiveTuple, Input, Outputs, PeerAddr, RelayRefused, Transport,
};

/// Most datagrams taken from one relayed transport address before others have their turn.
const RELAY_TURN: usize = 16;

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
    pub(super) epoll: Epoll,
    pub(super) fast_path: Box<dyn FastPath>,
    pub(super) counters: Arc<Counters>,
    pub(super) log: Log,
    mailbox: Arc<Mailbox>,
    wall_clock_told: Option<Timestamp>,
}

/// What a shard is made of.
pub(super) struct Parts {
    pub(super) number: usize,
    pub(super) core: Core,
    pub(super) listeners: Vec<Listener>,
    pub(super) fast_path: Box<dyn FastPath>,
    pub(super) counters: Arc<Counters>,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Shard {
    /// Registers the sockets.
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*parts.mailbox, readable(Token::Mail))?;
        for (index, listener) in parts.listeners.iter().enumerate() {
            epoll.add(&listener.socket, readable(Token::Listener(index as u16)))?;
        }
        Ok(Self {
            core: parts.core,
            outputs: Outputs::default(),
            opened: VecDeque::new(),
            batch: Batch::new(),
            listeners: parts.listeners,
            relays: Relays::default(),
            epoll,
            fast_path: parts.fast_path,
            counters: parts.counters,
            log: Log::new(parts.number),
            mailbox: parts.mailbox,
            wall_clock_told: None,
        })
    }

    /// Serves clients and peers until the server stops.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let mut now = Timestamp::now();
        loop {
            let ready = match self.epoll.wait(&mut events, self.timeout(now)) {
                Err(Errno::EINTR) => 0,
                ready => ready?,
            };
            now = Timestamp::now();
            self.tell_wall_clock(now);
            for event in &events[..ready] {
                match Token::from_bits(event.data()) {
                    Token::Mail => {
                        for letter in self.mailbox.collect() {
                            match letter {
                                Letter::Configure(config, taken) => {
                                    self.core.reconfigure(config);
                                    drop(taken);
                                }
                                Letter::Stop => return Ok(()),
                            }
                        }
                    }
                    Token::Listener(index) => self.serve_clients(now, usize::from(index)),
                    Token::Relay(relay) => {
                        if self.batch.room() < RELAY_TURN {
                            // A listener carries as much as all its relayed addresses together.
                            (0..self.listeners.len()).for_each(|index| self.serve_clients(now, index));
                        }
                        self.serve_peers(now, relay);
                    }
                }
            }
            self.flush();
            self.wake_core(now);
        }
    }

    /// Until the core's next wake-up, rounded up: a millisecond late is harmless, a millisecond early is a busy loop.
    /// The fast path checks deadlines by itself, and so does the core with every input.
    fn timeout(&self, now: Timestamp) -> EpollTimeout {
        let Some(wakeup) = self.core.next_wakeup() else { return EpollTimeout::NONE };
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
        let Listener { address: listener, socket, socket_drops } = &mut self.listeners[index];
        let listener = *listener;
        let slots = self.batch.receive(socket, SLOTS);
        note_drops(&self.batch, &slots, socket_drops, &self.counters.listener_drops);
        for slot in slots {
            let received = self.batch.received(slot);
            let arrival = Arrival::new(slot, listener, received.datagram.len(), false);
            let five_tuple =
                FiveTuple { client: ClientAddr(received.from), listener, transport: Transport::Udp };
            let input = Input::FromClient { five_tuple, datagram: received.datagram };
            self.core.handle(now, input, &mut self.outputs);
            self.carry_out(now, arrival);
        }
        self.flush();
    }

    /// Takes some of what waits at a relayed transport address.
    fn serve_peers(&mut self, now: Timestamp, token: RelayToken) {
        // Otherwise it was closed by an earlier event of the same round.
        let Some(relay) = self.relays.get_mut(token) else { return };
        let slots = self.batch.receive(&relay.socket, RELAY_TURN);
        note_drops(&self.batch, &slots, &mut relay.socket_drops, &self.counters.relay_drops);
        let relayed = self.relays.relayed(token);
        for slot in slots {
            let received = self.batch.received(slot);
            let arrival = Arrival::new(slot, relayed.0, received.datagram.len(), true);
            let input =
                Input::FromPeer { relayed, peer: PeerAddr(received.from), datagram: received.datagram };
            self.core.handle(now, input, &mut self.outputs);
            self.carry_out(now, arrival);
        }
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
    if let Some(drops) = batch.received(newest).socket_drops {
        counter.add(u64::from(drops.wrapping_sub(*last)));
        *last = drops;
    }
}
