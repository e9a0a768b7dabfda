//! The flow table's lookup: hash, bucket, record, whole key, with few flows (all in the caches) and with many at random.

use std::hint::black_box;

use criterion::Criterion;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use relay_common::flow::{self, Bucket, FlowKey, FlowRecord, HashSeed};
use turnpike_bench::templates;

/// A table as XDP sees it.
struct Table {
    index: Vec<Bucket>,
    records: Vec<FlowRecord>,
    seed: HashSeed,
}

/// Measures it.
pub(crate) fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_table");
    for (family, ends) in [("v4", templates::V4), ("v6", templates::V6)] {
        let key = FlowRecord::client_to_peer(&templates::path_of(ends, 0)).key;
        let seed = Table::new(templates::V4, 1).seed;
        group.bench_function(format!("hash/{family}"), |b| b.iter(|| black_box(&key).hash(black_box(&seed))));
    }
    for flows in [64, 65_536] {
        let table = Table::new(templates::V4, flows);
        let mut keys: Vec<FlowKey> = table.records[1..].iter().map(|record| record.key).collect();
        keys.shuffle(&mut StdRng::seed_from_u64(2));
        assert!(keys.iter().all(|key| table.look_up(key).is_some_and(|record| record.key == *key)));
        let mut next = keys.iter().cycle();
        group.bench_function(format!("lookup/{flows}"), |b| {
            b.iter(|| table.look_up(black_box(next.next().expect("it has no end"))));
        });
    }
    group.finish();
}

impl Table {
    /// One with this many flows, both directions of a channel each, an eighth full.
    fn new(ends: templates::Ends, flows: u32) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let seed: HashSeed = std::array::from_fn(|_| random.random());
        let buckets = (2 * flows).next_power_of_two();
        let mut table = Self {
            index: vec![Bucket::default(); buckets as usize],
            records: vec![FlowRecord::default()],
            seed,
        };
        for path in (0..flows).map(|flow| templates::path_of(ends, flow)) {
            table.insert(FlowRecord::client_to_peer(&path));
            table.insert(FlowRecord::peer_to_client(&path));
        }
        table
    }

    fn mask(&self) -> u32 {
        self.index.len() as u32 - 1
    }

    fn insert(&mut self, record: FlowRecord) {
        let hash = record.key.hash(&self.seed);
        let entry = flow::entry(hash, self.records.len() as u32);
        let (home, other) = (flow::home_bucket(hash, self.mask()), flow::other_bucket(hash, self.mask()));
        let free = [home, other].into_iter().find_map(|bucket| {
            let place = self.index[bucket as usize].0.iter().position(|entry| *entry == 0)?;
            Some((bucket as usize, place))
        });
        let (bucket, place) = free.expect("room");
        self.index[bucket].0[place] = entry;
        self.records.push(record);
    }

    fn look_up(&self, key: &FlowKey) -> Option<&FlowRecord> {
        let hash = key.hash(&self.seed);
        let in_bucket = |bucket| flow::find(&self.index[bucket as usize], hash);
        let number = match in_bucket(flow::home_bucket(hash, self.mask())) {
            0 => in_bucket(flow::other_bucket(hash, self.mask())),
            number => number,
        };
        self.records.get(number as usize).filter(|record| record.key == *key)
    }
}
