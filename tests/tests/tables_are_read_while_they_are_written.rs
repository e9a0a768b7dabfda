//! The XDP program beside a writer that never rests: bindings come, move and go, their records change hands at once, and
//! the next hops they leave by change too. Every packet that is forwarded must be what its own binding says, whole, or the
//! packet was passed up or dropped and counted. Runs the real program under `BPF_PROG_TEST_RUN` (needs CAP_BPF,
//! CAP_NET_ADMIN, CAP_PERFMON).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use relay_common::flow::FlowRecord;
use relay_common::next_hop::NextHop;
use relay_common::reason::Reason;
use relay_common::tables::{self, bytes_of};
use turnpike::datapath::{FlowWriter, NextHopSource, SharedWords};
use turnpike::time::Timestamp;
use turnpike::turn::{
    AllocationId, Binding, BindingId, ChannelNumber, ClientAddr, FiveTuple, PeerAddr, RelayAddr, Transport,
    Via,
};
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::{INGRESS, Program, Verdict, next_hop};

/// Clients, of which there is room for half at a time: all records are used again and again.
const BINDINGS: u8 = 24;
const ROOM: u32 = 12;
const ROWS: u8 = 3;
/// For each binding that comes or goes.
const ROW_CHANGES: usize = 4;
const LONGEST: Duration = Duration::from_secs(60);

/// Binding number `n`: every field of every record and packet follows from it.
fn binding(n: u8) -> Binding {
    let at = |a, b, port: u16| SocketAddr::from(([a, b, 0, n], port + u16::from(n)));
    Binding {
        id: BindingId(n.into()),
        allocation: AllocationId(n.into()),
        five_tuple: FiveTuple {
            client: ClientAddr(at(10, 1, 4000)),
            listener: "192.0.2.1:3478".parse().expect("an address"),
            transport: Transport::Udp,
        },
        relayed: RelayAddr(SocketAddr::new([192, 0, 2, 2].into(), 50_000 + u16::from(n))),
        peer: PeerAddr(at(172, 16, 5000)),
        via: Via::Channel(ChannelNumber::new(0x4000 + u16::from(n)).expect("in range")),
        deadline: Timestamp(u64::MAX),
        meter: 0,
    }
}

/// A packet of one direction as it comes, and as it must leave, but for the link-layer header.
struct Case {
    frame: Vec<u8>,
    forwarded: Vec<u8>,
    row: u8,
}

fn cases() -> Vec<Case> {
    let case = |came: Datagram, leaves: Datagram| Case {
        frame: came.frame(),
        row: row_for(leaves.dst.ip()),
        forwarded: Datagram { ttl: came.ttl - 1, ..leaves }.frame()[12..].to_vec(),
    };
    let both = |n: u8| {
        let Binding { five_tuple, relayed, peer, .. } = binding(n);
        let (client, listener) = (five_tuple.client.0, five_tuple.listener);
        let data = vec![n; 20 + usize::from(n)];
        let framed = channel_data(0x4000 + u16::from(n), &data, 0);
        [
            case(Datagram::new(client, listener, &framed[..]), Datagram::new(relayed.0, peer.0, &data[..])),
            case(Datagram::new(peer.0, relayed.0, &data[..]), Datagram::new(listener, client, &framed[..])),
        ]
    };
    (0..BINDINGS).flat_map(both).collect()
}

/// The next hop that a destination has.
fn row_for(destination: IpAddr) -> u8 {
    let IpAddr::V4(ip) = destination else { panic!("IPv4 only") };
    1 + ip.octets().iter().fold(0_u8, |sum, octet| sum.wrapping_add(*octet)) % ROWS
}

/// A row whose MAC addresses say which it is and how often it was changed, in every place.
fn row(number: u8, version: u8) -> NextHop {
    let [dst, src] = [2, 6].map(|first| [first, number, version, version, version, version]);
    next_hop(INGRESS, 1500, dst, src, &[], 0x0800)
}

/// Whether a link-layer header is that of one version of this row.
fn is_of_row(macs: &[u8], number: u8) -> bool {
    let version = macs[2];
    macs[..6] == [2, number, version, version, version, version]
        && macs[6..12] == [6, number, version, version, version, version]
}

/// Writes next hops by the rules of the table: the generation is odd meanwhile.
struct Hops {
    flows: SharedWords,
    rows: SharedWords,
}

impl Hops {
    fn write(&self, number: u8, version: u8) {
        const WORDS: usize = size_of::<NextHop>() / 8;
        let words = &self.rows[usize::from(number) * WORDS..][..WORDS];
        let generation = words[0].load(Ordering::Relaxed) as u32 | 1;
        let whole = |generation| NextHop { generation, ..row(number, version) };
        let word = |hop: &NextHop, i: usize| {
            u64::from_ne_bytes(bytes_of(hop)[i * 8..][..8].try_into().expect("eight bytes"))
        };
        words[0].store(word(&whole(generation), 0), Ordering::Relaxed);
        fence(Ordering::Release);
        let done = whole(generation.wrapping_add(1));
        (1..WORDS).for_each(|i| words[i].store(word(&done, i), Ordering::Relaxed));
        words[0].store(word(&done, 0), Ordering::Release);
    }
}

impl NextHopSource for Hops {
    fn attach(&self, record: u32, destination: IpAddr, _: IpAddr) {
        const AT: usize = std::mem::offset_of!(FlowRecord, next_hop);
        const { assert!(AT % 8 == 4) };
        let word = &self.flows[record as usize * size_of::<FlowRecord>() / 8 + AT / 8];
        let beside = word.load(Ordering::Relaxed) & 0xffff_ffff;
        word.store(u64::from(row_for(destination)) << 32 | beside, Ordering::Release);
    }

    fn pair(&self, _: [u32; 2]) {}

    fn detach(&self, _: u32) {}
}

/// Each operation is a day after the last, so that no record rests.
fn write_until(done: &AtomicBool, mut writer: FlowWriter, hops: &Hops) {
    let mut random = StdRng::seed_from_u64(1);
    let mut now = Timestamp(1_000_000_000_000);
    while !done.load(Ordering::Relaxed) {
        now = now + Duration::from_secs(86_400);
        let b = binding(random.random_range(0..BINDINGS));
        if writer.bind_at(&b, now).is_err() || random.random() {
            writer.unbind_at(b.id, now);
        }
        for _ in 0..ROW_CHANGES {
            hops.write(random.random_range(1..=ROWS), random.random());
        }
    }
}

/// Lessons 10 and 24.
#[test]
fn a_packet_is_forwarded_by_its_own_binding_whole_or_not_at_all() {
    let program = Program::load_with(64, 2 * ROOM + 1);
    let table = Arc::new(program.flow_table());
    let hops =
        Arc::new(Hops { flows: program.memory(tables::FLOWS), rows: program.memory(tables::NEXT_HOPS) });
    (1..=ROWS).for_each(|number| hops.write(number, 0));
    let writer = FlowWriter::new(table, hops.clone(), 2 * ROOM, [].into());
    let cases = cases();
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let give_up = start + LONGEST;
    let mut forwarded: HashMap<usize, u64> = HashMap::new();
    let wrong = std::thread::scope(|scope| {
        scope.spawn(|| write_until(&done, writer, &hops));
        let mut out = vec![0; 256];
        let mut wrong = Vec::new();
        let counted = |reason: Reason| program.counters()[reason as usize].packets;
        let enough = |forwarded: &HashMap<usize, u64>| {
            forwarded.values().sum::<u64>() > 200_000
                && counted(Reason::Torn) >= 20
                && counted(Reason::Changed) >= 5
        };
        while wrong.is_empty() && Instant::now() < give_up && !enough(&forwarded) {
            for _ in 0..200 {
                for (n, case) in cases.iter().enumerate() {
                    let (verdict, packet) = program.run_quickly(&case.frame, &mut out);
                    let right = match verdict {
                        Verdict::Tx => {
                            *forwarded.entry(n).or_default() += 1;
                            is_of_row(packet, case.row) && packet[12..] == case.forwarded
                        }
                        Verdict::Pass => packet == case.frame,
                        Verdict::Drop => true,
                        Verdict::Aborted | Verdict::Redirect => false,
                    };
                    if !right {
                        wrong.push((n, verdict, packet.to_vec()));
                    }
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        wrong
    });
    assert_eq!(wrong, [], "case, verdict, packet");
    assert_eq!(forwarded.len(), cases.len(), "each of both directions was forwarded at times");
    let counters = program.counters();
    let met = [Reason::Torn, Reason::Changed].map(|reason| counters[reason as usize].packets);
    let packets = forwarded.values().sum::<u64>();
    println!("{packets} packets forwarded, {met:?} torn and changed, {:?}", start.elapsed());
    assert!(met[0] > 0, "the program never met the writer: {met:?}");
}
