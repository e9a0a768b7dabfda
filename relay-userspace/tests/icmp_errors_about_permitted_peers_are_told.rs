//! ICMP errors about what was relayed reach the client as Data indications (RFC 8656 section 11.5).

mod common;

use std::net::SocketAddr;

use common::{Client, Sim, addr, config, dropped, ip, peer, sim, to_client};
use relay_common::reason::Reason;
use turnpike::stun::{AddressFamily, Class, Icmp, Message, MessageType, Method};
use turnpike::turn::RelayAddress;

const PEER: &str = "203.0.113.1:1000";
const UNREACHABLE: Icmp = Icmp { kind: 3, code: 3, data: 0 };

fn permitted() -> (Sim, Client, SocketAddr) {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    client.permit(&mut sim, &[addr(PEER)]);
    (sim, client, relayed)
}

/// What the client is told about an error, or why it is not.
fn told(sim: &mut Sim, relayed: SocketAddr, about: &str, error: Icmp) -> Result<Icmp, Reason> {
    let seen = sim.icmp_error(relayed, peer(about), error);
    let Some(datagram) = to_client(&seen) else { return Err(dropped(&seen).expect("a reason")) };
    let message = Message::parse(datagram).unwrap();
    assert_eq!(message.message_type(), MessageType::new(Method::DATA, Class::Indication));
    assert_eq!((message.xor_peer_address(), message.data()), (Ok(Some(addr(about))), None));
    Ok(message.icmp().unwrap().expect("ICMP"))
}

#[test]
fn the_peer_and_the_error_are_named_and_there_is_no_data() {
    let (mut sim, _, relayed) = permitted();
    assert_eq!(told(&mut sim, relayed, PEER, UNREACHABLE), Ok(UNREACHABLE));
    assert_eq!(
        told(&mut sim, relayed, "203.0.113.1:2", UNREACHABLE),
        Ok(UNREACHABLE),
        "by address, not by port"
    );
}

#[test]
fn only_too_big_tells_an_mtu() {
    let mut config = config();
    let v6 = ip("2001:db8::7");
    config.relay_addresses.push(RelayAddress { public: v6, local: v6 });
    let mut sim = Sim::new(config, [1; 32]);
    for (relay, about, types, too_big) in [
        (AddressFamily::V4, PEER, &[3, 11][..], (3, 4)),
        (AddressFamily::V6, "[2a00::1]:1000", &[1, 2, 3], (2, 0)),
    ] {
        let mut client = Client::new(1 + u16::from(relay.number()));
        let reply = client.request(&mut sim, Method::ALLOCATE, |b| {
            b.requested_transport(17).requested_address_family(relay);
        });
        client.permit(&mut sim, &[addr(about)]);
        for kind in 0..=255 {
            for code in [0, 3, 4, 255] {
                sim.wait(0.1);
                let mtu = if (kind, code) == too_big || (kind, too_big) == (2, (2, 0)) { 1400 } else { 0 };
                let expected = if types.contains(&kind) {
                    Ok(Icmp { kind, code, data: mtu })
                } else {
                    Err(Reason::IcmpType)
                };
                let error = Icmp { kind, code, data: 1400 };
                assert_eq!(told(&mut sim, reply.relayed(), about, error), expected, "{relay:?} {error:?}");
                client.refresh(&mut sim, 600);
                client.permit(&mut sim, &[addr(about)]);
            }
        }
    }
}

#[test]
fn an_error_about_a_peer_without_permission_or_allocation_is_not_told() {
    let (mut sim, mut client, relayed) = permitted();
    assert_eq!(told(&mut sim, relayed, "203.0.113.2:1000", UNREACHABLE), Err(Reason::NoPermission));
    assert_eq!(told(&mut sim, addr("198.51.100.7:49999"), PEER, UNREACHABLE), Err(Reason::NoAllocation));
    sim.wait(300.0);
    assert_eq!(told(&mut sim, relayed, PEER, UNREACHABLE), Err(Reason::NoPermission));
    client.refresh(&mut sim, 0);
    assert_eq!(told(&mut sim, relayed, PEER, UNREACHABLE), Err(Reason::NoAllocation));
}

#[test]
fn a_client_is_told_sixteen_errors_a_second() {
    let (mut sim, _, relayed) = permitted();
    let mut other = Client::new(2);
    let others = other.allocated(&mut sim);
    other.permit(&mut sim, &[addr(PEER)]);
    for _ in 0..3 {
        let forged = (0..100).map(|_| told(&mut sim, relayed, PEER, UNREACHABLE));
        assert_eq!(forged.filter(|told| *told == Ok(UNREACHABLE)).count(), 16);
        assert_eq!(told(&mut sim, relayed, PEER, UNREACHABLE), Err(Reason::IcmpRate));
        assert_eq!(told(&mut sim, others, PEER, UNREACHABLE), Ok(UNREACHABLE), "another allocation's");
        sim.wait(1.0);
    }
}

#[test]
fn an_error_that_nobody_may_be_told_takes_nothing_from_those_that_may() {
    let (mut sim, _, relayed) = permitted();
    for _ in 0..100 {
        assert_eq!(told(&mut sim, relayed, "203.0.113.2:1", UNREACHABLE), Err(Reason::NoPermission));
        assert_eq!(told(&mut sim, relayed, PEER, Icmp { kind: 5, ..UNREACHABLE }), Err(Reason::IcmpType));
    }
    assert_eq!(told(&mut sim, relayed, PEER, UNREACHABLE), Ok(UNREACHABLE));
}
