//! CreatePermission (RFC 8656 section 10).

use super::core::Core;
use super::io::Outputs;
use super::request::{Refusal, Request};
use crate::stun::ErrorCode;

/// Most permissions, and most channels, of one allocation (508 beyond): as many as RFC 8656 section 12 has channel
/// numbers. They take memory, and nothing else bounds how many an authenticated client asks for.
pub(super) const MOST_PEERS: usize = 4096;

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
        let mut new = 0;
        let mut any = false;
        for peer in request.caller.message.xor_peer_addresses() {
            let peer = self.admit(allocation, peer?)?;
            any = true;
            new += usize::from(allocation.permissions.get(&peer.0.ip()).is_none());
        }
        if !any {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        if allocation.permissions.len() + new > MOST_PEERS {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY.into());
        }

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
}
