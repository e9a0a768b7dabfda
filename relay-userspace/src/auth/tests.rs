//! Tests of the credentials.

use super::*;
use crate::stun::{Builder, Class, Key, Message, MessageType, Method, PasswordAlgorithm, TransactionId};

const REALM: &str = "example.org";
const NOW: u64 = 1_700_000_000;

fn static_users() -> Credentials {
    let users = [("alice", "secret"), ("2000000000:bob", "fixed")];
    Credentials::new(users.map(|(u, p)| (u.into(), p.into())), []).unwrap()
}

fn secrets(secrets: &[&str]) -> Credentials {
    Credentials::new([], secrets.iter().map(|s| s.to_string())).unwrap()
}

/// What the server says to an Allocate of this user with this password.
fn attempt(credentials: &Credentials, username: &str, password: &str) -> Result<String, AuthError> {
    let mut out = Vec::new();
    let allocate = MessageType::new(Method::ALLOCATE, Class::Request);
    let key = Key::long_term(username, REALM, password);
    Builder::new(&mut out, allocate, TransactionId([7; 12])).username(username).integrity(&key);
    let request = Message::parse(&out).unwrap();
    let authenticated = credentials.authenticate(
        &request,
        username,
        REALM,
        PasswordAlgorithm::Md5,
        NOW,
        &mut KnownKeys::default(),
    )?;
    assert_eq!(authenticated.key, key);
    Ok(authenticated.account.to_owned())
}

#[test]
fn a_static_user_needs_its_own_password() {
    let credentials = static_users();
    assert_eq!(attempt(&credentials, "alice", "secret").as_deref(), Ok("alice"));
    assert_eq!(attempt(&credentials, "alice", "Secret"), Err(AuthError::WrongPassword));
    assert_eq!(attempt(&credentials, "Alice", "secret"), Err(AuthError::UnknownUser));
    assert_eq!(attempt(&credentials, "", "secret"), Err(AuthError::UnknownUser));
    assert_eq!(attempt(&Credentials::default(), "alice", "secret"), Err(AuthError::UnknownUser));
}

#[test]
fn a_known_key_lets_nobody_in_who_would_not_come_in_without() {
    let mut known = KnownKeys::default();
    let ask = |known: &mut KnownKeys, credentials: &Credentials, name: &str, password: &str, now: u64| {
        let mut out = Vec::new();
        let allocate = MessageType::new(Method::ALLOCATE, Class::Request);
        let key = Key::long_term(name, REALM, password);
        Builder::new(&mut out, allocate, TransactionId([7; 12])).username(name).integrity(&key);
        let request = Message::parse(&out).unwrap();
        let user = credentials.authenticate(&request, name, REALM, PasswordAlgorithm::Md5, now, known);
        user.map(|user| assert_eq!(user.key, key))
    };
    let users = static_users();
    for _ in 0..2 {
        assert_eq!(ask(&mut known, &users, "alice", "secret", NOW), Ok(()));
        assert_eq!(ask(&mut known, &users, "alice", "Secret", NOW), Err(AuthError::WrongPassword));
    }
    // Not even while its key is known: who is not listed any more, and whose time is over.
    assert_eq!(ask(&mut known, &Credentials::default(), "alice", "secret", NOW), Err(AuthError::UnknownUser));
    let (name, password) = time_limited("shared", "bob", NOW + 1);
    let credentials = Credentials::new([], ["other".into(), "shared".into()]).unwrap();
    assert_eq!(ask(&mut known, &credentials, &name, &password, NOW), Ok(()));
    assert_eq!(ask(&mut known, &credentials, &name, &password, NOW + 1), Err(AuthError::Expired));
    // Both secrets make a password for one name, and either may be used after the other.
    let (_, other) = time_limited("other", "bob", NOW + 1);
    for password in [&password, &other, &password] {
        assert_eq!(ask(&mut known, &credentials, &name, password, NOW), Ok(()));
    }
}

#[test]
fn a_request_without_integrity_is_nobodys() {
    let mut out = Vec::new();
    let allocate = MessageType::new(Method::ALLOCATE, Class::Request);
    Builder::new(&mut out, allocate, TransactionId([7; 12])).username("alice");
    let request = Message::parse(&out).unwrap();
    let result = static_users().authenticate(
        &request,
        "alice",
        REALM,
        PasswordAlgorithm::Md5,
        NOW,
        &mut KnownKeys::default(),
    );
    assert_eq!(result, Err(AuthError::WrongPassword));
}

#[test]
fn a_credential_is_good_for_its_realm_only() {
    let mut out = Vec::new();
    let allocate = MessageType::new(Method::ALLOCATE, Class::Request);
    let key = Key::long_term("alice", "example.com", "secret");
    Builder::new(&mut out, allocate, TransactionId([7; 12])).username("alice").integrity(&key);
    let request = Message::parse(&out).unwrap();
    assert!(
        static_users()
            .authenticate(&request, "alice", REALM, PasswordAlgorithm::Md5, NOW, &mut KnownKeys::default())
            .is_err()
    );
    assert!(
        static_users()
            .authenticate(
                &request,
                "alice",
                "example.com",
                PasswordAlgorithm::Md5,
                NOW,
                &mut KnownKeys::default()
            )
            .is_ok()
    );
}

#[test]
fn time_limited_passwords_are_those_of_other_programs() {
    // Computed with Python's hmac and base64.
    let (username, password) = time_limited("north", "ninefingers", 1_433_895_918);
    assert_eq!((&*username, &*password), ("1433895918:ninefingers", "jy8hTxmOO7UtEKXqSkSlvakPVYA="));
    let (username, password) = time_limited("south", "", 2_000_000_000);
    assert_eq!((&*username, &*password), ("2000000000", "uPptM9YFztPh2N3BefVLRhUpFYk="));
}

#[test]
fn a_time_limited_user_is_let_in_until_its_expiry() {
    let credentials = secrets(&["north"]);
    for (expiry, expected) in [
        (NOW + 1, Ok("bob".to_owned())),
        (NOW, Err(AuthError::Expired)),
        (NOW - 1, Err(AuthError::Expired)),
        (0, Err(AuthError::Expired)),
        (u64::MAX, Ok("bob".to_owned())),
    ] {
        let (username, password) = time_limited("north", "bob", expiry);
        assert_eq!(attempt(&credentials, &username, &password), expected, "{username}");
    }
}

#[test]
fn every_one_of_several_secrets_counts_and_no_other() {
    let credentials = secrets(&["old", "new"]);
    for secret in ["old", "new"] {
        let (username, password) = time_limited(secret, "bob", NOW + 60);
        assert!(attempt(&credentials, &username, &password).is_ok(), "{secret}");
    }
    let (username, password) = time_limited("other", "bob", NOW + 60);
    assert_eq!(attempt(&credentials, &username, &password), Err(AuthError::WrongPassword));
}

#[test]
fn an_expiry_cannot_be_prolonged_without_the_secret() {
    let (_, password) = time_limited("north", "bob", NOW + 60);
    let prolonged = format!("{}:bob", NOW + 6000);
    assert_eq!(attempt(&secrets(&["north"]), &prolonged, &password), Err(AuthError::WrongPassword));
}

#[test]
fn a_fresh_credential_counts_for_the_same_account() {
    let credentials = secrets(&["north"]);
    let account = |name: &str, expiry| {
        let (username, password) = time_limited("north", name, expiry);
        attempt(&credentials, &username, &password).unwrap()
    };
    assert_eq!(account("bob", NOW + 60), account("bob", NOW + 120));
    assert_eq!(account("bob:phone", NOW + 60), "bob:phone");
    // Without a name nobody else can be told apart: each credential is an account.
    assert_eq!(account("", NOW + 60), (NOW + 60).to_string());
}

#[test]
fn what_is_no_time_limited_username_is_unknown() {
    let credentials = secrets(&["north"]);
    for username in [
        "",
        "bob",
        ":bob",
        "bob:2000000000",
        "+2000000000:bob",
        "-1:bob",
        " 2000000000:bob",
        "0x7fffffff:bob",
        "99999999999999999999:bob",
        "%s%n",
        "\0",
        "٢٠٠٠٠٠٠٠٠٠:bob",
    ] {
        assert_eq!(attempt(&credentials, username, ""), Err(AuthError::UnknownUser), "{username:?}");
    }
}

#[test]
fn a_static_user_is_never_read_as_a_time_limited_one() {
    let credentials =
        Credentials::new([("2000000000:bob".into(), "fixed".into())], ["north".to_owned()]).unwrap();
    let (username, password) = time_limited("north", "bob", 2_000_000_000);
    assert_eq!(attempt(&credentials, &username, &password), Err(AuthError::WrongPassword));
    assert_eq!(attempt(&credentials, &username, "fixed").as_deref(), Ok("2000000000:bob"));
}

#[test]
fn hostile_names_of_a_trusted_issuer_come_through_unharmed() {
    let credentials = secrets(&["north"]);
    for name in ["%s%n", "'; DROP TABLE users; --", "\"", "nul\0nul", "a\r\nb", "マトリックス"] {
        let (username, password) = time_limited("north", name, NOW + 60);
        assert_eq!(attempt(&credentials, &username, &password).as_deref(), Ok(name));
    }
}

#[test]
fn credentials_that_would_let_anybody_in_stop_the_start() {
    let refused = |users: &[(&str, &str)], secrets: &[&str]| {
        let users: Vec<_> = users.iter().map(|(u, p)| (u.to_string(), p.to_string())).collect();
        Credentials::new(users, secrets.iter().map(|s| s.to_string())).unwrap_err()
    };
    assert_eq!(refused(&[], &["north", ""]), InvalidCredentials::EmptySecret);
    assert_eq!(refused(&[("", "secret")], &[]), InvalidCredentials::EmptyName);
    assert_eq!(refused(&[("alice", "")], &[]), InvalidCredentials::EmptyPassword("alice".into()));
    assert_eq!(refused(&[("a", "1"), ("a", "2")], &[]), InvalidCredentials::TwiceListed("a".into()));
    let long = "u".repeat(509);
    assert_eq!(refused(&[(&long, "secret")], &[]), InvalidCredentials::LongName(long.clone()));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let credentials = Credentials::new([("alice".into(), "hush".into())], ["north".to_owned()]).unwrap();
    assert_eq!(format!("{credentials:?}"), "Credentials(1 users, 1 secrets)");
    assert_eq!(format!("{:?}", Key::short_term("hush")), "Key(..)");
    assert_eq!(format!("{:?}", Nonces::new([1; 32])), "Nonces(..)");
}

#[test]
fn either_hash_makes_passwords_unless_the_operator_chose_one() {
    // Computed with: printf %s 1700000000:alice | openssl dgst -sha256 -hmac north -binary | base64
    let made = SecretHash::Sha256.credential("north", "alice", 1_700_000_000);
    assert_eq!(made, ("1700000000:alice".into(), "EuME0Xh0HllnbpbObfs8aBsd78Vr1EMwxArqbyCrGl8=".into()));

    let both = [SecretHash::Sha1, SecretHash::Sha256];
    let cases =
        [(both.to_vec(), [true, true]), (vec![both[0]], [true, false]), (vec![both[1]], [false, true])];
    for (hashes, expected) in cases {
        let credentials = secrets(&["old", "new"]).with_secret_hashes(hashes.clone());
        let let_in = both.map(|hash| {
            ["old", "new"].map(|secret| {
                let (username, password) = hash.credential(secret, "bob", NOW + 60);
                attempt(&credentials, &username, &password).is_ok()
            })
        });
        assert_eq!(let_in, expected.map(|is| [is, is]), "{hashes:?}");
    }
}

#[test]
fn a_user_with_one_stored_key_has_one_algorithm() {
    let stored = Password::to_stored("alice", REALM, "secret").expose();
    let (md5, sha256) = stored.split_once(',').unwrap();
    let outcome = |stored: &str, algorithm, password: &str| {
        let credentials = Credentials::new([("alice".into(), stored.into())], []).unwrap();
        let key = Key::with_algorithm(algorithm, "alice", REALM, password);
        let mut out = Vec::new();
        let allocate = MessageType::new(Method::ALLOCATE, Class::Request);
        Builder::new(&mut out, allocate, TransactionId([7; 12])).integrity_sha256(&key);
        let request = Message::parse(&out).unwrap();
        credentials
            .authenticate(&request, "alice", REALM, algorithm, NOW, &mut KnownKeys::default())
            .map(drop)
    };
    for stored in [md5, &stored] {
        assert_eq!(outcome(stored, PasswordAlgorithm::Md5, "secret"), Ok(()));
        assert_eq!(outcome(stored, PasswordAlgorithm::Md5, "Secret"), Err(AuthError::WrongPassword));
        assert_eq!(outcome(stored, PasswordAlgorithm::Md5, stored), Err(AuthError::WrongPassword));
    }
    assert_eq!(outcome(sha256, PasswordAlgorithm::Sha256, "secret"), Ok(()));
    assert_eq!(outcome(md5, PasswordAlgorithm::Sha256, "secret"), Err(AuthError::NoKey));
    assert_eq!(outcome(sha256, PasswordAlgorithm::Md5, "secret"), Err(AuthError::NoKey));
}

#[test]
fn a_realm_offers_what_all_of_its_users_have_keys_for() {
    use PasswordAlgorithm::{Md5, Sha256};
    let stored = Password::to_stored("bob", REALM, "secret").expose();
    let (md5, sha256) = stored.split_once(',').unwrap();
    let realm = |users: &[(&str, &str)], wanted: &[PasswordAlgorithm]| {
        let users = users.iter().map(|(u, p)| (u.to_string(), p.to_string()));
        let credentials = Credentials::new(users, []).unwrap();
        Realm::with_algorithms(REALM, credentials, wanted).map(|realm| realm.offer().clone())
    };
    let both = [Sha256, Md5];
    let alice = ("alice", "plain");
    assert_eq!(realm(&[alice, ("bob", &stored)], &both), Ok(Offer::new(both.to_vec(), true)));
    assert_eq!(realm(&[alice, ("bob", md5)], &both), Ok(Offer::new(vec![Md5], true)));
    assert_eq!(realm(&[alice, ("bob", sha256)], &both), Ok(Offer::new(vec![Sha256], true)));
    assert_eq!(realm(&[], &both), Ok(Offer::new(both.to_vec(), false)));
    let none = |user: &str, algorithm| {
        Err(InvalidRealm::NoCommonAlgorithm { realm: REALM.into(), user: user.into(), algorithm })
    };
    assert_eq!(realm(&[("bob", md5)], &[Sha256]), none("bob", Sha256));
    assert_eq!(realm(&[("bob", md5), ("carol", sha256)], &both), none("carol", Md5));
    assert_eq!(realm(&[], &[]), Err(InvalidRealm::NoAlgorithm(REALM.into())));
}

#[test]
fn what_looks_like_a_stored_key_and_is_none_stops_the_start() {
    let refused = Credentials::new([("alice".into(), "0xdeadbeef".into())], []).unwrap_err();
    assert_eq!(refused, InvalidCredentials::BadKey("alice".into(), BadKey));
    assert!(!refused.to_string().contains("deadbeef"));
}
