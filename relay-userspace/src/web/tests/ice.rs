//! `/v1/ice`: what it hands out, and to whom.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::server::*;
use crate::auth::{Claim, KnownKeys};
use crate::stun::{Builder, Class, Key, Message, MessageType, Method, PasswordAlgorithm, TransactionId};
use crate::web::Site;

const JSON: &str = "Content-Type: application/json";

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_browser_can_use_the_answer_as_it_is() {
    let server = Server::standard();
    let answer = server.ask("POST /v1/ice", &[&bearer(KEY), JSON], r#"{"user":"alice","ttl":60}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let value = answer.json();
    let (turn, stun) = (&value["iceServers"][0], &value["iceServers"][1]);
    let urls = ["turn:turn.example.org:3478?transport=udp", "turn:turn.example.org:443?transport=udp"];
    assert_eq!(turn["urls"], json!(urls));
    assert_eq!(*stun, json!({ "urls": ["stun:turn.example.org:3478"] }));
    assert_eq!(value["ttl"], 60);
    assert_eq!(value.get("turnpike"), None, "there is no listener for WebSockets");
    let (expiry, account) = turn["username"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(account, "app/alice");
    assert!((55..=60).contains(&(expiry.parse::<u64>().unwrap() - unix_now())), "{value}");

    // Whatever a browser would throw at is in a field of its own.
    let other = server.ask("POST /v1/ice", &[&bearer(OTHER_KEY)], "").json();
    assert_eq!(other["iceServers"][0]["urls"], json!(["turns:turn.other.example:443?transport=tcp"]));
    assert_eq!(other["iceServers"].as_array().unwrap().len(), 1);
    assert_eq!(other["turnpike"], json!({ "websocket": "wss://turn.other.example/turn" }));
    assert_eq!(other["ttl"], 3600);
}

/// By the very check that an Allocate has to pass.
#[test]
fn the_server_lets_in_whom_it_gave_credentials_in_their_realm_only() {
    let server = Server::standard();
    let realms = settings(SETTINGS).realms().unwrap();
    for (key, realm, other) in
        [(KEY, "example.org", "other.example"), (OTHER_KEY, "other.example", "example.org")]
    {
        let value = server.ask("POST /v1/ice", &[&bearer(key)], "").json();
        let of = |field: &str| value["iceServers"][0][field].as_str().unwrap().to_owned();
        let (username, password) = (of("username"), of("credential"));
        let check = |named: &str| {
            let realm = realms.iter().find(|realm| &**realm.name() == named).unwrap();
            let algorithm = PasswordAlgorithm::Sha256;
            let key = Key::with_algorithm(algorithm, &username, named, &password);
            let request = signed(&key);
            let message = Message::parse(&request).unwrap();
            let claim = Claim::Name(&username);
            let known = &mut KnownKeys::default();
            realm.authenticate(&message, claim, algorithm, unix_now(), known).map(|user| user.account)
        };
        let account = check(realm).unwrap();
        assert!(account.ends_with(if key == KEY { "app" } else { "backend" }), "{account}");
        check(other).unwrap_err();
    }
}

#[test]
fn a_lifetime_is_the_tenants_own_unless_asked_for_and_never_above_its_maximum() {
    let server = Server::standard();
    let ttl = |body: &str| server.ask("POST /v1/ice", &[&bearer(KEY), JSON], body).json()["ttl"].clone();
    assert_eq!([ttl(""), ttl("{}"), ttl(r#"{"ttl":1}"#)], [600, 600, 1]);
    assert_eq!(
        [ttl(r#"{"ttl":3600}"#), ttl(r#"{"ttl":3601}"#), ttl(&format!(r#"{{"ttl":{}}}"#, u64::MAX))],
        [3600; 3]
    );
}

#[test]
fn what_is_refused_says_what_to_do() {
    let server = Server::standard();
    let key = &bearer(KEY);
    let long = format!(r#"{{"user":"{}"}}"#, "x".repeat(500));
    let large = format!(r#"{{"user":"{}"}}"#, "x".repeat(5000));
    let cases: &[(&str, &[&str], &str, u16, &str)] = &[
        ("POST /v1/ice", &[], "", 401, "Authorization: Bearer KEY"),
        ("POST /v1/ice", &["Authorization: Basic eDp5"], "", 401, "Authorization: Bearer KEY"),
        ("POST /v1/ice", &["Authorization: Bearer wrong"], "", 401, "not known here"),
        ("POST /v1/ice", &["Authorization: Bearer "], "", 401, "Authorization: Bearer KEY"),
        ("POST /v1/ice", &[key, key], "", 401, "Authorization: Bearer KEY"),
        ("POST /v1/ice?key=key-of-the-app-0123456789", &[], "", 401, "Authorization: Bearer KEY"),
        // The test page's visitors are no tenant, and the other way round.
        ("POST /v1/ice", &[&bearer(TEST_KEY)], "", 401, "not known here"),
        ("POST /test/credentials", &[key], "", 401, "not known here"),
        ("POST /test/credentials", &[], "", 401, "Authorization: Bearer KEY"),
        ("POST /v1/ice", &[key, "Origin: https://evil.example"], "", 403, "origins"),
        ("POST /v1/ice", &[key, "Origin: null"], "", 403, "origins"),
        ("GET /v1/ice", &[key], "", 405, "POST"),
        ("PUT /v1/ice", &[key, JSON], "{}", 405, "POST"),
        ("GET /test/credentials", &[], "", 405, "POST"),
        ("POST /v1/ice", &[key], "{}", 415, "Content-Type: application/json"),
        ("POST /v1/ice", &[key, "Content-Type: text/plain"], "{}", 415, "Content-Type: application/json"),
        ("POST /v1/ice", &[key, JSON], &large, 413, "4096 bytes"),
        ("POST /v1/ice", &[key, JSON], "{", 400, r#"{"user": "NAME", "ttl": SECONDS}"#),
        ("POST /v1/ice", &[key, JSON], "[]]", 400, "is not understood"),
        ("POST /v1/ice", &[key, JSON], r#"{"users":"x"}"#, 400, "unknown field `users`"),
        ("POST /v1/ice", &[key, JSON], r#"{"ttl":-1}"#, 400, "is not understood"),
        ("POST /v1/ice", &[key, JSON], r#"{"ttl":0}"#, 400, "ttl is 0"),
        ("POST /v1/ice", &[key, JSON], r#"{"user":"a\u0000b"}"#, 400, "control character"),
        ("POST /v1/ice", &[key, JSON], &long, 400, "user is too long: 493 bytes"),
    ];
    for (line, headers, body, status, says) in cases {
        let answer = server.ask(line, headers, body);
        assert_eq!(answer.status, *status, "{line} {headers:?} {body}: {answer:?}");
        let value = answer.json();
        assert!(value["message"].as_str().is_some_and(|message| message.contains(says)), "{answer:?}");
        assert!(!answer.body.contains("key-of"), "{answer:?}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{line}");
        match status {
            401 => assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer realm=\"turnpike\"")),
            405 => {
                assert!(answer.header("Allow").is_some_and(|allow| allow.starts_with("POST")), "{answer:?}")
            }
            _ => {}
        }
    }
}

#[test]
fn pages_of_a_tenants_origins_may_read_the_answer_and_no_others() {
    let server = Server::standard();
    let allowed = |answer: &Answer| answer.header("Access-Control-Allow-Origin").map(str::to_owned);
    let page = |origin: &str, key: &str| {
        let origin = format!("Origin: {origin}");
        server.ask("POST /v1/ice", &[&origin, &bearer(key)], "")
    };
    let preflight = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let asks = "Access-Control-Request-Method: POST";
        server.ask("OPTIONS /v1/ice", &[&origin, asks, "Access-Control-Request-Headers: authorization"], "")
    };
    for origin in ["https://app.example", "https://app.example:8443"] {
        let (before, answer) = (preflight(origin), page(origin, KEY));
        assert_eq!((before.status, answer.status), (204, 200), "{origin}");
        assert_eq!((allowed(&before), allowed(&answer)), (Some(origin.into()), Some(origin.into())));
        assert_eq!(before.header("Access-Control-Allow-Headers"), Some("authorization, content-type"));
        assert_eq!(before.header("Access-Control-Allow-Methods"), Some("POST, OPTIONS"));
        for answer in [&before, &answer] {
            assert_eq!(answer.header("Vary"), Some("origin"));
            assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);
        }
        // It may read why it is refused.
        let wrong = page(origin, "wrong");
        assert_eq!((wrong.status, allowed(&wrong)), (401, Some(origin.into())));
        // Its key is not of this tenant.
        let other = page(origin, OTHER_KEY);
        assert_eq!((other.status, allowed(&other)), (403, None));
    }
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "null",
        "*",
    ] {
        let (before, answer) = (preflight(origin), page(origin, KEY));
        assert_eq!((before.status, answer.status), (403, 403), "{origin}");
        assert_eq!((allowed(&before), allowed(&answer)), (None, None), "{origin}");
    }
    // No preflight, but a question all the same.
    let options = server.ask("OPTIONS /v1/ice", &[], "");
    assert_eq!((options.status, options.header("Allow")), (204, Some("POST, OPTIONS")));
}

#[test]
fn a_reload_takes_keys_away_at_once_and_keeps_the_books() {
    let text = SETTINGS.replace(r#"lifetime = "10m""#, "rate = 1");
    let server = Server::start(&text);
    let status = |key: &str| server.ask("POST /v1/ice", &[&bearer(key)], "").status;
    assert_eq!((0..10).map(|_| status(KEY)).filter(|status| *status == 200).count(), 10);
    assert_eq!([status(KEY), status(OTHER_KEY)], [429, 200]);
    server.web.replace(Site::new(&settings(&text)));
    assert_eq!(status(KEY), 429, "a reload is no way out");
    server.web.replace(Site::new(&settings(&text.replace(OTHER_KEY, "another-key-of-the-backend"))));
    assert_eq!([status(OTHER_KEY), status("another-key-of-the-backend")], [401, 200]);
    server.web.replace(Site::new(&settings("listen = ['udp://127.0.0.1']")));
    let answer = server.ask("POST /v1/ice", &[&bearer(KEY)], "");
    assert_eq!((answer.status, answer.json()["error"].clone()), (404, json!("not_served")));
}

/// Of whoever has a key: what a stranger is told does not change.
#[test]
fn while_the_server_drains_nobody_gets_credentials_that_could_not_be_used() {
    let server = Server::standard();
    server.web.set_draining(true);
    for (path, key, origin) in [("/v1/ice", KEY, true), ("/test/credentials", TEST_KEY, false)] {
        let ask = |key: &str| {
            let headers = [&*bearer(key), "Origin: https://app.example"];
            server.ask(&format!("POST {path}"), &headers, "")
        };
        let answer = ask(key);
        assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("60")), "{answer:?}");
        assert_eq!(answer.json()["error"], "draining");
        assert!(answer.json()["message"].as_str().unwrap().contains("drained"), "{answer:?}");
        assert_eq!(answer.header("Access-Control-Allow-Origin").is_some(), origin);
        assert_eq!(ask("wrong").status, 401);
    }
    server.web.set_draining(false);
    assert_eq!(server.ask("POST /v1/ice", &[&bearer(KEY)], "").status, 200);
}

fn signed(key: &Key) -> Vec<u8> {
    let mut out = Vec::new();
    let allocate = MessageType::new(Method::ALLOCATE, Class::Request);
    Builder::new(&mut out, allocate, TransactionId([7; 12])).integrity(key);
    out
}
