//! A million bindings in the tables that were made for them: the time to install, prolong and remove one, the memory, and
//! how many find no room. With the next hops of this host's routes and without.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use turnpike::datapath::{FastPath, FlowTable, FlowWriter, NextHopSource, NextHops, SharedWords, TableSize};
use turnpike::time::Timestamp;
use turnpike::turn::{
    AllocationId, Binding, BindingId, ChannelNumber, ClientAddr, FiveTuple, PeerAddr, RelayAddr, Transport,
    Via,
};

use super::process::{own_cpu_seconds, resident};

/// Of an allocation: so many permissions, then channels.
const PERMISSIONS: u32 = 2;
const CHANNELS: u32 = 3;
const PORTS: u32 = 16_384;

/// What bindings of clients at random addresses cost.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Bindings {
    /// How many, five to an allocation.
    pub bindings: u32,
    /// Whether records had a next hop from this host's routes.
    pub next_hops: bool,
    /// Bytes of the tables.
    pub tables: u64,
    /// Bytes of other memory.
    pub memory: u64,
    /// Bindings that found no room.
    pub refused: u64,
    /// Nanoseconds of CPU time to install one.
    pub install: f64,
    /// Nanoseconds to prolong one.
    pub prolong: f64,
    /// Nanoseconds to remove one.
    pub remove: f64,
}

/// Fills tables and empties them again, without next hops and with them.
pub fn bindings(allocations: u32) -> Result<[Bindings; 2]> {
    let bindings = made(allocations);
    Ok([measure(&bindings, false)?, measure(&bindings, true)?])
}

fn measure(bindings: &[Binding], next_hops: bool) -> Result<Bindings> {
    let size = TableSize::for_bindings(bindings.len() as u32);
    let table = Arc::new(table(size)?);
    let hops: Arc<dyn NextHopSource> = match next_hops {
        true => Arc::new(NextHops::private(table.clone())?),
        false => Arc::new(Nowhere),
    };
    let before = resident("self")?;
    let mut writer = FlowWriter::new(table.clone(), hops, table.len() - 1, [].into());
    let timed = |run: &mut dyn FnMut(&Binding)| {
        let before = own_cpu_seconds();
        bindings.iter().for_each(run);
        (own_cpu_seconds() - before) * 1e9 / bindings.len() as f64
    };
    let install = timed(&mut |binding| _ = writer.bind(binding));
    let prolong = timed(&mut |binding| writer.extend(binding));
    let after = resident("self")?;
    // Private tables are among the process's own pages.
    let tables = (size.index_bytes() + size.record_bytes()) as u64;
    let grown = (after.anonymous + after.shared).saturating_sub(before.anonymous + before.shared);
    let refused = table.occupancy().refused;
    let remove = timed(&mut |binding| writer.unbind(binding.id));
    Ok(Bindings {
        bindings: bindings.len() as u32,
        next_hops,
        tables,
        memory: grown.saturating_sub(tables),
        refused,
        install,
        prolong,
        remove,
    })
}

/// The permissions of all allocations before their channels: the last quarter of a table is for channels.
fn made(allocations: u32) -> Vec<Binding> {
    let mut random = StdRng::seed_from_u64(1);
    let mut any = || SocketAddr::from((random.random::<[u8; 4]>(), random.random_range(1024..=u16::MAX)));
    let clients: Vec<_> = (0..allocations).map(|_| any()).collect();
    let deadline = Timestamp::now() + Duration::from_secs(300);
    let binding = |allocation: u32, via, peer: SocketAddr| {
        let relay = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(192, 0, 2, 1)) + allocation / PORTS);
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
            deadline,
            meter: 0,
        }
    };
    let mut all = Vec::with_capacity((allocations * (PERMISSIONS + CHANNELS)) as usize);
    for allocation in (0..PERMISSIONS).flat_map(|_| 0..allocations) {
        all.push(binding(allocation, Via::Indications, SocketAddr::new(any().ip(), 0)));
    }
    for (n, allocation) in (0..CHANNELS).flat_map(|n| (0..allocations).map(move |a| (n, a))) {
        let number = ChannelNumber::new(0x4000 + n as u16).expect("in range");
        all.push(binding(allocation, Via::Channel(number), any()));
    }
    for (id, binding) in (1..).zip(&mut all) {
        binding.id = BindingId(id);
    }
    all
}

fn table(size: TableSize) -> Result<FlowTable> {
    let mut random = StdRng::seed_from_u64(2);
    let seed = std::array::from_fn(|_| random.random());
    let (index, records) =
        (SharedWords::private(size.index_bytes())?, SharedWords::private(size.record_bytes())?);
    Ok(FlowTable::new(index, records, seed))
}

/// Every record goes up.
struct Nowhere;

impl NextHopSource for Nowhere {
    fn attach(&self, _: u32, _: IpAddr, _: IpAddr) {}

    fn pair(&self, _: [u32; 2]) {}

    fn detach(&self, _: u32) {}
}
