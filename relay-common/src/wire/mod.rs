//! Headers as they lie on the wire. All are packed: they begin at any byte of a packet.

mod ethernet;
mod ip;
pub mod stun;
mod udp;

pub use ethernet::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, MAX_TAGS, VlanTag,
};
pub use ip::{Ipv4, Ipv6, is_extension, protocol};
pub use udp::{ChannelData, Udp};

/// A header: any bytes are a valid value, and it has no alignment.
///
/// # Safety
/// The type is `repr(C, packed)` and made of integers only.
pub unsafe trait Header: Copy {}

/// A 32-bit word as it lies in memory.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Word(pub u32);

// SAFETY: packed, integers only.
unsafe impl Header for Word {}
// SAFETY: as above.
unsafe impl<const WORDS: usize> Header for [Word; WORDS] {}

/// A frame that headers are read from. In BPF, every pointer that comes from here has been compared with the
/// packet's end, which is what the verifier asks for.
pub trait Frame {
    /// The header `offset` bytes into the frame; `None` when it does not lie in it whole.
    fn header<H: Header>(&self, offset: usize) -> Option<&H>;

    /// Bytes of the frame that headers are looked for in: all, or those of its first piece.
    fn frame_len(&self) -> usize;

    /// Whether the frame has so many bytes, whatever piece they lie in.
    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        len <= self.frame_len()
    }
}

/// A frame that headers are written to.
pub trait FrameMut {
    /// As [`Frame::header`], to write.
    fn header_mut<H: Header>(&mut self, offset: usize) -> Option<&mut H>;
}

impl Frame for [u8] {
    fn header<H: Header>(&self, offset: usize) -> Option<&H> {
        let bytes = self.get(offset..offset.checked_add(size_of::<H>())?)?;
        // SAFETY: `bytes` is as long as H, and a Header is valid for any bytes at any alignment.
        Some(unsafe { &*bytes.as_ptr().cast() })
    }

    fn frame_len(&self) -> usize {
        self.len()
    }
}

impl FrameMut for [u8] {
    fn header_mut<H: Header>(&mut self, offset: usize) -> Option<&mut H> {
        let bytes = self.get_mut(offset..offset.checked_add(size_of::<H>())?)?;
        // SAFETY: as for Frame; the borrow is unique.
        Some(unsafe { &mut *bytes.as_mut_ptr().cast() })
    }
}
