//! Rates of allocations and users.

use relay_common::meter::{self, Line, Word};
use relay_common::packet::Packet;
use relay_common::rewrite::Way;

use crate::machine;
use crate::maps::METERS;

/// Whether the rates that the packet's way has to keep to, if any, leave room for its data; if so, all have counted it.
#[inline(always)]
pub(crate) fn admit(packet: &Packet, way: &Way<'_>, now: u64) -> bool {
    let (to_peer, to_client) = way.meters();
    to_peer | to_client == 0 || admitted(to_peer, to_client, packet.data_len.into(), now)
}

/// Whether a datagram with so many bytes of data may pass by the meter of the allocation that sends it to a peer and by
/// that of the one that receives it for its client (0 where there is none), and by those of their users. If so, all have
/// counted it.
///
/// Out of line: most flows have no meter.
#[inline(never)]
fn admitted(to_peer: u32, to_client: u32, data_len: u32, now: u64) -> bool {
    let (Some(sender), Some(receiver)) = (METERS.get(to_peer), METERS.get(to_client)) else { return false };
    let lines: [&Line; 2] = [&sender.to_peer, &receiver.to_client];
    let (Some(senders_user), Some(receivers_user)) =
        (METERS.get(lines[0].parent()), METERS.get(lines[1].parent()))
    else {
        return false;
    };
    let lines = [lines[0], &senders_user.to_peer, lines[1], &receivers_user.to_client];
    meter::admit(&lines, now, data_len.into(), add)
}

#[inline(always)]
fn add(word: &Word, value: u64) {
    // SAFETY: the one word, which is shared by atomic operations only.
    unsafe { machine::add(word.0.as_ptr(), value) };
}
