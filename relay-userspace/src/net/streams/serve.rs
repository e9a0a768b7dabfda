//! Taking clients' connections, and hearing what they say.

use std::mem;
use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use tungstenite::protocol::frame::coding::CloseCode;

use super::connection::{Connection, Received, TURN};
use super::websocket::{self, Frame};
use super::{ClientStream, Framing, seconds};
use crate::framing::{self, First, LONGEST};
use crate::net::batch::Arrival;
use crate::net::shard::{STREAMS_TURN, Shard};
use crate::net::token::{StreamToken, Token};
use crate::time::Timestamp;
use crate::turn::{FiveTuple, Input};

/// How long a client may take for its first whole message.
const FIRST_MESSAGE: Duration = seconds(30);

/// Most messages of a connection, or frames, that are handled before others have their turn.
const MESSAGES: u32 = 32;

/// Longest message of a client that has no allocation yet, in bytes: a stranger makes nobody keep more than that.
const LONGEST_OF_STRANGER: usize = 4096;

/// How the reading of a connection's messages ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    /// With the beginning of another message, or without.
    All,
    /// With one that belongs to another shard.
    Elsewhere(u16),
    /// With the last: what follows is for a peer (RFC 6062 section 5.4).
    Joined,
    /// With something that is no TURN; a WebSocket ends with this code.
    Over(CloseCode),
}

impl Shard {
    /// Takes a client that connected.
    pub(in crate::net) fn admit(&mut self, now: Timestamp, stream: ClientStream) {
        match Connection::new(stream, now) {
            Ok(connection) => {
                self.counters.connections(connection.kind()).opened.add(1);
                self.take_over(now, Box::new(connection));
            }
            // It broke off, or was none of TCP.
            Err(_) => self.counters.connections_refused.add(1),
        }
    }

    /// Takes a connection over, and handles what was read of it.
    pub(in crate::net) fn take_over(&mut self, now: Timestamp, connection: Box<Connection>) {
        // The client says by connecting again that the connection before is over.
        if let Some(before) = self.connections.of_client(&connection.five_tuple) {
            self.close(now, before);
        }
        let kind = connection.kind();
        if self.connections.is_full() {
            self.counters.connections(kind).closed.add(1);
            return self.counters.connections_refused.add(1);
        }
        let (came, interest) = (connection.served, connection.interest);
        let token = self.connections.insert(connection);
        let connection = self.connections.get_mut(token).expect("it was just put there");
        let event = EpollEvent::new(interest, Token::Stream(token).to_bits());
        if self.stream_epoll.add(connection.socket(), event).is_err() {
            self.counters.connections_refused.add(1);
            return self.close(now, token);
        }
        let messages = mem::take(&mut connection.messages);
        self.connections.check_at(token, came + FIRST_MESSAGE);
        // TLS may have an answer of the handshake to send.
        self.connections.mark_dirty(token);
        let mut used = 0;
        match self.hear_messages(now, token, &messages, &mut used, true) {
            Heard::All => self.read(now, token),
            Heard::Elsewhere(shard) => {
                let rest = self.connections.get_mut(token).map(|c| mem::take(&mut c.rest));
                self.hand_over(token, shard, messages[used..].into(), rest.unwrap_or_default());
            }
            Heard::Joined => self.join(now, token, Vec::new()),
            Heard::Over(code) => self.refuse(now, token, code, messages.len() - used),
        }
    }

    /// Serves some of the connections that have something to say, or room. The others are reported again, before these.
    pub(in crate::net) fn serve_connections(&mut self, now: Timestamp) {
        let mut events = [EpollEvent::empty(); STREAMS_TURN];
        let ready = self.stream_epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..ready] {
            if let Token::Stream(token) = Token::from_bits(event.data()) {
                self.serve_connection(now, token, event.events());
            }
        }
    }

    /// Reads and writes as epoll reported it.
    fn serve_connection(&mut self, now: Timestamp, token: StreamToken, events: EpollFlags) {
        if events.contains(EpollFlags::EPOLLOUT) {
            self.send_connection(token);
        }
        let Some(connection) = self.connections.get_mut(token) else { return };
        let over = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        if connection.outgoing.has_many_answers() {
            // It is not read, and so would be reported for ever.
            if events.intersects(over) {
                self.close(now, token);
            }
        } else if events.intersects(over | EpollFlags::EPOLLIN) || connection.is_held_back {
            self.read(now, token);
        }
    }

    fn read(&mut self, now: Timestamp, token: StreamToken) {
        self.connections.left_in_turn = MESSAGES;
        let mut wire = mem::take(&mut self.connections.wire);
        let mut input = mem::take(&mut self.connections.input);
        wire.resize(TURN, 0);
        let ended = self.read_into(now, token, &mut wire, &mut input);
        input.clear();
        (self.connections.wire, self.connections.input) = (wire, input);
        if ended {
            self.close(now, token);
        }
    }

    /// Whether nothing more will come.
    fn read_into(&mut self, now: Timestamp, token: StreamToken, wire: &mut [u8], room: &mut Vec<u8>) -> bool {
        let Some(connection) = self.connections.get_mut(token) else { return false };
        // The beginning of a message is not copied for every piece that comes to it.
        let mut own = mem::take(&mut connection.rest);
        let begun = !own.is_empty();
        let input = if begun { &mut own } else { room };
        // What of it is not handled yet is no reason to take more.
        let held_back = connection.is_held_back;
        let received = if held_back { Ok(Received::Open) } else { connection.receive(wire, input) };
        if connection.has_to_send() {
            self.connections.mark_dirty(token);
        }
        let (mut used, mut messages) = (0, Vec::new());
        let heard = self.hear(now, token, input, &mut used, &mut messages);
        let left = input.len() - used;
        match heard {
            Heard::Elsewhere(shard) => {
                let rest = input.split_off(used);
                self.hand_over(token, shard, messages, rest);
                return false;
            }
            Heard::Joined => {
                let early = input.split_off(used);
                self.join(now, token, early);
                return false;
            }
            Heard::Over(code) => self.refuse(now, token, code, left),
            Heard::All => {}
        }
        if let Some(connection) = self.connections.get_mut(token).filter(|c| c.closing.is_none() && left > 0)
        {
            connection.rest = if begun {
                own.drain(..used);
                own
            } else {
                input[used..].into()
            };
        }
        !matches!(received, Ok(Received::Open))
    }

    /// Handles what is whole of what a client sent, and says how much that was. `messages` gets what belongs to another shard
    /// and came out of a WebSocket's message.
    fn hear(
        &mut self,
        now: Timestamp,
        token: StreamToken,
        input: &mut [u8],
        used: &mut usize,
        messages: &mut Vec<u8>,
    ) -> Heard {
        let Some(connection) = self.connections.get_mut(token) else { return Heard::All };
        connection.is_held_back = false;
        if connection.closing.is_some() {
            *used = input.len();
            return Heard::All;
        }
        if connection.framing == Framing::Turn {
            return self.hear_messages(now, token, input, used, false);
        }
        loop {
            if self.is_held_back(token) {
                return Heard::All;
            }
            let Some(connection) = self.connections.get_mut(token) else { return Heard::All };
            let known = self.core.has_allocation(&connection.five_tuple);
            let longest = if known { LONGEST } else { LONGEST_OF_STRANGER };
            let start = *used;
            let frame = match connection.websocket.next(&mut input[start..], longest) {
                Ok(Some((space, frame))) => {
                    *used += space;
                    frame
                }
                Ok(None) => return Heard::All,
                Err(code) => return Heard::Over(code),
            };
            let assembled;
            let message = match frame {
                Frame::Message(range) => &input[start..][range],
                Frame::Assembled(message) => {
                    assembled = message;
                    &assembled[..]
                }
                Frame::Ping(range) => {
                    websocket::write_pong(connection.outgoing.answers(), &input[start..][range]);
                    self.connections.handled_one();
                    self.connections.mark_dirty(token);
                    continue;
                }
                Frame::Close => return Heard::Over(CloseCode::Normal),
                Frame::Nothing => {
                    self.connections.handled_one();
                    continue;
                }
            };
            let mut at = 0;
            match self.hear_messages(now, token, message, &mut at, true) {
                Heard::All => {}
                heard => {
                    messages.extend_from_slice(&message[at..]);
                    return heard;
                }
            }
        }
    }

    /// Handles the TURN messages in `bytes`. Where `ends`, nothing follows that would belong to the last.
    fn hear_messages(
        &mut self,
        now: Timestamp,
        token: StreamToken,
        bytes: &[u8],
        used: &mut usize,
        ends: bool,
    ) -> Heard {
        let Some(connection) = self.connections.get_mut(token) else { return Heard::All };
        let (five_tuple, framing) = (connection.five_tuple, connection.framing);
        loop {
            let rest = &bytes[*used..];
            if rest.is_empty() || !ends && self.is_held_back(token) {
                return Heard::All;
            }
            let first = match framing::first(rest, ends) {
                Ok(first) => first,
                Err(framing::NotTurn) => return Heard::Over(CloseCode::Invalid),
            };
            let (First::Whole { space, .. } | First::Part(Some(space))) = first else {
                return if ends { Heard::Over(CloseCode::Invalid) } else { Heard::All };
            };
            if space > LONGEST_OF_STRANGER && !self.core.has_allocation(&five_tuple) {
                return Heard::Over(CloseCode::Size);
            }
            let First::Whole { length, .. } = first else {
                return if ends { Heard::Over(CloseCode::Invalid) } else { Heard::All };
            };
            if let Some(connection) = self.connections.get_mut(token) {
                connection.was_heard = true;
            }
            self.connections.handled_one();
            self.message(now, five_tuple, framing, &rest[..length]);
            if let Some(shard) = self.connections.moving_to.take() {
                return Heard::Elsewhere(shard);
            }
            *used += space;
            if self.connections.joining.is_some() {
                return Heard::Joined;
            }
        }
    }

    /// Whether a client is not listened to for now: until it has read some of its answers, or others have had their turn.
    fn is_held_back(&mut self, token: StreamToken) -> bool {
        if self.connections.left_in_turn == 0 {
            if let Some(connection) = self.connections.get_mut(token) {
                // epoll reports it again at once, as there is room to send; behind the others.
                connection.is_held_back = true;
                self.connections.mark_dirty(token);
            }
            return true;
        }
        let many = |c: &mut Connection| c.outgoing.has_many_answers();
        if !self.connections.get_mut(token).is_some_and(many) {
            return false;
        }
        self.send_connection(token);
        let Some(connection) = self.connections.get_mut(token) else { return false };
        connection.is_held_back = connection.outgoing.has_many_answers();
        if connection.is_held_back {
            self.connections.mark_dirty(token);
        }
        self.connections.get_mut(token).is_some_and(|c| c.is_held_back)
    }

    fn message(&mut self, now: Timestamp, five_tuple: FiveTuple, framing: Framing, message: &[u8]) {
        if self.batch.room() == 0 {
            self.flush();
        }
        let slot = self.batch.take_over(message);
        let arrival = Arrival::message(slot, message);
        let input = match framing {
            Framing::Turn => Input::FromClient { five_tuple, datagram: message },
            Framing::WebSocket => Input::FromWebSocket { five_tuple, datagram: message },
        };
        self.core.handle(now, input, &mut self.outputs);
        self.carry_out(now, arrival);
    }
}
