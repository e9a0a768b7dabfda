//! What RFC 8489 added to long-term credentials: MESSAGE-INTEGRITY-SHA256, password algorithms, and the protection from
//! who takes the better ones out of the offer on the way (sections 9.2, 14.6, 14.11 and 14.12).

mod common;

use common::{Client, PASSWORD, REALM, Reply, SECRET, Sim, USER, addr, config, credentials, sim};
use turnpike::auth::{Credentials, Realm, Realms};
use turnpike::stun::PasswordAlgorithm::{Md5, Sha256};
use turnpike::stun::{AttributeType, Builder, Class, Integrity, Key, MessageType, Method, PasswordAlgorithm};
use turnpike::turn::CoreConfig;

const PEER: &str = "203.0.113.1:1000";
const BOTH: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

fn with_algorithms(credentials: Credentials, algorithms: &[PasswordAlgorithm]) -> Sim {
    let realm = Realm::with_algorithms(REALM, credentials, algorithms).unwrap();
    Sim::new(CoreConfig { realms: Realms::new(realm, []).unwrap(), ..config() }, [7; 32])
}

/// A server whose users all come from a secret.
fn secret_only(algorithms: &[PasswordAlgorithm]) -> Sim {
    with_algorithms(Credentials::new([], [SECRET.into()]).unwrap(), algorithms)
}

/// A server whose users are all listed, so that they are asked to hide their names.
fn static_only(algorithms: &[PasswordAlgorithm]) -> Sim {
    let users = [(USER.into(), PASSWORD.into())];
    with_algorithms(Credentials::new(users, []).unwrap(), algorithms)
}

fn modern() -> Client {
    Client::new(1).modern()
}

fn challenge(sim: &mut Sim) -> Reply {
    let mut client = Client::new(1);
    let request = client.plain(Method::ALLOCATE, Class::Request, |_| ());
    client.exchange(sim, &request)
}

/// A Refresh with exactly these attributes.
fn refresh(client: &mut Client, fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let id = client.transaction();
    fill(&mut Builder::new(&mut bytes, MessageType::new(Method::REFRESH, Class::Request), id));
    bytes
}

#[test]
fn a_client_with_sha_256_is_served_and_answered_with_sha_256_alone() {
    let mut sim = sim();
    let mut client = modern();
    let relayed = client.allocate(&mut sim);
    for reply in [
        relayed.clone(),
        client.refresh(&mut sim, 600),
        client.permit(&mut sim, &[addr(PEER)]),
        client.bind(&mut sim, 0x4000, addr(PEER)),
        client.bind(&mut sim, 0x4001, addr("127.0.0.1:1")),
    ] {
        let message = reply.message();
        assert!(message.is_authentic(&client.key()));
        assert_eq!(message.integrity(), Some(Integrity::Sha256));
        for absent in [
            AttributeType::MESSAGE_INTEGRITY,
            AttributeType::REALM,
            AttributeType::NONCE,
            AttributeType::USERNAME,
            AttributeType::USERHASH,
        ] {
            assert!(!message.has(absent), "{absent}");
        }
    }
    assert_eq!(client.bind(&mut sim, 0x4001, addr("127.0.0.1:1")).code(), 403);
    assert_eq!(relayed.code(), 0);
}

#[test]
fn a_client_of_rfc_5389_is_served_as_ever() {
    let mut sim = sim();
    let mut client = Client::new(1);
    for reply in [client.allocate(&mut sim), client.refresh(&mut sim, 600), client.refresh(&mut sim, 0)] {
        assert_eq!(reply.code(), 0);
        assert_eq!(reply.message().integrity(), Some(Integrity::Sha1));
        assert!(!reply.message().has(AttributeType::MESSAGE_INTEGRITY_SHA256));
    }
    sim.wait(60.0);
    sim.assert_empty();
}

/// Lesson 44: the figures that docs/clients.md gives.
#[test]
fn a_challenge_is_as_long_as_its_offer() {
    let reply = challenge(&mut static_only(&[Sha256, Md5]));
    assert_eq!(reply.message().password_algorithms(), Some(&BOTH[..]));
    assert!(reply.message().nonce().unwrap().unwrap().starts_with(b"obMatJos2wAAA"));
    assert_eq!(reply.0.len(), 84);

    let reply = challenge(&mut secret_only(&[Sha256, Md5]));
    assert!(reply.message().nonce().unwrap().unwrap().starts_with(b"obMatJos2gAAA"));
    assert_eq!(reply.0.len(), 84);

    let reply = challenge(&mut secret_only(&[Sha256]));
    assert_eq!(reply.message().password_algorithms(), Some(&BOTH[..4]));
    assert_eq!(reply.0.len(), 80);

    let reply = challenge(&mut static_only(&[Md5]));
    assert_eq!(reply.message().password_algorithms(), None);
    assert!(reply.message().nonce().unwrap().unwrap().starts_with(b"obMatJos2QAAA"));
    assert_eq!(reply.0.len(), 72);

    let reply = challenge(&mut secret_only(&[Md5]));
    assert_eq!(reply.message().password_algorithms(), None);
    assert_eq!(reply.0.len(), 60);
}

#[test]
fn a_stale_nonce_is_answered_with_the_offer_again() {
    let mut sim = sim();
    let mut client = modern();
    client.learn_nonce(&mut sim);
    sim.wait(7200.0);
    let request = client.signed(Method::ALLOCATE, |b| _ = b.requested_transport(17));
    let reply = client.exchange(&mut sim, &request);
    assert_eq!(reply.code(), 438);
    assert_eq!(reply.message().password_algorithms(), Some(&BOTH[..]));
    assert_eq!(reply.message().realm(), Ok(Some(REALM)));
    client.learn_from(&reply);
    assert_eq!(client.allocate(&mut sim).code(), 0);
}

/// Section 9.2.4: "unless (1) both are present, (2) PASSWORD-ALGORITHMS matches the value sent in the response that sent
/// this NONCE, and (3) PASSWORD-ALGORITHM matches one of the entries": 400.
#[test]
fn an_offer_that_was_changed_on_the_way_is_refused() {
    let mut sim = sim();
    let mut client = modern();
    client.allocated(&mut sim);
    let sha256 = [0, 2, 0, 0];
    let md5 = [0, 1, 0, 0];
    type Value<'a> = Option<&'a [u8]>;
    let cases: [(&str, Value<'_>, Value<'_>); 13] = [
        ("the list alone", Some(&BOTH), None),
        ("the choice alone", None, Some(&sha256)),
        ("the choice of MD5 alone", None, Some(&md5)),
        ("SHA-256 taken out", Some(&md5), Some(&md5)),
        ("MD5 taken out", Some(&sha256), Some(&sha256)),
        ("the order changed", Some(&[0, 1, 0, 0, 0, 2, 0, 0]), Some(&sha256)),
        ("one more at the end", Some(&[0, 2, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0]), Some(&sha256)),
        ("a list of none", Some(&[]), Some(&sha256)),
        ("parameters added", Some(&[0, 2, 0, 4, 1, 2, 3, 4, 0, 1, 0, 0]), Some(&sha256)),
        ("half an entry", Some(&[0, 2, 0, 0, 0, 1]), Some(&sha256)),
        ("a choice that is not in the list", Some(&BOTH), Some(&[0, 3, 0, 0])),
        ("a choice with parameters", Some(&BOTH), Some(&[0, 2, 0, 1, 0])),
        ("no choice", Some(&BOTH), Some(&[])),
    ];
    for (what, list, choice) in cases {
        for algorithm in [Md5, Sha256] {
            client.algorithm = Some(algorithm);
            let key = client.key();
            let (username, nonce) = (client.username.clone(), client.nonce.clone());
            let request = refresh(&mut client, |b| {
                b.username(&username).realm(REALM).nonce(&nonce);
                list.map(|v| b.bytes(AttributeType::PASSWORD_ALGORITHMS, v));
                choice.map(|v| b.bytes(AttributeType::PASSWORD_ALGORITHM, v));
                b.integrity_sha256(&key);
            });
            let reply = client.exchange(&mut sim, &request);
            assert_eq!(reply.code(), 400, "{what}");
            // Whoever changed it learns nothing that is signed, and the client no other nonce.
            assert!(!reply.message().has(AttributeType::NONCE) && reply.message().integrity().is_none());
        }
    }
    client.algorithm = Some(Sha256);
    assert_eq!(client.refresh(&mut sim, 600).code(), 0);
}

/// Without the bit a client would believe that the server knows MD5 only. It is covered by the hash in the nonce.
#[test]
fn a_nonce_whose_cookie_or_bits_were_changed_on_the_way_is_stale() {
    let mut sim = static_only(&[Sha256, Md5]);
    let mut client = Client::new(1);
    client.learn_nonce(&mut sim);
    let good = client.nonce.clone();
    let changed: Vec<Vec<u8>> = vec![
        good[13..].to_vec(),
        [b"obMatJos2AAAA", &good[13..]].concat(),
        [b"obMatJos2gAAA", &good[13..]].concat(),
        [b"obMatJos2QAAA", &good[13..]].concat(),
        [b"obMatJos2wAAB", &good[13..]].concat(),
        [b"obMatJos3wAAA", &good[13..]].concat(),
        good[..13].to_vec(),
        good[..23].to_vec(),
        [&good[..], b"A"].concat(),
    ];
    for nonce in changed {
        for mut client in [client.clone(), Client { nonce: nonce.clone(), ..modern() }] {
            client.nonce = nonce.clone();
            let request = client.signed(Method::ALLOCATE, |b| _ = b.requested_transport(17));
            assert_eq!(client.exchange(&mut sim, &request).code(), 438, "{nonce:?}");
        }
    }
    assert_eq!(sim.core.allocation_count(), 0);
    assert_eq!(client.allocate(&mut sim).code(), 0);
}

#[test]
fn the_key_is_made_with_the_algorithm_that_was_chosen() {
    let mut sim = sim();
    for (chosen, used, code) in [(Sha256, Sha256, 0), (Md5, Md5, 0), (Sha256, Md5, 401), (Md5, Sha256, 401)] {
        let mut client = Client { algorithm: Some(chosen), ..modern() };
        client.learn_nonce(&mut sim);
        let key = Key::with_algorithm(used, USER, REALM, PASSWORD);
        let request = refresh(&mut client.clone(), |b| {
            client.credentials(b);
            b.integrity_sha256(&key);
        });
        // 437: believed, but there is no allocation.
        let expected = if code == 0 { 437 } else { code };
        assert_eq!(client.exchange(&mut sim, &request).code(), expected, "{chosen} {used}");
    }
}

#[test]
fn a_wrong_or_shortened_sha_256_integrity_is_not_believed() {
    let mut sim = sim();
    let mut client = modern();
    client.learn_nonce(&mut sim);
    let wrong = Client { password: "guess".into(), ..client.clone() };
    let request = wrong.clone().signed(Method::REFRESH, |_| ());
    assert_eq!(client.exchange(&mut sim, &request).code(), 401);

    let whole = client.signed(Method::REFRESH, |_| ());
    for len in [0_usize, 4, 16, 20, 28, 31] {
        let request = refresh(&mut client.clone(), |b| {
            client.credentials(b);
            b.bytes(AttributeType::MESSAGE_INTEGRITY_SHA256, &whole[whole.len() - 32..][..len]);
        });
        assert_eq!(client.exchange(&mut sim, &request).code(), 401, "{len} bytes");
    }
    assert_eq!(client.exchange(&mut sim, &whole).code(), 437);
}

#[test]
fn the_answer_is_signed_as_the_request_shows_that_the_client_can_read() {
    use Integrity::{Sha1, Sha256};
    let mut sim = sim();
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    for (algorithm, signatures, answered) in [
        (None, &[Sha1][..], Sha1),
        // Section 9.2.4: nothing is said of algorithms, so MESSAGE-INTEGRITY MUST be used.
        (None, &[Sha1, Sha256], Sha1),
        (None, &[Sha256], Sha256),
        (Some(PasswordAlgorithm::Sha256), &[Sha256], Sha256),
        (Some(PasswordAlgorithm::Md5), &[Sha256], Sha256),
        (Some(PasswordAlgorithm::Sha256), &[Sha1, Sha256], Sha256),
        (Some(PasswordAlgorithm::Md5), &[Sha1], Sha1),
    ] {
        client.algorithm = algorithm;
        let key = client.key();
        let request = refresh(&mut client.clone(), |b| {
            client.credentials(b);
            b.lifetime(std::time::Duration::from_secs(600 + signatures.len() as u64));
            signatures.iter().for_each(|s| _ = b.sign(&key, *s));
        });
        let reply = client.exchange(&mut sim, &request);
        assert_eq!(reply.code(), 0);
        assert!(reply.message().is_authentic(&key), "{algorithm:?} {signatures:?}");
        let signed = [AttributeType::MESSAGE_INTEGRITY, AttributeType::MESSAGE_INTEGRITY_SHA256]
            .map(|kind| reply.message().has(kind));
        assert_eq!(signed, [answered == Sha1, answered == Sha256], "{algorithm:?} {signatures:?}");
    }
}

/// Whoever can break SHA-1 gains nothing where the client sent SHA-256 too.
#[test]
fn of_two_integrity_attributes_the_one_with_sha_256_has_to_be_right() {
    let mut sim = sim();
    let mut client = modern();
    client.allocated(&mut sim);
    let (right, wrong) = (client.key(), Key::short_term("guess"));
    for (sha1, sha256, code) in [(&wrong, &right, 0), (&right, &wrong, 401)] {
        let request = refresh(&mut client.clone(), |b| {
            client.credentials(b);
            b.lifetime(std::time::Duration::from_secs(600)).integrity(sha1).integrity_sha256(sha256);
        });
        assert_eq!(client.exchange(&mut sim, &request).code(), code);
    }
}

/// Lesson 36, for the other attribute.
#[test]
fn attributes_after_the_sha_256_integrity_are_ignored() {
    let mut sim = sim();
    let mut client = modern();
    client.allocated(&mut sim);
    let key = client.key();
    let request = refresh(&mut client.clone(), |b| {
        client.credentials(b);
        b.integrity_sha256(&key).lifetime(std::time::Duration::ZERO).bytes(AttributeType(0x7000), b"unknown");
    });
    assert_eq!(client.exchange(&mut sim, &request).lifetime(), 600);
    assert_eq!(sim.core.allocation_count(), 1);
}

#[test]
fn a_retransmitted_request_gets_the_same_sha_256_answer() {
    let mut sim = sim();
    let mut client = modern();
    client.learn_nonce(&mut sim);
    let request = client.signed(Method::ALLOCATE, |b| _ = b.requested_transport(17));
    let first = client.exchange(&mut sim, &request);
    assert_eq!(client.exchange(&mut sim, &request), first);
    assert_eq!(sim.core.allocation_count(), 1);
}

#[test]
fn a_realm_with_md5_alone_refuses_what_it_did_not_offer() {
    let mut sim = with_algorithms(credentials(), &[Md5]);
    assert_eq!(Client::new(1).allocate(&mut sim).code(), 0);
    let mut client = Client::new(2).modern();
    client.learn_nonce(&mut sim);
    for (algorithm, offered) in
        [(Sha256, None), (Sha256, Some(BOTH.to_vec())), (Md5, Some(BOTH[4..].to_vec()))]
    {
        client.algorithm = Some(algorithm);
        client.offered = offered;
        let request = client.signed(Method::ALLOCATE, |b| _ = b.requested_transport(17));
        assert_eq!(client.exchange(&mut sim, &request).code(), 400);
    }
    // MESSAGE-INTEGRITY-SHA256 needs no offer.
    let mut client = Client { integrity: Integrity::Sha256, ..Client::new(3) };
    assert_eq!(client.allocate(&mut sim).code(), 0);
}

#[test]
fn a_realm_with_sha_256_alone_lets_no_old_client_in() {
    let mut sim = with_algorithms(credentials(), &[Sha256]);
    assert_eq!(Client::new(1).modern().allocate(&mut sim).code(), 0);
    assert_eq!(Client::new(2).allocate(&mut sim).code(), 401);
    let mut client = Client { algorithm: Some(Md5), ..Client::new(3).modern() };
    client.learn_nonce(&mut sim);
    let request = client.signed(Method::ALLOCATE, |b| _ = b.requested_transport(17));
    assert_eq!(client.exchange(&mut sim, &request).code(), 400);
    assert_eq!(sim.core.allocation_count(), 1);
}

#[test]
fn a_user_with_a_stored_md5_key_alone_keeps_the_realm_from_offering_sha_256() {
    let key = "0x72f86f2053703faa0f521ce71cfe6f59";
    let users = [(USER.into(), key.into()), ("bob".into(), "builder".into())];
    let mut sim = with_algorithms(Credentials::new(users, []).unwrap(), &[Sha256, Md5]);
    assert_eq!(challenge(&mut sim).message().password_algorithms(), None);
    assert_eq!(Client::new(1).allocate(&mut sim).code(), 0);
    assert_eq!(Client::with(2, USER, "guess").allocate(&mut sim).code(), 401);
    assert_eq!(Client::with(3, USER, key).allocate(&mut sim).code(), 401, "the key is not the password");
}

#[test]
fn a_user_with_both_stored_keys_has_both_algorithms() {
    let keys = "0x72f86f2053703faa0f521ce71cfe6f59,0xf0c3ae808cef897043f79de49549776f1f58cb7c5364e03ab40abac620459848";
    let mut sim =
        with_algorithms(Credentials::new([(USER.into(), keys.into())], []).unwrap(), &[Sha256, Md5]);
    assert_eq!(Client::new(1).allocate(&mut sim).code(), 0);
    assert_eq!(Client::new(2).modern().allocate(&mut sim).code(), 0);
    assert_eq!(Client::new(3).modern().anonymous().allocate(&mut sim).code(), 0);
    assert_eq!(Client::with(4, USER, "guess").modern().allocate(&mut sim).code(), 401);
}
