//! Adding to a word that other CPUs add to. Rust's own is not there for a target without compare-and-swap.

use core::arch::asm;

/// Adds: by an instruction that every kernel with XDP has, as nobody asks for the result.
///
/// # Safety
/// `word` is aligned, may be written to, and is not read or written otherwise than as a whole.
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, n: u64) {
    // SAFETY: as the caller says.
    unsafe { asm!("lock *(u64 *)({word} + 0) += {n}", word = in(reg) word, n = in(reg) n) };
}
