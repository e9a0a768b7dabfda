//! Many flows: their records in the tables of the program under test, their frames in those of the bench programs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aya::maps::Array;
use aya::{Ebpf, EbpfLoader};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use relay_common::bench::Template;
use relay_common::flow::{FlowRecord, Path};
use relay_common::interface::Interface;
use relay_common::tables::bytes_of;
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::{Program, next_hop, path};

const CHANNEL: u16 = 0x4001;

/// Client, listener, relayed transport address and peer of the first flow.
pub type Ends = (&'static str, &'static str, &'static str, &'static str);

/// Ends over IPv4.
pub const V4: Ends = ("198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000");

/// Ends over IPv6.
pub const V6: Ends =
    ("[2001:db8::7]:5000", "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", "[2001:db8:2::9]:6000");

/// The program with this many channels (a power of two, up to [`FLOWS`](relay_common::bench::FLOWS)), all of whose packets
/// leave by one interface, and the frames that its clients (or its peers) send, in random order.
pub fn channels(ends: Ends, to_peer: bool, flows: u32, ifindex: u32, data: &[u8]) -> (Program, Vec<Vec<u8>>) {
    many(ends, flows, ifindex, |path| {
        let records = [FlowRecord::client_to_peer(path), FlowRecord::peer_to_client(path)];
        let datagram = if to_peer {
            let payload = channel_data(path.channel.get(), data, 0);
            Datagram::new(path.client.into(), path.listener.into(), payload)
        } else {
            Datagram::new(path.peer.into(), path.relayed.into(), data)
        };
        (records, datagram)
    })
}

/// The same for flows of any kind: `make` says which two records a path has, and what arrives. Records that have no next hop
/// get one of their family.
pub fn many(
    ends: Ends,
    flows: u32,
    ifindex: u32,
    make: impl Fn(&Path) -> ([FlowRecord; 2], Datagram),
) -> (Program, Vec<Vec<u8>>) {
    // As many as the server has by default where half of them are in use.
    let mut program = Program::load_with(2 * flows.max(64), 4 * flows + 1);
    next_hops(&mut program, ifindex);
    let frames = (0..flows).map(|flow| {
        let (records, datagram) = make(&path_of(ends, flow));
        for record in records {
            let of_family = if record.dst.is_v4() { NEXT_HOP_V4 } else { NEXT_HOP_V6 };
            let next_hop = if record.next_hop == 0 { of_family } else { record.next_hop };
            program.insert(FlowRecord { deadline: u64::MAX, next_hop, ..record });
        }
        datagram.frame()
    });
    let mut frames: Vec<_> = frames.collect();
    // Only now: in the order that bindings were made in, records may follow one another in memory.
    frames.shuffle(&mut StdRng::seed_from_u64(1));
    (program, frames)
}

/// Number of the next hop of IPv4 packets.
pub const NEXT_HOP_V4: u32 = 1;
/// Number of that of IPv6 packets.
pub const NEXT_HOP_V6: u32 = 2;

/// Has the packets of each family leave by this interface.
pub fn next_hops(program: &mut Program, ifindex: u32) {
    for (number, ethertype) in [(NEXT_HOP_V4, 0x0800), (NEXT_HOP_V6, 0x86dd)] {
        let (to, from) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        program.interface(Interface { ifindex, slot: 1, flags: Interface::VIRTUAL, bond: 0 });
        program.next_hop(number, next_hop(ifindex, 1500, to, from, &[], ethertype));
    }
}

/// The `flow`th client and peer: addresses and ports differ as a fleet's do.
pub fn path_of((client, listener, relayed, peer): Ends, flow: u32) -> Path {
    let shift = |text: &str, by: u16| {
        let mut addr: SocketAddr = text.parse().expect("an address");
        addr.set_port(addr.port().wrapping_add(by));
        addr
    };
    let (low, high) = ((flow % 8192) as u16, (flow / 8192) as u16);
    // Permissions are for an address: there are as many as clients share a port.
    let further = |mut peer: SocketAddr| {
        match peer.ip() {
            IpAddr::V4(ip) => peer.set_ip(Ipv4Addr::from_bits(ip.to_bits() + u32::from(high)).into()),
            IpAddr::V6(ip) => peer.set_ip(Ipv6Addr::from_bits(ip.to_bits() + u128::from(high)).into()),
        }
        peer
    };
    path(
        shift(client, low),
        listener.parse().expect("an address"),
        shift(relayed, low),
        further(shift(peer, flow as u16)),
        CHANNEL + high,
    )
}

/// Loads the bench programs over these frames, all of one length, whose headers they write.
pub fn bench_programs(frames: &[Vec<u8>]) -> Ebpf {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/turnpike-bench-xdp.o");
    let object =
        std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}; make it with `cargo xtask build-ebpf`"));
    let mut ebpf = EbpfLoader::new().load(&object).expect("the kernel takes the maps (needs CAP_BPF)");
    let map = ebpf.map_mut("TEMPLATES").expect("there");
    let mut map = Array::<_, [u8; size_of::<Template>()]>::try_from(map).expect("an array");
    for (i, frame) in frames.iter().enumerate() {
        let bytes: [u8; size_of::<Template>()] = bytes_of(&Template::of(frame)).try_into().expect("its size");
        map.set(i as u32, bytes, 0).expect("in range");
    }
    let mut mask = Array::<_, u32>::try_from(ebpf.map_mut("MASK").expect("there")).expect("an array");
    mask.set(0, frames.len() as u32 - 1, 0).expect("in range");
    ebpf
}
