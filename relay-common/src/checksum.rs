//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are over 16-bit words as they lie in memory: one's complement addition is indifferent to byte order
//! (RFC 1071 section 2), so nothing is swapped.

/// Folds a running sum to 16 bits: of up to 65,536 words of 32 bits, so below 2^48. The first line leaves at most
/// 0x1_0000_fffe, the second 0x1fffe, the third 0xffff.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    debug_assert!(sum < 1 << 48);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The same in two lines for up to 65,536 words of 16 bits: the first leaves at most 0x1fffe.
#[inline(always)]
pub const fn fold_halves(sum: u32) -> u16 {
    debug_assert!(sum <= 0xffff_0000);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum of two words, folded.
#[inline(always)]
pub const fn add(a: u16, b: u16) -> u16 {
    let sum = a as u32 + b as u32;
    (sum + (sum >> 16)) as u16
}

/// Whether a sum that is not 0 [folds](fold) to 0xffff, as that of a range with its right checksum does: whether it is a
/// multiple of 0xffff. Of an odd divisor the multiples, and they alone, times its inverse modulo 2^64 are no more than the
/// largest quotient (Warren, "Hacker's Delight", section 10-17): one multiplication, where folding takes a dozen steps.
#[inline(always)]
pub const fn is_right(sum: u64) -> bool {
    const DIVISOR: u64 = 0xffff;
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    const { assert!(DIVISOR.wrapping_mul(INVERSE) == 1) };
    sum.wrapping_mul(INVERSE) <= u64::MAX / DIVISOR
}

/// What a 32-bit word of memory adds to a sum.
#[inline(always)]
pub const fn word(w: u32) -> u64 {
    w as u64
}

/// What the 16 bytes of an address add to a sum.
#[inline(always)]
pub const fn words(w: &[u32; 4]) -> u64 {
    w[0] as u64 + w[1] as u64 + w[2] as u64 + w[3] as u64
}

/// What taking a 16-bit word *out* of a checksummed range adds to the sum (RFC 1624 equation 3: `~m`).
#[inline(always)]
pub const fn removed(w: u16) -> u32 {
    !w as u32
}

/// The checksum field after `delta` (a sum of 16-bit words put in and [`removed`]) is applied to the old field.
/// RFC 1624 equation 3: `HC' = ~(~HC + ~m + m')`.
#[inline(always)]
pub const fn update(field: u16, delta: u32) -> u16 {
    !fold_halves(!field as u32 + delta)
}

/// A UDP checksum as it is sent: a computed zero goes out as all ones (RFC 768, RFC 8200 section 8.1), because zero
/// means "no checksum".
#[inline(always)]
pub const fn udp_field(field: u16) -> u16 {
    if field == 0 { 0xffff } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One's complement addition is addition modulo 0xffff that never turns a sum into zero.
    #[test]
    fn a_sum_folds_like_a_remainder() {
        let edges = [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff];
        for of_three in 0..edges.len().pow(3) {
            let [a, b, c] = [1, 6, 36].map(|place| edges[of_three / place % edges.len()]);
            let sum: u64 = a << 32 | b << 16 | c;
            let expected = match (sum % 0xffff) as u16 {
                0 if sum != 0 => 0xffff,
                remainder => remainder,
            };
            assert_eq!(fold(sum), expected, "{sum:#x}");
            if sum != 0 {
                assert_eq!(is_right(sum), expected == 0xffff, "{sum:#x}");
            }
            if sum <= 0xffff {
                assert!(edges.iter().all(|&e| add(sum as u16, e as u16) == fold(sum + e)), "{sum:#x}");
            }
            if sum <= 0xffff_0000 {
                assert_eq!(fold_halves(sum as u32), expected, "{sum:#x}");
            }
        }
    }
}
