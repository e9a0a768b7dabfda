//! How often strangers are answered.
//!
//! Anybody can send a request in somebody else's name, and the answer goes to that somebody. So answers to requests that
//! nobody has proved to be theirs are held to a rate for each network that they go to.

use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::rate::Rate;
use crate::time::Timestamp;

/// Cells that each prefix has, one in every row.
const ROWS: usize = 4;

/// Cells of a row. Four rows of 16,384 words take 512 KiB, for ever.
const CELLS: usize = 1 << 14;

/// How long a prefix keeps its cells.
const ROTATION: Duration = Duration::from_secs(600);

/// Token buckets for all the networks of the Internet, in a table whose size never changes. Shared by all shards.
///
/// A network is an IPv4 /24 or an IPv6 /56, as in the response rate limiting of DNS servers (BIND, Knot, NSD), which
/// has the same task: a flood towards one victim is as bad when it is spread over the addresses of its network.
///
/// The table is a count-min sketch of [buckets](super::Bucket): a prefix has a cell in each of four rows, picked by a
/// keyed hash, shares each with others, and is judged by the emptiest (the one least ahead of the clock). No cell
/// can be behind what its prefixes took, so none gets more than its rate. One that took little is turned away only when
/// all of its four cells are shared with busy ones: with 1,000 busy networks that hits one prefix in 80,000, and
/// these only until the cells are dealt out anew, ten minutes at most. Nobody outside knows the key, so nobody can
/// choose whom to share cells with.
#[derive(Debug)]
pub struct Strangers {
    cells: Box<[AtomicU64]>,
    keys: RandomState,
}

impl Default for Strangers {
    /// Nobody has been answered yet.
    fn default() -> Self {
        let cells = iter::repeat_with(AtomicU64::default).take(ROWS * CELLS).collect();
        Self { cells, keys: RandomState::new() }
    }
}

impl Strangers {
    /// Whether an answer that counts as `units` may go to this address now; if so, it is counted. Shards that ask at the
    /// same moment may each be granted the last one.
    pub fn admit(&self, rate: &Rate, now: Timestamp, to: IpAddr, units: u64) -> bool {
        let cells = self.cells_of(now, to);
        let least = cells.map(|cell| cell.load(Ordering::Relaxed)).into_iter().min().unwrap_or_default();
        let Some(next) = rate.advance(least, now, units) else { return false };
        for cell in cells {
            // Cells that are ahead already have been so by others' doing.
            cell.fetch_max(next, Ordering::Relaxed);
        }
        true
    }

    fn cells_of(&self, now: Timestamp, ip: IpAddr) -> [&AtomicU64; ROWS] {
        let rotation = now.0 / ROTATION.as_nanos() as u64;
        let hash = self.keys.hash_one((rotation, network(ip)));
        std::array::from_fn(|row| {
            let column = (hash >> (row as u32 * CELLS.ilog2())) as usize % CELLS;
            &self.cells[row * CELLS + column]
        })
    }
}

/// What the addresses of one network have in common; the top bit tells the families apart.
fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => (ip.to_bits() >> (128 - 56)) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn rate() -> Rate {
        Rate::new(10, Duration::from_secs(1), 100)
    }

    fn admitted(strangers: &Strangers, now: Timestamp, to: IpAddr, tries: usize) -> usize {
        (0..tries).filter(|_| strangers.admit(&rate(), now, to, 1)).count()
    }

    #[test]
    fn a_network_is_answered_as_often_as_the_rate_says_and_no_more() {
        let strangers = Strangers::default();
        assert_eq!(admitted(&strangers, START, ip("192.0.2.1"), 1_000), 100);
        assert_eq!(admitted(&strangers, START + Duration::from_secs(1), ip("192.0.2.1"), 1_000), 10);
        assert_eq!(admitted(&strangers, START + Duration::from_secs(20), ip("192.0.2.1"), 1_000), 100);
    }

    #[test]
    fn a_network_is_an_ipv4_24_or_an_ipv6_56() {
        let cases = [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "::ffff:192.0.2.77", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("2001:db8:0:100::1", "2001:db8:0:1ff:ffff::9", true),
            ("2001:db8:0:100::1", "2001:db8:0:200::1", false),
            // The same 24 bits, where an IPv6 network has them.
            ("192.0.2.1", "0:0:c000:200::1", false),
        ];
        for (a, b, same) in cases {
            let strangers = Strangers::default();
            assert_eq!(admitted(&strangers, START, ip(a), 1_000), 100);
            let left = admitted(&strangers, START, ip(b), 1_000);
            assert_eq!(left, if same { 0 } else { 100 }, "{a} and {b}");
        }
    }

    /// Whatever others do, no network gets more than its share, and hardly any is kept from it.
    #[test]
    fn busy_networks_hardly_ever_shut_another_one_out() {
        let strangers = Strangers::default();
        for busy in 0..1_000 {
            admitted(&strangers, START, Ipv4Addr::from_bits(0x0b00_0000 + (busy << 8)).into(), 200);
        }
        let honest = |n: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + (n << 80)));
        let got: Vec<_> = (0..2_000).map(|n| admitted(&strangers, START, honest(n), 1)).collect();
        let shut_out = got.iter().filter(|&&got| got == 0).count();
        assert!(shut_out <= 3, "{shut_out} of 2,000 were shut out by 1,000 busy networks");
    }

    #[test]
    fn who_shares_all_cells_with_busy_networks_does_so_for_ten_minutes_at_most() {
        let (strangers, rate) = (Strangers::default(), Rate::new(10, Duration::from_secs(1), 2));
        let honest = ip("2001:db8::1");
        // So many busy networks that every cell is taken.
        for network in 0..200_000 {
            let network = Ipv4Addr::from_bits(network << 8).into();
            (0..3).for_each(|_| _ = strangers.admit(&rate, START, network, 1));
        }
        assert!(!strangers.admit(&rate, START, honest, 1));
        assert!(strangers.admit(&rate, START + Duration::from_secs(1), honest, 1), "the flood is over");

        let cells = |now| strangers.cells_of(now, honest).map(std::ptr::from_ref);
        assert_eq!(cells(START), cells(START + Duration::from_secs(1)));
        assert_ne!(cells(START), cells(START + ROTATION));
    }
}
