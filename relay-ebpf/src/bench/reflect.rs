//! The least that a program can do that sends a frame back, and a sender that leaves no room before its frames.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::restore::{TEMPLATES, write};

/// The floor: swaps the MAC addresses.
#[xdp]
fn swap_macs(ctx: XdpContext) -> u32 {
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
