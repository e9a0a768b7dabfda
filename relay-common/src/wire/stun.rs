//! STUN messages as they lie on the wire (RFC 8489 sections 5 and 14), as far as XDP reads and writes them: Send and Data
//! indications (RFC 8656 section 11), and Binding requests.

use super::Header;
use crate::addr::{Be16, Endpoint, NetIp};
use crate::checksum;

/// Message types: method and class (RFC 8489 section 5).
pub mod kind {
    use crate::addr::Be16;

    /// A Binding request.
    pub const BINDING_REQUEST: Be16 = Be16::new(0x0001);
    /// The answer to it.
    pub const BINDING_SUCCESS: Be16 = Be16::new(0x0101);
    /// A Send indication.
    pub const SEND_INDICATION: Be16 = Be16::new(0x0016);
    /// A Data indication.
    pub const DATA_INDICATION: Be16 = Be16::new(0x0017);
    /// The bits of the class; none is set in a request.
    pub const CLASS: Be16 = Be16::new(0x0110);
}

/// The cookie of every message.
pub const MAGIC_COOKIE: u32 = 0x2112_a442_u32.to_be();

/// Attribute types.
pub mod attribute {
    use crate::addr::Be16;

    /// RFC 8489 section 14.5.
    pub const MESSAGE_INTEGRITY: Be16 = Be16::new(0x0008);
    /// RFC 8656 section 18.3.
    pub const XOR_PEER_ADDRESS: Be16 = Be16::new(0x0012);
    /// RFC 8656 section 18.4.
    pub const DATA: Be16 = Be16::new(0x0013);
    /// RFC 8656 section 18.9.
    pub const DONT_FRAGMENT: Be16 = Be16::new(0x001a);
    /// RFC 8489 section 14.6.
    pub const MESSAGE_INTEGRITY_SHA256: Be16 = Be16::new(0x001c);
    /// RFC 8489 section 14.2.
    pub const XOR_MAPPED_ADDRESS: Be16 = Be16::new(0x0020);
    /// RFC 8489 section 14.7.
    pub const FINGERPRINT: Be16 = Be16::new(0x8028);
    /// The lowest that a receiver may ignore (RFC 8489 section 14).
    pub const FIRST_OPTIONAL: u16 = 0x8000;
}

/// Address families in attributes (RFC 8489 section 14.1).
pub mod family {
    /// IPv4.
    pub const V4: u8 = 1;
    /// IPv6.
    pub const V6: u8 = 2;
}

/// A transaction id as three words in memory order.
pub type TransactionId = [u32; 3];

/// The header of a message.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Stun {
    /// Method and class.
    pub kind: Be16,
    /// Bytes after the header.
    pub len: Be16,
    /// [`MAGIC_COOKIE`].
    pub cookie: u32,
    /// What pairs an answer with its request.
    pub id: TransactionId,
}

impl Stun {
    /// Bytes of a header.
    pub const LEN: u16 = size_of::<Self>() as u16;

    /// Whether this is the header of a message in a datagram of `len` bytes: the top bits are zero, the cookie is there,
    /// and the length field is a multiple of four and says what follows (RFC 8489 section 6.3).
    #[inline(always)]
    pub fn is_message(&self, len: u16) -> bool {
        let follows = { self.len }.get();
        { self.kind }.get() & 0xc000 == 0
            && self.cookie == MAGIC_COOKIE
            && follows & 3 == 0
            && u32::from(follows) + u32::from(Self::LEN) == u32::from(len)
    }

    /// What the header adds to a sum.
    #[inline(always)]
    pub fn sum(&self) -> u64 {
        let [a, b, c] = self.id;
        u64::from(self.kind.0)
            + u64::from({ self.len }.0)
            + checksum::word(self.cookie)
            + checksum::word(a)
            + checksum::word(b)
            + checksum::word(c)
    }
}

/// What an attribute begins with; its value follows, then padding to four bytes.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Attribute {
    /// Its number.
    pub kind: Be16,
    /// Bytes of the value, without the padding.
    pub len: Be16,
}

impl Attribute {
    /// What the header adds to a sum.
    #[inline(always)]
    pub fn sum(&self) -> u64 {
        u64::from({ self.kind }.0) + u64::from({ self.len }.0)
    }
}

/// The value of XOR-PEER-ADDRESS and XOR-MAPPED-ADDRESS: `u32` for IPv4, `[u32; 4]` for IPv6.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct XorAddress<Ip: Copy> {
    /// Zero as it is sent; not looked at.
    pub zero: u8,
    /// Of [`family`].
    pub family: u8,
    /// The port, XORed with the cookie's first half.
    pub port: Be16,
    /// The address, XORed with the cookie and, for IPv6, the transaction id.
    pub ip: Ip,
}

impl<Ip: Copy> XorAddress<Ip> {
    /// The port itself.
    #[inline(always)]
    pub fn plain_port(&self) -> Be16 {
        xor_port(self.port)
    }

    /// What reserved byte, family and port add to a sum.
    #[inline(always)]
    fn head_sum(&self) -> u64 {
        u64::from(u16::from_ne_bytes([self.zero, self.family])) + u64::from({ self.port }.0)
    }
}

impl XorAddress<u32> {
    /// For an IPv4 address.
    #[inline(always)]
    pub fn new(of: &Endpoint) -> Self {
        Self { zero: 0, family: family::V4, port: xor_port(of.port), ip: of.ip.0[3] ^ MAGIC_COOKIE }
    }

    /// The address itself.
    #[inline(always)]
    pub fn plain_ip(&self) -> NetIp {
        NetIp::from_v4_bits(self.ip ^ MAGIC_COOKIE)
    }

    /// What the value adds to a sum.
    #[inline(always)]
    pub fn sum(&self) -> u64 {
        self.head_sum() + checksum::word(self.ip)
    }
}

impl XorAddress<[u32; 4]> {
    /// For an IPv6 address.
    #[inline(always)]
    pub fn new(of: &Endpoint, id: &TransactionId) -> Self {
        let NetIp(ip) = of.ip.xor(&mask(id));
        Self { zero: 0, family: family::V6, port: xor_port(of.port), ip }
    }

    /// The address itself.
    #[inline(always)]
    pub fn plain_ip(&self, id: &TransactionId) -> NetIp {
        NetIp(self.ip).xor(&mask(id))
    }

    /// What the value adds to a sum.
    #[inline(always)]
    pub fn sum(&self) -> u64 {
        self.head_sum() + checksum::words(&{ self.ip })
    }
}

/// A port as it stands in such a value, and back.
#[inline(always)]
pub const fn xor_port(port: Be16) -> Be16 {
    Be16::new(port.get() ^ (u32::from_be(MAGIC_COOKIE) >> 16) as u16)
}

/// What an IPv6 address is XORed with in such a value; IPv4 takes the first word.
#[inline(always)]
pub const fn mask(id: &TransactionId) -> NetIp {
    NetIp([MAGIC_COOKIE, id[0], id[1], id[2]])
}

/// Everything of a Data indication before the data.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct DataHead<Ip: Copy> {
    /// The message's header.
    pub stun: Stun,
    /// XOR-PEER-ADDRESS.
    pub peer: Attribute,
    /// Its value.
    pub address: XorAddress<Ip>,
    /// DATA.
    pub data: Attribute,
}

// SAFETY: packed, integers only.
unsafe impl Header for Stun {}
// SAFETY: packed, integers only.
unsafe impl Header for Attribute {}
// SAFETY: packed, integers only.
unsafe impl Header for XorAddress<u32> {}
// SAFETY: packed, integers only.
unsafe impl Header for XorAddress<[u32; 4]> {}
// SAFETY: packed, integers only.
unsafe impl Header for DataHead<u32> {}
// SAFETY: packed, integers only.
unsafe impl Header for DataHead<[u32; 4]> {}
