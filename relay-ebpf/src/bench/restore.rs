//! A program that makes a packet whole again before the program under test runs on it, and one that does nothing, to be
//! taken off. `restore` runs first every time: it writes the next template over the headers and tail-calls the program
//! under test.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::programs::XdpContext;
use relay_common::bench::{FIRST, FLOWS, Template, WORDS, WRITTEN};

#[map]
pub(crate) static TEMPLATES: Array<Template> = Array::with_max_entries(FLOWS, 0);

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

#[xdp(frags)]
fn nothing(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
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
pub(crate) fn write(ctx: &XdpContext, template: &Template) -> Option<()> {
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
