//! Peers that connect to a relayed transport address (RFC 6062 section 5.3).

use rand::RngExt;

use super::super::core::Core;
use super::super::io::{Event, Output, Outputs};
use super::super::peers::may_connect_with;
use super::super::timers::Timer;
use super::super::types::{PeerAddr, RelayAddr};
use super::connections::{Connection, State};
use super::{BIND_TIMEOUT, ConnectionId, TcpEvent};
use crate::stun::{Builder, Class, MessageType, Method, TransactionId};

impl Core {
    /// A peer connected. "If no permission for this peer has been installed for this allocation, the server MUST close the
    /// connection with the peer immediately after it has been accepted"; else the client is told of it.
    pub(in super::super) fn peer_incoming(&mut self, relayed: RelayAddr, peer: PeerAddr, out: &mut Outputs) {
        let Some(connection) = self.let_in(relayed, peer, out) else {
            out.items.push(Output::RefusePeer);
            return out.items.push(Output::Event(Event::Tcp(TcpEvent::Refused)));
        };
        let five_tuple = self.allocations.get(self.connections[&connection].slot).five_tuple;
        out.items.push(Output::AcceptPeer { connection });
        let id = TransactionId(self.rng.random());
        let attempt = MessageType::new(Method::CONNECTION_ATTEMPT, Class::Indication);
        let mut attempt = Builder::new(&mut out.bytes, attempt, id);
        attempt.xor_peer_address(self.public(peer.0)).connection_id(connection.0);
        let head = attempt.finish();
        out.items.push(Output::ToClient { five_tuple, head, body: 0..0 });
        out.items.push(Output::Event(Event::Tcp(TcpEvent::Accepted)));
    }

    fn let_in(&mut self, relayed: RelayAddr, peer: PeerAddr, out: &mut Outputs) -> Option<ConnectionId> {
        let slot = self.allocations.of_relayed(&relayed)?;
        let allocation = self.allocations.get(slot);
        allocation.permissions.get(&peer.0.ip())?;
        // The rules may have changed since the permission was made, and a connection lasts longer than data.
        if !may_connect_with(&allocation.rules, peer) {
            return None;
        }
        let connection = match self.new_connection(slot) {
            Ok(connection) => connection,
            Err(full) => {
                out.items.extend(full.event());
                return None;
            }
        };
        let expires = self.timers.start(self.now + BIND_TIMEOUT, Timer::Connection(connection));
        self.add_connection(connection, Connection { slot, peer, state: State::Pending { expires } });
        Some(connection)
    }
}
