//! A packet's way.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_xdp_adjust_head};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use relay_common::addr::Be16;
use relay_common::flow::{self, FlowRecord};
use relay_common::packet::{self, Packet};
use relay_common::reason::{Reason, Verdict};
use relay_common::rewrite;
use relay_common::tables::{LocalKey, Settings};

use crate::frame::Linear;
use crate::{maps, strangers};

/// The entry.
#[xdp]
pub(crate) fn turnpike_xdp(ctx: XdpContext) -> u32 {
    let settings = maps::settings();
    let mut packet = Packet::default();
    if let Some(reason) = packet::parse(&Linear::new(&ctx), &settings, &mut packet) {
        return unmatched(&ctx, &packet, &settings, reason);
    }
    let Some(record) = find(&packet, &settings) else { return miss(&ctx, &packet, &settings) };
    // The generation before the key: a record that is being reused shows in one of them.
    // SAFETY: an element of FLOWS; volatile because userspace writes it meanwhile.
    let generation = unsafe { (&raw const (*record).generation).read_volatile() };
    // SAFETY: an element of FLOWS.
    if unsafe { (*record).key } != packet.key {
        return miss(&ctx, &packet, &settings);
    }
    forward(&ctx, &packet, &settings, record, generation)
}

/// The record that the index names for the packet. Its key is still to be compared.
#[inline(always)]
fn find(packet: &Packet, settings: &Settings) -> Option<*mut FlowRecord> {
    let hash = packet.key.hash(&settings.seed);
    let home = maps::FLOW_INDEX.get(flow::home_bucket(hash, settings.bucket_mask))?;
    let mut number = flow::find(home, hash);
    if number == 0 {
        number = flow::find(maps::FLOW_INDEX.get(flow::other_bucket(hash, settings.bucket_mask))?, hash);
    }
    if number == 0 { None } else { maps::FLOWS.get_ptr_mut(number) }
}

#[inline(always)]
fn forward(
    ctx: &XdpContext,
    packet: &Packet,
    settings: &Settings,
    record: *mut FlowRecord,
    generation: u32,
) -> u32 {
    // SAFETY: an element of FLOWS. Userspace may be writing it: the generation is looked at again at the end.
    let flow = unsafe { &*record };
    let Some(hop) = maps::NEXT_HOPS.get(flow.next_hop) else { return pass(packet, Reason::NextHop) };
    // SAFETY: an element of NEXT_HOPS; volatile for the same reason.
    let hop_generation = unsafe { (&raw const hop.generation).read_volatile() };
    if (generation | hop_generation) & 1 != 0 {
        return pass(packet, Reason::Changed);
    }

    // SAFETY: a helper without arguments.
    let reason = rewrite::decide(packet, settings, flow, hop, unsafe { bpf_ktime_get_coarse_ns() });
    match reason.verdict() {
        Verdict::Forward => {}
        Verdict::Pass => return pass(packet, reason),
        Verdict::Drop => return drop(packet, reason),
    }
    let out = hop.ifindex;
    let returns = out as usize == ctx.ingress_ifindex();
    if !returns && hop.redirect == 0 {
        return pass(packet, Reason::NextHop);
    }

    // From here on the packet is changed: it leaves, or it is dropped.
    // SAFETY: `ctx.ctx` is the program's own context.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -rewrite::growth(packet, flow, hop)) } != 0 {
        return pass(packet, Reason::NoHeadroom);
    }
    if !rewrite::write(&mut Linear::new(ctx), packet, flow, hop) {
        return drop(packet, Reason::Torn);
    }
    // SAFETY: as at the first read.
    let unchanged = unsafe {
        (&raw const (*record).generation).read_volatile() == generation
            && (&raw const hop.generation).read_volatile() == hop_generation
    };
    if !unchanged {
        return drop(packet, Reason::Torn);
    }

    let verdict = if returns {
        xdp_action::XDP_TX
    } else {
        match maps::DEVICES.redirect(out, 0) {
            Ok(verdict) => verdict,
            Err(_) => return drop(packet, Reason::NoDevice),
        }
    };
    count(packet, reason);
    // SAFETY: an element of FLOWS. A flow's packets come by one receive queue, so one CPU counts them.
    unsafe {
        (*record).packets = (*record).packets.wrapping_add(1);
        (*record).bytes = (*record).bytes.wrapping_add(u64::from(packet.udp_len));
    }
    verdict
}

#[inline(always)]
fn miss(ctx: &XdpContext, packet: &Packet, settings: &Settings) -> u32 {
    let reason = if packet.key.channel.0 != 0 { Reason::NoBinding } else { Reason::NoPeerBinding };
    unmatched(ctx, packet, settings, reason)
}

/// A packet that no flow matched goes up; its reason is counted only when it was addressed to us. What came to a listener
/// and is no ChannelData is looked at.
#[inline(always)]
fn unmatched(ctx: &XdpContext, packet: &Packet, settings: &Settings, reason: Reason) -> u32 {
    if reason as u32 == Reason::NotOurs as u32 || !is_ours(packet, settings) {
        return pass(packet, Reason::NotOurs);
    }
    let reason = match reason {
        Reason::Malformed => return drop(packet, reason),
        Reason::Stun => strangers::stun(ctx, packet),
        _ => return pass(packet, reason),
    };
    match reason {
        Reason::Answered => {
            count(packet, reason);
            xdp_action::XDP_TX
        }
        Reason::Malformed | Reason::StrangerLimited | Reason::Torn => drop(packet, reason),
        _ => pass(packet, reason),
    }
}

/// Whether the destination is a listener, or a relayed address and port, or one of their addresses where the port is
/// not known.
#[inline(never)]
fn is_ours(packet: &Packet, settings: &Settings) -> bool {
    let port = packet.key.dst_port.get();
    let relayed = port == 0 || (port >= settings.first_port && port <= settings.last_port);
    let key =
        LocalKey { ip: packet.key.dst, port: if relayed { Be16(0) } else { packet.key.dst_port }, zero: 0 };
    maps::LOCALS.get_ptr(&key).is_some()
}

#[inline(always)]
fn pass(packet: &Packet, reason: Reason) -> u32 {
    count(packet, reason);
    xdp_action::XDP_PASS
}

#[inline(always)]
fn drop(packet: &Packet, reason: Reason) -> u32 {
    count(packet, reason);
    xdp_action::XDP_DROP
}

#[inline(always)]
fn count(packet: &Packet, reason: Reason) {
    if let Some(count) = maps::COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own element of COUNTERS.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += u64::from(packet.ip_packet_len());
        }
    }
}
