//! USERHASH (RFC 8489 section 14.4): a client's name is not sent in the clear.

mod common;

use common::{Client, PASSWORD, REALM, SECRET, Seen, Sim, UNIX_START, config, sim};
use turnpike::auth::{Credentials, Realm, Realms, time_limited};
use turnpike::stun::{AttributeType, Method, userhash};
use turnpike::turn::{CoreConfig, Event};

fn allocate(client: &mut Client) -> Vec<u8> {
    client.signed(Method::ALLOCATE, |b| _ = b.requested_transport(17))
}

#[test]
fn a_client_that_hides_its_name_is_the_user_that_the_hash_stands_for() {
    let mut sim = sim();
    for (port, client) in [(1, Client::new(1)), (2, Client::new(2).modern())] {
        let mut client = client.anonymous();
        client.learn_nonce(&mut sim);
        let request = allocate(&mut client);
        let seen = sim.client_sends(client.five_tuple, &request);
        let made = seen.iter().any(
            |s| matches!(s, Seen::Event(Event::AllocationCreated { username, .. }) if username == "alice"),
        );
        assert!(made, "{seen:?}");
        // By its name it is the same user, by another's hash another.
        assert_eq!(Client { anonymous: false, ..client.clone() }.refresh(&mut sim, 600).code(), 0);
        assert_eq!(client.refresh(&mut sim, 600).code(), 0);
        assert_eq!(Client::with(port, "bob", "builder").anonymous().refresh(&mut sim, 600).code(), 441);
    }
    assert_eq!(sim.shared.users(), 1, "one account");
}

#[test]
fn a_hash_of_nobody_or_with_the_wrong_password_is_refused() {
    let mut sim = sim();
    assert_eq!(Client::with(1, "mallory", "x").anonymous().allocate(&mut sim).code(), 401);
    assert_eq!(Client::with(1, "alice", "x").anonymous().allocate(&mut sim).code(), 401);
    let mut client = Client::new(1).anonymous();
    client.learn_nonce(&mut sim);
    // The hash of alice in another realm.
    let key = client.key();
    let nonce = client.nonce.clone();
    let request = client.plain(Method::ALLOCATE, turnpike::stun::Class::Request, |b| {
        b.userhash(&userhash("alice", "example.net")).realm(REALM).nonce(&nonce).integrity(&key);
    });
    assert_eq!(client.exchange(&mut sim, &request).code(), 401);
    assert_eq!(client.allocate(&mut sim).code(), 0);
}

#[test]
fn a_name_and_a_hash_together_or_a_broken_hash_are_malformed() {
    let mut sim = sim();
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let (key, nonce) = (client.key(), client.nonce.clone());
    for (name, hash) in [
        (Some("alice"), &userhash("alice", REALM)[..]),
        (Some("bob"), &userhash("alice", REALM)),
        (None, &[0; 31]),
        (None, &[0; 36]),
        (None, &[]),
    ] {
        let request = client.plain(Method::ALLOCATE, turnpike::stun::Class::Request, |b| {
            name.map(|name| b.username(name));
            b.bytes(AttributeType::USERHASH, hash).realm(REALM).nonce(&nonce).integrity(&key);
        });
        assert_eq!(client.exchange(&mut sim, &request).code(), 400);
    }
}

/// RFC 8489 section 9.2.5: a client that is offered to hide its name MUST do so. The server cannot list the names that a
/// secret makes, so whoever has one would be locked out by the offer.
#[test]
fn where_a_secret_makes_users_nobody_is_asked_to_hide_a_name() {
    let users = || [("alice".into(), PASSWORD.into())];
    let cases: [(_, &[u8]); 3] = [
        (Credentials::new(users(), []), b"obMatJos2wAAA"),
        (Credentials::new(users(), [SECRET.into()]), b"obMatJos2gAAA"),
        (Credentials::new([], [SECRET.into()]), b"obMatJos2gAAA"),
    ];
    let (username, password) = time_limited(SECRET, "carol", UNIX_START + 900);
    let mut client = Client::with(1, &username, &password).anonymous();
    for (credentials, start) in cases {
        let realm = Realm::new(REALM, credentials.unwrap()).unwrap();
        let mut sim = Sim::new(CoreConfig { realms: Realms::new(realm, []).unwrap(), ..config() }, [7; 32]);
        client.learn_nonce(&mut sim);
        assert_eq!(&client.nonce[..13], start);
    }

    let mut sim = sim();
    assert_eq!(client.allocate(&mut sim).code(), 401, "the hash of an unknown user");
    client.anonymous = false;
    assert_eq!(client.allocate(&mut sim).code(), 0);
}
