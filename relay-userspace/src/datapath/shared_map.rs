//! Values of the tables as words and as aya wants them.

use relay_common::tables::Plain;

pub use crate::shared_words::SharedWords;

/// A table's key, value or setting as aya wants it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod<T>(pub(super) T);

// SAFETY: `Plain` promises what aya asks of a Pod.
unsafe impl<T: Plain> aya::Pod for Pod<T> {}

/// The words of a value, for storing one at a time.
pub(super) fn to_words<T: Plain, const N: usize>(value: &T) -> [u64; N] {
    const { assert!(size_of::<T>() == N * size_of::<u64>()) };
    // SAFETY: the sizes are equal, and `Plain` has no padding, so every byte is initialised.
    unsafe { std::mem::transmute_copy(value) }
}

/// The value that words spell.
pub(super) fn from_words<T: Plain, const N: usize>(words: &[u64; N]) -> T {
    const { assert!(size_of::<T>() == N * size_of::<u64>()) };
    // SAFETY: the sizes are equal, and any bits are a value of a `Plain` type.
    unsafe { std::mem::transmute_copy(words) }
}
