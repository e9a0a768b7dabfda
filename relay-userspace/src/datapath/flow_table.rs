//! The flow table in shared memory: how an entry is published and withdrawn so that a reader on another CPU sees a
//! whole record of the right key or none. Nothing here locks; each shard's writer
//! ([`FlowWriter`](super::flow_writer::FlowWriter)) owns the records it claimed and the entries it placed.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use relay_common::flow::{
    BUCKET_ENTRIES, Bucket, FlowRecord, HashSeed, RECORD_BITS, entry, home_bucket, likely_record,
    other_bucket, tag,
};
use relay_common::tables::Count;
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::shared_map::{SharedWords, from_words, to_words};
use crate::time::Timestamp;

const RECORD_WORDS: usize = size_of::<FlowRecord>() / 8;
const DEADLINE: usize = offset_of!(FlowRecord, deadline) / 8;
const PACKETS: usize = offset_of!(FlowRecord, packets) / 8;
const BYTES: usize = offset_of!(FlowRecord, bytes) / 8;
const NEXT_HOP: usize = offset_of!(FlowRecord, next_hop) / 8;
const GENERATION: usize = offset_of!(FlowRecord, generation) / 8;
const WAY_BACK: usize = offset_of!(FlowRecord, way_back) / 8;

/// How many bindings the tables can be made for: two records each, numbered in [`RECORD_BITS`] bits.
pub const MOST_BINDINGS: u32 = (1 << (RECORD_BITS - 1)) - 1;

/// A page: in a smaller index chance alone would fill a bucket.
const LEAST_BUCKETS: u32 = 64;

/// The dimensions of a flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableSize {
    /// Records, the unused record 0 among them.
    pub records: u32,
    /// Buckets of the index, a power of two.
    pub buckets: u32,
}

impl TableSize {
    /// Room for this many bindings (clamped to `1..=MOST_BINDINGS`), the index a quarter full at the most: then not one
    /// binding in a million finds both of its buckets full. At half it would be one in a thousand.
    pub fn for_bindings(bindings: u32) -> Self {
        let flows = 2 * bindings.clamp(1, MOST_BINDINGS);
        Self {
            records: flows + 1,
            buckets: (4 * flows).div_ceil(BUCKET_ENTRIES as u32).next_power_of_two().max(LEAST_BUCKETS),
        }
    }

    /// Records without record 0, as the program counts them.
    pub fn usable(self) -> u64 {
        u64::from(self.records) - 1
    }

    /// Bytes of the index.
    pub fn index_bytes(self) -> usize {
        self.buckets as usize * size_of::<Bucket>()
    }

    /// Bytes of the records.
    pub fn record_bytes(self) -> usize {
        self.records as usize * size_of::<FlowRecord>()
    }
}

/// How full the table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Occupancy {
    /// Bindings installed now.
    pub bindings: u64,
    /// The most that fit.
    pub capacity: u64,
    /// Bindings refused since the start, which stayed on the slow path.
    pub refused: u64,
    /// Those of them that found room when they were refreshed.
    pub promoted: u64,
}

/// Where an entry is in the index. Only the writer that placed the entry may withdraw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position(u32);

/// The index and the records.
#[derive(Debug)]
pub struct FlowTable {
    index: SharedWords,
    records: SharedWords,
    bucket_mask: u32,
    seed: HashSeed,
    claims: Claims,
    pub(super) bindings: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) promoted: AtomicU64,
}

impl FlowTable {
    /// A table over memory of the size's [`index_bytes`](TableSize::index_bytes) and
    /// [`record_bytes`](TableSize::record_bytes), all zeros. `seed` must be the program's.
    pub fn new(index: SharedWords, records: SharedWords, seed: HashSeed) -> Self {
        let buckets = index.len() / BUCKET_ENTRIES;
        let claims = Claims::new((records.len() / RECORD_WORDS) as u32);
        assert!(buckets.is_power_of_two(), "the flow index has {buckets} buckets");
        Self {
            index,
            records,
            bucket_mask: buckets as u32 - 1,
            seed,
            claims,
            bindings: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            promoted: AtomicU64::new(0),
        }
    }

    /// The coefficients of the key hash.
    pub fn seed(&self) -> &HashSeed {
        &self.seed
    }

    /// How many records there are, record 0 included.
    pub fn len(&self) -> u32 {
        (self.records.len() / RECORD_WORDS) as u32
    }

    /// Whether there is room for no binding at all.
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// How full it is.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            bindings: self.bindings.load(Ordering::Relaxed),
            capacity: u64::from(self.len().saturating_sub(1) / 2),
            refused: self.refused.load(Ordering::Relaxed),
            promoted: self.promoted.load(Ordering::Relaxed),
        }
    }

    /// Who has which record.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Where the program expects the record of a key with this hash.
    pub(super) fn likely_record(&self, hash: u64) -> u32 {
        likely_record(hash, u64::from(self.len()) - 1)
    }

    /// Writes all of a record that no entry names. The generation is odd while it is written and a new even number
    /// after; `value.generation` is ignored.
    pub(super) fn write(&self, record: u32, value: &FlowRecord) {
        let words = self.record(record);
        let old: FlowRecord = self.read(record);
        let mut new = *value;
        new.generation = old.generation | 1;
        words[GENERATION].store(to_words::<_, RECORD_WORDS>(&new)[GENERATION], Ordering::Relaxed);
        fence(Ordering::Release);
        for (i, word) in to_words::<_, RECORD_WORDS>(&new).into_iter().enumerate() {
            if i != GENERATION {
                words[i].store(word, Ordering::Relaxed);
            }
        }
        new.generation = new.generation.wrapping_add(1);
        words[GENERATION].store(to_words::<_, RECORD_WORDS>(&new)[GENERATION], Ordering::Release);
    }

    /// Makes a written record findable by the hash of its key. `None` when both buckets of the key are full, or when
    /// a living entry has the same tag: a reader takes the first entry with the tag, so one would hide the other.
    pub(super) fn publish(&self, hash: u64, record: u32) -> Option<Position> {
        let buckets = [home_bucket(hash, self.bucket_mask), other_bucket(hash, self.bucket_mask)];
        // An entry with tag 0 would be found among the empty ones, which have it too.
        if tag(hash) == 0 || self.has_tag(buckets, hash, None) {
            return None;
        }
        let new = entry(hash, record);
        let position = buckets
            .into_iter()
            .flat_map(Self::positions)
            .find(|&i| self.index[i].compare_exchange(0, new, Ordering::SeqCst, Ordering::SeqCst).is_ok())?;
        // Two writers may publish the same tag at the same moment. Both looked before; both look again, and with
        // sequential consistency at least one sees the other and withdraws.
        if self.has_tag(buckets, hash, Some(position)) {
            self.index[position].store(0, Ordering::SeqCst);
            return None;
        }
        Some(Position(position as u32))
    }

    /// Makes a record unfindable and dead: the entry goes first, so that nobody new finds it, then the deadline
    /// stops whoever already has.
    pub(super) fn withdraw(&self, position: Position, record: u32) {
        self.index[position.0 as usize].store(0, Ordering::SeqCst);
        self.set_deadline(record, Timestamp(0));
    }

    /// Moves a living record's deadline: one word.
    pub(super) fn set_deadline(&self, record: u32, deadline: Timestamp) {
        self.record(record)[DEADLINE].store(deadline.0, Ordering::Release);
    }

    /// Changes a living record's next hop: one word, whose other half is constant. For
    /// [`NextHops`](super::next_hop::NextHops) alone, under its lock.
    pub(super) fn set_next_hop(&self, record: u32, next_hop: u32) {
        const { assert!(offset_of!(FlowRecord, next_hop) % 8 == 4) };
        self.set_second_half(record, NEXT_HOP, next_hop);
    }

    /// Changes a living record's way back, as [`set_next_hop`](FlowTable::set_next_hop) does its next hop.
    pub(super) fn set_way_back(&self, record: u32, next_hop: u32) {
        const { assert!(offset_of!(FlowRecord, way_back) % 8 == 4) };
        self.set_second_half(record, WAY_BACK, next_hop);
    }

    fn set_second_half(&self, record: u32, word: usize, value: u32) {
        let word = &self.record(record)[word];
        let mut bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        bytes[4..].copy_from_slice(&value.to_ne_bytes());
        word.store(u64::from_ne_bytes(bytes), Ordering::Release);
    }

    /// What XDP has forwarded by a record: packets, and bytes of data.
    pub(super) fn forwarded(&self, record: u32) -> Count {
        let words = self.record(record);
        Count { packets: words[PACKETS].load(Ordering::Relaxed), bytes: words[BYTES].load(Ordering::Relaxed) }
    }

    /// A record as it is now; for the writer that owns it.
    pub(super) fn read(&self, record: u32) -> FlowRecord {
        let words = self.record(record);
        from_words::<_, RECORD_WORDS>(&std::array::from_fn(|i| words[i].load(Ordering::Relaxed)))
    }

    fn record(&self, record: u32) -> &[AtomicU64] {
        &self.records[record as usize * RECORD_WORDS..][..RECORD_WORDS]
    }

    fn positions(bucket: u32) -> std::ops::Range<usize> {
        let first = bucket as usize * BUCKET_ENTRIES;
        first..first + BUCKET_ENTRIES
    }

    fn has_tag(&self, buckets: [u32; 2], hash: u64, except: Option<usize>) -> bool {
        buckets
            .into_iter()
            .flat_map(Self::positions)
            .any(|i| Some(i) != except && tag(self.index[i].load(Ordering::SeqCst)) == tag(hash))
    }
}

#[cfg(test)]
pub(super) mod testing {
    use relay_common::flow::{FlowKey, find, record_of};

    use super::*;

    /// A table of its own memory.
    pub(in crate::datapath) fn private_table(bindings: u32) -> FlowTable {
        let size = TableSize::for_bindings(bindings);
        let seed = std::array::from_fn(|_| getrandom::u64().unwrap());
        FlowTable::new(
            SharedWords::private(size.index_bytes()).unwrap(),
            SharedWords::private(size.record_bytes()).unwrap(),
            seed,
        )
    }

    /// What a reader made of a key.
    #[derive(Debug, PartialEq)]
    pub(in crate::datapath) enum Seen {
        Nothing,
        Changed,
        Record(Box<FlowRecord>),
    }

    impl FlowTable {
        /// Looks a key up the way the XDP program does: buckets in order, the first tag, the generation before and
        /// after, the key in full.
        pub(in crate::datapath) fn look_up(&self, key: &FlowKey) -> Seen {
            let hash = key.hash(&self.seed);
            let bucket = |n| {
                let positions = Self::positions(n);
                Bucket(std::array::from_fn(|i| self.index[positions.start + i].load(Ordering::Acquire)))
            };
            let record = match find(&bucket(home_bucket(hash, self.bucket_mask)), hash) {
                0 => find(&bucket(other_bucket(hash, self.bucket_mask)), hash),
                record => record,
            };
            if record == 0 {
                return Seen::Nothing;
            }
            let generation = || self.record(record)[GENERATION].load(Ordering::Acquire) as u32;
            let before = generation();
            let value = self.read(record);
            fence(Ordering::Acquire);
            if before % 2 == 1 || generation() != before {
                return Seen::Changed;
            }
            if value.key != *key { Seen::Nothing } else { Seen::Record(Box::new(value)) }
        }

        /// Counts a packet as XDP does.
        pub(in crate::datapath) fn count(&self, record: u32, bytes: u64) {
            let words = self.record(record);
            words[PACKETS].fetch_add(1, Ordering::Relaxed);
            words[BYTES].fetch_add(bytes, Ordering::Relaxed);
        }

        /// Every record that an entry names.
        pub(in crate::datapath) fn named_records(&self) -> Vec<u32> {
            let entries = self.index.iter().map(|e| e.load(Ordering::SeqCst));
            entries.filter(|&e| e != 0).map(record_of).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::private_table;
    use super::*;

    #[test]
    fn the_default_tables_take_40_megabytes_not_800() {
        let size = TableSize::for_bindings(crate::datapath::DEFAULT_BINDINGS);
        assert_eq!(size.records, 262_145);
        assert_eq!(size.index_bytes(), 8 << 20);
        assert_eq!(size.record_bytes() >> 20, 32);
    }

    #[test]
    fn a_size_that_makes_no_sense_is_clamped() {
        assert_eq!(TableSize::for_bindings(0), TableSize::for_bindings(1));
        let most = TableSize::for_bindings(u32::MAX);
        assert!(most.records <= 1 << RECORD_BITS);
        for n in [1, 2, 3, 7, 1000, 65_535, 65_537, MOST_BINDINGS] {
            let size = TableSize::for_bindings(n);
            assert!(size.buckets.is_power_of_two());
            assert!(u64::from(size.buckets) * 2 >= u64::from(size.records - 1), "{n}: {size:?}");
        }
    }

    #[test]
    fn two_keys_with_one_tag_never_hide_each_other() {
        let table = private_table(100);
        let hash = 0x1234_5678_9abc_0000_u64;
        let first = table.publish(hash, 1).expect("an empty table has room");
        assert_eq!(table.publish(hash | 1, 2), None);
        table.withdraw(first, 1);
        assert!(table.publish(hash | 1, 2).is_some());
    }

    #[test]
    fn a_tag_of_zero_is_refused_because_it_looks_like_an_empty_entry() {
        assert_eq!(private_table(100).publish(0xff_ffff, 1), None);
    }

    #[test]
    fn the_generation_is_even_and_new_after_every_write() {
        let table = private_table(4);
        let mut seen = Vec::new();
        for _ in 0..5 {
            table.write(1, &FlowRecord::default());
            seen.push(table.read(1).generation);
        }
        assert_eq!(seen, [2, 4, 6, 8, 10]);
    }

    #[test]
    fn changing_the_next_hop_or_the_way_back_leaves_the_rest_of_its_word() {
        let table = private_table(4);
        let record = FlowRecord { ip_sum: 0x1234, meter: 9, ..FlowRecord::default() };
        table.write(1, &record);
        table.set_next_hop(1, 77);
        table.set_way_back(1, 78);
        assert_eq!(table.read(1), FlowRecord { next_hop: 77, way_back: 78, generation: 2, ..record });
    }
}
