//! What clients say, and what they are told.

use std::mem;
use std::net::SocketAddr;
use std::ops::Range;

use super::DtlsEvent;
use super::table::Heard;
use crate::dtls::{Failure, LONGEST_MESSAGE, Step, has_clear_alert, is_ordinary};
use crate::net::batch::{Arrival, Route};
use crate::net::counters::ConnectionKind;
use crate::net::shard::Shard;
use crate::time::Timestamp;
use crate::turn::{ClientAddr, FiveTuple, Input, Transport};

/// Handshakes that begin before the others of a shard have their turn.
const HANDSHAKES: u32 = 4;

/// Bytes of a datagram of a client without an allocation: dimpl keeps as much memory as what came needed, for as long as the
/// association lasts, and a few datagrams that came before their time.
const LONGEST_OF_STRANGER: usize = 4 << 10;

/// Most datagrams of a client before its handshake is over, in each of which something may have to be computed. A flight is two,
/// and sent a few times.
const MOST_OF_HANDSHAKE: u32 = 64;

/// What became of an association when it was asked what there is to do.
struct Polled {
    /// How many things there were.
    steps: u32,
    /// Its client has ended it.
    is_over: bool,
}

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
        if has_clear_alert(self.batch.datagram(arrival)) {
            // A client that is still there goes on, and anybody else's word ends nothing. dimpl would believe it in a handshake.
            entry.was_refused = true;
            return self.drop_dtls(DtlsEvent::ClearAlert, arrival);
        }
        if !entry.is_connected {
            entry.datagrams += 1;
            if entry.datagrams > MOST_OF_HANDSHAKE {
                return self.fail_association(now, &client, Failure::Protocol);
            }
        }
        let was_connected = entry.is_connected;
        if let Err(failure) = entry.association.receive(self.batch.datagram(arrival), now_of_dimpl) {
            return self.fail_association(now, &client, failure);
        }
        let is_done = self.go_on(now, &client, arrival);
        // In a handshake dimpl may have kept it for later.
        if !is_done && was_connected {
            self.drop_dtls(DtlsEvent::Discarded, arrival);
        }
    }

    /// Does what an association has to do: sends what it has to say, and handles what it heard. `arrival` is the datagram that it
    /// was given, whose place what was in it takes. Returns whether there was anything to do.
    pub(super) fn go_on(&mut self, now: Timestamp, client: &FiveTuple, arrival: Arrival) -> bool {
        let mut heard = mem::take(&mut self.associations.heard);
        let Polled { steps, is_over } = self.poll_association(client, &mut heard);
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
        steps > 0
    }

    /// Sends what an association has to say, and collects what it heard.
    fn poll_association(&mut self, client: &FiveTuple, heard: &mut Heard) -> Polled {
        let mut buffer = mem::take(&mut self.associations.buffer);
        let mut polled = Polled { steps: 0, is_over: false };
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
                Step::Closed => polled.is_over = true,
                Step::Wait(at) => {
                    self.set_timer(client, at);
                    break;
                }
            }
            polled.steps += 1;
        }
        self.associations.buffer = buffer;
        polled
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
