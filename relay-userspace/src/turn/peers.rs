//! Which peers a client may name, and under which address the core knows them.

use std::net::SocketAddr;

use super::allocations::Allocation;
use super::core::Core;
use super::request::Refusal;
use super::types::PeerAddr;
use crate::policy::PeerRules;
use crate::stun::ErrorCode;

impl Core {
    /// The peer that an address of a request means, if this allocation may let it in.
    pub(super) fn admit(&self, allocation: &Allocation, named: SocketAddr) -> Result<PeerAddr, Refusal> {
        // RFC 8656 sections 10.2 and 12.2.
        allocation.relayed_to(named.ip()).ok_or(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH)?;
        let peer = self.canonical(named);
        let rules = &allocation.rules;
        if !rules.permits(named.ip()) || !rules.permits(peer.0.ip()) {
            return Err(ErrorCode::FORBIDDEN.into());
        }
        Ok(peer)
    }

    /// The address by which the core knows a peer: clients name the relayed addresses of others as they are told
    /// them, and behind a 1:1 NAT that is not where they are bound.
    pub(super) fn canonical(&self, peer: SocketAddr) -> PeerAddr {
        let own = self.config.relay_addresses.iter().find(|a| a.public == peer.ip());
        PeerAddr(SocketAddr::new(own.map_or(peer.ip(), |a| a.local), peer.port()))
    }

    /// The address by which clients know one of ours, or anybody's.
    pub(super) fn public(&self, address: SocketAddr) -> SocketAddr {
        let own = self.config.relay_addresses.iter().find(|a| a.local == address.ip());
        SocketAddr::new(own.map_or(address.ip(), |a| a.public), address.port())
    }
}

/// Whether the rules as they are now let an allocation have a connection with this peer.
pub(super) fn may_connect_with(rules: &PeerRules, peer: PeerAddr) -> bool {
    rules.permits(peer.0.ip()) && may_send_to(rules, peer)
}

/// Whether data may go to this port of a peer whose address has a permission.
pub(super) fn may_send_to(rules: &PeerRules, peer: PeerAddr) -> bool {
    peer.0.port() != 0 && rules.permits_port(peer.0)
}
