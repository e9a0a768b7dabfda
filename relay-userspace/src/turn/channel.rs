//! ChannelBind (RFC 8656 section 12.2).

use super::core::Core;
use super::io::Outputs;
use super::peers::may_send_to;
use super::request::{Refusal, Request};
use super::types::ChannelNumber;
use crate::stun::ErrorCode;

impl Core {
    /// Binds or refreshes a channel, and the permission for its peer with it.
    pub(super) fn channel_bind(&mut self, request: &Request<'_>, out: &mut Outputs) -> Result<(), Refusal> {
        let slot = self.own_allocation(request)?;
        // Channels are for datagrams. RFC 6062 names no error; it is the one that coturn's clients know.
        if self.allocations.get(slot).tcp.is_some() {
            return Err(ErrorCode::FORBIDDEN.into());
        }
        let number = request.caller.message.channel_number()?.ok_or(ErrorCode::BAD_REQUEST)?;
        let number = ChannelNumber::new(number).ok_or(ErrorCode::BAD_REQUEST)?;
        let peer = request.caller.message.xor_peer_address()?.ok_or(ErrorCode::BAD_REQUEST)?;
        let allocation = self.allocations.get(slot);
        let peer = self.admit(allocation, peer)?;
        if !may_send_to(&allocation.rules, peer) {
            return Err(ErrorCode::FORBIDDEN.into());
        }

        // A number belongs to one peer and a peer to one number, also for a while after the binding expired.
        let (of_number, of_peer) = (allocation.channels.get(&number), allocation.numbers.get(&peer));
        if of_number.is_some_and(|c| c.peer != peer) || of_peer.is_some_and(|&n| n != number) {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        if of_number.is_none() && allocation.channels.len() >= self.config.allocation_peers {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY.into());
        }
        self.make_room(slot, usize::from(allocation.permissions.get(&peer.0.ip()).is_none()))?;

        let lifetimes = self.config.lifetimes;
        let allocation = self.allocations.get_mut(slot);
        allocation.bind(slot, number, peer, self.now + lifetimes.channel, &mut self.timers);
        allocation.permit(slot, peer.0.ip(), self.now + lifetimes.permission, &mut self.timers);
        // The permission counts for the other channels to the same address too.
        allocation.settle_peer(peer.0.ip(), &mut self.next_binding, out);
        self.answer(&request.caller, out, |_| {});
        Ok(())
    }
}
