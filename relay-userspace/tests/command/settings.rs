use std::fs;

use crate::common::finished;

#[test]
fn check_shows_what_holds_and_no_secret() {
    let (code, shown, complaints) = finished(
        "check --listen udp://127.0.0.1:5000 --user alice:hunter2 --auth-secret hunter3 --admin off",
    );
    assert_eq!(code, 0, "{complaints}");
    assert!(shown.contains("listen       udp://127.0.0.1:5000\n") && shown.contains("alice:***"), "{shown}");
    assert!(!shown.contains("hunter") && !complaints.contains("hunter"), "{shown}{complaints}");
}

#[test]
fn a_file_with_an_unknown_key_is_refused_with_its_place() {
    let path = std::env::temp_dir().join(format!("turnpike-check-{}.toml", std::process::id()));
    fs::write(&path, "realm = 'x'\n[peers]\ndney = ['10.0.0.0/8']\n").unwrap();
    let outcomes = ["check", "run"].map(|command| finished(&format!("{command} -c {}", path.display())));
    fs::remove_file(&path).unwrap();
    for (code, shown, complaint) in outcomes {
        assert_eq!((code, shown.as_str()), (1, ""));
        let expected =
            format!("turnpike: {}:3:1: unknown key \"dney\": did you mean \"deny\"?\n", path.display());
        assert_eq!(complaint, expected);
    }
}

#[test]
fn a_file_that_is_not_there_is_complained_of_once() {
    let (code, _, complaint) = finished("check -c /nowhere/turnpike.toml");
    let expected = "turnpike: cannot read /nowhere/turnpike.toml: No such file or directory (os error 2)\n";
    assert_eq!((code, complaint.as_str()), (1, expected));
}

#[test]
fn flags_that_cannot_be_meant_are_a_usage_error() {
    for flags in [
        "check --deny-peer 10.0.0.0/33",
        "check --listen tls://127.0.0.1:5349",
        "creds",
        "creds --secret s --json",
        "probe turn:127.0.0.1",
        "probe turn:127.0.0.1 --user a",
    ] {
        let (code, shown, complaint) = finished(flags);
        assert_eq!((code, shown.as_str()), (2, ""), "{flags}: {complaint}");
    }
}

#[test]
fn a_credential_that_cannot_be_used_is_not_made() {
    let (code, shown, complaint) = finished("creds --secret s --ttl 18446744073709551615");
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(complaint.contains("--ttl: no clock counts that far"), "{complaint}");
    let (code, shown, complaint) = finished(&format!("creds --secret s --name {}", "x".repeat(500)));
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(complaint.contains("--name is too long"), "{complaint}");
}

#[test]
fn a_listener_in_the_relay_port_range_is_refused() {
    let (code, _, complaint) = finished("check --listen udp://127.0.0.1:50000");
    assert_eq!(code, 1);
    assert!(complaint.contains("lies in the relay port range 49152-65535"), "{complaint}");
}

#[test]
fn discovery_without_its_four_listeners_does_not_start_and_says_which_are_missing() {
    let listeners = "--listen udp://127.0.0.1 --listen udp://127.0.0.1:3479 --listen udp://127.0.0.2";
    for command in ["check", "run"] {
        let (code, _, complaint) = finished(&format!("{command} --nat-discovery {listeners}"));
        assert_eq!(code, 1);
        let expected = "turnpike: nat-discovery needs listeners at two addresses, on the same two ports of each: \
                        these listeners are missing: udp://127.0.0.2:3479\n";
        assert_eq!(complaint, expected);
    }
    let (code, shown, _) =
        finished(&format!("check --nat-discovery {listeners} --listen udp://127.0.0.2:3479 --user a:b"));
    assert_eq!(code, 0);
    assert!(shown.contains("discovery    RFC 5780"), "{shown}");
}
