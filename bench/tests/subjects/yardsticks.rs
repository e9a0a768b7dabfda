//! What is not a TURN server sends frames on.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use relay_common::bench::WRITTEN;
use turnpike_bench::allocations::Plan;
use turnpike_bench::lab::{Family, Lab};
use turnpike_bench::subjects::{AfXdp, Floor, Forwarding, Subject};
use turnpike_bench::templates::bench_programs;
use turnpike_bench::traffic::Wire as Kind;
use turnpike_tests::frames::Datagram;
use turnpike_tests::lab::{PATIENCE, Wire};

use crate::common::{awake, generator, skipped};

/// Sends a client's packet to the relay, and gives what comes back.
fn offer(lab: &Lab, packet: &Datagram) -> Datagram {
    let mut wire = Wire::open(generator(lab), &lab.clients().interface);
    wire.send(&packet.frame());
    let found = wire.find(Duration::from_secs(5), |frame| {
        frame.ends_with(&packet.payload).then(|| Datagram::read(frame))
    });
    found.expect("the packet comes back")
}

fn packet(subject: &dyn Subject) -> Datagram {
    let (flow, port) = (subject.flows()[0], subject.lab().clients());
    let macs = (port.relay_mac, port.own_mac);
    Datagram { macs, ..Datagram::new(flow.client, flow.peer, b"there and back") }
}

#[test]
fn the_floor_sends_a_frame_back_as_it_was() {
    if skipped() {
        return;
    }
    for family in Family::ALL {
        let lab = Lab::one_nic().expect("a lab");
        let _awake = awake(&lab);
        let floor = Floor::start(lab, &Plan::channels(4, 4, family)).expect("the floor");
        assert_eq!((floor.wire(), floor.flows().len()), (Kind::Echo, 16));
        let sent = packet(&floor);
        let swapped = Datagram { macs: (sent.macs.1, sent.macs.0), ..sent.clone() };
        assert_eq!(offer(floor.lab(), &sent), swapped);
        assert!(floor.cpu_seconds() > 0.0);
    }
}

/// The AF_XDP reflector in a lab of its own.
fn af_xdp(lab: Lab, family: Family) -> AfXdp {
    let bench = env!("CARGO_BIN_EXE_turnpike-bench").as_ref();
    AfXdp::start(lab, &Plan::channels(4, 4, family), bench).unwrap_or_else(|e| panic!("{e:#}"))
}

#[test]
fn af_xdp_sends_every_frame_back_as_it_was_when_its_rings_go_round_too() {
    /// More frames than the socket has, and no more at a time than a veth has room for.
    const FRAMES: u32 = 5_000;
    const AT_A_TIME: usize = 100;
    if skipped() {
        return;
    }
    for family in Family::ALL {
        let lab = Lab::one_nic().expect("a lab");
        let _awake = awake(&lab);
        let reflector = af_xdp(lab, family);
        assert_eq!((reflector.wire(), reflector.flows().len()), (Kind::Echo, 16));
        let first = packet(&reflector);
        let mut wire = Wire::open(generator(reflector.lab()), &reflector.lab().clients().interface);
        let numbers: Vec<u32> = (0..FRAMES).collect();
        for some in numbers.chunks(AT_A_TIME) {
            let sent: Vec<Datagram> = some
                .iter()
                .map(|number| Datagram { payload: number.to_be_bytes().repeat(10), ..first.clone() })
                .collect();
            sent.iter().for_each(|packet| wire.send(&packet.frame()));
            for packet in sent {
                let swapped = Datagram { macs: (packet.macs.1, packet.macs.0), ..packet };
                let back = wire.find(Duration::from_secs(5), |frame| {
                    frame.ends_with(&swapped.payload).then(|| Datagram::read(frame))
                });
                assert_eq!(back, Some(swapped));
            }
        }
        assert!(reflector.cpu_seconds() > 0.0);
    }
}

#[test]
fn af_xdp_leaves_the_stack_what_is_not_udp() {
    if skipped() {
        return;
    }
    let reflector = af_xdp(Lab::one_nic().expect("a lab"), Family::V4);
    let lab = reflector.lab();
    let _awake = awake(lab);
    for relay in lab.addresses().listeners() {
        let connected = generator(lab).enter(|| TcpStream::connect_timeout(relay, PATIENCE));
        let answer = connected.expect_err("nobody listens there").kind();
        assert_eq!(answer, ErrorKind::ConnectionRefused, "the stack of {relay} answers");
    }
    let two = Lab::two_nics().expect("a lab");
    let bench = env!("CARGO_BIN_EXE_turnpike-bench").as_ref();
    let refused = AfXdp::start(two, &Plan::channels(1, 1, Family::V4), bench).expect_err("two cards");
    assert!(format!("{refused:#}").contains("for labs with one card"), "{refused:#}");
}

#[test]
fn af_xdp_rests_goes_on_and_ends_with_its_lab() {
    if skipped() {
        return;
    }
    let lab = Lab::one_nic().expect("a lab");
    let _awake = awake(&lab);
    let mut reflector = af_xdp(lab, Family::V4);
    let directory = PathBuf::from(format!("/proc/{}", reflector.pid()));
    reflector.rest().expect("it stops");
    let mut wire = Wire::open(generator(reflector.lab()), &reflector.lab().clients().interface);
    let sent = packet(&reflector);
    wire.send(&sent.frame());
    let back = |wire: &mut Wire, limit| wire.find_payload(limit, &sent.payload);
    assert_eq!(back(&mut wire, Duration::from_millis(300)), None, "it rests");
    reflector.wake().expect("it goes on");
    assert!(back(&mut wire, Duration::from_secs(5)).is_some(), "what had arrived for it");
    reflector.wake().expect("it is awake");
    reflector.rest().expect("it stops");
    assert!(directory.exists());
    drop(reflector);
    assert!(!directory.exists(), "stopped, it ends all the same");
}

#[test]
fn the_kernel_forwards_a_packet_with_one_hop_less() {
    if skipped() {
        return;
    }
    for family in Family::ALL {
        let lab = Lab::one_nic().expect("a lab");
        let forwarding = Forwarding::start(lab, &Plan::channels(4, 4, family)).expect("forwarding");
        assert_eq!(forwarding.wire(), Kind::Forward);
        let sent = packet(&forwarding);
        let back = Datagram { macs: (sent.macs.1, sent.macs.0), ttl: sent.ttl - 1, ..sent.clone() };
        assert_eq!(offer(forwarding.lab(), &sent), back);
        assert!(forwarding.cpu_seconds() > 0.0);
    }
}

#[test]
fn a_relay_without_a_program_takes_what_the_generators_program_sends() {
    if skipped() {
        return;
    }
    let lab = Lab::one_nic().expect("a lab");
    let forwarding = Forwarding::start(lab, &Plan::channels(1, 1, Family::V4)).expect("forwarding");
    let sent = Datagram { payload: vec![7; 76], ..packet(&forwarding) };
    let frame = sent.frame();
    assert_eq!(frame.len(), WRITTEN, "the program writes all of it");
    let mut wire = Wire::open(generator(forwarding.lab()), &forwarding.lab().clients().interface);
    generator(forwarding.lab()).enter(|| {
        let mut programs = bench_programs(std::slice::from_ref(&frame));
        let program: &mut Xdp =
            programs.program_mut("crowd").expect("in the object").try_into().expect("XDP");
        program.load().expect("the verifier takes it");
        let index = std::fs::read_to_string("/sys/class/net/gen0/ifindex").expect("an interface");
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&index.trim().parse::<u32>().expect("a number").to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            repeat: 1,
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..TestRunOptions::new()
        };
        program.test_run(options).expect("live frames (kernel 5.18)");
    });
    let back = wire.find_payload(Duration::from_secs(5), &sent.payload).expect("the packet comes back");
    assert_eq!(back.ttl, sent.ttl - 1);
}

#[test]
fn the_kernel_forwards_between_two_cards() {
    if skipped() {
        return;
    }
    let forwarding = Forwarding::start(Lab::two_nics().expect("a lab"), &Plan::channels(1, 1, Family::V4))
        .expect("forwarding");
    let lab = forwarding.lab();
    let sent = packet(&forwarding);
    let mut far = Wire::open(generator(lab), &lab.peers().interface);
    Wire::open(generator(lab), &lab.clients().interface).send(&sent.frame());
    let found = far.find_payload(Duration::from_secs(5), &sent.payload).expect("at the other card");
    let macs = (lab.peers().own_mac, lab.peers().relay_mac);
    assert_eq!(found, Datagram { macs, ttl: sent.ttl - 1, ..sent });
    assert!(Floor::start(Lab::two_nics().expect("a lab"), &Plan::channels(1, 1, Family::V4)).is_err());
}
