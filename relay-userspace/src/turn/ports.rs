//! The pool of relayed ports: a bit for each port of each relay address, claimed and released without locks, so that
//! a port reserved on one core can be claimed on another. However few are left, none is searched for: sixteen more words
//! tell which words have any.

use std::collections::HashMap;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::seq::IteratorRandom;
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
    /// Which pools are of IPv4, and of IPv6.
    v4: Vec<usize>,
    v6: Vec<usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// How often an address is drawn that may turn out to be full. Beyond that all are looked at.
const DRAWS: usize = 4;

impl Ports {
    pub(super) fn new(addresses: &[RelayAddress], ports: &RangeInclusive<u16>) -> Self {
        let pools: Vec<_> = addresses.iter().map(|&address| (address, Pool::new(ports))).collect();
        let of = |family| {
            let numbered = pools.iter().enumerate();
            numbered.filter(|(_, (a, _))| Family::of(a.local) == family).map(|(i, _)| i).collect()
        };
        let (v4, v6) = (of(Family::V4), of(Family::V6));
        let by_address = pools.iter().enumerate().map(|(i, (a, _))| (a.local, i)).collect();
        Self { pools, v4, v6, by_address }
    }

    /// Takes a free port of an address of the wanted family. Both are random: a port that can be guessed helps an
    /// attacker to inject data (RFC 8656 section 7.2, RFC 6056). Each address that has such a port is as likely as
    /// any other, so that none becomes the neighbour that a full one overflows to.
    pub(super) fn claim(&self, family: Family, want: Want, rng: &mut impl Rng) -> Option<RelayAddr> {
        let of_family = if family == Family::V4 { &self.v4 } else { &self.v6 };
        if of_family.is_empty() {
            return None;
        }
        loop {
            let mut draws = iter::repeat_with(|| of_family[rng.random_range(0..of_family.len())]).take(DRAWS);
            let drawn = draws.find(|&pool| self.pools[pool].1.has(want));
            let able = || of_family.iter().copied().filter(|&pool| self.pools[pool].1.has(want));
            let chosen = drawn.or_else(|| able().choose(rng))?;
            // Otherwise another core has just taken the last one.
            let (address, pool) = &self.pools[chosen];
            if let Some(port) = pool.claim(want, rng) {
                return Some(RelayAddr(SocketAddr::new(address.local, port)));
            }
        }
    }

    /// Gives a port back.
    pub(super) fn release(&self, relayed: RelayAddr) {
        let pool = self.by_address.get(&relayed.0.ip()).expect("only claimed ports are released");
        self.pools[*pool].1.release(relayed.0.port());
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
    /// A bit for each of the words: set if it has a free port, and perhaps for a moment if it has none.
    not_full: Box<[AtomicU64]>,
}

const WORD: u16 = 64;
const EVEN: u64 = 0x5555_5555_5555_5555;

impl Pool {
    fn new(ports: &RangeInclusive<u16>) -> Self {
        let first_word = ports.start() / WORD;
        let words: Box<[AtomicU64]> = (first_word..=ports.end() / WORD)
            .map(|word| {
                let free = (0..WORD).filter(|bit| ports.contains(&(word * WORD + bit)));
                AtomicU64::new(free.fold(0, |bits, bit| bits | 1 << bit))
            })
            .collect();
        let bits = |words: &[AtomicU64]| {
            let free = words.iter().enumerate().filter(|(_, word)| word.load(Ordering::Relaxed) != 0);
            free.fold(0, |bits, (i, _)| bits | 1 << i).into()
        };
        let not_full = words.chunks(WORD.into()).map(bits).collect();
        Self { ports: ports.clone(), words, not_full }
    }

    fn has(&self, want: Want) -> bool {
        self.not_full(0).any(|index| want.among(self.words[index].load(Ordering::Relaxed)) != 0)
    }

    fn claim(&self, want: Want, rng: &mut impl Rng) -> Option<u16> {
        let start = rng.random_range(0..self.words.len());
        self.not_full(start).find_map(|index| {
            let bit = claim_in(&self.words[index], want, rng)?;
            self.note_if_full(index);
            Some((self.ports.start() / WORD + index as u16) * WORD + bit)
        })
    }

    fn release(&self, port: u16) {
        let (index, bit) = self.locate(port).expect("only claimed ports are released");
        let before = self.words[index].fetch_or(bit, Ordering::SeqCst);
        debug_assert_eq!(before & bit, 0, "port {port} was released twice");
        if before == 0 {
            let (of, bit) = self.note_of(index);
            of.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Clears the bit of a word without free ports. A port that is released between the look and the clearing has set the
    /// bit before it is cleared, so it is looked at once more.
    fn note_if_full(&self, index: usize) {
        let word = &self.words[index];
        if word.load(Ordering::SeqCst) == 0 {
            let (of, bit) = self.note_of(index);
            of.fetch_and(!bit, Ordering::SeqCst);
            if word.load(Ordering::SeqCst) != 0 {
                of.fetch_or(bit, Ordering::SeqCst);
            }
        }
    }

    fn note_of(&self, index: usize) -> (&AtomicU64, u64) {
        (&self.not_full[index / usize::from(WORD)], 1 << (index % usize::from(WORD)))
    }

    /// The words with free ports, from one on and round to it.
    fn not_full(&self, start: usize) -> impl Iterator<Item = usize> {
        let (first, bit) = (start / usize::from(WORD), start % usize::from(WORD));
        let count = self.not_full.len();
        (0..=count).flat_map(move |i| {
            let at = (first + i) % count;
            let upper = !0 << bit;
            let part = if i == 0 {
                upper
            } else if i == count {
                !upper
            } else {
                !0
            };
            let mut bits = self.not_full[at].load(Ordering::SeqCst) & part;
            iter::from_fn(move || {
                let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(at * usize::from(WORD) + lowest)
            })
        })
    }

    fn free(&self) -> usize {
        self.words.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    /// The word of a port and its bit there.
    fn locate(&self, port: u16) -> Option<(usize, u64)> {
        let index = usize::from((port / WORD).checked_sub(self.ports.start() / WORD)?);
        self.ports.contains(&port).then(|| (index, 1 << (port % WORD)))
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
    fn a_port_that_comes_back_while_the_last_ones_are_taken_is_never_lost() {
        let ports = ports(10_000..=10_127);
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let ports = &ports;
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(seed);
                    for _ in 0..5_000 {
                        let some: Vec<_> =
                            (0..40).filter_map(|_| ports.claim(Family::V4, Want::Any, &mut rng)).collect();
                        some.into_iter().for_each(|relayed| ports.release(relayed));
                    }
                });
            }
        });
        let mut rng = StdRng::seed_from_u64(9);
        let all = std::iter::from_fn(|| ports.claim(Family::V4, Want::Any, &mut rng));
        assert_eq!(all.count(), 128);
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
