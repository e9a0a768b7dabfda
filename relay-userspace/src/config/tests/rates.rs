//! Tests of the limits and overrides as an operator writes them.

use std::path::Path;

use super::super::*;

fn host() -> Host {
    Host { addresses: vec![("eth0".into(), "10.0.0.2".parse().unwrap())], ..Host::default() }
}

fn resolved(text: &str) -> Result<Resolved, ConfigError> {
    let text = format!("listen = ['udp://10.0.0.2']\nrealm = 'x.org'\n{text}");
    parse(Path::new("turnpike.toml"), &text)?.resolve(&host())
}

fn settings(text: &str) -> Settings {
    resolved(text).unwrap().settings
}

fn complaint(text: &str) -> String {
    resolved(text).expect_err(text).to_string()
}

#[test]
fn limits_are_off_but_for_strangers_and_peers_unless_something_is_said() {
    let rates = settings("").rates;
    assert_eq!(rates.rates(), crate::turn::Rates::default());
    assert_eq!(rates.allocation_peers, 4096);
    assert_eq!(rates.strangers, StrangerRate::PerSecond(1_000));
}

#[test]
fn every_limit_of_the_file_reaches_the_core() {
    let rates = settings(
        "[limits]\nallocation-bandwidth = '8Mbit'\nallocation-packets = 2000\nallocation-peers = 20\n\
         user-bandwidth = '1Gbit'\nuser-packets = 8000\nuser-new-peers = 120\nstranger-rate = 50",
    )
    .rates;
    let core = rates.rates();
    let per_second = |rate: Option<crate::policy::Rate>| rate.unwrap().per_second();
    assert_eq!(per_second(core.allocation.bytes), 1_000_000);
    assert_eq!(per_second(core.allocation.packets), 2_000);
    assert_eq!(per_second(core.user.bytes), 125_000_000);
    assert_eq!(per_second(core.user.packets), 8_000);
    assert_eq!(per_second(core.new_peers), 2);
    assert_eq!(per_second(rates.strangers.rate()), 50);
    assert_eq!(rates.allocation_peers, 20);
    assert_eq!(settings("[limits]\nstranger-rate = 'off'").rates.strangers.rate(), None);
}

#[test]
fn a_bandwidth_has_a_unit_and_is_shown_in_the_largest_that_fits() {
    for (text, shown) in [
        ("8Mbit", "8Mbit"),
        ("8 mbit", "8Mbit"),
        ("64kbit", "64kbit"),
        ("1500kbit", "1500kbit"),
        ("2000kbit", "2Mbit"),
        ("1000Gbit", "1000Gbit"),
    ] {
        assert_eq!(text.parse::<Bandwidth>().unwrap().to_string(), shown);
    }
    for text in ["", "8", "Mbit", "8MB", "8Mbit/s", "1.5Mbit", "-8Mbit", "8 M bit", "8bit"] {
        let error = text.parse::<Bandwidth>().unwrap_err().to_string();
        assert!(error.contains("write a whole number of kbit, Mbit or Gbit"), "{text}: {error}");
    }
    for text in ["0kbit", "63kbit", "1001Gbit", "18446744073709551615Gbit"] {
        assert!(text.parse::<Bandwidth>().unwrap_err().to_string().contains("64kbit to 1000Gbit"), "{text}");
    }
}

#[test]
fn the_largest_datagram_passes_the_smallest_bandwidth() {
    let core = settings("[limits]\nuser-bandwidth = '64kbit'").rates.rates();
    let (bucket, now) = (crate::policy::Bucket::default(), crate::time::Timestamp(1));
    assert!(bucket.take(&core.user.bytes.unwrap(), now, 65_535));
}

#[test]
fn a_limit_that_cannot_be_meant_is_refused_with_what_to_write() {
    for (text, expected) in [
        ("allocation-packets = 0", "allocation-packets is 0: nothing could be relayed; leave it out"),
        ("user-packets = 0", "user-packets is 0: nothing could be relayed; leave it out"),
        ("user-new-peers = 0", "user-new-peers is 0: nobody could be called; leave it out"),
        ("allocation-peers = 0", "allocation-peers is 0: an allocation can have 1 to 4096"),
        ("allocation-peers = 4097", "allocation-peers is 4097: an allocation can have 1 to 4096"),
        ("stranger-rate = 0", "turnpike.toml:4:17: 0: nobody could find out how to log in; write off"),
        (
            "stranger-rate = 'none'",
            "turnpike.toml:4:17: \"none\" is neither a number of answers a second nor off",
        ),
        ("user-bandwidth = 8000000", "turnpike.toml:4:18: \"8000000\" is no bandwidth: write a whole number"),
    ] {
        let complaint = complaint(&format!("[limits]\n{text}"));
        assert!(complaint.starts_with(expected), "{text}\n{complaint}");
    }
}

#[test]
fn overrides_of_the_peer_rules_reach_the_core() {
    let settings = settings(
        "auth = { users = ['alice:1', 'bob:2'] }\n\
         [peers]\nallow = ['10.1.0.0/16']\ndeny = ['8.8.8.8']\n\
         [[peers.override]]\nusers = ['alice']\nallow = ['10.2.0.0/16', '8.8.8.8']\ndeny = ['10.1.0.0/16']\n\
         [[peers.override]]\nrealms = ['x.org']\nallow = ['10.3.0.1']\n",
    );
    let general = std::sync::Arc::new(settings.peer_rules(&host()));
    let overrides = settings.peer_overrides();
    let may = |user, peer: &str| overrides.rules_for(&general, "x.org", user).permits(peer.parse().unwrap());
    assert!(may("alice", "10.2.0.1") && may("alice", "8.8.8.8") && may("alice", "10.3.0.1"));
    assert!(!may("alice", "10.1.0.1") && !may("alice", "10.3.0.2") && !may("alice", "127.0.0.1"));
    assert!(
        may("bob", "10.1.0.1") && may("bob", "10.3.0.1") && !may("bob", "10.2.0.1") && !may("bob", "8.8.8.8")
    );
}

/// Lesson 33.
#[test]
fn an_override_that_does_not_parse_or_can_never_apply_stops_the_start_with_its_place() {
    for (text, expected) in [
        (
            "users = ['a']\ndeny = ['10.0.0.0/8',\n'10.0.0.0/33']",
            "turnpike.toml:6:1: \"10.0.0.0/33\": the prefix",
        ),
        (
            "users = ['a']\nallow = ['example.org']",
            "turnpike.toml:5:10: \"example.org\" is not an IP address",
        ),
        (
            "user = 'a'\nallow = ['8.8.8.8']",
            "turnpike.toml:4:1: unknown key \"user\": did you mean \"users\"?",
        ),
        ("users = 'a'", "turnpike.toml:4:9: found string, expected a list, as in [\"...\"]"),
        ("allow = ['8.8.8.8']", "turnpike.toml:3:1: an override without users and realms"),
        ("users = ['a']", "turnpike.toml:3:1: an override without allow and deny"),
        ("realms = ['']\ndeny = ['8.8.8.8']", "turnpike.toml:4:11: the realm is empty"),
        (
            "realms = ['y.org']\ndeny = ['8.8.8.8']",
            "peers.override names the realm \"y.org\", which is not served",
        ),
        (
            "users = ['1700000000:alice']\ndeny = ['8.8.8.8']",
            "peers.override names the user \"1700000000:alice\": leave the expiry out and write \"alice\"",
        ),
    ] {
        let complaint = complaint(&format!("[[peers.override]]\n{text}"));
        assert!(complaint.starts_with(expected), "{text}\n  said      {complaint}\n  expected  {expected}");
    }
    let rule = "[[peers.override]]\nusers = ['alcie']\ndeny = ['8.8.8.8']";
    let warnings = resolved(&format!("auth = {{ users = ['alice:1'] }}\n{rule}")).unwrap().warnings;
    assert!(warnings[0].contains("names the user \"alcie\", who is not among the users"), "{warnings:?}");
    let with_secrets = resolved(&format!("auth = {{ secrets = ['s'] }}\n{rule}")).unwrap();
    assert_eq!(with_secrets.warnings, [""; 0], "whoever has a secret's credential may be called so");
}
