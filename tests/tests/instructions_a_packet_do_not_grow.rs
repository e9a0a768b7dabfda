//! How many instructions of BPF a packet of each kind costs, from its arrival to the verdict. More than three in a hundred over
//! `golden/instructions.txt` fail, so that growth is a decision and not an accident. Needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON.
//!
//! An interpreter counts them (`turnpike_tests::bpf`). That it does with each packet what the kernel does is asserted too. The
//! figures are the compiler's as much as ours, so the file holds them by version of rustc; for another one they are printed
//! alone. With `--nocapture`, all are.

use std::net::SocketAddr;

use relay_common::channel::INDICATION;
use relay_common::flow::{FlowRecord, Path};
use relay_common::interface::Interface;
use relay_common::next_hop::HAIRPIN;
use relay_common::tables::Controls;
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};
use turnpike_tests::bpf::{compiler, interpret};
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::{INGRESS, Program, Verdict, next_hop, object, path};

/// Client, listener, relayed transport address, peer, and another client of ours.
type Ends = [&'static str; 5];

const V4: Ends =
    ["198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000", "203.0.113.3:9000"];
const V6: Ends = [
    "[2001:db8::7]:5000",
    "[2001:db8:1::1]:3478",
    "[2001:db8:1::1]:50000",
    "[2001:db8:2::9]:6000",
    "[2001:db8:3::3]:9000",
];

const CHANNEL: u16 = 0x4001;
const DATA: [u8; 160] = [7; 160];

const HOP_V4: u32 = 1;
const HOP_V6: u32 = 2;

/// Makes a packet and the program that it goes through.
type Make = fn(Ends) -> (Program, Datagram);

/// What is measured.
const KINDS: [(&str, Make); 7] = [
    ("channel-to-peer", channel_to_peer),
    ("channel-to-client", channel_to_client),
    ("channel-to-peer-redirected", channel_redirected),
    ("send", send),
    ("data", data),
    ("relay-to-relay", relay_to_relay),
    ("binding", binding),
];

#[test]
fn instructions_a_packet_do_not_grow() {
    let compiler = compiler(object());
    let mut lines = String::new();
    let mut grown = Vec::new();
    for (kind, make) in KINDS {
        for (family, ends) in [("v4", V4), ("v6", V6)] {
            let (mut program, packet) = make(ends);
            let now = instructions(&mut program, &packet);
            let name = format!("{compiler} {kind} {family}");
            lines += &format!("{name} {now}\n");
            if let Some(was) = golden(&name)
                && now * 100 > was * 103
            {
                grown.push(format!("{name}: from {was} to {now}"));
            }
        }
    }
    eprint!("{lines}");
    assert!(
        grown.is_empty(),
        "{grown:#?} instructions; if that is meant, tests/golden/instructions.txt becomes\n{lines}"
    );
}

/// What the file says of this kind for this compiler.
fn golden(name: &str) -> Option<u64> {
    let lines = include_str!("../golden/instructions.txt").lines();
    let figure = lines.filter_map(|line| line.strip_prefix(name)).next()?;
    Some(figure.trim().parse().expect("a number"))
}

/// Instructions that the packet costs. The kernel must do with it what the interpreter does.
fn instructions(program: &mut Program, packet: &Datagram) -> u64 {
    let frame = packet.frame();
    let interpreted = interpret(program, &frame);
    let run = program.run(&frame);
    assert!(matches!(run.verdict, Verdict::Tx | Verdict::Redirect), "{run:?}");
    assert_eq!(interpreted.verdict, run.verdict);
    assert_eq!(readable(&interpreted.frame), readable(&run.frame));
    assert_eq!(interpreted.frame.len(), run.frame.len());
    interpreted.instructions
}

/// A frame, whose checksums are right, without the transaction id of a Data indication: that is made from the time.
fn readable(frame: &[u8]) -> Datagram {
    let mut datagram = Datagram::read(frame);
    if let [0x00, 0x17, _, _, _, _, _, _, rest @ ..] = &mut datagram.payload[..] {
        let (id, attributes) = rest.split_at_mut(12);
        // RFC 8489 section 14.2: all of an IPv6 address but the first word is XORed with it.
        if attributes.starts_with(&[0x00, 0x12, 0x00, 20]) {
            attributes[12..].iter_mut().zip(&*id).for_each(|(byte, id)| *byte ^= id);
        }
        id.fill(0);
    }
    datagram
}

/// A program with next hops of both families and a listener.
fn relay(ends: Ends) -> (Program, [SocketAddr; 5]) {
    let mut program = Program::load();
    for (number, ethertype) in [(HOP_V4, 0x0800), (HOP_V6, 0x86dd)] {
        let (to, from) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        program.next_hop(number, next_hop(INGRESS, 1500, to, from, &[], ethertype));
    }
    let ends = ends.map(|end| end.parse().expect("an address and port"));
    program.listener(ends[1]);
    (program, ends)
}

fn insert(program: &mut Program, record: FlowRecord) {
    let of_family = if record.dst.is_v4() { HOP_V4 } else { HOP_V6 };
    let next_hop = if record.next_hop == 0 { of_family } else { record.next_hop };
    program.insert(FlowRecord { deadline: u64::MAX, next_hop, ..record });
}

fn channel_to_peer(ends: Ends) -> (Program, Datagram) {
    let (mut program, [client, listener, relayed, peer, _]) = relay(ends);
    insert(&mut program, FlowRecord::client_to_peer(&path(client, listener, relayed, peer, CHANNEL)));
    (program, Datagram::new(client, listener, channel_data(CHANNEL, &DATA, 0)))
}

fn channel_to_client(ends: Ends) -> (Program, Datagram) {
    let (mut program, [client, listener, relayed, peer, _]) = relay(ends);
    insert(&mut program, FlowRecord::peer_to_client(&path(client, listener, relayed, peer, CHANNEL)));
    (program, Datagram::new(peer, relayed, DATA))
}

/// In by another interface than out.
fn channel_redirected(ends: Ends) -> (Program, Datagram) {
    let (mut program, packet) = channel_to_peer(ends);
    // The only interface that every namespace has is the loopback: the packet leaves by it, and came in by a member of
    // what routes know as another one.
    program.interface(Interface { ifindex: INGRESS, slot: 1, flags: Interface::VIRTUAL, bond: INGRESS + 1 });
    program.device(INGRESS);
    (program, packet)
}

/// A permission, by which the data goes in indications.
fn permission([client, listener, relayed, peer, _]: [SocketAddr; 5]) -> Path {
    let peer = SocketAddr::new(peer.ip(), 0);
    Path { channel: INDICATION, ..path(client, listener, relayed, peer, 0) }
}

fn send(ends: Ends) -> (Program, Datagram) {
    let (mut program, ends) = relay(ends);
    insert(&mut program, FlowRecord::client_to_peer(&permission(ends)));
    let mut message = Vec::new();
    let kind = MessageType::new(Method::SEND, Class::Indication);
    let mut builder = Builder::new(&mut message, kind, TransactionId(*b"transactions"));
    builder.xor_peer_address(ends[3]).data(&DATA).expect("it fits");
    (program, Datagram::new(ends[0], ends[1], message))
}

fn data(ends: Ends) -> (Program, Datagram) {
    let (mut program, ends) = relay(ends);
    insert(&mut program, FlowRecord::peer_to_client(&permission(ends)));
    (program, Datagram::new(ends[3], ends[2], DATA))
}

/// From the channel of one client to that of another.
fn relay_to_relay(ends: Ends) -> (Program, Datagram) {
    let (mut program, [client, listener, relayed, _, other]) = relay(ends);
    let others = SocketAddr::new(relayed.ip(), relayed.port() + 1);
    let out = FlowRecord::client_to_peer(&path(client, listener, relayed, others, CHANNEL));
    insert(&mut program, FlowRecord { next_hop: HAIRPIN, ..out });
    insert(
        &mut program,
        FlowRecord::peer_to_client(&path(other, listener, others, relayed, CHANNEL)).inside(),
    );
    (program, Datagram::new(client, listener, channel_data(CHANNEL, &DATA, 0)))
}

/// A request that is answered.
fn binding(ends: Ends) -> (Program, Datagram) {
    let (mut program, [client, listener, ..]) = relay(ends);
    for (any, next_hop) in [("0.0.0.0", HOP_V4), ("::", HOP_V6)] {
        program.way_back(any.parse().expect("an address"), 0, next_hop);
    }
    program.controls(Controls { answer_bindings: 1, ..Controls::default() });
    let mut request = Vec::new();
    Builder::new(&mut request, MessageType::new(Method::BINDING, Class::Request), TransactionId([7; 12]));
    (program, Datagram::new(client, listener, request))
}
