//! What is not a TURN server sends frames on.

use std::time::Duration;

use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use relay_common::bench::WRITTEN;
use turnpike_bench::allocations::Plan;
use turnpike_bench::lab::{Family, Lab};
use turnpike_bench::subjects::{Floor, Forwarding, Subject};
use turnpike_bench::templates::bench_programs;
use turnpike_bench::traffic::Wire as Kind;
use turnpike_tests::frames::Datagram;
use turnpike_tests::lab::Wire;

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
