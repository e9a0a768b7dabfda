//! The pool of relayed ports: a bit for each port of each relay address, claimed and released without locks, so that
//! a port reserved on one core can be claimed on another.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngExt};

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
    /// attacker to inject data (RFC 8656 section 7.2, RFC 6056).
    pub(super) fn claim(&self, ipv6: bool, want: Want, rng: &mut impl Rng) -> Option<RelayAddr> {
        let count = self.pools.len();
        let start = if count > 1 { rng.random_range(0..count) } else { 0 };
        (0..count)
            .map(|i| &self.pools[(start + i) % count])
            .filter(|(address, _)| address.local.is_ipv6() == ipv6)
            .find_map(|(address, pool)| {
                Some(RelayAddr(SocketAddr::new(address.local, pool.claim(want, rng)?)))
            })
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
        let suitable = match want {
            Want::Any => free,
            Want::Even => free & EVEN,
            Want::Pair => free & (free >> 1) & EVEN,
        };
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
        let claimed: HashSet<_> = std::iter::from_fn(|| ports.claim(false, Want::Any, &mut rng)).collect();
        assert_eq!(claimed.len(), 246);
        assert!(claimed.iter().all(|r| (49_155..=49_400).contains(&r.0.port())));
        assert_eq!(ports.free(), 0);
        claimed.iter().for_each(|&r| ports.release(r));
        assert_eq!(ports.free(), 246);
    }

    #[test]
    fn the_last_port_of_all_can_be_claimed() {
        let (ports, mut rng) = (ports(65_535..=65_535), StdRng::seed_from_u64(1));
        assert_eq!(ports.claim(false, Want::Any, &mut rng).map(|r| r.0.port()), Some(65_535));
        assert_eq!(ports.claim(false, Want::Any, &mut rng), None);
        assert_eq!(ports.claim(true, Want::Any, &mut rng), None);
    }

    #[test]
    fn a_pair_is_even_and_takes_its_successor() {
        let (ports, mut rng) = (ports(101..=106), StdRng::seed_from_u64(1));
        let mut pairs: Vec<_> = std::iter::from_fn(|| ports.claim(false, Want::Pair, &mut rng))
            .map(|relayed| relayed.0.port())
            .collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [102, 104], "106 has no successor in the range");
        assert_eq!(ports.claim(false, Want::Even, &mut rng).map(|r| r.0.port()), Some(106));
        assert_eq!(ports.claim(false, Want::Any, &mut rng).map(|r| r.0.port()), Some(101));
        assert_eq!(ports.free(), 0);
    }

    #[test]
    fn two_threads_never_get_the_same_port() {
        let ports = ports(10_000..=14_095);
        let claim_all = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            std::iter::from_fn(|| ports.claim(false, Want::Any, &mut rng)).collect::<Vec<_>>()
        };
        let (a, b) = std::thread::scope(|s| {
            let other = s.spawn(|| claim_all(1));
            (claim_all(2), other.join().unwrap())
        });
        let all: HashSet<_> = a.iter().chain(&b).collect();
        assert_eq!((all.len(), a.len() + b.len()), (4_096, 4_096));
    }
}
