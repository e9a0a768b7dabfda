//! Programs for the benchmarks and tests: one that makes a packet whole again before the program under test runs on it, and
//! one that does nothing, to be taken off; for frames that really travel, a generator, one whose frames have no headroom, a
//! sink, and the least that a program can do that sends a frame back: swap its MAC addresses.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on whatever packet the last run left. `restore` runs first every time: it
//! writes the next template over the headers and tail-calls the program under test.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len};
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
    use aya_ebpf::programs::XdpContext;
    use relay_common::bench::{FIRST, FLOWS, Template, WORDS, WRITTEN};

    #[map]
    static TEMPLATES: Array<Template> = Array::with_max_entries(FLOWS, 0);

    /// How many templates are in use less one; a power of two less one.
    #[map]
    static MASK: Array<u32> = Array::with_max_entries(1, 0);

    #[map]
    static CURSOR: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

    /// Slot 0: the program under test.
    #[map]
    static SUBJECT: ProgramArray = ProgramArray::with_max_entries(1, 0);

    // As the program under test: the kernel lets no program call one that differs in that.
    #[xdp(frags)]
    fn restore(ctx: XdpContext) -> u32 {
        if write_next(&ctx).is_none() {
            return xdp_action::XDP_ABORTED;
        }
        // SAFETY: only returns when slot 0 is empty.
        let _ = unsafe { SUBJECT.tail_call(&ctx, 0) };
        xdp_action::XDP_ABORTED
    }

    #[inline(always)]
    fn write_next(ctx: &XdpContext) -> Option<()> {
        let cursor = CURSOR.get_ptr_mut(0)?;
        let mask = *MASK.get(0)?;
        // SAFETY: this CPU's own element.
        let turn = unsafe {
            *cursor = (*cursor).wrapping_add(1);
            *cursor
        };
        // The next one: prefetchers have fetched it. What is random is the order in which the flows have their templates.
        let template = TEMPLATES.get(turn & mask)?;
        // SAFETY: the program's own context. (Kernel 5.18; the difference of two packet pointers would do too, had the
        // compiler not a way of taking it in 32 bits, which the verifier refuses.)
        let surplus = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as i32 - template.frame_len as i32;
        // SAFETY: the program's own context.
        if unsafe { bpf_xdp_adjust_head(ctx.ctx, surplus) } != 0 {
            return None;
        }
        write(ctx, template)
    }

    #[inline(always)]
    fn write(ctx: &XdpContext, template: &Template) -> Option<()> {
        let data = ctx.data();
        if data + WRITTEN > ctx.data_end() {
            return None;
        }
        // The program under test reads at once what is written here, and waits for what was not written as it is read:
        // eights, beginning with the IP header, as fields lie.
        // SAFETY: compared with the packet's end above; packets bear misaligned stores.
        unsafe {
            let [a, b, c, _] = template.first;
            (data as *mut u32).write_unaligned(u32::from(a) | u32::from(b) << 16);
            ((data + 4) as *mut u16).write_unaligned(c);
            for i in 0..WORDS {
                ((data + FIRST + i * 8) as *mut u64).write_unaligned(template.words[i]);
            }
        }
        Some(())
    }

    /// Frames that arrived at the sink.
    #[map]
    static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

    /// Sends the next template. For live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`): their memory is reused and holds what the
    /// last owner wrote.
    #[xdp]
    fn generate(ctx: XdpContext) -> u32 {
        match write_next(&ctx) {
            Some(()) => xdp_action::XDP_TX,
            None => xdp_action::XDP_ABORTED,
        }
    }

    #[xdp]
    fn sink(_: XdpContext) -> u32 {
        if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
            // SAFETY: this CPU's own element.
            unsafe { *arrived = (*arrived).wrapping_add(1) };
        }
        xdp_action::XDP_DROP
    }

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

    #[xdp(frags)]
    fn nothing(_: XdpContext) -> u32 {
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

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// The object is for BPF only; this lets host tools look at the crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
