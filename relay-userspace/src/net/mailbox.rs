//! What other threads have to say to a shard. Nobody waits for anybody: a letter is left, and the bell wakes the shard.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::control::IpFields;
use super::dtls;
use super::listeners::Listener;
use super::streams::{ClientStream, Connection};
use super::tcp_relay::Happening;
use super::walk::Walk;
use crate::turn::{CoreConfig, FiveTuple};

/// One thing to tell a shard.
#[derive(Debug)]
pub(super) enum Letter {
    /// Other settings of the protocol hold from now on. What comes along is dropped once they do.
    Configure(Arc<CoreConfig>, Sender<()>),
    /// Somebody wants to know of the allocations, or to end some.
    Walk(Walk),
    /// A client connected.
    Stream(Box<ClientStream>),
    /// Something happened to a connection of a TCP allocation.
    TcpRelay(Happening),
    /// A client's connection comes to where its allocation is.
    Connection(Box<Connection>),
    /// Listeners for DTLS, with what they are served by.
    Dtls(Vec<Listener>, Arc<dtls::Common>),
    /// The server stops.
    Stop,
}

/// What one shard asks of another: [`Output::Steer`](crate::turn::Output::Steer).
#[derive(Clone, Copy, Debug)]
pub(super) struct Steering {
    /// The number of the shard that asks.
    pub(super) by: u16,
    pub(super) five_tuple: FiveTuple,
    pub(super) here: bool,
}

/// Most datagrams that wait to be taken over by a shard: as many as a turn of a listener may bring, if each buffer has merged
/// ones.
const MOST_DATAGRAMS: usize = 4096;

/// Most bytes of them.
const MOST_BYTES: usize = 4 << 20;

/// Datagrams that other shards received, one after the other. Reused: what is handed on takes no memory once there was
/// as much before.
#[derive(Default, Debug)]
pub(super) struct HandedOn {
    datagrams: Vec<(HandOn, Range<usize>)>,
    bytes: Vec<u8>,
}

/// What a datagram is handed on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HandOn {
    /// The shard that received it.
    pub(super) from: u16,
    pub(super) five_tuple: FiveTuple,
    /// Of its IP header, as it arrived.
    pub(super) ip: Option<IpFields>,
}

impl HandedOn {
    pub(super) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// A datagram, and what it was handed on with.
    pub(super) fn get(&self, index: usize) -> (HandOn, &[u8]) {
        let (with, range) = &self.datagrams[index];
        (*with, &self.bytes[range.clone()])
    }

    fn push(&mut self, with: HandOn, datagram: &[u8]) -> bool {
        let start = self.bytes.len();
        if self.datagrams.len() == MOST_DATAGRAMS || start + datagram.len() > MOST_BYTES {
            return false;
        }
        self.bytes.extend_from_slice(datagram);
        self.datagrams.push((with, start..self.bytes.len()));
        true
    }

    fn clear(&mut self) {
        self.datagrams.clear();
        self.bytes.clear();
    }
}

/// The mailbox of one shard.
#[derive(Debug)]
pub(super) struct Mailbox {
    letters: Mutex<VecDeque<Letter>>,
    /// At most a few for each request that moved an allocation.
    steering: Mutex<Vec<Steering>>,
    /// There may be some of it. Read for each batch of datagrams, where a lock would cost more.
    steering_waits: AtomicBool,
    handed_on: Mutex<HandedOn>,
    /// Readable while there may be letters, or datagrams handed on.
    bell: EventFd,
}

impl Mailbox {
    /// Fails when the process has no descriptor left.
    pub(super) fn new() -> Result<Self, Errno> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            letters: Mutex::default(),
            steering: Mutex::default(),
            steering_waits: AtomicBool::default(),
            handed_on: Mutex::default(),
            bell,
        })
    }

    /// Leaves a letter.
    pub(super) fn post(&self, letter: Letter) {
        lock(&self.letters).push_back(letter);
        self.ring();
    }

    /// Takes all letters, in the order in which they were left.
    pub(super) fn collect(&self) -> VecDeque<Letter> {
        // The bell first: a letter left in between rings it again.
        let _ = self.bell.read();
        std::mem::take(&mut *lock(&self.letters))
    }

    /// Asks for the datagrams of a 5-tuple, or no longer. There is no bell for it: it concerns the next datagrams only.
    pub(super) fn steer(&self, steering: Steering) {
        lock(&self.steering).push(steering);
        self.steering_waits.store(true, Ordering::Release);
    }

    /// Takes what was asked, in order. Called between the receiving of datagrams and their handling, it finds all that was
    /// asked before their sender heard the answer.
    pub(super) fn steering(&self) -> Vec<Steering> {
        if !self.steering_waits.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut steering = lock(&self.steering);
        self.steering_waits.store(false, Ordering::Relaxed);
        std::mem::take(&mut steering)
    }

    /// Hands a datagram on. `false`: too many wait already.
    pub(super) fn hand_on(&self, with: HandOn, datagram: &[u8]) -> bool {
        let (first, taken) = {
            let mut handed_on = lock(&self.handed_on);
            (handed_on.len() == 0, handed_on.push(with, datagram))
        };
        if first {
            self.ring();
        }
        taken
    }

    /// Swaps the datagrams that were handed on against an empty collection of them.
    pub(super) fn take_over(&self, with: &mut HandedOn) {
        with.clear();
        std::mem::swap(with, &mut lock(&self.handed_on));
    }

    fn ring(&self) {
        // Fails only when the bell has been rung 2^64 - 2 times unheard, and then it rings.
        let _ = self.bell.write(1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::turn::{ClientAddr, Transport};

    fn with(from: u16, port: u16) -> HandOn {
        let any = SocketAddr::from(([192, 0, 2, 1], port));
        let five_tuple = FiveTuple { client: ClientAddr(any), listener: any, transport: Transport::Udp };
        HandOn { from, five_tuple, ip: Some(IpFields { ttl: 7, tos: 0xb8 }) }
    }

    #[test]
    fn datagrams_come_in_order_and_no_more_wait_than_the_bounds() {
        let mailbox = Mailbox::new().unwrap();
        for port in 0..MOST_DATAGRAMS as u16 {
            assert!(mailbox.hand_on(with(3, port), &port.to_be_bytes()));
        }
        assert!(!mailbox.hand_on(with(3, 0), b"one too many"));
        let mut taken = HandedOn::default();
        mailbox.take_over(&mut taken);
        assert_eq!(taken.len(), MOST_DATAGRAMS);
        assert_eq!(taken.get(700), (with(3, 700), &700_u16.to_be_bytes()[..]));

        let large = vec![0; 60_000];
        let fitting = (0..MOST_DATAGRAMS).take_while(|_| mailbox.hand_on(with(1, 1), &large)).count();
        assert_eq!(fitting, MOST_BYTES / large.len());
        mailbox.take_over(&mut taken);
        assert_eq!(taken.len(), fitting);
        mailbox.take_over(&mut taken);
        assert_eq!(taken.len(), 0, "taken once");
    }

    #[test]
    fn the_bell_rings_for_datagrams_and_what_is_asked_comes_in_order() {
        let mailbox = Mailbox::new().unwrap();
        mailbox.steer(Steering { by: 1, five_tuple: with(1, 1).five_tuple, here: true });
        mailbox.steer(Steering { by: 1, five_tuple: with(1, 1).five_tuple, here: false });
        assert!(mailbox.bell.read().is_err(), "no bell for it");
        assert_eq!(mailbox.steering().iter().map(|s| s.here).collect::<Vec<_>>(), [true, false]);
        assert_eq!(mailbox.steering().len(), 0);
        assert!(mailbox.hand_on(with(1, 1), b"data"));
        assert!(mailbox.bell.read().is_ok());
    }
}
