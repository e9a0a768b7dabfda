//! ConnectionBind (RFC 6062 section 5.4): a client's new connection becomes the other end of a peer's.

use super::super::core::Core;
use super::super::io::{Event, Output, Outputs};
use super::super::request::{Caller, Refusal, Request};
use super::connections::State;
use super::{Carried, ConnectionId, Pace, TcpEvent};
use crate::auth::Offer;
use crate::stun::{ErrorCode, Method};

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
            let holder = self.shared.connections.holder(connection);
            let shard = holder.map(|holder| holder.shard).filter(|&shard| shard != self.shard);
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

    /// Whether the nonce of a ConnectionBind request is that of the control connection. RFC 6062 section 4.3 has the client
    /// use the method and credentials of that, and some take its nonce for one of them and do not try again when it is
    /// stale. It holds for the client's own address only, whatever the port, and by a connection: so nobody asks what all
    /// shards share in another's name.
    pub(in super::super) fn is_nonce_of_control(
        &self,
        nonce: &[u8],
        caller: &Caller<'_>,
        offer: &Offer,
    ) -> bool {
        let (message, client) = (&caller.message, caller.five_tuple.client.0.ip());
        let by_stream = caller.five_tuple.transport.is_stream() && !self.by_websocket;
        if message.method() != Method::CONNECTION_BIND || !by_stream {
            return false;
        }
        let Ok(Some(connection)) = message.connection_id() else { return false };
        let holder = self.shared.connections.holder(ConnectionId(connection));
        holder.map(|holder| holder.client.0).is_some_and(|control| {
            control.ip() == client && self.shared.nonces.is_valid(nonce, self.now, &control, offer)
        })
    }
}
