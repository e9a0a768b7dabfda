//! What one packet costs in the XDP program: nanoseconds a run, net of a program that only returns `XDP_TX`.
//!
//! `cargo bench -p turnpike-bench --bench xdp_program`, as root. Each figure is the median of rounds in which all
//! paths and the empty program take turns, so that a machine whose speed drifts drifts for all. `-- TEXT` leaves out the
//! paths whose names do not contain it. Beside them, what memory itself takes: with many flows at random a packet waits for a record and
//! a line of the index, at the same time, so a read is the least that it costs more than with few.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use relay_common::addr::{Be16, Endpoint};
use relay_common::bench::{FLOWS, WRITTEN};
use relay_common::channel::INDICATION;
use relay_common::flow::{FlowRecord, Path};
use relay_common::meter::{Cost, Limit};
use relay_common::next_hop::HAIRPIN;
use relay_common::tables::Controls;
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};
use turnpike_bench::templates::{self, Ends};
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::{INGRESS, Program};

const ROUNDS: usize = 41;
const REPEAT: u32 = 150_000;
const PAYLOAD: usize = 160;

/// What a packet is, and becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ChannelToPeer,
    PeerToChannel,
    Send,
    Data,
    /// From channel to channel.
    RelayToRelay,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::ChannelToPeer => "client to peer",
            Kind::PeerToChannel => "peer to client",
            Kind::Send => "Send",
            Kind::Data => "Data",
            Kind::RelayToRelay => "relay to relay",
        }
    }
}

/// One way through the program, over many flows.
struct Subject {
    name: String,
    program: Program,
    restore: Ebpf,
    input: Vec<u8>,
    /// The program's verdict.
    verdict: u32,
    nets: Vec<f64>,
}

const XDP_DROP: u32 = 1;
const XDP_TX: u32 = 3;

fn main() {
    let (v4, v6) = (templates::V4, templates::V6);
    let mut subjects = Vec::new();
    for flows in [64, FLOWS] {
        for (name, ends) in [
            ("v4 - v4", v4),
            ("v4 - v6", (v4.0, v4.1, v6.2, v6.3)),
            ("v6 - v4", (v6.0, v6.1, v4.2, v4.3)),
            ("v6 - v6", v6),
        ] {
            for kind in [Kind::ChannelToPeer, Kind::PeerToChannel] {
                subjects.push(Subject::new(name, ends, kind, flows));
            }
        }
        for (name, ends) in [("v4 - v4", v4), ("v6 - v6", v6)] {
            for kind in [Kind::Send, Kind::Data, Kind::RelayToRelay] {
                subjects.push(Subject::new(name, ends, kind, flows));
            }
        }
    }
    for (name, client, listener) in [("v4", v4.0, v4.1), ("v6", v6.0, v6.1)] {
        for (fingerprint, what) in [(false, "answered"), (true, "answered with FINGERPRINT")] {
            subjects.push(Subject::stranger(
                format!("{name}  Binding  {what}"),
                client,
                listener,
                fingerprint,
                false,
            ));
        }
        let name = format!("{name}  Binding  limited");
        subjects.push(Subject::stranger(name, client, listener, false, true));
    }
    let mut reads = [64, FLOWS].map(Reads::new).to_vec();
    for part in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        subjects.retain(|subject| subject.name.contains(&part));
        reads.retain(|reads| reads.name.contains(&part));
    }
    for round in 0..=ROUNDS {
        let nets = subjects.iter_mut().map(|subject| (subject.run(), &mut subject.nets));
        let reads = reads.iter_mut().map(|reads| (reads.run(), &mut reads.nets));
        for (net, nets) in nets.chain(reads) {
            if round > 0 {
                nets.push(net);
            }
        }
    }
    println!(
        "{:40} {:>8} {:>8} {:>8}   ns a packet, net of the empty program, or a read; {ROUNDS} rounds",
        "", "quarter", "median", "3/4"
    );
    let subjects = subjects.iter_mut().map(|subject| (&subject.name, &mut subject.nets));
    for (name, n) in subjects.chain(reads.iter_mut().map(|reads| (&reads.name, &mut reads.nets))) {
        n.sort_by(f64::total_cmp);
        println!("{name:40} {:8.0} {:8.0} {:8.0}", n[n.len() / 4], n[n.len() / 2], n[n.len() * 3 / 4]);
    }
}

/// Reads of records at random, each of which says which is next.
#[derive(Clone)]
struct Reads {
    name: String,
    next: Vec<Record>,
    nets: Vec<f64>,
}

/// As large as a record of the flow table.
#[repr(C, align(128))]
#[derive(Clone, Copy)]
struct Record(u32);

const _: () = assert!(size_of::<Record>() == size_of::<FlowRecord>());

impl Reads {
    fn new(flows: u32) -> Self {
        // One way around through those of both directions.
        let mut order: Vec<u32> = (0..2 * flows).collect();
        order.shuffle(&mut StdRng::seed_from_u64(1));
        let mut next = vec![Record(order[0]); order.len()];
        for pair in order.windows(2) {
            next[pair[0] as usize] = Record(pair[1]);
        }
        let name = format!("reads of records, in turn {flows:>5} flows");
        Self { name, next, nets: Vec::new() }
    }

    /// Nanoseconds a read.
    fn run(&mut self) -> f64 {
        let begin = Instant::now();
        let last = (0..REPEAT).fold(0, |at, _| self.next[at as usize].0);
        black_box(last);
        begin.elapsed().as_nanos() as f64 / f64::from(REPEAT)
    }
}

impl Subject {
    fn new(families: &str, ends: Ends, kind: Kind, flows: u32) -> Self {
        let data = [7; PAYLOAD];
        let (mut program, frames) = templates::many(ends, flows, INGRESS, |path| {
            let [client, listener] = [path.client, path.listener].map(SocketAddr::from);
            let [relayed, peer] = [path.relayed, path.peer].map(SocketAddr::from);
            let datagram = match kind {
                Kind::ChannelToPeer | Kind::RelayToRelay => {
                    Datagram::new(client, listener, channel_data(path.channel.get(), &data, 0))
                }
                Kind::Send => Datagram::new(client, listener, send_to(peer, &data)),
                Kind::PeerToChannel | Kind::Data => Datagram::new(peer, relayed, data),
            };
            (records(kind, path), datagram)
        });
        let input = frames.last().expect("a flow").clone();
        let run = program.run(&input);
        assert_eq!(run.verdict, turnpike_tests::xdp::Verdict::Tx, "{run:?}");
        let name = format!("{families}  {:14}  {flows:>6} flows", kind.name());
        Self { name, program, restore: restore(&frames), input, verdict: XDP_TX, nets: Vec::new() }
    }

    /// A Binding request, answered or, where it costs more than there is, limited.
    fn stranger(name: String, client: &str, listener: &str, fingerprint: bool, limited: bool) -> Self {
        let mut program = Program::load();
        let (client, listener): (SocketAddr, _) =
            (client.parse().expect("an address"), listener.parse().expect("an address"));
        templates::next_hops(&mut program, INGRESS);
        program.listener(listener);
        for (any, next_hop) in [("0.0.0.0", templates::NEXT_HOP_V4), ("::", templates::NEXT_HOP_V6)] {
            program.way_back(any.parse().expect("an address"), 0, next_hop);
        }
        let cost = if limited { Cost::new(1 << 40, 0) } else { Cost::default() };
        program.controls(Controls { strangers: Limit { cost, burst: 0 }, answer_bindings: 1 });
        let mut request = Vec::new();
        let kind = MessageType::new(Method::BINDING, Class::Request);
        let mut builder = Builder::new(&mut request, kind, TransactionId([7; 12]));
        if fingerprint {
            builder.fingerprint();
        }
        let mut input = Datagram::new(client, listener, request).frame();
        // Bytes after the packet, as Ethernet pads short ones: a template is written whole.
        input.resize(WRITTEN, 0);
        let verdict = if limited { XDP_DROP } else { XDP_TX };
        let restore = restore(std::slice::from_ref(&input));
        Self { name, program, restore, input, verdict, nets: Vec::new() }
    }

    /// Nanoseconds a run, the template's restoring and the empty program taken off.
    fn run(&mut self) -> f64 {
        let subject = self.program.xdp().fd().expect("loaded").try_clone().expect("a descriptor");
        let nothing: &Xdp = self.restore.program("nothing").expect("there").try_into().expect("XDP");
        let nothing = nothing.fd().expect("loaded").try_clone().expect("a descriptor");
        self.time(&subject, self.verdict) - self.time(&nothing, XDP_TX)
    }

    /// Nanoseconds a run with `subject` behind `restore`.
    fn time(&mut self, subject: &ProgramFd, verdict: u32) -> f64 {
        let slot = self.restore.map_mut("SUBJECT").expect("there");
        ProgramArray::try_from(slot)
            .expect("a program array")
            .set(0, subject, 0)
            .expect("compatible programs");
        let restore: &Xdp = self.restore.program("restore").expect("there").try_into().expect("XDP");
        let options = TestRunOptions { data_in: Some(&self.input), repeat: REPEAT, ..TestRunOptions::new() };
        let result = restore.test_run(options).expect("BPF_PROG_TEST_RUN");
        assert_eq!(result.return_value, verdict, "{}", self.name);
        result.duration.as_nanos() as f64
    }
}

/// Both directions, or both of the two relayed addresses.
fn records(kind: Kind, path: &Path) -> [FlowRecord; 2] {
    let permission = Path { channel: INDICATION, peer: Endpoint { port: Be16(0), ..path.peer }, ..*path };
    let far = Path { relayed: path.peer, peer: path.relayed, ..*path };
    match kind {
        Kind::ChannelToPeer | Kind::PeerToChannel => {
            [FlowRecord::client_to_peer(path), FlowRecord::peer_to_client(path)]
        }
        Kind::Send | Kind::Data => {
            [FlowRecord::client_to_peer(&permission), FlowRecord::peer_to_client(&permission)]
        }
        Kind::RelayToRelay => [
            FlowRecord { next_hop: HAIRPIN, ..FlowRecord::client_to_peer(path) },
            FlowRecord::peer_to_client(&far).inside(),
        ],
    }
}

/// A Send indication.
fn send_to(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = MessageType::new(Method::SEND, Class::Indication);
    let mut message = Builder::new(&mut out, kind, TransactionId(*b"transactions"));
    message.xor_peer_address(peer).data(data).expect("it fits");
    out
}

/// Loads `restore`, which writes these frames, and the empty program.
fn restore(frames: &[Vec<u8>]) -> Ebpf {
    let mut ebpf = templates::bench_programs(frames);
    for name in ["restore", "nothing"] {
        let program: &mut Xdp = ebpf.program_mut(name).expect("there").try_into().expect("XDP");
        program.load().expect("the verifier takes it");
    }
    ebpf
}
