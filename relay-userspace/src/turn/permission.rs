//! CreatePermission (RFC 8656 section 10).

use std::collections::BTreeSet;

use super::allocations::Slot;
use super::core::Core;
use super::io::Outputs;
use super::request::{Refusal, Request};
use crate::stun::ErrorCode;

/// The most that [`CoreConfig::allocation_peers`](super::CoreConfig::allocation_peers) may be: as many as RFC 8656
/// section 12 has channel numbers. They take memory, and nothing else bounds how many an authenticated client asks for.
pub const MOST_PEERS: usize = 4096;

impl Core {
    /// Installs or refreshes the permissions of all peers named, or of none.
    pub(super) fn create_permission(
        &mut self,
        request: &Request<'_>,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let until = self.now + self.config.lifetimes.permission;
        let slot = self.own_allocation(request)?;
        let allocation = self.allocations.get(slot);
        // A set: a request may name an address many times over, with one port for each of a peer's candidates.
        let mut new = BTreeSet::new();
        let mut any = false;
        for peer in request.caller.message.xor_peer_addresses() {
            let peer = self.admit(allocation, peer?)?;
            any = true;
            if allocation.permissions.get(&peer.0.ip()).is_none() {
                new.insert(peer.0.ip());
            }
        }
        if !any {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        self.make_room(slot, new.len())?;

        for peer in request.caller.message.xor_peer_addresses() {
            let ip = self.canonical(peer?).0.ip();
            let allocation = self.allocations.get_mut(slot);
            if allocation.permit(slot, ip, until, &mut self.timers) {
                allocation.settle_peer(ip, &mut self.next_binding, out);
            }
        }
        self.answer(&request.caller, out, |_| {});
        Ok(())
    }

    /// Whether an allocation may have so many more permissions: by their number, and by how fast its user makes them.
    /// A request that would pass either limit is refused as a whole, with 508: RFC 8656 section 19 has it for a "capacity limit", and
    /// the client may try again later.
    pub(super) fn make_room(&self, slot: Slot, new: usize) -> Result<(), Refusal> {
        let allocation = self.allocations.get(slot);
        let too_many = allocation.permissions.len() + new > self.config.allocation_peers;
        let too_fast = || {
            self.config
                .rates
                .new_peers
                .is_some_and(|r| !allocation.account.new_peers.take(&r, self.now, new as u64))
        };
        if new > 0 && (too_many || too_fast()) {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY.into());
        }
        Ok(())
    }
}
