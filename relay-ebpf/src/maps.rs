//! The tables and the settings. Their shapes are `relay_common`'s; their sizes are set when userspace loads the
//! object.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMapHash, HashMap, LpmTrie, PerCpuArray};
use relay_common::flow::{Bucket, FlowRecord, KEY_WORDS};
use relay_common::next_hop::NextHop;
use relay_common::reason::Reason;
use relay_common::strangers::{CELLS, ROWS, SketchSeed};
use relay_common::tables::{Controls, Count, Local, LocalKey, Settings};

#[map]
pub(crate) static FLOW_INDEX: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static FLOWS: Array<FlowRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static NEXT_HOPS: Array<NextHop> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static LOCALS: HashMap<LocalKey, Local> = HashMap::with_max_entries(1024, 0);

#[map]
pub(crate) static DEVICES: DevMapHash = DevMapHash::with_max_entries(64, 0);

#[map]
pub(crate) static COUNTERS: PerCpuArray<Count> = PerCpuArray::with_max_entries(Reason::COUNT as u32, 0);

#[map]
pub(crate) static STRANGERS: Array<u64> = Array::with_max_entries(ROWS as u32 * CELLS, 0);

#[map]
pub(crate) static WAYS_BACK: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static CONTROLS: Array<Controls> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Written by the loader before the program is verified.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    seed: [0; KEY_WORDS + 1],
    bucket_mask: 0,
    first_port: 0,
    last_port: 0,
    virtual_cards: 0,
    fill: 0,
};

/// A setting as loaded, word by word and volatile, or the compiler would fold in the zeros above.
macro_rules! load {
    ($($field:tt)+) => {
        // SAFETY: a field of a static that nobody writes while the program runs.
        unsafe { core::ptr::read_volatile(&raw const SETTINGS.$($field)+) }
    };
}

/// The settings that the hot path uses.
#[inline(always)]
pub(crate) fn settings() -> Settings {
    Settings {
        seed: [
            load!(seed[0]),
            load!(seed[1]),
            load!(seed[2]),
            load!(seed[3]),
            load!(seed[4]),
            load!(seed[5]),
            load!(seed[6]),
            load!(seed[7]),
            load!(seed[8]),
            load!(seed[9]),
            load!(seed[10]),
        ],
        // Read where it is used: rarely.
        bucket_mask: load!(bucket_mask),
        first_port: load!(first_port),
        last_port: load!(last_port),
        virtual_cards: load!(virtual_cards),
        fill: 0,
    }
}

/// Written by the loader before the program is verified.
#[unsafe(no_mangle)]
static STRANGERS_SEED: SketchSeed = [0; 4];

/// The seed of the strangers' table.
#[inline(always)]
pub(crate) fn strangers_seed() -> SketchSeed {
    // SAFETY: a static that nobody writes while the program runs; volatile for the same reason as the settings.
    unsafe { (&raw const STRANGERS_SEED).read_volatile() }
}

/// Whether packets may come from a virtual card.
#[inline(always)]
pub(crate) fn virtual_cards() -> bool {
    load!(virtual_cards) != 0
}
