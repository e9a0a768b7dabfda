//! What is relayed for an allocation is counted while it lives, and the operator can end it.

mod common;

use common::{
    Client, SECRET, Seen, UNIX_START, addr, channel_data, client_of, peer, sim, to_client, to_peer,
};
use relay_common::tables::Count;
use turnpike::auth::time_limited;
use turnpike::stun::{Class, Method};
use turnpike::turn::{EndCause, Event, Input, Look, Output, Session, Usage, Way};

const PEER: &str = "203.0.113.1:1000";

fn way(packets: u64, bytes: u64, dropped: u64) -> Way {
    Way { relayed: Count { packets, bytes }, dropped }
}

fn looks(sim: &common::Sim) -> impl Iterator<Item = Look<'_>> {
    (0..sim.core.places()).filter_map(|place| sim.core.look(place))
}

fn session(sim: &common::Sim) -> Session {
    let mut found = looks(sim).map(|look| look.session(sim.now));
    let first = found.next().expect("an allocation");
    assert!(found.next().is_none());
    first
}

#[test]
fn data_counts_by_direction_without_headers_while_the_allocation_lives() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    assert_eq!(session(&sim).usage, Usage::default());
    client.permit(&mut sim, &[addr(PEER)]);
    assert!(to_peer(&client.send(&mut sim, addr(PEER), b"seven b")).is_some());
    assert!(to_client(&sim.peer_sends(relayed, peer(PEER), b"five5")).is_some());
    let usage = Usage { to_peer: way(1, 7, 0), to_client: way(1, 5, 0) };
    assert_eq!(session(&sim).usage, usage, "in indications");

    client.bind(&mut sim, 0x4000, addr(PEER));
    // With padding, which is no data.
    let padded = [channel_data(0x4000, b"six666"), vec![0; 2]].concat();
    assert!(to_peer(&sim.client_sends(client.five_tuple, &padded)).is_some());
    assert!(to_client(&sim.peer_sends(relayed, peer(PEER), b"")).is_some());
    let usage = Usage { to_peer: way(2, 13, 0), to_client: way(2, 5, 0) };
    assert_eq!(session(&sim).usage, usage, "through a channel");
}

#[test]
fn what_goes_no_further_is_counted_for_its_allocation_too() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    client.channel_data(&mut sim, 0x4000, b"no such channel");
    client.send(&mut sim, addr(PEER), b"no permission");
    let no_data = client.plain(Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(addr(PEER));
    });
    sim.client_sends(client.five_tuple, &no_data);
    sim.peer_sends(relayed, peer(PEER), b"no permission");
    assert_eq!(session(&sim).usage, Usage { to_peer: way(0, 0, 3), to_client: way(0, 0, 1) });
}

#[test]
fn a_look_tells_who_where_and_for_how_long() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    sim.wait(100.0);
    client.bind(&mut sim, 0x4000, addr(PEER));
    client.permit(&mut sim, &[addr("203.0.113.2:1")]);
    let s = session(&sim);
    assert_eq!((s.username.as_str(), &*s.realm), ("alice", "example.org"));
    assert_eq!((s.five_tuple, s.relayed.to_string()), (client.five_tuple, relayed.to_string()));
    assert_eq!((s.age.as_secs(), s.expires_in.as_secs()), (100, 500));
    assert_eq!((s.permissions, s.channels), (2, 1));
    let bindings: Vec<_> = looks(&sim).flat_map(|look| look.bindings()).collect();
    let bound: Vec<_> = sim.core.bindings().collect();
    assert_eq!(bindings, bound.iter().map(|b| b.id).collect::<Vec<_>>());
    assert!(bound.iter().all(|b| b.allocation == s.allocation));
    client.refresh(&mut sim, 600);
    sim.wait(350.0);
    // The permissions went after 300 seconds; the channel is bound for 600.
    let s = session(&sim);
    assert_eq!((s.permissions, s.channels), (0, 1));
}

#[test]
fn a_time_limited_user_is_known_by_its_name_and_by_all_of_it() {
    let mut sim = sim();
    let (username, password) = time_limited(SECRET, "carol", UNIX_START + 900);
    Client::with(1, &username, &password).allocated(&mut sim);
    Client::with(2, "bob", "builder").allocated(&mut sim);
    let of = |user| looks(&sim).filter(|look| look.is_of(user)).count();
    assert_eq!([of("carol"), of(&username), of("bob"), of("alice"), of("")], [1, 1, 1, 0, 0]);
}

#[test]
fn an_allocation_that_the_operator_ends_is_gone_at_once() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    client.bind(&mut sim, 0x4000, addr(PEER));
    client.channel_data(&mut sim, 0x4000, b"media");
    sim.wait(10.0);
    let allocation = session(&sim).allocation;

    let seen = sim.input(Input::End(allocation));
    assert!(matches!(seen[0], Seen::Other(Output::Unbind { .. })), "{seen:?}");
    assert!(matches!(seen[1], Seen::Other(Output::CloseRelay { relayed: r }) if r.0 == relayed));
    let Some(Seen::Event(Event::AllocationEnded { cause, summary, username, .. })) = seen.get(2) else {
        panic!("{seen:?}");
    };
    assert_eq!((*cause, username.as_str(), summary.age.as_secs()), (EndCause::Operator, "alice", 10));
    assert_eq!((summary.five_tuple, summary.relayed.to_string()), (client.five_tuple, relayed.to_string()));
    assert_eq!(summary.usage.to_peer, way(1, 5, 0));

    assert_eq!(client_of(&client.channel_data(&mut sim, 0x4000, b"media")), None);
    assert_eq!(client.refresh(&mut sim, 600).code(), 437);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(PEER)).code(), 437);
    assert!(sim.input(Input::End(allocation)).is_empty(), "it has ended");
    sim.wait(700.0);
    sim.assert_empty();
    // Who may allocate may do so again.
    client.allocated(&mut sim);
}
