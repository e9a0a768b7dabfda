//! Before there is an association: cookies, and who may begin.

use std::mem;

use relay_common::reason::Reason;

use super::table::Entry;
use super::{DtlsEvent, HANDSHAKE, OF_NETWORK};
use crate::dtls::{Alert, Association, Failure, Hello, LONGEST_HELLO, NoHello, is_hello};
use crate::net::batch::{Arrival, Route};
use crate::net::shard::Shard;
use crate::net::token::Token;
use crate::time::Timestamp;
use crate::turn::FiveTuple;

impl Shard {
    /// Takes a hello that begins an association, or asks for a cookie to. `false`: the datagram is for the association that is
    /// there.
    pub(super) fn take_hello(&mut self, now: Timestamp, client: FiveTuple, arrival: Arrival) -> bool {
        let datagram = self.batch.datagram(arrival);
        if !is_hello(datagram) {
            return false;
        }
        if datagram.len() > LONGEST_HELLO {
            self.drop_dtls(DtlsEvent::Malformed, arrival);
            return true;
        }
        let known = self.associations.get_mut(&client);
        match Hello::parse(datagram) {
            Ok(hello) if known.is_some_and(|entry| entry.association.began_with(&hello)) => false,
            Ok(_) => {
                self.begin(now, client, arrival);
                true
            }
            Err(NoHello::OldVersion(sequence)) => {
                self.counters.dtls.add(DtlsEvent::OldVersion);
                let alert = Alert::ProtocolVersion.record(sequence);
                self.send_to_dtls_client(&client, &alert, None, arrival);
                true
            }
            Err(NoHello::Malformed) => {
                self.drop_dtls(DtlsEvent::Malformed, arrival);
                true
            }
        }
    }

    /// Begins an association, or says what is needed for it. Nothing is kept of a client that has not brought its cookie back,
    /// and it is sent less than it sent (RFC 6347 section 4.2.1).
    fn begin(&mut self, now: Timestamp, client: FiveTuple, arrival: Arrival) {
        let Some(common) = self.associations.common.clone() else { return };
        let datagram = self.batch.datagram(arrival);
        let Ok(hello) = Hello::parse(datagram) else { return };
        let (from, at) = (client.client.0, client.listener);
        let Some(cookie) = common.cookies.check(now, from, at, &hello) else {
            let request = hello.verify_request(common.cookies.give(now, from, at, &hello));
            self.counters.dtls.add(DtlsEvent::Verify);
            return self.send_to_dtls_client(&client, &request, None, arrival);
        };
        if self.associations.left_in_turn == 0 {
            return self.drop_dtls(DtlsEvent::PutOff, arrival);
        }
        if !common.handshakes.admit(&OF_NETWORK, now, from.ip(), 1) {
            return self.drop_dtls(DtlsEvent::TooOften, arrival);
        }
        let Some(identity) = common.door.identity(hello.server_name().as_deref()) else {
            self.counters.dtls.add(DtlsEvent::NoCertificate);
            let alert = Alert::HandshakeFailure.record(hello.sequence());
            return self.send_to_dtls_client(&client, &alert, None, arrival);
        };
        // A client that is there already has a place, and keeps it.
        let replaced = self.associations.get_mut(&client).is_some();
        let place = if replaced { None } else { common.door.admit(from.ip()) };
        if place.is_none() && !replaced {
            return self.drop_dtls(DtlsEvent::TooMany, arrival);
        }
        // Only who is computed for uses up the turn.
        self.associations.left_in_turn -= 1;
        let begun =
            Association::accept(&common.rules, &identity, (&hello, cookie, datagram), common.instant(now));
        let association = match begun {
            Ok(association) => association,
            Err(failure) => {
                self.counters.dtls.add(failure.into());
                if failure == Failure::NothingInCommon {
                    let alert = Alert::HandshakeFailure.record(hello.sequence());
                    self.send_to_dtls_client(&client, &alert, None, arrival);
                }
                return;
            }
        };
        let of_old = |old: &mut Entry| mem::take(&mut old.place);
        let place = place.or_else(|| self.associations.get_mut(&client).map(of_old)).unwrap_or_default();
        if replaced {
            // RFC 6347 section 4.2.8: it has shown that it is the same client, which knows of nothing before.
            self.end_association(now, &client, DtlsEvent::Replaced);
        }
        if let Some(oldest) = self.associations.oldest_of_too_many() {
            self.end_association(now, &oldest, DtlsEvent::Displaced);
        }
        self.counters.dtls.add(DtlsEvent::Begun);
        self.associations.insert(client, Entry::new(association, now, now + HANDSHAKE, place));
        self.go_on(now, &client, arrival);
    }

    /// Counts a packet that leads to nothing.
    pub(super) fn drop_dtls(&mut self, event: DtlsEvent, arrival: Arrival) {
        self.counters.dtls.add(event);
        self.counters.datagram(Reason::Malformed, arrival.bytes);
    }

    /// Queues a datagram for a client.
    pub(super) fn send_to_dtls_client(
        &mut self,
        client: &FiveTuple,
        datagram: &[u8],
        route: Option<Route>,
        arrival: Arrival,
    ) {
        let route = route.unwrap_or_else(|| {
            let index = self.listeners.iter().position(|l| l.address == client.listener);
            Route::own(index.map(|index| Token::Listener(index as u16)), client.client.0, None)
        });
        self.batch.push(route, datagram, 0..0, arrival);
    }
}
