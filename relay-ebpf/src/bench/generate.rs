//! The generator, for live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`, kernel 5.18): each run of the program is a frame that may
//! be sent. Whether it is time for one is decided here; a run that comes too early drops its frame, whose memory is used
//! for the next.
//!
//! The memory of frames that were sent comes back from the sink, with all that the relay wrote into it. So all headers are
//! written each time, and what lies behind the stamp is not touched.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_xdp_adjust_head};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use relay_common::bench::traffic::{FRACTION, Outgoing, Plan, Progress, SLACK, Stamp, WORDS, mark};
use relay_common::checksum;
use relay_common::wire::FrameMut;
use relay_common::wire::Word;

use crate::frame::Linear;

/// `BPF_F_MMAPABLE` (kernel 5.5).
pub(crate) const MAPPED: u32 = 1 << 10;

/// The flows; as many as the loader says.
#[map]
static OUTGOING: Array<Outgoing> = Array::with_max_entries(1, MAPPED);

#[map]
pub(crate) static PLAN: Array<Plan> = Array::with_max_entries(1, MAPPED);

#[map]
static PROGRESS: Array<Progress> = Array::with_max_entries(1, MAPPED);

/// The kernel leaves 368 bytes from the start of a page to a live frame's start (`struct xdp_page_head`, 256 bytes of
/// room). Drivers put frames at the start of a cache line: the next is 16 bytes further on.
const TO_CACHE_LINE: i32 = 16;

/// How many packets are sent between two looks at the clock where nothing else asks for the time; a power of two.
const UNTIMED: u64 = 64;

#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    match make(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
fn make(ctx: &XdpContext) -> Option<()> {
    let plan = PLAN.get(0)?;
    let progress = PROGRESS.get_ptr_mut(0)?;
    // SAFETY: one generator runs at a time, and userspace writes before it starts.
    let progress = unsafe { &mut *progress };
    let mut now = 0;
    if progress.left == 0 {
        if plan.interval != 0 || progress.sent % UNTIMED == 0 {
            now = clock();
            if !is_due(plan, progress, now) {
                return None;
            }
        }
        progress.left = plan.burst;
        if plan.spacing != 0 {
            now = if now == 0 { clock() } else { now };
            progress.spaced = now;
        }
        // Knuth's MMIX generator, whose upper bits are the good ones.
        progress.random =
            progress.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        progress.flow = ((progress.random >> 32) * u64::from(plan.flows) >> 32) as u32;
    } else if plan.spacing != 0 {
        now = clock();
        let due = progress.spaced + u64::from(plan.spacing);
        if now < due {
            return None;
        }
        progress.spaced = if now > due + SLACK { now } else { due };
    }
    let flow = progress.flow;
    let outgoing = OUTGOING.get_ptr_mut(flow)?;
    // SAFETY: as for `progress`.
    let outgoing = unsafe { &mut *outgoing };
    // Not every so manieth: bursts may be of a length that goes into that.
    let mixed = progress.sent.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let time = match mixed & u64::from(plan.stamp_mask) {
        0 if now == 0 => clock(),
        0 => now,
        _ => 0,
    };
    // SAFETY: the program's own context.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, TO_CACHE_LINE) } != 0 {
        return None;
    }
    let stamp = Stamp {
        mark: mark(plan.run as u8, flow as u16),
        sequence: outgoing.sequence,
        time_low: time as u32,
        time_high: (time >> 32) as u32,
    };
    write(&mut Linear::new(ctx, false), outgoing, plan.words as usize, stamp)?;
    outgoing.sequence = outgoing.sequence.wrapping_add(1);
    progress.left = progress.left.wrapping_sub(1);
    progress.sent += 1;
    Some(())
}

/// Whether a burst may be sent now.
#[inline(always)]
fn is_due(plan: &Plan, progress: &mut Progress, now: u64) -> bool {
    if progress.first == 0 {
        progress.first = now;
    }
    let since = now.wrapping_sub(progress.first);
    if since >= plan.duration {
        return false;
    }
    if plan.interval != 0 {
        let due = progress.due >> FRACTION;
        if since < due {
            return false;
        }
        let from = if since > due + SLACK { since << FRACTION } else { progress.due };
        progress.due = from + plan.interval;
    }
    progress.last = now;
    true
}

/// Writes headers and stamp.
#[inline(always)]
fn write(frame: &mut Linear<'_>, outgoing: &Outgoing, words: usize, stamp: Stamp) -> Option<()> {
    for i in 0..WORDS {
        if i >= words {
            break;
        }
        let word = outgoing.words[i];
        *frame.header_mut::<[Word; 2]>(i * 8)? = [Word(word as u32), Word((word >> 32) as u32)];
    }
    // The masks show the verifier a bound: all of it lies in the template.
    *frame.header_mut::<Stamp>((outgoing.stamp_at & 0x7f) as usize)? = stamp;
    let sum = checksum::fold(u64::from(outgoing.sum) + stamp.sum());
    let field = frame.header_mut::<Half>((outgoing.checksum_at & 0x7f) as usize)?;
    field.0 = checksum::udp_field(!sum);
    Some(())
}

/// A field of 16 bits.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Half(u16);

// SAFETY: packed, an integer.
unsafe impl relay_common::wire::Header for Half {}

#[inline(always)]
pub(crate) fn clock() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}
