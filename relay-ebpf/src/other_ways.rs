//! The ways that are not a channel between a client and a peer: Send and Data indications, and what goes from one relayed
//! address of ours to another. Apart from the hot path, which has none of it.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use relay_common::addr::Be16;
use relay_common::channel;
use relay_common::flow::{FlowKey, FlowRecord};
use relay_common::next_hop::HAIRPIN;
use relay_common::packet::Packet;
use relay_common::reason::{Reason, Verdict};
use relay_common::rewrite;
use relay_common::send;
use relay_common::way::Way;
use relay_common::wire::Frame;

use crate::add::add;
use crate::clock;
use crate::frame::Linear;
use crate::machine::{opaque, opaque_context};
use crate::maps::{self, Desk};
use crate::meters;
use crate::program::{
    account, count, decide, drop, find_number, generation, hop_generation, is_in_pieces, leave, pass,
    unmatched,
};
use crate::strangers;

/// Why a packet is not on the hot path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A STUN message at what may be a listener: a Send indication is forwarded, all else is for the control plane.
    Stun,
    /// No channel binding is for it. If a peer sent it, there may be a permission for its address.
    Unbound,
    /// A record is for it, and leads to a relayed address of ours, or is a permission's; or ChannelData is padded.
    Bound,
}

/// Takes a packet that is not on the hot path.
#[inline(never)]
pub(crate) fn take(ctx: &XdpContext, desk: &mut Desk, kind: Kind) -> u32 {
    desk.found = [0; 2];
    let packet = &mut desk.packet;
    packet.padding = 0;
    let reason = match kind {
        Kind::Stun => match send(ctx, packet) {
            Some(_) => return strangers::take(ctx, packet),
            None => None,
        },
        Kind::Unbound if packet.key.channel.0 == 0 => {
            packet.key.src_port = Be16(0);
            packet.peer = packet.key.src;
            None
        }
        Kind::Unbound => Some(Reason::NoBinding),
        Kind::Bound => {
            // A peer that sends from port 0 is found by its permission at once.
            packet.peer = packet.key.src;
            if packet.key.channel.0 != 0 && packet.is_padded() {
                take_padding_off(ctx, packet);
            }
            None
        }
    };
    let reason = if reason.is_none() { find(desk) } else { reason };
    match reason {
        None => forward(ctx, desk),
        // A relayed address of ours is ours: this one was addressed to a listener.
        Some(reason) if desk.found[0] != 0 => pass(&desk.packet, reason),
        Some(reason) => unmatched(&desk.packet, maps::settings(), reason),
    }
}

#[inline(never)]
fn send(ctx: &XdpContext, packet: &mut Packet) -> Option<Reason> {
    let ctx = opaque_context(ctx);
    send::parse(&Linear::new(&ctx, false), packet)
}

#[inline(never)]
fn take_padding_off(ctx: &XdpContext, packet: &mut Packet) {
    let ctx = opaque_context(ctx);
    packet.take_padding_off(&Linear::new(&ctx, false));
}

/// Number and generation of the record with this key; 0 for none. The generation was read before the key was compared: a
/// record that is being reused shows in one of them.
#[inline(never)]
fn look_up(key: &FlowKey) -> u64 {
    let number = find_number(key, maps::settings());
    if number == 0 {
        return 0;
    }
    let Some(record) = maps::FLOWS.get_ptr_mut(number) else { return 0 };
    let generation = generation(record);
    // SAFETY: an element of FLOWS.
    if unsafe { &(*record).key } != key {
        return 0;
    }
    u64::from(generation) << 32 | u64::from(number)
}

/// The record that [`look_up`] found.
#[inline(always)]
fn record_of(found: u64) -> Option<*mut FlowRecord> {
    if found == 0 { None } else { maps::FLOWS.get_ptr_mut(found as u32) }
}

/// Whether the record is still the one that was found.
#[inline(always)]
fn is_unchanged(record: *mut FlowRecord, found: u64) -> bool {
    generation(record) == (found >> 32) as u32
}

/// Finds the record of the packet's key and, where that leads to a relayed address of ours, a second one. `None` when they
/// are there; otherwise why the packet goes up.
#[inline(never)]
fn find(desk: &mut Desk) -> Option<Reason> {
    let packet = &mut desk.packet;
    let found = look_up(&packet.key);
    let send = packet.key.channel.0 == channel::INDICATION.0;
    let missing = if send { Reason::Stun } else { Reason::NoPeerBinding };
    let Some(record) = record_of(found) else { return Some(missing) };
    // SAFETY: an element of FLOWS. Userspace may be writing it: the generation is looked at again at the end.
    let first = unsafe { &*record };
    // With the peer, the key proves the listener.
    if send && packet.peer != first.dst {
        return Some(missing);
    }
    desk.found = [found; 2];
    if first.next_hop != HAIRPIN || !first.to_peer() {
        return None;
    }

    let port = if first.dst_port.0 != 0 { first.dst_port } else { packet.peer_port };
    let mut key = FlowKey::onward(first, port);
    let mut next = look_up(&key);
    if next == 0 {
        // No channel; there may be a permission, and then the client is told whom the data comes from.
        key.src_port = Be16(0);
        next = look_up(&key);
        packet.peer = first.src;
    }
    desk.found[1] = next;
    if next == 0 { Some(Reason::NoPeerBinding) } else { None }
}

/// Forwards a packet by the records that were found for it.
#[inline(never)]
fn forward(ctx: &XdpContext, desk: &Desk) -> u32 {
    let packet = &desk.packet;
    let [found, found_next] = desk.found;
    let twice = found != found_next;
    let Some(record) = record_of(found) else { return pass(packet, Reason::Changed) };
    let Some(next) = (if twice { record_of(found_next) } else { Some(record) }) else {
        return pass(packet, Reason::Changed);
    };
    // SAFETY: elements of FLOWS. Userspace may be writing them: the generations are looked at again at the end.
    let (first, last) = unsafe { (&*record, &*next) };
    // No row of the table has the number HAIRPIN: nothing goes to a third relayed address.
    let Some(hop) = maps::NEXT_HOPS.get(last.next_hop) else { return pass(packet, Reason::NextHop) };
    let hop_generation_found = hop_generation(hop);
    if ((found | found_next) >> 32 | u64::from(hop_generation_found)) & 1 != 0 {
        return pass(packet, Reason::Changed);
    }

    let mut way = Way::any(packet, first, if twice { Some(last) } else { None }, hop);
    if way.tells_peer() {
        // SAFETY: a helper without arguments.
        way.random(unsafe { bpf_get_prandom_u32() });
    }
    if is_in_pieces(ctx, packet) {
        return pass(packet, Reason::InPieces);
    }
    let now = clock::now(maps::settings());
    let reason = decide(ctx, packet, &way, hop, now);
    match reason.verdict() {
        Verdict::Forward => {}
        Verdict::Pass => return pass(packet, reason),
        Verdict::Drop => return drop(packet, reason),
    }
    if !meters::admit(packet, &way, now) {
        return drop(packet, Reason::RateLimited);
    }
    if !resize(ctx, packet, &way) {
        meters::give_back(packet, &way);
        return pass(packet, Reason::NoHeadroom);
    }

    // From here on the packet is changed: it leaves, or it is dropped.
    if !rewrite::write(&mut Linear::new(ctx, false), packet, &way) {
        return drop(packet, Reason::Torn);
    }
    if !is_unchanged(record, found)
        || !is_unchanged(next, found_next)
        || hop_generation(hop) != hop_generation_found
    {
        return drop(packet, Reason::Torn);
    }
    let verdict = leave(packet, hop);
    if verdict == xdp_action::XDP_DROP {
        return drop(packet, Reason::NoDevice);
    }
    count(packet, reason);
    if first.to_peer() {
        account(record, packet.data_len);
    } else {
        account_shared(record, packet.data_len);
    }
    if twice {
        account_shared(next, packet.data_len);
    }
    verdict
}

/// Makes the frame as long as it will be, before and behind the data. Where that fails it is as it was.
#[inline(always)]
fn resize(ctx: &XdpContext, packet: &Packet, way: &Way<'_>) -> bool {
    // Opaque, or the compiler would take the difference of two packet pointers in 32 bits, which the verifier refuses.
    let behind = rewrite::growth_behind(packet, way, opaque(Linear::new(ctx, false).frame_len()));
    // SAFETY: the program's own context, here and below.
    if behind > 0 && unsafe { bpf_xdp_adjust_tail(ctx.ctx, behind) } != 0 {
        return false;
    }
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -rewrite::growth(packet, way)) } != 0 {
        if behind > 0 {
            unsafe { bpf_xdp_adjust_tail(ctx.ctx, -behind) };
        }
        return false;
    }
    if behind < 0 {
        // Last, because what is cut off does not come back. Should it stay, it is no part of the IP packet.
        unsafe { bpf_xdp_adjust_tail(ctx.ctx, behind) };
    }
    true
}

/// Counts a packet of a record whose packets come by any receive queue: a permission is for all ports of a peer, and what one
/// client of ours sends another comes by the sender's queue.
#[inline(always)]
fn account_shared(record: *mut FlowRecord, bytes: u16) {
    // SAFETY: an element of FLOWS, aligned.
    unsafe {
        add(&raw mut (*record).packets, 1);
        add(&raw mut (*record).bytes, bytes.into());
    }
}
