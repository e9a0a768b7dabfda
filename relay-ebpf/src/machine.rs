//! What Rust has no words for on this machine.

use core::arch::asm;

use aya_ebpf::programs::XdpContext;

/// The same number, of which the compiler knows nothing, and neither that another call gave it too: it would keep it where
/// having it again is cheaper.
#[inline(always)]
pub(crate) fn opaque(mut n: usize) -> usize {
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inlateout(reg) n, options(nomem, nostack, preserves_flags)) };
    n
}

/// The same context, for a function that is not inlined. Else the compiler may have the caller load the packet's two
/// pointers and hand them over in 32 bits, where the verifier takes them for numbers.
#[inline(always)]
pub(crate) fn opaque_context(ctx: &XdpContext) -> XdpContext {
    XdpContext::new(opaque(ctx.ctx as usize) as *mut _)
}

/// Adds to a word that other CPUs add to: an instruction that every kernel with XDP has, as nobody asks for the result.
///
/// # Safety
/// `word` is aligned, may be written to, and is not read or written otherwise than as a whole.
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, n: u64) {
    // SAFETY: as the caller says.
    unsafe { asm!("lock *(u64 *)({word} + 0) += {n}", word = in(reg) word, n = in(reg) n) };
}
