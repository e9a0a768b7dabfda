//! Frames for runs without a wire: the start of each, written anew before each run.

use crate::tables::Plain;

/// The most flows that a bench cycles through.
pub const FLOWS: u32 = 65_536;

/// Bytes of a template before its words: they begin where an untagged packet's IP header has its first bytes at a multiple of
/// eight from them, so that no field of a header lies in two.
pub const FIRST: usize = 6;

/// 64-bit words of a template: room for Ethernet, IPv6 and UDP headers and a Send indication's up to its data.
pub const WORDS: usize = 14;

/// Bytes that a template writes.
pub const WRITTEN: usize = FIRST + 8 * WORDS;

/// The start of a frame. Two cache lines.
#[repr(C, align(128))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Template {
    /// Bytes of the whole frame.
    pub frame_len: u64,
    /// Its first bytes, [`FIRST`] of these.
    pub first: [u16; 4],
    /// What comes then.
    pub words: [u64; WORDS],
}

impl Template {
    /// That of a frame which is at least as long as what a template writes.
    ///
    /// # Panics
    /// On a shorter one.
    pub fn of(frame: &[u8]) -> Self {
        let mut template = Self { frame_len: frame.len() as u64, ..Self::default() };
        let (first, words) = frame[..WRITTEN].split_at(FIRST);
        for (part, bytes) in template.first.iter_mut().zip(first.chunks_exact(2)) {
            *part = u16::from_ne_bytes([bytes[0], bytes[1]]);
        }
        for (word, bytes) in template.words.iter_mut().zip(words.chunks_exact(8)) {
            *word = u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i: usize| bytes[i]));
        }
        template
    }
}

// SAFETY: integers only; as many bytes as it is aligned to, so nothing is padded.
unsafe impl Plain for Template {}
