//! What clients say, and what they are told.

use std::mem;
use std::net::SocketAddr;
use std::ops::Range;

use super::DtlsEvent;
use super::table::Heard;
use crate::dtls::{Failure, LONGEST_MESSAGE, Step, is_ordinary};
use crate::net::batch::{Arrival, Route};
use crate::net::counters::ConnectionKind;
use crate::net::shard::Shard;
use crate::time::Timestamp;
use crate::turn::{ClientAddr, FiveTuple, Input, Transport};

/// Handshakes that begin before the others of a shard have their turn.
const HANDSHAKES: u32 = 4;

/// Bytes of a datagram of a client without an allocation: dimpl keeps as much memory as what came needed, for as long as the
/// association lasts, and up to thirty datagrams of a handshake.
const LONGEST_OF_STRANGER: usize = 4 << 10;

/// Most datagrams of a client before its handshake is over, in each of which something may have to be computed. A flight is two,
/// and sent a few times.
const MOST_OF_HANDSHAKE: u32 = 64;

impl Shard {
    /// A turn of a listener for DTLS begins.
    pub(in crate::net) fn begin_dtls_turn(&mut self) {
        self.associations.left_in_turn = HANDSHAKES;
    }

    /// Takes a datagram of a client at a listener for DTLS.
    pub(in crate::net) fn take_dtls(
        &mut self,
        now: Timestamp,
        (from, listener): (SocketAddr, SocketAddr),
        arrival: Arrival,
    ) {
        let client = FiveTuple { client: ClientAddr(from), listener, transport: Transport::Dtls };
        if self.take_hello(now, client, arrival) {
            return;
        }
        let Some(common) = &self.associations.common else { return };
        let now_of_dimpl = common.instant(now);
        let long = self.batch.datagram(arrival).len() > LONGEST_OF_STRANGER;
        if long && !self.core.has_allocation(&client) || !is_ordinary(self.batch.datagram(arrival)) {
            return self.drop_dtls(DtlsEvent::Malformed, arrival);
        }
        let Some(entry) = self.associations.get_mut(&client) else {
            return self.drop_dtls(DtlsEvent::Stray, arrival);
        };
        if !entry.is_connected {
            entry.datagrams += 1;
            if entry.datagrams > MOST_OF_HANDSHAKE {
                return self.fail_association(now, &client, Failure::Protocol);
            }
        }
        if let Err(failure) = entry.association.receive(self.batch.datagram(arrival), now_of_dimpl) {
            return self.fail_association(now, &client, failure);
        }
        self.go_on(now, &client, arrival);
    }

    /// Does what an association has to do: sends what it has to say, and handles what it heard. `arrival` is the datagram that it
    /// was given, whose place what was in it takes.
    pub(super) fn go_on(&mut self, now: Timestamp, client: &FiveTuple, arrival: Arrival) {
        let mut heard = mem::take(&mut self.associations.heard);
        let is_over = self.poll_association(client, &mut heard);
        for (index, range) in heard.messages.drain(..).enumerate() {
            let message = &heard.bytes[range];
            let mut arrival = arrival;
            if index > 0 {
                // What was said before refers to the same place.
                self.send_queued();
                arrival.bytes = message.len() as u64;
            }
            self.batch.replace(arrival.slot, message);
            let input = Input::FromClient { five_tuple: *client, datagram: message };
            self.core.handle(now, input, &mut self.outputs);
            self.carry_out(now, arrival);
        }
        heard.bytes.clear();
        self.associations.heard = heard;
        if is_over {
            self.end_association(now, client, DtlsEvent::Closed);
        }
    }

    /// Sends what an association has to say, and collects what it heard. Returns whether its client has ended it.
    fn poll_association(&mut self, client: &FiveTuple, heard: &mut Heard) -> bool {
        let mut buffer = mem::take(&mut self.associations.buffer);
        let mut is_over = false;
        while let Some(entry) = self.associations.get_mut(client) {
            match entry.association.poll(&mut buffer) {
                Step::Send(length) => {
                    self.send_to_dtls_client(client, &buffer[..length], None, Arrival::default());
                }
                Step::Heard(length) => {
                    entry.was_heard = true;
                    let start = heard.bytes.len();
                    heard.bytes.extend_from_slice(&buffer[..length]);
                    heard.messages.push(start..start + length);
                }
                Step::Connected => {
                    entry.is_connected = true;
                    self.associations.connected();
                    self.counters.dtls.add(DtlsEvent::Completed);
                    self.counters.connections(ConnectionKind::Dtls).opened.add(1);
                }
                Step::Closed => is_over = true,
                Step::Wait(at) => {
                    self.set_timer(client, at);
                    break;
                }
            }
        }
        self.associations.buffer = buffer;
        is_over
    }

    /// Queues a message for a client, encrypted.
    pub(in crate::net) fn queue_for_association(
        &mut self,
        client: &FiveTuple,
        (head, body): (&[u8], Range<usize>),
        (route, arrival): (Route, Arrival),
    ) {
        let mut plain = mem::take(&mut self.associations.plain);
        plain.clear();
        plain.extend_from_slice(head);
        plain.extend_from_slice(&self.batch.datagram(arrival)[body]);
        let mut buffer = mem::take(&mut self.associations.buffer);
        let mut route = Some(route);
        let mut failed = None;
        // What no record can carry is not sent.
        let fits = plain.len() <= LONGEST_MESSAGE;
        if let Some(entry) = self.associations.get_mut(client).filter(|_| fits) {
            failed = entry.association.seal(&plain).err();
            // All that was heard before is collected already.
            while let Some(Step::Send(length)) =
                self.associations.get_mut(client).map(|entry| entry.association.poll(&mut buffer))
            {
                self.send_to_dtls_client(client, &buffer[..length], route.take(), arrival);
            }
        }
        (self.associations.plain, self.associations.buffer) = (plain, buffer);
        if let Some(route) = route {
            // It ended a moment ago, or just now: counted as not sent.
            self.batch.push(Route { socket: None, ..route }, &[], 0..0, arrival);
        }
        if let Some(failure) = failed {
            self.associations.broken.push((*client, failure));
        }
    }
}
