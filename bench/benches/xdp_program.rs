//! What one packet costs in the XDP program: nanoseconds a run, net of a program that only returns `XDP_TX`.
//!
//! `cargo bench -p turnpike-bench --bench xdp_program`, as root. Each figure is the median of rounds in which all
//! paths and the empty program take turns, so that a machine whose speed drifts drifts for all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aya::maps::{Array, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use relay_common::addr::{Be16, Endpoint};
use relay_common::bench::{FLOWS, Template, WORDS};
use relay_common::channel::INDICATION;
use relay_common::flow::{FlowRecord, Path};
use relay_common::meter::{Cost, Limit};
use relay_common::next_hop::HAIRPIN;
use relay_common::tables::{Controls, bytes_of};
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::{INGRESS, Program, next_hop, path};

const ROUNDS: usize = 15;
const REPEAT: u32 = 400_000;
const PAYLOAD: usize = 160;
const CHANNEL: u16 = 0x4001;

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
    let v4 = ("198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000");
    let v6 = ("[2001:db8::7]:5000", "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", "[2001:db8:2::9]:6000");
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
    for round in 0..=ROUNDS {
        for subject in &mut subjects {
            let net = subject.run();
            if round > 0 {
                subject.nets.push(net);
            }
        }
    }
    println!(
        "{:40} {:>8} {:>8} {:>8}   ns a packet, net of the empty program, {ROUNDS} rounds",
        "", "min", "median", "max"
    );
    for subject in &mut subjects {
        subject.nets.sort_by(f64::total_cmp);
        let n = &subject.nets;
        println!("{:40} {:8.1} {:8.1} {:8.1}", subject.name, n[0], n[n.len() / 2], n[n.len() - 1]);
    }
}

impl Subject {
    fn new(families: &str, ends: (&str, &str, &str, &str), kind: Kind, flows: u32) -> Self {
        let mut program = Program::load_with(2 * flows, 2 * flows + 2);
        program.next_hop(1, next_hop(INGRESS, 1500, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], &[], 0x0800));
        program.next_hop(2, next_hop(INGRESS, 1500, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], &[], 0x86dd));
        let mut templates = Vec::new();
        let mut input = Vec::new();
        let mut order: Vec<u32> = (0..flows).collect();
        order.shuffle(&mut StdRng::seed_from_u64(1));
        for flow in order {
            let path = ends_of(ends, flow);
            for record in records(kind, &path) {
                let to = if record.dst.is_v4() { 1 } else { 2 };
                let next_hop = if record.next_hop == HAIRPIN { HAIRPIN } else { to };
                program.insert(FlowRecord { deadline: u64::MAX, next_hop, ..record });
            }
            let data = [7; PAYLOAD];
            let payload = match kind {
                Kind::ChannelToPeer | Kind::RelayToRelay => channel_data(path.channel.get(), &data, 0),
                Kind::Send => send_to(path.peer.into(), &data),
                Kind::PeerToChannel | Kind::Data => data.to_vec(),
            };
            let frame = match kind {
                Kind::PeerToChannel | Kind::Data => {
                    Datagram::new(path.peer.into(), path.relayed.into(), payload)
                }
                _ => Datagram::new(path.client.into(), path.listener.into(), payload),
            }
            .frame();
            templates.push(template(&frame));
            input = frame;
        }
        let run = program.run(&input);
        assert_eq!(run.verdict, turnpike_tests::xdp::Verdict::Tx, "{run:?}");
        let name = format!("{families}  {:14}  {flows:>6} flows", kind.name());
        Self { name, program, restore: restore(&templates), input, verdict: XDP_TX, nets: Vec::new() }
    }

    /// A Binding request, answered or, where it costs more than there is, limited.
    fn stranger(name: String, client: &str, listener: &str, fingerprint: bool, limited: bool) -> Self {
        let mut program = Program::load();
        let (client, listener): (SocketAddr, _) =
            (client.parse().expect("an address"), listener.parse().expect("an address"));
        let ethertype = if client.is_ipv4() { 0x0800 } else { 0x86dd };
        program.next_hop(1, next_hop(INGRESS, 1500, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], &[], ethertype));
        program.listener(listener);
        for any in ["0.0.0.0", "::"] {
            program.way_back(any.parse().expect("an address"), 0, 1);
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
        input.resize(8 * WORDS, 0);
        let verdict = if limited { XDP_DROP } else { XDP_TX };
        Self { name, program, restore: restore(&[template(&input)]), input, verdict, nets: Vec::new() }
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

/// The `flow`th client and peer: addresses and ports differ as a fleet's do.
fn ends_of((client, listener, relayed, peer): (&str, &str, &str, &str), flow: u32) -> Path {
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

/// What is written over a frame before each run.
fn template(frame: &[u8]) -> Template {
    let mut template = Template { frame_len: frame.len() as u64, ..Template::default() };
    for (word, bytes) in template.words.iter_mut().zip(frame.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
    }
    template
}

/// Loads `restore` over these templates.
fn restore(templates: &[Template]) -> Ebpf {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/turnpike-bench-xdp.o");
    let object =
        std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}; make it with `cargo xtask build-ebpf`"));
    let mut ebpf = EbpfLoader::new().load(&object).expect("the kernel takes the maps (needs CAP_BPF)");
    let map = ebpf.map_mut("TEMPLATES").expect("there");
    let mut map = Array::<_, [u8; size_of::<Template>()]>::try_from(map).expect("an array");
    for (i, template) in templates.iter().enumerate() {
        let bytes: [u8; size_of::<Template>()] = bytes_of(template).try_into().expect("its size");
        map.set(i as u32, bytes, 0).expect("in range");
    }
    let mut mask = Array::<_, u32>::try_from(ebpf.map_mut("MASK").expect("there")).expect("an array");
    mask.set(0, templates.len() as u32 - 1, 0).expect("in range");
    for name in ["restore", "nothing"] {
        let program: &mut Xdp = ebpf.program_mut(name).expect("there").try_into().expect("XDP");
        program.load().expect("the verifier takes it");
    }
    ebpf
}
