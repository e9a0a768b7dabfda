//! Leading the datagrams of clients that moved to the shard that holds their allocation.
//!
//! The kernel chooses a shard by the 5-tuple, so a client that moved usually arrives at another one. That shard hands its
//! first Refresh request on, by the number in the ticket, and nothing else, and keeps nothing. Once the holder has
//! authenticated the request and moved the allocation, it asks that all datagrams of the 5-tuple be handed on, until the
//! allocation ends or moves again. What was handed on is never handed on again.

use relay_common::reason::Reason;

use super::core::Core;
use super::io::{Output, Outputs};
use super::types::FiveTuple;
use crate::stun::{Class, Message, MessageType, Method};

impl Core {
    /// A datagram from a client, at the shard that the kernel chose.
    pub(super) fn arrives(&mut self, five_tuple: FiveTuple, datagram: &[u8], out: &mut Outputs) {
        self.via = None;
        // Empty unless clients moved: a relayed packet does not pay for those.
        if !self.steered.is_empty()
            && let Some(&shard) = self.steered.get(&five_tuple)
        {
            return self.hand_on(shard, five_tuple, out);
        }
        self.client_datagram(five_tuple, datagram, out);
    }

    /// A datagram that another shard handed on. It may come a little late: the 5-tuple is no longer, or not yet, one of
    /// an allocation here. Then only a Refresh or a ConnectionBind request can mean this shard; the client repeats other
    /// requests, and they go where they belong.
    pub(super) fn handed_on(&mut self, from: u16, five_tuple: FiveTuple, datagram: &[u8], out: &mut Outputs) {
        self.via = Some(from);
        if self.allocations.of_client(&five_tuple).is_none() && !may_come_from_elsewhere(datagram) {
            return out.items.push(Output::Dropped(Reason::NoAllocation));
        }
        self.client_datagram(five_tuple, datagram, out);
    }

    /// Hands the datagram of the input to another shard, unless it was handed on before.
    pub(super) fn hand_on(&self, shard: u16, five_tuple: FiveTuple, out: &mut Outputs) {
        out.items.push(match self.via {
            None => Output::Forward { shard, five_tuple },
            Some(_) => Output::Dropped(Reason::NoAllocation),
        });
    }

    /// Another shard asks for the datagrams of a 5-tuple, or asks no longer. At most as many 5-tuples are kept as
    /// allocations have, each of which was made known by an authenticated request.
    pub(super) fn steer(&mut self, by: u16, five_tuple: FiveTuple, here: bool) {
        if !here {
            if self.steered.get(&five_tuple) == Some(&by) {
                self.steered.remove(&five_tuple);
            }
        } else if self.allocations.of_client(&five_tuple).is_none() {
            // Otherwise the client has allocated from there meanwhile.
            self.steered.insert(five_tuple, by);
        }
    }
}

/// The requests that name what is meant by other things than their 5-tuple.
fn may_come_from_elsewhere(datagram: &[u8]) -> bool {
    let requests = [Method::REFRESH, Method::CONNECTION_BIND].map(|m| MessageType::new(m, Class::Request));
    Message::parse(datagram).is_ok_and(|message| requests.contains(&message.message_type()))
}
