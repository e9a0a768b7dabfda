//! A socket's error queue (`IP_RECVERR`, `IPV6_RECVERR`): ICMP errors about what the socket sent.
//!
//! A socket with an error queue also fails one call, of whatever kind, for each ICMP error that arrives: see
//! [`batch`](super::batch), where such a failure must not be taken for the datagram's own.

use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use super::control::messages;
use super::sys::RawAddr;
use crate::stun::Icmp;

/// Something that went wrong with a datagram sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SocketError {
    /// A host or router on the way to `peer` said so.
    Icmp {
        /// Where the datagram was going.
        peer: SocketAddr,
        /// What was said; its data is the MTU where there is one.
        icmp: Icmp,
    },
    /// The kernel did not send it, as it is larger than the interface's MTU, in bytes, and was not to be fragmented.
    TooBig {
        /// The MTU in bytes.
        mtu: u32,
    },
    /// Another error of this host's.
    Other,
}

/// Room for the error, the address of who said so, and what else the socket asked to be told (TTL and DSCP).
#[repr(C, align(8))]
struct Control([u8; 192]);

/// Takes the oldest error off a socket's queue.
pub(super) fn take(socket: &impl AsFd) -> Option<SocketError> {
    let mut name = RawAddr::default();
    let mut control = Control([0; 192]);
    // SAFETY: msghdr consists of integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = mem::size_of::<RawAddr>() as libc::socklen_t;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = mem::size_of::<Control>();
    // SAFETY: the header points at a name and a control buffer whose lengths it states, and at no room for data: what
    // was sent is cut off.
    let received = unsafe {
        libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    if received < 0 {
        return None;
    }
    let control = &control.0[..header.msg_controllen.min(control.0.len())];
    let error = messages(control).find_map(|(level, kind, data)| {
        let is_error = matches!(
            (level, kind),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        is_error.then(|| read(data)).flatten()
    });
    Some(error.map_or(SocketError::Other, |error| error.meaning(&name)))
}

/// What is used of `sock_extended_err`.
struct Extended(libc::sock_extended_err);

fn read(data: &[u8]) -> Option<Extended> {
    if data.len() < mem::size_of::<libc::sock_extended_err>() {
        return None;
    }
    // SAFETY: there are as many bytes as the struct has, which is of integers only; it need not be aligned.
    Some(Extended(unsafe { ptr::read_unaligned(data.as_ptr().cast()) }))
}

impl Extended {
    fn meaning(&self, name: &RawAddr) -> SocketError {
        let error = &self.0;
        match error.ee_origin {
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => SocketError::Icmp {
                peer: name.get(),
                icmp: Icmp { kind: error.ee_type, code: error.ee_code, data: error.ee_info },
            },
            libc::SO_EE_ORIGIN_LOCAL if error.ee_errno == libc::EMSGSIZE as u32 => {
                SocketError::TooBig { mtu: error.ee_info }
            }
            _ => SocketError::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::sockets::open_relay;
    use super::*;

    fn closed_port_is_reported(ip: &str) {
        let socket = open_relay(format!("{ip}:0").parse().unwrap()).unwrap();
        let closed = UdpSocket::bind(format!("{ip}:0")).unwrap().local_addr().unwrap();
        assert_eq!(take(&socket), None);
        socket.send_to(b"anybody there?", closed).unwrap();
        let (kind, code) = if closed.is_ipv4() { (3, 3) } else { (1, 4) };
        let start = Instant::now();
        let error = loop {
            if let Some(error) = take(&socket) {
                break error;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "no ICMP error came");
            thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(error, SocketError::Icmp { peer: closed, icmp: Icmp { kind, code, data: 0 } });
        assert_eq!(take(&socket), None);
    }

    #[test]
    fn a_closed_port_is_reported_with_the_address_that_was_sent_to_over_ipv4() {
        closed_port_is_reported("127.0.0.1");
    }

    #[test]
    fn a_closed_port_is_reported_with_the_address_that_was_sent_to_over_ipv6() {
        closed_port_is_reported("[::1]");
    }
}
