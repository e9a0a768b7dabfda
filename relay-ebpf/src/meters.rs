//! Rates of allocations and users.

use relay_common::meter::{self, Line, Word};
use relay_common::packet::Packet;
use relay_common::way::Way;

use crate::add;
use crate::maps::METERS;

/// Whether the rates that the packet's way has to keep to, if any, leave room for its data; if so, all have counted it.
#[inline(always)]
pub(crate) fn admit(packet: &Packet, way: &Way<'_>, now: u64) -> bool {
    let (to_peer, to_client) = way.meters();
    to_peer | to_client == 0 || meters_admit(to_peer, to_client, packet.data_len.into(), now) != 0
}

/// Has the meters forget a packet that they have just [admitted](admit), and that goes up after all: userspace counts it.
#[inline(always)]
pub(crate) fn give_back(packet: &Packet, way: &Way<'_>) {
    let (to_peer, to_client) = way.meters();
    if to_peer | to_client != 0 {
        meters_give_back(to_peer, to_client, packet.data_len.into());
    }
}

/// Whether a datagram with so many bytes of data may pass by the meter of the allocation that sends it to a peer and by
/// that of the one that receives it for its client (0 where there is none), and by those of their users. If so, all have
/// counted it.
///
/// Out of line: most flows have no meter. And with a name of its own in the object, by which the verifier takes it for a
/// global function (kernel 5.6): it looks at it once, for any arguments, and not from each state that a caller may be in.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn meters_admit(to_peer: u32, to_client: u32, data_len: u32, now: u64) -> u32 {
    match lines(to_peer, to_client) {
        Some(lines) => meter::admit(&lines, now, data_len.into(), add).into(),
        None => 0,
    }
}

/// As [`meters_admit`]; what it returns means nothing, but such a function returns a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn meters_give_back(to_peer: u32, to_client: u32, data_len: u32) -> u32 {
    if let Some(lines) = lines(to_peer, to_client) {
        meter::give_back(&lines, data_len.into(), add);
    }
    0
}

#[inline(always)]
fn lines(to_peer: u32, to_client: u32) -> Option<[&'static Line; 4]> {
    let (sender, receiver) = (&METERS.get(to_peer)?.to_peer, &METERS.get(to_client)?.to_client);
    let (senders_user, receivers_user) = (METERS.get(sender.parent())?, METERS.get(receiver.parent())?);
    Some([sender, &senders_user.to_peer, receiver, &receivers_user.to_client])
}

#[inline(always)]
fn add(word: &Word, value: u64) {
    // SAFETY: the one word, which is shared by atomic operations only.
    unsafe { add::add(word.0.as_ptr(), value) };
}
