//! What a million bindings of 200,000 clients at random addresses cost: the time to install, prolong and remove them, the
//! memory, and how many the tables that were made for them refuse. With the next hops of this host's routes and without.
//!
//! `cargo run --release -p turnpike-bench --example million_bindings`

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use turnpike::datapath::{FastPath, FlowTable, FlowWriter, NextHopSource, NextHops, SharedWords, TableSize};
use turnpike::time::Timestamp;
use turnpike::turn::{
    AllocationId, Binding, BindingId, ChannelNumber, ClientAddr, FiveTuple, PeerAddr, RelayAddr, Transport,
    Via,
};

const ALLOCATIONS: u32 = 200_000;
/// Of an allocation: so many permissions, then channels.
const PERMISSIONS: u32 = 2;
const CHANNELS: u32 = 3;
const BINDINGS: u32 = ALLOCATIONS * (PERMISSIONS + CHANNELS);
const PORTS: u32 = 16_384;

fn main() {
    let bindings = bindings();
    let size = TableSize::for_bindings(BINDINGS);
    println!("tables               {} MiB", (size.index_bytes() + size.record_bytes()) >> 20);
    for (name, followed) in [("without next hops", false), ("with next hops", true)] {
        println!("\n{name}");
        let table = Arc::new(table(size));
        let hops: Arc<dyn NextHopSource> = match followed {
            true => Arc::new(NextHops::private(table.clone()).expect("netlink")),
            false => Arc::new(Nowhere),
        };
        let before = resident_mib();
        let mut writer = FlowWriter::new(table.clone(), hops, 1..table.len(), [].into());
        timed("install", || bindings.iter().for_each(|b| _ = writer.bind(b)));
        timed("prolong", || bindings.iter().for_each(|b| writer.extend(b)));
        println!("  memory             {} MiB, the tables among them", resident_mib() - before);
        println!("  {:?}", table.occupancy());
        timed("remove", || bindings.iter().for_each(|b| writer.unbind(b.id)));
    }
}

fn timed(what: &str, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    let elapsed = start.elapsed();
    println!("  {what:<18} {:.2} s, {:?} each", elapsed.as_secs_f64(), elapsed / BINDINGS);
}

/// The permissions of all allocations before their channels: the last quarter of a table is for channels.
fn bindings() -> Vec<Binding> {
    let mut random = StdRng::seed_from_u64(1);
    let mut any = || SocketAddr::from((random.random::<[u8; 4]>(), random.random_range(1024..=u16::MAX)));
    let clients: Vec<_> = (0..ALLOCATIONS).map(|_| any()).collect();
    let binding = |allocation: u32, via, peer: SocketAddr| {
        let relay = Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 1)) + allocation / PORTS);
        Binding {
            id: BindingId(0),
            allocation: AllocationId(allocation.into()),
            five_tuple: FiveTuple {
                client: ClientAddr(clients[allocation as usize]),
                listener: SocketAddr::from(([192, 0, 2, 1], 3478)),
                transport: Transport::Udp,
            },
            relayed: RelayAddr(SocketAddr::new(IpAddr::V4(relay), (49_152 + allocation % PORTS) as u16)),
            peer: PeerAddr(peer),
            via,
            deadline: Timestamp::now() + Duration::from_secs(300),
            meter: 0,
        }
    };
    let mut all = Vec::with_capacity(BINDINGS as usize);
    for allocation in (0..PERMISSIONS).flat_map(|_| 0..ALLOCATIONS) {
        all.push(binding(allocation, Via::Indications, SocketAddr::new(any().ip(), 0)));
    }
    for (n, allocation) in (0..CHANNELS).flat_map(|n| (0..ALLOCATIONS).map(move |a| (n, a))) {
        let number = ChannelNumber::new(0x4000 + n as u16).expect("in range");
        all.push(binding(allocation, Via::Channel(number), any()));
    }
    for (id, binding) in (1..).zip(&mut all) {
        binding.id = BindingId(id);
    }
    all
}

fn table(size: TableSize) -> FlowTable {
    let memory = |bytes| SharedWords::private(bytes).expect("memory");
    let mut random = StdRng::seed_from_u64(2);
    let seed = std::array::from_fn(|_| random.random());
    FlowTable::new(memory(size.index_bytes()), memory(size.record_bytes()), seed)
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}

/// Every record goes up.
struct Nowhere;

impl NextHopSource for Nowhere {
    fn attach(&self, _: u32, _: IpAddr, _: IpAddr) {}

    fn pair(&self, _: [u32; 2]) {}

    fn detach(&self, _: u32) {}
}
