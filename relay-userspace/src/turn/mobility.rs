//! Mobility (RFC 8016): a client whose address or port changed takes its allocation along, by a Refresh request with the
//! ticket that it was given.
//!
//! The move has two steps, as RFC 8016 section 3.2.2 demands. The Refresh request makes the new 5-tuple known beside the
//! old one, and requests and data are taken from both; media of peers still goes to the old one. The client's first data
//! from the new 5-tuple moves the media, with the bindings that the data path knows, and ends the old 5-tuple.
//!
//! The new 5-tuple usually belongs to another shard than the allocation, which does not move between shards:
//! [`steering`](super::steering) leads the client's datagrams to it.
//!
//! A client over a stream moves by connecting again, when its connection may have closed already. Its allocation is kept
//! for its lifetime then, without a 5-tuple: nobody else may find it by one that is free for others.

use std::time::Duration;

use super::allocations::{Allocation, Slot};
use super::core::Core;
use super::io::{EndCause, Event, Output, Outputs};
use super::request::{Caller, Refusal, Request};
use super::types::{AllocationId, FiveTuple, Transport};
use crate::auth::Ticket;
use crate::stun::ErrorCode;
use crate::time::Timestamp;

/// How long media stays where it moved to. A move costs the data path two table writes for each channel, and the client
/// two packets: without a rest a user with thousands of channels could keep a shard busy with nothing else.
const REST: Duration = Duration::from_secs(1);

/// What an allocation keeps whose client asked for a ticket.
#[derive(Debug, Default)]
pub(super) struct Mobility {
    /// Of the newest ticket.
    generation: u32,
    /// The client may not have heard of the newest ticket, so that the one before it is good too: as long as `next` waits
    /// for data, or waited when its connection closed.
    unheard: bool,
    /// The connection of the allocation's 5-tuple closed, and the client has not come back: there is no `next` either.
    away: bool,
    /// The shard that the allocation's 5-tuple belongs to, if it is another than this.
    via: Option<u16>,
    /// Where the client said that it is now, until it sends data from there.
    next: Option<Place>,
    /// Media does not move before.
    rests_until: Timestamp,
}

/// A 5-tuple of a client, and the shard that it belongs to if that is another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) five_tuple: FiveTuple,
    pub(super) via: Option<u16>,
}

/// Who has the allocation that a ticket names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    /// This shard; the ticket is good for it.
    Here(Slot, Ticket),
    /// Another, which is to decide.
    Shard(u16),
}

impl Allocation {
    /// All 5-tuples that lead to the allocation: one, or two while it moves, or none while its client is away.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let mobility = self.mobility.as_deref();
        let first = Place { five_tuple: self.five_tuple, via: mobility.and_then(|m| m.via) };
        let first = Some(first).filter(|_| !self.is_away());
        [first, mobility.and_then(|m| m.next)].into_iter().flatten()
    }

    /// Whether its client's connection closed, and nothing can be sent to it.
    pub(super) fn is_away(&self) -> bool {
        self.mobility.as_ref().is_some_and(|mobility| mobility.away)
    }
}

impl Core {
    /// Whether an Allocate request asks for a ticket (RFC 8016 section 3.1.2).
    pub(super) fn wants_ticket(&self, caller: &Caller<'_>) -> Result<bool, Refusal> {
        match caller.message.mobility_ticket() {
            None => Ok(false),
            Some([]) if self.may_be_mobile(&caller.five_tuple) => Ok(true),
            Some([]) => Err(ErrorCode::MOBILITY_FORBIDDEN.into()),
            Some(_) => Err(ErrorCode::BAD_REQUEST.into()),
        }
    }

    /// Whether a client can take its allocation along. One over DTLS cannot: where it comes to the kernel leads it to another
    /// shard, which has its keys, and an allocation does not leave its own.
    fn may_be_mobile(&self, five_tuple: &FiveTuple) -> bool {
        self.config.mobility && five_tuple.transport != Transport::Dtls
    }

    /// The first ticket of an allocation.
    pub(super) fn first_ticket(&self, allocation: AllocationId) -> String {
        self.ticket(allocation, 0)
    }

    /// Whose the allocation is that a Refresh request names by its ticket instead of its 5-tuple, after the checks of
    /// RFC 8016 section 3.2.2.
    pub(super) fn holder(&self, request: &Request<'_>, ticket: &[u8]) -> Result<Holder, Refusal> {
        if !self.may_be_mobile(&request.caller.five_tuple) {
            return Err(ErrorCode::MOBILITY_FORBIDDEN.into());
        }
        let ticket = self.shared.tickets.open(ticket).ok_or(ErrorCode::BAD_REQUEST)?;
        let five_tuple = &request.caller.five_tuple;
        let own = self.allocations.of_client(five_tuple);
        if ticket.shard != self.shard {
            // RFC 8656 section 7.2: a 5-tuple has one allocation.
            return if own.is_none() {
                Ok(Holder::Shard(ticket.shard))
            } else {
                Err(ErrorCode::ALLOCATION_MISMATCH.into())
            };
        }
        let slot = self.allocations.by_id(AllocationId(ticket.allocation));
        let slot = slot.filter(|&slot| self.allocations.get(slot).mobility.is_some());
        let slot = slot.ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        self.check_owner(slot, request)?;
        if own.is_some_and(|own| own != slot) {
            return Err(ErrorCode::ALLOCATION_MISMATCH.into());
        }
        if !Self::may_move(self.allocations.get(slot), five_tuple, ticket.generation) {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        Ok(Holder::Here(slot, ticket))
    }

    /// Makes known that the client is at this 5-tuple, and returns its next ticket.
    pub(super) fn move_to(
        &mut self,
        (slot, ticket): (Slot, Ticket),
        five_tuple: FiveTuple,
        out: &mut Outputs,
    ) -> String {
        let allocation = self.allocations.get_mut(slot);
        let (id, old) = (allocation.id, allocation.five_tuple);
        let username = &allocation.username;
        let Some(mobility) = &mut allocation.mobility else { return self.ticket(id, ticket.generation) };
        let generation = mobility.generation;
        if mobility.next.is_some_and(|next| next.five_tuple == five_tuple) {
            // It did not hear of the answer to the same request, or it would use the newest ticket.
            return self.ticket(id, generation);
        }

        out.items.push(Output::Event(Event::AllocationMoved {
            allocation: id,
            five_tuple,
            username: String::from(&**username),
        }));
        let place = Place { five_tuple, via: self.via };
        if mobility.away {
            let generation =
                if ticket.generation == generation { generation.wrapping_add(1) } else { generation };
            mobility.generation = generation;
            self.come_back(slot, place, out);
            return self.ticket(id, generation);
        }
        // A client that goes back before it sent data from elsewhere is where its media goes already.
        let next = (five_tuple != old).then_some(place);
        let used = next.is_none() || ticket.generation == generation;
        let generation = if used { generation.wrapping_add(1) } else { generation };
        mobility.generation = generation;
        mobility.unheard = next.is_some();
        let left = std::mem::replace(&mut mobility.next, next);
        if let Some(left) = left {
            self.leave(left, slot, out);
        }
        if let Some(place) = next {
            self.allocations.lead(&place.five_tuple, slot);
            wanted_here(place, out);
        }
        self.ticket(id, generation)
    }

    /// Data came from the 5-tuple that the client said it moved to: "the TURN server discards the old ticket and the old
    /// 5-tuple", and from now on "data received from the peer is forwarded to the new 5-tuple" (RFC 8016 section 3.2.2).
    pub(super) fn arrived(&mut self, slot: Slot, out: &mut Outputs) {
        let allocation = self.allocations.get_mut(slot);
        let Some(mobility) = &mut allocation.mobility else { return };
        if self.now < mobility.rests_until {
            return;
        }
        mobility.unheard = false;
        self.move_media(slot, out);
    }

    /// The connection of a client closed, so that its 5-tuple leads nowhere. Its allocation ends, as RFC 8656 section 7 has it
    /// for TCP and TLS; a mobile one waits for the client to come back, until its lifetime ends.
    pub(super) fn client_gone(&mut self, five_tuple: &FiveTuple, is_stuck: bool, out: &mut Outputs) {
        let Some(slot) = self.allocations.of_client(five_tuple) else { return };
        let allocation = self.allocations.get_mut(slot);
        let main = Place { five_tuple: allocation.five_tuple, via: None };
        let Some(mobility) = &mut allocation.mobility else {
            let cause = if is_stuck { EndCause::Stuck } else { EndCause::Disconnected };
            return self.end(slot, |_| true, cause, out);
        };
        match mobility.next {
            // Where the client said that it is now is all there is left.
            Some(_) if main.five_tuple == *five_tuple => self.move_media(slot, out),
            // It never sent data from there.
            Some(next) => {
                mobility.next = None;
                self.leave(next, slot, out);
            }
            None => {
                let via = mobility.via.take();
                mobility.away = true;
                self.leave(Place { via, ..main }, slot, out);
            }
        }
    }

    /// The client of a connection that closed is at another 5-tuple now, and media goes there at once: there is no other
    /// that it could go to.
    fn come_back(&mut self, slot: Slot, place: Place, out: &mut Outputs) {
        let allocation = self.allocations.get_mut(slot);
        let Some(mobility) = &mut allocation.mobility else { return };
        (mobility.away, mobility.unheard) = (false, true);
        mobility.via = place.via;
        mobility.rests_until = self.now + REST;
        allocation.five_tuple = place.five_tuple;
        allocation.settle_all(&mut self.next_binding, out);
        self.allocations.lead(&place.five_tuple, slot);
        wanted_here(place, out);
    }

    /// Moves media to where the client said that it is now, and forgets where it was.
    fn move_media(&mut self, slot: Slot, out: &mut Outputs) {
        let allocation = self.allocations.get_mut(slot);
        let Some(mobility) = &mut allocation.mobility else { return };
        let Some(next) = mobility.next.take() else { return };
        let left = Place { five_tuple: allocation.five_tuple, via: mobility.via };
        allocation.five_tuple = next.five_tuple;
        mobility.via = next.via;
        mobility.rests_until = self.now + REST;
        allocation.rebind(&mut self.next_binding, out);
        self.leave(left, slot, out);
    }

    /// The RFC lets a ticket be used from a 5-tuple that is not the allocation's already.
    fn may_move(allocation: &Allocation, five_tuple: &FiveTuple, generation: u32) -> bool {
        let Some(mobility) = &allocation.mobility else { return false };
        let newest = generation == mobility.generation;
        let before = generation.wrapping_add(1) == mobility.generation;
        match &mobility.next {
            None => {
                let elsewhere = mobility.away || allocation.five_tuple != *five_tuple;
                elsewhere && (newest || before && mobility.unheard)
            }
            Some(next) if next.five_tuple == *five_tuple => before,
            Some(_) => newest || before,
        }
    }

    /// A 5-tuple no longer leads to an allocation.
    fn leave(&mut self, place: Place, slot: Slot, out: &mut Outputs) {
        self.allocations.lead_no_more(&place.five_tuple, slot);
        forget(place, out);
    }

    fn ticket(&self, AllocationId(allocation): AllocationId, generation: u32) -> String {
        self.shared.tickets.seal(Ticket { shard: self.shard, allocation, generation })
    }
}

/// Asks the shard that a 5-tuple belongs to to hand on what comes from there.
fn wanted_here(place: Place, out: &mut Outputs) {
    if let Some(shard) = place.via {
        out.items.push(Output::Steer { shard, five_tuple: place.five_tuple, here: true });
    }
}

/// Tells the shard that a 5-tuple belongs to that it need not hand on what comes from there.
pub(super) fn forget(place: Place, out: &mut Outputs) {
    if let Some(shard) = place.via {
        out.items.push(Output::Steer { shard, five_tuple: place.five_tuple, here: false });
    }
}
