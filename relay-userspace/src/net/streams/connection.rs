//! One client's connection: what is read from it, and what is written to it, without waiting for either.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::AsFd;

use libc::c_int;
use nix::sys::epoll::EpollFlags;

use super::outgoing::Outgoing;
use super::websocket::WebSocket;
use super::{ClientStream, Framing, Place};
use crate::net::counters::{ConnectionKind, Counters};
use crate::net::sys::set_option;
use crate::time::Timestamp;
use crate::turn::{AllocationId, ClientAddr, FiveTuple};

/// Most bytes taken from a connection before others have their turn.
pub(super) const TURN: usize = 64 << 10;

/// Seconds without any data after which the kernel asks whether the other end is still there.
const KEEPALIVE_AFTER: c_int = 60;

/// Seconds between such questions.
const KEEPALIVE_EACH: c_int = 10;

/// Milliseconds after which a connection is over whose other end confirms nothing: neither data, nor such a question, nor
/// that it still has no room for data. So a half-open connection ends in a minute and a half.
const CONFIRMED_IN: c_int = 30_000;

/// Bytes that the kernel takes for a connection beyond what is under way. More would only wait, and could not be dropped.
const UNSENT: c_int = 64 << 10;

/// A connection in a shard.
#[derive(Debug)]
pub(in crate::net) struct Connection {
    pub(super) five_tuple: FiveTuple,
    pub(super) framing: Framing,
    socket: TcpStream,
    tls: Option<Box<rustls::ServerConnection>>,
    pub(super) websocket: WebSocket,
    /// Messages that were taken out of a WebSocket's and not handled yet: when the connection moves to another shard.
    pub(super) messages: Vec<u8>,
    /// The beginning of a message or frame, decrypted.
    pub(super) rest: Vec<u8>,
    pub(super) outgoing: Outgoing,
    /// The allocation of this shard that the data in there counts for.
    pub(super) owner: Option<AllocationId>,
    /// Since when the kernel took nothing of what waits.
    pub(super) blocked_since: Option<Timestamp>,
    /// What epoll is to report.
    pub(super) interest: EpollFlags,
    /// Among those that have something to send.
    pub(super) is_dirty: bool,
    /// It is not listened to for now: until it has read some of its answers, or others have had their turn.
    pub(super) is_held_back: bool,
    /// Whether it had an allocation when somebody looked after it last.
    pub(super) had_allocation: bool,
    /// It sent a whole message once.
    pub(super) was_heard: bool,
    /// When it was known to have an allocation, or else came.
    pub(super) served: Timestamp,
    /// When somebody looks after it.
    pub(super) next_check: Timestamp,
    /// It was told to end, and is waited for until then.
    pub(super) closing: Option<Timestamp>,
    /// In the limits of who let it in.
    place: Place,
}

/// Whether there may be more to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    Open,
    /// The client has said all it wanted to, or broke off.
    Ended,
}

impl Connection {
    /// Fails when the socket is none of a living connection.
    pub(super) fn new(stream: ClientStream, now: Timestamp) -> io::Result<Self> {
        let five_tuple = stream.five_tuple();
        let ClientStream { socket, tls, framing, early, place, .. } = stream;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
        for (option, value) in [
            (libc::TCP_KEEPIDLE, KEEPALIVE_AFTER),
            (libc::TCP_KEEPINTVL, KEEPALIVE_EACH),
            (libc::TCP_USER_TIMEOUT, CONFIRMED_IN),
            (libc::TCP_NOTSENT_LOWAT, UNSENT),
        ] {
            set_option(&socket, libc::IPPROTO_TCP, option, value)?;
        }
        let mut tls = tls;
        if let Some(tls) = &mut tls {
            // What is sealed at a time is bounded where it is sealed.
            tls.set_buffer_limit(None);
        }
        Ok(Self {
            five_tuple,
            framing,
            socket,
            tls,
            websocket: WebSocket::default(),
            messages: Vec::new(),
            rest: early,
            outgoing: Outgoing::default(),
            owner: None,
            blocked_since: None,
            interest: EpollFlags::EPOLLIN,
            is_dirty: false,
            is_held_back: false,
            had_allocation: false,
            was_heard: false,
            served: now,
            next_check: now,
            closing: None,
            place,
        })
    }

    /// The connection for somebody else, and what is still to be sent before all else: by its TLS, if it has one. `early` is
    /// what was read and is not handled.
    pub(in crate::net) fn give_up(mut self, early: Vec<u8>, counters: &Counters) -> (ClientStream, Vec<u8>) {
        // What broke off is noticed again.
        let _ = self.send(counters);
        let FiveTuple { client: ClientAddr(client), listener, transport } = self.five_tuple;
        let Self { socket, tls, framing, outgoing, place, .. } = self;
        (
            ClientStream { socket, tls, framing, client, listener, transport, early, place },
            outgoing.into_answers(),
        )
    }

    pub(in crate::net) fn kind(&self) -> ConnectionKind {
        ConnectionKind::of(self.five_tuple.transport, self.framing)
    }

    pub(in crate::net) fn socket(&self) -> impl AsFd + '_ {
        &self.socket
    }

    /// What epoll is to report from now on. A client that does not read its answers may ask for no more of them.
    pub(super) fn wanted(&self) -> EpollFlags {
        let mut wanted = EpollFlags::empty();
        wanted.set(EpollFlags::EPOLLIN, !self.outgoing.has_many_answers());
        wanted.set(EpollFlags::EPOLLOUT, self.blocked_since.is_some() || self.is_held_back);
        wanted
    }

    /// Appends what the client sent to `input`, decrypted, and whatever TLS has kept. `wire` is room for what comes.
    pub(super) fn receive(&mut self, wire: &mut [u8], input: &mut Vec<u8>) -> io::Result<Received> {
        let received = match self.socket.read(wire) {
            Ok(0) => return Ok(Received::Ended),
            Ok(received) => received,
            Err(error) if is_later(&error) => 0,
            Err(error) => return Err(error),
        };
        let mut wire = &wire[..received];
        let Some(tls) = &mut self.tls else {
            input.extend_from_slice(wire);
            return Ok(Received::Open);
        };
        loop {
            if !wire.is_empty() {
                tls.read_tls(&mut wire)?;
            }
            let state = match tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert that says why.
                    let _ = tls.write_tls(&mut self.socket);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            let start = input.len();
            input.resize(start + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut input[start..])?;
            if state.peer_has_closed() {
                return Ok(Received::Ended);
            }
            if wire.is_empty() {
                return Ok(Received::Open);
            }
        }
    }

    /// Whether there is something to send.
    pub(super) fn has_to_send(&self) -> bool {
        !self.outgoing.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(super) fn send(&mut self, counters: &Counters) -> io::Result<()> {
        let result = self.send_until_later(counters);
        match result {
            Ok(()) => self.blocked_since = None,
            Err(error) if is_later(&error) => {
                self.blocked_since.get_or_insert_with(Timestamp::now);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn send_until_later(&mut self, counters: &Counters) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            while !self.outgoing.is_empty() {
                self.outgoing.send(&mut self.socket, counters)?;
                self.blocked_since = None;
            }
            return Ok(());
        };
        loop {
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
                self.blocked_since = None;
            }
            if self.outgoing.is_empty() {
                return Ok(());
            }
            self.outgoing.seal(tls.writer(), counters)?;
        }
    }

    /// Says that nothing more follows. What can be sent at once is, but nobody waits for it.
    pub(super) fn finish(&mut self, counters: &Counters) {
        let sent = self.send(counters).is_ok();
        if let Some(tls) = self.tls.as_mut().filter(|_| sent) {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }

    /// What comes from now on is of this allocation.
    pub(super) fn owned_by(&mut self, allocation: Option<AllocationId>) {
        if self.owner != allocation {
            self.outgoing.disown();
            self.owner = allocation;
        }
    }

    /// Gives back memory that an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        self.outgoing.shrink();
        self.rest.shrink_to_fit();
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
