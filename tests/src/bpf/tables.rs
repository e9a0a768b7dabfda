//! The program's tables, copied from the kernel's.

use aya::Ebpf;
use aya::maps::{Array, DevMapHash, HashMap, LpmTrie, Map};
use relay_common::interface::{REASONS, SLOTS};
use relay_common::packet::Packet;
use relay_common::tables::{self, Count, LocalKey};

use super::memory::Memory;
use crate::xdp::Program;

/// A table: its values lie one behind the other in a region of their own, whose address stands for the table too.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) address: u64,
    rows: Rows,
    value_size: usize,
}

/// How a key names a row.
enum Rows {
    /// By the row's number, of so many.
    Numbered(usize),
    /// Row by row, the key.
    Keyed(Vec<Vec<u8>>),
    /// Row by row, the bits of the prefix that count, and the prefix.
    Prefixed(Vec<(u32, u128)>),
}

/// Copies the tables into regions of `memory`. Those of each CPU are as after the start: zeros.
pub(super) fn read(program: &Program, memory: &mut Memory) -> Vec<Table> {
    let ebpf = program.ebpf();
    let mut tables = Vec::new();
    let mut add = |name, rows, value_size, values| {
        tables.push(Table { name, address: memory.add(values), rows, value_size });
    };
    for name in [tables::FLOW_INDEX, tables::FLOWS, tables::NEXT_HOPS, tables::METERS, tables::INTERFACES] {
        let (rows, value_size) = shape(ebpf, name);
        let words = program.memory(name);
        let bytes =
            words.iter().flat_map(|word| word.load(std::sync::atomic::Ordering::Relaxed).to_le_bytes());
        add(name, Rows::Numbered(rows), value_size, bytes.collect());
    }
    // One row of an odd number of words: its memory ends within a page.
    let controls: [u64; 3] = Array::try_from(map(ebpf, tables::CONTROLS))
        .expect("an array of three words")
        .get(&0, 0)
        .expect("in range");
    add(tables::CONTROLS, Rows::Numbered(1), size_of_val(&controls), controls.map(u64::to_le_bytes).concat());
    let (rows, value_size) = shape(ebpf, tables::STRANGERS);
    add(tables::STRANGERS, Rows::Numbered(rows), value_size, vec![0; rows * value_size]);
    let rows = (SLOTS * REASONS) as usize;
    add(tables::COUNTERS, Rows::Numbered(rows), size_of::<Count>(), vec![0; rows * size_of::<Count>()]);
    // The packet and what was found for it, with room.
    let desk = size_of::<Packet>() + 64;
    add("DESK", Rows::Numbered(1), desk, vec![0; desk]);

    let locals = HashMap::<_, [u8; size_of::<LocalKey>()], u32>::try_from(map(ebpf, tables::LOCALS));
    let locals = locals.expect("a hash");
    let keys: Vec<_> = locals.keys().map(|key| key.expect("nobody writes it").to_vec()).collect();
    let values = 1u32.to_le_bytes().repeat(keys.len());
    add(tables::LOCALS, Rows::Keyed(keys), 4, values);

    let ways = LpmTrie::<_, [u8; 16], u32>::try_from(map(ebpf, tables::WAYS_BACK)).expect("a trie");
    let (prefixes, hops): (Vec<_>, Vec<_>) = ways
        .iter()
        .map(|row| row.expect("nobody writes it"))
        .map(|(key, hop)| ((key.prefix_len(), u128::from_be_bytes(key.data())), hop.to_le_bytes()))
        .unzip();
    add(tables::WAYS_BACK, Rows::Prefixed(prefixes), 4, hops.concat());

    let devices = DevMapHash::try_from(map(ebpf, tables::DEVICES)).expect("a device map");
    let keys = devices.keys().map(|key| key.expect("nobody writes it").to_le_bytes().to_vec());
    // No program reads its values.
    add(tables::DEVICES, Rows::Keyed(keys.collect()), 0, Vec::new());
    tables
}

fn map<'a>(ebpf: &'a Ebpf, name: &str) -> &'a Map {
    ebpf.map(name).expect("in the object")
}

/// The rows of an array and the bytes of one.
fn shape(ebpf: &Ebpf, name: &str) -> (usize, usize) {
    let Map::Array(map) = map(ebpf, name) else { panic!("{name} is no array") };
    let info = map.info().expect("the kernel tells about its maps");
    (info.max_entries() as usize, info.value_size() as usize)
}

impl Table {
    /// The address of the value that the key at `key` names, 0 if there is none: the helper `bpf_map_lookup_elem`.
    pub(super) fn look_up(&self, key: u64, memory: &mut Memory) -> u64 {
        let row = match &self.rows {
            Rows::Numbered(rows) => Some(memory.load(key, 4) as usize).filter(|row| row < rows),
            Rows::Keyed(keys) => keys.iter().position(|k| k == memory.bytes(key, k.len())),
            Rows::Prefixed(prefixes) => {
                let ip: [u8; 16] = memory.bytes(key + 4, 16).try_into().expect("its size");
                let ip = u128::from_be_bytes(ip);
                // Of no bits everything is alike.
                let alike = |(len, prefix): &(u32, u128)| (ip ^ prefix).leading_zeros() >= *len;
                let fits = (0..prefixes.len()).filter(|row| alike(&prefixes[*row]));
                fits.max_by_key(|row| prefixes[*row].0)
            }
        };
        row.map_or(0, |row| self.address + (row * self.value_size) as u64)
    }

    /// Whether a table of keys has this one.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        matches!(&self.rows, Rows::Keyed(keys) if keys.iter().any(|k| k == key))
    }
}
