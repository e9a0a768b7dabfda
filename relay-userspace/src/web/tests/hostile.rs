//! Clients that mean harm, or are broken: each costs little, for a short time, and nobody else notices.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::server::*;
use crate::web::ice::{BODY_SIZE, BODY_TIME};

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

/// Keys cannot be tried at leisure, and who tries them keeps nobody else out.
#[test]
fn a_network_without_a_key_is_held_to_a_rate_and_others_are_served() {
    let server = Server::standard();
    let wrong = request("POST /v1/ice", &["Authorization: Bearer guess"], "");
    let answers: Vec<u16> = (0..100).map(|_| server.ask_from(7, &wrong).status).collect();
    let told = answers.iter().filter(|status| **status == 401).count();
    assert!((30..45).contains(&told), "{answers:?}");
    assert_eq!(answers.last(), Some(&429));
    assert_eq!(server.ask_from(8, &wrong).status, 401);
    // Somebody there who has a key is none of them.
    assert_eq!(server.ask_from(7, &request("POST /v1/ice", &[&bearer(KEY)], "")).status, 200);
}

#[test]
fn pages_of_one_network_do_not_use_up_what_is_for_all_visitors_of_a_tenant() {
    let server = Server::start(&SETTINGS.replace("[ice]\n", "[ice]\naddress-rate = 2\n"));
    let ask =
        |network, key: &str| server.ask_from(network, &request("POST /v1/ice", &[&bearer(key)], "")).status;
    let passed = |network, key| (0..60).map(|_| ask(network, key)).filter(|status| *status == 200).count();
    assert!((20..25).contains(&passed(7, KEY)));
    assert!((20..25).contains(&passed(8, KEY)));
    // A back end is one address.
    assert_eq!(passed(7, OTHER_KEY), 60);
}

#[test]
fn a_body_that_does_not_come_is_given_up_and_holds_nobody_up() {
    let server = Server::standard();
    let begin = Instant::now();
    let json = "Content-Type: application/json\r\nContent-Length: 100";
    let head = request("POST /v1/ice", &[&bearer(OTHER_KEY), json], "");
    let mut slow: Vec<_> = (0..50).map(|_| server.connect(0)).collect();
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"{").unwrap();
    }
    assert_eq!(server.ask("POST /v1/ice", &[&bearer(KEY)], "").status, 200);
    assert!(begin.elapsed() < BODY_TIME);
    for stream in slow {
        let answer = Answer::read(stream);
        assert_eq!((answer.status, answer.header("Connection")), (408, Some("close")), "{answer:?}");
    }
    assert!(begin.elapsed() < BODY_TIME + Duration::from_secs(4));
}

#[test]
fn a_body_without_end_is_read_to_its_limit_only() {
    let server = Server::standard();
    let chunked = request("POST /v1/ice", &[&bearer(KEY), "Transfer-Encoding: chunked"], "");
    let mut stream = server.connect(0);
    stream.write_all(chunked.as_bytes()).unwrap();
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let mut sent = 0;
    // Until the other side has enough of it.
    while sent < 64 << 20 && stream.write_all(chunk.as_bytes()).is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 8 << 20, "{sent}");
    // Without a key, none of it is wanted.
    let mut stream = server.connect(0);
    let large = request("POST /v1/ice", &["Content-Length: 1000000000"], "");
    stream.write_all(large.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

#[test]
fn the_operators_page_says_how_long_a_body_may_be_and_take() {
    let server = Server::standard();
    let json = "Content-Type: application/json";
    let mut body = "{\"user\":\"a\"}".to_owned();
    body.extend(std::iter::repeat_n(' ', BODY_SIZE - body.len()));
    assert_eq!(server.ask("POST /v1/ice", &[&bearer(OTHER_KEY), json], &body).status, 200);
    body.push(' ');
    assert_eq!(server.ask("POST /v1/ice", &[&bearer(OTHER_KEY), json], &body).status, 413);

    let page =
        include_str!("../../../../docs/transports.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let thousands = format!("{},{:03}", BODY_SIZE / 1000, BODY_SIZE % 1000);
    let seconds = BODY_TIME.as_secs();
    let told = format!(
        "`/v1/ice` takes {thousands} bytes of it (413 beyond) and waits {seconds} seconds for them (408)"
    );
    assert!(page.contains(&told), "{told}");
}

#[test]
fn garbage_in_place_of_requests_is_answered_or_dropped_and_nothing_more() {
    let server = Server::standard();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\x01\0\0\x21\x12\xa4\x42AAAAAAAAAAAA",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/ice HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/ice HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/ice HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n",
        b"POST /v1/ice HTTP/1.1\r\nHost: x\r\nOrigin: \xff\r\nConnection: close\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let mut stream = server.connect(9);
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = Answer::read(stream);
        assert!([0, 400, 401, 404].contains(&answer.status), "{bytes:?}: {answer:?}");
    }
    assert_eq!(server.ask("GET /", &[], "").status, 200);
}

#[test]
fn thousands_at_once_are_all_answered() {
    let server = Server::standard();
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    thread::scope(|scope| {
        for n in 0..8_u8 {
            let (server, deep) = (&server, &deep);
            scope.spawn(move || {
                for round in 0..250 {
                    let (key, body) = match (u32::from(n) + round) % 4 {
                        0 => (OTHER_KEY, deep.as_str()),
                        1 => (OTHER_KEY, "{\"user\":"),
                        2 => ("wrong", ""),
                        _ => (KEY, "{\"user\":\"\u{fffd}\"}"),
                    };
                    let headers = [&*bearer(key), "Content-Type: application/json"];
                    let answer = server.ask_from(n, &request("POST /v1/ice", &headers, body));
                    assert!([200, 400, 401, 429].contains(&answer.status), "{answer:?}");
                }
            });
        }
    });
    assert_eq!(server.ask_from(99, &request("GET /", &[], "")).status, 200);
}
