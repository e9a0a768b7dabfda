//! What the programs and we have in common: arrays in our memory, and what the sink counts.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use aya::maps::{MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, maps};
use relay_common::bench::FLOWS;
use relay_common::bench::traffic::{Expected, Outgoing, Plan, Progress, Tally};
use relay_common::tables::{Plain, bytes_of};
use turnpike::datapath::SharedWords;

/// The programs' arrays, in our memory.
pub(super) struct Tables {
    pub(super) outgoing: SharedWords,
    pub(super) expected: SharedWords,
    pub(super) plan: SharedWords,
    pub(super) progress: SharedWords,
}

impl Tables {
    /// Those of a loaded object.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            outgoing: map::<Outgoing>(ebpf, "OUTGOING", FLOWS)?,
            expected: map::<Expected>(ebpf, "EXPECTED", FLOWS)?,
            plan: map::<Plan>(ebpf, "PLAN", 1)?,
            progress: map::<Progress>(ebpf, "PROGRESS", 1)?,
        })
    }
}

/// A value of the sink that counts up.
pub(super) trait Counted: Sized {
    /// As it is now, over all CPUs.
    fn of(ebpf: &Ebpf) -> Result<Self>;
    /// By how much it is more than it was.
    fn since(&self, before: &Self) -> Self;
}

impl Counted for Tally {
    fn of(ebpf: &Ebpf) -> Result<Self> {
        let tallies = counters::<[u64; size_of::<Tally>() / 8]>(ebpf, "TALLY")?;
        let mut sum = Self::default();
        for words in tallies.get(&0, 0)?.iter() {
            let [arrived, reordered, late, pktgen, summed, faults @ ..] = words;
            sum.arrived += arrived;
            sum.reordered += reordered;
            sum.late += late;
            sum.pktgen += pktgen;
            sum.summed += summed;
            sum.faults.iter_mut().zip(faults).for_each(|(sum, fault)| *sum += fault);
        }
        Ok(sum)
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            arrived: self.arrived - before.arrived,
            reordered: self.reordered - before.reordered,
            late: self.late - before.late,
            pktgen: self.pktgen - before.pktgen,
            summed: self.summed - before.summed,
            faults: std::array::from_fn(|i| self.faults[i] - before.faults[i]),
        }
    }
}

pub(super) fn counters<'a, T: aya::Pod>(ebpf: &'a Ebpf, name: &str) -> Result<PerCpuArray<&'a MapData, T>> {
    let map = ebpf.map(name).with_context(|| format!("there is no table {name}"))?;
    Ok(PerCpuArray::try_from(map)?)
}

pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("there is no program {name}"))?.try_into()?)
}

/// An array of so many T, in our memory.
fn map<T: Plain>(ebpf: &Ebpf, name: &str, count: u32) -> Result<SharedWords> {
    let map = ebpf.map(name).with_context(|| format!("there is no table {name}"))?;
    let maps::Map::Array(data) = map else { bail!("{name} is no array") };
    SharedWords::of_map(data.fd().as_fd(), size_of::<T>() * count as usize)
        .with_context(|| format!("the table {name} cannot be mapped"))
}

pub(super) fn write<T: Plain>(table: &SharedWords, at: usize, value: &T) {
    use std::sync::atomic::Ordering::Relaxed;
    let words = &table[at * size_of::<T>() / 8..];
    for (word, bytes) in words.iter().zip(bytes_of(value).chunks_exact(8)) {
        word.store(u64::from_ne_bytes(std::array::from_fn(|i| bytes[i])), Relaxed);
    }
}

pub(super) fn read<T: Plain>(table: &SharedWords, at: usize) -> T {
    use std::sync::atomic::Ordering::Relaxed;
    let mut value = std::mem::MaybeUninit::<T>::uninit();
    let words = &table[at * size_of::<T>() / 8..][..size_of::<T>() / 8];
    for (i, word) in words.iter().enumerate() {
        // SAFETY: within the value, which is as many words long; unaligned, as T may be aligned to less.
        unsafe { value.as_mut_ptr().cast::<u64>().add(i).write_unaligned(word.load(Relaxed)) };
    }
    // SAFETY: all bytes were written (T's size is a multiple of eight in all tables here), and any are a valid T.
    unsafe { value.assume_init() }
}
