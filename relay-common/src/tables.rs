//! The names and shapes of the tables that the XDP program and userspace share.
//!
//! Every table but the counters and the device map is an array that userspace maps into its memory
//! (`BPF_F_MMAPABLE`, kernel 5.5): installing a binding costs no system call.

use core::ops::AddAssign;

use crate::addr::{Be16, NetIp};
use crate::flow::HashSeed;
use crate::meter::Limit;

/// The version of all layouts here; part of the path that tables are pinned under.
pub const LAYOUT: u32 = 1;

/// Array of [`Bucket`](crate::flow::Bucket): the index of the flow table. Its size is a power of two.
pub const FLOW_INDEX: &str = "FLOW_INDEX";
/// Array of [`FlowRecord`](crate::flow::FlowRecord).
pub const FLOWS: &str = "FLOWS";
/// Array of [`NextHop`](crate::next_hop::NextHop).
pub const NEXT_HOPS: &str = "NEXT_HOPS";
/// Array of [`Row`](crate::meter::Row). Row 0 is never used: it is all zeros, which limits nothing.
pub const METERS: &str = "METERS";
/// Hash of [`LocalKey`] to [`Local`]: what is ours, asked only for packets that no flow matched.
pub const LOCALS: &str = "LOCALS";
/// Hash of devices by interface index: where packets may be redirected.
pub const DEVICES: &str = "DEVICES";
/// Array of [`Interface`](crate::interface::Interface): the interfaces that the program is attached to.
pub const INTERFACES: &str = "INTERFACES";
/// Array of words, a cell of [`strangers`](crate::strangers) each: the buckets of the networks that strangers are of.
pub const STRANGERS: &str = "STRANGERS";
/// Longest-prefix-match table of [`NetIp`] to the index of a next hop: by which way what came from an address goes back.
/// 0, like no entry, is a way that only the kernel knows.
pub const WAYS_BACK: &str = "WAYS_BACK";
/// Array of one [`Controls`].
pub const CONTROLS: &str = "CONTROLS";
/// Per-CPU array of [`Count`], indexed by [`counter`](crate::interface::counter).
pub const COUNTERS: &str = "COUNTERS";
/// Name of the `.rodata` global of type [`SketchSeed`](crate::strangers::SketchSeed).
pub const STRANGERS_SEED: &str = "STRANGERS_SEED";
/// Name of the `.rodata` global of type [`Settings`].
pub const SETTINGS: &str = "SETTINGS";

/// What is fixed for the program's life.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Coefficients of the flow key hash.
    pub seed: HashSeed,
    /// Records of the flow table, without record 0, which is never used.
    pub records: u64,
    /// Buckets of the flow index less one.
    pub bucket_mask: u32,
    /// The first relayed port, host order. A packet to a port of the range comes from a peer, any other from a
    /// client: listeners are kept out of the range.
    pub first_port: u16,
    /// The last relayed port, host order.
    pub last_port: u16,
    /// Nanoseconds between two ticks of the kernel's timer; 0 where the program is to ask for the time instead.
    pub tick: u64,
    /// The time, in nanoseconds of CLOCK_MONOTONIC, when the kernel's counter of ticks (`jiffies64`) was zero; modulo 2^64.
    pub epoch: u64,
}

/// What may change while the program runs; zeros where nothing was said. Each field is read for itself: a packet may be
/// judged by the old value of one and the new value of another.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Controls {
    /// Of the requests without credentials of each network.
    pub strangers: Limit,
    /// Not zero where STUN Binding requests are answered by the program.
    pub answer_bindings: u64,
}

/// The key of [`LOCALS`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LocalKey {
    /// An address of this host.
    pub ip: NetIp,
    /// A listener's port, or zero for a relayed address.
    pub port: Be16,
    /// Always zero.
    pub zero: u16,
}

/// The value of [`LOCALS`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Local {
    /// Always one; the key's presence is what is asked.
    pub present: u32,
}

/// Packets and bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of the IP packets as they arrived (zero where the length is not known), in [`COUNTERS`]; bytes of data where an
    /// allocation or a flow is counted.
    pub bytes: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

/// A type whose value is its bytes: no padding, no pointers.
///
/// # Safety
/// The type is `repr(C)`, made of integers and arrays of them, and has no padding.
pub unsafe trait Plain: Copy + 'static {}

// SAFETY: integers only; the fields fill the type (asserted below or beside the type).
unsafe impl Plain for Settings {}
// SAFETY: as above.
unsafe impl Plain for crate::strangers::SketchSeed {}
// SAFETY: as above.
unsafe impl Plain for Controls {}
// SAFETY: as above.
unsafe impl Plain for LocalKey {}
// SAFETY: as above.
unsafe impl Plain for Local {}
// SAFETY: as above.
unsafe impl Plain for Count {}
// SAFETY: as above.
unsafe impl Plain for crate::flow::Bucket {}
// SAFETY: as above.
unsafe impl Plain for crate::flow::FlowRecord {}
// SAFETY: as above.
unsafe impl Plain for crate::next_hop::NextHop {}
// SAFETY: as above.
unsafe impl Plain for crate::interface::Interface {}

const _: () = assert!(size_of::<Settings>() == 8 * (crate::flow::KEY_WORDS + 1) + 32);
const _: () = assert!(size_of::<LocalKey>() == 20);

/// The bytes of a value, as a table holds them.
pub const fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: Plain says that every byte of the value is initialised.
    unsafe { core::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}
