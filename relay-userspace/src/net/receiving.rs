//! Receiving: `recvmmsg` into buffers that are reused.
//!
//! The kernel may merge datagrams of one flow that come one after the other (`UDP_GRO`), if their sizes are equal, but for a
//! shorter last one, and, since mid-2024, their TTL, DSCP and ECN too. Here they are cut apart again, and nobody else knows of it.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use super::control::{ReceivedControl, Said};
use super::sys::{EMPTY_IOVEC, RawAddr, empty_header};

/// Room for any UDP payload, at most 65,507 bytes over IPv4 and 65,527 over IPv6, and for all that the kernel merges.
const BUFFER: usize = 1 << 16;

/// From one buffer to the next. A multiple of 64 KiB would put the first bytes of all buffers, which are what is
/// read, into the same few cache sets.
const STRIDE: usize = BUFFER + 17 * 64;

/// Datagrams that the kernel merges (`UDP_GRO_CNT_MAX`). Room is kept for so many in every buffer, and used where they come.
const MOST_MERGED: usize = 64;

/// A row of buffers for what comes in, and the datagrams in them. Each takes the largest datagram there is, so that none is
/// ever cut short; the memory is only touched, and so only used, as far as datagrams fill it (a page or two each, for media).
pub(super) struct ReceiveBuffers {
    memory: Box<[u8]>,
    headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[libc::iovec]>,
    names: Box<[RawAddr]>,
    controls: Box<[ReceivedControl]>,
    /// What the kernel said of each buffer that is filled.
    said: Vec<Said>,
    slots: Vec<Slot>,
}

/// Where a datagram lies.
#[derive(Clone, Copy)]
struct Slot {
    buffer: u32,
    start: u32,
    length: u32,
}

/// A received datagram.
pub(super) struct Received<'a> {
    /// Who sent it.
    pub(super) from: SocketAddr,
    /// The UDP payload.
    pub(super) datagram: &'a [u8],
    /// What else the kernel said.
    pub(super) said: Said,
}

impl ReceiveBuffers {
    /// So many buffers, all free.
    pub(super) fn new(buffers: usize) -> Self {
        Self {
            memory: vec![0; buffers * STRIDE].into(),
            headers: vec![empty_header(); buffers].into(),
            iovecs: vec![EMPTY_IOVEC; buffers].into(),
            names: vec![RawAddr::default(); buffers].into(),
            controls: vec![ReceivedControl::default(); buffers].into(),
            said: Vec::with_capacity(buffers),
            slots: Vec::with_capacity(buffers * MOST_MERGED),
        }
    }

    /// How many buffers are free.
    pub(super) fn room(&self) -> usize {
        self.headers.len() - self.said.len()
    }

    /// How many datagrams there are.
    pub(super) fn datagrams(&self) -> usize {
        self.slots.len()
    }

    /// Receives into at most `most` free buffers without waiting, and says which datagrams came.
    pub(super) fn receive(&mut self, socket: &impl AsFd, most: usize) -> io::Result<Range<usize>> {
        let free = self.said.len();
        let memory = self.memory.as_mut_ptr();
        let headers = &mut self.headers[free..];
        let count = most.min(headers.len());
        let headers = &mut headers[..count];
        for (buffer, header) in (free..).zip(headers.iter_mut()) {
            self.iovecs[buffer] =
                libc::iovec { iov_base: memory.wrapping_add(buffer * STRIDE).cast(), iov_len: BUFFER };
            let header = &mut header.msg_hdr;
            header.msg_iov = &raw mut self.iovecs[buffer];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.names[buffer]).cast();
            header.msg_namelen = mem::size_of::<RawAddr>() as libc::socklen_t;
            header.msg_control = (&raw mut self.controls[buffer]).cast();
            header.msg_controllen = mem::size_of::<ReceivedControl>();
        }
        // SAFETY: every header points at an iovec, a name and a control buffer of this struct, whose lengths it
        // states, and the iovec at BUFFER bytes of `memory`, since `buffer` is within the row. None of them moves or
        // is used otherwise during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let first = self.slots.len();
        for buffer in free..free + received {
            let said = self.controls[buffer].read(self.headers[buffer].msg_hdr.msg_controllen);
            self.said.push(said);
            self.cut(buffer, self.headers[buffer].msg_len as usize, said.merged);
        }
        Ok(first..self.slots.len())
    }

    /// Finds the datagrams in what came as one: each of `size` bytes, the last of what is left.
    fn cut(&mut self, buffer: usize, length: usize, size: Option<usize>) {
        let size = size.filter(|size| (1..length).contains(size)).unwrap_or(length);
        let mut start = 0;
        loop {
            let this = size.min(length - start);
            self.slots.push(Slot { buffer: buffer as u32, start: start as u32, length: this as u32 });
            start += this;
            if start == length {
                break;
            }
        }
    }

    /// Puts a datagram into a free buffer as if it had been received; one that was received fits. Returns its slot.
    pub(super) fn put(&mut self, datagram: &[u8]) -> usize {
        let buffer = self.said.len();
        self.memory[buffer * STRIDE..][..datagram.len()].copy_from_slice(datagram);
        self.said.push(Said::default());
        self.cut(buffer, datagram.len(), None);
        self.slots.len() - 1
    }

    /// Puts something else in the place of a datagram that came alone, in its buffer: what was in it, decrypted.
    pub(super) fn replace(&mut self, slot: usize, content: &[u8]) {
        let Some(place) = self.slots.get_mut(slot) else {
            // What is not about a datagram has the first slot, which is free where there are none.
            self.put(content);
            return;
        };
        debug_assert_eq!(place.start, 0, "merged datagrams have neighbours");
        place.length = content.len() as u32;
        self.memory[place.buffer as usize * STRIDE..][..content.len()].copy_from_slice(content);
    }

    /// What [`receive`](Self::receive) found, or [`put`](Self::put) brought; without sender and socket in that case.
    pub(super) fn received(&self, slot: usize) -> Received<'_> {
        let buffer = self.slots[slot].buffer as usize;
        Received { from: self.names[buffer].get(), datagram: self.datagram(slot), said: self.said[buffer] }
    }

    /// Of that, the UDP payload alone; nothing, where nothing was received: not all that is sent is because of a datagram.
    pub(super) fn datagram(&self, slot: usize) -> &[u8] {
        let Some(&Slot { buffer, start, length }) = self.slots.get(slot) else { return &[] };
        &self.memory[buffer as usize * STRIDE + start as usize..][..length as usize]
    }

    /// Frees all buffers.
    pub(super) fn clear(&mut self) {
        self.said.clear();
        self.slots.clear();
    }
}
