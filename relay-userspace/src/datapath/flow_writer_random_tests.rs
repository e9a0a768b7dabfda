//! The flow writer in any order of operations, and beside a reader.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use relay_common::flow::FlowRecord;

use super::super::super::flow_table::testing::{Seen, private_table};
use super::{Attached, START, binding, permission, records, seen, writers};
use crate::datapath::FastPath;
use crate::time::Timestamp;
use crate::turn::Binding;

/// Every fourth is a permission.
fn any(shard: u8, n: u16) -> Binding {
    if n.is_multiple_of(4) { permission(shard, n) } else { binding(shard, n) }
}

#[test]
fn any_sequence_of_bind_extend_and_unbind_leaves_what_a_map_would_hold() {
    let table = Arc::new(private_table(256));
    let hops = Arc::new(Attached::default());
    let mut writers = writers(&table, &hops, 3);
    let mut model: HashMap<(usize, u16), u64> = HashMap::new();
    let mut rng = StdRng::seed_from_u64(1);
    let mut now = START;
    let (mut refused, mut promoted) = (0, 0);
    for step in 0..60_000_u64 {
        now = now + Duration::from_millis(rng.random_range(0..20));
        let (shard, n) = (rng.random_range(0..3_usize), rng.random_range(0..160_u16));
        let deadline = Timestamp(step + 1);
        let b = Binding { deadline, ..any(shard as u8, n) };
        match rng.random_range(0..5) {
            0 | 1 => match writers[shard].bind_at(&b, now) {
                Ok(()) => {
                    model.insert((shard, n), deadline.0);
                }
                Err(_) => {
                    refused += 1;
                    model.remove(&(shard, n));
                }
            },
            2 => {
                let known = model.contains_key(&(shard, n));
                writers[shard].extend_at(&b, now);
                if writers[shard].forwarded(b.id).is_some() {
                    model.insert((shard, n), deadline.0);
                    promoted += u64::from(!known);
                }
            }
            _ => {
                writers[shard].unbind_at(b.id, now);
                model.remove(&(shard, n));
            }
        }
        if step % 500 != 0 {
            continue;
        }
        for shard in 0..3 {
            for n in 0..160 {
                for flow in records(&any(shard as u8, n)) {
                    let want = model.get(&(shard, n)).map(|&deadline| FlowRecord { deadline, ..flow });
                    assert_eq!(seen(&table, &flow.key), want);
                }
            }
        }
        let named = table.named_records();
        assert_eq!(named.len(), 2 * model.len());
        assert_eq!(named.into_iter().collect::<HashSet<_>>(), *hops.0.lock().unwrap());
        assert_eq!(table.occupancy().bindings, model.len() as u64);
        assert_eq!((table.occupancy().refused, table.occupancy().promoted), (refused, promoted));
    }
    assert!(refused > 0 && promoted > 0, "the table never filled: the test is too tame");
}

/// The rest between two uses of a record is taken away here (each operation is a day after the last), so that records
/// change hands under the reader as fast as can be and only the generation protects it.
#[test]
fn a_reader_beside_busy_writers_never_sees_another_keys_record_or_half_of_one() {
    let table = Arc::new(private_table(12));
    let done = AtomicBool::new(false);
    let all: Vec<FlowRecord> =
        (0..2).flat_map(|s| (0..24).flat_map(move |n| records(&binding(s, n)))).collect();
    let give_up = std::time::Instant::now() + Duration::from_secs(20);
    std::thread::scope(|scope| {
        for (shard, mut writer) in writers(&table, &Arc::default(), 2).into_iter().enumerate() {
            let done = &done;
            scope.spawn(move || {
                let mut rng = StdRng::seed_from_u64(shard as u64);
                let mut now = START;
                while !done.load(Ordering::Relaxed) {
                    now = now + Duration::from_secs(86_400);
                    let b = binding(shard as u8, rng.random_range(0..24));
                    if writer.bind_at(&b, now).is_err() || rng.random() {
                        writer.unbind_at(b.id, now);
                    }
                }
            });
        }
        let (mut whole, mut changed) = (0, 0);
        while (whole < 300_000 || changed < 10) && std::time::Instant::now() < give_up {
            for want in &all {
                match table.look_up(&want.key) {
                    Seen::Nothing => {}
                    Seen::Changed => changed += 1,
                    Seen::Record(got) => {
                        whole += 1;
                        if (FlowRecord { deadline: 0, generation: 0, ..*got }) != *want {
                            done.store(true, Ordering::Relaxed);
                            panic!("looked for {want:?}, found {got:?}");
                        }
                    }
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(
            whole > 1000 && changed > 0,
            "{whole} whole, {changed} changed: the reader never met a writer"
        );
    });
}
