//! How often strangers are answered: userspace's table of [`relay_common::strangers`], which says why and how.

use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use relay_common::strangers::{CELLS, ROWS, SketchSeed, cell, hash, network};

use super::rate::Rate;
use crate::time::Timestamp;

/// Token buckets for all the networks of the Internet, in a table whose size never changes. Shared by all shards. XDP has one
/// like it for the requests themselves.
#[derive(Debug)]
pub struct Strangers {
    cells: Box<[AtomicU64]>,
    seed: SketchSeed,
}

impl Default for Strangers {
    /// Nobody has been answered yet.
    fn default() -> Self {
        let cells = iter::repeat_with(AtomicU64::default).take(ROWS * CELLS as usize).collect();
        Self { cells, seed: std::array::from_fn(|i| RandomState::new().hash_one(i)) }
    }
}

impl Strangers {
    /// Whether an answer that counts as `units` may go to this address now; if so, it is counted. Shards that ask at the
    /// same moment may each be granted the last one.
    pub fn admit(&self, rate: &Rate, now: Timestamp, to: IpAddr, units: u64) -> bool {
        let cells = self.cells_of(now, to);
        let least = cells.map(|cell| cell.load(Ordering::Relaxed)).into_iter().min().unwrap_or_default();
        let Some(next) = rate.limit().advance(least, now.0, units) else { return false };
        for cell in cells {
            // As [`relay_common::strangers::raised`], atomically.
            cell.fetch_max(next, Ordering::Relaxed);
        }
        true
    }

    fn cells_of(&self, now: Timestamp, ip: IpAddr) -> [&AtomicU64; ROWS] {
        let hash = hash(&self.seed, network(&ip.to_canonical().into()), now.0);
        std::array::from_fn(|row| &self.cells[cell(hash, row) as usize])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use relay_common::strangers::ROTATION;

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
        assert_ne!(cells(START), cells(START + Duration::from_nanos(ROTATION)));
    }
}
