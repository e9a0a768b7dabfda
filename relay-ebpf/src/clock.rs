//! The time, as cheap as the kernel gives it.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use relay_common::tables::Settings;

/// Nanoseconds of CLOCK_MONOTONIC as of the last tick. The kernel's counter of ticks is one load, where asking for the
/// time is a call of 10 ns.
#[inline(always)]
pub(crate) fn now(settings: &Settings) -> u64 {
    if settings.tick == 0 {
        // SAFETY: a helper without arguments.
        return unsafe { bpf_ktime_get_coarse_ns() };
    }
    // SAFETY: a helper without arguments, which the verifier replaces by the load.
    unsafe { bpf_jiffies64() }.wrapping_mul(settings.tick).wrapping_add(settings.epoch)
}

/// Writes the counter of ticks at the start of the packet: for userspace to find out what its zero was.
#[xdp]
pub(crate) fn turnpike_ticks(ctx: XdpContext) -> u32 {
    let data = ctx.data();
    if data + size_of::<u64>() > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: compared with the packet's end above; packets bear misaligned stores. And a helper without arguments.
    unsafe { (data as *mut u64).write_unaligned(bpf_jiffies64()) };
    xdp_action::XDP_DROP
}
