//! The same packet through the XDP program and through the protocol core: what XDP forwards is what the core would
//! have sent, and what XDP does not forward it leaves untouched. Random tables, random packets, random damage.

#[path = "../../relay-userspace/tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Client, Seen, Sim, to_client, to_peer};
use etherparse::{Ethernet2Slice, Ipv4Slice, LinkSlice, NetSlice, SlicedPacket, TransportSlice};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use relay_common::flow::{FlowRecord, Path};
use relay_common::reason::Reason;
use turnpike::stun::{AttributeType, Builder, Class, MAGIC_COOKIE, MessageType, Method, TransactionId};
use turnpike::time::Timestamp;
use turnpike::turn::{Binding, FiveTuple, PeerAddr};
use turnpike_tests::frames::{Datagram, channel_data, padded_channel_data};
use turnpike_tests::xdp::{INGRESS, Program, Verdict, next_hop};

const PACKETS: usize = 20_000;
/// Room for every packet made here, so that none is too big for its next hop.
const MTU: u16 = 1500;

/// A server with clients, and the program with the same bindings.
struct Pair {
    sim: Sim,
    program: Program,
    /// Of channels, each with one for the permission of its peer in the tables.
    bindings: Vec<Binding>,
    rng: StdRng,
    /// Packets that went up because of [`Reason::UnfinishedChecksum`].
    unfinished: usize,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut sim = common::sim();
        // Clients of long ago, whose bindings have expired unnoticed, then clients of now.
        let now = Timestamp::now();
        let mut port = 5000;
        for age in [1000, 0] {
            sim.now = Timestamp(now.0.saturating_sub(Duration::from_secs(age).as_nanos() as u64));
            for _ in 0..8 {
                port += 1;
                let mut client = Client::new(port);
                client.request(&mut sim, turnpike::stun::Method::ALLOCATE, |b| {
                    b.requested_transport(17).lifetime(Duration::from_secs(3600));
                });
                for channel in 0..rng.random_range(1..5) {
                    let peer =
                        SocketAddr::new([203, 0, 113, channel + 1].into(), rng.random_range(1..u16::MAX));
                    client.bind(&mut sim, 0x4000 + rng.random_range(0..0x1000), peer);
                }
            }
        }
        let bindings: Vec<Binding> = sim.datapath.bindings.values().copied().collect();
        let mut program = Program::load_with(256, 4096);
        program.next_hop(1, next_hop(INGRESS, MTU, [2; 6], [4; 6], &[], 0x0800));
        for binding in &bindings {
            program.listener(binding.five_tuple.listener);
            let path = Path::from(binding);
            for record in [FlowRecord::client_to_peer(&path), FlowRecord::peer_to_client(&path)] {
                program.insert(FlowRecord { deadline: binding.deadline.0, next_hop: 1, ..record });
            }
        }
        let bindings = bindings.into_iter().filter(|b| common::channel_of(b).is_some()).collect();
        Self { sim, program, bindings, rng, unfinished: 0 }
    }

    /// A well-formed packet of some binding, and whether the binding is alive.
    fn packet(&mut self) -> (Datagram, bool) {
        let rng = &mut self.rng;
        let binding = *self.bindings.choose(rng).expect("bindings were made");
        let data: Vec<u8> = (0..rng.random_range(0..300)).map(|_| rng.random()).collect();
        let indication = rng.random_bool(0.5);
        // Port 0 is one that data comes from, but not one that it may go to.
        let from_port = SocketAddr::new(binding.peer.0.ip(), rng.random_range(0..u16::MAX) % 100);
        let other_port = SocketAddr::new(binding.peer.0.ip(), rng.random_range(1..u16::MAX));
        let datagram = if indication && rng.random() {
            let payload = send(rng, other_port, &data);
            Datagram::new(binding.five_tuple.client.0, binding.five_tuple.listener, payload)
        } else if indication {
            Datagram::new(from_port, binding.relayed.0, data)
        } else if rng.random() {
            let channel = common::channel_of(&binding).expect("a channel");
            let payload = if rng.random() {
                channel_data(channel, &data, 0)
            } else {
                padded_channel_data(channel, &data)
            };
            Datagram::new(binding.five_tuple.client.0, binding.five_tuple.listener, payload)
        } else {
            Datagram::new(binding.peer.0, binding.relayed.0, data)
        };
        let datagram = Datagram {
            ttl: rng.random_range(2..=255),
            tos: rng.random(),
            id: rng.random(),
            dont_fragment: rng.random(),
            ..datagram
        };
        (datagram, binding.deadline > self.sim.now)
    }

    /// What the core does with a datagram that the kernel hands it.
    fn core(&mut self, datagram: &Datagram) -> Vec<Seen> {
        if self.sim.config.relay_ports.contains(&datagram.dst.port()) {
            self.sim.peer_sends(datagram.dst, PeerAddr(datagram.src), &datagram.payload)
        } else {
            let five_tuple = FiveTuple {
                client: turnpike::turn::ClientAddr(datagram.src),
                listener: datagram.dst,
                transport: turnpike::turn::Transport::Udp,
            };
            self.sim.client_sends(five_tuple, &datagram.payload)
        }
    }

    /// Runs a frame both ways and compares; says whether XDP forwarded it.
    fn compare(&mut self, frame: &[u8]) -> bool {
        let run = self.program.run(frame);
        let [(reason, 1)] = run.counted[..] else { panic!("one packet, one counter: {run:?}") };
        match run.verdict {
            Verdict::Pass | Verdict::Drop => {
                assert_eq!(run.frame, frame, "{:?} {reason:?} changed it", run.verdict)
            }
            Verdict::Tx => {}
            other => panic!("{other:?} with one interface"),
        }
        let delivered = delivered(frame);
        if run.verdict == Verdict::Pass {
            self.unfinished += usize::from(reason == Reason::UnfinishedChecksum);
            return false;
        }
        let (seen, right) =
            delivered.unwrap_or_else(|| panic!("{run:?}: the kernel would not have delivered {frame:x?}"));
        if run.verdict == Verdict::Drop {
            let effects = self.core(&seen);
            let core_drops = common::dropped(&effects).is_some();
            assert!(
                core_drops || (reason == Reason::TtlExceeded && seen.ttl <= 1),
                "{reason:?}, but {effects:?}"
            );
            return false;
        }
        let (sent, still_right) = Datagram::read_any(&run.frame);
        assert_eq!(right, still_right, "a wrong UDP checksum stays wrong, a right one right");
        let effects = self.core(&seen);
        let (src, dst, payload) = if reason == Reason::ToPeer {
            let (peer, payload) =
                to_peer(&effects).unwrap_or_else(|| panic!("{seen:?}: the core says {effects:?}"));
            let Some(Seen::ToPeer(relayed, ..)) = effects.first() else { panic!("{effects:?}") };
            (relayed.0, peer.0, payload)
        } else {
            let payload =
                to_client(&effects).unwrap_or_else(|| panic!("{seen:?}: the core says {effects:?}"));
            let Some(Seen::ToClient(five_tuple, _)) = effects.first() else { panic!("{effects:?}") };
            (five_tuple.listener, five_tuple.client.0, payload)
        };
        let expected = Datagram {
            macs: ([2; 6], [4; 6]),
            tags: Vec::new(),
            src,
            dst,
            ttl: seen.ttl - 1,
            tos: seen.tos,
            id: if seen.dont_fragment { 0 } else { seen.id },
            dont_fragment: seen.dont_fragment,
            checksum: seen.checksum,
            payload: like(payload, &sent.payload),
        };
        assert_eq!(sent, expected);
        true
    }
}

/// The core's payload with the transaction id of the program's: each draws its own for a Data indication.
fn like(core: &[u8], program: &[u8]) -> Vec<u8> {
    let mut payload = core.to_vec();
    let is_data = |bytes: &[u8]| bytes.len() >= 36 && bytes[..2] == [0, 0x17] && bytes[4..8] == MAGIC_COOKIE;
    if is_data(core) && is_data(program) {
        payload[8..20].copy_from_slice(&program[8..20]);
    }
    payload
}

/// A Send indication as clients of several kinds make it.
fn send(rng: &mut StdRng, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = MessageType::new(Method::SEND, Class::Indication);
    let mut message = Builder::new(&mut out, kind, TransactionId(rng.random()));
    match rng.random_range(0..4) {
        0 => message.xor_peer_address(peer).data(data).expect("it fits"),
        1 => message.data(data).expect("it fits").xor_peer_address(peer).fingerprint(),
        2 => message.software("random").xor_peer_address(peer).data(data).expect("it fits"),
        _ => message.data(data).expect("it fits").bytes(AttributeType(0xc0de), &[7]).xor_peer_address(peer),
    };
    out
}

/// What a socket would be handed of a frame, and whether its UDP checksum is right: the kernel's own checks, by
/// another library. `None` when nothing would be, or only after reassembly.
fn delivered(frame: &[u8]) -> Option<(Datagram, bool)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(LinkSlice::Ethernet2(link)) = &sliced.link else { return None };
    let (link, ip): (&Ethernet2Slice<'_>, &Ipv4Slice<'_>) = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => (link, ip),
        _ => return None,
    };
    let header = ip.header().to_header();
    if header.more_fragments || header.fragment_offset.value() != 0 {
        return None;
    }
    if header.header_checksum != header.calc_header_checksum() {
        return None;
    }
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else { return None };
    let udp_header = udp.to_header();
    if usize::from(udp_header.length) < 8 || usize::from(udp_header.length) > ip.payload().payload.len() {
        return None;
    }
    let payload = ip.payload().payload[8..usize::from(udp_header.length)].to_vec();
    let full = udp_header.calc_checksum_ipv4(&header, &payload).ok()?;
    let right = udp_header.checksum == 0 || udp_header.checksum == full;
    let datagram = Datagram {
        macs: (link.destination(), link.source()),
        tags: Vec::new(),
        src: SocketAddr::new(header.source.into(), udp_header.source_port),
        dst: SocketAddr::new(header.destination.into(), udp_header.destination_port),
        ttl: header.time_to_live,
        tos: header.dscp.value() << 2 | header.ecn.value(),
        id: header.identification,
        dont_fragment: header.dont_fragment,
        checksum: udp_header.checksum != 0,
        payload,
    };
    Some((datagram, right))
}

/// One of the ways in which packets are unusual or broken.
fn damage(rng: &mut StdRng, mut datagram: Datagram) -> Vec<u8> {
    let kind = rng.random_range(0..14);
    match kind {
        0 => datagram.checksum = false,
        1 => datagram.ttl = rng.random_range(0..3),
        2 => datagram.dst.set_port(rng.random()),
        3 => datagram.src.set_port(rng.random()),
        4 => datagram.tags = (0..rng.random_range(1..4)).map(|i| (0x8100, i + 1)).collect(),
        5 => datagram.payload.extend(std::iter::repeat_n(0, rng.random_range(1..6))),
        6 => drop(datagram.payload.pop()),
        7 => datagram.payload.truncate(rng.random_range(0..6)),
        _ => {}
    }
    let mut frame = datagram.frame();
    match kind {
        8 => frame.truncate(rng.random_range(0..frame.len())),
        9 => frame.extend((0..rng.random_range(1..30)).map(|_| 0xee)),
        10 => {
            let fragment: u16 = rng.random();
            frame[20..22].copy_from_slice(&fragment.to_be_bytes());
            fix_ip_checksum(&mut frame);
        }
        11 => {
            let words = rng.random_range(1..=10_u8);
            frame[14] += words;
            let options = vec![1; usize::from(words) * 4];
            frame.splice(34..34, options);
            let total = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            fix_ip_checksum(&mut frame);
        }
        12 => {
            let at = *[16, 38].choose(rng).expect("two fields");
            let length: u16 = if rng.random() {
                rng.random()
            } else {
                frame[at + 1].wrapping_add(rng.random_range(0..9)).into()
            };
            frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
            fix_ip_checksum(&mut frame);
        }
        13 => {
            let bit = rng.random_range(0..frame.len().min(100) * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        _ => {}
    }
    frame
}

fn fix_ip_checksum(frame: &mut [u8]) {
    if let Ok((header, _)) = etherparse::Ipv4Header::from_slice(&frame[14..]) {
        frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    }
}

#[test]
fn well_formed_packets_of_living_bindings_all_take_the_fast_path() {
    let mut pair = Pair::new(1);
    for _ in 0..PACKETS / 4 {
        let (datagram, alive) = pair.packet();
        let unfinished = pair.unfinished;
        let forwarded = pair.compare(&datagram.frame());
        assert_eq!(forwarded || pair.unfinished > unfinished, alive, "{datagram:?}");
    }
    assert!(pair.unfinished < 5, "{} of {}: one in 65,536 may look like it", pair.unfinished, PACKETS / 4);
}

#[test]
fn damaged_packets_give_the_same_bytes_or_pass_untouched() {
    let mut pair = Pair::new(2);
    let mut forwarded = 0;
    for _ in 0..PACKETS {
        let (datagram, _) = pair.packet();
        let frame = damage(&mut pair.rng, datagram);
        forwarded += usize::from(!frame.is_empty() && frame.len() >= 14 && pair.compare(&frame));
    }
    assert!(
        forwarded > PACKETS / 20,
        "{forwarded} of {PACKETS} were forwarded: the test compares too little"
    );
}

#[test]
fn a_packet_truncated_at_any_byte_is_untouched() {
    let mut pair = Pair::new(3);
    for _ in 0..8 {
        let (datagram, _) = pair.packet();
        let frame = datagram.frame();
        for len in 14..frame.len() {
            assert!(!pair.compare(&frame[..len]), "{len} of {} bytes", frame.len());
        }
    }
}
