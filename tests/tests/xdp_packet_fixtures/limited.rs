//! Bandwidth and packet rates: what is within them is forwarded, what is beyond is dropped as it came.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_common::flow::FlowRecord;
use relay_common::meter::{Line, Row};
use relay_common::reason::Reason;
use turnpike::policy::Rate;
use turnpike::time::Timestamp;
use turnpike_tests::frames::Datagram;
use turnpike_tests::lab::scaled;
use turnpike_tests::xdp::{INGRESS, Run, Verdict, next_hop};

use crate::scene::*;

/// The meters of an allocation, of another one, and of the user of both.
const OWN: u32 = 1;
const OTHER: u32 = 2;
const USER: u32 = 3;

/// So slow that nothing comes back while a test runs: `burst` units, and then one an hour.
fn only(burst: u64) -> Rate {
    Rate::new(1, Duration::from_secs(3600), burst)
}

fn packets(row: &Row, rate: Rate) {
    row.lines().into_iter().for_each(|line| line.packets.set(rate.limit()));
}

fn bytes(row: &Row, rate: Rate) {
    row.lines().into_iter().for_each(|line| line.bytes.set(rate.limit()));
}

fn metered() -> Scene {
    let mut scene = Scene::v4();
    scene.change(|record| record.meter = OWN);
    scene
}

impl Scene {
    /// How many of so many are forwarded; the others are dropped, byte for byte as they came.
    #[track_caller]
    fn forwarded(&mut self, datagram: &Datagram, reason: Reason, times: u64) -> u64 {
        let frame = datagram.frame();
        let within = (0..times).filter(|_| {
            let run = self.program.run(&frame);
            if run.verdict == Verdict::Tx {
                assert_eq!(run.counted, [(reason, 1)]);
                return true;
            }
            let counted = vec![(Reason::RateLimited, 1)];
            assert_eq!(run, Run { verdict: Verdict::Drop, frame: frame.clone(), counted });
            false
        });
        within.count() as u64
    }

    fn sends_to_peer(&mut self, length: usize, times: u64) -> u64 {
        self.forwarded(&self.client_sends(&vec![7; length]), Reason::ToPeer, times)
    }

    fn sends_to_client(&mut self, length: usize, times: u64) -> u64 {
        self.forwarded(&self.peer_sends(&vec![7; length]), Reason::ToClient, times)
    }
}

#[test]
fn packets_beyond_the_rate_are_dropped_in_each_direction_for_itself() {
    let mut s = metered();
    s.program.meter(OWN, |row| packets(row, only(10)));
    assert_eq!((s.sends_to_peer(0, 5) + s.sends_to_peer(1_000, 20), s.sends_to_client(100, 20)), (10, 10));
    assert_eq!((s.program.counted_by(s.to_peer).0, s.program.counted_by(s.to_client).0), (10, 10));
}

#[test]
fn bytes_are_those_of_the_data_without_any_header() {
    for mut s in [metered(), Scene::v6()] {
        s.change(|record| record.meter = OWN);
        s.program.meter(OWN, |row| bytes(row, only(10_000)));
        assert_eq!((s.sends_to_peer(1_000, 12), s.sends_to_client(1_000, 12)), (10, 10));
        s.program.meter(OWN, |row| bytes(row, only(1_000)));
        assert_eq!((s.sends_to_peer(1_001, 3), s.sends_to_peer(999, 3), s.sends_to_peer(1, 3)), (0, 1, 1));
        assert_eq!(
            (s.sends_to_client(1_001, 3), s.sends_to_client(999, 3), s.sends_to_client(1, 3)),
            (0, 1, 1)
        );
        assert_eq!((s.sends_to_peer(0, 3), s.sends_to_client(0, 3)), (3, 3), "nothing costs nothing");
    }
}

#[test]
fn what_one_rate_refuses_counts_for_no_other() {
    let mut s = metered();
    s.program.meter(OWN, |row| {
        packets(row, only(20));
        bytes(row, only(1_000));
        row.set_parent(USER);
    });
    s.program.meter(USER, |row| packets(row, only(12)));
    assert_eq!(s.sends_to_peer(300, 50), 3, "by its bytes");
    assert_eq!(s.sends_to_peer(0, 50), 9, "by the user's packets");
    s.program.meter(USER, |row| packets(row, only(100)));
    assert_eq!(s.sends_to_peer(0, 50), 8, "what is left of its own");
}

#[test]
fn allocations_of_a_user_share_its_rate() {
    let mut s = metered();
    let (client, peer) = (addr("198.51.100.8:5000"), addr("203.0.113.10:6000"));
    let second = turnpike_tests::xdp::path(client, s.listener, addr("192.0.2.1:50001"), peer, CHANNEL);
    let record = FlowRecord { meter: OTHER, ..alive(FlowRecord::client_to_peer(&second)) };
    s.program.insert(record);
    for number in [OWN, OTHER] {
        s.program.meter(number, |row| {
            packets(row, only(50));
            row.set_parent(USER);
        });
    }
    s.program.meter(USER, |row| packets(row, only(60)));
    assert_eq!(s.sends_to_peer(10, 100), 50, "its own");
    let of_second = Datagram { src: client, ..s.client_sends(b"data") };
    assert_eq!(s.forwarded(&of_second, Reason::ToPeer, 100), 10, "the rest of the user's");
    assert_eq!(s.sends_to_client(10, 100), 50, "the other direction");
}

#[test]
fn a_flow_without_a_meter_is_not_limited_whatever_others_are() {
    let mut s = Scene::v4();
    s.program.meter(OWN, |row| packets(row, only(1)));
    assert_eq!((s.sends_to_peer(10, 100), s.sends_to_client(10, 100)), (100, 100));
}

#[test]
fn what_is_refused_for_another_reason_is_not_counted() {
    let mut s = metered();
    s.program.meter(OWN, |row| packets(row, only(10)));
    let dying = Datagram { ttl: 1, ..s.client_sends(b"data") }.frame();
    s.dropped(&dying, Reason::TtlExceeded);
    s.change(|record| (record.meter, record.next_hop) = (OWN, HOP_UNRESOLVED));
    let frame = s.client_sends(b"data").frame();
    s.passed(&frame, Reason::NextHop);
    s.change(|record| record.meter = OWN);
    assert_eq!(s.sends_to_peer(10, 100), 10);
}

/// Where there is no room for what the packet is to become, userspace relays it, and counts it then.
#[test]
fn what_goes_up_for_want_of_room_is_not_counted() {
    let mut s = Scene::v4();
    s.program.meter(OWN, |row| packets(row, only(10)));
    s.program.next_hop(HOP_V4, next_hop(INGRESS, 9_000, GATEWAY, NIC, &[], 0x0800));
    let [_, data] = permission(s.client, s.listener, s.relayed, s.peer);
    s.program.insert(FlowRecord { meter: OWN, ..data });
    // As long as a test may make a frame, so that two bytes of padding find no place.
    let peer = SocketAddr::new(s.peer.ip(), 7_000);
    let frame = Datagram::new(peer, s.relayed, vec![7; 3_478]).frame();
    (0..5).for_each(|_| s.passed(&frame, Reason::NoHeadroom));
    let small = Datagram::new(peer, s.relayed, vec![7; 100]);
    assert_eq!(s.forwarded(&small, Reason::ToClient, 20), 10);
}

/// With time the rate comes back, and what passes is the burst and the rate to within 5 %.
#[test]
fn a_meter_refills_with_time() {
    let mut s = metered();
    let second = scaled(Duration::from_secs(1));
    // A pause of this machine for up to two such seconds is made up for.
    let (rate, burst) = (500, 1000);
    s.program.meter(OWN, |row| packets(row, Rate::new(rate, second, burst)));
    assert_eq!(s.sends_to_peer(10, 50), 50);
    sleep(second / 4);
    let (start, mut passed) = (Instant::now(), 0);
    while start.elapsed() < 2 * second {
        passed += s.sends_to_peer(10, 20);
    }
    let allowed = burst as f64 + rate as f64 * start.elapsed().div_duration_f64(second);
    assert!((0.95..=1.05).contains(&(passed as f64 / allowed)), "{passed} of {allowed}");
}

/// Userspace takes from the same words: what it took is missing here, and the other way round.
#[test]
fn userspace_and_xdp_take_from_the_same_words() {
    let mut s = metered();
    let now = Timestamp::now().0;
    s.program.meter(OWN, |row| {
        packets(row, only(10));
        let take = |line: &Line| (0..4).all(|_| line.take(now, 100));
        assert!(row.lines().into_iter().all(take));
    });
    assert_eq!((s.sends_to_peer(10, 100), s.sends_to_client(10, 3)), (6, 3));
    let left = |line: &Line| (0..100).filter(|_| line.take(now, 100)).count();
    assert_eq!(s.program.meter_now(OWN, |row| row.lines().map(left)), [0, 3]);
}
