//! How often strangers are heard: the table of token buckets by network that XDP and userspace each have one of.
//!
//! Anybody can send a request in somebody else's name, and the answer goes to that somebody. So requests that nobody has
//! proved to be theirs, and the answers to them, are held to a rate for each network: an IPv4 /24 or an IPv6 /56, as in the response rate limiting of DNS servers (BIND, Knot, NSD), which
//! has the same task: a flood towards one victim is as bad when it is spread over the addresses of its network.
//!
//! The table is a count-min sketch: a network has a cell in each of four rows, picked by a keyed hash, shares each with
//! others, and is judged by the emptiest (the one least ahead of the clock). No cell can be behind what its networks
//! took, so none gets more than its rate. One that took little is turned away only when all of its four cells are shared
//! with busy ones: with 1,000 busy networks that hits one in 80,000, and these only until the cells are dealt out
//! anew, ten minutes at most. Nobody outside knows the key, so nobody can choose whom to share cells with.

use crate::addr::NetIp;

/// Cells that each network has, one in every row.
pub const ROWS: usize = 4;

/// Cells of a row. Four rows of 16,384 words take 512 KiB, for ever.
pub const CELLS: u32 = 1 << CELL_BITS;

const CELL_BITS: u32 = 14;

/// How long a network keeps its cells, in nanoseconds.
pub const ROTATION: u64 = 600_000_000_000;

/// Bytes of a request that counts once.
const LENGTH: u16 = 256;

/// Secret random coefficients of the hash that picks cells, drawn anew at every start.
pub type SketchSeed = [u64; 4];

/// For how many a request of so many bytes counts. A longer one counts as several, because its answer may be as long:
/// PADDING comes back, and a 420 lists what was not understood. So the rate is one of bytes too. An Allocate request
/// with all that RFC 8489 has takes about 200.
#[inline(always)]
pub const fn units(len: u16) -> u64 {
    len.div_ceil(LENGTH) as u64
}

/// What the addresses of one network have in common; the top bit tells the families apart.
#[inline(always)]
pub const fn network(ip: &NetIp) -> u64 {
    if ip.is_v4() {
        return (u32::from_be(ip.0[3]) >> 8) as u64;
    }
    let upper = (u32::from_be(ip.0[0]) as u64) << 32 | u32::from_be(ip.0[1]) as u64;
    upper >> (64 - 56) | 1 << 63
}

/// The hash of a network at a time, from which [`cell`] picks. Multilinear, with a bijection after it, like that of the
/// flow table: see [`FlowKey::hash`](crate::flow::FlowKey::hash).
#[inline(always)]
pub const fn hash(seed: &SketchSeed, network: u64, now: u64) -> u64 {
    let rotation = now / ROTATION;
    let mut h = seed[0];
    h = h.wrapping_add(seed[1].wrapping_mul(network & 0xffff_ffff));
    h = h.wrapping_add(seed[2].wrapping_mul(network >> 32));
    h = h.wrapping_add(seed[3].wrapping_mul(rotation & 0xffff_ffff));
    (h ^ h >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The number of a network's cell in a row, counted through all rows.
#[inline(always)]
pub const fn cell(hash: u64, row: usize) -> u32 {
    // The upper bits of a product are its best: four times 14 of 64, from the top.
    let column = (hash >> (64 - CELL_BITS * (row as u32 + 1))) as u32 & (CELLS - 1);
    row as u32 * CELLS + column
}

/// What a cell is to hold that held `at`, when its network's bucket now stands at `next`. Cells that are ahead already have
/// been so by others' doing.
///
/// XDP stores it as it is: a maximum takes a compare-and-swap, which kernels before 5.18 do not have for BPF on arm64 (as
/// for [`Limit::take`](crate::meter::Limit)). CPUs that give within the same tenth of a microsecond may count for one; userspace, which
/// hears what they let pass, counts exactly.
#[inline(always)]
pub const fn raised(at: u64, next: u64) -> u64 {
    if at > next { at } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_lie_in_their_rows() {
        for hash in [0, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            for row in 0..ROWS {
                assert_eq!(cell(hash, row) / CELLS, row as u32);
            }
        }
    }

    #[test]
    fn a_request_counts_once_for_each_256_bytes() {
        assert_eq!([20, 256, 257, 1500].map(units), [1, 1, 2, 6]);
    }
}
