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
pub const fn removed(w: u16) -> u64 {
    !w as u64
}

/// The same for words that add up to `sum`.
#[inline(always)]
pub const fn removed_words(sum: u32) -> u64 {
    !sum as u64
}

/// The checksum field after `delta` (a sum of words put in and [`removed`] words) is applied to the old field.
/// RFC 1624 equation 3: `HC' = ~(~HC + ~m + m')`.
#[inline(always)]
pub const fn update(field: u16, delta: u64) -> u16 {
    !fold(!field as u64 + delta)
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
        }
    }
}
