//! The system calls that neither `std` nor `nix` wraps well, and with [`receiving`](super::receiving) nearly all `unsafe` code
//! of the sockets: `sendmmsg` from two parts per datagram, options of any type, addresses as the kernel writes them.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libc::c_int;

use super::control::{IpFields, SendControl};

/// Most datagrams that every kernel cuts a message into (`UDP_MAX_SEGMENTS`; newer ones take twice as many).
const MOST_JOINED: usize = 64;

/// Most bytes of a message: what an IPv4 packet holds.
const MOST_BYTES: usize = 65_507;

/// The largest datagrams that are joined, over IPv4 and IPv6: packets of 1,280 bytes, which hardly a path has to fragment and no
/// path of IPv6 may (RFC 8200 section 5). The kernel refuses to cut a message into what does not fit the interface, or over
/// IPv6 the path as ICMP messages tell. And over IPv4 it gives all that it cuts one message into the identification of the
/// next packets (until a mend of 2026), which two fragments of different packets must not share.
const LARGEST_JOINED: [usize; 2] = [1_280 - 28, 1_280 - 48];

/// Calls that are made without joining after the kernel refused what was joined: it may do so always (older kernels
/// without checksums by the interface, IPsec, a smaller MTU), and each time costs a call.
const PAUSE: u32 = 1_024;

/// One datagram to send.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub(super) to: SocketAddr,
    /// Its first bytes.
    pub(super) head: &'a [u8],
    /// The bytes after them.
    pub(super) body: &'a [u8],
    /// Of its IP header; without it the host's defaults.
    pub(super) ip: Option<IpFields>,
}

impl Datagram<'_> {
    fn iovecs(&self) -> [libc::iovec; 2] {
        [self.head, self.body]
            .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
    }

    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether a message that begins with this one may go on with the other.
    fn takes(&self, next: &Self) -> bool {
        self.to == next.to
            && self.ip == next.ip
            && (1..=self.len()).contains(&next.len())
            && self.len() <= LARGEST_JOINED[usize::from(self.to.is_ipv6())]
    }
}

/// The headers of a `sendmmsg` call, reused. A message is one datagram, or several to one destination that are joined for the
/// kernel to cut them apart as late as it can (`UDP_SEGMENT`, kernel 4.18): of equal sizes, but for a shorter last one.
pub(super) struct Sender {
    headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[[libc::iovec; 2]]>,
    names: Box<[RawAddr]>,
    controls: Box<[SendControl]>,
    /// How many datagrams each message of the last call had.
    joined: Box<[usize]>,
    /// How many calls are still to be made without joining.
    pause: u32,
}

impl Sender {
    /// For calls that send at most `slots` messages, of eight datagrams on the average.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            headers: vec![empty_header(); slots].into(),
            iovecs: vec![[EMPTY_IOVEC; 2]; 8 * slots].into(),
            names: vec![RawAddr::default(); slots].into(),
            controls: vec![SendControl::EMPTY; slots].into(),
            joined: vec![0; slots].into(),
            pause: 0,
        }
    }

    /// Sends datagrams in order without waiting and says how many; an error is that of the first. `ttl` is what the socket
    /// is set to. With `join`, neighbours that may be one message are.
    pub(super) fn send<'a>(
        &mut self,
        socket: &impl AsFd,
        ttl: Option<u8>,
        join: bool,
        datagrams: impl Iterator<Item = Datagram<'a>> + Clone,
    ) -> io::Result<usize> {
        let join = join && self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        let refused = match self.call(socket, ttl, join, datagrams.clone()) {
            Err(error) if self.joined[0] > 1 => error,
            result => return result,
        };
        if matches!(refused.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            return Err(refused);
        }
        // Of a message the kernel takes all or nothing, so none of them has left.
        let sent = self.call(socket, ttl, false, datagrams)?;
        self.pause = PAUSE;
        Ok(sent)
    }

    fn call<'a>(
        &mut self,
        socket: &impl AsFd,
        ttl: Option<u8>,
        join: bool,
        datagrams: impl Iterator<Item = Datagram<'a>>,
    ) -> io::Result<usize> {
        let mut datagrams = datagrams.peekable();
        let (mut messages, mut used) = (0, 0);
        while messages < self.headers.len()
            && used < self.iovecs.len()
            && let Some(first) = datagrams.next()
        {
            let start = used;
            self.iovecs[used] = first.iovecs();
            used += 1;
            let (mut bytes, mut last) = (first.len(), first.len());
            let most = if join { (start + MOST_JOINED).min(self.iovecs.len()) } else { used };
            while used < most
                && last == first.len()
                && let Some(next) =
                    datagrams.next_if(|next| first.takes(next) && bytes + next.len() <= MOST_BYTES)
            {
                self.iovecs[used] = next.iovecs();
                used += 1;
                last = next.len();
                bytes += last;
            }
            self.joined[messages] = used - start;
            let size = (used - start > 1).then_some(first.len() as u16);
            let name_len = self.names[messages].set(first.to);
            let control_len = self.controls[messages].set(first.to.is_ipv6(), first.ip, ttl, size);
            let header = &mut self.headers[messages].msg_hdr;
            header.msg_iov = self.iovecs.as_mut_ptr().wrapping_add(start).cast();
            header.msg_iovlen = 2 * (used - start);
            header.msg_name = (&raw mut self.names[messages]).cast();
            header.msg_namelen = name_len;
            header.msg_control = (&raw mut self.controls[messages]).cast();
            header.msg_controllen = control_len;
            messages += 1;
        }
        // SAFETY: the first `messages` headers point at iovecs, names and controls of this struct, which state their
        // lengths, and the iovecs at slices that live for 'a, which outlives the call; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                messages as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok(self.joined[..sent].iter().sum())
    }
}

/// Sets a socket option whose value is a number.
pub(super) fn set_option(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    set_option_of(socket, level, option, &value)
}

/// Sets a socket option to a value of any plain type.
pub(super) fn set_option_of<T: Copy>(
    socket: &impl AsFd,
    level: c_int,
    option: c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the value's address and size are given; an option of another size is an error, not a fault.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const *value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A socket option of any plain type, of as many bytes as that has.
pub(super) fn option_of<T: Copy + Default>(socket: &impl AsFd, level: c_int, option: c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the value's address and size are given. The callers ask for integers, of which all bytes are values.
    let rc = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length)
    };
    if rc == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// No bytes at all.
pub(super) const EMPTY_IOVEC: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// A header that names nothing.
pub(super) fn empty_header() -> libc::mmsghdr {
    // SAFETY: mmsghdr consists of integers and pointers, for which zero is a value.
    unsafe { mem::zeroed() }
}

/// A socket address as the kernel reads and writes it: `sockaddr_in` or `sockaddr_in6`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
pub(super) struct RawAddr([u8; mem::size_of::<libc::sockaddr_in6>()]);

impl RawAddr {
    /// Writes an address and returns how many bytes it takes.
    fn set(&mut self, addr: SocketAddr) -> libc::socklen_t {
        let bytes = &mut self.0;
        bytes[2..4].copy_from_slice(&addr.port().to_be_bytes());
        let (family, len) = match addr {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                bytes[8..16].fill(0);
                (libc::AF_INET, mem::size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                bytes[4..8].fill(0);
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, mem::size_of::<libc::sockaddr_in6>())
            }
        };
        bytes[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        len as libc::socklen_t
    }

    /// One in a control message, of as many bytes as its family has.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut raw = Self::default();
        raw.0.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(raw)
    }

    /// Reads the address that the kernel wrote.
    pub(super) fn get(&self) -> SocketAddr {
        let bytes = &self.0;
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        if libc::sa_family_t::from_ne_bytes([bytes[0], bytes[1]]) == libc::AF_INET as libc::sa_family_t {
            return SocketAddrV4::new(Ipv4Addr::from(word(4)), port).into();
        }
        let mut ip = [0; 16];
        ip.copy_from_slice(&bytes[8..24]);
        SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, u32::from_ne_bytes(word(24))).into()
    }
}

#[cfg(test)]
#[path = "sys_tests.rs"]
mod tests;
