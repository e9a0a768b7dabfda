//! The rings that an AF_XDP socket has in common with the kernel: one side puts entries in, the other takes them out.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc;

/// Memory of ours, or in common with the kernel; zeros at first.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Memory of ours.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        Self::new(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// A ring of a socket, which is told by its offset.
    fn of_socket(socket: BorrowedFd<'_>, len: usize, offset: libc::off_t) -> io::Result<Self> {
        Self::new(len, libc::MAP_SHARED, socket.as_raw_fd(), offset)
    }

    fn new(len: usize, kind: libc::c_int, fd: libc::c_int, offset: libc::off_t) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: at an address that the kernel chooses, so that no other memory is touched.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, access, kind | libc::MAP_POPULATE, fd, offset) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED.cast() => Ok(Self { start, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Where so many bytes begin.
    ///
    /// # Panics
    /// Where the mapping has not so many there.
    pub(super) fn at(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} at {offset} of {}",
            self.len
        );
        // SAFETY: within the mapping, as compared above.
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by us, and nobody has a pointer there longer than this.
        unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), self.len) };
    }
}

/// A ring, from whichever side is ours. The counters run on and on, also over the end of their 32 bits; an entry's place is the
/// rest of its number by the ring's size.
pub(super) struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    /// The number of our next entry, of which the other side hears by [`publish`](Self::publish) or [`release`](Self::release).
    next: u32,
    /// What all of these point into.
    _mapping: Mapping,
}

impl<T: Copy> Ring<T> {
    /// The ring of a socket that has this offset among its mappings, and its parts at these within.
    pub(super) fn of_socket(
        socket: BorrowedFd<'_>,
        offset: libc::off_t,
        parts: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        let len = parts.desc as usize + size as usize * size_of::<T>();
        Ok(Self::new(Mapping::of_socket(socket, len, offset)?, parts, size))
    }

    fn new(mapping: Mapping, parts: &libc::xdp_ring_offset, size: u32) -> Self {
        assert!(size.is_power_of_two(), "a ring of {size}");
        let counter = |at: u64| mapping.at(at as usize, size_of::<u32>()).cast();
        Self {
            producer: counter(parts.producer),
            consumer: counter(parts.consumer),
            entries: mapping.at(parts.desc as usize, size as usize * size_of::<T>()).cast(),
            size,
            next: 0,
            _mapping: mapping,
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: within the mapping, which lives as long as the ring; the kernel aligns it, and touches it atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for the producer's.
        unsafe { self.consumer.as_ref() }
    }

    fn place(&self, number: u32) -> *mut T {
        // SAFETY: less than the size, so that it lies within the mapping.
        unsafe { self.entries.add((number & (self.size - 1)) as usize).as_ptr() }
    }

    /// How many entries of ours the kernel has not taken.
    pub(super) fn pending(&self) -> u32 {
        self.next.wrapping_sub(self.consumer().load(Ordering::Acquire))
    }

    /// Puts an entry in.
    ///
    /// # Panics
    /// In debug builds, where there is no room for it: callers have no more frames than a ring has places.
    pub(super) fn put(&mut self, entry: T) {
        debug_assert!(self.pending() < self.size, "a ring has room for all frames that there are");
        // SAFETY: the kernel reads it once it is published.
        unsafe { self.place(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// Tells the kernel of all that was put in.
    pub(super) fn publish(&self) {
        self.producer().store(self.next, Ordering::Release);
    }

    /// How many entries of the kernel's we have not taken.
    pub(super) fn waiting(&self) -> u32 {
        self.producer().load(Ordering::Acquire).wrapping_sub(self.next)
    }

    /// Takes an entry out, one of those that [wait](Self::waiting).
    pub(super) fn take(&mut self) -> T {
        // SAFETY: the kernel wrote it before it counted it, and writes there again when it was released.
        let entry = unsafe { self.place(self.next).read() };
        self.next = self.next.wrapping_add(1);
        entry
    }

    /// Gives the kernel back the places of all that was taken out.
    pub(super) fn release(&self) {
        self.consumer().store(self.next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 4;

    /// A ring in memory of ours, both of whose counters are at `first`.
    fn ring(first: u32) -> Ring<u64> {
        let parts = libc::xdp_ring_offset { producer: 0, consumer: 64, desc: 128, flags: 192 };
        let memory = Mapping::anonymous(256).expect("memory");
        let ring = Ring { next: first, ..Ring::new(memory, &parts, SIZE) };
        ring.producer().store(first, Ordering::Relaxed);
        ring.consumer().store(first, Ordering::Relaxed);
        ring
    }

    #[test]
    fn entries_go_round_and_counters_over_their_end() {
        let mut ours = ring(u32::MAX - 5);
        for round in 0..5 {
            for entry in 0..3 {
                ours.put(round * 10 + entry);
            }
            assert_eq!(ours.pending(), 3, "none is taken");
            let told = ours.producer().load(Ordering::Relaxed);
            ours.publish();
            assert_eq!(ours.producer().load(Ordering::Relaxed), told.wrapping_add(3));
            // The other side of the same ring.
            ours.next = told;
            assert_eq!(ours.waiting(), 3);
            let taken: Vec<u64> = (0..3).map(|_| ours.take()).collect();
            assert_eq!(taken, [0, 1, 2].map(|entry| round * 10 + entry));
            assert_eq!(ours.waiting(), 0);
            assert_eq!(ours.pending(), 3, "they are not given back");
            ours.release();
            assert_eq!(ours.pending(), 0);
        }
        assert!(ours.next < 16, "the counters went over their end");
    }

    #[test]
    fn parts_lie_within_the_mapping() {
        let outside = |offset, len| {
            let memory = Mapping::anonymous(256).expect("memory");
            std::panic::catch_unwind(|| memory.at(offset, len)).is_err()
        };
        assert!(!outside(0, 256) && !outside(255, 1));
        assert!(outside(0, 257) && outside(256, 1) && outside(usize::MAX, 2));
    }
}
