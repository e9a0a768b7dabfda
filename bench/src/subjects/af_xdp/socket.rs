//! An AF_XDP socket in copy mode with its frames: the kernel copies what arrives into ours, and what leaves out of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ring::{Mapping, Ring};

/// Bytes of a frame; the kernel takes 2,048 or 4,096.
const FRAME: u32 = 2_048;

/// Bytes of packets that the socket may have on their way, which others have not freed: more than all frames are.
const SEND_BUFFER: libc::c_int = 1 << 24;

/// The socket on one queue of an interface. Each frame is in one ring at a time, or in our hands; each ring has room for all frames.
pub(super) struct Socket {
    fd: OwnedFd,
    frames: Mapping,
    fill: Ring<u64>,
    completion: Ring<u64>,
    rx: Ring<libc::xdp_desc>,
    tx: Ring<libc::xdp_desc>,
}

impl Socket {
    /// Opens it with so many frames, a power of two, all of which wait for what arrives.
    pub(super) fn open(interface: u32, queue: u32, count: u32) -> Result<Self> {
        // SAFETY: a system call without pointers; the descriptor that it returns is owned by nobody else.
        let fd = unsafe {
            let fd = Errno::result(libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0));
            OwnedFd::from_raw_fd(
                fd.context("an AF_XDP socket, for which the kernel needs CONFIG_XDP_SOCKETS")?,
            )
        };
        let len = FRAME as usize * count as usize;
        let frames = Mapping::anonymous(len).context("memory for frames")?;
        let area = libc::xdp_umem_reg {
            addr: frames.at(0, len).as_ptr() as u64,
            len: len as u64,
            chunk_size: FRAME,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        let socket = fd.as_fd();
        set(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &area).context("XDP_UMEM_REG")?;
        for ring in
            [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING]
        {
            set(socket, libc::SOL_XDP, ring, &count).context("the size of a ring")?;
        }
        set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER).context("SO_SNDBUFFORCE")?;
        let parts = offsets(socket).context("XDP_MMAP_OFFSETS")?;
        let rings = || -> io::Result<_> {
            let fill = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
            let completion = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
            Ok((
                Ring::of_socket(socket, fill, &parts.fr, count)?,
                Ring::of_socket(socket, completion, &parts.cr, count)?,
                Ring::of_socket(socket, libc::XDP_PGOFF_RX_RING, &parts.rx, count)?,
                Ring::of_socket(socket, libc::XDP_PGOFF_TX_RING, &parts.tx, count)?,
            ))
        };
        let (mut fill, completion, rx, tx) = rings().context("the rings in our memory")?;
        (0..count).for_each(|frame| fill.put(u64::from(frame) * u64::from(FRAME)));
        fill.publish();
        bind(socket, interface, queue)
            .with_context(|| format!("the socket on queue {queue} of interface {interface}"))?;
        Ok(Self { fd, frames, fill, completion, rx, tx })
    }

    /// Sends back what has arrived, at most so many frames, each as `change` leaves its bytes. How many they were.
    pub(super) fn reflect(&mut self, most: u32, mut change: impl FnMut(&mut [u8])) -> io::Result<u32> {
        // What was sent is free for what will arrive.
        let sent = self.completion.waiting();
        if sent > 0 {
            for _ in 0..sent {
                let frame = self.completion.take();
                self.fill.put(frame);
            }
            self.completion.release();
            self.fill.publish();
        }
        let arrived = self.rx.waiting().min(most);
        if arrived > 0 {
            for _ in 0..arrived {
                let descriptor = self.rx.take();
                let (at, len) = (descriptor.addr as usize, descriptor.len as usize);
                // SAFETY: the frame is in no ring between RX and TX, so that nobody else has it, and `at` looks at its bounds.
                change(unsafe { std::slice::from_raw_parts_mut(self.frames.at(at, len).as_ptr(), len) });
                self.tx.put(libc::xdp_desc { options: 0, ..descriptor });
            }
            self.rx.release();
            self.tx.publish();
        }
        if self.tx.pending() > 0 {
            self.send()?;
        }
        Ok(arrived)
    }

    /// Whether frames of ours have not left.
    pub(super) fn is_sending(&self) -> bool {
        self.tx.pending() > 0
    }

    /// Has the kernel send what is in the ring, of which it takes 32 frames at a time.
    fn send(&self) -> io::Result<()> {
        // SAFETY: a system call that is given no memory.
        let result = unsafe {
            libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        match Errno::result(result) {
            // More is left, or there is no room yet: what is in the ring stays there.
            Ok(_) | Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS | Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something arrives.
    pub(super) fn wait(&self) -> io::Result<()> {
        let mut waited = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

fn bind(socket: BorrowedFd<'_>, interface: u32, queue: u32) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is as long as is said, and outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    Ok(Errno::result(result).map(drop)?)
}

fn set<T>(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is as long as is said, and outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), len) };
    Ok(Errno::result(result).map(drop)?)
}

/// Where the parts of each ring are in its mapping.
fn offsets(socket: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: numbers, of which zeros are valid ones.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&offsets) as libc::socklen_t;
    let to = (&raw mut offsets).cast();
    // SAFETY: the kernel writes no more than `len` says.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, to, &raw mut len)
    };
    Ok(Errno::result(result).map(|_| offsets)?)
}
