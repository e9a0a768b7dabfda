use std::net::UdpSocket;

use serde_json::Value;

use crate::common::{Folder, Server, finished, own_address};

#[test]
fn credentials_made_from_a_secret_are_let_in_and_others_are_not() {
    let ip = own_address();
    let _server =
        Server::start(&format!("--listen udp://{ip} --admin off --auth-secret old --auth-secret new"));
    for secret in ["old", "new"] {
        let (code, shown, _) = finished(&format!("probe turn:{ip} --packets 2 --secret {secret}"));
        assert_eq!(code, 0, "{shown}");
    }

    let (code, made, _) = finished("creds --secret new --name alice");
    assert_eq!(code, 0);
    let [_, username, _, password] = made.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{made}")
    };
    let (code, shown, _) =
        finished(&format!("probe turn:{ip} --packets 2 --user {username} --password {password}"));
    assert_eq!(code, 0, "{shown}");

    let (code, shown, _) = finished(&format!("probe turn:{ip} --secret other"));
    assert_eq!(code, 1);
    assert!(shown.contains("error 401 Unauthenticated: the user or the password is wrong"), "{shown}");
    assert!(shown.ends_with(&format!("turn:{ip}:3478 failed at: Allocate\n")), "{shown}");
}

/// A flag can be seen by all users of the host; a file need not.
#[test]
fn a_secret_and_a_password_may_come_from_files() {
    let (ip, folder) = (own_address(), Folder::new("probe-files"));
    let secrets = folder.write("secrets", "# the new one first\nnew\nold\n");
    let (password, empty) = (folder.write("password", "b\n"), folder.write("empty", "# nothing\n"));
    let _server = Server::start(&format!("--listen udp://{ip} --admin off --auth-secret new --user a:b"));
    let probe = |flags: &str| finished(&format!("probe turn:{ip} --packets 2 {flags}"));
    for flags in [format!("--secret-file {secrets}"), format!("--user a --password-file {password}")] {
        let (code, shown, said) = probe(&flags);
        assert_eq!(code, 0, "{flags}: {shown}{said}");
    }
    for (flags, why) in [
        (format!("--secret-file {empty}"), "has no secret in it"),
        ("--secret-file /nowhere".into(), "cannot read /nowhere"),
        (format!("--secret new --secret-file {secrets}"), "cannot be used with"),
        (format!("--user a --secret-file {secrets}"), "cannot be used with"),
        (format!("--password-file {password}"), "--user <USER>"),
        ("--user a".into(), "--password"),
    ] {
        let (code, _, said) = probe(&flags);
        assert!(code != 0 && said.contains(why), "{flags}: {said}");
    }
}

#[test]
fn a_quota_that_is_reached_is_told_apart() {
    let ip = own_address();
    let _server = Server::start(&format!("--listen udp://{ip} --admin off --user a:b --user-quota 1"));
    let (code, shown, _) = finished(&format!("probe turn:{ip} --user a --password b"));
    assert_eq!(code, 1);
    assert!(shown.contains("486") && shown.contains("failed at: Allocate, as the peer"), "{shown}");
    // The allocation that was made is ended all the same: the next probe gets as far.
    assert!(shown.contains("Refresh, lifetime 0     ok"), "{shown}");
    let (_, again, _) = finished(&format!("probe turn:{ip} --user a --password b"));
    assert!(again.contains("failed at: Allocate, as the peer"), "{again}");
}

#[test]
fn a_rule_against_the_relay_itself_fails_at_the_permission() {
    let ip = own_address();
    let _server = Server::start(&format!("--listen udp://{ip} --admin off --user a:b --deny-peer {ip}"));
    let (code, shown, _) = finished(&format!("probe turn:{ip} --user a --password b"));
    assert_eq!(code, 1);
    assert!(shown.contains("error 403 Forbidden: the server's rules forbid it"), "{shown}");
    assert!(shown.ends_with("failed at: CreatePermission\n"), "{shown}");
}

#[test]
fn nobody_there_and_nobody_answering_are_told_apart() {
    let (code, shown, _) = finished(&format!("probe turn:{} --user a --password b", own_address()));
    assert_eq!(code, 1);
    assert!(shown.contains("nothing listens on UDP"), "{shown}");

    let ip = own_address();
    let echo = UdpSocket::bind((ip, 3478)).unwrap();
    let echoing = std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        let (len, from) = echo.recv_from(&mut buffer).unwrap();
        echo.send_to(&buffer[..len], from).unwrap();
        echo
    });
    let (code, shown, _) = finished(&format!("probe turn:{ip} --user a --password b"));
    drop(echoing.join().unwrap());
    assert_eq!(code, 1);
    assert!(shown.contains("answers, but not in STUN: another service listens there"), "{shown}");

    let ip = own_address();
    let _silent = UdpSocket::bind((ip, 3478)).unwrap();
    let (code, json, _) = finished(&format!("probe turn:{ip} --user a --password b --json"));
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!((&report["steps"][1]["name"], &report["steps"][1]["ok"]), (&"Binding".into(), &false.into()));
    let detail = report["steps"][1]["detail"].as_str().unwrap();
    assert!(detail.contains("within 3 s") && detail.contains("firewall"), "{detail}");
}

#[test]
fn a_name_without_an_address_fails_at_the_first_step() {
    let (code, shown, _) = finished("probe turn:nobody.invalid --user a --password b");
    assert_eq!(code, 1);
    assert!(
        shown.contains("the name nobody.invalid is not known here")
            && shown.ends_with("failed at: resolve\n"),
        "{shown}"
    );
}

#[test]
fn a_user_name_that_stun_cannot_carry_is_refused() {
    let (code, _, said) =
        finished(&format!("probe turn:{} --user {} --password b", own_address(), "a".repeat(509)));
    assert_eq!(code, 1);
    assert!(said.contains("--user is too long"), "{said}");
}

#[test]
fn a_server_that_sends_its_clients_away_is_reported_with_where_it_sends_them() {
    let ip = own_address();
    let _server = Server::start(&format!(
        "--listen udp://{ip} --admin off --user a:b --alternate-server 192.0.2.80:443 --alternate-when always \
         --alternate-domain turn2.example.org"
    ));
    let (code, shown, _) = finished(&format!("probe turn:{ip} --user a --password b"));
    assert_eq!(code, 1);
    assert!(
        shown
            .contains("the server sends its clients to 192.0.2.80:443 (turn2.example.org): probe that one\n"),
        "{shown}"
    );
    assert!(shown.ends_with("failed at: Allocate\n"), "{shown}");
}

#[test]
fn of_several_urls_each_is_tried_and_a_table_says_which_work() {
    let ip = own_address();
    let _server = Server::start(&format!("--listen udp://{ip} --admin off --user a:b"));
    let urls = format!("turn:{ip} turn:{ip}:9?transport=tcp wss://{ip}:9");
    let (code, shown, _) = finished(&format!("probe {urls} --packets 2 --user a --password b --ca {CA}"));
    assert_eq!(code, 1, "one that fails is enough: {shown}");
    let rows: Vec<Vec<&str>> =
        shown.lines().rev().take(3).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[2][..2], [&format!("turn:{ip}:3478"), "works"], "{shown}");
    assert_eq!(rows[1][1..4], ["FAILED", "TCP", "connect:"], "{shown}");
    assert_eq!(rows[0][..2], [&format!("wss://{ip}:9/turn"), "FAILED"], "{shown}");

    let (code, json, _) =
        finished(&format!("probe {urls} --packets 2 --user a --password b --ca {CA} --json"));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &report["ok"]), (1, &false.into()));
    let works: Vec<_> = report["probes"].as_array().unwrap().iter().map(|probe| &probe["ok"]).collect();
    assert_eq!(works, [true, false, false]);
}

/// An authority that signed nothing.
const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command/ca.pem");

#[test]
fn a_way_that_cannot_be_meant_is_refused() {
    for (flags, why) in [
        ("probe wss://a --ca /nowhere", "cannot read certificates from /nowhere"),
        ("probe turns:a --ca /dev/null", "there is none in it (PEM)"),
        ("probe turns:a --proxy socks5://b:1", "socks5:// proxies are not supported"),
        ("probe https://a/turn", "begins with ws:// or wss://"),
    ] {
        let (code, _, said) = finished(&format!("{flags} --user a --password b"));
        assert!(code != 0 && said.contains(why), "{flags}: {said}");
    }
}
