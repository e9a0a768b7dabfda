//! Slots by what leads to them, without a copy of it: an allocation has its addresses already.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

use super::allocations::Slot;

/// A hash table of slots. Keyed with random keys: clients choose their ports, and could otherwise choose them to collide.
/// Nothing iterates over it, so no behaviour depends on those keys.
#[derive(Debug, Default)]
pub(super) struct SlotIndex {
    table: HashTable<Entry>,
    keys: RandomState,
}

/// With half of the hash, so that neither growing nor hardly any search looks at allocations that are not meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    hash: u32,
    slot: Slot,
}

impl Entry {
    /// The table takes its place from the lower bits and a tag from the upper ones.
    fn spread(&self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl SlotIndex {
    /// The slot that a key leads to: of those with its hash the one that `is_it` says yes to.
    pub(super) fn get(&self, key: &impl Hash, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let sought = self.entry(key, Slot::default());
        let found =
            self.table.find(sought.spread(), |entry| entry.hash == sought.hash && is_it(entry.slot))?;
        Some(found.slot)
    }

    /// Has a key, which led to no slot, lead to this one.
    pub(super) fn insert(&mut self, key: &impl Hash, slot: Slot) {
        let entry = self.entry(key, slot);
        self.table.insert_unique(entry.spread(), entry, Entry::spread);
    }

    /// Has a key lead to this slot no more.
    pub(super) fn remove(&mut self, key: &impl Hash, slot: Slot) {
        let entry = self.entry(key, slot);
        if let Ok(found) = self.table.find_entry(entry.spread(), |other| *other == entry) {
            found.remove();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn entry(&self, key: &impl Hash, slot: Slot) -> Entry {
        Entry { hash: self.keys.hash_one(key) as u32, slot }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_lead_to_their_slots_and_may_share_one() {
        let mut index = SlotIndex::default();
        let slots: Vec<_> = (0..10_000).map(Slot::nth).collect();
        for (key, &slot) in slots.iter().enumerate() {
            index.insert(&key, slot);
            index.insert(&(key, "again"), slot);
        }
        let found = |index: &SlotIndex, key: usize| index.get(&key, |slot| slot == slots[key]);
        assert!((0..10_000).all(|key| found(&index, key) == Some(slots[key])));
        for key in (0..10_000).step_by(2) {
            index.remove(&key, slots[key]);
        }
        assert!((0..10_000).all(|key| found(&index, key).is_some() == (key % 2 == 1)));
        let again = |key: usize| index.get(&(key, "again"), |slot| slot == slots[key]);
        assert!((0..10_000).all(|key| again(key) == Some(slots[key])));
        assert_eq!(index.len(), 15_000);
    }
}
