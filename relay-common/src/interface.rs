//! What the program must know of the interface that a packet came in by, and whose counters it moves.

use crate::reason::Reason;

/// Entries of the table: a power of two.
pub const ENTRIES: u32 = 1024;

/// Sets of counters; an interface's slot names its own. Slot 0 is shared by those that have none.
pub const SLOTS: u32 = 32;

/// Counters of a slot: room for reasons to come, so that a slot's first counter is found by a shift.
pub const REASONS: u32 = 64;

/// An entry of [`INTERFACES`](crate::tables::INTERFACES), where an interface's index finds it by its low bits. Zeros
/// are nobody's: no interface has index 0.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interface {
    /// The kernel's index: another interface's with the same low bits finds that the entry is not its own.
    pub ifindex: u32,
    /// Its set of counters, less than [`SLOTS`].
    pub slot: u32,
    /// [`VIRTUAL`](Interface::VIRTUAL), [`STRICT`](Interface::STRICT), [`WHOLE`](Interface::WHOLE),
    /// [`VLANS`](Interface::VLANS).
    pub flags: u32,
    /// The kernel's index of the bond that it is a member of, zero for none. Routes and next hops name the bond, but a
    /// packet comes in by a member.
    pub bond: u32,
}

impl Interface {
    /// Packets may come from a virtual card, with a UDP checksum that nobody has finished: see
    /// [`Reason::UnfinishedChecksum`].
    pub const VIRTUAL: u32 = 1;

    /// The kernel takes a packet only if its sender is reached by this interface (`rp_filter` 1).
    pub const STRICT: u32 = 2;

    /// The interface is handed packets of other interfaces only whole: what came in pieces (a frame larger than a page)
    /// the kernel drops on the way there.
    pub const WHOLE: u32 = 4;

    /// VLANs stand on it, so that it matters whether a packet has a tag.
    pub const VLANS: u32 = 8;

    /// An interface without an entry of its own. Each flag makes the program more careful, so it has them all.
    pub const UNKNOWN: Interface = Interface {
        ifindex: 0,
        slot: 0,
        flags: Self::VIRTUAL | Self::STRICT | Self::WHOLE | Self::VLANS,
        bond: 0,
    };

    /// The number of the only entry that can be an interface's.
    #[inline(always)]
    pub const fn entry(ifindex: u32) -> u32 {
        ifindex & (ENTRIES - 1)
    }

    /// Whether it has this flag.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// The number of a slot's counter in [`COUNTERS`](crate::tables::COUNTERS).
#[inline(always)]
pub const fn counter(slot: u32, reason: Reason) -> u32 {
    slot.wrapping_mul(REASONS).wrapping_add(reason as u32)
}

const _: () = assert!(ENTRIES.is_power_of_two() && Reason::COUNT <= REASONS as usize);
const _: () = assert!(size_of::<Interface>() == 16);
