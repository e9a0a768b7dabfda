//! Addresses as packets and tables hold them: network byte order, both families in one shape.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::checksum;

/// A 16-bit number in network byte order, as it lies in a packet or a table.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Be16(pub u16);

impl Be16 {
    /// From a number in host order.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// An IP address of either family as four 32-bit words in network byte order; IPv4 is held IPv4-mapped
/// (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2), so one table key serves both families.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NetIp(pub [u32; 4]);

impl NetIp {
    /// The third word of an IPv4-mapped address.
    pub const V4_MARK: u32 = 0x0000_ffff_u32.to_be();

    /// From the 32 bits of an IPv4 header's address field, in network byte order.
    #[inline(always)]
    pub const fn from_v4_bits(be: u32) -> Self {
        Self([0, 0, Self::V4_MARK, be])
    }

    /// Becomes the address of an IPv4 header's field, in two stores of eight bytes: a processor that reads eight bytes
    /// which were written in fours must wait until they are in its cache.
    #[inline(always)]
    pub fn set_v4(&mut self, be: u32) {
        let (mark, bits) = (u64::from(Self::V4_MARK), u64::from(be));
        let lower = if cfg!(target_endian = "little") { mark | bits << 32 } else { mark << 32 | bits };
        // SAFETY: an address is these sixteen bytes, whatever they are.
        unsafe { (&raw mut *self).cast::<[u64; 2]>().write_unaligned([0, lower]) };
    }

    /// The two addresses XORed word by word: with one of them it gives the other back.
    #[inline(always)]
    pub const fn xor(&self, other: &Self) -> Self {
        let (a, b) = (&self.0, &other.0);
        Self([a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]])
    }

    /// What the address adds to a checksum's sum. The mark of an IPv4-mapped one is not on the wire and does not count.
    #[inline(always)]
    pub const fn sum(&self) -> u64 {
        if self.is_v4() { checksum::word(self.0[3]) } else { checksum::words(&self.0) }
    }

    /// Whether the address is IPv4.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == Self::V4_MARK
    }
}

impl From<IpAddr> for NetIp {
    fn from(ip: IpAddr) -> Self {
        let o = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let word = |i: usize| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]);
        Self([word(0), word(4), word(8), word(12)])
    }
}

impl From<NetIp> for IpAddr {
    fn from(ip: NetIp) -> Self {
        if ip.is_v4() {
            return Ipv4Addr::from(u32::from_be(ip.0[3])).into();
        }
        let [a, b, c, d] = ip.0.map(|w| u128::from(u32::from_be(w)));
        Ipv6Addr::from(a << 96 | b << 64 | c << 32 | d).into()
    }
}

/// An IP address and a UDP port in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Endpoint {
    /// The address.
    pub ip: NetIp,
    /// The port.
    pub port: Be16,
}

impl From<SocketAddr> for Endpoint {
    fn from(a: SocketAddr) -> Self {
        Self { ip: a.ip().into(), port: Be16::new(a.port()) }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(e: Endpoint) -> Self {
        SocketAddr::new(e.ip.into(), e.port.get())
    }
}
