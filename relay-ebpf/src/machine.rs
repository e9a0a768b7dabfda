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
