//! Connect (RFC 6062 section 5.2): a client has its relayed transport address connect to a peer.

use std::net::SocketAddr;

use rand::RngExt;

use super::super::allocations::Slot;
use super::super::core::Core;
use super::super::io::{Event, Output, Outputs};
use super::super::peers::may_send_to;
use super::super::request::{Refusal, Request};
use super::super::types::PeerAddr;
use super::connections::{Asker, Connection, Holder, State};
use super::{BIND_TIMEOUT, CONNECT_TIMEOUT, ConnectionId, TcpEvent};
use crate::stun::ErrorCode;
use crate::turn::timers::Timer;

/// Who has as many connections as there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    Allocation,
    User,
    Server,
}

impl Full {
    /// RFC 6062 names no code: a quota of the user is 486 as for allocations, the rest "some capacity limit" (508).
    const fn code(self) -> ErrorCode {
        match self {
            Self::User => ErrorCode::ALLOCATION_QUOTA_REACHED,
            Self::Allocation | Self::Server => ErrorCode::INSUFFICIENT_CAPACITY,
        }
    }

    /// What the operator is told: that the user's bound was it.
    pub(super) fn event(self) -> Option<Output> {
        (self == Self::User).then_some(Output::Event(Event::Tcp(TcpEvent::OverQuota)))
    }
}

impl Core {
    /// Has a connection made, and answers when it is there or not: the checks of RFC 6062 section 5.2 in its order.
    pub(in super::super) fn connect(
        &mut self,
        request: &Request<'_>,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let slot = self.own_allocation(request)?;
        let allocation = self.allocations.get(slot);
        // An allocation of UDP is none that the request could be for.
        let tcp = allocation.tcp.as_ref().ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        let named = request.caller.message.xor_peer_address()?.ok_or(ErrorCode::BAD_REQUEST)?;
        let peer = self.canonical(named);
        // Also where the peer made the connection: there cannot be two between the same two addresses.
        if tcp.connections.iter().any(|id| self.connections[id].peer == peer) {
            return Err(ErrorCode::CONNECTION_ALREADY_EXISTS.into());
        }
        let relayed = allocation.relayed_to(peer.0.ip());
        self.may_connect(slot, named)?;
        let relayed = relayed.ok_or(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH)?;
        // A peer like those of permissions: the user may not name more than so many in a minute.
        let new = usize::from(self.allocations.get(slot).permissions.get(&peer.0.ip()).is_none());
        if new > 0 && !self.takes_new_peer(slot) {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY.into());
        }
        let connection = match self.new_connection(slot) {
            Ok(connection) => connection,
            Err(full) => {
                out.items.extend(full.event());
                return Err(full.code().into());
            }
        };

        let expires = self.timers.start(self.now + CONNECT_TIMEOUT, Timer::Connection(connection));
        let state = State::Connecting { asker: Asker::new(request), expires };
        self.add_connection(connection, Connection { slot, peer, state });
        out.items.push(Output::ConnectPeer { connection, relayed, peer });
        Ok(())
    }

    /// The caller connected to a peer: "it is now called a peer data connection" and waits for the client's own.
    pub(in super::super) fn peer_connected(&mut self, connection: ConnectionId, out: &mut Outputs) {
        let expires = self.now + BIND_TIMEOUT;
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let State::Connecting { expires: mut deadline, .. } = known.state else { return };
        self.timers.restart(&mut deadline, expires);
        let state = std::mem::replace(&mut known.state, State::Pending { expires: deadline });
        let State::Connecting { asker, .. } = state else { return };
        self.answer(&asker.caller(), out, |answer| {
            answer.connection_id(connection.0);
        });
        out.items.push(Output::Event(Event::Tcp(TcpEvent::Connected)));
    }

    /// The caller could not connect to a peer.
    pub(in super::super) fn connect_failed(&mut self, connection: ConnectionId, out: &mut Outputs) {
        let Some(Connection { state: State::Connecting { expires, .. }, .. }) =
            self.connections.get(&connection)
        else {
            return;
        };
        self.timers.cancel(*expires);
        self.refuse_connect(connection, ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE, out);
    }

    /// Ends a connection that was being made, and says so to the client. Its timer has run or been cancelled.
    pub(super) fn refuse_connect(&mut self, connection: ConnectionId, code: ErrorCode, out: &mut Outputs) {
        let Some(ended) = self.remove_connection(connection) else { return };
        if let State::Connecting { asker, .. } = ended.state {
            self.refuse(&asker.caller(), code, out);
            out.items.push(Output::Event(Event::Tcp(TcpEvent::ConnectFailed)));
        }
    }

    /// 443 or 403 unless the rules let the allocation have a connection with this peer.
    fn may_connect(&self, slot: Slot, named: SocketAddr) -> Result<PeerAddr, Refusal> {
        let allocation = self.allocations.get(slot);
        let peer = self.admit(allocation, named)?;
        if !may_send_to(&allocation.rules, peer) {
            return Err(ErrorCode::FORBIDDEN.into());
        }
        Ok(peer)
    }

    /// Whether the user may name one more peer now.
    fn takes_new_peer(&self, slot: Slot) -> bool {
        let account = &self.allocations.get(slot).account;
        self.config.rates.new_peers.is_none_or(|rate| account.new_peers.take(&rate, self.now, 1))
    }

    /// A name for one more connection of an allocation, if there may be one.
    pub(super) fn new_connection(&mut self, slot: Slot) -> Result<ConnectionId, Full> {
        let limits = self.config.tcp_relay.ok_or(Full::Server)?;
        let allocation = self.allocations.get(slot);
        let tcp = allocation.tcp.as_ref().ok_or(Full::Allocation)?;
        if tcp.connections.len() >= limits.allocation_connections {
            return Err(Full::Allocation);
        }
        let account = &allocation.account;
        if !account.take_connection(limits.user_connections) {
            return Err(Full::User);
        }
        let holder = Holder { shard: self.shard, client: allocation.five_tuple.client };
        let rng = &mut self.rng;
        let taken = self.shared.connections.insert(holder, limits.total_connections, || rng.random());
        if taken.is_none() {
            account.give_back_connection();
        }
        taken.ok_or(Full::Server)
    }

    pub(super) fn add_connection(&mut self, id: ConnectionId, connection: Connection) {
        if let Some(tcp) = &mut self.allocations.get_mut(connection.slot).tcp {
            tcp.connections.push(id);
        }
        self.connections.insert(id, connection);
    }

    /// Forgets a connection. Its timer has run or been cancelled.
    pub(super) fn remove_connection(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        let allocation = self.allocations.get_mut(connection.slot);
        if let Some(tcp) = &mut allocation.tcp {
            tcp.connections.retain(|other| *other != id);
        }
        allocation.account.give_back_connection();
        self.shared.connections.remove(id);
        Some(connection)
    }
}
