//! Lesson 32: a drain that can be observed and ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;

use turnpike::stun::ErrorCode;

use crate::client::Client;
use crate::common::{Folder, Server, finished, own_address, page, turnpike};

fn serve(ip: Ipv4Addr) -> Server {
    Server::start(&format!("--listen udp://{ip} --admin {ip}:9641 --user a:b"))
}

fn drain(ip: Ipv4Addr, flags: &str) -> (i32, String, String) {
    finished(&format!("drain --admin {ip}:9641 {flags}"))
}

#[test]
fn a_drain_holds_new_allocations_back_until_it_is_undone() {
    let ip = own_address();
    let server = serve(ip);
    let admin = format!("{ip}:9641");
    let mut inside = Client::new(ip, "a", "b");
    inside.allocate().unwrap();

    let (code, shown, _) = drain(ip, "");
    assert_eq!((code, shown.as_str()), (0, "draining: no new allocations, 1 is left\n"));
    let mut outside = Client::new(ip, "a", "b");
    assert_eq!(outside.allocate(), Err(ErrorCode::INSUFFICIENT_CAPACITY));
    inside.refresh().unwrap();
    let ready = page(&admin, "/readyz");
    assert!(ready.contains(" 503 ") && ready.ends_with("draining\n"), "{ready}");
    assert!(page(&admin, "/livez").contains(" 200 "));
    let metrics = page(&admin, "/metrics");
    for line in ["turnpike_draining 1", "turnpike_ready 0", "turnpike_allocations 1"] {
        assert!(metrics.lines().any(|l| l == line), "no {line} in {metrics}");
    }
    let (_, shown, _) = finished(&format!("status --admin {admin}"));
    assert!(shown.contains("draining, no new allocations"), "{shown}");

    // It is no setting: a reload leaves it as it is.
    let (code, shown, _) = finished(&format!("reload --admin {admin}"));
    assert_eq!((code, shown.as_str()), (0, "reloaded, nothing is different\n"));
    assert_eq!(outside.allocate(), Err(ErrorCode::INSUFFICIENT_CAPACITY));

    let (code, shown, _) = drain(ip, "--undo");
    assert_eq!((code, shown.as_str()), (0, "new allocations are made again\n"));
    Client::new(ip, "a", "b").allocate().unwrap();
    assert!(page(&admin, "/readyz").contains(" 200 "));
    let (_, log) = server.stop();
    assert!(log.contains("draining: no new allocations") && log.contains("made again"), "{log}");
}

#[test]
fn credentials_are_not_handed_out_meanwhile() {
    let (ip, folder) = (own_address(), Folder::new("drained-ice"));
    let config = folder.write(
        "turnpike.toml",
        &format!(
            "listen = ['http://{ip}:8080']\nauth = {{ secrets = ['s'] }}\n[admin]\nlisten = '{ip}:9641'\n\
             [[ice.tenants]]\nname = 'app'\nkey = 'key-of-the-app-0123456789'\n"
        ),
    );
    let _server = Server::start(&format!("-c {config}"));
    let ask = || {
        let mut stream = TcpStream::connect((ip, 8080)).unwrap();
        let head = "POST /v1/ice HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
        write!(stream, "{head}Authorization: Bearer key-of-the-app-0123456789\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask().starts_with("HTTP/1.1 200 "));
    assert_eq!(drain(ip, "").0, 0);
    let answer = ask();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("being drained"), "{answer}");
    // It lasts through a reload.
    assert_eq!(finished(&format!("reload --admin {ip}:9641")).0, 0);
    assert!(ask().starts_with("HTTP/1.1 503 "));
    assert_eq!(drain(ip, "--undo").0, 0);
    assert!(ask().starts_with("HTTP/1.1 200 "));
}

#[test]
fn waiting_ends_with_the_last_allocation() {
    let ip = own_address();
    let _server = serve(ip);
    let mut clients = [0; 2].map(|_| Client::new(ip, "a", "b"));
    clients.iter_mut().for_each(|client| client.allocate().unwrap());

    let (code, shown, complaint) = drain(ip, "--wait --timeout 1s");
    assert_eq!((code, shown.as_str()), (1, "draining: no new allocations, 2 are left\n"));
    assert!(complaint.contains("2 are left after 1s; the server still drains"), "{complaint}");

    let (mut waiting, mut said) = start_waiting(ip);
    assert_eq!(said(), "draining: no new allocations, 2 are left\n");
    clients[0].end().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(waiting.try_wait().unwrap(), None, "one is left");
    clients[1].end().unwrap();
    let last = said();
    assert!(last.starts_with("drained: no allocation is left after "), "{last}");
    assert_eq!(waiting.wait().unwrap().code(), Some(0));

    let (code, shown, _) = drain(ip, "--wait");
    assert_eq!(code, 0);
    assert!(shown.starts_with("draining: no new allocations, none is left\ndrained: "), "{shown}");
}

#[test]
fn who_waits_is_told_when_somebody_ends_the_drain() {
    let ip = own_address();
    let _server = serve(ip);
    Client::new(ip, "a", "b").allocate().unwrap();
    let (mut waiting, mut said) = start_waiting(ip);
    said();
    assert_eq!(drain(ip, "--undo").0, 0);
    assert_eq!(waiting.wait().unwrap().code(), Some(1));
}

#[test]
fn a_drain_of_no_server_is_an_error_that_says_so() {
    let (code, shown, complaint) = drain(own_address(), "--wait");
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(
        complaint.contains("is `turnpike run` up") && complaint.contains("Connection refused"),
        "{complaint}"
    );
}

/// `turnpike drain --wait`, and what it says line by line.
fn start_waiting(ip: Ipv4Addr) -> (std::process::Child, impl FnMut() -> String) {
    let mut command = turnpike(&format!("drain --wait --admin {ip}:9641"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let said = move || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line
    };
    (child, said)
}
