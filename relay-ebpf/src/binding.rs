//! Answering STUN Binding requests.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use relay_common::binding::{self, Request};
use relay_common::packet::Packet;
use relay_common::reason::Reason;
use relay_common::way_back;
use relay_common::wire::Frame;
use relay_common::wire::stun::Stun;

use crate::frame::Linear;
use crate::machine::opaque_context;
use crate::maps;
use crate::program::{count, drop, pass};

/// Puts the answer in the place of a plain Binding request, to leave by the interface that the request came in by; or
/// passes the request up as it was.
///
/// The way back is not guessed from where the request came from: see `docs/decisions/0006-answers-to-strangers.md`.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, packet: &Packet, fingerprint: bool) -> u32 {
    // A packet with an IPv4-mapped source over IPv6 would find the way of IPv4. And nobody can be sent to at port 0.
    if packet.key.src.is_v4() != packet.is_v4() || packet.key.src_port.0 == 0 {
        return pass(packet, Reason::Stun);
    }
    // One after the other, not one in the other: their frames share the stack.
    let way = way_back(packet);
    if way == 0 {
        return pass(packet, Reason::NextHop);
    }
    let checked = check(ctx, packet, fingerprint);
    if checked as u32 != Reason::Answered as u32 {
        return pass(packet, checked);
    }
    match write(ctx, packet, way, fingerprint) {
        Reason::Answered => {
            count(packet, Reason::Answered);
            xdp_action::XDP_TX
        }
        Reason::Torn => drop(packet, Reason::Torn),
        reason => pass(packet, reason),
    }
}

/// The row of the next hop by which the source is reached; 0 if only the kernel knows.
#[inline(never)]
fn way_back(packet: &Packet) -> u32 {
    match maps::WAYS_BACK.get(&Key::new(128, packet.key.src.0)) {
        Some(&row) => row,
        None => 0,
    }
}

#[inline(never)]
fn check(ctx: &XdpContext, packet: &Packet, fingerprint: bool) -> Reason {
    let ctx = opaque_context(ctx);
    let frame = Linear::new(&ctx, false);
    binding::check(&frame, packet, fingerprint)
}

#[inline(never)]
fn write(ctx: &XdpContext, packet: &Packet, way: u32, fingerprint: bool) -> Reason {
    let Some(hop) = maps::NEXT_HOPS.get(way) else { return Reason::NextHop };
    // SAFETY: an element of NEXT_HOPS; volatile because userspace writes it meanwhile.
    let generation = unsafe { (&raw const hop.generation).read_volatile() };
    if generation & 1 != 0 || hop.ifindex == 0 {
        return Reason::NextHop;
    }
    let frame = Linear::new(ctx, false);
    if hop.ifindex != packet.interface.ifindex || !way_back::is_way_back(&frame, packet, hop) {
        return Reason::ReversePath;
    }
    let Some(header) = frame.header::<Stun>(packet.payload_at()) else { return Reason::BadLength };
    let request = Request { id: header.id, fingerprint };

    // From here on the packet is changed: it leaves, or it is dropped.
    // SAFETY: `ctx.ctx` is the program's own context.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -binding::growth(packet, &request)) } != 0 {
        return Reason::NoHeadroom;
    }
    if !binding::write(&mut Linear::new(ctx, false), packet, hop, &request) {
        return Reason::Torn;
    }
    // SAFETY: as at the first read.
    if unsafe { (&raw const hop.generation).read_volatile() } != generation {
        return Reason::Torn;
    }
    Reason::Answered
}
