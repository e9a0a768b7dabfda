//! The pool of relayed ports: a bit for each port of each relay address, claimed and released without locks, so that
//! a port reserved on one core can be claimed on another.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngExt};

use super::family::Family;
use super::types::{RelayAddr, RelayAddress};

/// What a client asks of the port (RFC 8656 section 7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// Any port.
    Any,
    /// EVEN-PORT with R = 0.
    Even,
    /// EVEN-PORT with R = 1: an even port together with the next one, which is reserved.
    Pair,
}

impl Want {
    /// Those of a word's free ports that may be taken.
    const fn among(self, free: u64) -> u64 {
        match self {
            Self::Any => free,
            Self::Even => free & EVEN,
            Self::Pair => free & (free >> 1) & EVEN,
        }
    }
}

/// The ports of all relay addresses.
#[derive(Debug)]
pub(super) struct Ports {
    pools: Vec<(RelayAddress, Pool)>,
}

impl Ports {
    pub(super) fn new(addresses: &[RelayAddress], ports: &RangeInclusive<u16>) -> Self {
        Self { pools: addresses.iter().map(|&address| (address, Pool::new(ports))).collect() }
    }

    /// Takes a free port of an address of the wanted family. Both are random: a port that can be guessed helps an
    /// attacker to inject data (RFC 8656 section 7.2, RFC 6056). Each address that has such a port is as likely as
    /// any other, so that none becomes the neighbour that a full one overflows to.
    pub(super) fn claim(&self, family: Family, want: Want, rng: &mut impl Rng) -> Option<RelayAddr> {
        loop {
            let able = self
                .pools
                .iter()
                .filter(|(address, pool)| Family::of(address.local) == family && pool.has(want));
            // Reservoir sampling: the n-th takes the place of those before it with probability 1/n.
            let mut chosen = None;
            for (n, candidate) in (1_u32..).zip(able) {
                if n == 1 || rng.random_range(0..n) == 0 {
                    chosen = Some(candidate);
                }
            }
            let (address, pool) = chosen?;
            // Otherwise another core has just taken the last one.
            if let Some(port) = pool.claim(want, rng) {
                return Some(RelayAddr(SocketAddr::new(address.local, port)));
            }
        }
    }

    /// Gives a port back.
    pub(super) fn release(&self, relayed: RelayAddr) {
        let pool = self.pools.iter().find(|(address, _)| address.local == relayed.0.ip());
        let (_, pool) = pool.expect("only claimed ports are released");
        pool.release(relayed.0.port());
    }

    /// How many ports are free, over all addresses.
    pub(super) fn free(&self) -> usize {
        self.pools.iter().map(|(_, pool)| pool.free()).sum()
    }
}

/// The ports of one address. A set bit is a free port.
#[derive(Debug)]
struct Pool {
    ports: RangeInclusive<u16>,
    /// The first word holds the range's first port; words are aligned to 64 ports, so an even port and its
    /// successor always share one.
    words: Box<[AtomicU64]>,
}

const WORD: u16 = 64;
const EVEN: u64 = 0x5555_5555_5555_5555;

impl Pool {
    fn new(ports: &RangeInclusive<u16>) -> Self {
        let first_word = ports.start() / WORD;
        let words = (first_word..=ports.end() / WORD)
            .map(|word| {
                let free = (0..WORD).filter(|bit| ports.contains(&(word * WORD + bit)));
                AtomicU64::new(free.fold(0, |bits, bit| bits | 1 << bit))
            })
            .collect();
        Self { ports: ports.clone(), words }
    }

    fn has(&self, want: Want) -> bool {
        self.words.iter().any(|word| want.among(word.load(Ordering::Relaxed)) != 0)
    }

    fn claim(&self, want: Want, rng: &mut impl Rng) -> Option<u16> {
        let start = rng.random_range(0..self.words.len());
        (0..self.words.len()).find_map(|i| {
            let index = (start + i) % self.words.len();
            let bit = claim_in(&self.words[index], want, rng)?;
            Some((self.ports.start() / WORD + index as u16) * WORD + bit)
        })
    }

    fn release(&self, port: u16) {
        let (word, bit) = self.locate(port).expect("only claimed ports are released");
        let before = word.fetch_or(bit, Ordering::AcqRel);
        debug_assert_eq!(before & bit, 0, "port {port} was released twice");
    }

    fn free(&self) -> usize {
        self.words.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    fn locate(&self, port: u16) -> Option<(&AtomicU64, u64)> {
        let index = usize::from((port / WORD).checked_sub(self.ports.start() / WORD)?);
        self.ports.contains(&port).then(|| (&self.words[index], 1 << (port % WORD)))
    }
}

/// Takes a random suitable bit of one word; another core may take bits at the same time.
fn claim_in(word: &AtomicU64, want: Want, rng: &mut impl Rng) -> Option<u16> {
    let mut free = word.load(Ordering::Acquire);
    loop {
        let suitable = want.among(free);
        if suitable == 0 {
            return None;
        }
        let bit = nth_set_bit(suitable, rng.random_range(0..suitable.count_ones()));
        let taken = if want == Want::Pair { 0b11 << bit } else { 1 << bit };
        match word.compare_exchange_weak(free, free & !taken, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(bit as u16),
            Err(now) => free = now,
        }
    }
}

fn nth_set_bit(mut bits: u64, n: u32) -> u32 {
    for _ in 0..n {
        bits &= bits - 1;
    }
    bits.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn ports(range: RangeInclusive<u16>) -> Ports {
        let ip = IpAddr::from([192, 0, 2, 1]);
        Ports::new(&[RelayAddress { public: ip, local: ip }], &range)
    }

    #[test]
    fn every_port_of_an_odd_range_is_handed_out_once_and_comes_back() {
        let (ports, mut rng) = (ports(49_155..=49_400), StdRng::seed_from_u64(1));
        let claimed: HashSet<_> =
            std::iter::from_fn(|| ports.claim(Family::V4, Want::Any, &mut rng)).collect();
        assert_eq!(claimed.len(), 246);
        assert!(claimed.iter().all(|r| (49_155..=49_400).contains(&r.0.port())));
        assert_eq!(ports.free(), 0);
        claimed.iter().for_each(|&r| ports.release(r));
        assert_eq!(ports.free(), 246);
    }

    #[test]
    fn the_last_port_of_all_can_be_claimed() {
        let (ports, mut rng) = (ports(65_535..=65_535), StdRng::seed_from_u64(1));
        assert_eq!(ports.claim(Family::V4, Want::Any, &mut rng).map(|r| r.0.port()), Some(65_535));
        assert_eq!(ports.claim(Family::V4, Want::Any, &mut rng), None);
        assert_eq!(ports.claim(Family::V6, Want::Any, &mut rng), None);
    }

    #[test]
    fn a_pair_is_even_and_takes_its_successor() {
        let (ports, mut rng) = (ports(101..=106), StdRng::seed_from_u64(1));
        let mut pairs: Vec<_> = std::iter::from_fn(|| ports.claim(Family::V4, Want::Pair, &mut rng))
            .map(|relayed| relayed.0.port())
            .collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [102, 104], "106 has no successor in the range");
        assert_eq!(ports.claim(Family::V4, Want::Even, &mut rng).map(|r| r.0.port()), Some(106));
        assert_eq!(ports.claim(Family::V4, Want::Any, &mut rng).map(|r| r.0.port()), Some(101));
        assert_eq!(ports.free(), 0);
    }

    #[test]
    fn two_threads_never_get_the_same_port() {
        let ports = ports(10_000..=14_095);
        let claim_all = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            std::iter::from_fn(|| ports.claim(Family::V4, Want::Any, &mut rng)).collect::<Vec<_>>()
        };
        let (a, b) = std::thread::scope(|s| {
            let other = s.spawn(|| claim_all(1));
            (claim_all(2), other.join().unwrap())
        });
        let all: HashSet<_> = a.iter().chain(&b).collect();
        assert_eq!((all.len(), a.len() + b.len()), (4_096, 4_096));
    }

    fn mixed(range: RangeInclusive<u16>, locals: &[&str]) -> Ports {
        let address = |ip: &&str| ip.parse().map(|ip| RelayAddress { public: ip, local: ip }).unwrap();
        Ports::new(&locals.iter().map(address).collect::<Vec<_>>(), &range)
    }

    /// How many of `rounds` claims each address gets; every port goes back at once.
    fn shares(ports: &Ports, family: Family, want: Want, rounds: usize) -> Vec<(String, usize)> {
        let mut rng = StdRng::seed_from_u64(3);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..rounds {
            let relayed = ports.claim(family, want, &mut rng).unwrap();
            *counts.entry(relayed.0.ip().to_string()).or_default() += 1;
            ports.release(relayed);
            if want == Want::Pair {
                ports.release(RelayAddr(SocketAddr::new(relayed.0.ip(), relayed.0.port() + 1)));
            }
        }
        counts.into_iter().collect()
    }

    fn assert_even(shares: &[(String, usize)], addresses: usize, rounds: usize) {
        assert_eq!(shares.len(), addresses, "{shares:?}");
        let fair = rounds / addresses;
        assert!(shares.iter().all(|(_, n)| n.abs_diff(fair) < fair / 10), "{shares:?}");
    }

    #[test]
    fn the_addresses_of_a_family_get_equal_shares_wherever_they_stand_in_the_list() {
        let locals = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3", "192.0.2.2", "192.0.2.3"];
        let ports = mixed(50_000..=50_099, &locals);
        for want in [Want::Any, Want::Even, Want::Pair] {
            assert_even(&shares(&ports, Family::V4, want, 6_000), 3, 6_000);
            assert_even(&shares(&ports, Family::V6, want, 6_000), 3, 6_000);
        }
    }

    #[test]
    fn a_full_address_leaves_its_share_to_all_others_alike() {
        let ports =
            mixed(50_000..=50_003, &["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3", "192.0.2.4"]);
        let mut rng = StdRng::seed_from_u64(1);
        let full = &ports.pools[1].1;
        while full.claim(Want::Any, &mut rng).is_some() {}
        assert_even(&shares(&ports, Family::V4, Want::Any, 6_000), 3, 6_000);
        // An odd port is left there: good for anybody, not for a pair.
        full.release(50_001);
        assert_even(&shares(&ports, Family::V4, Want::Any, 6_000), 4, 6_000);
        assert_even(&shares(&ports, Family::V4, Want::Pair, 6_000), 3, 6_000);
    }
}
