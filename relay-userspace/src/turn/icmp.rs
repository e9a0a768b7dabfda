//! ICMP errors about what was relayed to a peer, told to the client (RFC 8656 section 11.5).

use std::time::Duration;

use rand::RngExt;
use relay_common::reason::Reason;

use super::core::Core;
use super::io::{Output, Outputs};
use super::types::{PeerAddr, RelayAddr};
use crate::stun::{Builder, Class, Icmp, MessageType, Method, TransactionId};
use crate::time::Timestamp;

/// Most errors that an allocation's client is told in a [`PERIOD`]. An ICMP error is easily forged by who knows both
/// addresses and ports; an honest client that sends to a few dead peers at once, or looks for the path MTU, needs fewer.
const MOST_TOLD: u8 = 16;

const PERIOD: Duration = Duration::from_secs(1);

/// How many errors a client was told lately.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct IcmpTold {
    /// When the period began.
    since: Timestamp,
    count: u8,
}

impl IcmpTold {
    /// Counts one more, unless there were enough.
    fn one_more(&mut self, now: Timestamp) -> bool {
        if now.since(self.since) >= PERIOD {
            *self = Self { since: now, count: 0 };
        }
        let allowed = self.count < MOST_TOLD;
        self.count += u8::from(allowed);
        allowed
    }
}

impl Core {
    /// An ICMP error about a datagram from a relayed transport address.
    pub(super) fn icmp_error(&mut self, relayed: RelayAddr, peer: PeerAddr, icmp: Icmp, out: &mut Outputs) {
        let effect = self.tell_client(relayed, peer, icmp, &mut out.bytes);
        out.items.push(effect.unwrap_or_else(Output::Dropped));
    }

    fn tell_client(
        &mut self,
        relayed: RelayAddr,
        peer: PeerAddr,
        icmp: Icmp,
        bytes: &mut Vec<u8>,
    ) -> Result<Output, Reason> {
        let icmp = told(icmp, peer).ok_or(Reason::IcmpType)?;
        let slot = self.allocations.of_relayed(&relayed).ok_or(Reason::NoAllocation)?;
        let allocation = self.allocations.get_mut(slot);
        allocation.permissions.get(&peer.0.ip()).ok_or(Reason::NoPermission)?;
        if allocation.is_away() {
            return Err(Reason::ClientAway);
        }
        if !allocation.icmp_told.one_more(self.now) {
            return Err(Reason::IcmpRate);
        }
        let five_tuple = allocation.five_tuple;
        let id = TransactionId(self.rng.random());
        let mut data = Builder::new(bytes, MessageType::new(Method::DATA, Class::Indication), id);
        data.xor_peer_address(self.public(peer.0)).icmp(icmp);
        Ok(Output::ToClient { five_tuple, head: data.finish(), body: 0..0 })
    }
}

/// What the client is told of an error, if anything: RFC 8656 section 11.5 has types 3 and 11 of ICMP, 1, 2 and 3 of
/// ICMPv6; section 18.13 has the MTU for "fragmentation needed" and "packet too big" and zero for the others.
fn told(icmp: Icmp, peer: PeerAddr) -> Option<Icmp> {
    let data = match (peer.0.is_ipv4(), icmp.kind, icmp.code) {
        (true, 3, 4) | (false, 2, _) => icmp.data,
        (true, 3 | 11, _) | (false, 1 | 3, _) => 0,
        _ => return None,
    };
    Some(Icmp { data, ..icmp })
}
