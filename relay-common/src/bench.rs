//! What the benchmark programs and the benches share.

use crate::tables::Plain;

/// The most flows that a bench cycles through.
pub const FLOWS: u32 = 65_536;

/// 64-bit words of a template: room for Ethernet, IPv6, UDP and a STUN message of one attribute.
pub const WORDS: usize = 12;

/// The start of a frame.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Template {
    /// Bytes of the whole frame.
    pub frame_len: u64,
    /// Its first bytes.
    pub words: [u64; WORDS],
}

// SAFETY: integers only; eight bytes each, so nothing is padded.
unsafe impl Plain for Template {}
