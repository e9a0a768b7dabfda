//! The least that a program can do that sends a frame back, and a sender that leaves no room before its frames.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;

use crate::restore::{TEMPLATES, write};

/// Lines of a cache, more than any cache has.
const LINES: u32 = 1 << 17;

/// A table as large as that of many flows.
#[map]
static TABLE: Array<[u64; 8]> = Array::with_max_entries(LINES, 0);

/// The floor: swaps the MAC addresses.
#[xdp]
fn swap_macs(ctx: XdpContext) -> u32 {
    swapped(&ctx)
}

/// The floor after a lookup: a line of the table, another one for each flow over IPv4.
#[xdp]
fn swap_macs_after_one(ctx: XdpContext) -> u32 {
    let Some(flow) = flow_of(&ctx) else { return xdp_action::XDP_ABORTED };
    match line(flow) {
        Some(_) => swapped(&ctx),
        None => xdp_action::XDP_ABORTED,
    }
}

/// The floor after an index was looked up and then what it points to: two lines, the second known by the first.
#[xdp]
fn swap_macs_after_two(ctx: XdpContext) -> u32 {
    let Some(flow) = flow_of(&ctx) else { return xdp_action::XDP_ABORTED };
    match line(flow).and_then(|first| line(flow.rotate_left(13) ^ first ^ 1)) {
        Some(_) => swapped(&ctx),
        None => xdp_action::XDP_ABORTED,
    }
}

/// A number of the flow's own, from the addresses and ports of IPv4 and UDP.
#[inline(always)]
fn flow_of(ctx: &XdpContext) -> Option<u32> {
    const ADDRESSES: usize = 26;
    let data = ctx.data();
    if data + ADDRESSES + 12 > ctx.data_end() {
        return None;
    }
    // SAFETY: compared with the packet's end above; packets bear misaligned accesses.
    let [from, to, ports] = unsafe { ((data + ADDRESSES) as *const [u32; 3]).read_unaligned() };
    Some((from ^ to.rotate_left(9) ^ ports.rotate_left(18)).wrapping_mul(0x9e37_79b1))
}

/// What a line says: zero, of which the compiler knows nothing.
#[inline(always)]
fn line(number: u32) -> Option<u32> {
    let line = TABLE.get_ptr(number >> 15 & (LINES - 1))?;
    // SAFETY: an element of the table, to which nobody writes.
    Some(unsafe { (&raw const (*line)[0]).read_volatile() } as u32)
}

#[inline(always)]
fn swapped(ctx: &XdpContext) -> u32 {
    let data = ctx.data();
    if data + 12 > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    let macs = data as *mut [u16; 6];
    // SAFETY: compared with the packet's end above; packets bear misaligned accesses.
    unsafe {
        let [a, b, c, d, e, f] = macs.read_unaligned();
        macs.write_unaligned([d, e, f, a, b, c]);
    }
    xdp_action::XDP_TX
}

/// Sends the first template with as little room before it as the kernel allows, like a driver that leaves next to none.
/// For live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`), which have the usual room.
#[xdp]
fn crowd(ctx: XdpContext) -> u32 {
    const STEP: i32 = 2;
    const USUAL: i32 = 256;
    for _ in 0..USUAL / STEP {
        // SAFETY: the program's own context.
        if unsafe { bpf_xdp_adjust_head(ctx.ctx, -STEP) } != 0 {
            break;
        }
    }
    let Some(template) = TEMPLATES.get(0) else { return xdp_action::XDP_ABORTED };
    if write(&ctx, template).is_some() { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}
