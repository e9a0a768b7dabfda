//! TCP allocations (RFC 6062): what is granted and refused, and what becomes of connections.

mod common;

use common::{
    Client, Joined, LIMITS, Seen, Sim, a_peer, addr, asked_to_connect, attempt, client_of, closed, code,
    config, dropped, events, joined, over, sim, tcp_client, tcp_config, tcp_sim, to_client,
};
use relay_common::reason::Reason;
use turnpike::policy::{HostAddresses, PeerRules};
use turnpike::stun::Method;
use turnpike::turn::{Carried, CoreConfig, Direction, Event, Input, Output, TcpEvent, TcpRelay, Transport};

/// RFC 6062 section 5.1: a TCP relayed transport address is allocated, and listened on.
#[test]
fn an_allocation_of_tcp_listens_on_its_relayed_address() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let (mut sim, mut client) = (tcp_sim(), over(transport, Client::new(1)));
        let reply = client.allocate_tcp(&mut sim);
        let relayed = reply.relayed();
        assert!(sim.datapath.listening.iter().any(|r| r.0 == relayed) && sim.datapath.open.is_empty());
        assert_eq!(reply.message().reservation_token().unwrap(), None, "section 5.1, step 5");
        assert_eq!(client.refresh(&mut sim, 0).code(), 0);
        sim.wait(100.0);
        sim.assert_empty();
    }
}

/// Off unless configured: 442 as for any other protocol, and methods that are not known.
#[test]
fn a_server_without_tcp_allocations_knows_nothing_of_them() {
    let (mut sim, mut client) = (sim(), tcp_client(1));
    assert_eq!(client.allocate_tcp(&mut sim).code(), 442);
    client.allocated(&mut sim);
    assert_eq!(dropped(&client.connect(&mut sim, a_peer())), Some(Reason::Unexpected));
}

/// RFC 6062 section 5.1, steps 1 to 3.
#[test]
fn what_belongs_to_udp_is_refused() {
    let mut sim = tcp_sim();
    assert_eq!(Client::new(1).allocate_tcp(&mut sim).code(), 400, "over UDP");
    assert_eq!(over(Transport::Dtls, Client::new(1)).allocate_tcp(&mut sim).code(), 400);
    let mut client = tcp_client(1);
    let mut asks = |fill: fn(&mut turnpike::stun::Builder<'_>)| {
        client.request(&mut sim, Method::ALLOCATE, |b| fill(b.requested_transport(6))).code()
    };
    assert_eq!(asks(|b| _ = b.dont_fragment()), 400);
    assert_eq!(asks(|b| _ = b.even_port(false)), 400);
    assert_eq!(asks(|b| _ = b.reservation_token([1; 8])), 400);
    assert_eq!(client.request(&mut sim, Method::ALLOCATE, |b| _ = b.requested_transport(132)).code(), 442);
    sim.wait(100.0);
    sim.assert_empty();
}

/// A client that moves is known by its data (RFC 8016 section 3.2.2), which does not come by the control connection.
#[test]
fn a_tcp_allocation_does_not_move() {
    let (mut sim, mut client) =
        (Sim::new(CoreConfig { mobility: true, ..tcp_config() }, [7; 32]), tcp_client(1));
    let reply = client.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(6).mobility_ticket(&[]);
    });
    assert_eq!(reply.code(), 405);
}

/// RFC 6062 section 5.2: from the relayed transport address to the peer, and the answer when the connection is there.
#[test]
fn a_client_connects_to_a_peer_and_binds_a_connection_of_its_own() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    let relayed = client.allocate_tcp(&mut sim).relayed();
    let seen = client.connect(&mut sim, a_peer());
    let (connection, from, to) = asked_to_connect(&seen).unwrap();
    assert_eq!((from.0, to.0, to_client(&seen)), (relayed, a_peer(), None));
    let seen = sim.input(Input::PeerConnected { connection });
    assert_eq!(
        (code(&seen), client_of(&seen)),
        (Some(0), Some(client.five_tuple)),
        "by the control connection"
    );
    assert_eq!(events(&seen), [TcpEvent::Connected]);
    sim.datapath.connections.insert(connection, Joined::Waiting);

    let mut data = tcp_client(2);
    assert_eq!(data.connection_bind(&mut sim, connection).code(), 0);
    assert_eq!(sim.datapath.connections[&connection], Joined::To(data.five_tuple));
    // What ends it is no longer the clock.
    sim.wait(100.0);
    assert_eq!(sim.core.occupancy().connections, 1);
    assert_eq!(events(&sim.connection_goes(connection)), [TcpEvent::Ended]);
    assert_eq!(sim.shared.connections(), 0);
}

/// RFC 6062 section 5.4: the answer comes before the connection carries anything else.
#[test]
fn the_answer_to_connection_bind_comes_before_the_data() {
    let (mut sim, mut client, mut data) = (tcp_sim(), tcp_client(1), tcp_client(2));
    client.allocate_tcp(&mut sim);
    let connection = client.connected(&mut sim, a_peer());
    let request = data.bind_request(&mut sim, connection);
    let seen = sim.client_sends(data.five_tuple, &request);
    let place = |is: fn(&Seen) -> bool| seen.iter().position(is).unwrap();
    assert!(
        place(|s| matches!(s, Seen::ToClient(..))) < place(|s| matches!(s, Seen::Other(Output::Join { .. })))
    );
}

/// RFC 6062 section 5.2, in its order: 437, 400, 446, 403; and 443 of RFC 8656.
#[test]
fn connect_is_refused_where_it_must_be() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    assert_eq!(code(&client.connect(&mut sim, a_peer())), Some(437), "no allocation");
    let mut of_udp = tcp_client(2);
    of_udp.allocated(&mut sim);
    assert_eq!(code(&of_udp.connect(&mut sim, a_peer())), Some(437), "an allocation of UDP");

    client.allocate_tcp(&mut sim);
    assert_eq!(client.request(&mut sim, Method::CONNECT, |_| {}).code(), 400);
    for forbidden in ["10.0.0.1:80", "127.0.0.1:80", "203.0.113.1:0", "198.51.100.7:22"] {
        assert_eq!(code(&client.connect(&mut sim, addr(forbidden))), Some(403), "{forbidden}");
    }
    assert_eq!(code(&client.connect(&mut sim, addr("[2001:db8:ff::1]:80"))), Some(443));
    let mut other = over(Transport::Tcp, Client::with(1, "bob", "builder"));
    assert_eq!(code(&other.connect(&mut sim, a_peer())), Some(441));
    assert_eq!(sim.shared.connections(), 0);
}

/// LESSONS 35: no encoding of an address reaches what may not be reached, by Connect either.
#[test]
fn forbidden_peers_are_refused_in_every_encoding() {
    let v6 = [("198.51.100.7", "198.51.100.7"), ("2001:db8:1::7", "2001:db8:1::7")];
    let config = CoreConfig { tcp_relay: Some(LIMITS), ..common::relaying_from(&v6) };
    let (mut sim, mut client) = (Sim::new(config, [7; 32]), tcp_client(1));
    client.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(6).additional_address_family(turnpike::stun::AddressFamily::V6);
    });
    for ip in [
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        assert_eq!(code(&client.connect(&mut sim, addr(&format!("{ip}:80")))), Some(403), "{ip}");
    }
}

/// RFC 6062 section 5.2: 446 while a connection to the same peer is being made, waits, or is in use; another port is another
/// peer.
#[test]
fn there_is_one_connection_to_a_peer() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    client.allocate_tcp(&mut sim);
    let (connection, ..) = asked_to_connect(&client.connect(&mut sim, a_peer())).unwrap();
    assert_eq!(code(&client.connect(&mut sim, a_peer())), Some(446), "being made");
    sim.input(Input::PeerConnected { connection });
    sim.datapath.connections.insert(connection, Joined::Waiting);
    assert_eq!(code(&client.connect(&mut sim, a_peer())), Some(446), "waiting");
    assert_eq!(tcp_client(2).connection_bind(&mut sim, connection).code(), 0);
    assert_eq!(code(&client.connect(&mut sim, a_peer())), Some(446), "in use");
    assert!(asked_to_connect(&client.connect(&mut sim, addr("203.0.113.1:1001"))).is_some());
    sim.connection_goes(connection);
    assert!(asked_to_connect(&client.connect(&mut sim, a_peer())).is_some(), "over");
}

/// RFC 6062 section 5.2: 447 when the attempt fails, and after 30 seconds, not before.
#[test]
fn a_peer_that_cannot_be_reached_is_447() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    client.allocate_tcp(&mut sim);
    let (connection, ..) = asked_to_connect(&client.connect(&mut sim, a_peer())).unwrap();
    let seen = sim.connect_fails(connection);
    assert_eq!((code(&seen), events(&seen)), (Some(447), vec![TcpEvent::ConnectFailed]));

    let (connection, ..) = asked_to_connect(&client.connect(&mut sim, a_peer())).unwrap();
    assert_eq!(sim.wait(29.9), []);
    let seen = sim.wait(0.2);
    assert_eq!((code(&seen), closed(&seen)), (Some(447), vec![connection]));
    // What the caller may have written meanwhile changes nothing.
    assert_eq!(sim.input(Input::PeerConnected { connection }), []);
    assert_eq!(sim.input(Input::ConnectFailed { connection }), []);
}

/// RFC 6062 sections 5.2 and 5.3: a connection that is not bound within 30 seconds is closed.
#[test]
fn a_connection_that_nobody_binds_is_closed_after_30_seconds() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    let relayed = client.allocate_tcp(&mut sim).relayed();
    client.permit(&mut sim, &[a_peer()]);
    let asked = client.connected(&mut sim, addr("203.0.113.2:80"));
    sim.wait(10.0);
    let (came, _) = attempt(&sim.peer_connects(relayed, a_peer())).unwrap();
    sim.wait(19.9);
    let seen = sim.wait(0.2);
    assert_eq!((closed(&seen), events(&seen)), (vec![asked], vec![TcpEvent::NotBound]));
    assert_eq!(closed(&sim.wait(10.0)), [came]);
    assert_eq!(tcp_client(2).connection_bind(&mut sim, asked).code(), 400, "too late");
}

/// RFC 6062 section 5.3.
#[test]
fn peers_with_a_permission_are_let_in_and_the_client_is_told() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    let relayed = client.allocate_tcp(&mut sim).relayed();
    let seen = sim.peer_connects(relayed, a_peer());
    assert_eq!(seen, [Seen::Other(Output::RefusePeer), Seen::Event(Event::Tcp(TcpEvent::Refused))]);

    assert_eq!(client.permit(&mut sim, &[addr("203.0.113.1:9")]).code(), 0, "by address, whatever the port");
    let seen = sim.peer_connects(relayed, a_peer());
    let (connection, from) = attempt(&seen).unwrap();
    assert_eq!((from, client_of(&seen)), (a_peer(), Some(client.five_tuple)));
    assert!(matches!(seen[0], Seen::Other(Output::AcceptPeer { connection: c }) if c == connection));
    assert_eq!(code(&client.connect(&mut sim, a_peer())), Some(446), "that connection exists");
    assert_eq!(tcp_client(2).connection_bind(&mut sim, connection).code(), 0);

    sim.wait(301.0);
    assert!(
        attempt(&sim.peer_connects(relayed, addr("203.0.113.1:1001"))).is_none(),
        "the permission is over"
    );
    assert_eq!(sim.datapath.connections.len(), 1, "what was let in stays");
}

/// A reload that forbids a peer keeps it from connecting, while its permission lasts.
#[test]
fn a_peer_that_was_forbidden_meanwhile_is_refused() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    let relayed = client.allocate_tcp(&mut sim).relayed();
    client.permit(&mut sim, &[a_peer()]);
    forbid(&mut sim, "203.0.113.0/24");
    assert_eq!(sim.peer_connects(relayed, a_peer())[0], Seen::Other(Output::RefusePeer));
}

fn forbid(sim: &mut Sim, peers: &str) {
    let host = HostAddresses { own: vec![], relay: vec![], relay_ports: 50_000..=50_063 };
    let forbids = PeerRules::new(vec![], vec![peers.parse().unwrap()], host).into();
    sim.core.reconfigure(CoreConfig { peer_rules: forbids, ..tcp_config() }.into());
}

/// Nor does one that is connected stay so: a connection lasts for hours. Others do.
#[test]
fn a_peer_that_was_forbidden_meanwhile_is_cut_off() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    client.allocate_tcp(&mut sim);
    let cut = client.connected(&mut sim, a_peer());
    let kept = client.connected(&mut sim, addr("8.8.8.8:80"));
    let (of_cut, of_kept) = (joined(&mut sim, 2, cut), joined(&mut sim, 3, kept));
    let carries = |sim: &mut Sim, connection, of: &Carried| {
        of.add(Direction::ToPeer, 700);
        sim.input(Input::ConnectionCarried { connection })
    };
    assert_eq!(closed(&carries(&mut sim, cut, &of_cut)), []);
    forbid(&mut sim, "203.0.113.1/32");
    assert_eq!(closed(&carries(&mut sim, kept, &of_kept)), []);
    let seen = carries(&mut sim, cut, &of_cut);
    assert_eq!((closed(&seen), events(&seen)), (vec![cut], vec![TcpEvent::Ended]));
    assert_eq!(sim.shared.connections(), 1);
    let session = sim.core.look(0).unwrap().session(sim.now);
    assert_eq!(session.usage.to_peer.relayed.bytes, 2100, "counted to the last");
    assert_eq!(sim.connection_goes(cut), [], "late news");
}

/// RFC 6062 section 5.4: 400 over UDP, without CONNECTION-ID, for none that waits; and section 4.3: the same user, and not
/// by the control connection.
#[test]
fn connection_bind_is_refused_where_it_must_be() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    client.allocate_tcp(&mut sim);
    let (making, ..) = asked_to_connect(&client.connect(&mut sim, addr("203.0.113.2:80"))).unwrap();
    let connection = client.connected(&mut sim, a_peer());
    let mut data = tcp_client(2);
    assert_eq!(Client::new(2).connection_bind(&mut sim, connection).code(), 400, "over UDP");
    assert_eq!(data.request(&mut sim, Method::CONNECTION_BIND, |_| {}).code(), 400);
    let wrong = data.request(&mut sim, Method::CONNECTION_BIND, |b| {
        b.connection_id(connection.0 ^ 1);
    });
    assert_eq!(wrong.code(), 400, "nobody's");
    assert_eq!(data.connection_bind(&mut sim, making).code(), 400, "not there yet");
    assert_eq!(client.connection_bind(&mut sim, connection).code(), 400, "by the control connection");
    let mut bob = over(Transport::Tcp, Client::with(3, "bob", "builder"));
    assert_eq!(bob.connection_bind(&mut sim, connection).code(), 441, "another user's");
    assert_eq!(data.connection_bind(&mut sim, connection).code(), 0);
    assert_eq!(tcp_client(4).connection_bind(&mut sim, connection).code(), 400, "twice");
}

/// A WebSocket carries messages alone: 400, and the connection of the peer waits for another.
#[test]
fn a_websocket_cannot_be_bound() {
    let (mut sim, mut client, mut data) = (tcp_sim(), tcp_client(1), tcp_client(2));
    client.allocate_tcp(&mut sim);
    let connection = client.connected(&mut sim, a_peer());
    let request = data.bind_request(&mut sim, connection);
    let seen = sim.input(Input::FromWebSocket { five_tuple: data.five_tuple, datagram: &request });
    assert_eq!((code(&seen), closed(&seen)), (Some(400), vec![]));
    assert!(sim.datapath.connections[&connection] == Joined::Waiting);
    assert_eq!(tcp_client(3).connection_bind(&mut sim, connection).code(), 0);
}

/// Section 5: the data of a TCP allocation is in its connections. ChannelBind is refused, indications are dropped.
#[test]
fn datagrams_have_no_place_in_a_tcp_allocation() {
    let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
    client.allocate_tcp(&mut sim);
    assert_eq!(client.permit(&mut sim, &[a_peer()]).code(), 0);
    assert_eq!(client.bind(&mut sim, 0x4000, a_peer()).code(), 403);
    assert_eq!(dropped(&client.send(&mut sim, a_peer(), b"data")), Some(Reason::Unexpected));
    assert_eq!(dropped(&client.channel_data(&mut sim, 0x4000, b"data")), Some(Reason::NoBinding));
    assert!(sim.datapath.ids.is_empty(), "XDP hears nothing of it");
}

/// RFC 6062 section 5.5: with the allocation end its connections, and its port is free again.
#[test]
fn connections_end_with_their_allocation() {
    for by_refresh in [true, false] {
        let (mut sim, mut client) = (tcp_sim(), tcp_client(1));
        let relayed = client.allocate_tcp(&mut sim).relayed();
        client.permit(&mut sim, &[a_peer()]);
        let used = client.connected(&mut sim, addr("203.0.113.2:80"));
        assert_eq!(tcp_client(2).connection_bind(&mut sim, used).code(), 0);
        let ended = if by_refresh {
            let (came, _) = attempt(&sim.peer_connects(relayed, a_peer())).unwrap();
            let (making, ..) = asked_to_connect(&client.connect(&mut sim, addr("203.0.113.3:80"))).unwrap();
            let request = client.signed(Method::REFRESH, |b| {
                b.lifetime(std::time::Duration::ZERO);
            });
            let seen = sim.client_sends(client.five_tuple, &request);
            assert_eq!(closed(&seen), [used, came, making]);
            let codes: Vec<_> = seen
                .iter()
                .filter_map(|s| match s {
                    Seen::ToClient(_, bytes) => Some(common::Reply(bytes.clone()).code()),
                    _ => None,
                })
                .collect();
            assert_eq!(codes, [437, 0], "who waits for Connect hears of it");
            seen
        } else {
            sim.wait(601.0)
        };
        let gone = ended
            .iter()
            .position(|s| matches!(s, Seen::Other(Output::CloseTcpRelay { relayed: r }) if r.0 == relayed));
        let last = ended.iter().rposition(|s| matches!(s, Seen::Other(Output::CloseConnection { .. })));
        assert!(last < gone, "the connections first");
        sim.wait(100.0);
        sim.assert_empty();
    }
}

/// A client's second connection arrives at any shard, and is handed to the one that has the allocation.
#[test]
fn a_connection_is_handed_to_the_shard_of_its_allocation() {
    let mut here = tcp_sim().numbered(0);
    let mut there = Sim::sharing(here.config.clone(), here.shared.clone(), [8; 32]).numbered(1);
    let mut client = tcp_client(1);
    client.allocate_tcp(&mut here);
    let connection = client.connected(&mut here, a_peer());

    let mut data = tcp_client(2);
    let request = data.bind_request(&mut there, connection);
    let seen = there.client_sends(data.five_tuple, &request);
    assert_eq!(seen, [Seen::Other(Output::Forward { shard: 0, five_tuple: data.five_tuple })]);
    let seen = here.client_sends(data.five_tuple, &request);
    assert_eq!(code(&seen), Some(0));
    assert!(here.datapath.connections[&connection] == Joined::To(data.five_tuple));
    assert_eq!(code(&there.client_sends(data.five_tuple, &request)), None, "and again, as it is known there");
    here.connection_goes(connection);
    assert_eq!(code(&there.client_sends(data.five_tuple, &request)), Some(400), "nobody's now");
}

/// LESSONS 38: CONNECTION-ID cannot be guessed from others.
#[test]
fn connection_ids_are_spread_over_all_there_are() {
    let limits =
        TcpRelay { allocation_connections: 1000, user_connections: 1000, total_connections: 1000, ..LIMITS };
    let (mut sim, mut client) =
        (Sim::new(CoreConfig { tcp_relay: Some(limits), ..config() }, [7; 32]), tcp_client(1));
    client.allocate_tcp(&mut sim);
    let mut ids: Vec<_> = (1..=400_u16)
        .map(|port| {
            asked_to_connect(&client.connect(&mut sim, addr(&format!("203.0.113.1:{port}")))).unwrap().0.0
        })
        .collect();
    let bits_set = |bit: u32| ids.iter().filter(|&&id| id >> bit & 1 == 1).count();
    assert!((0..32).all(|bit| (130..270).contains(&bits_set(bit))), "every bit is as often set as not");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 400);
}
