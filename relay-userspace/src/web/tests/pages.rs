//! The pages that people see.

use super::server::*;
use crate::web::Site;

#[test]
fn the_servers_address_leads_to_a_small_page_that_says_what_this_is() {
    let server = Server::standard();
    let page = server.ask("GET /", &[], "");
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.contains("TURN") && page.body.contains("href=\"/test\""));
    let text = format!("{page:?}").to_lowercase();
    assert!(!text.contains(env!("CARGO_PKG_VERSION")) && page.header("Server").is_none());
    server.web.replace(Site::new(&settings("listen = ['udp://127.0.0.1']")));
    assert!(!server.ask("GET /", &[], "").body.contains("/test"));
}

#[test]
fn what_is_not_there_is_told_in_text() {
    let server = Server::start("listen = ['udp://127.0.0.1']");
    for path in ["/x", "/test", "/test/", "/v1", "/..%2f..%2fetc/passwd", "/index.php"] {
        let answer = server.ask(&format!("GET {path}"), &[], "");
        assert_eq!((answer.status, &*answer.body), (404, "There is nothing here.\n"), "{path}");
    }
    assert_eq!(server.ask("POST /test/credentials", &[], "").status, 404);
    assert_eq!(server.ask("POST /v1/ice", &[], "").status, 404);
    assert_eq!(server.ask("GET /favicon.ico", &[], "").status, 204);
    assert_eq!(server.ask("POST /", &[], "").status, 405);
}

/// Everything is in the page, and the policy has the hashes of just that.
#[test]
fn the_test_page_has_all_it_needs_and_may_load_nothing() {
    let server = Server::start(&SETTINGS.replace(
        "[ice]\n    host = \"turn.example.org\"",
        "[ice]\n    urls = ['turn:192.0.2.1:3478', 'wss://turn.example.org:8443/turn']",
    ));
    let page = server.ask("GET /test", &[], "");
    assert_eq!(page.status, 200);
    let policy = page.header("Content-Security-Policy").unwrap();
    for directive in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self' wss://turn.example.org:8443;",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(directive), "{directive}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("X-Content-Type-Options"), Some("nosniff"));
    for outside in ["http://", "https://", "src=", "@import", "url(", "style=", "onclick="] {
        assert!(!page.body.contains(outside), "{outside}");
    }
    assert!(!page.body.contains("turn:192.0.2.1"), "what is given to visitors with a key only");
}

#[test]
fn the_test_pages_credentials_are_short_and_of_one_account() {
    let server = Server::standard();
    let ask = || server.ask("POST /test/credentials", &[&format!("Authorization: Bearer {TEST_KEY}")], "");
    let value = ask().json();
    assert_eq!(value["ttl"], 120);
    let username = value["iceServers"][0]["username"].as_str().unwrap();
    assert_eq!(username.split_once(':').map(|(_, account)| account), Some("test-page"));
    // Everybody in an office may try it, and again; a script may not.
    let refused = (0..60).map(|_| ask()).filter(|answer| answer.status == 429).collect::<Vec<_>>();
    assert!((35..=41).contains(&refused.len()), "{}", refused.len());
    assert_eq!(refused[0].header("Retry-After"), Some("2"));
}

#[test]
fn the_test_pages_quota_is_of_the_account_that_its_visitors_are() {
    let other = SETTINGS.replace("[test-page]\n", "[test-page]\nrealm = 'other.example'\n");
    for (text, realm) in [(SETTINGS, "example.org"), (&other, "other.example")] {
        let settings = settings(text);
        let realms = settings.realms().unwrap();
        let realm = realms.iter().find(|known| &**known.name() == realm).unwrap();
        let quotas = settings.smaller_quotas();
        assert_eq!(quotas.len(), 1);
        assert!(quotas.contains_key(&*realm.account("test-page")), "{quotas:?}");
    }
}

#[test]
fn the_test_pages_credentials_reach_this_servers_relayed_addresses_and_nothing_else() {
    let text = format!("{SETTINGS}\n[relay]\naddresses = ['198.51.100.1/10.0.0.2', '2001:db8::1']");
    let settings = settings(&text);
    let rules = settings.peer_rules(&crate::config::Host::default()).into();
    let of = |account: &str| settings.peer_overrides().rules_for(&rules, "example.org", account);
    let (test, user) = (of("test-page"), of("app/alice"));
    for own in ["198.51.100.1", "10.0.0.2", "2001:db8::1"] {
        assert!(test.permits(own.parse().unwrap()) && user.permits(own.parse().unwrap()), "{own}");
        // Not its DNS nor its admin API.
        assert!(!test.permits_port(format!("[::ffff:{}]:53", "10.0.0.2").parse().unwrap()));
    }
    for other in ["8.8.8.8", "198.51.100.2", "10.0.0.3", "2a00::1", "64:ff9b::c633:6401"] {
        assert!(!test.permits(other.parse().unwrap()), "{other}");
    }
    assert!(user.permits("8.8.8.8".parse().unwrap()));
}
