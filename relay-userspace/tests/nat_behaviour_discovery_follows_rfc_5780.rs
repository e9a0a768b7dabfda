//! NAT behaviour discovery (RFC 5780): where answers come from, where they go, and that they are no weapon.

mod common;

use std::net::SocketAddr;

use common::{Client, Reply, Seen, Sim, addr, config, ip};
use proptest::prelude::*;
use turnpike::stun::{AttributeType, Builder, ChangeRequest, Class, Message, Method};
use turnpike::turn::{ClientAddr, CoreConfig, Discovery, FiveTuple, RelayAddress};

const V4: [&str; 4] = ["198.51.100.7:3478", "198.51.100.7:3479", "198.51.100.8:3478", "198.51.100.8:3479"];
const V6: [&str; 4] =
    ["[2001:db8::7]:3478", "[2001:db8::7]:3479", "[2001:db8::8]:3478", "[2001:db8::8]:3479"];

/// How much longer than its request an answer is at most, in bytes: MAPPED-ADDRESS, XOR-MAPPED-ADDRESS,
/// RESPONSE-ORIGIN and OTHER-ADDRESS. The smallest request has 20 bytes (48 with the headers of IPv4 and UDP, 68 with
/// those of IPv6), so the factor is at most 2.0 for IPv4 and 2.4 for IPv6.
const MOST_ADDED: [usize; 2] = [4 * 12, 4 * 24];

fn discovering() -> CoreConfig {
    let listeners: Vec<_> = V4.into_iter().chain(V6).map(addr).collect();
    CoreConfig { discovery: Some(Discovery::new(&listeners).unwrap()), ..config() }
}

fn sim() -> Sim {
    Sim::new(discovering(), [1; 32])
}

fn client_at(listener: SocketAddr) -> Client {
    let mut client = Client::new(4000);
    client.five_tuple.listener = listener;
    if listener.is_ipv6() {
        client.five_tuple.client = ClientAddr(addr("[2001:db8::9]:4000"));
    }
    client
}

/// Sends a Binding request; the answer and the way it takes.
fn ask(sim: &mut Sim, client: &mut Client, fill: impl FnOnce(&mut Builder<'_>)) -> (FiveTuple, Reply) {
    let request = client.plain(Method::BINDING, Class::Request, fill);
    sent(sim, client, &request)
}

fn sent(sim: &mut Sim, client: &Client, request: &[u8]) -> (FiveTuple, Reply) {
    let seen = sim.client_sends(client.five_tuple, request);
    let mut answers = seen.into_iter().filter_map(|seen| match seen {
        Seen::ToClient(five_tuple, bytes) => Some((five_tuple, Reply(bytes))),
        _ => None,
    });
    let answer = answers.next().expect("an answer");
    assert!(answers.next().is_none(), "more than one answer");
    answer
}

/// Section 6.1, table 1.
#[test]
fn the_answer_comes_from_where_the_flags_say_and_names_the_opposite_corner() {
    let mut sim = sim();
    for four in [V4, V6].map(|four| four.map(addr)) {
        for listener in four {
            let opposite_ip = four.map(|l| l.ip()).into_iter().find(|ip| *ip != listener.ip()).unwrap();
            let opposite_port = if listener.port() == 3478 { 3479 } else { 3478 };
            for change in
                [None, Some((false, false)), Some((true, false)), Some((false, true)), Some((true, true))]
            {
                let mut client = client_at(listener);
                let (way, reply) = ask(&mut sim, &mut client, |b| {
                    if let Some((ip, port)) = change {
                        b.change_request(ChangeRequest { ip, port });
                    }
                });
                let (ip, port) = change.unwrap_or_default();
                let from = SocketAddr::new(
                    if ip { opposite_ip } else { listener.ip() },
                    if port { opposite_port } else { listener.port() },
                );
                assert_eq!(way, FiveTuple { listener: from, ..client.five_tuple });
                let message = reply.message();
                assert_eq!(message.response_origin(), Ok(Some(from)));
                let other = SocketAddr::new(opposite_ip, opposite_port);
                assert_eq!(message.other_address(), Ok(Some(other)));
                assert_eq!(message.mapped_address(), Ok(Some(client.five_tuple.client.0)));
                assert_eq!(message.xor_mapped_address(), Ok(Some(client.five_tuple.client.0)));
            }
        }
    }
}

/// Section 6.1: "If the Binding Request does not contain any attributes from this document, OTHER-ADDRESS and
/// RESPONSE-ORIGIN are still included".
#[test]
fn the_shortest_request_gets_the_addresses_and_nothing_else() {
    for (listener, added) in [(V4[0], MOST_ADDED[0]), (V6[0], MOST_ADDED[1])] {
        let (_, reply) = ask(&mut sim(), &mut client_at(addr(listener)), |_| ());
        assert_eq!(reply.0.len(), 20 + added);
        let (_, reply) = ask(&mut sim(), &mut client_at(addr(listener)), |b| {
            b.fingerprint();
        });
        assert_eq!(reply.0.len(), 28 + added);
    }
}

#[test]
fn the_answer_goes_to_the_response_port_of_the_host_that_asked() {
    let mut sim = sim();
    let mut client = client_at(addr(V4[0]));
    for (port, change) in [(1024, None), (5000, None), (65_535, Some(ChangeRequest { ip: true, port: true }))]
    {
        let (way, reply) = ask(&mut sim, &mut client, |b| {
            b.response_port(port);
            if let Some(change) = change {
                b.change_request(change);
            }
        });
        assert_eq!(way.client.0, SocketAddr::new(client.five_tuple.client.0.ip(), port));
        assert_eq!(way.listener, addr(if change.is_some() { V4[3] } else { V4[0] }));
        assert_eq!(reply.message().xor_mapped_address(), Ok(Some(client.five_tuple.client.0)));
    }
}

#[test]
fn services_below_port_1024_are_not_bothered() {
    let mut sim = sim();
    let mut client = client_at(addr(V4[0]));
    for port in [0, 53, 123, 1023] {
        let (way, reply) = ask(&mut sim, &mut client, |b| {
            b.response_port(port);
        });
        assert_eq!((way, reply.code()), (client.five_tuple, 400));
    }
}

#[test]
fn padding_comes_back_as_long_as_it_was_sent_up_to_an_ethernet_frame() {
    let mut sim = sim();
    let mut client = client_at(addr(V4[0]));
    for length in [0, 1, 100, 1499, 1500, 1501, 60_000] {
        let (way, reply) = ask(&mut sim, &mut client, |b| {
            b.bytes(AttributeType::PADDING, &vec![0xee; length]);
        });
        assert_eq!(way, client.five_tuple);
        let value = reply.message().attribute(AttributeType::PADDING).expect("PADDING").value;
        // Zeros: what a stranger writes is not sent on to anybody.
        assert_eq!(value, vec![0; length.min(1500)]);
    }
}

/// Section 6.1 and section 10: long answers to a port of the asker's choice.
#[test]
fn padding_and_response_port_do_not_go_together() {
    let mut client = client_at(addr(V4[0]));
    let (way, reply) = ask(&mut sim(), &mut client, |b| {
        b.padding(1000).response_port(5000);
    });
    assert_eq!((way, reply.code()), (client.five_tuple, 400));
    assert_eq!(reply.0.len(), 28);
}

#[test]
fn malformed_attributes_are_refused_from_the_address_that_was_asked() {
    let mut client = client_at(addr(V4[0]));
    for (kind, value) in
        [(AttributeType::CHANGE_REQUEST, &[0, 6][..]), (AttributeType::RESPONSE_PORT, &[19, 0x88, 0])]
    {
        let (way, reply) = ask(&mut sim(), &mut client, |b| {
            b.bytes(kind, value);
        });
        assert_eq!((way, reply.code()), (client.five_tuple, 400), "{kind}");
    }
}

#[test]
fn where_it_is_not_served_its_attributes_are_unknown_and_no_address_is_told() {
    let off = Sim::new(config(), [1; 32]);
    // At a listener that has no other to answer from.
    let outside = Sim::new(discovering(), [1; 32]);
    for (mut sim, listener) in [(off, V4[0]), (outside, "198.51.100.7:443")] {
        let mut client = client_at(addr(listener));
        for (kind, value) in [
            (AttributeType::CHANGE_REQUEST, &[0, 0, 0, 6][..]),
            (AttributeType::RESPONSE_PORT, &[0x13, 0x88, 0, 0]),
            (AttributeType::PADDING, &[0; 100]),
        ] {
            let (way, reply) = ask(&mut sim, &mut client, |b| {
                b.bytes(kind, value);
            });
            assert_eq!((way, reply.code()), (client.five_tuple, 420));
            assert_eq!(reply.message().unknown_attributes().collect::<Vec<_>>(), [kind]);
        }
        let (_, reply) = ask(&mut sim, &mut client, |_| ());
        assert_eq!(reply.0.len(), 32);
    }
}

#[test]
fn a_420_lists_what_is_unknown_and_not_what_is_served() {
    let mut client = client_at(addr(V4[0]));
    let (_, reply) = ask(&mut sim(), &mut client, |b| {
        b.change_request(ChangeRequest::default()).bytes(AttributeType(0x7abc), b"x");
    });
    assert_eq!(reply.code(), 420);
    assert_eq!(reply.message().unknown_attributes().collect::<Vec<_>>(), [AttributeType(0x7abc)]);
}

/// Section 7: "These attributes are all used only with Binding Requests".
#[test]
fn other_requests_do_not_know_the_attributes() {
    let mut sim = sim();
    let mut client = Client::new(4000);
    let reply = client.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).change_request(ChangeRequest::default());
    });
    assert_eq!(reply.code(), 420);
    let unknown: Vec<_> = reply.message().unknown_attributes().collect();
    assert_eq!(unknown, [AttributeType::CHANGE_REQUEST]);
}

#[test]
fn behind_a_one_to_one_nat_the_public_addresses_are_told() {
    let nat = |public, local| RelayAddress { public: ip(public), local: ip(local) };
    let relay_addresses = vec![nat("203.0.113.7", "198.51.100.7"), nat("203.0.113.8", "198.51.100.8")];
    let mut sim = Sim::new(CoreConfig { relay_addresses, ..discovering() }, [1; 32]);
    let (way, reply) = ask(&mut sim, &mut client_at(addr(V4[0])), |b| {
        b.change_request(ChangeRequest { ip: true, port: false });
    });
    assert_eq!(way.listener, addr("198.51.100.8:3478"));
    assert_eq!(reply.message().response_origin(), Ok(Some(addr("203.0.113.8:3478"))));
    assert_eq!(reply.message().other_address(), Ok(Some(addr("203.0.113.8:3479"))));
}

/// One attribute of a stranger's request.
fn attribute() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let kind = prop_oneof![
        3 => Just(AttributeType::CHANGE_REQUEST.0),
        3 => Just(AttributeType::RESPONSE_PORT.0),
        3 => Just(AttributeType::PADDING.0),
        1 => Just(AttributeType::USERNAME.0),
        1 => Just(AttributeType::MESSAGE_INTEGRITY.0),
        1 => any::<u16>(),
    ];
    let value = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 4),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (0usize..9000).prop_map(|length| vec![0x7f; length]),
    ];
    (kind, value)
}

proptest! {
    #[test]
    fn whatever_a_stranger_sends_the_answer_is_short_and_goes_to_the_host_that_sent_it(
        v6 in any::<bool>(),
        corner in 0..4usize,
        attributes in proptest::collection::vec(attribute(), 0..5),
        fingerprint in any::<bool>(),
    ) {
        let mut sim = sim();
        let mut client = client_at(addr(if v6 { V6[corner] } else { V4[corner] }));
        let request = client.plain(Method::BINDING, Class::Request, |b| {
            for (kind, value) in &attributes {
                b.bytes(AttributeType(*kind), value);
            }
            if fingerprint {
                b.fingerprint();
            }
        });
        prop_assume!(Message::parse(&request).is_ok());
        let (way, reply) = sent(&mut sim, &client, &request);
        let most = request.len() + MOST_ADDED[usize::from(v6)];
        prop_assert!(reply.0.len() <= most, "{} bytes for {}", reply.0.len(), request.len());
        let asked = client.five_tuple.client.0;
        prop_assert_eq!(way.client.0.ip(), asked.ip());
        prop_assert!(way.client.0.port() == asked.port() || way.client.0.port() >= 1024);
        let listeners = if v6 { V6 } else { V4 }.map(addr);
        prop_assert!(listeners.contains(&way.listener));
        sim.assert_empty();
    }
}
