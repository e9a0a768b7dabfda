//! Refresh (RFC 8656 section 8).

use std::time::Duration;

use super::allocations::Slot;
use super::core::Core;
use super::io::{EndCause, Outputs};
use super::mobility::Holder;
use super::request::{Caller, Refusal, Request};
use crate::stun::{AddressFamily, Builder, ErrorCode, Message};

/// What a client gets that asks for less, or for nothing (RFC 8656 section 3.2).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

impl Core {
    /// Prolongs an allocation, or ends it when the client wishes a lifetime of zero.
    pub(super) fn refresh(&mut self, request: &Request<'_>, out: &mut Outputs) -> Result<(), Refusal> {
        // RFC 8016 section 3.2.2: the ticket names the allocation then, and not the 5-tuple.
        let (slot, ticket) = match request.caller.message.mobility_ticket() {
            None => (self.own_allocation(request)?, None),
            Some(ticket) => match self.holder(request, ticket)? {
                Holder::Here(slot, ticket) => (slot, Some(ticket)),
                Holder::Shard(shard) => {
                    self.hand_on(shard, request.caller.five_tuple, out);
                    return Ok(());
                }
            },
        };
        let wished = request.caller.message.lifetime()?;
        let allocation = self.allocations.get_mut(slot);
        let asked = request.caller.message.requested_address_family()?;
        let leases = allocation.leases;
        // Without the attribute the request is for all there are (RFC 8656 section 8.1).
        let meant = |family| asked.is_none_or(|asked| asked == AddressFamily::from(family));
        let families = || leases.iter().map(|(family, _)| family).filter(|&family| meant(family));
        if families().next().is_none() {
            return Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH.into());
        }

        if wished == Some(Duration::ZERO) {
            if families().count() == leases.values().count() {
                self.refuse_duplicates(slot, &request.caller, out);
            }
            self.end(slot, meant, EndCause::Deleted, out);
            let answer = self.answer(&request.caller, out, |answer| {
                answer.lifetime(Duration::ZERO);
            });
            self.keep_answer(request.caller.key(), out.bytes[answer].into());
            return Ok(());
        }

        let lifetime = granted_lifetime(wished, self.config.max_lifetime);
        for family in families() {
            if let Some(lease) = allocation.leases.get_mut(family) {
                self.timers.restart(lease, self.now + lifetime);
            }
        }
        allocation.settle_all(&mut self.next_binding, out);
        if ticket.is_some() {
            self.refuse_duplicates(slot, &request.caller, out);
        }
        let five_tuple = request.caller.five_tuple;
        let ticket = ticket.map(|ticket| self.move_to((slot, ticket), five_tuple, out));
        let answer = self.answer(&request.caller, out, |answer| {
            answer.lifetime(lifetime);
            if let Some(ticket) = &ticket {
                answer.mobility_ticket(ticket.as_bytes());
            }
        });
        if ticket.is_some() {
            // RFC 8016 section 3.2.2: for 30 seconds at least, the old ticket is known in a retransmission.
            self.keep_answer(request.caller.key(), out.bytes[answer].into());
        }
        Ok(())
    }

    /// Keeps 437 for late duplicates of an allocation's Allocate request, from where the client made or last used it. They
    /// get it once that 5-tuple leads to the allocation no more. They must not make an allocation that nobody uses, nor
    /// hear of an address that is closed, and may be another's by then.
    fn refuse_duplicates(&mut self, slot: Slot, caller: &Caller<'_>, out: &mut Outputs) {
        let allocation = self.allocations.get(slot);
        // It has the transaction ID of the request, and a FINGERPRINT if that had one.
        let message = Message::parse(&allocation.answer).expect("it was written here");
        let duplicate = Caller {
            five_tuple: allocation.five_tuple,
            message,
            digest: allocation.request,
            signer: caller.signer.clone(),
        };
        let code = ErrorCode::ALLOCATION_MISMATCH;
        let answer = Builder::error(&mut out.bytes, &message, code, code.reason());
        let range = self.seal(&duplicate, answer);
        let request = duplicate.key();
        self.keep_answer(request, out.bytes[range].into());
    }
}

/// The lifetime an allocation gets (RFC 8656 section 7.2): what the client wishes, but not less than the default and
/// not more than the server's maximum, which has the last word.
pub(super) fn granted_lifetime(wished: Option<Duration>, max: Duration) -> Duration {
    wished.unwrap_or_default().max(DEFAULT_LIFETIME).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_lies_between_the_default_and_the_maximum() {
        let granted = |wished: Option<u64>, max| {
            granted_lifetime(wished.map(Duration::from_secs), Duration::from_secs(max)).as_secs()
        };
        assert_eq!(granted(None, 3600), 600);
        assert_eq!(granted(Some(10), 3600), 600);
        assert_eq!(granted(Some(1800), 3600), 1800);
        assert_eq!(granted(Some(u64::from(u32::MAX)), 3600), 3600);
        assert_eq!(granted(Some(1800), 120), 120);
    }
}
