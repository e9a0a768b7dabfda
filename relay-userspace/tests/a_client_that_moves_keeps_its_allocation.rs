//! RFC 8016: a client whose address changes takes its allocation along with a ticket, and nobody else does.

mod common;

use common::{Client, Seen, Sim, addr, client_of, config, dropped, peer, to_client, to_peer};
use relay_common::reason::Reason;
use turnpike::stun::Method;
use turnpike::turn::{CoreConfig, Event, Output};

const PEER: &str = "203.0.113.1:1000";
const CHANNEL: u16 = 0x4001;

fn mobile() -> CoreConfig {
    CoreConfig { mobility: true, ..config() }
}

fn sim() -> Sim {
    Sim::new(mobile(), [7; 32])
}

/// A client with a channel to [`PEER`]: its relayed transport address and its ticket.
fn with_channel(sim: &mut Sim) -> (Client, std::net::SocketAddr, Vec<u8>) {
    let mut client = Client::new(1000);
    let (relayed, ticket) = client.allocated_mobile(sim);
    assert_eq!(client.bind(sim, CHANNEL, addr(PEER)).code(), 0);
    (client, relayed, ticket)
}

#[test]
fn media_follows_with_the_first_data_from_the_new_address() {
    let mut sim = sim();
    let (old, relayed, ticket) = with_channel(&mut sim);
    let mut new = old.moved(2000);
    let reply = new.refresh_with(&mut sim, &ticket);
    assert_eq!(reply.lifetime(), 600);
    assert_ne!(reply.ticket(), ticket, "RFC 8016 section 3.2.2: MUST be different from the old ticket");

    // "The TURN server MUST continue receiving and processing data on the old 5-tuple and MUST continue transmitting
    // data on the old 5-tuple until it receives a Send indication or ChannelData message from the client on the new."
    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"before")), Some(old.five_tuple));
    assert_eq!(to_peer(&old.channel_data(&mut sim, CHANNEL, b"old")), Some((peer(PEER), &b"old"[..])));
    assert!(sim.datapath.binding(old.five_tuple, CHANNEL).is_some());
    assert_eq!(new.permit(&mut sim, &[addr("203.0.113.2:1")]).code(), 0, "requests are served on both");
    let before = *sim.datapath.binding(old.five_tuple, CHANNEL).unwrap();

    let seen = new.channel_data(&mut sim, CHANNEL, b"new");
    assert_eq!(to_peer(&seen), Some((peer(PEER), &b"new"[..])));
    let [
        Seen::Other(Output::Unbind { binding }),
        Seen::Other(Output::Bind(bound)),
        permissions @ ..,
        Seen::ToPeer(..),
    ] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(permissions.len(), 2 * 2, "{permissions:?}");
    assert!(sim.datapath.bindings.values().all(|b| b.five_tuple == new.five_tuple));
    assert_eq!(*binding, before.id);
    let expected = turnpike::turn::Binding { id: bound.id, five_tuple: new.five_tuple, ..before };
    assert_eq!(*bound, expected, "peer, channel, relayed address and deadline stay");
    sim.datapath.assert_agrees_with(&sim.core);

    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"after")), Some(new.five_tuple));
    let dead = old.channel_data(&mut sim, CHANNEL, b"late");
    assert_eq!(dropped(&dead), Some(Reason::NoAllocation));
    // The old address is free for an allocation of its own.
    let mut other = old.clone();
    assert_ne!(other.allocated(&mut sim), relayed);
    assert_eq!(new.refresh(&mut sim, 0).code(), 0);
    assert_eq!(other.refresh(&mut sim, 0).code(), 0);
    sim.wait(400.0);
    sim.assert_empty();
}

#[test]
fn a_send_indication_brings_media_along_too() {
    let mut sim = sim();
    let mut client = Client::new(1000);
    let (relayed, ticket) = client.allocated_mobile(&mut sim);
    client.permit(&mut sim, &[addr(PEER)]);
    let mut new = client.moved(2000);
    assert_eq!(new.refresh_with(&mut sim, &ticket).code(), 0);
    assert!(to_peer(&new.send(&mut sim, addr(PEER), b"data")).is_some());
    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"data")), Some(new.five_tuple));
}

#[test]
fn a_move_is_an_event() {
    let mut sim = sim();
    let (old, _, ticket) = with_channel(&mut sim);
    let mut new = old.moved(2000);
    new.learn_nonce(&mut sim);
    let request = new.signed(Method::REFRESH, |b| {
        b.mobility_ticket(&ticket);
    });
    let seen = sim.client_sends(new.five_tuple, &request);
    let moved = |s: &Seen| {
        matches!(s, Seen::Event(Event::AllocationMoved { five_tuple, username, .. })
        if *five_tuple == new.five_tuple && username == common::USER)
    };
    assert!(seen.iter().any(moved), "{seen:?}");
}

#[test]
fn a_server_that_forbids_mobility_says_405_and_serves_others_as_ever() {
    let mut sim = common::sim();
    let mut client = Client::new(1000);
    let asks = client.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).mobility_ticket(&[]);
    });
    assert_eq!(asks.code(), 405);
    let reply = client.allocate(&mut sim);
    assert_eq!((reply.code(), reply.message().mobility_ticket()), (0, None));
    assert_eq!(client.refresh_with(&mut sim, b"ticket").code(), 405);
}

#[test]
fn a_client_that_asks_for_no_ticket_gets_none() {
    let mut sim = sim();
    let mut client = Client::new(1000);
    let reply = client.allocate(&mut sim);
    assert_eq!((reply.code(), reply.message().mobility_ticket()), (0, None));
    let reply = client.refresh(&mut sim, 600);
    assert_eq!((reply.code(), reply.message().mobility_ticket()), (0, None));
    // RFC 8016 section 3.1.2: an Allocate request has no ticket to show.
    let shows = Client::new(1001).request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).mobility_ticket(b"ticket");
    });
    assert_eq!(shows.code(), 400);
}

fn asks_for_a_ticket(client: &mut Client) -> Vec<u8> {
    client.signed(Method::ALLOCATE, |b| {
        b.requested_transport(17).mobility_ticket(&[]);
    })
}

#[test]
fn a_retransmitted_allocate_gets_the_same_ticket() {
    let mut sim = sim();
    let mut client = Client::new(1000);
    client.learn_nonce(&mut sim);
    let request = asks_for_a_ticket(&mut client);
    let first = client.exchange(&mut sim, &request);
    assert_eq!(first.ticket().len(), 32);
    assert_eq!(client.exchange(&mut sim, &request), first);
}

#[test]
fn a_late_duplicate_of_the_allocate_request_makes_no_second_allocation() {
    let mut sim = sim();
    let mut old = Client::new(1000);
    old.learn_nonce(&mut sim);
    let request = asks_for_a_ticket(&mut old);
    let first = old.exchange(&mut sim, &request);
    let mut new = old.moved(2000);
    new.refresh_with(&mut sim, &first.ticket());
    assert_eq!(old.exchange(&mut sim, &request), first, "both places lead to it until data comes");
    new.permit(&mut sim, &[addr(PEER)]);
    assert!(to_peer(&new.send(&mut sim, addr(PEER), b"data")).is_some());
    assert_eq!(old.exchange(&mut sim, &request).code(), 437, "the address is not here any more");
    assert_eq!(sim.core.allocation_count(), 1);
}

#[test]
fn nor_does_it_when_the_client_ended_its_allocation_from_where_it_is_now() {
    for moved_before in [false, true] {
        let mut sim = sim();
        let mut old = Client::new(1000);
        old.learn_nonce(&mut sim);
        let request = asks_for_a_ticket(&mut old);
        let first = old.exchange(&mut sim, &request);
        let mut new = old.moved(2000);
        let end = if moved_before {
            new.refresh_with(&mut sim, &first.ticket());
            new.refresh(&mut sim, 0)
        } else {
            new.request(&mut sim, Method::REFRESH, |b| {
                b.lifetime(std::time::Duration::ZERO).mobility_ticket(&first.ticket());
            })
        };
        assert_eq!((end.lifetime(), sim.core.allocation_count()), (0, 0));
        assert_eq!(old.exchange(&mut sim, &request).code(), 437);
        assert_eq!(sim.core.allocation_count(), 0, "moved before: {moved_before}");
    }
}

#[test]
fn tickets_that_are_not_the_servers_move_nothing() {
    let mut sim = sim();
    let (old, relayed, ticket) = with_channel(&mut sim);
    let mut thief = old.moved(2000);
    for i in 0..ticket.len() {
        let mut forged = ticket.clone();
        forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
        assert_eq!(thief.refresh_with(&mut sim, &forged).code(), 400, "byte {i}");
        assert_eq!(thief.refresh_with(&mut sim, &ticket[..i]).code(), 400, "{i} bytes");
    }
    let mut elsewhere = Sim::new(mobile(), [8; 32]);
    let (_, other) = Client::new(1000).allocated_mobile(&mut elsewhere);
    assert_eq!(thief.refresh_with(&mut sim, &other).code(), 400, "another server's");

    let mut bob = Client::with(2001, "bob", "builder");
    assert_eq!(bob.refresh_with(&mut sim, &ticket).code(), 441, "RFC 8016 section 3.2.2");
    let mut impostor = Client::with(2002, common::USER, "guess");
    assert_eq!(impostor.refresh_with(&mut sim, &ticket).code(), 401);

    assert!(thief.channel_data(&mut sim, CHANNEL, b"data") == [Seen::Dropped(Reason::NoAllocation)]);
    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"data")), Some(old.five_tuple));
    assert_eq!(thief.refresh_with(&mut sim, &ticket).code(), 0, "the true one still moves it");
}

#[test]
fn a_ticket_ends_with_its_allocation() {
    let mut sim = sim();
    let (mut old, _, ticket) = with_channel(&mut sim);
    let mut new = old.moved(2000);
    assert_eq!(old.refresh(&mut sim, 0).code(), 0);
    assert_eq!(new.refresh_with(&mut sim, &ticket).code(), 437, "deleted");

    // The next allocation takes the place of the one that ended, and its ticket is another.
    let mut next = Client::new(1001);
    let (relayed, other) = next.allocated_mobile(&mut sim);
    assert_eq!(new.refresh_with(&mut sim, &ticket).code(), 437, "another allocation has its place");
    assert_ne!(other, ticket);
    sim.wait(700.0);
    assert_eq!(new.refresh_with(&mut sim, &other).code(), 437, "expired");
    assert_eq!(to_client(&sim.peer_sends(relayed, peer(PEER), b"data")), None);
    sim.wait(100.0);
    sim.assert_empty();
}

#[test]
fn an_old_ticket_is_refused_once_a_newer_one_is_in_use() {
    let mut sim = sim();
    let (old, _, first) = with_channel(&mut sim);
    let mut new = old.moved(2000);
    let second = new.refresh_with(&mut sim, &first).ticket();
    new.channel_data(&mut sim, CHANNEL, b"here");
    let mut third = old.moved(3000);
    assert_eq!(third.refresh_with(&mut sim, &first).code(), 400);
    assert_eq!(new.refresh_with(&mut sim, &first).code(), 400);
    let next = third.refresh_with(&mut sim, &second).ticket();
    assert!(next != first && next != second);
}

#[test]
fn a_retransmitted_refresh_gets_the_same_answer_for_thirty_seconds() {
    let mut sim = sim();
    let (old, _, ticket) = with_channel(&mut sim);
    let mut new = old.moved(2000);
    new.learn_nonce(&mut sim);
    let request = new.signed(Method::REFRESH, |b| {
        b.mobility_ticket(&ticket);
    });
    let first = new.exchange(&mut sim, &request);
    assert_eq!(first.code(), 0);
    assert_eq!(new.exchange(&mut sim, &request), first);
    new.channel_data(&mut sim, CHANNEL, b"here");
    sim.wait(30.0);
    assert_eq!(new.exchange(&mut sim, &request), first, "also when media has moved");
    sim.wait(30.0);
    assert_eq!(new.exchange(&mut sim, &request).code(), 400);
}

/// Answers are lost, most of all on the network that a client is leaving: until it is heard from the new address, the
/// ticket that it certainly has is good.
#[test]
fn a_client_that_heard_no_answer_can_move_again_with_the_ticket_it_has() {
    let mut sim = sim();
    let (old, relayed, first) = with_channel(&mut sim);
    let (mut lost, mut new) = (old.moved(2000), old.moved(3000));
    let unheard = lost.refresh_with(&mut sim, &first).ticket();
    assert_eq!(lost.refresh_with(&mut sim, &first).ticket(), unheard, "the same request once more");
    assert_eq!(new.refresh_with(&mut sim, &first).ticket(), unheard);
    let stays_behind = lost.channel_data(&mut sim, CHANNEL, b"data");
    assert_eq!(dropped(&stays_behind), Some(Reason::NoAllocation));
    assert!(to_peer(&new.channel_data(&mut sim, CHANNEL, b"data")).is_some());
    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"data")), Some(new.five_tuple));
    assert_eq!(lost.refresh_with(&mut sim, &first).code(), 400);
}

#[test]
fn a_client_can_go_back_before_it_sent_anything() {
    let mut sim = sim();
    let (mut old, relayed, first) = with_channel(&mut sim);
    let mut new = old.moved(2000);
    let second = new.refresh_with(&mut sim, &first).ticket();
    let third = old.refresh_with(&mut sim, &second).ticket();
    assert!(third != first && third != second);
    let left = new.channel_data(&mut sim, CHANNEL, b"data");
    assert_eq!(dropped(&left), Some(Reason::NoAllocation));
    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"data")), Some(old.five_tuple));
    assert_eq!(new.refresh_with(&mut sim, &second).code(), 400);
    assert_eq!(new.refresh_with(&mut sim, &third).code(), 0);
}

#[test]
fn a_ticket_is_of_no_use_where_its_allocation_is_or_another() {
    let mut sim = sim();
    let (mut client, _, ticket) = with_channel(&mut sim);
    // RFC 8016 section 3.2.2: 400 from the 5-tuple that the allocation has.
    assert_eq!(client.refresh_with(&mut sim, &ticket).code(), 400);
    let mut moving = client.moved(3000);
    let newest = moving.refresh_with(&mut sim, &ticket).ticket();
    assert_eq!(moving.refresh_with(&mut sim, &newest).code(), 400, "nor from the one it moves to");
    let mut other = client.moved(2000);
    let relayed = other.allocated(&mut sim);
    assert_eq!(other.refresh_with(&mut sim, &ticket).code(), 437, "a 5-tuple has one allocation");
    other.permit(&mut sim, &[addr(PEER)]);
    assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"data")), Some(other.five_tuple));
}

#[test]
fn a_client_can_end_its_allocation_by_ticket_and_from_either_address_while_it_moves() {
    let mut sim = sim();
    let (old, _, ticket) = with_channel(&mut sim);
    let mut new = old.moved(2000);
    let end = new.request(&mut sim, Method::REFRESH, |b| {
        b.lifetime(std::time::Duration::ZERO).mobility_ticket(&ticket);
    });
    assert_eq!((end.lifetime(), sim.core.allocation_count()), (0, 0));

    for from_the_old in [true, false] {
        let mut sim = self::sim();
        let (mut old, _, ticket) = with_channel(&mut sim);
        let mut new = old.moved(2000);
        assert_eq!(new.refresh_with(&mut sim, &ticket).code(), 0);
        let ends = if from_the_old { &mut old } else { &mut new };
        assert_eq!((ends.refresh(&mut sim, 0).code(), sim.core.allocation_count()), (0, 0));
        for client in [&old, &new] {
            assert_eq!(dropped(&client.channel_data(&mut sim, CHANNEL, b"")), Some(Reason::NoAllocation));
        }
        sim.wait(100.0);
        sim.assert_empty();
    }
}

/// Each move of media costs the data path work for every channel; a client's data costs it nothing.
#[test]
fn media_does_not_move_twice_in_a_second() {
    let mut sim = sim();
    let (old, relayed, first) = with_channel(&mut sim);
    let (mut new, mut newer) = (old.moved(2000), old.moved(3000));
    let second = new.refresh_with(&mut sim, &first).ticket();
    new.channel_data(&mut sim, CHANNEL, b"data");
    assert_eq!(newer.refresh_with(&mut sim, &second).code(), 0);
    for (after, holder) in [(0.0, &new), (0.9, &new), (0.2, &newer)] {
        sim.wait(after);
        assert!(to_peer(&newer.channel_data(&mut sim, CHANNEL, b"data")).is_some());
        assert_eq!(client_of(&sim.peer_sends(relayed, peer(PEER), b"data")), Some(holder.five_tuple));
    }
}

#[test]
fn a_channel_bound_while_the_client_moves_follows_like_the_others() {
    let mut sim = sim();
    let (old, _, ticket) = with_channel(&mut sim);
    let mut new = old.moved(2000);
    assert_eq!(new.refresh_with(&mut sim, &ticket).code(), 0);
    assert_eq!(new.bind(&mut sim, CHANNEL + 1, addr("203.0.113.2:2")).code(), 0);
    assert!(sim.datapath.binding(old.five_tuple, CHANNEL + 1).is_some(), "media is still there");
    new.channel_data(&mut sim, CHANNEL, b"data");
    for channel in [CHANNEL, CHANNEL + 1] {
        assert!(sim.datapath.binding(new.five_tuple, channel).is_some());
        assert!(sim.datapath.binding(old.five_tuple, channel).is_none());
    }
    sim.datapath.assert_agrees_with(&sim.core);
}
