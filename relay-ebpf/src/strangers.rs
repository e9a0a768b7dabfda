//! STUN messages at a listener that no flow matched: what anybody may send.

use aya_ebpf::programs::XdpContext;
use relay_common::binding;
use relay_common::meter::Limit;
use relay_common::packet::Packet;
use relay_common::reason::Reason;
use relay_common::strangers::{self, ROWS};
use relay_common::stun::{self, Attributes};
use relay_common::tables::Controls;
use relay_common::wire::stun::{Stun, kind};
use relay_common::wire::{Frame, Udp};

use crate::binding::answer;
use crate::clock;
use crate::frame::Linear;
use crate::machine::opaque_context;
use crate::maps;
use crate::program::{drop, is_ours, pass};

/// Takes a message that is no Send indication. At a listener, junk and what is too much from one network end here, and a
/// plain Binding request is answered: only then the frame is changed. All else goes up.
#[inline(always)]
pub(crate) fn take(ctx: &XdpContext, packet: &Packet) -> u32 {
    if !is_ours(packet, maps::settings()) {
        return pass(packet, Reason::NotOurs);
    }
    // One after the other, not one in the other: their frames share the stack.
    let found = read(ctx, packet);
    let fingerprint = found & FINGERPRINT != 0;
    match found & !FINGERPRINT {
        MALFORMED => drop(packet, Reason::Malformed),
        LIMITED => drop(packet, Reason::StrangerLimited),
        PLAIN => answer(ctx, packet, fingerprint),
        _ => pass(packet, Reason::Stun),
    }
}

/// What [`read`] makes of a message.
const UP: u32 = 0;
const MALFORMED: u32 = 1;
const LIMITED: u32 = 2;
/// A Binding request that may be answered here.
const PLAIN: u32 = 3;
/// The same, with FINGERPRINT.
const FINGERPRINT: u32 = 4;

#[inline(never)]
fn read(ctx: &XdpContext, packet: &Packet) -> u32 {
    let ctx = opaque_context(ctx);
    let frame = Linear::new(&ctx, false);
    let at = packet.payload_at();
    let len = packet.udp_len.wrapping_sub(size_of::<Udp>() as u16);
    if len < Stun::LEN {
        return MALFORMED;
    }
    let Some(header) = frame.header::<Stun>(at) else { return UP };
    if !header.is_message(len) {
        return MALFORMED;
    }
    let attributes = stun::attributes(&frame, at, len);
    if attributes.has(Attributes::BROKEN) {
        return MALFORMED;
    }
    // Indications are media or ask for nothing, and who signs a request is no stranger until userspace has looked.
    let is_request = { header.kind }.0 & kind::CLASS.0 == 0;
    if !is_request || attributes.has(Attributes::UNKNOWN | Attributes::INTEGRITY) {
        return UP;
    }
    let Some(controls) = maps::CONTROLS.get(0) else { return UP };
    if !admit(controls, packet, len) {
        return LIMITED;
    }
    // SAFETY: an element of CONTROLS; volatile because userspace writes it meanwhile.
    let answers = unsafe { (&raw const controls.answer_bindings).read_volatile() };
    if answers == 0 || !binding::is_plain(header, attributes, len) {
        return UP;
    }
    if attributes.has(Attributes::FINGERPRINT) { PLAIN | FINGERPRINT } else { PLAIN }
}

/// Whether the network that a request came from may have one more; if so, it is counted.
#[inline(always)]
fn admit(controls: &Controls, packet: &Packet, len: u16) -> bool {
    // SAFETY: an element of CONTROLS; volatile because userspace writes it meanwhile.
    let limit = unsafe {
        Limit {
            cost: (&raw const controls.strangers.cost).read_volatile(),
            burst: (&raw const controls.strangers.burst).read_volatile(),
        }
    };
    if limit.cost.0 == 0 {
        return true;
    }
    let now = clock::now(maps::settings());
    let hash = strangers::hash(&maps::strangers_seed(), strangers::network(&packet.key.src), now);
    let mut least = u64::MAX;
    for row in 0..ROWS {
        let Some(cell) = maps::STRANGERS.get_ptr(strangers::cell(hash, row)) else { return true };
        // SAFETY: an element of STRANGERS, a word that other CPUs write as a whole.
        let tat = unsafe { cell.read_volatile() };
        least = if tat < least { tat } else { least };
    }
    let Some(next) = limit.advance(least, now, strangers::units(len)) else { return false };
    for row in 0..ROWS {
        let Some(cell) = maps::STRANGERS.get_ptr_mut(strangers::cell(hash, row)) else { return true };
        // SAFETY: an element of STRANGERS, a word that is read and written as a whole.
        unsafe { cell.write_volatile(strangers::raised(cell.read_volatile(), next)) };
    }
    true
}
