//! How connections end (RFC 6062 sections 5.2, 5.3 and 5.5), and what they carried.

use super::super::allocations::Slot;
use super::super::core::Core;
use super::super::family::Family;
use super::super::io::{Event, Output, Outputs};
use super::super::metering::Direction;
use super::super::peers::may_connect_with;
use super::connections::{Connection, State};
use super::{ConnectionId, TcpEvent};
use crate::stun::ErrorCode;

impl Core {
    /// The time for a peer to answer, or for the client to bind, is over.
    pub(in super::super) fn connection_expired(&mut self, id: ConnectionId, out: &mut Outputs) {
        out.items.push(Output::CloseConnection { connection: id });
        match self.connections.get(&id) {
            Some(Connection { state: State::Connecting { .. }, .. }) => {
                self.refuse_connect(id, ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE, out);
            }
            _ => {
                self.remove_connection(id);
                out.items.push(Output::Event(Event::Tcp(TcpEvent::NotBound)));
            }
        }
    }

    /// The caller closed a connection: one of its two ends went.
    pub(in super::super) fn connection_gone(&mut self, id: ConnectionId, out: &mut Outputs) {
        if let Some(deadline) = self.connections.get(&id).and_then(Connection::expires) {
            self.timers.cancel(deadline);
        }
        self.settle(id, out);
        match self.remove_connection(id).map(|connection| connection.state) {
            Some(State::Active { .. }) => out.items.push(Output::Event(Event::Tcp(TcpEvent::Ended))),
            Some(State::Pending { .. }) => out.items.push(Output::Event(Event::Tcp(TcpEvent::NotBound))),
            Some(State::Connecting { asker, .. }) => {
                self.refuse(&asker.caller(), ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE, out);
                out.items.push(Output::Event(Event::Tcp(TcpEvent::ConnectFailed)));
            }
            None => {}
        }
    }

    /// A connection carried something. It ends if the rules came to forbid its peer, as no permission that runs out would
    /// end it: connections last for hours.
    pub(in super::super) fn connection_carried(&mut self, id: ConnectionId, out: &mut Outputs) {
        self.count_carried(id, out);
        let Some(Connection { slot, peer, state: State::Active { .. } }) = self.connections.get(&id) else {
            return;
        };
        if !may_connect_with(&self.allocations.get(*slot).rules, *peer) {
            out.items.push(Output::CloseConnection { connection: id });
            self.connection_gone(id, out);
        }
    }

    /// Counts what a connection carried since the last time.
    fn count_carried(&mut self, id: ConnectionId, out: &mut Outputs) {
        let Some(Connection { slot, state: State::Active { carried }, .. }) = self.connections.get(&id)
        else {
            return;
        };
        let (to_peer, to_client) = carried.take();
        let usage = &mut self.allocations.get_mut(*slot).usage;
        usage.of(Direction::ToPeer).relayed += to_peer;
        usage.of(Direction::ToClient).relayed += to_client;
        if to_peer.bytes + to_client.bytes > 0 {
            out.items.push(Output::Event(Event::TcpCarried { to_peer, to_client }));
        }
    }

    /// Counts the last of what a connection carried, before it is forgotten.
    fn settle(&mut self, id: ConnectionId, out: &mut Outputs) {
        if let Some(Connection { state: State::Active { carried }, .. }) = self.connections.get(&id) {
            carried.end();
        }
        self.count_carried(id, out);
    }

    /// "If the allocation associated with a data connection expires, the data connection MUST be closed" (section 5.5); and
    /// so for the peers of one family, when its relayed transport address ends.
    pub(in super::super) fn end_connections(&mut self, slot: Slot, family: Family, out: &mut Outputs) {
        let Some(tcp) = &self.allocations.get(slot).tcp else { return };
        for id in tcp.connections.clone() {
            let Some(connection) = self.connections.get(&id) else { continue };
            if connection.peer.family() != family {
                continue;
            }
            if let Some(deadline) = connection.expires() {
                self.timers.cancel(deadline);
            }
            out.items.push(Output::CloseConnection { connection: id });
            match &connection.state {
                // The client asked and is still there to hear that there is no allocation any more.
                State::Connecting { .. } => self.refuse_connect(id, ErrorCode::ALLOCATION_MISMATCH, out),
                State::Pending { .. } => _ = self.remove_connection(id),
                State::Active { .. } => {
                    self.settle(id, out);
                    self.remove_connection(id);
                    out.items.push(Output::Event(Event::Tcp(TcpEvent::Ended)));
                }
            }
        }
    }
}
