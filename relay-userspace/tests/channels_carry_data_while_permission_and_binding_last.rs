//! Channels (RFC 8656 section 12), and what the data path is told about them.

mod common;

use common::{Client, Seen, Sim, addr, channel_data, dropped, peer, sim, to_client, to_peer};
use relay_common::reason::Reason;
use turnpike::policy::{HostAddresses, PeerRules};
use turnpike::stun::{Message, Method};
use turnpike::turn::{Output, PeerAddr};

const PEER: &str = "203.0.113.1:1000";
const OTHER: &str = "203.0.113.1:1001";

fn bound() -> (Sim, Client, std::net::SocketAddr) {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);
    (sim, client, relayed)
}

fn seconds_left(sim: &Sim, number: u16) -> Option<u64> {
    let binding = sim.datapath.binding(Client::new(1).five_tuple, number)?;
    Some(binding.deadline.since(sim.now).as_secs())
}

#[test]
fn channel_data_flows_both_ways() {
    let (mut sim, client, relayed) = bound();
    let seen = client.channel_data(&mut sim, 0x4000, b"to the peer");
    assert_eq!(to_peer(&seen), Some((peer(PEER), &b"to the peer"[..])));
    let seen = sim.peer_sends(relayed, peer(PEER), b"to the client");
    assert_eq!(to_client(&seen), Some(&channel_data(0x4000, b"to the client")[..]));
    // Another port of the same address has the permission and no channel.
    let seen = sim.peer_sends(relayed, peer(OTHER), b"x");
    assert_eq!(Message::parse(to_client(&seen).unwrap()).unwrap().method(), Method::DATA);
}

#[test]
fn lengths_are_checked_and_padding_is_tolerated() {
    let (mut sim, client, _) = bound();
    let mut send = |bytes: &[u8]| {
        let seen = sim.client_sends(client.five_tuple, bytes);
        dropped(&seen).ok_or_else(|| to_peer(&seen).unwrap().1.to_vec())
    };
    let five = channel_data(0x4000, b"12345");
    for padding in 0..=3 {
        assert_eq!(send(&[&five[..], &vec![0; padding]].concat()), Err(b"12345".to_vec()));
    }
    assert_eq!(send(&[&five[..], &[0; 4]].concat()), Ok(Reason::ChannelDataLength));
    for cut in 2..five.len() {
        assert_eq!(send(&five[..cut]), Ok(Reason::ChannelDataLength), "{cut} bytes");
    }
    assert_eq!(send(&channel_data(0x4000, b"")), Err(vec![]));
    assert_eq!(send(&channel_data(0x4001, b"x")), Ok(Reason::NoBinding));
}

/// Lesson 12: whether the data path has room or not, the client is told "bound" only after the data path was asked, and
/// the core relays what comes up.
#[test]
fn the_binding_reaches_the_data_path_before_the_success_response_leaves() {
    let mut sim = sim();
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    let request = client.signed(Method::CHANNEL_BIND, |b| {
        b.channel_number(0x4000).xor_peer_address(addr(PEER));
    });
    let seen = sim.client_sends(client.five_tuple, &request);
    let [
        Seen::Other(Output::Bind(binding)),
        Seen::Other(Output::Bind(permission)),
        Seen::ToClient(..),
        Seen::Event(_),
    ] = &seen[..]
    else {
        panic!("{seen:?}");
    };
    assert_eq!(permission.peer, peer("203.0.113.1:0"));
    assert_eq!((binding.five_tuple, binding.relayed.0), (client.five_tuple, relayed));
    assert_eq!((common::channel_of(binding), binding.peer), (Some(0x4000), peer(PEER)));
    assert_eq!(seconds_left(&sim, 0x4000), Some(300));
    assert!(to_peer(&client.channel_data(&mut sim, 0x4000, b"x")).is_some());
}

#[test]
fn a_number_has_one_peer_and_a_peer_one_number() {
    let (mut sim, mut client, _) = bound();
    assert_eq!(client.bind(&mut sim, 0x4000, addr(OTHER)).code(), 400);
    assert_eq!(client.bind(&mut sim, 0x4001, addr(PEER)).code(), 400);
    assert_eq!(client.bind(&mut sim, 0x4001, addr(OTHER)).code(), 0);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(PEER)).code(), 0, "the same again refreshes");
    // Another allocation may use both.
    let mut second = Client::new(2);
    second.allocated(&mut sim);
    assert_eq!(second.bind(&mut sim, 0x4000, addr(OTHER)).code(), 0);
}

#[test]
fn numbers_of_both_turn_rfcs_are_accepted_and_others_are_not() {
    let (mut sim, mut client, _) = bound();
    for (number, port, code) in
        [(0x4fff, 1, 0), (0x5000, 2, 0), (0x7fff, 3, 0), (0x3fff, 4, 400), (0x8000, 5, 400), (0, 6, 400)]
    {
        let code_seen = client.bind(&mut sim, number, addr(&format!("203.0.113.9:{port}"))).code();
        assert_eq!(code_seen, code, "{number:#x}");
    }
    let without_number = client.request(&mut sim, Method::CHANNEL_BIND, |b| {
        b.xor_peer_address(addr(PEER));
    });
    assert_eq!(without_number.code(), 400);
    let without_peer = client.request(&mut sim, Method::CHANNEL_BIND, |b| {
        b.channel_number(0x4005);
    });
    assert_eq!(without_peer.code(), 400);
    assert_eq!(client.bind(&mut sim, 0x4006, addr("203.0.113.9:0")).code(), 403);
}

/// Lesson 6.
#[test]
fn a_channel_refreshed_after_its_permission_or_itself_expired_is_back_in_the_table() {
    let (mut sim, mut client, relayed) = bound();
    // The permission expires, the channel lives.
    let seen = sim.wait(300.0);
    let [Seen::Other(Output::Unbind { .. }), Seen::Other(Output::Unbind { .. })] = seen[..] else {
        panic!("permission and channel: {seen:?}")
    };
    assert_eq!(dropped(&client.channel_data(&mut sim, 0x4000, b"x")), Some(Reason::NoPermission));
    assert_eq!(dropped(&sim.peer_sends(relayed, peer(PEER), b"x")), Some(Reason::NoPermission));
    // CreatePermission brings it back, until the channel expires.
    client.permit(&mut sim, &[addr(OTHER)]);
    assert_eq!(seconds_left(&sim, 0x4000), Some(300));
    assert!(to_peer(&client.channel_data(&mut sim, 0x4000, b"x")).is_some());
    client.refresh(&mut sim, 3600);
    client.permit(&mut sim, &[addr(PEER)]);
    sim.wait(200.0);
    client.permit(&mut sim, &[addr(PEER)]);
    assert_eq!(seconds_left(&sim, 0x4000), Some(100), "the channel ends before its permission");
    sim.wait(100.0);
    assert_eq!(seconds_left(&sim, 0x4000), None);
    assert_eq!(dropped(&client.channel_data(&mut sim, 0x4000, b"x")), Some(Reason::Expired));
    // The permission is still there: data from the peer goes the other way.
    let seen = sim.peer_sends(relayed, peer(PEER), b"x");
    assert_eq!(Message::parse(to_client(&seen).unwrap()).unwrap().method(), Method::DATA);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);
    assert_eq!(seconds_left(&sim, 0x4000), Some(300));
    assert!(to_peer(&client.channel_data(&mut sim, 0x4000, b"x")).is_some());
    sim.datapath.assert_agrees_with(&sim.core);
}

#[test]
fn one_permission_holds_all_channels_to_its_address() {
    let (mut sim, mut client, _) = bound();
    sim.wait(100.0);
    client.bind(&mut sim, 0x4001, addr(OTHER));
    assert_eq!((seconds_left(&sim, 0x4000), seconds_left(&sim, 0x4001)), (Some(300), Some(300)));
    let seen = sim.wait(300.0);
    assert_eq!(seen.len(), 3, "they and it are unbound: {seen:?}");
    assert!(sim.datapath.bindings.is_empty());
}

#[test]
fn number_and_peer_stay_together_for_five_minutes_after_the_binding_expired() {
    let (mut sim, mut client, _) = bound();
    client.refresh(&mut sim, 3600);
    sim.wait(600.0);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(OTHER)).code(), 400);
    assert_eq!(client.bind(&mut sim, 0x4001, addr(PEER)).code(), 400);
    sim.wait(299.999);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(OTHER)).code(), 400);
    sim.wait(0.001);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(OTHER)).code(), 0);
    assert_eq!(client.bind(&mut sim, 0x4001, addr(PEER)).code(), 0);
}

/// Lesson 47: data in one direction only keeps a channel no less alive, as long as it is refreshed.
#[test]
fn a_refreshed_channel_lives_for_hours_without_a_gap() {
    let (mut sim, mut client, relayed) = bound();
    for _ in 0..60 {
        assert_eq!(sim.wait(240.0), []);
        assert_eq!(client.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);
        assert_eq!(client.refresh(&mut sim, 600).code(), 0);
        assert!(to_client(&sim.peer_sends(relayed, peer(PEER), b"x")).is_some());
    }
    assert_eq!(sim.datapath.ids.len(), 2, "channel and permission were extended, never taken down");
}

/// RFC 8656 section 12.6: only requests prolong.
#[test]
fn channel_data_prolongs_neither_the_permission_nor_the_channel() {
    let (mut sim, mut client, relayed) = bound();
    client.refresh(&mut sim, 3600);
    for second in 1..600 {
        sim.wait(1.0);
        if second == 300 {
            assert_eq!(dropped(&client.channel_data(&mut sim, 0x4000, b"x")), Some(Reason::NoPermission));
            client.permit(&mut sim, &[addr(PEER)]);
        }
        assert!(to_peer(&client.channel_data(&mut sim, 0x4000, b"x")).is_some(), "{second} s");
        assert!(to_client(&sim.peer_sends(relayed, peer(PEER), b"x")).is_some(), "{second} s");
    }
    client.permit(&mut sim, &[addr(PEER)]);
    sim.wait(1.0);
    assert_eq!(dropped(&client.channel_data(&mut sim, 0x4000, b"x")), Some(Reason::Expired));
}

/// Lesson 24.
#[test]
fn a_port_used_again_never_carries_data_of_its_last_user() {
    let config = turnpike::turn::CoreConfig { relay_ports: 50_000..=50_000, ..common::config() };
    let mut sim = Sim::new(config, [1; 32]);
    let (mut old, mut new) = (Client::new(1), Client::new(2));
    let relayed = old.allocated(&mut sim);
    old.bind(&mut sim, 0x4000, addr(PEER));
    assert_eq!(new.allocate(&mut sim).code(), 508);
    sim.wait(600.0);
    assert_eq!(new.allocated(&mut sim), relayed);
    assert!(sim.datapath.bindings.is_empty());
    assert_eq!(dropped(&sim.peer_sends(relayed, peer(PEER), b"x")), Some(Reason::NoPermission));
    assert_eq!(dropped(&old.channel_data(&mut sim, 0x4000, b"x")), Some(Reason::NoAllocation));
    assert_eq!(dropped(&new.channel_data(&mut sim, 0x4000, b"x")), Some(Reason::NoBinding));
    assert_eq!(new.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);
    let seen = sim.peer_sends(relayed, peer(PEER), b"x");
    assert!(matches!(seen[..], [Seen::ToClient(to, _)] if to == new.five_tuple), "{seen:?}");
}

#[test]
fn a_port_is_not_free_for_another_core_before_its_relay_was_closed() {
    let config = turnpike::turn::CoreConfig { relay_ports: 50_000..=50_000, ..common::config() };
    let mut one = Sim::new(config, [1; 32]);
    let mut two = Sim::sharing(one.config.clone(), one.shared.clone(), [2; 32]);
    let (mut a, mut b) = (Client::new(1), Client::new(2));
    a.allocated(&mut one);
    a.refresh(&mut one, 0);
    assert_eq!(b.allocate(&mut two).code(), 508);
    assert_eq!(one.core.next_wakeup(), Some(one.now), "as soon as the effects were carried out");
    one.wait(0.0);
    assert_eq!(b.allocate(&mut two).code(), 0);
}

#[test]
fn an_allocation_has_a_bounded_number_of_channels() {
    let (mut sim, mut client, _) = bound();
    for i in 1..4096 {
        let peer = addr(&format!("203.0.113.{}:{}", 1 + i % 200, 2000 + i));
        assert_eq!(client.bind(&mut sim, 0x4000 + i, peer).code(), 0);
    }
    assert_eq!(client.bind(&mut sim, 0x5000, addr(OTHER)).code(), 508);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(PEER)).code(), 0);
}

/// A server whose relay address is 10.0.0.2 here and 198.51.100.7 to everybody else.
fn behind_a_nat(deny: &[&str]) -> Sim {
    let mut config = common::config();
    let local = common::ip("10.0.0.2");
    config.relay_addresses[0].local = local;
    let host = HostAddresses {
        own: vec![],
        relay: vec![local, config.relay_addresses[0].public],
        relay_ports: config.relay_ports.clone(),
    };
    let deny = deny.iter().map(|cidr| cidr.parse().unwrap()).collect();
    config.peer_rules = PeerRules::new(vec![], deny, host).into();
    Sim::new(config, [1; 32])
}

#[test]
fn a_relay_address_may_be_denied_by_either_of_its_names() {
    for deny in ["198.51.100.7/32", "10.0.0.0/8"] {
        let mut sim = behind_a_nat(&[deny]);
        let (mut a, mut b) = (Client::new(1), Client::new(2));
        a.allocated(&mut sim);
        let relayed = b.allocated(&mut sim);
        assert_eq!(a.permit(&mut sim, &[relayed]).code(), 403, "{deny}");
        assert_eq!(a.bind(&mut sim, 0x4000, relayed).code(), 403, "{deny}");
    }
}

#[test]
fn two_clients_of_one_server_reach_each_other_behind_a_nat() {
    let mut sim = behind_a_nat(&[]);
    let local = common::ip("10.0.0.2");
    let (mut a, mut b) = (Client::new(1), Client::new(2));
    let (relayed_a, relayed_b) = (a.allocated(&mut sim), b.allocated(&mut sim));
    let bound = |public: std::net::SocketAddr| std::net::SocketAddr::new(local, public.port());
    assert_eq!(a.bind(&mut sim, 0x4000, relayed_b).code(), 0);
    assert_eq!(b.permit(&mut sim, &[relayed_a]).code(), 0);
    let seen = a.channel_data(&mut sim, 0x4000, b"hello");
    assert_eq!(to_peer(&seen), Some((PeerAddr(bound(relayed_b)), &b"hello"[..])));
    let seen = sim.peer_sends(bound(relayed_b), PeerAddr(bound(relayed_a)), b"hello");
    let data = Message::parse(to_client(&seen).unwrap()).unwrap();
    assert_eq!(data.xor_peer_address(), Ok(Some(relayed_a)), "b knows a by its public address");
    let seen = b.send(&mut sim, relayed_a, b"hi");
    assert_eq!(to_peer(&seen), Some((PeerAddr(bound(relayed_a)), &b"hi"[..])));
    // Other ports of the relay address are this host's own.
    let server = addr("198.51.100.7:3478");
    assert_eq!(dropped(&b.send(&mut sim, server, b"x")), Some(Reason::ForbiddenPeer));
    assert_eq!(b.bind(&mut sim, 0x4000, server).code(), 403);
}
