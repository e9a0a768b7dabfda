//! The tables and the settings. Their shapes are `relay_common`'s; their sizes are set when userspace loads the
//! object.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMapHash, HashMap, LpmTrie, PerCpuArray};
use relay_common::flow::{Bucket, FlowRecord, KEY_WORDS};
use relay_common::interface::{self, Interface};
use relay_common::meter::Row;
use relay_common::next_hop::NextHop;
use relay_common::packet::Packet;
use relay_common::strangers::{CELLS, ROWS, SketchSeed};
use relay_common::tables::{Controls, Count, Local, LocalKey, Settings};

use crate::machine::opaque;

#[map]
pub(crate) static FLOW_INDEX: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static FLOWS: Array<FlowRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static NEXT_HOPS: Array<NextHop> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static METERS: Array<Row> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static LOCALS: HashMap<LocalKey, Local> = HashMap::with_max_entries(1024, 0);

#[map]
pub(crate) static DEVICES: DevMapHash = DevMapHash::with_max_entries(64, 0);

#[map]
pub(crate) static INTERFACES: Array<Interface> = Array::with_max_entries(interface::ENTRIES, BPF_F_MMAPABLE);

#[map]
pub(crate) static COUNTERS: PerCpuArray<Count> =
    PerCpuArray::with_max_entries(interface::SLOTS * interface::REASONS, 0);

/// What is known of the packet in hand. Not on the stack: that has no room for it beside all ways of a packet, and the
/// verifier would follow what it knows of each value there through all that comes after.
#[map]
pub(crate) static DESK: PerCpuArray<Desk> = PerCpuArray::with_max_entries(1, 0);

/// What lies there.
#[repr(C)]
pub(crate) struct Desk {
    pub(crate) packet: Packet,
    /// The record of the packet's key, and the one it leaves by: generation and number.
    pub(crate) found: [u64; 2],
}

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
    records: 0,
    bucket_mask: 0,
    first_port: 0,
    last_port: 0,
    tick: 0,
    epoch: 0,
};

/// The settings as loaded: each is read where it is needed.
#[inline(always)]
pub(crate) fn settings() -> &'static Settings {
    // Opaque, or the compiler would fold in the zeros above.
    let settings = opaque(&raw const SETTINGS as usize) as *const Settings;
    // SAFETY: the static, which nobody writes while the program runs.
    unsafe { &*settings }
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
