//! Clients over TCP and TLS: their connection is their 5-tuple, XDP never hears of them, and what ends with it.

mod common;

use common::{Client, Seen, Sim, addr, client_of, config, dropped, peer, to_client, to_peer};
use relay_common::reason::Reason;
use turnpike::stun::{Class, Method};
use turnpike::turn::{Alternate, CoreConfig, EndCause, Event, Input, Output, RedirectWhen, Transport};

const PEER: &str = "203.0.113.1:1000";
const CHANNEL: u16 = 0x4001;

fn mobile() -> Sim {
    Sim::new(CoreConfig { mobility: true, ..config() }, [7; 32])
}

fn over(transport: Transport, mut client: Client) -> Client {
    client.five_tuple.transport = transport;
    client
}

fn closes(sim: &mut Sim, client: &Client) -> Vec<Seen> {
    sim.input(Input::ClientGone { five_tuple: client.five_tuple, is_stuck: false })
}

fn is_fast_path(seen: &Seen) -> bool {
    matches!(seen, Seen::Other(Output::Bind(_) | Output::Extend(_) | Output::Unbind { .. }))
}

#[test]
fn nothing_of_a_client_over_a_stream_is_told_to_the_fast_path() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Dtls] {
        let mut sim = common::sim();
        let mut client = over(transport, Client::new(1000));
        let relayed = client.allocated(&mut sim);
        assert_eq!(client.bind(&mut sim, CHANNEL, addr(PEER)).code(), 0);
        assert_eq!(client.permit(&mut sim, &[addr("203.0.113.2:1")]).code(), 0);
        assert_eq!(to_peer(&client.channel_data(&mut sim, CHANNEL, b"out")), Some((peer(PEER), &b"out"[..])));
        let back = sim.peer_sends(relayed, peer(PEER), b"back");
        assert_eq!(client_of(&back), Some(client.five_tuple));
        assert_eq!(client.refresh(&mut sim, 600).code(), 0);
        assert!(sim.datapath.bindings.is_empty(), "{transport}");
        let seen = closes(&mut sim, &client);
        assert!(!seen.iter().any(is_fast_path), "{seen:?}");
        sim.wait(400.0);
        sim.assert_empty();
    }
}

#[test]
fn the_allocation_ends_with_its_connection_and_no_other_does() {
    let mut sim = common::sim();
    let mut client = over(Transport::Tcp, Client::new(1000));
    // The same addresses: another transport makes another 5-tuple.
    let mut others = [Client::new(1000), over(Transport::Tls, Client::new(1000))];
    let relayed = client.allocated(&mut sim);
    for other in &mut others {
        other.allocated(&mut sim);
    }
    let seen = closes(&mut sim, &client);
    let ended = |s: &Seen| {
        matches!(s, Seen::Event(Event::AllocationEnded { cause: EndCause::Disconnected, summary, .. })
        if summary.five_tuple == client.five_tuple)
    };
    assert!(seen.iter().any(ended), "{seen:?}");
    assert_eq!(dropped(&sim.peer_sends(relayed, peer(PEER), b"late")), Some(Reason::NoAllocation));
    assert!(!sim.core.has_allocation(&client.five_tuple));
    for other in &mut others {
        assert!(sim.core.has_allocation(&other.five_tuple));
        assert_eq!(other.refresh(&mut sim, 0).code(), 0);
    }
    assert!(closes(&mut sim, &client).is_empty(), "a second time there is nothing to end");
    sim.wait(400.0);
    sim.assert_empty();
}

#[test]
fn a_mobile_client_comes_back_by_another_connection() {
    let mut sim = mobile();
    let mut old = over(Transport::Tls, Client::new(1000));
    let (relayed, ticket) = old.allocated_mobile(&mut sim);
    assert_eq!(old.bind(&mut sim, CHANNEL, addr(PEER)).code(), 0);
    assert!(closes(&mut sim, &old).is_empty());
    assert!(!sim.core.has_allocation(&old.five_tuple));
    assert_eq!(dropped(&sim.peer_sends(relayed, peer(PEER), b"lost")), Some(Reason::ClientAway));
    assert_eq!(dropped(&old.channel_data(&mut sim, CHANNEL, b"not mine")), Some(Reason::NoAllocation));

    let mut new = over(Transport::Tls, old.moved(2000));
    let reply = new.refresh_with(&mut sim, &ticket);
    assert_eq!(reply.code(), 0);
    // At once, without data of the client: there is no old 5-tuple that media could go to.
    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"back")), Some(new.five_tuple));
    assert!(sim.datapath.bindings.is_empty());

    // That connection breaks as well; over UDP, the fast path learns of what was bound before.
    closes(&mut sim, &new);
    let mut by_udp = old.moved(3000);
    assert_eq!(by_udp.refresh_with(&mut sim, &reply.ticket()).code(), 0);
    assert!(sim.datapath.binding(by_udp.five_tuple, CHANNEL).is_some());
    sim.datapath.assert_agrees_with(&sim.core);
    assert_eq!(to_peer(&by_udp.channel_data(&mut sim, CHANNEL, b"out")), Some((peer(PEER), &b"out"[..])));
    assert_eq!(by_udp.refresh(&mut sim, 0).code(), 0);
    sim.wait(400.0);
    sim.assert_empty();
}

#[test]
fn a_connection_that_breaks_before_its_answer_is_read_leaves_the_old_ticket_good() {
    let mut sim = mobile();
    let mut old = over(Transport::Tcp, Client::new(1000));
    let (relayed, ticket) = old.allocated_mobile(&mut sim);
    old.permit(&mut sim, &[addr(PEER)]);
    closes(&mut sim, &old);
    for port in [2000, 2001] {
        let mut lost = over(Transport::Tcp, old.moved(port));
        assert_eq!(lost.refresh_with(&mut sim, &ticket).code(), 0);
        closes(&mut sim, &lost);
    }
    let mut new = over(Transport::Tcp, old.moved(2002));
    let newest = new.refresh_with(&mut sim, &ticket).ticket();
    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"back")), Some(new.five_tuple));
    // Nobody else comes in by a ticket before that.
    closes(&mut sim, &new);
    let mut newer = over(Transport::Tcp, old.moved(2003));
    assert_eq!(newer.refresh_with(&mut sim, &newest).code(), 0);
    let mut stale = over(Transport::Tcp, old.moved(2004));
    assert_eq!(stale.refresh_with(&mut sim, &ticket).code(), 400);
}

#[test]
fn of_two_connections_the_one_that_is_left_has_the_allocation() {
    for main_closes in [true, false] {
        let mut sim = mobile();
        let mut old = over(Transport::Tcp, Client::new(1000));
        let (relayed, ticket) = old.allocated_mobile(&mut sim);
        old.permit(&mut sim, &[addr(PEER)]);
        let mut new = over(Transport::Tcp, old.moved(2000));
        assert_eq!(new.refresh_with(&mut sim, &ticket).code(), 0);
        let (gone, left) = if main_closes { (&old, &new) } else { (&new, &old) };
        closes(&mut sim, gone);
        assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"back")), Some(left.five_tuple));
        assert!(!sim.core.has_allocation(&gone.five_tuple));
        assert!(sim.core.has_allocation(&left.five_tuple));
        // The answer with the newest ticket may have been lost with the connection.
        let mut third = over(Transport::Tcp, old.moved(3000));
        assert_eq!(third.refresh_with(&mut sim, &ticket).code(), 0);
    }
}

#[test]
fn a_client_that_never_comes_back_is_forgotten_when_its_lifetime_ends() {
    let mut sim = mobile();
    let mut client = over(Transport::Tcp, Client::new(1000));
    client.allocated_mobile(&mut sim);
    closes(&mut sim, &client);
    let seen = sim.wait(600.0);
    let expired =
        |s: &Seen| matches!(s, Seen::Event(Event::AllocationEnded { cause: EndCause::Expired, .. }));
    assert!(seen.iter().any(expired), "{seen:?}");
    sim.assert_empty();
}

/// Its keys are where the kernel leads it to, and its allocation would be elsewhere.
#[test]
fn a_client_over_dtls_is_not_mobile() {
    let mut sim = mobile();
    let mut old = over(Transport::Udp, Client::new(1000));
    let (_, ticket) = old.allocated_mobile(&mut sim);
    let mut moved = over(Transport::Dtls, old.moved(2000));
    assert_eq!(moved.refresh_with(&mut sim, &ticket).code(), 405);
    let mut other = over(Transport::Dtls, Client::new(3000));
    let asked = other.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).mobility_ticket(&[]);
    });
    assert_eq!(asked.code(), 405);
    assert_eq!(other.allocate(&mut sim).code(), 0);
}

#[test]
fn nobody_over_tls_is_sent_to_another_server() {
    for draining in [false, true] {
        let when = if draining { RedirectWhen::Draining } else { RedirectWhen::Always };
        let alternate = Alternate { servers: vec![addr("192.0.2.200:3478")], domain: None, when };
        let mut sim = Sim::new(CoreConfig { alternate: Some(alternate), draining, ..config() }, [7; 32]);
        let mut code = |transport| over(transport, Client::new(1000)).allocate(&mut sim).code();
        let instead = if draining { 508 } else { 0 };
        assert_eq!([Transport::Udp, Transport::Tcp].map(&mut code), [300, 300]);
        assert_eq!([Transport::Tls, Transport::Dtls].map(code), [instead, instead]);
    }
}

#[test]
fn a_flood_in_its_networks_name_does_not_keep_a_connection_from_being_answered() {
    let mut sim = common::sim();
    let mut spoofed = Client::new(1000);
    let binding = spoofed.plain(Method::BINDING, Class::Request, |_| {});
    while to_client(&sim.client_sends(spoofed.five_tuple, &binding)).is_some() {}
    assert_eq!(over(Transport::Tcp, Client::new(1001)).allocate(&mut sim).code(), 0);
}
