//! The tables and the settings. Their shapes are `relay_common`'s; their sizes are set when userspace loads the
//! object.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMapHash, HashMap, PerCpuArray};
use relay_common::flow::{Bucket, FlowRecord, KEY_WORDS};
use relay_common::interface::{self, Interface};
use relay_common::next_hop::NextHop;
use relay_common::tables::{Count, Local, LocalKey, Settings};

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
pub(crate) static INTERFACES: Array<Interface> = Array::with_max_entries(interface::ENTRIES, BPF_F_MMAPABLE);

#[map]
pub(crate) static COUNTERS: PerCpuArray<Count> =
    PerCpuArray::with_max_entries(interface::SLOTS * interface::REASONS, 0);

/// Written by the loader before the program is verified.
#[unsafe(no_mangle)]
static SETTINGS: Settings =
    Settings { seed: [0; KEY_WORDS + 1], bucket_mask: 0, first_port: 0, last_port: 0 };

/// The settings as loaded. Read word by word and volatile, or the compiler would fold in the zeros above.
#[inline(always)]
pub(crate) fn settings() -> Settings {
    macro_rules! load {
        ($($field:tt)+) => {
            // SAFETY: a field of a static that nobody writes while the program runs.
            unsafe { core::ptr::read_volatile(&raw const SETTINGS.$($field)+) }
        };
    }
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
        bucket_mask: load!(bucket_mask),
        first_port: load!(first_port),
        last_port: load!(last_port),
    }
}
