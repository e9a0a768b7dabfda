//! Control messages (`cmsg(3)`): what the kernel says beside a datagram, and what it is told.

use std::iter;
use std::mem;
use std::net::SocketAddr;
use std::ptr;

use libc::c_int;

use super::sys::RawAddr;

/// What a relayed datagram hands on of the IP header it came with (RFC 8656 sections 13 and 14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IpFields {
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// DSCP and ECN: IPv4's type of service, IPv6's traffic class.
    pub(super) tos: u8,
}

impl IpFields {
    /// With what it goes on. `None` when it must not, so that a loop of relays ends: the preferred behaviour for the TTL
    /// is to take one off, for DSCP and ECN to leave them as they are, whatever the families.
    pub(super) fn forwarded(self) -> Option<Self> {
        Some(Self { ttl: self.ttl.checked_sub(1).filter(|ttl| *ttl > 0)?, ..self })
    }
}

/// Room for what the kernel says about a received datagram: a count of drops, the TTL, DSCP with ECN, the size of merged
/// ones, and where it was sent to.
const ROOM: usize = 4 * mem::size_of::<Message>() + HEADER + mem::size_of::<RawAddr>().next_multiple_of(8);

/// The control messages of a received datagram.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct ReceivedControl([u8; ROOM]);

impl Default for ReceivedControl {
    fn default() -> Self {
        Self([0; ROOM])
    }
}

/// What the kernel said about a received datagram.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Said {
    /// How many datagrams the socket has dropped in its life for want of buffer space (`SO_RXQ_OVFL`), which is said once
    /// it is not zero.
    pub(super) socket_drops: Option<u32>,
    /// Of the IP header. Missing only at sockets that did not ask for it.
    pub(super) ip: Option<IpFields>,
    /// Where it was sent to. Only at sockets that asked for it: those that many addresses share.
    pub(super) to: Option<SocketAddr>,
    /// The size of the datagrams that the kernel merged into one, of which the last may be shorter. Only where there are
    /// several, and at sockets that asked for it.
    pub(super) merged: Option<usize>,
}

impl ReceivedControl {
    /// Reads the first `len` bytes.
    pub(super) fn read(&self, len: usize) -> Said {
        let mut said = Said::default();
        let (mut ttl, mut tos) = (None, None);
        for (level, kind, data) in messages(&self.0[..len.min(self.0.len())]) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => said.socket_drops = int(data).map(|n| n as u32),
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    ttl = int(data).map(|n| n as u8);
                }
                // One byte, of IPv4 only.
                (libc::IPPROTO_IP, libc::IP_TOS) => tos = data.first().copied(),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => tos = int(data).map(|n| n as u8),
                (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) | (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR) => {
                    said.to = RawAddr::read(data).map(|address| address.get());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => said.merged = int(data).and_then(|n| n.try_into().ok()),
                _ => {}
            }
        }
        said.ip = ttl.zip(tos).map(|(ttl, tos)| IpFields { ttl, tos });
        said
    }
}

/// What the kernel is told about a message to send: TTL, DSCP with ECN, and the size of the datagrams that it is cut into.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct SendControl([Message; 3]);

impl SendControl {
    pub(super) const EMPTY: Self = Self([Message::new(0, 0, 0); 3]);

    /// Says it of a message of one of the two families, and returns how many bytes the kernel is shown: nothing of what the
    /// socket gives its packets anyway, which is `ttl` (`None`: the host's default) and, as most have, a DSCP and ECN of
    /// zero; and no size where there is one datagram.
    pub(super) fn set(
        &mut self,
        ipv6: bool,
        ip: Option<IpFields>,
        ttl: Option<u8>,
        size: Option<u16>,
    ) -> usize {
        let (level, ttl_kind, tos_kind) = if ipv6 {
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_TOS)
        };
        let ttl = ip.map(|ip| ip.ttl).filter(|own| ttl != Some(*own));
        let tos = ip.map(|ip| ip.tos).filter(|tos| *tos != 0);
        let messages = [
            ttl.map(|ttl| Message::new(level, ttl_kind, ttl.into())),
            tos.map(|tos| Message::new(level, tos_kind, tos.into())),
            size.map(Message::of_datagrams),
        ];
        let mut count = 0;
        for message in messages.into_iter().flatten() {
            self.0[count] = message;
            count += 1;
        }
        count * mem::size_of::<Message>()
    }
}

/// A control message of one number, with the padding after it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    header: libc::cmsghdr,
    value: c_int,
}

impl Message {
    const fn new(level: c_int, kind: c_int, value: c_int) -> Self {
        let cmsg_len = HEADER + mem::size_of::<c_int>();
        Self { header: libc::cmsghdr { cmsg_len, cmsg_level: level, cmsg_type: kind }, value }
    }

    /// The size of the datagrams of a message: a number of two bytes.
    fn of_datagrams(size: u16) -> Self {
        let [a, b] = size.to_ne_bytes();
        let mut message = Self::new(libc::SOL_UDP, libc::UDP_SEGMENT, c_int::from_ne_bytes([a, b, 0, 0]));
        message.header.cmsg_len = HEADER + mem::size_of::<u16>();
        message
    }
}

const HEADER: usize = mem::size_of::<libc::cmsghdr>();

/// The control messages in a buffer: level, type and data.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (c_int, c_int, &[u8])> {
    iter::from_fn(move || {
        if bytes.len() < HEADER {
            return None;
        }
        // SAFETY: there are as many bytes as a cmsghdr has, which is of integers only; it need not be aligned.
        let header: libc::cmsghdr = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
        let data = bytes.get(HEADER..header.cmsg_len)?;
        let next = header.cmsg_len.next_multiple_of(mem::align_of::<libc::cmsghdr>());
        bytes = bytes.get(next..).unwrap_or_default();
        Some((header.cmsg_level, header.cmsg_type, data))
    })
}

fn int(data: &[u8]) -> Option<c_int> {
    data.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_on_its_last_hop_goes_no_further() {
        let forwarded = |ttl| IpFields { ttl, tos: 0xb9 }.forwarded();
        assert_eq!((forwarded(0), forwarded(1)), (None, None));
        assert_eq!(forwarded(2), Some(IpFields { ttl: 1, tos: 0xb9 }));
        assert_eq!(forwarded(255), Some(IpFields { ttl: 254, tos: 0xb9 }));
    }

    #[test]
    fn lengths_that_contradict_each_other_end_the_reading() {
        let mut bytes = [0; 40];
        assert_eq!(messages(&bytes).count(), 0, "a length of nothing at all");
        for length in [HEADER, 40, 41, usize::MAX] {
            bytes[..8].copy_from_slice(&length.to_ne_bytes());
            assert!(messages(&bytes).count() <= 2, "{length}");
        }
    }
}
