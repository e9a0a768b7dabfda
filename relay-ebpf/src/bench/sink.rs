//! The sink: judges the frames of the bench and counts them; all others go up the stack.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use relay_common::bench::arrival::{self, Arrival, FAULTS, FLOW, WHOLE};
use relay_common::bench::traffic::{BUCKETS, Expected, Tally, bucket};

use crate::frame::Linear;
use crate::generate::{MAPPED, PLAN, clock};

/// The flows; as many as the loader says.
#[map]
static EXPECTED: Array<Expected> = Array::with_max_entries(1, MAPPED);

#[map]
static TALLY: PerCpuArray<Tally> = PerCpuArray::with_max_entries(1, 0);

/// How many packets took how long.
#[map]
static LATENCY: PerCpuArray<u64> = PerCpuArray::with_max_entries(BUCKETS, 0);

#[xdp]
fn sink(ctx: XdpContext) -> u32 {
    let frame = Linear::new(&ctx, false);
    let mut arrival = Arrival::NONE;
    if !arrival::read(&frame, &mut arrival) {
        return xdp_action::XDP_PASS;
    }
    let (Some(plan), Some(tally)) = (PLAN.get(0), TALLY.get_ptr_mut(0)) else { return xdp_action::XDP_PASS };
    // SAFETY: this CPU's own element.
    let tally = unsafe { &mut *tally };
    if arrival.is_pktgen() {
        let sum = tally.pktgen & u64::from(plan.check_mask) == 0;
        match arrival::judge_pktgen(&frame, &arrival, sum) {
            WHOLE => tally.pktgen += 1,
            fault => note(tally, fault),
        }
        return xdp_action::XDP_DROP;
    }
    if arrival.run() != plan.run {
        tally.late += 1;
        return xdp_action::XDP_DROP;
    }
    let flow = arrival.flow();
    let expected = match EXPECTED.get_ptr_mut(flow) {
        Some(expected) if flow < plan.flows => expected,
        _ => {
            note(tally, FLOW);
            return xdp_action::XDP_DROP;
        }
    };
    // SAFETY: a flow's packets arrive by one queue, which one CPU reads; userspace reads after that.
    let expected = unsafe { &mut *expected };
    let seen = tally.arrived.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let sum = seen & u64::from(plan.check_mask) == 0;
    tally.summed += u64::from(sum);
    let fault = arrival::judge(&frame, &arrival, expected, plan.ttl, sum);
    if fault != WHOLE {
        expected.corrupt = expected.corrupt.wrapping_add(1);
        note(tally, fault);
        return xdp_action::XDP_DROP;
    }
    tally.arrived += 1;
    expected.arrived = expected.arrived.wrapping_add(1);
    let sequence = arrival.stamp.sequence;
    if sequence < expected.next {
        expected.reordered = expected.reordered.wrapping_add(1);
        tally.reordered += 1;
    } else {
        expected.next = sequence.wrapping_add(1);
    }
    let made = arrival.stamp.time();
    if made != 0 {
        let took = clock().wrapping_sub(made);
        if let Some(count) = LATENCY.get_ptr_mut(bucket(took)) {
            // SAFETY: this CPU's own element.
            unsafe { *count += 1 };
        }
    }
    xdp_action::XDP_DROP
}

/// Counts a packet with which something is wrong.
#[inline(always)]
fn note(tally: &mut Tally, fault: u32) {
    if let Some(count) = tally.faults.get_mut(fault as usize % FAULTS) {
        *count += 1;
    }
}
