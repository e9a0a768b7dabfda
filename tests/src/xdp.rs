//! The XDP program under `BPF_PROG_TEST_RUN`: tables set by the test, one packet in, verdict and packet out.
//! Needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, DevMapHash, HashMap, LpmTrie, Map};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use relay_common::addr::{Be16, Endpoint};
use relay_common::flow::{self, Bucket, FlowRecord, HashSeed, Path};
use relay_common::interface::Interface;
use relay_common::meter::{ROW_WORDS, Row};
use relay_common::next_hop::NextHop;
use relay_common::strangers::SketchSeed;
use relay_common::tables::{self, Controls, Local, LocalKey, Settings, bytes_of};
use turnpike::datapath::{FlowTable, SharedWords, TickClock};

pub use self::run::{Run, Verdict};

mod run;

/// The interface that `BPF_PROG_TEST_RUN` says a packet came from, unless told otherwise: the loopback.
pub const INGRESS: u32 = 1;

const HOPS: u32 = 16;

const METERS: u32 = 16;

/// The program with tables of its own.
pub struct Program {
    ebpf: Ebpf,
    entry: &'static str,
    settings: Settings,
    used: HashSet<u32>,
}

impl Program {
    /// Loads it with empty tables and relayed ports 49152 to 65535.
    pub fn load() -> Self {
        Self::load_with(256, 4096)
    }

    /// The same with tables of these sizes; `buckets` is a power of two.
    pub fn load_with(buckets: u32, records: u32) -> Self {
        Self::load_on("turnpike_xdp", buckets, records, Interface::VIRTUAL)
    }

    /// The same where packets come by a network card of hardware, which delivers no unfinished checksums.
    pub fn load_for_hardware() -> Self {
        Self::load_on("turnpike_xdp", 256, 4096, 0)
    }

    /// The program as kernels before 5.18 take it, for packets in one piece.
    pub fn load_whole() -> Self {
        Self::load_on("turnpike_whole", 256, 4096, Interface::VIRTUAL)
    }

    /// Packets come by an interface with these flags, whose counters are of slot 1.
    fn load_on(entry: &'static str, buckets: u32, records: u32, flags: u32) -> Self {
        let object = object();
        let mut random = StdRng::seed_from_u64(1);
        let seed: HashSeed = std::array::from_fn(|_| random.random());
        static CLOCK: OnceLock<TickClock> = OnceLock::new();
        let settings = CLOCK.get_or_init(|| TickClock::find(object)).set(Settings {
            seed,
            records: u64::from(records - 1),
            bucket_mask: buckets - 1,
            first_port: 49152,
            last_port: 65535,
            ..Settings::default()
        });
        let strangers: SketchSeed = std::array::from_fn(|_| random.random());
        let mut ebpf = EbpfLoader::new()
            .override_global(tables::STRANGERS_SEED, bytes_of(&strangers), true)
            .map_max_entries(tables::FLOW_INDEX, buckets)
            .map_max_entries(tables::FLOWS, records)
            .map_max_entries(tables::NEXT_HOPS, HOPS)
            .map_max_entries(tables::METERS, METERS)
            .map_max_entries(tables::WAYS_BACK, 64)
            .override_global(tables::SETTINGS, bytes_of(&settings), true)
            .load(object)
            .expect("the kernel takes the maps (needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)");
        let program: &mut Xdp = ebpf.program_mut(entry).expect("in the object").try_into().expect("XDP");
        program.load().expect("the verifier takes the program");
        let mut program = Self { ebpf, entry, settings, used: HashSet::new() };
        program.interface(Interface { ifindex: INGRESS, slot: 1, flags, bond: 0 });
        program
    }

    /// The loaded program.
    pub fn xdp(&self) -> &Xdp {
        self.ebpf.program(self.entry).expect("in the object").try_into().expect("XDP")
    }

    /// Attaches it in driver mode to an interface of the thread's namespace.
    pub fn attach(&mut self, interface: &str) -> XdpLinkId {
        self.xdp_mut().attach(interface, XdpMode::Driver).expect("native XDP")
    }

    /// Detaches it again.
    pub fn detach(&mut self, link: XdpLinkId) -> Result<(), ProgramError> {
        self.xdp_mut().detach(link)
    }

    /// The loaded object.
    pub(crate) fn ebpf(&self) -> &Ebpf {
        &self.ebpf
    }

    /// The name of the program's entry.
    pub(crate) fn entry(&self) -> &'static str {
        self.entry
    }

    /// What is fixed for its life.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn xdp_mut(&mut self) -> &mut Xdp {
        self.ebpf.program_mut("turnpike_xdp").expect("in the object").try_into().expect("XDP")
    }

    /// Says that this address and port is a listener.
    pub fn listener(&mut self, at: SocketAddr) {
        self.local(at.ip(), at.port());
        self.local(at.ip(), 0);
    }

    /// Says that this is a relayed address.
    pub fn relay_address(&mut self, ip: IpAddr) {
        self.local(ip, 0);
    }

    fn local(&mut self, ip: IpAddr, port: u16) {
        let key = LocalKey { ip: ip.into(), port: Be16::new(port), zero: 0 };
        let key: [u8; size_of::<LocalKey>()] = bytes_of(&key).try_into().expect("its size");
        let map = self.ebpf.map_mut(tables::LOCALS).expect("in the object");
        let mut map = HashMap::<_, [u8; size_of::<LocalKey>()], u32>::try_from(map).expect("a hash");
        map.insert(key, Local { present: 1 }.present, 0).expect("room");
    }

    /// Says what is known of an interface.
    pub fn interface(&mut self, interface: Interface) {
        let bytes: [u8; size_of::<Interface>()] = bytes_of(&interface).try_into().expect("its size");
        self.set(tables::INTERFACES, Interface::entry(interface.ifindex), bytes);
    }

    /// Says where a next hop is.
    pub fn next_hop(&mut self, index: u32, hop: NextHop) {
        let bytes: [u8; size_of::<NextHop>()] = bytes_of(&hop).try_into().expect("its size");
        self.set(tables::NEXT_HOPS, index, bytes);
    }

    /// Makes a meter what `set` makes of an empty one.
    pub fn meter(&mut self, number: u32, set: impl FnOnce(&Row)) {
        let words: [AtomicU64; ROW_WORDS] = Default::default();
        set(Row::of_words(&words));
        let map = self.ebpf.map_mut(tables::METERS).expect("in the object");
        let mut map = Array::<_, [u64; ROW_WORDS]>::try_from(map).expect("an array");
        map.set(number, words.map(AtomicU64::into_inner), 0).expect("in range");
    }

    /// A meter as it is now.
    pub fn meter_now<T>(&self, number: u32, look: impl FnOnce(&Row) -> T) -> T {
        let map = self.ebpf.map(tables::METERS).expect("in the object");
        let words: [u64; ROW_WORDS] =
            Array::try_from(map).expect("an array").get(&number, 0).expect("in range");
        look(Row::of_words(&words.map(AtomicU64::new)))
    }

    /// Says what may change while the program runs.
    pub fn controls(&mut self, controls: Controls) {
        let bytes: [u8; size_of::<Controls>()] = bytes_of(&controls).try_into().expect("its size");
        self.set(tables::CONTROLS, 0, bytes);
    }

    /// Says by which next hop answers go to these addresses; 0 for one that only the kernel knows.
    pub fn way_back(&mut self, ip: IpAddr, prefix_len: u32, next_hop: u32) {
        let (ip, len) = match ip {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), 96 + prefix_len),
            IpAddr::V6(ip) => (ip, prefix_len),
        };
        let map = self.ebpf.map_mut(tables::WAYS_BACK).expect("in the object");
        let mut map = LpmTrie::<_, [u8; 16], u32>::try_from(map).expect("a trie");
        map.insert(&Key::new(len, ip.octets()), next_hop, 0).expect("room");
    }

    /// Lets packets be redirected to this interface.
    pub fn device(&mut self, ifindex: u32) {
        let map = self.ebpf.map_mut(tables::DEVICES).expect("in the object");
        let mut map = DevMapHash::try_from(map).expect("a device map");
        map.insert(ifindex, ifindex, None, 0).expect("the interface exists");
    }

    /// Puts a record into the table, where it is expected or else behind it, and gives its number.
    pub fn insert(&mut self, record: FlowRecord) -> u32 {
        let hash = record.key.hash(&self.settings.seed);
        let records = self.settings.records;
        let likely = u64::from(flow::likely_record(hash, records));
        let mut places = (0..records).map(|n| 1 + ((likely - 1 + n) % records) as u32);
        let number = places.find(|place| self.used.insert(*place)).expect("a record is free");
        self.rewrite(number, record);
        let mask = self.settings.bucket_mask;
        let home = flow::home_bucket(hash, mask);
        let (at, mut bucket, free) = [home, flow::other_bucket(hash, mask)]
            .into_iter()
            .find_map(|at| {
                let bucket = self.bucket(at);
                bucket.iter().position(|e| *e == 0).map(|free| (at, bucket, free))
            })
            .unwrap_or_else(|| {
                panic!("both buckets of {:?} are full, record {number}, buckets {} ", record.key, mask + 1)
            });
        bucket[free] = flow::entry(hash, number);
        let bytes: [u8; size_of::<Bucket>()] = bytes_of(&Bucket(bucket)).try_into().expect("its size");
        self.set(tables::FLOW_INDEX, at, bytes);
        number
    }

    fn bucket(&self, at: u32) -> [u64; flow::BUCKET_ENTRIES] {
        let map = self.ebpf.map(tables::FLOW_INDEX).expect("in the object");
        Array::try_from(map).expect("an array").get(&at, 0).expect("in range")
    }

    /// Writes a record that an entry already names.
    pub fn rewrite(&mut self, number: u32, record: FlowRecord) {
        let bytes: [u8; size_of::<FlowRecord>()] = bytes_of(&record).try_into().expect("its size");
        self.set(tables::FLOWS, number, bytes);
    }

    /// The packets and bytes that a record counted.
    pub fn counted_by(&self, number: u32) -> (u64, u64) {
        let map = self.ebpf.map(tables::FLOWS).expect("in the object");
        let record: [u64; size_of::<FlowRecord>() / 8] =
            Array::try_from(map).expect("an array").get(&number, 0).expect("in range");
        let at = |offset: usize| record[offset / 8];
        (at(std::mem::offset_of!(FlowRecord, packets)), at(std::mem::offset_of!(FlowRecord, bytes)))
    }

    /// A flow table over this program's tables, for those who write it as the server does.
    pub fn flow_table(&self) -> FlowTable {
        FlowTable::new(self.memory(tables::FLOW_INDEX), self.memory(tables::FLOWS), self.settings.seed)
    }

    /// A table in this process's memory.
    pub fn memory(&self, table: &str) -> SharedWords {
        let Some(Map::Array(map)) = self.ebpf.map(table) else { panic!("{table} is no array of the object") };
        let info = map.info().expect("the kernel tells about its maps");
        let bytes = info.max_entries() as usize * info.value_size() as usize;
        SharedWords::of_map(map.fd(), bytes).expect("a map made to be mapped")
    }

    fn set<const N: usize>(&mut self, name: &str, index: u32, value: [u8; N]) {
        let map = self.ebpf.map_mut(name).expect("in the object");
        let mut map = Array::<_, [u8; N]>::try_from(map).expect("an array");
        map.set(index, value, 0).expect("in range");
    }
}

/// The eBPF object that this was built with.
pub fn object() -> &'static [u8] {
    turnpike::datapath::object().expect("an eBPF object: cargo xtask build-ebpf")
}

/// A binding's path out of a test's addresses.
pub fn path(
    client: SocketAddr,
    listener: SocketAddr,
    relayed: SocketAddr,
    peer: SocketAddr,
    channel: u16,
) -> Path {
    Path {
        client: Endpoint::from(client),
        listener: listener.into(),
        relayed: relayed.into(),
        peer: peer.into(),
        channel: Be16::new(channel),
    }
}

/// A next hop on an interface, with these MAC addresses and tags, for packets of one family.
pub fn next_hop(
    ifindex: u32,
    mtu: u16,
    dst: [u8; 6],
    src: [u8; 6],
    tags: &[(u16, u16)],
    ethertype: u16,
) -> NextHop {
    let mut l2 = [dst, src].concat();
    for (tpid, tci) in tags {
        l2.extend_from_slice(&tpid.to_be_bytes());
        l2.extend_from_slice(&tci.to_be_bytes());
    }
    l2.extend_from_slice(&ethertype.to_be_bytes());
    NextHop { ifindex, mtu, redirect: 1, ..NextHop::with_header(&l2) }
}
