//! HTTP on the shared ports: our pages, WebSockets, and a web server behind us.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::clients::{STUN, answered, is_closed, tcp, tls_over};
use super::*;
use crate::config::{self, Host};
use crate::net::Framing;
use crate::turn::Transport;
use crate::web::{self, Site, Web};

const GET: &str = "GET /own HTTP/1.1\r\nHost: turn.test\r\nConnection: close\r\n\r\n";

const UPGRADE: &str = "GET /turn HTTP/1.1\r\nHost: turn.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: turn\r\n\
    Origin: https://app.test\r\n\r\n";

#[test]
fn pages_are_served_beside_turn_with_and_without_tls() {
    let desk = open(|_, _| {});
    assert!(answered(&mut tcp(desk.tcp()), GET).ends_with("own"));
    for alpn in [&[][..], &[&b"http/1.1"[..]], &[b"h2", b"http/1.1"]] {
        let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", alpn);
        let answer = answered(&mut client, GET);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("own"), "{answer}");
    }
    // Several requests on a connection, in pieces.
    let mut client = tcp(desk.tcp());
    for byte in GET.replace("Connection: close\r\n", "").as_bytes() {
        client.write_all(&[*byte]).unwrap();
    }
    let two = answered(&mut client, &GET.replace("/own", "/nowhere"));
    assert!(two.contains("own") && two.contains("HTTP/1.1 404"), "{two}");
    assert!(answered(&mut tcp(desk.tcp()), &GET.replace("/own", "/")).ends_with("our page"));
    desk.wait_until_empty();
}

#[test]
fn a_websocket_is_handed_over_with_what_came_behind_its_upgrade() {
    let desk = open(|_, _| {});
    let frame = b"\x82\x80\0\0\0\0";
    let whole = [UPGRADE.as_bytes(), frame].concat();
    for cut in [whole.len(), UPGRADE.len(), 30] {
        let mut client = tcp(desk.tcp());
        client.write_all(&whole[..cut]).unwrap();
        thread::sleep(Duration::from_millis(20));
        client.write_all(&whole[cut..]).unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines().map(Result::unwrap);
        let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert_eq!(head[0], "HTTP/1.1 101 Switching Protocols");
        for expected in [
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "sec-websocket-protocol: turn",
            "upgrade: websocket",
            "connection: Upgrade",
        ] {
            assert!(head.iter().any(|line| line == expected), "{head:?}");
        }
        let mut stream = desk.next();
        assert_eq!((stream.transport, stream.framing), (Transport::Tcp, Framing::WebSocket));
        let mut bytes = std::mem::take(&mut stream.early);
        stream.socket.set_nonblocking(false).unwrap();
        let early = bytes.len();
        bytes.resize(frame.len(), 0);
        stream.socket.read_exact(&mut bytes[early..]).unwrap();
        assert_eq!(bytes, frame);
        stream.socket.write_all(b"frame").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[b"http/1.1"]);
    client.write_all(&whole).unwrap();
    let stream = desk.next();
    assert_eq!((stream.transport, stream.framing), (Transport::Tls, Framing::WebSocket));
    assert!(stream.tls.is_some());
    assert_eq!((desk.count("websocket"), desk.count("websocket_tls")), (3, 1));
    drop(stream);
    desk.wait_until_empty();
}

#[test]
fn other_origins_and_other_versions_are_told_no() {
    let desk = open(|_, streams| streams.websocket_origins = vec!["https://page.test".parse().unwrap()]);
    let close = |request: String| request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let asked = |request: String| answered(&mut tcp(desk.tcp()), &request);
    assert!(asked(close(UPGRADE.into())).starts_with("HTTP/1.1 403"));
    let known = UPGRADE.replace("app.test", "page.test");
    let answer = asked(close(known.replace("Version: 13", "Version: 12")));
    assert!(answer.starts_with("HTTP/1.1 426") && answer.contains("sec-websocket-version: 13"), "{answer}");
    assert!(asked(GET.replace("/own", "/turn")).starts_with("HTTP/1.1 426"));
    tcp(desk.tcp()).write_all(known.as_bytes()).unwrap();
    desk.next();
}

/// A web server for one connection: what it was asked, after it has answered this.
fn web_server(answer: &'static str) -> (String, thread::JoinHandle<String>) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let served = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"the end") && !request.ends_with(b"\r\n\r\n") {
            let mut buffer = [0; 4096];
            let len = stream.read(&mut buffer).unwrap();
            assert_ne!(len, 0);
            request.extend_from_slice(&buffer[..len]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        if answer.starts_with("HTTP/1.1 101") {
            std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
        }
        String::from_utf8(request).unwrap()
    });
    (address, served)
}

#[test]
fn what_is_not_ours_is_answered_by_the_web_server_behind() {
    let (address, served) = web_server("HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-Own: 1\r\n\r\nhello");
    let desk = open(|_, streams| streams.upstream = Some(address.parse().unwrap()));
    let request = "POST /form?a=b HTTP/1.1\r\nHost: www.test\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\
        Content-Length: 7\r\n\r\nthe end";
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[b"http/1.1"]);
    let answer = answered(&mut client, request);
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("x-own: 1"), "{answer}");
    assert!(answer.ends_with("hello"), "{answer}");
    let request = served.join().unwrap().to_lowercase();
    let own = client.sock.local_addr().unwrap().ip();
    for expected in [
        "post /form?a=b http/1.1\r\n",
        "host: www.test\r\n",
        &format!("x-forwarded-for: {own}\r\n"),
        "x-forwarded-proto: https\r\n",
        "content-length: 7\r\n",
    ] {
        assert!(request.contains(expected), "{expected} is not in {request}");
    }
    assert!(!request.contains("connection:"), "{request}");

    // Our own pages stay ours, but for the one that gives way; and a web server that is gone is 502.
    assert!(answered(&mut tcp(desk.tcp()), GET).ends_with("own"));
    for path in ["/", "/elsewhere"] {
        let answer = answered(&mut tcp(desk.tcp()), &GET.replace("/own", path));
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
}

/// RFC 9112 section 3.2. What the web server is called here is nobody's affair.
#[test]
fn the_web_server_behind_is_told_the_host_that_the_client_meant() {
    let close = "Connection: close, Host\r\n\r\n";
    for (head, first, host) in [
        ("GET /x HTTP/1.1\r\nHost: www.test\r\n", "GET /x HTTP/1.1", Some("host: www.test")),
        ("GET http://a.test/x HTTP/1.1\r\nHost: www.test\r\n", "GET /x HTTP/1.1", Some("host: a.test")),
        ("GET /x HTTP/1.0\r\n", "GET /x HTTP/1.1", Some("host: turn.test")),
    ] {
        let (address, served) = web_server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let desk = open(|_, streams| streams.upstream = Some(address.parse().unwrap()));
        let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[b"http/1.1"]);
        let answer = answered(&mut client, &format!("{head}{close}"));
        assert!(answer.ends_with("ok"), "{answer}");
        told(&served.join().unwrap(), first, host);
    }
    // Nobody knows.
    let (address, served) = web_server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let desk = open(|_, streams| streams.upstream = Some(address.parse().unwrap()));
    let answer = answered(&mut tcp(desk.tcp()), &format!("GET /x HTTP/1.0\r\n{close}"));
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("ok"), "{answer}");
    told(&served.join().unwrap(), "GET /x HTTP/1.0", None);

    for head in [
        "GET /own HTTP/1.1\r\n",
        "GET /x HTTP/1.1\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test/b\r\n",
    ] {
        let answer = answered(&mut tcp(desk.tcp()), &format!("{head}{close}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
    }
}

/// A request has this first line, and this header for the host only.
fn told(request: &str, first: &str, host: Option<&str>) {
    assert_eq!(request.lines().next(), Some(first));
    let lower = request.to_lowercase();
    let hosts: Vec<_> = lower.lines().filter(|line| line.starts_with("host:")).collect();
    assert_eq!(hosts, Vec::from_iter(host), "{request}");
}

/// RFC 9110 section 6.2: its own highest version, unless the client's is lower.
#[test]
fn a_web_server_behind_that_speaks_an_older_version_is_answered_for_in_the_clients() {
    for (asked, answered_by) in [("1.1", "1.0"), ("1.0", "1.0"), ("1.0", "1.1"), ("1.1", "1.1")] {
        let answer = format!("HTTP/{answered_by} 200 OK\r\nConnection: close\r\n\r\nhello");
        let (address, served) = web_server(answer.leak());
        let desk = open(|_, streams| streams.upstream = Some(address.parse().unwrap()));
        let request = format!("GET /x HTTP/{asked}\r\nHost: www.test\r\nConnection: close\r\n\r\n");
        let answer = answered(&mut tcp(desk.tcp()), &request);
        assert!(answer.starts_with(&format!("HTTP/{asked} 200 ")), "{answered_by}: {answer}");
        assert!(answer.contains("hello"), "{answer}");
        assert_eq!(answer.contains("chunked"), asked == "1.1", "{answer}");
        assert!(served.join().unwrap().starts_with("GET /x HTTP/1.1"));
    }
}

#[test]
fn our_pages_that_are_off_are_those_of_the_web_server_behind() {
    let desk = open(|_, _| {});
    let written = Files::new("pages");
    let certificates = vec![Arc::new(Certificate::read(&written.certificate("a", &["turn.test"])).unwrap())];
    let tls = TlsSettings { certificates, ..TlsSettings::default() };
    // Nobody is there, which tells who is asked.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let streams = StreamSettings { upstream: Some(nobody.parse().unwrap()), ..StreamSettings::default() };
    let listen = "listen = ['tcp://127.0.0.1']\nauth = { secrets = ['s'] }\n";
    let page = "[test-page]\nenabled = true\n";
    let tenant = "[[ice.tenants]]\nname = 'app'\nkey = 'key-of-the-app-0123456789'\n";
    for (text, of_page, of_credentials, of_ice) in [
        ("".into(), 502, 502, 502),
        (page.into(), 200, 405, 502),
        (tenant.into(), 502, 502, 405),
        (format!("{page}{tenant}"), 200, 405, 405),
    ] {
        let text = format!("{listen}{text}");
        let read = config::parse("t.toml".as_ref(), &text).unwrap().resolve(&Host::default()).unwrap();
        let web = Web::new(Site::new(&read.settings));
        desk.front.reconfigure(&tls, streams.clone(), web::router(web, true));
        for (path, expected) in
            [("/test", of_page), ("/test/credentials", of_credentials), ("/v1/ice", of_ice), ("/", 502)]
        {
            let answer = answered(&mut tcp(desk.tcp()), &GET.replace("/own", path));
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{path} of {text}: {answer}");
        }
    }
}

#[test]
fn a_websocket_of_others_goes_through() {
    let (address, served) =
        web_server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    let desk = open(|_, streams| streams.upstream = Some(address.parse().unwrap()));
    let mut client = tcp(desk.tcp());
    client.write_all(UPGRADE.replace("/turn", "/chat").as_bytes()).unwrap();
    let mut answer = BufReader::new(client.try_clone().unwrap());
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(answer.read_line(&mut line).unwrap(), 0);
    }
    client.write_all(b"echo").unwrap();
    let mut echo = [0; 4];
    answer.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"echo");
    assert_eq!(desk.status().connections.passed_through, 1);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    served.join().unwrap();
    desk.wait_until_empty();
}

#[test]
fn heads_that_are_slow_or_endless_end() {
    let desk = open(|_, _| {});
    let start = Instant::now();
    let mut slow = tcp(desk.tcp());
    slow.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    let mut endless = tcp(desk.tcp());
    endless.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    let mut sent = 0;
    while sent < 1 << 20 && endless.write_all(&[b'x'; 1024]).is_ok() {
        sent += 1024;
    }
    assert!(start.elapsed() < Duration::from_secs(2));
    let mut answer = String::new();
    // Reset, perhaps, as it goes on to send.
    let _ = endless.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).ok();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!((2..5).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    desk.wait_until_empty();
}

#[test]
fn a_connection_that_carries_nothing_is_closed() {
    let desk = open(|_, streams| {
        streams.limits.handshake_time = Duration::from_secs(60);
        streams.limits.idle_time = Duration::from_secs(1);
    });
    let mut client = tcp(desk.tcp());
    let start = Instant::now();
    client.write_all(GET.replace("Connection: close\r\n", "").as_bytes()).unwrap();
    client.read_to_end(&mut Vec::new()).ok();
    assert!((1..3).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    desk.wait_until_empty();
}

#[test]
fn new_settings_hold_for_new_connections_and_another_certificate_is_served() {
    let desk = open(|_, _| {});
    let files = Files::new("other");
    let other = files.certificate("other", &["other.test"]);
    let certificates = vec![Arc::new(Certificate::read(&other).unwrap())];
    let tls = TlsSettings { certificates, ..TlsSettings::default() };
    let web = Router::new().route("/own", get(|| async { "other pages" }));
    desk.front.reconfigure(&tls, StreamSettings::default(), web);
    let mut client = tls_over(tcp(desk.tls()), &other.cert, "other.test", &[]);
    assert!(answered(&mut client, GET).ends_with("other pages"));
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[]);
    assert!(client.write_all(&STUN).is_err() || client.read(&mut [0]).is_err());
    assert_eq!(desk.status().certificates[0].names, ["other.test"]);
}

/// What an operator may have by mistake, or a container's mount.
#[test]
fn a_pipe_in_place_of_a_certificate_holds_neither_status_nor_the_end_up() {
    let desk = open(|_, _| {});
    let aside = Files::new("aside");
    let before = aside.write("cert.pem", &std::fs::read_to_string(desk.cert()).unwrap());
    std::fs::remove_file(desk.cert()).unwrap();
    nix::unistd::mkfifo(desk.cert(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let start = Instant::now();
    let problem = loop {
        let asked = Instant::now();
        let status = desk.status();
        assert!(asked.elapsed() < Duration::from_secs(1));
        if let Some(problem) = &status.certificates[0].problem {
            break problem.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{status:?}");
        thread::sleep(Duration::from_millis(50));
    };
    assert!(problem.contains("a pipe or a device"), "{problem}");
    let mut client = tls_over(tcp(desk.tls()), &before, "turn.test", &[]);
    assert!(answered(&mut client, GET).ends_with("own"));
    let start = Instant::now();
    drop(desk);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_connection_is_counted_until_it_ends() {
    let desk = open(|_, _| {});
    let clients: Vec<TcpStream> = (0..20).map(|_| tcp(desk.tcp())).collect();
    let there = || desk.status().connections.undecided;
    let start = Instant::now();
    while there() < 20 && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(there(), 20);
    drop(clients);
    desk.wait_until_empty();
    assert_eq!(desk.count("gone"), 20);
    assert!(is_closed(&mut {
        let mut client = tcp(desk.tcp());
        client.write_all(&[0xff]).unwrap();
        client
    }));
}
