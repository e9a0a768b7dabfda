//! The page that a machine shows to its own browser: on the loopback, which counts as a secure place.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::lab::Host;

/// The page's origin, for those who ask where a request comes from.
pub(super) const ORIGIN: &str = "http://127.0.0.1:8000";

/// A web server of one page, until dropped.
#[derive(Debug)]
pub(super) struct Pages {
    stop: Arc<AtomicBool>,
    server: Option<thread::JoinHandle<()>>,
}

impl Pages {
    pub(super) fn serve(host: &Host, page: &'static str) -> Self {
        let at = ORIGIN.strip_prefix("http://").expect("an origin");
        let listener =
            host.enter(|| TcpListener::bind(at)).expect("nobody else is on this port of the loopback");
        listener.set_nonblocking(true).expect("a setting of the socket");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let server = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A connection may be one that the browser made in advance and does not use: it is closed soon.
                    Ok((stream, _)) => drop(answer(stream, page)),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { stop, server: Some(server) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn answer(stream: TcpStream, page: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = if request.starts_with("GET / ") { ("200 OK", page) } else { ("404 Not Found", "") };
    let length = body.len();
    write!(
        &stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
