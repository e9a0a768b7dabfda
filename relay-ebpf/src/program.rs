//! A packet's way.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use relay_common::addr::Be16;
use relay_common::channel;
use relay_common::flow::{self, FlowKey, FlowRecord};
use relay_common::interface::{self, Interface};
use relay_common::next_hop::NextHop;
use relay_common::packet::{self, Packet};
use relay_common::reason::{Reason, Verdict};
use relay_common::rewrite;
use relay_common::tables::{LocalKey, Settings};
use relay_common::way::Way;
use relay_common::way_back;
use relay_common::wire::Frame;

use crate::clock;
use crate::frame::Linear;
use crate::machine::opaque_context;
use crate::maps::{self, Desk};
use crate::meters;
use crate::other_ways::{self, Kind};

/// The entry where the kernel takes a program for packets in pieces (5.18), as frames larger than a page come.
#[xdp(frags)]
pub(crate) fn turnpike_xdp(ctx: XdpContext) -> u32 {
    run::<true>(&ctx)
}

/// The entry where it does not.
#[xdp]
pub(crate) fn turnpike_whole(ctx: XdpContext) -> u32 {
    run::<false>(&ctx)
}

/// `PIECES` says whether packets may come in pieces.
#[inline(always)]
fn run<const PIECES: bool>(ctx: &XdpContext) -> u32 {
    // An array has its elements, so nothing is passed here.
    let Some(desk) = maps::DESK.get_ptr_mut(0) else { return xdp_action::XDP_PASS };
    // SAFETY: this CPU's own element, and nothing else of this program runs on this CPU meanwhile.
    let desk = unsafe { &mut *desk };
    desk.packet.forget();
    look_up_interface(ctx, &mut desk.packet);
    let settings = maps::settings();
    match packet::parse(&Linear::new(ctx, PIECES), settings, &mut desk.packet) {
        None => {}
        Some(Reason::Stun) => return other_ways::take(ctx, desk, Kind::Stun),
        // Which of the reasons it was is not asked here: each check of the hot path would have to remember its own.
        Some(_) => return refused::<PIECES>(ctx, desk),
    }
    let Some(record) = find(&desk.packet.key, settings) else {
        return other_ways::take(ctx, desk, Kind::Unbound);
    };
    // The generation before the key: a record that is being reused shows in one of them.
    let generation = generation(record);
    // SAFETY: an element of FLOWS.
    if unsafe { (*record).key } != desk.packet.key {
        return other_ways::take(ctx, desk, Kind::Unbound);
    }
    forward(ctx, desk, record, generation)
}

/// Reads a packet again, to say why the flow table cannot be asked.
#[inline(never)]
fn refused<const PIECES: bool>(ctx: &XdpContext, desk: &mut Desk) -> u32 {
    let ctx = opaque_context(ctx);
    let settings = maps::settings();
    desk.packet.forget();
    match packet::parse(&Linear::new(&ctx, PIECES), settings, &mut desk.packet) {
        Some(reason) => unmatched(&desk.packet, settings, reason),
        None => pass(&desk.packet, Reason::Changed),
    }
}

/// Notes what is known of the interface that the packet came in by, under the index that routes name it by. Field by field,
/// or the compiler makes a call of it, to a loop over the bytes.
#[inline(always)]
fn look_up_interface(ctx: &XdpContext, packet: &mut Packet) {
    let mut ifindex = ctx.ingress_ifindex() as u32;
    // As of Interface::UNKNOWN, unless it is known.
    let (mut slot, mut flags) = (Interface::UNKNOWN.slot, Interface::UNKNOWN.flags);
    if let Some(interface) = maps::INTERFACES.get(Interface::entry(ifindex))
        && interface.ifindex == ifindex
    {
        slot = interface.slot;
        flags = interface.flags;
        if interface.bond != 0 {
            ifindex = interface.bond;
        }
    }
    packet.interface.ifindex = ifindex;
    packet.interface.slot = slot;
    packet.interface.flags = flags;
}

/// Whether an interface is handed packets in pieces.
#[inline(never)]
fn takes_pieces(ifindex: u32) -> bool {
    match maps::INTERFACES.get(Interface::entry(ifindex)) {
        Some(interface) => interface.ifindex == ifindex && !interface.has(Interface::WHOLE),
        None => false,
    }
}

/// The record that the index names for the key. Its own key is still to be compared.
#[inline(always)]
pub(crate) fn find(key: &FlowKey, settings: &Settings) -> Option<*mut FlowRecord> {
    let number = find_number(key, settings);
    if number == 0 { None } else { maps::FLOWS.get_ptr_mut(number) }
}

/// The number of that record; 0 for none.
#[inline(always)]
pub(crate) fn find_number(key: &FlowKey, settings: &Settings) -> u32 {
    let hash = key.hash(&settings.seed);
    fetch(flow::likely_record(hash, settings.records));
    let Some(home) = maps::FLOW_INDEX.get(flow::home_bucket(hash, settings.bucket_mask)) else { return 0 };
    let number = flow::find(home, hash);
    if number != 0 {
        return number;
    }
    let Some(other) = maps::FLOW_INDEX.get(flow::other_bucket(hash, settings.bucket_mask)) else { return 0 };
    flow::find(other, hash)
}

/// Has the CPU fetch both lines of a record while it waits for something else.
#[inline(always)]
fn fetch(number: u32) {
    let Some(record) = maps::FLOWS.get_ptr(number) else { return };
    // SAFETY: words of an element of FLOWS. Volatile, because nobody looks at them.
    unsafe {
        (&raw const (*record).deadline).read_volatile();
        (&raw const (*record).generation).read_volatile();
    }
}

/// A record's generation now.
#[inline(always)]
pub(crate) fn generation(record: *mut FlowRecord) -> u32 {
    // SAFETY: callers have an element of FLOWS; volatile because userspace writes it meanwhile.
    unsafe { (&raw const (*record).generation).read_volatile() }
}

/// A next hop's generation now.
#[inline(always)]
pub(crate) fn hop_generation(hop: &NextHop) -> u32 {
    // SAFETY: an element of NEXT_HOPS; volatile for the same reason.
    unsafe { (&raw const hop.generation).read_volatile() }
}

#[inline(always)]
fn forward(ctx: &XdpContext, desk: &mut Desk, record: *mut FlowRecord, generation_found: u32) -> u32 {
    // SAFETY: an element of FLOWS. Userspace may be writing it: the generation is looked at again at the end.
    let flow = unsafe { &*record };
    if flow.channel.0 == channel::INDICATION.0 {
        return other_ways::take(ctx, desk, Kind::Bound);
    }
    // No row of the table has the number HAIRPIN.
    let Some(hop) = maps::NEXT_HOPS.get(flow.next_hop) else {
        return other_ways::take(ctx, desk, Kind::Bound);
    };
    let packet = &desk.packet;
    let hop_generation_found = hop_generation(hop);
    if (generation_found | hop_generation_found) & 1 != 0 {
        return pass(packet, Reason::Changed);
    }

    let way = Way::channel(packet, flow, hop);
    let now = clock::now(maps::settings());
    let reason = decide(ctx, packet, &way, hop, now);
    if !reason.forwards() {
        if flow.to_peer() && packet.is_padded() {
            return other_ways::take(ctx, desk, Kind::Bound);
        }
        return keep(ctx, packet, flow, hop);
    }
    if !meters::admit(packet, &way, now) {
        return drop(packet, Reason::RateLimited);
    }

    // From here on the packet is changed: it leaves, or it is dropped.
    // SAFETY: `ctx.ctx` is the program's own context.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -rewrite::growth(packet, &way)) } != 0 {
        meters::give_back(packet, &way);
        return pass(packet, Reason::NoHeadroom);
    }
    if !rewrite::write(&mut Linear::new(ctx, false), packet, &way) {
        return drop(packet, Reason::Torn);
    }
    if generation(record) != generation_found || hop_generation(hop) != hop_generation_found {
        return drop(packet, Reason::Torn);
    }
    let verdict = leave(packet, hop);
    if verdict == xdp_action::XDP_DROP {
        return drop(packet, Reason::NoDevice);
    }
    count(packet, reason);
    account(record, packet.data_len);
    verdict
}

/// Decides on a packet, whatever its way. What is to be forwarded is still to be [admitted](meters::admit).
#[inline(always)]
pub(crate) fn decide(ctx: &XdpContext, packet: &Packet, way: &Way<'_>, hop: &NextHop, now: u64) -> Reason {
    let reason = rewrite::decide(packet, way, now);
    if !reason.forwards() {
        reason
    } else if !way_back_agrees(ctx, packet, way.way_back()) {
        Reason::ReversePath
    } else if !may_leave(ctx, packet, hop) {
        Reason::NextHop
    } else {
        reason
    }
}

/// Decides on a channel's packet again that is not forwarded, to say why: on the hot path each check would have to remember
/// its own reason.
#[inline(never)]
fn keep(ctx: &XdpContext, packet: &Packet, flow: &FlowRecord, hop: &NextHop) -> u32 {
    let ctx = opaque_context(ctx);
    let reason = decide(&ctx, packet, &Way::channel(packet, flow, hop), hop, clock::now(maps::settings()));
    match reason.verdict() {
        Verdict::Forward => pass(packet, Reason::Changed),
        Verdict::Pass => pass(packet, reason),
        Verdict::Drop => drop(packet, reason),
    }
}

/// Counts a packet of a record whose packets all come by one receive queue, so that one CPU counts them: those of one sender
/// to one address and port.
#[inline(always)]
pub(crate) fn account(record: *mut FlowRecord, bytes: u16) {
    // SAFETY: an element of FLOWS.
    unsafe {
        (*record).packets = (*record).packets.wrapping_add(1);
        (*record).bytes = (*record).bytes.wrapping_add(bytes.into());
    }
}

/// Whether the packet came in by the next hop of this number, where that matters.
#[inline(always)]
fn way_back_agrees(ctx: &XdpContext, packet: &Packet, way_back: u32) -> bool {
    !way_back::matters(packet) || came_by(ctx, packet, way_back)
}

/// Whether it did. A function of its own, because few packets are asked.
#[inline(never)]
fn came_by(ctx: &XdpContext, packet: &Packet, way_back: u32) -> bool {
    match maps::NEXT_HOPS.get(way_back) {
        Some(way) => way_back::is_way_back(&Linear::new(ctx, false), packet, way),
        None => false,
    }
}

/// Whether the packet came in by the next hop's interface, or may be redirected to it.
#[inline(always)]
fn may_leave(ctx: &XdpContext, packet: &Packet, hop: &NextHop) -> bool {
    hop.ifindex == packet.interface.ifindex
        || (hop.redirect != 0 && (!is_in_pieces(ctx, packet) || takes_pieces(hop.ifindex)))
}

/// Whether the packet lies in more than one piece, the headers in the first.
#[inline(always)]
pub(crate) fn is_in_pieces(ctx: &XdpContext, packet: &Packet) -> bool {
    Linear::new(ctx, false).frame_len() < usize::from(packet.l2_len) + packet.ip_packet_len() as usize
}

/// The verdict that sends the packet to its next hop; XDP_DROP where there is no device for it.
#[inline(always)]
pub(crate) fn leave(packet: &Packet, hop: &NextHop) -> u32 {
    let out = hop.ifindex;
    // Of a bond, the kernel picks the member by which it leaves.
    if out == packet.interface.ifindex {
        return xdp_action::XDP_TX;
    }
    match maps::DEVICES.redirect(out, 0) {
        Ok(verdict) => verdict,
        Err(_) => xdp_action::XDP_DROP,
    }
}

/// A packet that no flow matched goes up; its reason is counted only when it was addressed to us. Junk at a listener ends
/// here.
#[inline(always)]
pub(crate) fn unmatched(packet: &Packet, settings: &Settings, reason: Reason) -> u32 {
    if reason as u32 == Reason::NotOurs as u32 || !is_ours(packet, settings) {
        return pass(packet, Reason::NotOurs);
    }
    if reason as u32 == Reason::Malformed as u32 { drop(packet, reason) } else { pass(packet, reason) }
}

/// Whether the destination is a listener, or a relayed address and port, or one of their addresses where the port is
/// not known.
#[inline(never)]
pub(crate) fn is_ours(packet: &Packet, settings: &Settings) -> bool {
    let port = packet.key.dst_port.get();
    // Of a packet with a UDP length the port was read, and nobody listens at this one.
    if port == 0 && packet.udp_len != 0 {
        return false;
    }
    let relayed = port == 0 || (port >= settings.first_port && port <= settings.last_port);
    let key = LocalKey {
        ip: packet.arrived_at(),
        port: if relayed { Be16(0) } else { packet.key.dst_port },
        zero: 0,
    };
    maps::LOCALS.get_ptr(&key).is_some()
}

#[inline(always)]
pub(crate) fn pass(packet: &Packet, reason: Reason) -> u32 {
    count(packet, reason);
    xdp_action::XDP_PASS
}

#[inline(always)]
pub(crate) fn drop(packet: &Packet, reason: Reason) -> u32 {
    count(packet, reason);
    xdp_action::XDP_DROP
}

#[inline(always)]
pub(crate) fn count(packet: &Packet, reason: Reason) {
    if let Some(count) = maps::COUNTERS.get_ptr_mut(interface::counter(packet.interface.slot, reason)) {
        // SAFETY: this CPU's own element of COUNTERS.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += u64::from(packet.ip_packet_len());
        }
    }
}
