//! Frames as they are on the wire: sent and seen by an AF_PACKET socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

use super::namespace::Namespace;
use crate::frames::Datagram;

/// One interface. Sees what arrives at it from now on, not what it sends itself.
#[derive(Debug)]
pub struct Wire {
    socket: File,
}

impl Wire {
    /// Opens an interface of a machine.
    pub fn open(machine: &Namespace, interface: &str) -> Self {
        let socket = machine.enter(|| open(interface));
        Self { socket: socket.unwrap_or_else(|e| panic!("AF_PACKET on {interface}: {e}")) }
    }

    /// Sends a frame as it is.
    pub fn send(&mut self, frame: &[u8]) {
        self.socket.write_all(frame).unwrap_or_else(|e| panic!("a frame of {} bytes: {e}", frame.len()));
    }

    /// The first frame that `pick` takes, unless none arrives within `limit`.
    pub fn find<T>(&mut self, limit: Duration, mut pick: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut buffer = vec![0; 65_536];
        while Instant::now() < deadline {
            match self.socket.read(&mut buffer) {
                Ok(length) => match pick(&buffer[..length]) {
                    Some(found) => return Some(found),
                    None => continue,
                },
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => panic!("AF_PACKET: {e}"),
            }
        }
        None
    }

    /// The first whole UDP packet with this payload. Panics where its lengths or checksums are wrong.
    pub fn find_payload(&mut self, limit: Duration, payload: &[u8]) -> Option<Datagram> {
        self.find(limit, |frame| {
            (is_udp(frame) && frame.ends_with(payload))
                .then(|| Datagram::read(frame))
                .filter(|d| d.payload == payload)
        })
    }
}

/// Whether it is IPv4, UDP, and no fragment.
fn is_udp(frame: &[u8]) -> bool {
    let Some(ip) = frame.get(12..24) else { return false };
    ip[..2] == [8, 0] && ip[11] == 17 && u16::from_be_bytes([ip[8], ip[9]]) & 0x3fff == 0
}

fn open(interface: &str) -> io::Result<File> {
    const ALL: u16 = libc::ETH_P_ALL as u16;
    let index: i32 = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?
        .trim()
        .parse()
        .map_err(io::Error::other)?;
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: a system call without pointers; the descriptor it returns is owned by nobody else.
    let socket = unsafe {
        // Protocol 0: nothing is received before the socket is bound to its interface.
        let fd = libc::socket(libc::AF_PACKET, kind, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(fd)
    };
    let poll = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &poll)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(8 << 20))?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ALL.to_be();
    address.sll_ifindex = index;
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a sockaddr_ll of that size and outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if bound == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

fn set<T>(socket: &File, level: i32, option: i32, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is of that size and outlives the call; a wrong size for an option is an error, not a fault.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (value as *const T).cast(), size) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
