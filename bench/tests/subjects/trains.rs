//! A flow's packets in succession reach a relay as a card's would: the kernel may merge them, and the sink counts each.

use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use turnpike_bench::allocations::Plan;
use turnpike_bench::figures::{Direction, Flow, Load, Outcome};
use turnpike_bench::lab::{Family, Lab};
use turnpike_bench::subjects::{DataPath, Forwarding, Server, Subject};
use turnpike_bench::traffic::{Traffic, Wire};

use crate::common::{coturn, relayed_by, skipped, turnpike};

/// As the run `capacity` has them, so slow that nothing is lost on a machine that does other things.
const TRAINS: Load = Load {
    direction: Direction::ToPeer,
    frame: 1_200,
    rate: Some(2_000.0),
    burst: 8,
    spacing: Duration::ZERO,
    duration: Duration::from_millis(400),
};

/// Bytes of Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;

fn offer(lab: &Lab, flows: &[Flow], load: &Load) -> Outcome {
    let port = lab.clients();
    let offer = || {
        let mut traffic = Traffic::new(&port.interface, port.own_mac, port.relay_mac, flows, Wire::Turn)?;
        traffic.offer(load, &|| 0.0)
    };
    lab.generator().enter(offer).expect("a run")
}

#[test]
fn the_kernel_merges_trains_and_leaves_flows_in_turns_alone() {
    if skipped() {
        return;
    }
    // No server: a socket takes its place.
    let lab = Lab::one_nic().expect("a lab");
    let subject = Forwarding::start(lab, &Plan::channels(64, 1, Family::V4)).expect("forwarding");
    let (lab, flows) = (subject.lab(), subject.flows());
    let socket = lab.relay().expect("a namespace").enter(|| UdpSocket::bind(flows[0].listener));
    let socket = socket.expect("the listener's address");
    setsockopt(&socket, sockopt::UdpGroSegment, &true).expect("UDP_GRO");
    setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).expect("room for all");
    socket.set_nonblocking(true).expect("a socket");
    let arrive = |load: &Load| {
        let sent = offer(lab, flows, load).sent as usize;
        let (mut buffer, mut reads, mut datagrams) = (vec![0; 1 << 16], 0, 0);
        while let Ok(length) = socket.recv(&mut buffer) {
            assert!(length.is_multiple_of(usize::from(load.frame) - HEADERS), "{length} bytes");
            reads += 1;
            datagrams += length / (usize::from(load.frame) - HEADERS);
        }
        assert!(datagrams > sent / 2 && datagrams <= sent, "{datagrams} of {sent}");
        datagrams as f64 / reads as f64
    };
    let (trains, in_turns) = (arrive(&TRAINS), arrive(&Load { burst: 1, ..TRAINS }));
    assert!(trains > 4.0, "{trains} datagrams of a train came as one");
    assert!(in_turns < 1.1, "{in_turns} datagrams of flows in turns came as one");
}

/// What the relay leaves to the kernel to cut is cut before it reaches the sink. `astray` tells how many packets have not gone
/// by its data path so far, and may have come late.
fn each_is_counted(server: &Server, astray: impl Fn() -> u64) {
    for direction in [Direction::ToPeer, Direction::ToClient] {
        let outcome = offer(server.lab(), server.flows(), &Load { direction, ..TRAINS });
        assert!(outcome.sent > 100, "{}, {direction:?}: {outcome:?}", server.name());
        assert!(outcome.arrived > outcome.sent / 2, "{}, {direction:?}: {outcome:?}", server.name());
        assert_eq!(outcome.corrupt, 0, "{}, {direction:?}: {outcome:?}", server.name());
        let astray = astray();
        assert!(astray < 10, "{}, {direction:?}: {astray} of {outcome:?}", server.name());
        assert!(
            outcome.reordered <= astray,
            "{}, {direction:?}: {outcome:?}, {astray} astray",
            server.name()
        );
    }
}

#[test]
fn the_sink_counts_each_datagram_of_a_train() {
    if skipped() {
        return;
    }
    let plan = Plan::channels(64, 1, Family::V4);
    let start = |path| turnpike(Lab::one_nic().expect("a lab"), path, plan);
    each_is_counted(&start(DataPath::Userspace), || 0);
    // One packet in 65,536 has by chance the checksum that an unfinished one would have, and goes up.
    let by_xdp = start(DataPath::Xdp);
    each_is_counted(&by_xdp, || relayed_by(&by_xdp)[1]);
    if let Some(coturn) = coturn(Lab::one_nic().expect("a lab"), plan) {
        each_is_counted(&coturn, || 0);
    }
}
