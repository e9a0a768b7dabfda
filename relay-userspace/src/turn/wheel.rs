//! The places of a hierarchical timing wheel: where a point in time lies, and which place is the first that is in use.
//!
//! | level | places | each | what lies there |
//! |---|---|---|---|
//! | 0 | 1,024 | 1 ns | what is in the microsecond of the clock |
//! | 1 | 1,024 | 1,024 ns | what is in the millisecond of the clock, and not above |
//! | 2 | 1,024 | 1.05 ms | what is in the second of the clock, and not above |
//! | ring | 4,096 | 1.07 s | all the rest: 73 minutes, and what is later waits in the last place for the next look |
//!
//! When the clock comes to a place, what lies there goes to finer ones, and from level 0 it is due. So every point in time is
//! told apart from every other, a timer goes at most three steps down before it is due (and one more for each 73 minutes), and
//! one that is moved before its last second goes none. What the clock has to do at once is what is due within the next
//! second: nothing is looked at that would not have to be ended then.

use crate::time::Timestamp;

/// A level tells so many bits apart.
const BITS: u32 = 10;
/// Levels below the ring.
const FINE: usize = 3;
/// What lies in one place of the ring has all but these bits in common.
const RING_SHIFT: u32 = BITS * FINE as u32;
const RING: usize = 4096;

/// How many places there are.
pub(super) const PLACES: usize = (FINE << BITS) + RING;

/// Which places are in use, and the clock that they are seen from. None of these lies before the clock.
#[derive(Debug)]
pub(super) struct Wheel {
    clock: u64,
    /// A bit for each place.
    used: [u64; PLACES / 64],
    /// For each level a bit for each of its words in `used` that has a bit.
    words: [u64; FINE + 1],
}

impl Default for Wheel {
    fn default() -> Self {
        Self { clock: 0, used: [0; PLACES / 64], words: [0; FINE + 1] }
    }
}

impl Wheel {
    pub(super) const fn clock(&self) -> Timestamp {
        Timestamp(self.clock)
    }

    /// Moves the clock on, to no later than the start of the first place in use; what lies there is to be placed anew.
    pub(super) fn advance(&mut self, to: Timestamp) {
        self.clock = self.clock.max(to.0);
    }

    /// The place of a point in time after the clock.
    pub(super) fn place_of(&self, at: Timestamp) -> usize {
        debug_assert!(at > self.clock());
        let differ = at.0 ^ self.clock;
        if differ >> RING_SHIFT == 0 {
            // The level of the highest bit that differs.
            let level = differ.ilog2() / BITS;
            ((level as usize) << BITS) + (at.0 >> (level * BITS)) as usize % (1 << BITS)
        } else {
            let turn = (at.0 >> RING_SHIFT).min((self.clock >> RING_SHIFT) + RING as u64 - 1);
            (FINE << BITS) + turn as usize % RING
        }
    }

    /// The earliest point in time that a place stands for, as seen from the clock.
    pub(super) fn start_of(&self, place: usize) -> Timestamp {
        let level = (place >> BITS).min(FINE);
        let nth = (place - (level << BITS)) as u64;
        let shift = level as u32 * BITS;
        let now = self.clock >> shift;
        let number = if level == FINE {
            now + (nth.wrapping_sub(now) % RING as u64)
        } else {
            now >> BITS << BITS | nth
        };
        Timestamp(number << shift)
    }

    /// The place in use that the clock comes to first.
    pub(super) fn first(&self) -> Option<usize> {
        let level = self.words.iter().position(|&words| words != 0)?;
        let base = level << BITS >> 6;
        if level == FINE {
            // Where the clock is nothing lies; what is before that in the ring comes after its end.
            let here = (self.clock >> RING_SHIFT) as usize % RING;
            let ahead = self.used[base + here / 64] & u64::MAX << (here % 64);
            if ahead != 0 {
                return Some((base + here / 64) * 64 + ahead.trailing_zeros() as usize);
            }
            let later = self.words[level] & (u64::MAX << (here / 64)) << 1;
            if later != 0 {
                return Some(self.first_in(base + later.trailing_zeros() as usize));
            }
        }
        Some(self.first_in(base + self.words[level].trailing_zeros() as usize))
    }

    fn first_in(&self, word: usize) -> usize {
        word * 64 + self.used[word].trailing_zeros() as usize
    }

    /// Something lies in a place now, or nothing any more.
    pub(super) fn set_used(&mut self, place: usize, used: bool) {
        let (word, bit) = (place / 64, 1 << (place % 64));
        let level = (place >> BITS).min(FINE);
        let word_bit = 1 << (word - (level << BITS >> 6));
        if used {
            self.used[word] |= bit;
            self.words[level] |= word_bit;
        } else {
            self.used[word] &= !bit;
            if self.used[word] == 0 {
                self.words[level] &= !word_bit;
            }
        }
    }
}
