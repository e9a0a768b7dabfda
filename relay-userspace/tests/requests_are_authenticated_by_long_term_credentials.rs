//! Long-term credentials (RFC 8489 section 9.2) as TURN uses them (RFC 8656 section 5), and lessons 36 and 45.

mod common;

use std::time::Duration;

use common::{
    Client, Joined, REALM, SECRET, Seen, Sim, UNIX_START, a_peer, addr, code, config, sim, tcp_client,
    tcp_sim,
};
use turnpike::auth::time_limited;
use turnpike::stun::{AttributeType, Builder, Class, Key, Message, MessageType, Method};
use turnpike::turn::{ClientAddr, ConnectionId, CoreConfig, Output};

const PEER: &str = "203.0.113.1:1000";

/// A request with these credential attributes, and the code it is refused with.
fn refused(sim: &mut Sim, fill: impl Fn(&mut Builder<'_>)) -> u16 {
    let mut client = Client::new(1);
    let request = client.plain(Method::ALLOCATE, Class::Request, |b| {
        b.requested_transport(17);
        fill(b);
    });
    client.exchange(sim, &request).code()
}

#[test]
fn a_first_request_is_challenged_in_as_few_bytes_as_realm_and_nonce_allow() {
    let mut sim = Sim::new(CoreConfig { software: Some("Turnpike".into()), ..config() }, [1; 32]);
    for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let mut client = Client::new(1);
        let request = client.plain(method, Class::Request, |_| ());
        let reply = client.exchange(&mut sim, &request);
        assert_eq!(reply.code(), 401);
        assert_eq!(reply.message().realm(), Ok(Some(REALM)));
        let nonce = reply.message().nonce().unwrap().unwrap().len();
        // Header, ERROR-CODE without a phrase, REALM, NONCE, and PASSWORD-ALGORITHMS with two algorithms.
        let realm = REALM.len().next_multiple_of(4);
        assert_eq!(reply.0.len(), 20 + 8 + (4 + realm) + (4 + nonce.next_multiple_of(4)) + (4 + 8));
    }
}

#[test]
fn an_authenticated_answer_is_signed_and_names_the_software_if_it_may() {
    let mut sim = Sim::new(CoreConfig { software: Some("Turnpike".into()), ..config() }, [1; 32]);
    let mut client = Client::new(1);
    for reply in [client.allocate(&mut sim), client.allocate(&mut sim)] {
        assert!(reply.message().is_authentic(&client.key()));
        assert_eq!(reply.message().software(), Ok(Some("Turnpike")));
    }
    let request = signed_with_fingerprint(&mut client);
    let reply = client.exchange(&mut sim, &request);
    assert_eq!(reply.code(), 0);
    assert!(reply.message().has(AttributeType::FINGERPRINT));
    assert!(reply.message().is_authentic(&client.key()));
}

fn signed_with_fingerprint(client: &mut Client) -> Vec<u8> {
    let mut bytes = Vec::new();
    let id = client.transaction();
    Builder::new(&mut bytes, MessageType::new(Method::REFRESH, Class::Request), id)
        .username(&client.username)
        .realm(REALM)
        .nonce(&client.nonce)
        .integrity(&client.key())
        .fingerprint();
    bytes
}

#[test]
fn missing_and_wrong_credentials_get_the_codes_of_the_rfc() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let (key, nonce) = (client.key(), client.nonce.clone());
    assert_eq!(
        refused(&mut sim, |b| {
            b.realm(REALM).nonce(&nonce).integrity(&key);
        }),
        400
    );
    assert_eq!(
        refused(&mut sim, |b| {
            b.username("alice").nonce(&nonce).integrity(&key);
        }),
        400
    );
    assert_eq!(
        refused(&mut sim, |b| {
            b.username("alice").realm(REALM).integrity(&key);
        }),
        400
    );
    assert_eq!(
        refused(&mut sim, |b| {
            b.username("alice").realm(REALM).nonce(&nonce);
        }),
        401
    );
    let wrong = Key::long_term("alice", REALM, "guess");
    assert_eq!(
        refused(&mut sim, |b| {
            b.username("alice").realm(REALM).nonce(&nonce).integrity(&wrong);
        }),
        401
    );
    assert_eq!(
        refused(&mut sim, |b| {
            b.username("mallory").realm(REALM).nonce(&nonce).integrity(&key);
        }),
        401
    );
    let elsewhere = Key::long_term("alice", "else.where", "wonderland");
    assert_eq!(
        refused(&mut sim, |b| {
            b.username("alice").realm("else.where").nonce(&nonce).integrity(&elsewhere);
        }),
        401
    );
    assert_eq!(
        refused(&mut sim, |b| {
            b.username("alice").realm(REALM).nonce(b"made up").integrity(&key);
        }),
        438
    );
    assert_eq!(
        refused(&mut sim, |b| {
            b.username("alice").realm(REALM).nonce(&nonce).integrity(&key);
        }),
        0
    );
}

#[test]
fn a_nonce_of_another_client_or_another_hour_is_stale() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let mut other = Client::new(2);
    other.nonce = client.nonce.clone();
    let request = other.signed(Method::REFRESH, |_| ());
    assert_eq!(other.exchange(&mut sim, &request).code(), 438);

    client.allocated(&mut sim);
    client.refresh(&mut sim, 3600);
    sim.wait(3599.0);
    let request = client.signed(Method::REFRESH, |_| ());
    let reply = client.exchange(&mut sim, &request);
    assert_eq!(reply.code(), 438);
    assert_eq!(sim.core.allocation_count(), 1, "the allocation does not suffer");
    client.nonce = reply.message().nonce().unwrap().unwrap().to_vec();
    let request = client.signed(Method::REFRESH, |_| ());
    assert_eq!(client.exchange(&mut sim, &request).code(), 0);
}

#[test]
fn an_allocation_obeys_only_the_user_that_made_it() {
    let mut sim = sim();
    let mut alice = Client::new(1);
    alice.allocated(&mut sim);
    let mut bob = Client::with(1, "bob", "builder");
    assert_eq!(bob.refresh(&mut sim, 0).code(), 441);
    assert_eq!(bob.permit(&mut sim, &[addr(PEER)]).code(), 441);
    assert_eq!(bob.bind(&mut sim, 0x4000, addr(PEER)).code(), 441);
    assert_eq!(bob.allocate(&mut sim).code(), 437);
    assert_eq!(sim.core.occupancy().permissions, 0);
    assert_eq!(alice.refresh(&mut sim, 600).code(), 0);
}

fn time_limited_client(port: u16, secret: &str, lives: u64) -> Client {
    let (username, password) = time_limited(secret, "carol", UNIX_START + lives);
    Client::with(port, &username, &password)
}

/// Lesson 45.
#[test]
fn an_expired_credential_cannot_prolong_an_allocation() {
    let mut sim = sim();
    let mut client = time_limited_client(1, SECRET, 900);
    assert_eq!(client.allocate(&mut sim).code(), 0);
    sim.wait(500.0);
    assert_eq!(client.refresh(&mut sim, 600).code(), 0);
    sim.wait(400.0);
    for reply in [
        client.refresh(&mut sim, 600),
        client.permit(&mut sim, &[addr(PEER)]),
        client.bind(&mut sim, 0x4000, addr(PEER)),
        time_limited_client(2, SECRET, 900).allocate(&mut sim),
    ] {
        assert_eq!(reply.code(), 401);
    }
    sim.wait(199.0);
    assert_eq!(sim.core.allocation_count(), 1);
    sim.wait(1.0);
    sim.assert_empty();
}

/// A client whose credential expired half a minute after it allocated.
fn with_expired_credential(sim: &mut Sim) -> Client {
    let mut client = time_limited_client(1, SECRET, 30);
    assert_eq!(client.allocate(sim).code(), 0);
    assert_eq!(client.refresh(sim, 600).code(), 0);
    assert_eq!(client.permit(sim, &[addr(PEER)]).code(), 0);
    assert_eq!(client.bind(sim, 0x4000, addr(PEER)).code(), 0);
    sim.wait(30.0);
    client
}

#[test]
fn an_expired_credential_cannot_allocate() {
    let mut sim = sim();
    with_expired_credential(&mut sim);
    assert_eq!(time_limited_client(2, SECRET, 30).allocate(&mut sim).code(), 401);
    assert_eq!(time_limited_client(3, SECRET, 31).allocate(&mut sim).code(), 0);
}

#[test]
fn an_expired_credential_cannot_refresh() {
    let mut sim = sim();
    let mut client = with_expired_credential(&mut sim);
    assert_eq!(client.refresh(&mut sim, 600).code(), 401);
    assert_eq!(client.refresh(&mut sim, 0).code(), 401);
    assert_eq!(sim.core.allocation_count(), 1);
    sim.wait(570.0);
    assert_eq!(sim.core.allocation_count(), 0);
}

#[test]
fn an_expired_credential_cannot_install_or_refresh_a_permission() {
    let mut sim = sim();
    let mut client = with_expired_credential(&mut sim);
    assert_eq!(client.permit(&mut sim, &[addr(PEER)]).code(), 401);
    assert_eq!(client.permit(&mut sim, &[addr("203.0.113.2:1")]).code(), 401);
    assert_eq!(sim.core.occupancy().permissions, 1);
    sim.wait(270.0);
    assert_eq!(sim.core.occupancy().permissions, 0);
}

#[test]
fn an_expired_credential_cannot_bind_or_refresh_a_channel() {
    let mut sim = sim();
    let mut client = with_expired_credential(&mut sim);
    assert_eq!(client.bind(&mut sim, 0x4000, addr(PEER)).code(), 401);
    assert_eq!(client.bind(&mut sim, 0x4001, addr("203.0.113.2:1")).code(), 401);
    assert_eq!(sim.core.occupancy().channels, 1);
}

#[test]
fn the_time_of_day_may_be_set_while_the_server_runs() {
    let mut sim = sim();
    let mut client = time_limited_client(1, SECRET, 900);
    sim.core.set_unix_time(sim.now, UNIX_START + 1000);
    assert_eq!(client.allocate(&mut sim).code(), 401);
    sim.core.set_unix_time(sim.now, UNIX_START - 1000);
    assert_eq!(client.allocate(&mut sim).code(), 0);
    assert_eq!(time_limited_client(2, "another secret", 900).allocate(&mut sim).code(), 401);
}

#[test]
fn a_server_that_does_not_know_the_time_lets_no_time_limited_user_in() {
    let config = config();
    let shared = std::sync::Arc::new(turnpike::turn::Shared::new(&config, [1; 32]));
    let mut sim = Sim::sharing(std::sync::Arc::new(config), shared.clone(), [1; 32]);
    sim.core = turnpike::turn::Core::new(sim.config.clone(), shared, [1; 32]);
    assert_eq!(time_limited_client(1, SECRET, 900).allocate(&mut sim).code(), 401);
    assert_eq!(Client::new(2).allocate(&mut sim).code(), 0);
}

/// Lesson 36: what follows MESSAGE-INTEGRITY was not written by whoever holds the password.
#[test]
fn attributes_after_the_integrity_are_ignored() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    let append = |client: &mut Client, method, fill: &dyn Fn(&mut Builder<'_>)| {
        let mut bytes = Vec::new();
        let id = client.transaction();
        let mut builder = Builder::new(&mut bytes, MessageType::new(method, Class::Request), id);
        builder.username(&client.username).realm(REALM).nonce(&client.nonce).integrity(&client.key());
        fill(&mut builder);
        bytes
    };
    let request = append(&mut client, Method::REFRESH, &|b| {
        b.lifetime(Duration::ZERO);
    });
    assert_eq!(client.exchange(&mut sim, &request).lifetime(), 600);
    assert_eq!(sim.core.allocation_count(), 1);
    let request = append(&mut client, Method::CREATE_PERMISSION, &|b| {
        b.xor_peer_address(addr(PEER));
    });
    assert_eq!(client.exchange(&mut sim, &request).code(), 400);
    let request = append(&mut client, Method::CHANNEL_BIND, &|b| {
        b.channel_number(0x4000).xor_peer_address(addr(PEER));
    });
    assert_eq!(client.exchange(&mut sim, &request).code(), 400);
    let request = append(&mut client, Method::REFRESH, &|b| {
        b.bytes(AttributeType(0x7000), b"unknown");
    });
    assert_eq!(client.exchange(&mut sim, &request).code(), 0);
    assert_eq!(sim.core.occupancy().permissions, 0);
    assert!(Message::parse(&request).is_ok());
}

/// RFC 6062 section 4.3 has the client use the credentials of the control connection. Some take its nonce for one of them.
#[test]
fn the_nonce_of_the_control_connection_binds_its_connections() {
    let mut here = tcp_sim().numbered(0);
    let mut there = Sim::sharing(here.config.clone(), here.shared.clone(), [8; 32]).numbered(1);
    let (mut client, mut other) = (tcp_client(1), tcp_client(3));
    client.allocate_tcp(&mut here);
    other.allocate_tcp(&mut here);
    let connection = client.connected(&mut here, a_peer());

    let mut data = tcp_client(2);
    assert_eq!(code(&data.bind_with_nonce_of(&other, &mut here, connection)), Some(438), "another client's");
    let mut elsewhere = tcp_client(2);
    elsewhere.five_tuple.client = ClientAddr(addr("192.0.2.10:1"));
    assert_eq!(code(&elsewhere.bind_with_nonce_of(&client, &mut here, connection)), Some(438));
    let unknown = ConnectionId(connection.0 ^ 1);
    assert_eq!(code(&data.bind_with_nonce_of(&client, &mut here, unknown)), Some(438));
    data.nonce.clone_from(&client.nonce);
    let refresh = data.signed(Method::REFRESH, |_| {});
    assert_eq!(code(&here.client_sends(data.five_tuple, &refresh)), Some(438), "for nothing else");

    let seen = data.bind_with_nonce_of(&client, &mut there, connection);
    assert_eq!(seen, [Seen::Other(Output::Forward { shard: 0, five_tuple: data.five_tuple })]);
    assert_eq!(code(&data.bind_with_nonce_of(&client, &mut here, connection)), Some(0));
    assert!(here.datapath.connections[&connection] == Joined::To(data.five_tuple));
}
