//! Meters: the rates that an allocation or a user keeps to, counted by XDP and userspace in the same words.
//!
//! A rate is one word, the time at which all that was taken will be paid for: the generic cell rate algorithm of ATM,
//! where that is the theoretical arrival time. What is taken moves it ahead by its cost; it may be ahead of the clock by
//! the burst.
//!
//! The clock is `CLOCK_MONOTONIC`. XDP reads the coarse one, which lags by up to a tick (4 ms at 250 Hz). Time that one
//! reader has not seen yet is no time lost or won, as the word only moves ahead: XDP refuses up to a tick early, and where
//! nothing was owed lets through up to a tick's worth more, once. Bursts are a second's worth, so neither matters.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering;

/// What units cost, in nanoseconds: a mantissa of 44 bits, and by how many bits it is to be shifted right, in the lowest
/// six. So 64 bits are enough to multiply a datagram's bytes by anything from 400 Gbit/s (0.02 ns a byte) to a unit in
/// four hours. Zero stands for no limit.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost(pub u64);

impl Cost {
    /// Most units that count at once; more cost no more. No datagram has as many bytes.
    pub const MOST_UNITS: u64 = 1 << 20;
    /// Bits of a mantissa.
    pub const MANTISSA_BITS: u32 = 44;
    /// The largest shift.
    pub const MOST_SHIFT: u32 = 40;

    /// `mantissa / 2^shift` nanoseconds a unit.
    pub const fn new(mantissa: u64, shift: u32) -> Self {
        Self(mantissa << 6 | shift as u64)
    }

    /// The cost of so many units. Rounded down: a burst that comes in single units is not cut short, and what passes in
    /// excess is less than a nanosecond's worth a datagram.
    #[inline(always)]
    pub const fn of(self, units: u64) -> u64 {
        let units = if units < Self::MOST_UNITS { units } else { Self::MOST_UNITS };
        units.wrapping_mul(self.0 >> 6) >> (self.0 & 0x3f)
    }
}

/// A rate, as a meter holds it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limit {
    /// Of a unit. Zero: there is no limit.
    pub cost: Cost,
    /// How far a word may be ahead of the clock, in nanoseconds.
    pub burst: u64,
}

impl Limit {
    /// Where a word stands that stood at `tat`, after `units` more. `None` when they do not fit.
    #[inline(always)]
    pub const fn advance(&self, tat: u64, now: u64, units: u64) -> Option<u64> {
        let from = if tat > now { tat } else { now };
        let next = from.saturating_add(self.cost.of(units));
        if next - now <= self.burst { Some(next) } else { None }
    }

    /// Takes `units` of a word, or nothing. Exact whatever the number of threads; not for XDP, as kernels before 5.18 have
    /// no compare-and-swap for BPF on arm64, and Rust none at all.
    #[cfg(not(target_arch = "bpf"))]
    pub fn take(&self, word: &AtomicU64, now: u64, units: u64) -> bool {
        // Relaxed: the word says all there is, no other memory depends on it.
        let advance = |tat| self.advance(tat, now, units);
        word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance).is_ok()
    }
}

/// A word that others read and write at the same time.
#[repr(transparent)]
#[derive(Default, Debug)]
pub struct Word(pub AtomicU64);

/// Relaxed: a word says all there is, no other memory depends on it.
#[cfg(not(target_arch = "bpf"))]
impl Word {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// The same: LLVM has no atomic loads and stores for BPF, where those of an aligned word are nothing less.
#[cfg(target_arch = "bpf")]
impl Word {
    #[inline(always)]
    fn get(&self) -> u64 {
        // SAFETY: this word, which is always initialised.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    #[inline(always)]
    fn set(&self, value: u64) {
        // SAFETY: this word, which is shared for writing too.
        unsafe { self.0.as_ptr().write_volatile(value) }
    }
}

/// A word with its limit.
#[repr(C)]
#[derive(Default, Debug)]
pub struct Gauge {
    tat: Word,
    cost: Word,
    burst: Word,
}

impl Gauge {
    /// Changes the limit; what was taken counts on. A reader may see the new cost with the old burst, for one packet.
    pub fn set(&self, limit: Limit) {
        self.burst.set(limit.burst);
        self.cost.set(limit.cost.0);
    }

    /// When all that was taken is paid for.
    pub fn full_at(&self) -> u64 {
        self.tat.get()
    }

    /// Takes `units`, or nothing: for userspace.
    #[cfg(not(target_arch = "bpf"))]
    pub fn take(&self, now: u64, units: u64) -> bool {
        self.limit().is_none_or(|limit| limit.take(&self.tat.0, now, units))
    }

    /// Gives back what was just taken.
    #[cfg(not(target_arch = "bpf"))]
    pub fn give_back(&self, units: u64) {
        self.tat.0.fetch_sub(self.cost().of(units), Ordering::Relaxed);
    }

    #[inline(always)]
    fn has_room(&self, now: u64, units: u64) -> bool {
        match self.limit() {
            Some(limit) => limit.advance(self.full_at(), now, units).is_some(),
            None => true,
        }
    }

    /// Counts what [`has_room`](Self::has_room) has let pass. CPUs that asked at the same moment may all have passed; all
    /// are counted, and what went beyond the burst is missing later. Only where several found that nothing was owed, one
    /// may count for all: then the rate was not used up.
    #[inline(always)]
    fn charge(&self, now: u64, units: u64, add: impl Fn(&Word, u64)) {
        let cost = self.cost();
        if cost.0 == 0 {
            return;
        }
        let cost = cost.of(units);
        if self.full_at() < now {
            self.tat.set(now.wrapping_add(cost));
        } else {
            add(&self.tat, cost);
        }
    }

    /// Takes a [`charge`](Self::charge) back.
    #[inline(always)]
    fn discharge(&self, units: u64, add: impl Fn(&Word, u64)) {
        add(&self.tat, self.cost().of(units).wrapping_neg());
    }

    #[inline(always)]
    fn cost(&self) -> Cost {
        Cost(self.cost.get())
    }

    #[inline(always)]
    fn limit(&self) -> Option<Limit> {
        let cost = self.cost();
        if cost.0 == 0 { None } else { Some(Limit { cost, burst: self.burst.get() }) }
    }
}

/// What is relayed in one direction: a cache line.
#[repr(C)]
#[derive(Default, Debug)]
pub struct Line {
    /// Bytes of data, as users sent it: without the headers of TURN, UDP and IP.
    pub bytes: Gauge,
    /// Datagrams.
    pub packets: Gauge,
    parent: Word,
    fill: Word,
}

impl Line {
    #[inline(always)]
    fn has_room(&self, now: u64, bytes: u64) -> bool {
        self.packets.has_room(now, 1) && self.bytes.has_room(now, bytes)
    }

    /// Counts a datagram that every line had room for.
    #[inline(always)]
    fn charge(&self, now: u64, bytes: u64, add: impl Fn(&Word, u64) + Copy) {
        self.packets.charge(now, 1, add);
        self.bytes.charge(now, bytes, add);
    }

    #[inline(always)]
    fn discharge(&self, bytes: u64, add: impl Fn(&Word, u64) + Copy) {
        self.packets.discharge(1, add);
        self.bytes.discharge(bytes, add);
    }

    /// Counts one more datagram of `bytes` if it may pass: for userspace.
    #[cfg(not(target_arch = "bpf"))]
    pub fn take(&self, now: u64, bytes: u64) -> bool {
        if !self.packets.take(now, 1) {
            return false;
        }
        let passed = self.bytes.take(now, bytes);
        if !passed {
            self.packets.give_back(1);
        }
        passed
    }

    /// Gives back what was just taken.
    #[cfg(not(target_arch = "bpf"))]
    pub fn give_back(&self, bytes: u64) {
        self.packets.give_back(1);
        self.bytes.give_back(bytes);
    }

    /// The number of the row that limits this one's owner together with others: of its user. 0 for none.
    #[inline(always)]
    pub fn parent(&self) -> u32 {
        self.parent.get() as u32
    }
}

/// The meter of an allocation or a user. Not aligned to a cache line by its type, as it is found among the words that
/// userspace maps; the table is, and so is each line in it.
#[repr(C)]
#[derive(Default, Debug)]
pub struct Row {
    /// Towards peers.
    pub to_peer: Line,
    /// Towards clients.
    pub to_client: Line,
}

/// The 64-bit words of a [`Row`].
pub const ROW_WORDS: usize = size_of::<Row>() / 8;

const _: () = assert!(size_of::<Row>() == 128 && size_of::<Line>() == 64);

impl Row {
    /// The row that these words are.
    pub fn of_words(words: &[AtomicU64; ROW_WORDS]) -> &Self {
        // SAFETY: a Row is `repr(C)` and nothing but as many AtomicU64, so it has their size and alignment.
        unsafe { &*words.as_ptr().cast() }
    }

    /// Both directions.
    pub fn lines(&self) -> [&Line; 2] {
        [&self.to_peer, &self.to_client]
    }

    /// Forgets all: no limits, no parent, nothing taken.
    pub fn clear(&self) {
        for line in self.lines() {
            for gauge in [&line.bytes, &line.packets] {
                gauge.set(Limit::default());
                gauge.tat.set(0);
            }
        }
        self.set_parent(0);
    }

    /// Has both directions keep to the limits of another row as well.
    pub fn set_parent(&self, number: u32) {
        for line in self.lines() {
            line.parent.set(number.into());
        }
    }
}

/// Whether a datagram of `bytes` may pass by the limits of all these lines, for XDP. If so, all have counted it; what one
/// refuses counts for none. `add` adds to a word that others add to: Rust has no atomic operation for BPF but loads and
/// stores.
#[inline(always)]
pub fn admit<const N: usize>(
    lines: &[&Line; N],
    now: u64,
    bytes: u64,
    add: impl Fn(&Word, u64) + Copy,
) -> bool {
    let mut room = true;
    let mut i = 0;
    while i < N {
        room &= lines[i].has_room(now, bytes);
        i += 1;
    }
    if !room {
        return false;
    }
    i = 0;
    while i < N {
        lines[i].charge(now, bytes, add);
        i += 1;
    }
    true
}

/// Has all these lines forget a datagram that [`admit`] has just had them count, because another relays it, who counts it.
#[inline(always)]
pub fn give_back<const N: usize>(lines: &[&Line; N], bytes: u64, add: impl Fn(&Word, u64) + Copy) {
    let mut i = 0;
    while i < N {
        lines[i].discharge(bytes, add);
        i += 1;
    }
}
