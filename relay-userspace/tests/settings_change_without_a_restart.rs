//! Settings that change while clients are served: what was granted stays until it ends by itself, and is prolonged by the new
//! settings only.

mod common;

use std::sync::Arc;

use common::{Client, REALM, SECRET, Sim, UNIX_START, USER, addr, config, dropped, sim, to_peer};
use relay_common::reason::Reason;
use turnpike::auth::{Credentials, Realm, Realms, time_limited};
use turnpike::policy::{HostAddresses, PeerRules};
use turnpike::stun::Method;
use turnpike::turn::CoreConfig;

const PEER: &str = "203.0.113.5:4000";

fn change(sim: &mut Sim, config: CoreConfig) {
    sim.core.reconfigure(Arc::new(config));
}

fn secrets(listed: &[&str]) -> CoreConfig {
    let secrets = listed.iter().map(ToString::to_string);
    with(Credentials::new([], secrets).unwrap())
}

fn with(credentials: Credentials) -> CoreConfig {
    CoreConfig { realms: Realms::new(Realm::new(REALM, credentials).unwrap(), []).unwrap(), ..config() }
}

#[test]
fn a_secret_is_replaced_by_another_without_a_break() {
    let mut sim = sim();
    let (username, password) = time_limited(SECRET, "carol", UNIX_START + 86_400);
    let mut old = Client::with(1, &username, &password);
    assert_eq!(old.allocate(&mut sim).code(), 0);

    change(&mut sim, secrets(&["new", SECRET]));
    let (username, password) = time_limited("new", "dave", UNIX_START + 86_400);
    let mut new = Client::with(2, &username, &password);
    assert_eq!(new.allocate(&mut sim).code(), 0);
    assert_eq!(old.refresh(&mut sim, 600).code(), 0);

    change(&mut sim, secrets(&["new"]));
    assert_eq!(old.refresh(&mut sim, 600).code(), 401);
    assert_eq!(new.refresh(&mut sim, 600).code(), 0);
}

/// Lessons 45 and 48.
#[test]
fn a_user_that_was_removed_prolongs_nothing_and_is_gone_with_what_it_was_granted() {
    let mut sim = sim();
    let mut alice = Client::new(1);
    assert_eq!(alice.allocate(&mut sim).code(), 0);
    assert_eq!(alice.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);

    let others = Credentials::new([("bob".into(), "builder".into())], []).unwrap();
    change(&mut sim, with(others));
    assert!(to_peer(&alice.channel_data(&mut sim, 0x4000, b"still permitted")).is_some());
    assert_eq!(alice.refresh(&mut sim, 600).code(), 401);
    assert_eq!(alice.bind(&mut sim, 0x4000, addr(PEER)).code(), 401);
    assert_eq!(alice.permit(&mut sim, &[addr(PEER)]).code(), 401);
    sim.wait(300.5);
    assert_eq!(dropped(&alice.channel_data(&mut sim, 0x4000, b"late")), Some(Reason::NoPermission));
    sim.wait(300.0);
    assert_eq!(sim.core.allocation_count(), 0);
    sim.assert_empty();
}

#[test]
fn a_password_that_was_changed_holds_for_the_next_request() {
    let mut sim = sim();
    let mut alice = Client::new(1);
    assert_eq!(alice.allocate(&mut sim).code(), 0);
    let changed = Credentials::new([(USER.into(), "another".into())], []).unwrap();
    change(&mut sim, with(changed));
    assert_eq!(alice.refresh(&mut sim, 600).code(), 401);
    assert_eq!(Client::with(2, USER, "another").allocate(&mut sim).code(), 0);
}

#[test]
fn a_peer_that_is_now_denied_is_reached_for_five_minutes_at_most() {
    let mut sim = sim();
    let mut alice = Client::new(1);
    assert_eq!(alice.allocate(&mut sim).code(), 0);
    assert_eq!(alice.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);

    let host = HostAddresses { own: vec![], relay: vec![], relay_ports: config().relay_ports };
    let rules = PeerRules::new(vec![], vec!["203.0.113.0/24".parse().unwrap()], host);
    change(&mut sim, CoreConfig { peer_rules: rules.into(), ..config() });
    assert_eq!(alice.bind(&mut sim, 0x4000, addr(PEER)).code(), 403);
    assert_eq!(alice.permit(&mut sim, &[addr(PEER)]).code(), 403);
    assert!(to_peer(&alice.channel_data(&mut sim, 0x4000, b"still permitted")).is_some());
    assert_eq!(sim.core.bindings().count(), 2);
    sim.wait(300.5);
    assert_eq!(dropped(&alice.channel_data(&mut sim, 0x4000, b"late")), Some(Reason::NoPermission));
    assert_eq!(sim.core.bindings().count(), 0, "nor by the fast path");
}

#[test]
fn limits_that_were_lowered_end_no_allocation() {
    let mut sim = sim();
    let mut clients = [1, 2, 3].map(Client::new);
    clients[..2].iter_mut().for_each(|client| assert_eq!(client.allocate(&mut sim).code(), 0));
    let short = std::time::Duration::from_secs(700);
    change(&mut sim, CoreConfig { user_quota: Some(1), max_lifetime: short, ..config() });
    assert_eq!(clients[0].refresh(&mut sim, 3600).lifetime(), 700);
    assert_eq!(clients[2].allocate(&mut sim).code(), 486);
    clients[1].refresh(&mut sim, 0);
    assert_eq!(clients[2].allocate(&mut sim).code(), 486, "one is left, and one is the most");
    clients[0].refresh(&mut sim, 0);
    assert_eq!(clients[2].allocate(&mut sim).code(), 0);
}

/// Lesson 32.
#[test]
fn while_draining_there_are_no_new_allocations_and_the_others_go_on() {
    let mut sim = sim();
    let (mut inside, mut outside) = (Client::new(1), Client::new(2));
    assert_eq!(inside.allocate(&mut sim).code(), 0);

    change(&mut sim, CoreConfig { draining: true, ..config() });
    assert_eq!(outside.allocate(&mut sim).code(), 508);
    assert_eq!(inside.allocate(&mut sim).code(), 437, "it has one");
    assert_eq!(inside.refresh(&mut sim, 1800).lifetime(), 1800);
    assert_eq!(inside.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);
    assert!(to_peer(&inside.channel_data(&mut sim, 0x4000, b"media")).is_some());

    change(&mut sim, config());
    assert_eq!(outside.allocate(&mut sim).code(), 0);
}

#[test]
fn an_answer_that_was_lost_is_given_again_while_draining() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let request = client.signed(Method::ALLOCATE, |request| _ = request.requested_transport(17));
    let relayed = client.exchange(&mut sim, &request).relayed();
    change(&mut sim, CoreConfig { draining: true, ..config() });
    assert_eq!(client.exchange(&mut sim, &request).relayed(), relayed);
}

/// RFC 8016: what a client was given stays, what it asks for is judged by the new settings.
#[test]
fn where_mobility_was_switched_off_tickets_are_worth_nothing_and_a_move_under_way_ends_well() {
    let mobile = || CoreConfig { mobility: true, ..config() };
    let mut sim = Sim::new(mobile(), [7; 32]);
    let (mut staying, mut moving) = (Client::new(1), Client::new(2));
    let (_, ticket) = staying.allocated_mobile(&mut sim);
    let (relayed, other) = moving.allocated_mobile(&mut sim);
    assert_eq!(moving.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);
    let mut moved = moving.moved(3);
    let newest = moved.refresh_with(&mut sim, &other).ticket();

    change(&mut sim, config());
    assert_eq!(staying.moved(4).refresh_with(&mut sim, &ticket).code(), 405);
    assert_eq!(moving.moved(5).refresh_with(&mut sim, &newest).code(), 405);
    assert!(to_peer(&moved.channel_data(&mut sim, 0x4000, b"here")).is_some());
    assert_eq!(common::client_of(&sim.peer_sends(relayed, common::peer(PEER), b"x")), Some(moved.five_tuple));
    assert_eq!((moved.refresh(&mut sim, 600).code(), staying.refresh(&mut sim, 600).code()), (0, 0));

    change(&mut sim, mobile());
    assert_eq!(staying.moved(4).refresh_with(&mut sim, &ticket).code(), 0);
    sim.datapath.assert_agrees_with(&sim.core);
    sim.wait(1300.0);
    sim.assert_empty();
}

#[test]
fn a_limit_on_peers_that_was_lowered_takes_none_away_and_lets_none_in() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    let peers: Vec<_> = (1..=4).map(|n| addr(&format!("203.0.113.{n}:1"))).collect();
    assert_eq!(client.permit(&mut sim, &peers).code(), 0);
    assert_eq!(client.bind(&mut sim, 0x4000, peers[0]).code(), 0);
    assert_eq!(client.bind(&mut sim, 0x4001, peers[1]).code(), 0);
    change(&mut sim, CoreConfig { allocation_peers: 1, ..config() });
    assert_eq!(client.permit(&mut sim, &peers).code(), 0, "refreshed");
    assert_eq!(client.bind(&mut sim, 0x4001, peers[1]).code(), 0, "refreshed");
    assert_eq!(client.permit(&mut sim, &[addr("203.0.113.5:1")]).code(), 508);
    assert_eq!(client.bind(&mut sim, 0x4002, peers[2]).code(), 508);
}
