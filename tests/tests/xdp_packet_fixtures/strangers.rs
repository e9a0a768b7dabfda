//! What anybody may send to a listener: junk ends in XDP, and so do requests beyond the rate of their network.

use std::time::{Duration, Instant};

use relay_common::meter::{Cost, Limit};
use relay_common::reason::Reason;
use relay_common::tables::Controls;
use turnpike::stun::{Builder, Class, Key, MessageType, Method, TransactionId};
use turnpike_tests::frames::Datagram;
use turnpike_tests::xdp::Verdict;

use crate::scene::*;

fn message(method: Method, class: Class, fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut Builder::new(&mut bytes, MessageType::new(method, class), TransactionId([7; 12])));
    bytes
}

fn allocate() -> Vec<u8> {
    message(Method::ALLOCATE, Class::Request, |b| _ = b.requested_transport(17))
}

/// One in `millis`, and `burst` at once.
fn rate(millis: u64, burst: u64) -> Controls {
    let nanos = millis * 1_000_000;
    let strangers = Limit { cost: Cost::new(nanos, 0), burst: burst * nanos };
    Controls { strangers, answer_bindings: 0 }
}

impl Scene {
    fn from(&self, src: &str, payload: &[u8]) -> Vec<u8> {
        Datagram::new(addr(src), self.listener, payload).frame()
    }

    /// How many of so many copies of a packet go up; the others must have been limited.
    fn admitted(&mut self, frame: &[u8], tries: usize) -> usize {
        let passes = (0..tries).filter(|_| {
            let run = self.program.run(frame);
            match (run.verdict, &run.counted[..]) {
                (Verdict::Pass, [(Reason::Stun, 1)]) => true,
                (Verdict::Drop, [(Reason::StrangerLimited, 1)]) => false,
                _ => panic!("{run:?}"),
            }
        });
        passes.count()
    }
}

#[test]
fn junk_at_a_listener_ends_there() {
    for mut s in [Scene::v4(), Scene::v6()] {
        let plain = message(Method::BINDING, Class::Request, |_| {});
        let changed = |at: usize, to: u8| {
            let mut bytes = plain.clone();
            bytes[at] = to;
            bytes
        };
        let with = |attribute: &[u8]| {
            let mut bytes = plain.clone();
            bytes.extend(attribute);
            bytes[3] = attribute.len() as u8;
            bytes
        };
        let longer: Vec<u8> = plain.iter().copied().chain([0; 4]).collect();
        for payload in [
            vec![],
            vec![0],
            vec![0x40],
            vec![0x40, 1, 0],
            vec![0x80, 0, 0, 0],
            vec![0xff; 40],
            vec![0; 20],
            plain[..19].to_vec(),
            longer,
            changed(4, 0),
            changed(7, 0),
            changed(3, 4),
            // A length that is no multiple of four; attributes that do not fit.
            with(&[0x80, 0x22, 0]),
            with(&[0x80, 0x22, 0, 1]),
            with(&[0x80, 0x22, 0, 5, 1, 2, 3, 4]),
            with(&[0x80, 0x22, 0xff, 0xff, 1, 2, 3, 4]),
        ] {
            let frame = Datagram::new(s.client, s.listener, payload).frame();
            s.dropped(&frame, Reason::Malformed);
        }
        s.passed(&Datagram::new(s.client, s.listener, plain).frame(), Reason::Stun);
    }
}

#[test]
fn lessons_11_what_would_be_junk_at_a_listener_is_untouched_at_any_other_port() {
    let mut s = Scene::v4();
    for port in [53, 123, 443, 3479] {
        let dst = addr(&format!("192.0.2.1:{port}"));
        for payload in [vec![], vec![0x80; 20], vec![0; 20], vec![0xff; 2]] {
            s.passed(&Datagram::new(s.client, dst, payload).frame(), Reason::NotOurs);
        }
    }
}

#[test]
fn a_network_is_heard_as_often_as_the_rate_says_and_no_more() {
    let networks = [
        (Scene::v4(), "198.51.100.7:5000", "198.51.100.99:53", "198.51.101.7:5000"),
        (Scene::v6(), "[2001:db8::7]:5000", "[2001:db8:0:ff::1]:53", "[2001:db8:0:100::7]:5000"),
    ];
    for (mut s, one, same, other) in networks {
        // So slow that none comes back while the test runs.
        s.program.controls(rate(1_000_000, 10));
        assert_eq!(s.admitted(&s.from(one, &allocate()), 100), 10);
        assert_eq!(s.admitted(&s.from(same, &message(Method::BINDING, Class::Request, |_| {})), 10), 0);
        assert_eq!(s.admitted(&s.from(other, &allocate()), 100), 10);
        // A reload lifts it.
        s.program.controls(Controls::default());
        assert_eq!(s.admitted(&s.from(one, &allocate()), 100), 100);
    }
}

#[test]
fn in_the_long_run_the_rate_holds() {
    let mut s = Scene::v4();
    // A burst of two seconds: what a busy machine pauses in between is made good for.
    s.program.controls(rate(5, 400));
    let frame = s.from("198.51.100.7:5000", &allocate());
    let (start, mut admitted, mut refused) = (Instant::now(), 0, false);
    while !refused || start.elapsed() < Duration::from_millis(600) {
        let passed = s.admitted(&frame, 50);
        refused = passed < 50;
        admitted += passed;
    }
    let in_time = start.elapsed().as_millis() as usize / 5;
    // The coarse clock is up to 10 ms behind.
    assert!((in_time + 397..=in_time + 401).contains(&admitted), "{admitted} of {in_time} and 400");
}

#[test]
fn a_longer_request_counts_as_several() {
    let mut s = Scene::v4();
    s.program.controls(rate(1_000_000, 10));
    let long = message(Method::ALLOCATE, Class::Request, |b| _ = b.software(&"x".repeat(600)));
    assert_eq!(s.admitted(&s.from("198.51.100.7:5000", &long), 10), 3);
}

#[test]
fn who_signs_and_who_asks_for_nothing_is_never_limited() {
    let mut s = Scene::v4();
    s.program.controls(rate(1_000_000, 1));
    let from = "198.51.100.7:5000";
    assert_eq!(s.admitted(&s.from(from, &allocate()), 10), 1);
    let key = Key::long_term("alice", "example.org", "wonderland");
    let sha1 = message(Method::REFRESH, Class::Request, |b| _ = b.username("alice").integrity(&key));
    let sha256 = message(Method::REFRESH, Class::Request, |b| _ = b.integrity_sha256(&key).fingerprint());
    let send = message(Method::SEND, Class::Indication, |b| _ = b.xor_peer_address(addr("203.0.113.9:6000")));
    let keepalive = message(Method::BINDING, Class::Indication, |_| {});
    let answer = message(Method::BINDING, Class::Success, |_| {});
    // More attributes than are looked through.
    let long = message(Method::CREATE_PERMISSION, Class::Request, |b| {
        (0..30).for_each(|_| _ = b.xor_peer_address(addr("203.0.113.9:6000")));
        b.integrity(&key);
    });
    for bytes in [sha1, sha256, send, keepalive, answer, long] {
        assert_eq!(s.admitted(&s.from(from, &bytes), 10), 10);
    }
}

#[test]
fn a_limited_network_keeps_its_media() {
    let mut s = Scene::v4();
    s.program.controls(rate(1_000_000, 1));
    let request = s.from("198.51.100.7:5001", &allocate());
    assert_eq!(s.admitted(&request, 10), 1);
    let frame = s.client_sends(b"media");
    let out = s.at_peer(&frame, b"media");
    s.tx(&frame, &out, Reason::ToPeer);
}
