//! How the XDP program tells the time from the kernel's counter of ticks.
//!
//! Since ticks were made dynamic, the kernel adds to the counter (`jiffies64`) from CLOCK_MONOTONIC, one for each period of
//! the tick: the time of the last tick is the counter times the period, and what it was at zero. That is what
//! `bpf_ktime_get_coarse_ns` returns too, in 10 ns instead of one.

use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nix::time::{ClockId, clock_getres, clock_gettime};
use relay_common::tables::Settings;

const PROGRAM: &str = "turnpike_ticks";

/// How often a look is repeated that a tick fell into.
const LOOKS: usize = 100;

/// What the program is to know of ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TickClock {
    tick: u64,
    epoch: u64,
}

impl TickClock {
    /// Looks at the counter in this object's program. Where it does not keep time as it should, the program asks for the
    /// time instead. Takes ten ticks, 40 ms for most kernels.
    pub fn find(object: &[u8]) -> Self {
        let found = Counter::load(object).and_then(|mut counter| {
            let tick = nanos(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok()?);
            let first = counter.epoch(tick)?;
            std::thread::sleep(Duration::from_nanos(10 * tick));
            let second = counter.epoch(tick)?;
            // The coarse clock is of the moment when the tick was served, which may have been late: less than a period, as
            // for what is later the counter makes up. So the earlier of the two is the better one.
            let later = second.wrapping_sub(first) as i64;
            let epoch = if later < 0 { second } else { first };
            (later.unsigned_abs() < 2 * tick).then_some(Self { tick, epoch })
        });
        if found.is_none() {
            tracing::info!(
                "the kernel's ticks do not tell the time: XDP asks for it, which costs it 10 ns a packet"
            );
        }
        found.unwrap_or_default()
    }

    /// The settings with this clock.
    pub fn set(self, settings: Settings) -> Settings {
        Settings { tick: self.tick, epoch: self.epoch, ..settings }
    }
}

struct Counter(Ebpf);

impl Counter {
    fn load(object: &[u8]) -> Option<Self> {
        let mut ebpf = EbpfLoader::new().load(object).ok()?;
        let program: &mut Xdp = ebpf.program_mut(PROGRAM)?.try_into().ok()?;
        program.load().ok()?;
        Some(Self(ebpf))
    }

    /// The time when the counter was zero.
    fn epoch(&mut self, tick: u64) -> Option<u64> {
        let coarse = || clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).ok().map(nanos);
        (0..LOOKS).find_map(|_| {
            let before = coarse()?;
            let ticks = self.read()?;
            (coarse()? == before).then(|| before.wrapping_sub(ticks.wrapping_mul(tick)))
        })
    }

    fn read(&mut self) -> Option<u64> {
        // As short as a packet may be.
        let packet = [0; 64];
        let mut out = [0; 64];
        let program: &Xdp = self.0.program(PROGRAM)?.try_into().ok()?;
        let options =
            TestRunOptions { data_in: Some(&packet), data_out: Some(&mut out), ..TestRunOptions::new() };
        program.test_run(options).ok()?;
        out.first_chunk().copied().map(u64::from_ne_bytes)
    }
}

fn nanos(time: nix::sys::time::TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
