//! Clients that mean harm, or are broken: however many, `/livez` answers, and so does everything else.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{OPERATOR, ask, serve};

/// What an orchestrator waits for an answer before it kills the server, at the least.
const PATIENCE: Duration = Duration::from_secs(3);

/// Somebody who has connections and opens another in place of each that is closed.
struct Holder {
    server: SocketAddr,
    /// What each of them begins with, and then repeats.
    bytes: &'static [u8],
    held: Vec<TcpStream>,
}

impl Holder {
    /// Opens what is missing of `number`, and sends some more by the others: how many are new.
    fn hold(&mut self, number: usize) -> usize {
        let bytes = self.bytes;
        self.held.retain_mut(|stream| {
            // A full buffer is none of this one's troubles.
            let sent = stream.write(bytes).map_err(|error| error.kind());
            let read = stream.read(&mut [0; 1024]).map_err(|error| error.kind());
            let is_open = |result| matches!(result, Err(ErrorKind::WouldBlock));
            (sent.is_ok() || is_open(sent)) && is_open(read)
        });
        let missing = number - self.held.len();
        for _ in 0..missing {
            let Ok(stream) = TcpStream::connect_timeout(&self.server, PATIENCE) else { continue };
            stream.set_nonblocking(true).unwrap();
            let _ = (&stream).write(bytes);
            self.held.push(stream);
        }
        missing
    }
}

/// First line of the answer to a request that is made now, and how long it took.
fn asked(server: SocketAddr, line: &str) -> (String, Duration) {
    let begin = Instant::now();
    let Ok(mut stream) = TcpStream::connect_timeout(&server, PATIENCE) else {
        return ("no connection".into(), begin.elapsed());
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{line} HTTP/1.1\r\n{OPERATOR}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    (answer.lines().next().unwrap_or_default().to_owned(), begin.elapsed())
}

const LONG: [u8; 4096] = [b'x'; 4096];

/// Silent, slow, too long, wrong, and pages that nobody reads.
const KINDS: [&[u8]; 8] = [
    b"",
    b"G",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    &LONG,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Turnpike: 1\r\nContent-Length: 1000000\r\n\r\n",
    b"GET /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Turnpike: 1\r\n\r\n",
];

/// Each of 16 threads has as many connections; the server has room for fewer in all.
#[test]
fn who_holds_connections_and_opens_others_when_they_close_keeps_nobody_out() {
    let (admin, source) = serve();
    let server = admin.address();
    let (over, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for n in 0..16 {
            let (over, opened) = (&over, &opened);
            scope.spawn(move || {
                let mut holder = Holder { server, bytes: KINDS[n % KINDS.len()], held: Vec::new() };
                while !over.load(Ordering::Relaxed) {
                    opened.fetch_add(holder.hold(40), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let begin = Instant::now();
        let mut answers = Vec::new();
        while begin.elapsed() < Duration::from_secs(5) {
            for (line, first) in [
                ("GET /livez", "HTTP/1.1 200 OK"),
                ("GET /metrics", "HTTP/1.1 200 OK"),
                ("POST /v1/drain", "HTTP/1.1 200 OK"),
            ] {
                let (answer, took) = asked(server, line);
                answers.push((line, answer == first && took < PATIENCE, answer, took));
            }
        }
        over.store(true, Ordering::Relaxed);
        let failed: Vec<_> = answers.iter().filter(|(_, is_good, ..)| !is_good).collect();
        assert!(failed.is_empty(), "of {} requests: {failed:?}", answers.len());
    });
    // They were there, and not turned away before they came.
    assert!(opened.into_inner() > 2000);
    assert!(!source.changes().contains(&"reload"), "what says to have a body changes nothing");
}

#[test]
fn thousands_at_once_keep_nobody_out() {
    let (admin, _) = serve();
    let server = admin.address();
    for bytes in KINDS {
        let mut holder = Holder { server, bytes, held: Vec::new() };
        holder.hold(400);
        let (first, took) = asked(server, "GET /livez");
        assert_eq!(first, "HTTP/1.1 200 OK", "{:?} after {took:?}", String::from_utf8_lossy(bytes));
    }
}

/// Changes are made one after the other, and each is answered.
#[test]
fn who_asks_for_a_change_behind_many_others_is_answered_too() {
    let (admin, source) = serve();
    let request = format!("DELETE /v1/sessions?user=many HTTP/1.1\r\n{OPERATOR}\r\n");
    thread::scope(|scope| {
        let asking = [(); 100].map(|()| scope.spawn(|| ask(admin.address(), &request).0));
        for answer in asking {
            assert_eq!(answer.join().unwrap(), "HTTP/1.1 200 OK");
        }
    });
    assert_eq!(source.changes(), ["end"; 100]);
}

/// Nothing is left of them after a while, whatever they do.
#[test]
fn a_head_that_does_not_come_to_an_end_is_given_up() {
    let (admin, _) = serve();
    let begin = Instant::now();
    let silent = TcpStream::connect(admin.address()).unwrap();
    let mut slow = TcpStream::connect(admin.address()).unwrap();
    slow.set_nonblocking(true).unwrap();
    for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ".iter().chain(&[b'x'; 1000]) {
        // It is closed on the other side.
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!((&silent).read(&mut [0; 9]), Ok(0)), "closed too");
    assert_eq!(ask(admin.address(), "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").1, "ok\n");
}
