//! STUN Binding requests that XDP answers, and those that it leaves to userspace.

use std::net::IpAddr;

use relay_common::meter::{Cost, Limit};
use relay_common::reason::Reason;
use relay_common::tables::Controls;
use turnpike::stun::{AttributeType, Builder, Class, Key, Message, MessageType, Method, TransactionId};
use turnpike_tests::frames::Datagram;
use turnpike_tests::xdp::{INGRESS, Program, Verdict, next_hop};

use crate::scene::*;

const ON: Controls = Controls { strangers: NO_LIMIT, answer_bindings: 1 };

const NO_LIMIT: Limit = Limit { cost: Cost(0), burst: 0 };

/// A message of the client's.
fn message(method: Method, class: Class, fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let kind = MessageType::new(method, class);
    fill(&mut Builder::new(&mut bytes, kind, TransactionId(*b"transaction.")));
    bytes
}

fn binding(fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    message(Method::BINDING, Class::Request, fill)
}

/// The scene with default routes by the next hops of each family.
fn answering(mut s: Scene) -> Scene {
    s.program.controls(ON);
    s.program.way_back("0.0.0.0".parse::<IpAddr>().unwrap(), 0, HOP_V4);
    s.program.way_back("::".parse::<IpAddr>().unwrap(), 0, HOP_V6);
    s
}

impl Scene {
    fn asks(&self, request: &[u8]) -> Datagram {
        Datagram::new(self.client, self.listener, request)
    }

    /// Asserts that a request is answered, and how.
    #[track_caller]
    fn answered(&mut self, asked: &Datagram) {
        let request = Message::parse(&asked.payload).expect("a request");
        let mut answer = Vec::new();
        let mut builder = Builder::success(&mut answer, &request);
        builder.xor_mapped_address(asked.src);
        if request.has(AttributeType::FINGERPRINT) {
            builder.fingerprint();
        }
        let out = Datagram { macs: (GATEWAY, NIC), ..Datagram::new(self.listener, self.client, answer) };
        self.tx(asked, &out, Reason::Answered);
    }
}

#[test]
fn a_plain_request_is_answered_by_the_next_hop_of_the_default_route_not_to_where_it_came_from() {
    for s in [Scene::v4(), Scene::v6()] {
        let mut s = answering(s);
        let plain = s.asks(&binding(|_| {}));
        assert_ne!(plain.macs.1, GATEWAY);
        s.answered(&plain);
        let optional = s.asks(&binding(|b| {
            b.software("a client of seventy-three bytes, which is no more than anybody asks for...");
        }));
        s.answered(&optional);
        // The answer has a TTL of its own, and is of no service class.
        s.answered(&Datagram { ttl: 1, tos: 0xb8, ..plain });
    }
}

#[test]
fn lessons_44_an_answer_has_32_bytes_over_ipv4_and_44_over_ipv6() {
    for (s, len) in [(Scene::v4(), 32), (Scene::v6(), 44)] {
        let mut s = answering(s);
        let frame = s.asks(&binding(|_| {})).frame();
        let run = s.program.run(&frame);
        assert_eq!(Datagram::read(&run.frame).payload.len(), len);
    }
}

#[test]
fn an_answer_has_a_fingerprint_exactly_when_the_request_had_one() {
    for s in [Scene::v4(), Scene::v6()] {
        let mut s = answering(s);
        let with = s.asks(&binding(|b| {
            b.software("a client").fingerprint();
        }));
        s.answered(&with);
        s.answered(&s.asks(&binding(|b| {
            b.fingerprint();
        })));
        let mut wrong = with;
        *wrong.payload.last_mut().expect("bytes") ^= 1;
        s.passed(&wrong.frame(), Reason::Stun);
    }
}

#[test]
fn a_request_without_a_udp_checksum_is_answered_over_ipv4_and_goes_up_over_ipv6() {
    let mut s = answering(Scene::v4());
    let without = Datagram { checksum: false, ..s.asks(&binding(|_| {})) };
    let run = s.program.run(&without.frame());
    assert_eq!(run.verdict, Verdict::Tx);
    assert!(Datagram::read(&run.frame).checksum, "the answer has one");
    let mut s = answering(Scene::v6());
    let without = Datagram { checksum: false, ..s.asks(&binding(|_| {})) };
    s.passed(&without.frame(), Reason::BadChecksum);
}

#[test]
fn what_was_damaged_on_the_way_is_not_answered() {
    for s in [Scene::v4(), Scene::v6()] {
        let mut s = answering(s);
        let mut frame = s.asks(&binding(|_| {})).frame();
        // In the transaction id.
        *frame.last_mut().expect("bytes") ^= 0x10;
        s.passed(&frame, Reason::BadChecksum);
    }
}

#[test]
fn whatever_must_be_understood_goes_up() {
    let mut s = answering(Scene::v4());
    let key = Key::long_term("alice", "example.org", "wonderland");
    let unknown: fn(&mut Builder<'_>) = |b| _ = b.bytes(AttributeType(0x7ffe), &[]);
    for fill in [
        unknown,
        |b| _ = b.username("alice"),
        |b| _ = b.bytes(AttributeType::CHANGE_REQUEST, &[0; 4]),
        |b| _ = b.bytes(AttributeType::RESPONSE_PORT, &[0; 4]),
        |b| _ = b.bytes(AttributeType::PADDING, &[0; 8]),
        // Not the last, and so without effect on what follows it.
        |b| _ = b.fingerprint().software("after"),
        // Longer than what is read for an answer.
        |b| _ = b.software(&"x".repeat(120)),
    ] {
        s.passed(&s.asks(&binding(fill)).frame(), Reason::Stun);
    }
    let signed = binding(|b| _ = b.integrity(&key));
    s.passed(&s.asks(&signed).frame(), Reason::Stun);
    for (method, class) in [
        (Method::BINDING, Class::Indication),
        (Method::BINDING, Class::Success),
        (Method::ALLOCATE, Class::Request),
    ] {
        s.passed(&s.asks(&message(method, class, |_| {})).frame(), Reason::Stun);
    }
}

#[test]
fn nothing_is_answered_unless_userspace_says_so() {
    let mut s = answering(Scene::v4());
    s.program.controls(Controls::default());
    let plain = s.asks(&binding(|_| {}));
    s.passed(&plain.frame(), Reason::Stun);
    s.program.controls(ON);
    s.answered(&plain);
    let elsewhere = Datagram { dst: addr("192.0.2.1:3479"), ..plain.clone() };
    s.passed(&elsewhere.frame(), Reason::NotOurs);
}

#[test]
fn lessons_1_a_source_that_has_another_route_than_the_default_goes_up() {
    let mut s = Scene::v4();
    s.program.controls(ON);
    let plain = s.asks(&binding(|_| {}));
    s.passed(&plain.frame(), Reason::NextHop);
    let mut s = answering(s);
    s.answered(&plain);
    s.program.way_back("198.51.100.0".parse().unwrap(), 24, 0);
    s.passed(&plain.frame(), Reason::NextHop);
    // A next hop that is not resolved.
    s.program.way_back("198.51.100.0".parse().unwrap(), 24, HOP_UNRESOLVED);
    s.passed(&plain.frame(), Reason::NextHop);
    // One behind another interface than the request came in by.
    s.program.next_hop(7, next_hop(INGRESS + 1, MTU, GATEWAY, NIC, &[], 0x0800));
    s.program.way_back("198.51.100.0".parse().unwrap(), 24, 7);
    s.passed(&plain.frame(), Reason::ReversePath);
    // An IPv4-mapped source over IPv6 is not IPv4.
    let mut s = answering(Scene::v6());
    s.program.way_back("::ffff:0:0".parse().unwrap(), 96, HOP_V4);
    let mut mapped = s.asks(&binding(|_| {}));
    mapped.src = addr("[::ffff:198.51.100.7]:5000");
    s.passed(&mapped.frame(), Reason::Stun);
}

#[test]
fn an_answer_leaves_by_the_vlans_that_the_request_came_by_or_not_at_all() {
    for (tags, hop) in [(vec![VLAN_7], HOP_VLAN), (vec![SERVICE_9, VLAN_7], HOP_QINQ)] {
        let mut s = answering(Scene::v4());
        s.program.way_back("0.0.0.0".parse::<IpAddr>().unwrap(), 0, hop);
        let bare = s.asks(&binding(|_| {}));
        // A priority is no part of a VLAN's name.
        let prioritised: Vec<_> = tags.iter().map(|&(kind, tci)| (kind, tci | 0xa000)).collect();
        let tagged = Datagram { tags: prioritised, ..bare.clone() };
        let run = s.program.run(&tagged.frame());
        assert_eq!((run.verdict, &run.counted[..]), (Verdict::Tx, &[(Reason::Answered, 1)][..]));
        assert_eq!(Datagram::read(&run.frame).tags, tags);
        for others in 0..tags.len() {
            let mut tagged = Datagram { tags: tags.clone(), ..bare.clone() };
            tagged.tags[others].1 += 1;
            s.passed(&tagged.frame(), Reason::ReversePath);
        }
        s.passed(&bare.frame(), Reason::ReversePath);
    }
}

#[test]
fn a_checksum_that_the_senders_card_was_to_finish_is_not_taken_for_a_right_one() {
    let mut s = answering(Scene::v4_on(Program::load_for_hardware()));
    let mut frame = s.asks(&binding(|_| {})).frame();
    frame[40] ^= 0xff;
    s.passed(&frame, Reason::BadChecksum);
}

/// Port 0 stands for a port that was not read; nobody listens there.
#[test]
fn what_is_sent_to_port_0_is_not_answered_and_is_nobodys_junk() {
    for s in [Scene::v4(), Scene::v6()] {
        let mut s = answering(s);
        s.listener.set_port(0);
        for payload in [binding(|_| {}), b"junk".to_vec(), b"\xff\xff\xff\xff".to_vec()] {
            s.passed(&s.asks(&payload).frame(), Reason::NotOurs);
        }
    }
}
