//! Memory that XDP reads while userspace writes it: an array map in this process's address space.
//!
//! All of it is seen as 64-bit atomics, so that neither side ever sees half a word. What order the words of one
//! element change in is the business of [`FlowTable`](crate::datapath::FlowTable),
//! [`NextHops`](crate::datapath::NextHops) and [`meter`](relay_common::meter).

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Page-aligned shared memory; unmapped on drop.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory belongs to this value alone until it is dropped, and is only reached through atomics.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// The contents of an array map made with `BPF_F_MMAPABLE` (kernel 5.5): `bytes` is its number of elements
    /// times their size, which must be a multiple of eight.
    pub fn of_map(map: impl AsFd, bytes: usize) -> nix::Result<Self> {
        let len = NonZeroUsize::new(bytes).ok_or(nix::Error::EINVAL)?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses the address, so nothing of ours is replaced; a map's memory does not shrink.
        let start = unsafe { mmap(None, len, prot, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self { start: start.cast(), words: bytes / size_of::<u64>() })
    }

    /// Memory of this process only, zeroed; for tables that no kernel reads: tests and measurements.
    pub fn private(bytes: usize) -> nix::Result<Self> {
        let len = NonZeroUsize::new(bytes).ok_or(nix::Error::EINVAL)?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses the address, so nothing of ours is replaced.
        let start = unsafe { mmap_anonymous(None, len, prot, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { start: start.cast(), words: bytes / size_of::<u64>() })
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `words` words from `start` are mapped readable and writable until drop, aligned to a page, and
        // any bytes are a valid AtomicU64.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in the constructor, and no borrow of it outlives `self`.
        let unmapped = unsafe { munmap(self.start.cast(), self.words * size_of::<u64>()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
