//! What is handed over, what is passed through, and what is closed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::clients::{STUN, answered, is_closed, tcp, tls_over};
use super::*;
use crate::config::Passthrough;
use crate::net::Framing;
use crate::turn::Transport;

/// What a shard reads of a connection that was handed over, until there are so many bytes.
fn read_all(stream: &mut ClientStream, len: usize) -> Vec<u8> {
    let mut bytes = stream.early.clone();
    stream.socket.set_nonblocking(false).unwrap();
    while bytes.len() < len {
        let mut buffer = [0; 256];
        let read = match &mut stream.tls {
            None => stream.socket.read(&mut buffer).unwrap(),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut stream.socket).read(&mut buffer).unwrap(),
        };
        assert_ne!(read, 0, "it ended with {bytes:?}");
        bytes.extend_from_slice(&buffer[..read]);
    }
    bytes
}

#[test]
fn turn_over_tcp_is_handed_over_however_it_is_cut() {
    let desk = open(|_, _| {});
    let message: Vec<u8> = STUN.iter().chain(b"and what follows").copied().collect();
    for cut in [0, 1, 4, 7, 8, 20] {
        let mut client = tcp(desk.tcp());
        client.write_all(&message[..cut]).unwrap();
        sleep(Duration::from_millis(20));
        client.write_all(&message[cut..]).unwrap();
        let mut stream = desk.next();
        assert_eq!((stream.transport, stream.framing), (Transport::Tcp, Framing::Turn));
        assert_eq!((stream.client, stream.listener), (client.local_addr().unwrap(), desk.tcp()));
        assert!(stream.tls.is_none());
        assert_eq!(read_all(&mut stream, message.len()), message, "{cut}");
        stream.socket.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        assert_eq!(desk.status().connections.turn, 1);
    }
    assert_eq!(desk.count("turn_tcp"), 6);
    desk.wait_until_empty();
}

#[test]
fn turn_over_tls_is_handed_over_with_its_keys_with_and_without_alpn() {
    let desk = open(|_, _| {});
    for alpn in [&[][..], &[&b"stun.turn"[..]], &[b"stun.nat-discovery"], &[b"http/1.1", b"stun.turn"]] {
        let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", alpn);
        client.write_all(&STUN).unwrap();
        let mut stream = desk.next();
        assert_eq!((stream.transport, stream.framing), (Transport::Tls, Framing::Turn));
        client.write_all(b"and what follows").unwrap();
        assert_eq!(read_all(&mut stream, 36)[20..], *b"and what follows");
        let mut tls = stream.tls.take().unwrap();
        rustls::Stream::new(&mut *tls, &mut stream.socket).write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    }
    // Who said TURN must speak TURN.
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[b"stun.turn"]);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0, "it is closed as TLS has it");
    // What we do not speak is refused in the handshake.
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[b"h2"]);
    let error = client.write_all(b"x").and_then(|()| client.read(&mut [0]).map(drop)).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    desk.wait_for("garbage", 1);
    desk.wait_for("tls_failed", 1);
    assert_eq!((desk.count("garbage"), desk.count("tls_failed"), desk.count("turn_tls")), (1, 1, 4));
}

#[test]
fn garbage_is_closed_at_once_and_silence_in_time() {
    let desk = open(|_, _| {});
    for (to, garbage) in [
        // A ClientHello on a port without TLS, and the other way round.
        (desk.tcp(), &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc][..]),
        (desk.tls(), b"GET / HTTP/1.1\r\n\r\n"),
        (desk.tls(), &STUN),
        (desk.tcp(), b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02"),
        (desk.tcp(), b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        (desk.tcp(), &[0xff; 2000]),
    ] {
        let start = Instant::now();
        let mut client = tcp(to);
        client.write_all(garbage).unwrap();
        client.read_to_end(&mut Vec::new()).ok();
        assert!(start.elapsed() < Duration::from_secs(1), "{garbage:?}");
    }
    let start = Instant::now();
    let mut clients: Vec<_> = [desk.tcp(), desk.tls(), desk.tcp()].map(tcp).into();
    // A byte now and then helps nobody.
    let mut slow = clients.pop().unwrap();
    let slow = thread::spawn(move || {
        for byte in b"OPTIONS-OPTIONS-OPTIONS-" {
            if slow.write_all(&[*byte]).is_err() {
                break;
            }
            sleep(Duration::from_millis(200));
        }
        start.elapsed()
    });
    assert!(clients.iter_mut().all(is_closed));
    assert!((2..4).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(slow.join().unwrap() < Duration::from_secs(4));
    desk.wait_until_empty();
    assert_eq!((desk.count("too_slow"), desk.count("garbage"), desk.count("tls_failed")), (3, 4, 2));
}

#[test]
fn a_trusted_proxy_says_who_its_client_is_and_must() {
    let desk = open(|_, streams| streams.proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let mut client = tcp(desk.tcp());
    client.write_all(&[b"PROXY TCP4 192.0.2.1 10.0.0.2 4711 80\r\n", &STUN[..]].concat()).unwrap();
    let stream = desk.next();
    assert_eq!((stream.client.to_string().as_str(), &stream.early[..]), ("192.0.2.1:4711", &STUN[..]));

    // Version 2 before TLS, a byte at a time.
    let mut client = tcp(desk.tls());
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x02\x12\x67\0\x50";
    for byte in header {
        client.write_all(&[*byte]).unwrap();
    }
    let mut client = tls_over(client, desk.cert(), "turn.test", &[]);
    client.write_all(&STUN).unwrap();
    assert_eq!(desk.next().client.to_string(), "192.0.2.7:4711");

    // The proxy asks for itself whether we live.
    let mut client = tcp(desk.tcp());
    client.write_all(&[&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], &STUN].concat()).unwrap();
    assert_eq!(desk.next().client, client.local_addr().unwrap());

    for rest in [&STUN[..], b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 nonsense\r\n"] {
        let mut client = tcp(desk.tcp());
        client.write_all(rest).unwrap();
        assert!(is_closed(&mut client));
    }
    desk.wait_for("no_proxy_header", 3);
}

#[test]
fn names_of_others_go_to_them_with_their_tls() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap().to_string().parse().unwrap();
    let desk = open(|tls, _| {
        tls.passthrough.push(Passthrough { names: vec!["*.web.test".parse().unwrap()], to });
    });
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "a.web.test", &[b"h2"]);
    let begin = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
        stream.read_exact(&mut rest).unwrap();
        // An alert: handshake_failure.
        stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]).unwrap();
        (hello, rest)
    });
    let error = client.read(&mut [0]).unwrap_err().to_string();
    assert!(error.contains("HandshakeFailure"), "it is the other's answer: {error}");
    let (hello, rest) = begin.join().unwrap();
    assert_eq!((hello[0], rest[0]), (0x16, 1));
    assert!(rest.windows(10).any(|name| name == b"a.web.test"));
    assert_eq!(desk.count("passed_through"), 1);
    // Our own name is ours; and with the other gone, its name is nobody's.
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[]);
    client.write_all(&STUN).unwrap();
    desk.next();
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "b.web.test", &[]);
    assert!(client.read(&mut [0]).is_err());
    desk.wait_for("pass_through_failed", 1);
}

#[test]
fn an_address_has_its_share_and_what_is_handed_over_counts() {
    let desk = open(|_, streams| streams.limits.connections_per_address = 2);
    let mut clients: Vec<TcpStream> = (0..2).map(|_| tcp(desk.tcp())).collect();
    clients.iter_mut().for_each(|client| client.write_all(&STUN).unwrap());
    let mut streams = [desk.next(), desk.next()];
    assert!(is_closed(&mut tcp(desk.tcp())));
    desk.wait_for("too_many_of_address", 1);
    // A shard closes one.
    streams[0].place = Default::default();
    tcp(desk.tcp()).write_all(&STUN).unwrap();
    desk.next();
}

#[test]
fn silent_clients_make_room_for_others() {
    let desk = open(|_, streams| {
        streams.limits.handshakes = 5;
        streams.limits.handshake_time = Duration::from_secs(60);
    });
    let mut silent: Vec<_> = (0..5).map(|_| tcp(desk.tcp())).collect();
    sleep(Duration::from_millis(1100));
    let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[]);
    client.write_all(&STUN).unwrap();
    desk.next();
    assert!(is_closed(&mut silent[0]), "the first that came");
    desk.wait_for("displaced", 1);
    // Within their first second they are not disturbed.
    let fresh: Vec<_> = (0..8).map(|_| tcp(desk.tcp())).collect();
    desk.wait_for("too_many", 3);
    desk.wait_for("displaced", 5);
    drop(fresh);
}

#[test]
fn a_slow_handshake_delays_nobody() {
    let desk = open(|_, _| {});
    let half: Vec<_> = (0..200)
        .map(|_| {
            let mut client = tcp(desk.tls());
            client.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
            client
        })
        .collect();
    for _ in 0..5 {
        let start = Instant::now();
        let mut client = tls_over(tcp(desk.tls()), desk.cert(), "turn.test", &[]);
        client.write_all(&STUN).unwrap();
        desk.next();
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    }
    drop(half);
}

#[test]
fn a_closed_desk_is_gone_within_a_second_and_what_it_handed_over_is_not() {
    let desk = open(|_, _| {});
    let mut turn = tcp(desk.tcp());
    turn.write_all(&STUN).unwrap();
    let mut stream = desk.next();
    let mut idle = tcp(desk.tcp());
    let mut web = tcp(desk.tcp());
    web.write_all(b"GET /own HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    web.read_exact(&mut [0; 12]).unwrap();
    let (to, start) = (desk.tcp(), Instant::now());
    drop(desk);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(TcpStream::connect(to).is_err());
    assert!(is_closed(&mut idle));
    let rest = answered(&mut web, "");
    assert!(rest.ends_with("own"), "{rest}");
    stream.socket.set_nonblocking(false).unwrap();
    stream.socket.write_all(b"still here").unwrap();
    turn.read_exact(&mut [0; 10]).unwrap();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let desk = open(|_, _| {});
    let listen = Listen { scheme: Scheme::Tcp, address: desk.tcp() };
    let error = Front::open(FrontConfig {
        listen: vec![listen],
        tls: TlsSettings::default(),
        streams: StreamSettings::default(),
        web: Router::new(),
        admit: Box::new(drop),
        certificate_read: Box::new(|| ()),
    });
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.starts_with(&format!("cannot listen on {listen}")), "{error}");
    assert!(error.contains("ss -tlpn") && error.contains("Address already in use"), "{error}");
}
