//! ConnectionBind (RFC 6062 section 5.4): a client's new connection becomes the other end of a peer's.

use super::super::core::Core;
use super::super::io::{Event, Output, Outputs};
use super::super::request::{Refusal, Request};
use super::connections::State;
use super::{Carried, ConnectionId, Pace, TcpEvent};
use crate::stun::ErrorCode;

impl Core {
    /// Joins the connection that the request came by to the one that it names.
    pub(in super::super) fn connection_bind(
        &mut self,
        request: &Request<'_>,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let limits = self.config.tcp_relay.ok_or(ErrorCode::BAD_REQUEST)?;
        let five_tuple = request.caller.five_tuple;
        // A WebSocket carries messages: RFC 6062 knows nothing of it, and nothing else may come by it.
        if !five_tuple.transport.is_stream() || self.by_websocket {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let connection = request.caller.message.connection_id()?.ok_or(ErrorCode::BAD_REQUEST)?;
        let connection = ConnectionId(connection);
        // Section 4.3: the client makes a new connection for it. Where there is an allocation, there is a control connection.
        if self.allocations.of_client(&five_tuple).is_some() {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let Some(known) = self.connections.get(&connection) else {
            let shard = self.shared.connections.shard_of(connection).filter(|&shard| shard != self.shard);
            // What was handed on before is not handed on again: the connection ended meanwhile.
            let shard = shard.filter(|_| self.via.is_none()).ok_or(ErrorCode::BAD_REQUEST)?;
            self.hand_on(shard, five_tuple, out);
            return Ok(());
        };
        // Section 4.3: "MUST use the same method and credentials as for the control connection".
        let slot = known.slot;
        self.check_owner(slot, request)?;
        // Else it is not there yet, or bound already.
        let State::Pending { expires } = known.state else { return Err(ErrorCode::BAD_REQUEST.into()) };

        self.timers.cancel(expires);
        let carried = Carried::default();
        if let Some(known) = self.connections.get_mut(&connection) {
            known.state = State::Active { carried: carried.clone() };
        }
        self.answer(&request.caller, out, |_| {});
        let pace = Pace::of(self.allocations.get(slot));
        out.items.push(Output::Join { five_tuple, connection, pace, idle: limits.idle, carried });
        out.items.push(Output::Event(Event::Tcp(TcpEvent::Bound)));
        Ok(())
    }
}
