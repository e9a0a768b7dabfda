//! The bench's generator and sink: what comes back whole is counted as such, and what does not by what became of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use relay_common::addr::{Be16, Endpoint};
use relay_common::bench::arrival::{ADDRESS, CHECKSUM, DATA, HEADER, IP_HEADER, LENGTH, PORT};
use relay_common::channel::INDICATION;
use relay_common::flow::{FlowRecord, Path};
use relay_common::next_hop::HAIRPIN;
use turnpike_bench::figures::{Direction, Flow, Load, Outcome};
use turnpike_bench::templates::{self, V4, V6};
use turnpike_bench::traffic::{Traffic, Wire, least_frame};
use turnpike_tests::frames::Datagram;
use turnpike_tests::lab::{self, Namespace, PassProgram, veth};
use turnpike_tests::xdp::Program;

const NEAR: &str = "gen0";
const FAR: &str = "nic0";

/// Slow enough for a machine that does other things.
const LOAD: Load = Load {
    direction: Direction::ToPeer,
    frame: 200,
    rate: Some(1000.0),
    burst: 1,
    spacing: Duration::ZERO,
    duration: Duration::from_millis(300),
};

/// The generator's machine and the relay's, with a wire between them.
struct Pair {
    near: Namespace,
    far: Namespace,
}

impl Pair {
    fn new() -> Self {
        let (near, far) = (Namespace::new(), Namespace::new());
        veth(&near, NEAR, &far, FAR);
        Self { near, far }
    }

    /// Generator and sink, which looks at every byte that comes back.
    fn traffic(&self, flows: &[Flow], wire: Wire) -> Traffic {
        let (own, relay) = (self.near.mac(NEAR), self.far.mac(FAR));
        let traffic = self.near.enter(|| Traffic::new(NEAR, own, relay, flows, wire));
        let mut traffic = traffic.expect("generator and sink");
        traffic.check_every(1);
        traffic
    }

    fn offer(&self, flows: &[Flow], wire: Wire, load: &Load) -> (Outcome, Traffic) {
        let mut traffic = self.traffic(flows, wire);
        let outcome = self.near.enter(|| traffic.offer(load, &|| 0.0)).expect("a run");
        (outcome, traffic)
    }

    /// The same while `becomes` says what comes back for the frame with this number, MAC addresses swapped already.
    fn offer_to(
        &self,
        flows: &[Flow],
        load: &Load,
        becomes: impl FnMut(u32, Vec<u8>) -> Vec<Vec<u8>> + Send,
    ) -> (Outcome, Traffic) {
        let done = Done::default();
        // Else a veth has nobody to hand over to what XDP sent.
        let _program = PassProgram::attach(&self.far, FAR);
        let mut wire = lab::Wire::open(&self.far, FAR);
        let reflect = || {
            let (mut number, mut becomes) = (0, becomes);
            while !done.is_set() {
                let arrived = wire.find(Duration::from_millis(20), |frame| {
                    (frame.get(12..14) == Some(&[8, 0])).then(|| frame.to_vec())
                });
                let Some(mut frame) = arrived else { continue };
                frame[..12].rotate_left(6);
                for frame in becomes(number, frame) {
                    wire.send(&frame);
                }
                number += 1;
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(reflect);
            let _ended = done.at_the_end();
            self.offer(flows, Wire::Echo, load)
        })
    }
}

/// That a thread is to end, also where the test fails.
#[derive(Default)]
struct Done(AtomicBool);

impl Done {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn at_the_end(&self) -> impl Drop {
        struct Set<'d>(&'d AtomicBool);
        impl Drop for Set<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        Set(&self.0)
    }
}

/// The floor, until dropped.
fn swap_macs(pair: &Pair) -> Ebpf {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/turnpike-bench-xdp.o");
    let object =
        std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}; make it with `cargo xtask build-ebpf`"));
    let mut ebpf = EbpfLoader::new().map_max_entries("TEMPLATES", 1).load(&object).unwrap();
    let program: &mut Xdp = ebpf.program_mut("swap_macs").unwrap().try_into().unwrap();
    program.load().unwrap();
    pair.far.enter(|| program.attach(FAR, XdpMode::Driver).unwrap());
    ebpf
}

fn flow(ends: templates::Ends, number: u32) -> Flow {
    of_path(&templates::path_of(ends, number))
}

fn of_path(path: &Path) -> Flow {
    Flow {
        client: path.client.into(),
        listener: path.listener.into(),
        relayed: path.relayed.into(),
        peer: path.peer.into(),
        channel: path.channel.get(),
    }
}

fn whole(outcome: &Outcome, traffic: &Traffic, what: &str) {
    assert!(outcome.sent > 0, "{what}");
    assert_eq!(traffic.faults(), [0; _], "{what}: {outcome:?}");
    assert_eq!((outcome.arrived, outcome.reordered, outcome.corrupt), (outcome.sent, 0, 0), "{what}");
    let by_flow: u64 = traffic.by_flow().iter().map(|&[arrived, ..]| u64::from(arrived)).sum();
    assert_eq!(by_flow, outcome.arrived, "{what}");
}

#[test]
fn what_the_floor_returns_is_counted_without_loss() {
    let pair = Pair::new();
    let _floor = swap_macs(&pair);
    let channels = |ends| (0..64).map(move |number| flow(ends, number));
    let indications = |ends| channels(ends).map(|flow| Flow { channel: 0, ..flow });
    for (what, flows) in [
        ("IPv4", channels(V4).collect::<Vec<_>>()),
        ("IPv6", channels(V6).collect()),
        ("both", channels(V4).chain(channels(V6)).collect()),
        ("indications of both", indications(V4).chain(indications(V6)).collect()),
    ] {
        let mut traffic = pair.traffic(&flows, Wire::Echo);
        for direction in [Direction::ToPeer, Direction::ToClient] {
            let least = least_frame(&flows, Wire::Echo, direction).unwrap();
            for frame in [least, least + 1, 999, 1000, 1001, 1400] {
                let what = format!("{what} {direction:?} {frame}");
                let load = Load { direction, frame, burst: 3, duration: Duration::from_millis(50), ..LOAD };
                let outcome = pair.near.enter(|| traffic.offer(&load, &|| 0.0)).expect("a run");
                assert!(outcome.sent <= 50 + 3, "{what}: {outcome:?}, more than was asked for");
                assert!(outcome.latency.is_some_and(|latency| latency.p50 > 0), "{what}: {outcome:?}");
                whole(&outcome, &traffic, &what);
            }
        }
    }
}

#[test]
fn the_shortest_frames_of_ipv4_are_of_64_bytes() {
    let flows = [flow(V4, 0)];
    assert!(least_frame(&flows, Wire::Turn, Direction::ToPeer).unwrap() <= 64);
    assert!(least_frame(&flows, Wire::Turn, Direction::ToClient).unwrap() <= 64);
}

#[test]
fn packets_of_a_burst_are_of_one_flow() {
    let pair = Pair::new();
    let flows: Vec<_> = (0..64).map(|number| flow(V4, number)).collect();
    let mut senders = Vec::new();
    let (outcome, _) = pair.offer_to(&flows, &Load { burst: 10, ..LOAD }, |_, frame| {
        senders.push(Datagram::read(&frame).src);
        vec![frame]
    });
    assert_eq!(outcome.arrived, outcome.sent, "{outcome:?}");
    assert!(senders.chunks(10).all(|burst| burst.iter().all(|sender| *sender == burst[0])), "{senders:?}");
    let bursts = senders.chunks(10).map(|burst| burst[0]);
    assert!(bursts.clone().zip(bursts.skip(1)).any(|(one, next)| one != next), "{senders:?}");
}

#[test]
fn packets_of_a_burst_keep_their_spacing() {
    let pair = Pair::new();
    let flows = [flow(V4, 0)];
    let mut traffic = pair.traffic(&flows, Wire::Echo);
    let mut sent = |spacing| {
        // With a rate, the time is looked at before each burst.
        let load = Load { rate: Some(1e6), burst: 10, spacing, duration: Duration::from_millis(50), ..LOAD };
        let outcome = pair.near.enter(|| traffic.offer(&load, &|| 0.0)).expect("a run");
        outcome.sent
    };
    let spacing = Duration::from_micros(50);
    // From the last of a burst to the first of the next there is none.
    let bursts = 50_000 / (9 * 50) + 1;
    let (spaced, not_spaced) = (sent(spacing), sent(Duration::ZERO));
    assert!((50..=10 * bursts).contains(&spaced), "{spaced} packets");
    assert!(not_spaced > 10 * bursts, "{not_spaced} packets as fast as can be");
}

#[test]
fn dropped_frames_are_lost() {
    let pair = Pair::new();
    let mut dropped = 0;
    let (outcome, traffic) = pair.offer_to(&[flow(V4, 0)], &LOAD, |number, frame| {
        if number % 10 == 3 {
            dropped += 1;
            return Vec::new();
        }
        vec![frame]
    });
    assert!(dropped > 0);
    assert_eq!(outcome.arrived, outcome.sent - dropped, "{outcome:?}");
    assert_eq!((outcome.reordered, outcome.corrupt), (0, 0), "{:?}", traffic.faults());
}

#[test]
fn swapped_frames_are_counted_once_each_as_reordered() {
    let pair = Pair::new();
    let (mut held, mut swapped) = (None, 0);
    let (outcome, traffic) = pair.offer_to(&[flow(V4, 0)], &LOAD, |number, frame| {
        if number % 10 == 3 {
            held = Some(frame);
            return Vec::new();
        }
        match held.take() {
            Some(before) => {
                swapped += 1;
                vec![frame, before]
            }
            None => vec![frame],
        }
    });
    // The very last may be held for ever.
    let held = u64::from(held.is_some());
    assert!(swapped > 0);
    assert_eq!((outcome.arrived, outcome.reordered), (outcome.sent - held, swapped), "{outcome:?}");
    assert_eq!(outcome.corrupt, 0, "{:?}", traffic.faults());
}

#[test]
fn a_corrupted_frame_is_counted_by_what_is_wrong_with_it() {
    let pair = Pair::new();
    // Offsets in a frame of IPv4 with ChannelData.
    let faults = [
        ("source address", 29, ADDRESS),
        ("destination port", 37, PORT),
        ("TTL, with the header's checksum as it was", 22, IP_HEADER),
        ("UDP length", 39, LENGTH),
        ("UDP checksum", 40, CHECKSUM),
        ("channel number", 43, HEADER),
        ("ChannelData length", 45, LENGTH),
        ("the first byte behind the stamp", 62, DATA),
        ("the last byte", 198, DATA),
    ];
    for (what, at, fault) in faults {
        let mut spoilt = 0;
        // Of an odd length: the last byte is a word's half.
        let load = Load { duration: Duration::from_millis(100), frame: 199, ..LOAD };
        let (outcome, traffic) = pair.offer_to(&[flow(V4, 0)], &load, |number, mut frame| {
            if number % 10 == 3 {
                spoilt += 1;
                frame[at] ^= 1;
            }
            vec![frame]
        });
        assert!(spoilt > 0);
        assert_eq!(outcome.arrived, outcome.sent - spoilt, "{what}: {outcome:?}");
        assert_eq!(outcome.corrupt, spoilt, "{what}");
        assert_eq!(traffic.faults()[fault as usize], spoilt, "{what}: {:?}", traffic.faults());
        assert_eq!(outcome.reordered, 0, "{what}");
    }
}

#[test]
fn the_kernels_forwarding_takes_one_off_the_ttl() {
    let pair = Pair::new();
    let load = Load { duration: Duration::from_millis(100), ..LOAD };
    let flows = [flow(V4, 0)];
    let once = |wire| {
        let _program = PassProgram::attach(&pair.far, FAR);
        let done = Done::default();
        let mut far = lab::Wire::open(&pair.far, FAR);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.is_set() {
                    let arrived = far.find(Duration::from_millis(20), |frame| {
                        (frame.get(12..14) == Some(&[8, 0])).then(|| Datagram::read(frame))
                    });
                    if let Some(datagram) = arrived {
                        assert_eq!((datagram.src, datagram.dst), (flows[0].client, flows[0].peer));
                        far.send(&Datagram { ttl: datagram.ttl - 1, ..datagram }.frame());
                    }
                }
            });
            let _ended = done.at_the_end();
            pair.offer(&flows, wire, &load)
        })
    };
    let (outcome, traffic) = once(Wire::Forward);
    whole(&outcome, &traffic, "forwarded");
    let crossing = Flow { peer: "[2001:db8::9]:1".parse().unwrap(), ..flows[0] };
    let refused = least_frame(&[crossing], Wire::Forward, Direction::ToPeer).unwrap_err();
    assert!(refused.to_string().contains("one family"), "{refused}");
}

#[test]
fn frames_of_others_go_up_the_stack() {
    let pair = Pair::new();
    let mut near = lab::Wire::open(&pair.near, NEAR);
    let [src, dst]: [SocketAddr; 2] =
        ["203.0.113.9:53", "198.51.100.7:5000"].map(|address| address.parse().unwrap());
    let other = Datagram::new(src, dst, *b"an answer of somebody else's");
    let (outcome, _) = pair.offer_to(&[flow(V4, 0)], &LOAD, |_, frame| vec![other.frame(), frame]);
    assert_eq!((outcome.arrived, outcome.corrupt), (outcome.sent, 0));
    assert!(near.find_payload(lab::QUIET, &other.payload).is_some());
}

/// The program under test with both records of these paths, and the flows.
fn relay(ends: templates::Ends, channel: bool, pair: &Pair) -> (Program, Vec<Flow>) {
    const FLOWS: u32 = 16;
    let ifindex = pair.far.enter(|| {
        std::fs::read_to_string(format!("/sys/class/net/{FAR}/ifindex")).unwrap().trim().parse().unwrap()
    });
    let (program, _) = templates::many(ends, FLOWS, ifindex, |path| {
        let permission = Path { channel: INDICATION, peer: Endpoint { port: Be16(0), ..path.peer }, ..*path };
        let path = if channel { *path } else { permission };
        let records = [FlowRecord::client_to_peer(&path), FlowRecord::peer_to_client(&path)];
        (records, Datagram::new(path.client.into(), path.listener.into(), [0; 100]))
    });
    let flows = (0..FLOWS).map(|number| flow(ends, number));
    (program, flows.map(|flow| if channel { flow } else { Flow { channel: 0, ..flow } }).collect())
}

#[test]
fn what_turnpike_relays_arrives_whole() {
    let pair = Pair::new();
    for (what, ends) in [
        ("v4 - v4", V4),
        ("v6 - v6", V6),
        ("v4 - v6", (V4.0, V4.1, V6.2, V6.3)),
        ("v6 - v4", (V6.0, V6.1, V4.2, V4.3)),
    ] {
        for channel in [true, false] {
            let (mut program, flows) = relay(ends, channel, &pair);
            let link = pair.far.enter(|| program.attach(FAR));
            let mut traffic = pair.traffic(&flows, Wire::Turn);
            for direction in [Direction::ToPeer, Direction::ToClient] {
                let least = least_frame(&flows, Wire::Turn, direction).unwrap();
                for frame in [least.max(64), 201, 1400] {
                    let load = Load { direction, frame, duration: Duration::from_millis(50), ..LOAD };
                    let what = format!("{what} {direction:?} channel {channel} {frame}");
                    let outcome = pair.near.enter(|| traffic.offer(&load, &|| 0.0)).expect("a run");
                    whole(&outcome, &traffic, &what);
                }
            }
            program.detach(link).unwrap();
        }
    }
}

#[test]
fn what_one_client_sends_another_by_relay_arrives_whole() {
    let pair = Pair::new();
    for ends in [V4, V6] {
        let ifindex = pair.far.enter(|| {
            std::fs::read_to_string(format!("/sys/class/net/{FAR}/ifindex")).unwrap().trim().parse().unwrap()
        });
        let one = templates::path_of(ends, 0);
        // The other client's channel is another one.
        let other = Path {
            relayed: one.peer,
            peer: one.relayed,
            channel: Be16::new(0x4007),
            ..templates::path_of(ends, 1)
        };
        let mut program = Program::load_with(64, 8);
        templates::next_hops(&mut program, ifindex);
        let next_hop = if one.client.ip.is_v4() { templates::NEXT_HOP_V4 } else { templates::NEXT_HOP_V6 };
        for path in [&one, &other] {
            for (record, next_hop) in [
                (FlowRecord::client_to_peer(path), HAIRPIN),
                (FlowRecord::peer_to_client(path).inside(), next_hop),
            ] {
                program.insert(FlowRecord { deadline: u64::MAX, next_hop, ..record });
            }
        }
        let link = pair.far.enter(|| program.attach(FAR));
        let load = Load { direction: Direction::RelayToRelay, ..LOAD };
        let (outcome, traffic) = pair.offer(&[of_path(&one), of_path(&other)], Wire::Turn, &load);
        whole(&outcome, &traffic, ends.0);
        program.detach(link).unwrap();
    }
}
