//! How associations end, and what happens to them in time.

use std::time::{Duration, Instant};

use super::{DtlsEvent, seconds};
use crate::dtls::{Alert, Association, Failure, Step};
use crate::net::batch::Arrival;
use crate::net::counters::ConnectionKind;
use crate::net::shard::Shard;
use crate::time::Timestamp;
use crate::turn::{FiveTuple, Input};

/// How long a client may take for its first message.
const FIRST_MESSAGE: Duration = seconds(30);

/// How long an association may be without an allocation.
const UNUSED: Duration = seconds(60);

impl Shard {
    /// Ends what failed meanwhile, and looks after the associations whose time it is.
    pub(in crate::net) fn check_associations(&mut self, now: Timestamp) {
        let Some(common) = self.associations.common.clone() else { return };
        while let Some((client, failure)) = self.associations.broken.pop() {
            self.fail_association(now, &client, failure);
        }
        while let Some(client) = self.associations.due(now) {
            let Some(entry) = self.associations.get_mut(&client) else { continue };
            if entry.timer <= now {
                if let Err(failure) = entry.association.pass_time(common.instant(now)) {
                    self.fail_association(now, &client, failure);
                    continue;
                }
                self.go_on(now, &client, Arrival::default());
            }
            match self.patience(now, &client) {
                Some(patience) => {
                    if let Some(entry) = self.associations.get_mut(&client) {
                        entry.patience = patience;
                    }
                    self.associations.look_again(&client);
                }
                None => self.end_association(now, &client, DtlsEvent::Idle),
            }
        }
        self.flush();
    }

    /// Until when an association is left alone; `None` if it has been there for too long.
    fn patience(&mut self, now: Timestamp, client: &FiveTuple) -> Option<Timestamp> {
        let has_allocation = self.core.has_allocation(client);
        let entry = self.associations.get_mut(client)?;
        if now < entry.patience {
            return Some(entry.patience);
        }
        if !entry.is_connected {
            // dimpl's own limit, which is the same, comes a moment later.
            return Some(entry.timer.max(now + seconds(1)));
        }
        if has_allocation || entry.had_allocation {
            // It may have ended just now, and the next one is on its way.
            entry.served = now;
        }
        entry.had_allocation = has_allocation;
        let silent = !entry.was_heard && now.since(entry.began) >= FIRST_MESSAGE;
        if silent || now.since(entry.served) >= UNUSED {
            return None;
        }
        Some(if entry.was_heard { entry.served + UNUSED } else { entry.began + FIRST_MESSAGE })
    }

    /// Notes when dimpl wants to be asked again.
    pub(super) fn set_timer(&mut self, client: &FiveTuple, at: Instant) {
        let Some(at) = self.associations.common.as_ref().map(|common| common.timestamp(at)) else { return };
        if let Some(entry) = self.associations.get_mut(client) {
            entry.timer = at;
        }
        self.associations.look_again(client);
    }

    /// Ends an association that cannot go on. A client whose handshake failed is told, if it does not know.
    pub(super) fn fail_association(&mut self, now: Timestamp, client: &FiveTuple, failure: Failure) {
        let Some(entry) = self.associations.get_mut(client) else { return };
        // An alert in the clear said that the client would not go on, and it did not.
        let refused = failure == Failure::TimedOut && entry.was_refused;
        let told = matches!(failure, Failure::Refused | Failure::TimedOut);
        let alert = (!entry.is_connected && !told).then(|| entry.association.alert(Alert::HandshakeFailure));
        if let Some(alert) = alert {
            self.send_to_dtls_client(client, &alert, None, Arrival::default());
        }
        let why = if refused { DtlsEvent::Refused } else { failure.into() };
        self.end_association(now, client, why);
    }

    /// Ends an association, and says so to its client.
    pub(super) fn end_association(&mut self, now: Timestamp, client: &FiveTuple, why: DtlsEvent) {
        let Some(mut entry) = self.associations.remove(client) else { return };
        self.counters.dtls.add(why);
        // What of it failed is not held against the next from that port.
        self.associations.broken.retain(|(broken, _)| broken != client);
        if !entry.is_connected {
            return;
        }
        self.counters.connections(ConnectionKind::Dtls).closed.add(1);
        self.say_goodbye(client, &mut entry.association);
        drop(entry);
        self.core.handle(now, Input::ClientGone { five_tuple: *client, is_stuck: false }, &mut self.outputs);
        self.carry_out(now, Arrival::default());
    }

    /// Tells all clients that their association ends: the server does. Handshakes are left to time.
    pub(in crate::net) fn close_associations(&mut self) {
        for (client, mut entry) in self.associations.drain() {
            if entry.is_connected {
                self.say_goodbye(&client, &mut entry.association);
                self.send_many();
            }
        }
        self.flush();
    }

    /// Queues close_notify (RFC 5246 section 7.2.1).
    fn say_goodbye(&mut self, client: &FiveTuple, association: &mut Association) {
        association.close();
        let mut buffer = Vec::new();
        loop {
            match association.poll(&mut buffer) {
                Step::Send(length) => {
                    self.send_to_dtls_client(client, &buffer[..length], None, Arrival::default());
                }
                Step::Wait(_) => return,
                _ => {}
            }
        }
    }
}
