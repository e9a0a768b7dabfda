//! What the program is told of the interfaces that it is attached to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relay_common::interface::Interface;

use super::counters::{Counters, Totals};
use super::shared_map::{SharedWords, from_words, to_words};

const ENTRY_WORDS: usize = size_of::<Interface>() / 8;

/// The INTERFACES table.
///
/// Two interfaces whose indexes have the same low bits cannot both have an entry. The second does without: the program
/// takes it for [`Interface::UNKNOWN`], which is safe and a little slower, and counts its packets in slot 0.
pub(super) struct InterfaceTable {
    entries: SharedWords,
    counters: Arc<Counters>,
}

impl InterfaceTable {
    pub(super) fn new(entries: SharedWords, counters: Arc<Counters>) -> Self {
        Self { entries, counters }
    }

    /// Has an interface known by these flags, with counters of its own where a set is free.
    pub(super) fn set(&self, ifindex: u32, flags: u32) {
        self.write(Interface { ifindex, slot: self.counters.open(ifindex), flags, bond: 0 });
    }

    /// Has the members of a bond known by the bond's flags, index and counters, and no others.
    pub(super) fn set_members(&self, bond: u32, members: &[u32], flags: u32) {
        for &ifindex in members {
            self.write(Interface { ifindex, slot: self.counters.open(bond), flags, bond });
        }
        self.clear_members(bond, members);
    }

    fn write(&self, interface: Interface) {
        let ifindex = interface.ifindex;
        let words = self.words(ifindex);
        let old = read(words);
        if old.ifindex != ifindex && old.ifindex != 0 {
            tracing::debug!(
                ifindex,
                "no entry is left for this interface: another's index is too like its own"
            );
            return;
        }
        let new: [_; ENTRY_WORDS] = to_words(&interface);
        // The index last: whoever finds it finds the rest.
        words[1].store(new[1], Ordering::Relaxed);
        words[0].store(new[0], Ordering::Release);
    }

    fn clear_members(&self, bond: u32, except: &[u32]) {
        for words in self.entries.chunks_exact(ENTRY_WORDS) {
            let entry = read(words);
            if entry.ifindex != 0 && entry.bond == bond && !except.contains(&entry.ifindex) {
                words[0].store(0, Ordering::Relaxed);
            }
        }
    }

    /// Forgets an interface that the program has left, and its members if it was a bond.
    pub(super) fn clear(&self, ifindex: u32) {
        let words = self.words(ifindex);
        if read(words).ifindex == ifindex {
            words[0].store(0, Ordering::Relaxed);
        }
        self.clear_members(ifindex, &[]);
        self.counters.close(ifindex);
    }

    /// What an interface counted; `None` for one without counters of its own.
    pub(super) fn counted(&self, ifindex: u32) -> Option<Totals> {
        self.counters.of(ifindex)
    }

    fn words(&self, ifindex: u32) -> &[AtomicU64] {
        &self.entries[Interface::entry(ifindex) as usize * ENTRY_WORDS..][..ENTRY_WORDS]
    }
}

fn read(words: &[AtomicU64]) -> Interface {
    from_words::<_, ENTRY_WORDS>(&std::array::from_fn(|i| words[i].load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use relay_common::interface::{ENTRIES, SLOTS};

    use super::*;

    fn table() -> InterfaceTable {
        let bytes = ENTRIES as usize * size_of::<Interface>();
        InterfaceTable::new(SharedWords::private(bytes).unwrap(), Arc::new(Counters::of_nothing()))
    }

    /// As the program looks it up.
    fn found(table: &InterfaceTable, ifindex: u32) -> Interface {
        let interface = read(table.words(ifindex));
        if interface.ifindex == ifindex { interface } else { Interface::UNKNOWN }
    }

    #[test]
    fn an_interface_is_known_from_before_it_is_attached_until_it_is_left() {
        let table = table();
        assert_eq!(found(&table, 7), Interface::UNKNOWN);
        table.set(7, Interface::STRICT);
        assert_eq!(found(&table, 7), Interface { ifindex: 7, slot: 1, flags: Interface::STRICT, bond: 0 });
        table.set(7, 0);
        assert_eq!(found(&table, 7), Interface { ifindex: 7, slot: 1, flags: 0, bond: 0 });
        table.clear(7);
        assert_eq!(found(&table, 7), Interface::UNKNOWN);
    }

    #[test]
    fn members_of_a_bond_are_known_as_the_bond_until_they_leave_it() {
        let table = table();
        table.set(9, Interface::STRICT);
        table.set_members(9, &[3, 4], Interface::STRICT);
        let member = |ifindex| Interface { ifindex, slot: 1, flags: Interface::STRICT, bond: 9 };
        assert_eq!((found(&table, 3), found(&table, 4)), (member(3), member(4)));
        table.set_members(9, &[4], Interface::STRICT);
        assert_eq!((found(&table, 3), found(&table, 4)), (Interface::UNKNOWN, member(4)));
        table.clear(9);
        assert_eq!((found(&table, 9), found(&table, 4)), (Interface::UNKNOWN, Interface::UNKNOWN));
    }

    #[test]
    fn of_two_interfaces_with_one_entry_the_second_is_treated_with_all_care_and_takes_nothing_along() {
        let table = table();
        table.set(7, 0);
        table.set(7 + ENTRIES, 0);
        assert_eq!((found(&table, 7).slot, found(&table, 7 + ENTRIES)), (1, Interface::UNKNOWN));
        table.clear(7 + ENTRIES);
        assert_eq!(found(&table, 7).slot, 1);
        table.clear(7);
        table.set(7 + ENTRIES, 0);
        assert_eq!(found(&table, 7 + ENTRIES).flags, 0);
    }

    #[test]
    fn interfaces_beyond_the_slots_have_their_flags_and_share_the_first_slot() {
        let table = table();
        for ifindex in 1..SLOTS + 5 {
            table.set(ifindex, Interface::VIRTUAL);
        }
        let last = found(&table, SLOTS + 4);
        assert_eq!((last.ifindex, last.slot, last.flags), (SLOTS + 4, 0, Interface::VIRTUAL));
        table.clear(3);
        table.set(SLOTS + 4, Interface::VIRTUAL);
        assert_eq!(found(&table, SLOTS + 4).slot, 3);
    }
}
