//! Requests that prove nothing are answered at a limited rate for each network (lesson 44), and no flood of them shuts
//! users out.

mod common;

use std::time::Duration;

use common::{Client, PASSWORD, Seen, Sim, USER, addr, config, dropped, to_client};
use relay_common::reason::Reason;
use turnpike::policy::Rate;
use turnpike::stun::{AttributeType, Class, Method};
use turnpike::turn::{ClientAddr, CoreConfig, Discovery};

/// Ten answers a second for each network, twenty at once.
fn limited() -> CoreConfig {
    CoreConfig { strangers: Some(Rate::new(10, Duration::from_secs(1), 20)), ..config() }
}

/// How many of these datagrams are answered; the others are dropped and counted.
fn answered(sim: &mut Sim, client: &Client, datagram: &[u8], times: usize) -> usize {
    let answered = (0..times).filter(|_| {
        let seen = sim.client_sends(client.five_tuple, datagram);
        let answered = to_client(&seen).is_some();
        assert!(answered || dropped(&seen) == Some(Reason::StrangerLimited), "{seen:?}");
        answered
    });
    answered.count()
}

/// Uses up what the network of 192.0.2.9 is answered.
fn exhaust(sim: &mut Sim) {
    let mut stranger = Client::new(9);
    let request = stranger.plain(Method::BINDING, Class::Request, |_| ());
    answered(sim, &stranger, &request, 1_000);
    assert_eq!(answered(sim, &stranger, &request, 10), 0);
}

type Make = fn(&mut Client, &mut Sim) -> Vec<u8>;

/// Every kind of request that a stranger gets an answer to, with its code.
const KINDS: [(&str, u16, Make); 8] = [
    ("Binding", 0, |c, _| c.plain(Method::BINDING, Class::Request, |_| ())),
    ("Binding with an unknown attribute", 420, |c, _| {
        c.plain(Method::BINDING, Class::Request, |b| {
            b.bytes(AttributeType(0x7abc), b"x");
        })
    }),
    ("Allocate without credentials", 401, |c, _| c.plain(Method::ALLOCATE, Class::Request, |_| ())),
    ("Refresh without credentials", 401, |c, _| c.plain(Method::REFRESH, Class::Request, |_| ())),
    ("a forged nonce", 438, |c, _| {
        c.nonce = b"forged".into();
        c.signed(Method::ALLOCATE, |_| ())
    }),
    ("integrity without the other attributes", 400, |c, _| {
        let key = c.key();
        c.plain(Method::CREATE_PERMISSION, Class::Request, |b| {
            b.integrity(&key);
        })
    }),
    ("a wrong password with a valid nonce", 401, |c, sim| {
        c.learn_nonce(sim);
        c.password = "guessed".into();
        c.signed(Method::ALLOCATE, |b| {
            b.requested_transport(17);
        })
    }),
    ("an unknown user with a valid nonce", 401, |c, sim| {
        c.learn_nonce(sim);
        c.username = "mallory".into();
        c.signed(Method::CHANNEL_BIND, |_| ())
    }),
];

#[test]
fn whatever_a_stranger_is_answered_is_limited() {
    for (kind, code, make) in KINDS {
        let mut sim = Sim::new(limited(), [1; 32]);
        let mut client = Client::new(1);
        let request = make(&mut client, &mut sim);
        sim.sleep(10.0);
        assert_eq!(client.exchange(&mut sim, &request).code(), code, "{kind}");
        assert_eq!(answered(&mut sim, &client, &request, 100), 19, "{kind}");
        sim.sleep(0.5);
        assert_eq!(answered(&mut sim, &client, &request, 100), 5, "{kind}");
        sim.assert_empty();
    }
}

/// What the rate is for is the bytes that hit somebody. An answer is never much longer than its request, but a long one
/// weighs as much as many short ones.
#[test]
fn long_requests_are_answered_less_often() {
    let listeners = ["198.51.100.7:3478", "198.51.100.7:3479", "198.51.100.8:3478", "198.51.100.8:3479"];
    let discovery = Some(Discovery::new(&listeners.map(addr)).unwrap());
    let rate = Some(Rate::new(100, Duration::from_secs(1), 100));
    let mut sim = Sim::new(CoreConfig { strangers: rate, discovery, ..config() }, [1; 32]);
    let mut client = Client::new(1);
    let padded = client.plain(Method::BINDING, Class::Request, |b| _ = b.padding(1_500));
    let unknown = client.plain(Method::BINDING, Class::Request, |b| {
        (0..2_000).for_each(|_| _ = b.bytes(AttributeType(0x7abc), &[]));
    });
    let bytes_answered = |sim: &mut Sim, request: &[u8]| {
        let bytes = (0..1_000).filter_map(|_| {
            let seen = sim.client_sends(client.five_tuple, request);
            to_client(&seen).map(<[u8]>::len)
        });
        bytes.sum::<usize>()
    };
    for request in [&padded, &unknown] {
        sim.sleep(10.0);
        let bytes = bytes_answered(&mut sim, request);
        assert!((10_000..=100 * 256).contains(&bytes), "{bytes} bytes");
    }
}

#[test]
fn a_network_that_is_flooded_takes_nothing_from_another() {
    let mut sim = Sim::new(limited(), [1; 32]);
    exhaust(&mut sim);
    let mut other = Client::new(1);
    other.five_tuple.client = ClientAddr(addr("203.0.113.77:1"));
    let request = other.plain(Method::BINDING, Class::Request, |_| ());
    assert_eq!(answered(&mut sim, &other, &request, 100), 20);
    let mut neighbour = Client::new(1);
    neighbour.five_tuple.client = ClientAddr(addr("192.0.2.200:1"));
    assert_eq!(answered(&mut sim, &neighbour, &request, 100), 0, "of the same network");
}

#[test]
fn the_shards_of_a_server_count_together() {
    let mut one = Sim::new(limited(), [1; 32]);
    let mut two = Sim::sharing(one.config.clone(), one.shared.clone(), [2; 32]);
    exhaust(&mut one);
    let mut client = Client::new(1);
    let request = client.plain(Method::BINDING, Class::Request, |_| ());
    assert_eq!(answered(&mut two, &client, &request, 100), 0);
}

#[test]
fn who_logs_in_is_served_although_the_network_is_flooded() {
    let mut sim = Sim::new(limited(), [1; 32]);
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    exhaust(&mut sim);
    let peer = addr("203.0.113.1:1");
    assert_eq!(client.allocate(&mut sim).code(), 0);
    assert_eq!(client.permit(&mut sim, &[peer]).code(), 0);
    assert_eq!(client.bind(&mut sim, 0x4000, peer).code(), 0);
    assert!(client.channel_data(&mut sim, 0x4000, b"x").iter().any(|s| matches!(s, Seen::ToPeer(..))));
    for _ in 0..100 {
        assert_eq!(client.refresh(&mut sim, 600).code(), 0);
    }
    // Errors to who has logged in are no answers to strangers.
    assert_eq!(client.allocate(&mut sim).code(), 437);

    let mut guesser = Client::with(1, USER, "guessed");
    guesser.nonce = client.nonce.clone();
    guesser.five_tuple.client = ClientAddr(addr("192.0.2.9:9"));
    let request = guesser.signed(Method::ALLOCATE, |_| ());
    assert_eq!(answered(&mut sim, &guesser, &request, 10), 0, "a nonce alone opens nothing");
}

#[test]
fn an_allocation_outlives_its_nonce_although_the_network_is_flooded() {
    let mut sim = Sim::new(limited(), [1; 32]);
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    for _ in 0..12 {
        sim.sleep(590.0);
        exhaust(&mut sim);
        // The nonce has run out after an hour at the latest: the answer is 438, with a new one.
        assert_eq!(client.refresh(&mut sim, 600).code(), 0);
        let keepalive = client.plain(Method::BINDING, Class::Request, |_| ());
        assert_eq!(client.exchange(&mut sim, &keepalive).code(), 0);
    }
}

#[test]
fn in_the_name_of_a_client_with_an_allocation_little_can_be_had() {
    let mut sim = Sim::new(limited(), [1; 32]);
    let mut client = Client::with(1, USER, PASSWORD);
    client.allocated(&mut sim);
    exhaust(&mut sim);
    let request = client.plain(Method::BINDING, Class::Request, |_| ());
    assert_eq!(answered(&mut sim, &client, &request, 10_000), 100);
    sim.sleep(1.0);
    exhaust(&mut sim);
    assert_eq!(answered(&mut sim, &client, &request, 10_000), 10);
}

#[test]
fn without_a_limit_all_are_answered() {
    let mut sim = Sim::new(CoreConfig { strangers: None, ..config() }, [1; 32]);
    let mut client = Client::new(1);
    let request = client.plain(Method::BINDING, Class::Request, |_| ());
    assert_eq!(answered(&mut sim, &client, &request, 20_000), 20_000);
}

#[test]
fn unless_told_otherwise_a_network_is_answered_a_thousand_times_a_second() {
    let mut sim = Sim::new(config(), [1; 32]);
    let mut client = Client::new(1);
    let request = client.plain(Method::BINDING, Class::Request, |_| ());
    assert_eq!(answered(&mut sim, &client, &request, 12_000), 10_000);
    sim.sleep(1.0);
    assert_eq!(answered(&mut sim, &client, &request, 2_000), 1_000);
}
