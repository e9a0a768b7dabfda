use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::common::{Server, finished, own_address, turnpike};

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
fn a_file_without_its_flag_is_answered_with_the_flag() {
    for command in ["check", "run", "doctor"] {
        let (code, _, complaint) = finished(&format!("{command} /etc/turnpike.toml"));
        assert_eq!(code, 2);
        assert!(complaint.contains("-c /etc/turnpike.toml"), "{complaint}");
    }
    let (_, _, complaint) = finished("check now");
    assert!(!complaint.contains("-c now"), "{complaint}");
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
        "check --listen sctp://127.0.0.1:5349",
        "creds",
        "creds --secret s --json",
        "creds --secret s --algorithm md5",
        "creds --key --realm r",
        "creds --key --user a",
        "creds --key --user a --realm r --secret s",
        "creds --secret s --user a --realm r",
        "check --password-algorithms sha-1",
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
fn a_stored_key_is_made_from_stdin_and_its_user_let_in() {
    let mut creds = turnpike("creds --key --user alice --realm r")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    creds.stdin.take().unwrap().write_all(b"0xpass word\n").unwrap();
    let line = String::from_utf8(creds.wait_with_output().unwrap().stdout).unwrap();
    let line = line.trim_end();
    assert!(line.starts_with("alice:0x") && !line.contains("pass"), "{line}");

    let ip = own_address();
    let _server = Server::start(&format!("--listen udp://{ip} --admin off --realm r --user {line}"));
    let probe = |password: &str| {
        let arguments = [&format!("turn:{ip}")[..], "--user", "alice", "--password", password];
        turnpike("probe").args(arguments).stdout(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(probe("0xpass word"), Some(0));
    assert_eq!(probe("guess"), Some(1));
}

#[test]
fn a_server_without_md5_can_be_probed() {
    let ip = own_address();
    let _server =
        Server::start(&format!("--listen udp://{ip} --admin off --user a:b --password-algorithms sha-256"));
    assert_eq!(finished(&format!("probe turn:{ip} --user a --password b")).0, 0);
    assert_eq!(finished(&format!("probe turn:{ip} --user a --password c")).0, 1);
}

#[test]
fn a_password_made_with_sha_256_is_let_in_unless_the_server_does_without() {
    let (code, shown, _) = finished("creds --secret s --name a --algorithm sha-256");
    assert_eq!(code, 0);
    let value = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    for (algorithms, expected) in [("sha-1,sha-256", 0), ("sha-1", 1)] {
        let ip = own_address();
        let _server = Server::start(&format!(
            "--listen udp://{ip} --admin off --auth-secret s --secret-algorithms {algorithms}"
        ));
        let probe = format!("probe turn:{ip} --user {} --password {}", value("username"), value("password"));
        assert_eq!(finished(&probe).0, expected, "{algorithms}");
    }
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
