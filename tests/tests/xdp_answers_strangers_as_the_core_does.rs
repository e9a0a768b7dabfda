//! What strangers send, through the XDP program and through the protocol core: what XDP answers is the core's answer to
//! the byte, and what it drops the core drops as well. Random messages, random damage.

#[path = "../../relay-userspace/tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;

use common::{Seen, Sim};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use relay_common::reason::Reason;
use relay_common::tables::Controls;
use turnpike::stun::{AttributeType, Builder, Class, MessageType, Method, TransactionId};
use turnpike::turn::{ClientAddr, CoreConfig, FiveTuple, Transport};
use turnpike_tests::frames::Datagram;
use turnpike_tests::xdp::{INGRESS, Program, Verdict, next_hop};

const MESSAGES: usize = 20_000;

struct Pair {
    sim: Sim,
    program: Program,
    rng: StdRng,
}

/// Clients and listeners of each family.
const ENDS: [(&str, &str); 2] =
    [("198.51.100.7:5000", "192.0.2.1:3478"), ("[2001:db8::7]:5000", "[2001:db8:1::1]:3478")];

impl Pair {
    fn new(seed: u64) -> Self {
        let mut program = Program::load_for_hardware();
        program.controls(Controls { answer_bindings: 1, ..Controls::default() });
        program.next_hop(1, next_hop(INGRESS, 1500, [2; 6], [4; 6], &[], 0x0800));
        program.next_hop(2, next_hop(INGRESS, 1500, [2; 6], [4; 6], &[], 0x86dd));
        program.way_back("0.0.0.0".parse().unwrap(), 0, 1);
        program.way_back("::".parse().unwrap(), 0, 2);
        for (_, listener) in ENDS {
            program.listener(listener.parse().unwrap());
        }
        let sim = Sim::new(CoreConfig { strangers: None, ..common::config() }, [1; 32]);
        Self { sim, program, rng: StdRng::seed_from_u64(seed) }
    }

    fn message(&mut self) -> Vec<u8> {
        let rng = &mut self.rng;
        let method =
            *[Method::BINDING, Method::BINDING, Method::BINDING, Method::ALLOCATE].choose(rng).expect("some");
        let class = *[Class::Request, Class::Request, Class::Request, Class::Indication, Class::Success]
            .choose(rng)
            .expect("some");
        let mut bytes = Vec::new();
        let mut message =
            Builder::new(&mut bytes, MessageType::new(method, class), TransactionId(rng.random()));
        for _ in 0..rng.random_range(0..4) {
            // Mostly those that may be ignored.
            let kind: u16 =
                if rng.random_range(0..5) == 0 { rng.random() } else { rng.random_range(0x8000..0x8030) };
            let value: Vec<u8> = (0..rng.random_range(0..30)).map(|_| rng.random()).collect();
            message.bytes(AttributeType(kind), &value);
        }
        if rng.random() {
            message.fingerprint();
        }
        bytes
    }

    fn damaged(&mut self) -> Vec<u8> {
        let mut bytes = self.message();
        let rng = &mut self.rng;
        match rng.random_range(0..6) {
            0 => {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
            1 => bytes.truncate(rng.random_range(0..bytes.len())),
            2 => bytes.extend((0..rng.random_range(1..9)).map(|_| 0)),
            3 => bytes[3] = rng.random(),
            // Any bytes, not of a channel.
            4 => {
                bytes = (0..rng.random_range(0..60)).map(|_| rng.random()).collect();
                if let Some(first) = bytes.first_mut() {
                    *first = if rng.random() { *first & 0x3f } else { *first | 0x80 };
                }
            }
            _ => {}
        }
        bytes
    }

    /// Says what XDP made of a datagram, which must be what the core makes of it, or nothing.
    fn compare(&mut self, payload: Vec<u8>) -> Reason {
        let (client, listener) = ENDS[self.rng.random_range(0..2)];
        let (client, listener): (SocketAddr, SocketAddr) =
            (client.parse().unwrap(), listener.parse().unwrap());
        let frame = Datagram::new(client, listener, payload.clone()).frame();
        let run = self.program.run(&frame);
        let [(reason, 1)] = run.counted[..] else { panic!("one packet, one counter: {run:?}") };
        let five_tuple = FiveTuple { client: ClientAddr(client), listener, transport: Transport::Udp };
        let seen = self.sim.client_sends(five_tuple, &payload);
        match run.verdict {
            Verdict::Pass => assert_eq!(run.frame, frame),
            Verdict::Drop => {
                assert_eq!(reason, Reason::Malformed);
                assert_eq!(common::dropped(&seen), Some(reason), "{payload:x?}");
            }
            Verdict::Tx => {
                let Some(Seen::ToClient(to, answer)) = seen.first() else { panic!("{payload:x?}: {seen:?}") };
                assert_eq!(*to, five_tuple);
                let out =
                    Datagram { macs: ([2; 6], [4; 6]), ..Datagram::new(listener, client, answer.clone()) };
                assert_eq!(Datagram::read(&run.frame), out, "{payload:x?}");
            }
            other => panic!("{other:?} with one interface"),
        }
        reason
    }
}

#[test]
fn binding_requests_of_all_shapes_get_the_cores_answer_or_go_up() {
    let mut pair = Pair::new(1);
    let messages = (0..MESSAGES / 4).map(|_| {
        let message = pair.message();
        pair.compare(message)
    });
    let answered = messages.filter(|reason| *reason == Reason::Answered).count();
    assert!(answered > MESSAGES / 40, "{answered} were answered: the test compares too little");
}

#[test]
fn what_xdp_takes_for_junk_the_core_does_too() {
    let mut pair = Pair::new(2);
    let messages = (0..MESSAGES).map(|_| {
        let message = pair.damaged();
        pair.compare(message)
    });
    let dropped = messages.filter(|reason| *reason == Reason::Malformed).count();
    assert!(dropped > MESSAGES / 4, "{dropped} were dropped: the test compares too little");
}
