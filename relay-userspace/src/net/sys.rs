//! The system calls that neither `std` nor `nix` wraps well, and with them nearly all `unsafe` code of the sockets:
//! `recvmmsg` into buffers that are reused, `sendmmsg` from two parts per datagram, options that are a number.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libc::c_int;

use super::control::{IpFields, ReceivedControl, Said, SendControl};

/// Room for any UDP payload: at most 65,507 bytes over IPv4 and 65,527 over IPv6.
const BUFFER: usize = 1 << 16;

/// From one buffer to the next. A multiple of 64 KiB would put the first bytes of all buffers, which are what is
/// read, into the same few cache sets.
const STRIDE: usize = BUFFER + 17 * 64;

/// A row of buffers for incoming datagrams. Each takes the largest datagram there is, so that none is ever cut; the
/// memory is only touched, and so only used, as far as datagrams fill it (a page or two each, for media).
pub(super) struct ReceiveBuffers {
    memory: Box<[u8]>,
    headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[libc::iovec]>,
    names: Box<[RawAddr]>,
    controls: Box<[ReceivedControl]>,
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
    pub(super) fn new(slots: usize) -> Self {
        Self {
            memory: vec![0; slots * STRIDE].into(),
            headers: vec![empty_header(); slots].into(),
            iovecs: vec![EMPTY_IOVEC; slots].into(),
            names: vec![RawAddr::default(); slots].into(),
            controls: vec![ReceivedControl::default(); slots].into(),
        }
    }

    /// Receives into the slots, from the first on, without waiting, and says how many were filled.
    pub(super) fn receive(&mut self, socket: &impl AsFd, slots: Range<usize>) -> io::Result<usize> {
        let memory = self.memory.as_mut_ptr();
        let headers = &mut self.headers[slots.clone()];
        for (slot, header) in slots.zip(headers.iter_mut()) {
            self.iovecs[slot] =
                libc::iovec { iov_base: memory.wrapping_add(slot * STRIDE).cast(), iov_len: BUFFER };
            let header = &mut header.msg_hdr;
            header.msg_iov = &raw mut self.iovecs[slot];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.names[slot]).cast();
            header.msg_namelen = mem::size_of::<RawAddr>() as libc::socklen_t;
            header.msg_control = (&raw mut self.controls[slot]).cast();
            header.msg_controllen = mem::size_of::<ReceivedControl>();
        }
        // SAFETY: every header points at an iovec, a name and a control buffer of this struct, whose lengths it
        // states, and the iovec at BUFFER bytes of `memory`, since `slot` is within the row. None of them moves or
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
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// Puts a datagram into a slot as if it had been received; one that was received fits.
    pub(super) fn fill(&mut self, slot: usize, datagram: &[u8]) {
        self.memory[slot * STRIDE..][..datagram.len()].copy_from_slice(datagram);
        self.headers[slot].msg_len = datagram.len() as libc::c_uint;
    }

    /// What the last [`receive`](Self::receive) put into a slot that it filled, or [`fill`](Self::fill) did; without
    /// sender and socket in that case.
    pub(super) fn received(&self, slot: usize) -> Received<'_> {
        Received {
            from: self.names[slot].get(),
            datagram: self.datagram(slot),
            said: self.controls[slot].read(self.headers[slot].msg_hdr.msg_controllen),
        }
    }

    /// Of that, the UDP payload alone.
    pub(super) fn datagram(&self, slot: usize) -> &[u8] {
        &self.memory[slot * STRIDE..][..self.headers[slot].msg_len as usize]
    }
}

/// One datagram to send.
pub(super) struct Datagram<'a> {
    pub(super) to: SocketAddr,
    /// Its first bytes.
    pub(super) head: &'a [u8],
    /// The bytes after them.
    pub(super) body: &'a [u8],
    /// Of its IP header; without it the host's defaults.
    pub(super) ip: Option<IpFields>,
}

/// The headers of a `sendmmsg` call, reused.
pub(super) struct Sender {
    headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[[libc::iovec; 2]]>,
    names: Box<[RawAddr]>,
    controls: Box<[SendControl]>,
}

impl Sender {
    /// For calls that send at most `slots` datagrams.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            headers: vec![empty_header(); slots].into(),
            iovecs: vec![[EMPTY_IOVEC; 2]; slots].into(),
            names: vec![RawAddr::default(); slots].into(),
            controls: vec![SendControl::EMPTY; slots].into(),
        }
    }

    /// Sends datagrams in order without waiting and says how many; an error is that of the first. `ttl` is what the socket
    /// is set to.
    pub(super) fn send<'a>(
        &mut self,
        socket: &impl AsFd,
        ttl: Option<u8>,
        datagrams: impl Iterator<Item = Datagram<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (slot, datagram) in (0..self.headers.len()).zip(datagrams) {
            self.iovecs[slot] = [datagram.head, datagram.body]
                .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
            let name_len = self.names[slot].set(datagram.to);
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_iov = self.iovecs[slot].as_mut_ptr();
            header.msg_iovlen = 2;
            header.msg_name = (&raw mut self.names[slot]).cast();
            header.msg_namelen = name_len;
            header.msg_controllen = 0;
            if let Some(ip) = datagram.ip {
                let (control, length) = SendControl::new(datagram.to.is_ipv6(), ip, ttl);
                self.controls[slot] = control;
                header.msg_control = (&raw mut self.controls[slot]).cast();
                header.msg_controllen = length;
            }
            count += 1;
        }
        // SAFETY: the first `count` headers point at iovecs, names and controls of this struct, and the iovecs at slices
        // that live for 'a, which outlives the call; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(socket.as_fd().as_raw_fd(), self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
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

const EMPTY_IOVEC: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

fn empty_header() -> libc::mmsghdr {
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
mod tests {
    use super::super::sockets;
    use super::*;

    fn exchange(ip: &str) {
        let open = || sockets::open_relay(format!("{ip}:0").parse().unwrap()).unwrap();
        let (a, b) = (open(), open());
        let big = vec![7; 65_000];
        let ip = |ttl, tos| Some(IpFields { ttl, tos });
        let datagrams = [
            ("", &b"whole"[..], None),
            ("head", b"body", ip(1, 0xff)),
            ("", b"", ip(255, 0)),
            ("big", &big, ip(17, 0xb9)),
            ("", b"after", None),
        ];
        let to = b.local_addr().unwrap();
        let send = datagrams.iter().map(|&(head, body, ip)| Datagram { to, head: head.as_bytes(), body, ip });
        assert_eq!(Sender::new(8).send(&a, None, send).unwrap(), 5);

        let mut buffers = ReceiveBuffers::new(7);
        assert_eq!(buffers.receive(&b, 2..7).unwrap(), 5);
        for (slot, (head, body, sent)) in (2..).zip(datagrams) {
            let received = buffers.received(slot);
            assert_eq!(received.from, a.local_addr().unwrap());
            assert_eq!(received.datagram, [head.as_bytes(), body].concat());
            assert_eq!(received.said, Said { socket_drops: None, ip: sent.or(ip(64, 0)), to: None });
        }
        assert_eq!(buffers.receive(&b, 0..7).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn datagrams_of_any_size_pass_in_order_with_their_ttl_and_dscp_over_ipv4() {
        exchange("127.0.0.1");
    }

    #[test]
    fn datagrams_of_any_size_pass_in_order_with_their_ttl_and_dscp_over_ipv6() {
        exchange("[::1]");
    }

    #[test]
    fn an_address_with_a_scope_survives_the_kernels_format() {
        let mut raw = RawAddr::default();
        for addr in ["[fe80::1%7]:65535", "192.0.2.1:1", "[2001:db8::1]:443"] {
            let addr: SocketAddr = addr.parse().unwrap();
            raw.set(addr);
            assert_eq!(raw.get(), addr);
        }
    }
}
