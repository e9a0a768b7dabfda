//! TCP allocations (RFC 6062): how many connections there may be, how fast they are, and where what they carry is counted.

mod common;

use common::{
    Client, LIMITS, Seen, Sim, a_peer, addr, asked_to_connect, attempt, code, config, events, joined, over,
    tcp_client, tcp_config, tcp_sim,
};
use relay_common::tables::Count;
use turnpike::policy::Rate;
use turnpike::stun::Method;
use turnpike::turn::{
    CoreConfig, Direction, Event, Input, Output, Rates, TcpEvent, TcpRelay, Throughput, Transport,
};

/// LESSONS 41: the limits, of an allocation and of all together, counted while connections are being made too.
#[test]
fn connections_are_limited() {
    let (mut sim, mut one, mut two) = (tcp_sim(), tcp_client(1), tcp_client(2));
    let relayed = one.allocate_tcp(&mut sim).relayed();
    one.permit(&mut sim, &[a_peer()]);
    two.allocate_tcp(&mut sim);
    let peer = |n: u16| addr(&format!("203.0.113.1:{n}"));
    for n in 1..=4 {
        assert!(asked_to_connect(&one.connect(&mut sim, peer(n))).is_some());
    }
    assert_eq!(code(&one.connect(&mut sim, peer(5))), Some(508), "of the allocation");
    assert_eq!(sim.peer_connects(relayed, peer(6))[0], Seen::Other(Output::RefusePeer));
    for n in 1..=2 {
        assert!(asked_to_connect(&two.connect(&mut sim, peer(n))).is_some());
    }
    assert_eq!(code(&two.connect(&mut sim, peer(5))), Some(508), "of all");
    sim.wait(31.0);
    assert!(asked_to_connect(&two.connect(&mut sim, peer(5))).is_some(), "there is room again");
}

/// LESSONS 41: with as many allocations as one likes, over all of them and both ways; the others are not kept out.
#[test]
fn one_user_does_not_take_the_connections_of_all() {
    let limits = TcpRelay { user_connections: 3, ..LIMITS };
    let config = CoreConfig { tcp_relay: Some(limits), ..config() };
    let (mut sim, mut one, mut two) = (Sim::new(config, [7; 32]), tcp_client(1), tcp_client(2));
    one.allocate_tcp(&mut sim);
    let relayed = two.allocate_tcp(&mut sim).relayed();
    two.permit(&mut sim, &[a_peer()]);
    let peer = |n: u16| addr(&format!("203.0.113.1:{n}"));
    let (first, ..) = asked_to_connect(&one.connect(&mut sim, peer(1))).unwrap();
    assert!(asked_to_connect(&one.connect(&mut sim, peer(2))).is_some());
    assert!(attempt(&sim.peer_connects(relayed, peer(3))).is_some());
    for client in [&mut one, &mut two] {
        let seen = client.connect(&mut sim, peer(4));
        assert_eq!((code(&seen), events(&seen)), (Some(486), vec![TcpEvent::OverQuota]));
    }
    let seen = sim.peer_connects(relayed, peer(5));
    assert!(seen.contains(&Seen::Other(Output::RefusePeer)), "{seen:?}");
    assert_eq!(events(&seen), [TcpEvent::OverQuota, TcpEvent::Refused]);

    let mut other = over(Transport::Tcp, Client::with(3, "bob", "builder"));
    other.allocate_tcp(&mut sim);
    for n in 1..=3 {
        assert!(asked_to_connect(&other.connect(&mut sim, peer(n))).is_some(), "{n}");
    }
    let mut more = over(Transport::Tcp, Client::with(4, "bob", "builder"));
    more.allocate_tcp(&mut sim);
    // The server is full now, and so is the user: nothing is taken, nor lost.
    sim.connect_fails(first);
    assert!(asked_to_connect(&one.connect(&mut sim, peer(6))).is_some(), "there is room again");
    assert_eq!(code(&more.connect(&mut sim, peer(7))), Some(486));
    sim.wait(10_000.0);
    sim.assert_empty();
}

/// LESSONS 48: how many peers a credential may name in a minute holds for Connect too.
#[test]
fn naming_new_peers_is_limited() {
    let rates =
        Rates { new_peers: Some(Rate::new(2, std::time::Duration::from_secs(60), 2)), ..Rates::default() };
    let limits = TcpRelay { allocation_connections: 9, user_connections: 9, total_connections: 9, ..LIMITS };
    let config = CoreConfig { rates, tcp_relay: Some(limits), ..config() };
    let (mut sim, mut client) = (Sim::new(config, [7; 32]), tcp_client(1));
    client.allocate_tcp(&mut sim);
    let mut connects = |n: u8| code(&client.connect(&mut sim, addr(&format!("203.0.113.{n}:80"))));
    assert_eq!([connects(1), connects(2), connects(3)], [None, None, Some(508)]);
    assert_eq!(sim.shared.connections(), 2, "what is refused takes no place");
}

/// The place of an allocation in the quotas, its port and its lifetime are those of any other.
#[test]
fn quotas_hold_for_tcp_allocations() {
    let (mut sim, mut client) =
        (Sim::new(CoreConfig { user_quota: Some(1), ..tcp_config() }, [7; 32]), tcp_client(1));
    client.allocate_tcp(&mut sim).relayed();
    assert_eq!(tcp_client(2).allocate_tcp(&mut sim).code(), 486);
    assert_eq!(sim.shared.free_ports(), 63);
    sim.foreign.extend(50_000..=50_063);
    client.refresh(&mut sim, 0);
    assert_eq!(
        tcp_client(3).allocate_tcp(&mut sim).code(),
        508,
        "a port that another program holds is not ours"
    );
}

fn counted(bytes: [u64; 2]) -> Seen {
    let [to_peer, to_client] = bytes.map(|bytes| Count { packets: u64::from(bytes > 0), bytes });
    Seen::Event(Event::TcpCarried { to_peer, to_client })
}

/// What connections carried is counted for the allocation while it lives.
#[test]
fn what_is_carried_is_counted() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    client.allocate_tcp(&mut sim);
    let connection = client.connected(&mut sim, a_peer());
    let carried = joined(&mut sim, 2, connection);
    for _ in 0..2 {
        carried.add(Direction::ToPeer, 700);
        carried.add(Direction::ToClient, 9000);
        assert!(carried.any());
        assert_eq!(sim.input(Input::ConnectionCarried { connection }), [counted([700, 9000])]);
        assert_eq!(sim.input(Input::ConnectionCarried { connection }), [], "once");
    }
    let session = sim.core.look(0).unwrap().session(sim.now);
    assert_eq!((session.usage.to_peer.relayed.bytes, session.usage.to_client.relayed.bytes), (1400, 18_000));
    assert_eq!(session.connections, 1);
}

/// And so is what nobody told of when the connection ended, by either end or with its allocation: it is in the summary.
#[test]
fn the_last_that_is_carried_is_counted() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    client.allocate_tcp(&mut sim);
    let goes = client.connected(&mut sim, a_peer());
    let stays = client.connected(&mut sim, addr("203.0.113.2:80"));
    let (of_goes, of_stays) = (joined(&mut sim, 2, goes), joined(&mut sim, 3, stays));
    of_goes.add(Direction::ToClient, 300);
    of_stays.add(Direction::ToPeer, 1_000_000);
    assert_eq!(sim.connection_goes(goes), [counted([0, 300]), Seen::Event(Event::Tcp(TcpEvent::Ended))]);

    let request = client.signed(Method::REFRESH, |b| {
        b.lifetime(std::time::Duration::ZERO);
    });
    let seen = sim.client_sends(client.five_tuple, &request);
    assert!(seen.contains(&counted([1_000_000, 0])), "{seen:?}");
    let usage = seen.iter().find_map(|s| match s {
        Seen::Event(Event::AllocationEnded { summary, .. }) => Some(summary.usage),
        _ => None,
    });
    let usage = usage.expect("the end of the allocation");
    assert_eq!((usage.to_peer.relayed.bytes, usage.to_client.relayed.bytes), (1_000_000, 300));
    assert!(of_stays.is_over(), "whoever carries is to carry no more");
}

/// Rates hold for connections too: the caller gets the meters that all other data of the allocation is counted by.
#[test]
fn connections_are_paced_by_the_limits_of_their_allocation() {
    let second = std::time::Duration::from_secs(1);
    let rate = Some(Rate::new(3000, second, 3000));
    let rates = Rates { allocation: Throughput { bytes: rate, packets: None }, ..Rates::default() };
    let (mut sim, mut client, mut data) =
        (Sim::new(CoreConfig { rates, ..tcp_config() }, [7; 32]), tcp_client(1), tcp_client(2));
    client.allocate_tcp(&mut sim);
    let connection = client.connected(&mut sim, a_peer());
    let request = data.bind_request(&mut sim, connection);
    let seen = sim.client_sends(data.five_tuple, &request);
    let pace = seen.iter().find_map(|s| match s {
        Seen::Other(Output::Join { pace, .. }) => Some(pace.clone()),
        _ => None,
    });
    let (pace, way) = (pace.unwrap(), turnpike::turn::Direction::ToPeer);
    let now = sim.now;
    let passed = (0..10).filter(|_| pace.take(way, now, 1000)).count();
    assert!(pace.is_limited() && passed == 3, "{passed}");
    assert!(pace.take(way, now + second, 1000));
}
