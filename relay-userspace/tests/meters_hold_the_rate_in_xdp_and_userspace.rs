//! The arithmetic and the words that XDP and userspace take from together: what passes is the rate, to within 5 %
//! (lesson 41).

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use relay_common::meter::{Line, Row, Word, admit};
use turnpike::policy::Rate;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;
/// How far XDP's clock lags at most, at 250 Hz.
const TICK: u64 = 4_000_000;

fn add(word: &Word, value: u64) {
    word.0.fetch_add(value, Ordering::Relaxed);
}

/// As XDP counts.
fn by_xdp(line: &Line, now: u64, bytes: u64) -> bool {
    admit(&[line], now, bytes, add)
}

fn line(bytes: Option<Rate>, packets: Option<Rate>) -> Row {
    let row = Row::default();
    for (gauge, rate) in [(&row.to_peer.bytes, bytes), (&row.to_peer.packets, packets)] {
        if let Some(rate) = rate {
            gauge.set(rate.limit());
        }
    }
    row
}

/// A bucket of tokens, in parts of `1 / period`, so that nothing is rounded.
struct Model {
    units: u128,
    period: u128,
    full: u128,
    level: u128,
    at: u64,
}

impl Model {
    fn new(units: u64, period: u64, burst: u64) -> Self {
        let full = u128::from(burst) * u128::from(period);
        Self { units: units.into(), period: period.into(), full, level: full, at: START }
    }

    fn take(&mut self, now: u64, units: u64) -> bool {
        let dripped = u128::from(now - self.at) * self.units;
        (self.level, self.at) = ((self.level + dripped).min(self.full), now);
        let cost = u128::from(units) * self.period;
        let fits = cost <= self.level;
        if fits {
            self.level -= cost;
        }
        fits
    }
}

/// Rates from a unit an hour to 400 Gbit/s, in bytes, by their order of magnitude.
fn rates() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        (1..100_u64).prop_map(|units| (units, 3_600 * SECOND)),
        (0..36_u32, 0..1_u64 << 20).prop_map(|(bits, more)| {
            (((1_u64 << bits) + (more << bits >> 20)).min(50_000_000_000), SECOND)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of a flood that never ends, in datagrams of any length, what passes in any time is the burst and the rate to within
    /// 5 %; whoever counts, and as the exact bucket would.
    #[test]
    fn of_a_flood_the_rate_passes_and_no_more((units, period) in rates(), size in 1_000..1_500_u64, seed in 0..u64::MAX) {
        let burst = 10 * size;
        let rate = Rate::new(units, Duration::from_nanos(period), burst);
        let (row, mut model) = (line(Some(rate), None), Model::new(units, period, burst));
        let (mut now, mut passed, mut exact, mut random) = (START, 0, 0, seed);
        let each = (u128::from(size) * u128::from(period) / u128::from(units)) as u64;
        let mut step = 0_u64;
        while passed < 1_000 * size {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now += (random >> 8) % (2 * each) + 1;
            step += 1;
            let mut refused = 0;
            while refused < 3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let bytes = size - (random >> 32) % 100;
                let ok = if random >> 63 == 0 { by_xdp(&row.to_peer, now, bytes) } else { row.to_peer.take(now, bytes) };
                passed += bytes * u64::from(ok);
                refused += u64::from(!ok);
                exact += bytes * u64::from(model.take(now, bytes));
            }
            prop_assert!(step < 100_000, "nothing passes any more");
        }
        let allowed = burst as f64 + (now - START) as f64 * units as f64 / period as f64;
        let passed = passed as f64;
        prop_assert!(passed <= 1.05 * allowed, "{passed} of {allowed}");
        // What is left of the bucket, smaller than a datagram, is a 100th.
        prop_assert!(passed >= 0.95 * allowed, "{passed} of {allowed}");
        prop_assert!((passed / exact as f64 - 1.0).abs() < 0.05, "{passed}, and {exact} by the exact bucket");
    }

    /// Packets have a rate of their own; where both are limited, the stricter one holds.
    #[test]
    fn the_stricter_of_two_limits_holds(packets in 10..100_000_u64, bytes in 1_000..100_000_000_u64, size in 0..1_500_u64) {
        let second = Duration::from_secs(1);
        let row = line(Some(Rate::new(bytes, second, bytes.max(65_535))), Some(Rate::new(packets, second, packets)));
        let expected = packets.min(bytes.max(65_535).checked_div(size).unwrap_or(u64::MAX));
        let passed = (0..expected + 100).filter(|n| match n % 2 {
            0 => by_xdp(&row.to_peer, START, size),
            _ => row.to_peer.take(START, size),
        });
        // Each costs less than a nanosecond too little.
        let passed = passed.count() as u64;
        prop_assert!((expected..=expected + 1 + expected / 5_000).contains(&passed), "{passed} of {expected}");
        prop_assert!(by_xdp(&row.to_client, START, size), "the other direction has no limit here");
    }

    /// XDP's clock stands still for a tick, and userspace's does not. With bursts of a second, as all limits have that an
    /// operator sets, nobody can tell.
    #[test]
    fn a_clock_that_lags_by_a_tick_changes_nothing(rate in 50..3_000_u64, share in 0..=4_u64) {
        let row = line(None, Some(Rate::new(rate, Duration::from_secs(1), rate)));
        let (mut passed, seconds) = (0, 5);
        let step = SECOND / rate / 3;
        let mut n = 0;
        for now in (START..START + seconds * SECOND).step_by(step as usize) {
            n += 1;
            let ok = if n % 4 < share { by_xdp(&row.to_peer, now - now % TICK, 100) } else { row.to_peer.take(now, 100) };
            passed += u64::from(ok);
        }
        let allowed = rate + rate * seconds;
        prop_assert!(passed * 100 <= allowed * 105 && passed * 100 >= allowed * 95, "{} of {}", passed, allowed);
    }
}

/// Those that ask at the same moment may all pass, but all are counted.
#[test]
fn cpus_that_race_hold_the_rate_together() {
    const THREADS: u64 = 4;
    const STEPS: u64 = 1_000;
    let (rate, burst) = (20_000, 1_000);
    let row = line(None, Some(Rate::new(rate, Duration::from_secs(1), burst)));
    let (clock, start) = (AtomicU64::new(START), Barrier::new(THREADS as usize));
    let passed: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (row, clock, start) = (&row, &clock, &start);
                scope.spawn(move || {
                    let mut passed = 0;
                    for step in 0..STEPS {
                        // Two milliseconds later, and at once: 40 packets for all of them.
                        start.wait();
                        clock.fetch_max(START + step * 2_000_000, Ordering::Relaxed);
                        let now = clock.load(Ordering::Relaxed);
                        for _ in 0..60 {
                            let ok = if thread % 2 == 0 {
                                by_xdp(&row.to_peer, now, 1)
                            } else {
                                row.to_peer.take(now, 1)
                            };
                            passed += u64::from(ok);
                        }
                    }
                    passed
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let allowed = burst + rate * (STEPS - 1) * 2 / 1_000;
    // The last that raced may not have been paid for yet.
    assert!(passed <= allowed + THREADS, "{passed} of {allowed}");
    assert!(passed * 100 >= allowed * 95, "{passed} of {allowed}");
}

/// An allocation's line and its user's: one datagram counts in both or in none.
#[test]
fn what_one_of_several_lines_refuses_counts_for_none() {
    let second = Duration::from_secs(1);
    let own = line(None, Some(Rate::new(100, second, 100)));
    let user = line(Some(Rate::new(1_000, second, 1_000)), Some(Rate::new(50, second, 50)));
    let lines = [&own.to_peer, &user.to_peer];
    assert_eq!((0..1_000).filter(|_| admit(&lines, START, 100, add)).count(), 10, "by the user's bytes");
    assert_eq!((0..1_000).filter(|_| admit(&lines, START, 0, add)).count(), 40, "by the user's packets");
    assert_eq!((0..1_000).filter(|_| by_xdp(&own.to_peer, START, 0)).count(), 50, "what is left of its own");
}
