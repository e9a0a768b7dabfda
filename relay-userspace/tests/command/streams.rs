//! Listeners of streams, as curl and OpenSSL meet them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Output, Stdio};

use turnpike::admin::Status;

use crate::common::{Folder, Server, finished, own_address, page, wait_for};

/// A certificate that has expired. OpenSSL makes none before 3.4.
fn expired(folder: &Folder) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["old.test".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2024, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    (folder.write("old.pem", &certificate.pem()), folder.write("old.key", &key.serialize_pem()))
}

/// A program that a test cannot do without.
pub(crate) fn output(program: &str, words: &str) -> Output {
    let mut command = Command::new(program);
    let output = command.args(words.split_whitespace()).stdin(Stdio::null()).output();
    output.unwrap_or_else(|e| panic!("{program}: {e}; this test needs it: apt-get install {program}"))
}

fn curl(words: &str) -> String {
    let Output { status, stdout, stderr } = output("curl", &format!("-sS -i --max-time 10 {words}"));
    assert!(status.success(), "curl {words}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// What OpenSSL says of a handshake.
pub(crate) fn handshake(words: &str) -> String {
    let output = output("openssl", &format!("s_client {words}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A certificate for a name, in `NAME.pem` and `NAME.key` of the folder.
pub(crate) fn certificate(folder: &Folder, name: &str) -> (String, String) {
    let (cert, key) = (folder.write(&format!("{name}.pem"), ""), folder.write(&format!("{name}.key"), ""));
    let made = output(
        "openssl",
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={name} \
             -addext subjectAltName=DNS:{name} -keyout {key} -out {cert}"
        ),
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (cert, key)
}

fn status(ip: Ipv4Addr) -> Status {
    let text = finished(&format!("status --admin {ip}:9641 --json")).1;
    serde_json::from_str(&text).unwrap()
}

/// Lesson 32: certificates are read again, and a bad one does no harm.
#[test]
fn a_certificate_is_replaced_while_the_server_runs_and_a_bad_one_is_not_served() {
    let (ip, folder) = (own_address(), Folder::new("certificate"));
    let (cert, key) = certificate(&folder, "one.test");
    let server = Server::start(&format!(
        "--listen udp://{ip} --listen tls://{ip} --admin {ip}:9641 --user a:b --cert {cert} --key {key}"
    ));
    let subject = || {
        let shown = handshake(&format!("-connect {ip}:5349 -servername one.test"));
        shown.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().replace(' ', "")
    };
    assert_eq!(subject(), "subject=CN=one.test");

    fs::write(&cert, "nonsense").unwrap();
    let problem = || status(ip).front.unwrap().certificates[0].problem.clone();
    wait_for("a problem", || problem().is_some());
    assert!(problem().unwrap().contains("no certificate in it"));
    assert_eq!(subject(), "subject=CN=one.test");
    let shown = finished(&format!("status --admin {ip}:9641")).1;
    assert!(shown.contains("certificates one.test   expires in"), "{shown}");
    assert!(shown.contains("; the one before is still served\n"), "{shown}");
    let metrics = page(&format!("{ip}:9641"), "/metrics");
    let refused = format!("turnpike_certificate_refused{{file=\"{cert}\"}} 1");
    assert!(metrics.lines().any(|line| line == refused), "{metrics}");
    // A reload refuses it as well, and says why.
    let (code, _, complaint) = finished(&format!("reload --admin {ip}:9641"));
    assert!(code == 1 && complaint.contains(&format!("{cert}: no certificate in it")), "{complaint}");
    assert_eq!(subject(), "subject=CN=one.test");
    let says_it_failed =
        || finished(&format!("status --admin {ip}:9641")).1.contains("the last reload failed (see the log)");
    assert!(says_it_failed());

    let (other, other_key) = certificate(&folder, "two.test");
    fs::copy(&other, &cert).unwrap();
    fs::copy(&other_key, &key).unwrap();
    wait_for("the other certificate", || subject() == "subject=CN=two.test");
    assert_eq!(problem(), None);
    wait_for("an end of what failed", || !says_it_failed());
    // Draining reads nothing again, and so serves nothing older.
    for flags in ["", "--undo"] {
        assert_eq!(finished(&format!("drain --admin {ip}:9641 {flags}")).0, 0);
        assert_eq!(subject(), "subject=CN=two.test");
    }
    // Nobody has to wait for the next look.
    let (next, next_key) = certificate(&folder, "three.test");
    fs::copy(&next, &cert).unwrap();
    fs::copy(&next_key, &key).unwrap();
    let (code, shown, _) = finished(&format!("reload --admin {ip}:9641"));
    assert_eq!(code, 0);
    assert!(shown.contains("tls.certificate        1 new, 1 gone; 1 now"), "{shown}");
    assert_eq!(subject(), "subject=CN=three.test");
    // It compares with what is served, whoever read that: the server by itself, and then the reload before it does.
    fs::copy(&other, &cert).unwrap();
    fs::copy(&other_key, &key).unwrap();
    wait_for("the other certificate", || subject() == "subject=CN=two.test");
    let reloaded = || finished(&format!("reload --admin {ip}:9641")).1;
    assert_eq!(reloaded(), "reloaded, nothing is different\n");
    fs::copy(&next, &cert).unwrap();
    fs::copy(&next_key, &key).unwrap();
    wait_for("the one before", || subject() == "subject=CN=three.test");
    fs::copy(&other, &cert).unwrap();
    fs::copy(&other_key, &key).unwrap();
    let shown = reloaded();
    assert!(shown.contains("tls.certificate        1 new, 1 gone; 1 now"), "{shown}");
    assert_eq!(subject(), "subject=CN=two.test");
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert!(log.contains("the certificate before is still served") && log.contains("was replaced"), "{log}");
}

/// Other settings that a reload did not take are not taken by themselves, nor forgotten.
#[test]
fn a_reload_that_failed_for_more_than_a_certificate_is_still_told() {
    let (ip, folder) = (own_address(), Folder::new("still-failed"));
    let (cert, key) = certificate(&folder, "one.test");
    let text = |users: &str| {
        format!(
            "listen = ['tls://{ip}']\nauth = {{ users = [{users}] }}\n[tls]\ncert = '{cert}'\nkey = '{key}'\n\
             [admin]\nlisten = '{ip}:9641'\n"
        )
    };
    let config = folder.write("turnpike.toml", &text("'a:b'"));
    let server = Server::start(&format!("-c {config}"));
    let problem = || status(ip).front.unwrap().certificates[0].problem.clone();
    folder.write("turnpike.toml", &text("'a:b', 'c:d'"));
    fs::write(&cert, "nonsense").unwrap();
    assert_eq!(finished(&format!("reload --admin {ip}:9641")).0, 1);
    wait_for("a problem", || problem().is_some());
    let (other, other_key) = certificate(&folder, "two.test");
    fs::copy(&other, &cert).unwrap();
    fs::copy(&other_key, &key).unwrap();
    wait_for("the other certificate", || problem().is_none());
    assert!(!status(ip).reload.successful);
    assert_eq!(finished(&format!("reload --admin {ip}:9641")).0, 0);
    assert!(status(ip).reload.successful);
    server.stop();
}

#[test]
fn one_port_has_pages_and_turn_by_name_and_by_alpn() {
    let (ip, folder) = (own_address(), Folder::new("shared"));
    let [cert, more] = ["turn.test", "more.test"].map(|name| certificate(&folder, name).0);
    let config = folder.write(
        "turnpike.toml",
        &format!(
            "listen = ['udp://{ip}', 'tcp://{ip}:8080', 'https://{ip}:8443']\n\
             auth = {{ users = ['a:b'] }}\n[tls]\ncert = 'turn.test.pem'\nkey = 'turn.test.key'\n\
             [[tls.certificate]]\ncert = 'more.test.pem'\nkey = 'more.test.key'\n[admin]\nlisten = '{ip}:9641'\n"
        ),
    );
    let (code, shown, complaint) = finished(&format!("check -c {config}"));
    assert_eq!(code, 0, "{complaint}");
    assert!(shown.contains(&format!("certificate  {cert}   turn.test\n")), "{shown}");
    let server = Server::start(&format!("-c {config}"));
    assert!(server.screen.contains(&format!("turns:{ip}:8443?transport=tcp")), "{}", server.screen);

    for (name, cert) in [("turn.test", &cert), ("more.test", &more)] {
        let words = format!("--cacert {cert} --resolve {name}:8443:{ip} https://{name}:8443/");
        for version in ["--tlsv1.3", "--tlsv1.2 --tls-max 1.2"] {
            let page = curl(&format!("{version} {words}"));
            assert!(
                page.starts_with("HTTP/1.1 200 OK") && page.contains("This is a relay for calls"),
                "{page}"
            );
        }
    }
    assert!(curl(&format!("http://{ip}:8080/")).contains("This is a relay for calls"));
    assert!(curl(&format!("http://{ip}:8080/turn")).starts_with("HTTP/1.1 426"));
    for (version, name) in
        [("-tls1_3", "stun.turn"), ("-tls1_2", "stun.turn"), ("-tls1_3", "stun.nat-discovery")]
    {
        let shown = handshake(&format!("{version} -alpn {name} -connect {ip}:8443 -servername turn.test"));
        assert!(shown.contains(&format!("ALPN protocol: {name}")), "{shown}");
    }
    // A browser's TURN client offers none.
    assert!(handshake(&format!("-connect {ip}:8443")).contains("No ALPN negotiated"));
    assert!(handshake(&format!("-tls1_1 -connect {ip}:8443")).contains("no peer certificate available"));

    let status = status(ip).front.unwrap();
    let count = |name| status.outcomes.iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count);
    assert_eq!((count("http"), count("turn_tls")), (6, 0), "{status:?}");
    let metrics = page(&format!("{ip}:9641"), "/metrics");
    assert!(metrics.contains("turnpike_front_connections_accepted_total{outcome=\"http\"} 6"), "{metrics}");
    assert!(metrics.contains("turnpike_certificate_expiry_timestamp_seconds{file="), "{metrics}");
    assert_eq!(server.stop().0, Some(0));
}

/// Or it would show its own row in red on every server that lists the pages of others.
#[test]
fn the_test_page_may_open_a_websocket_while_it_is_served() {
    let (ip, folder) = (own_address(), Folder::new("origins"));
    let text = |served: bool| {
        format!(
            "listen = ['udp://{ip}', 'http://{ip}:8080']\nauth = {{ secrets = ['s'] }}\n[ice]\nhost = 'turn.test'\n\
             [test-page]\nenabled = {served}\n[http]\nwebsocket-origins = ['https://app.test']\n[admin]\nlisten = '{ip}:9641'\n"
        )
    };
    let config = folder.write("turnpike.toml", &text(true));
    let server = Server::start(&format!("-c {config}"));
    assert_eq!(server.row("test page"), "http://turn.test:8080/test");
    let answers_to = |origins: [&str; 4]| {
        origins.map(|origin| {
            let mut client = TcpStream::connect((ip, 8080)).unwrap();
            let request = format!(
                "GET /turn HTTP/1.1\r\nHost: turn.test:8080\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: turn\r\n\r\n"
            );
            client.write_all(request.as_bytes()).unwrap();
            let mut status = [0; 12];
            client.read_exact(&mut status).unwrap();
            String::from_utf8_lossy(&status[9..]).into_owned()
        })
    };
    // Listed, its own, of another server, and a name that only leads here.
    let pages = ["https://app.test", "http://turn.test:8080", "https://evil.test", "http://evil.test:8080"];
    assert_eq!(answers_to(pages), ["101", "101", "403", "403"]);
    folder.write("turnpike.toml", &text(false));
    assert_eq!(finished(&format!("reload --admin {ip}:9641")).0, 0);
    assert_eq!(answers_to(pages), ["101", "403", "403", "403"]);
    folder.write("turnpike.toml", &text(true));
    assert_eq!(finished(&format!("reload --admin {ip}:9641")).0, 0);
    assert_eq!(answers_to(pages), ["101", "101", "403", "403"]);
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn check_says_what_is_wrong_with_a_certificate() {
    let (ip, folder) = (own_address(), Folder::new("check"));
    let (cert, key) = certificate(&folder, "one.test");
    let (_, other_key) = certificate(&folder, "two.test");
    let (old, old_key) = expired(&folder);
    let check = |flags: &str| finished(&format!("check --listen tls://{ip} --user a:b {flags}"));
    for (flags, expected) in [
        (String::new(), "has no certificate: name one with --cert FILE --key FILE".to_owned()),
        (format!("--cert {cert}"), "has no key: name it (--key)".into()),
        (
            format!("--cert {cert} --key {other_key}"),
            format!("the key {other_key} is not that of the certificate"),
        ),
        (format!("--cert {cert} --key /no/key"), "cannot read /no/key: No such file".into()),
    ] {
        let (code, _, complaint) = check(&flags);
        assert!(code == 1 && complaint.contains(&expected), "{flags}: {complaint}");
    }
    let (code, _, complaint) = check(&format!("--cert {old} --key {old_key}"));
    assert!(
        code == 0 && complaint.contains(&format!("warning: the certificate {old} expired")),
        "{complaint}"
    );
    let (code, _, complaint) = check(&format!("--cert {cert} --key {key}"));
    assert!(code == 0 && !complaint.contains("expire"), "{complaint}");
}

#[test]
fn streams_alone_are_served_as_well() {
    let ip = own_address();
    let server = Server::start(&format!("--listen tcp://{ip} --admin {ip}:9641 --user a:b"));
    assert!(curl(&format!("http://{ip}:3478/")).contains("This is a relay for calls"));
    assert!(page(&format!("{ip}:9641"), "/readyz").ends_with("ready\n"));
    assert_eq!(server.stop().0, Some(0));
}

/// The admin API answers, and those who are in stay, when more connect than there are descriptors for.
#[test]
fn more_connections_than_descriptors_leave_some_for_the_admin() {
    let ip = own_address();
    let server = Server::start(&format!("--listen tcp://{ip} --admin {ip}:9641 --user a:b --shards 1"));
    let pid = status(ip).pid;
    let limited = output("prlimit", &format!("--pid {pid} --nofile=128"));
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
    let clients: Vec<_> = (0..200).map(|_| TcpStream::connect((ip, 3478)).unwrap()).collect();
    // Nor do others who only hold connections of its own.
    let _silent: Vec<_> = (0..100).map(|_| TcpStream::connect((ip, 9641)).unwrap()).collect();
    let outcome = |name: &str| {
        let front = status(ip).front.unwrap();
        front.outcomes.iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count)
    };
    wait_for("refusals", || outcome("too_many") > 50);
    let there = status(ip).front.unwrap().connections.undecided;
    assert!((20..128).contains(&there), "{there}");
    drop(clients);
    wait_for("an end", || status(ip).front.unwrap().connections.undecided == 0);
    assert!(curl(&format!("http://{ip}:3478/")).contains("This is a relay for calls"));
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    let lines = log.matches("too many connections").count();
    assert_eq!(lines, 1, "{log}");
}
