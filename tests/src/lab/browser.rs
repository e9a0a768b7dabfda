//! A browser without a screen, which opens one page and reports what that found.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::host::Host;
use super::process::Process;

/// Chromium, with a profile of its own.
#[derive(Debug)]
pub struct Chromium {
    process: Process,
    pages: TcpListener,
    page: &'static str,
    profile: PathBuf,
}

impl Chromium {
    /// Opens this page with this fragment in its address. The page is served from the machine's own loopback.
    pub fn open(host: &Host, page: &'static str, fragment: &str) -> Self {
        static PROFILES: AtomicU32 = AtomicU32::new(0);
        let pages =
            host.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port of the loopback");
        pages.set_nonblocking(true).expect("a setting of the socket");
        let number = PROFILES.fetch_add(1, Ordering::Relaxed);
        let profile = std::env::temp_dir().join(format!("turnpike-chromium-{}-{number}", std::process::id()));
        fs::create_dir(&profile).expect("a folder for the profile");
        let port = pages.local_addr().expect("bound").port();
        let mut command = host.command("/usr/bin/chromium");
        command
            // Root has no sandbox, and nothing here comes from elsewhere.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            // It is to talk to this lab and to nobody else.
            .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--disable-default-apps"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("http://127.0.0.1:{port}/#{fragment}"))
            .env("HOME", &profile);
        Self { process: Process::start(&mut command), pages, page, profile }
    }

    /// What the page posts to `/result`, which must come within `limit`.
    pub fn result(&mut self, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            match self.pages.accept() {
                Ok((stream, _)) => {
                    // A connection may be one that the browser made in advance and does not use.
                    if let Ok(Some(result)) = self.answer(stream) {
                        return result;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
                Err(e) => panic!("accept: {e}"),
            }
            if let Some(status) = self.process.exited() {
                panic!("the browser ended with {status}:\n{}", self.process.output());
            }
        }
        panic!("the page reported nothing within {limit:?}; the browser said:\n{}", self.process.output());
    }

    /// Answers one request; the body, if it was the page's result.
    fn answer(&self, stream: TcpStream) -> io::Result<Option<String>> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut reader = BufReader::new(&stream);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, page) = match request.split(' ').nth(1) {
            Some("/") => ("200 OK", self.page),
            Some("/result") => ("204 No Content", ""),
            _ => ("404 Not Found", ""),
        };
        write!(
            &stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        )?;
        let result = request.starts_with("POST /result ");
        Ok(result.then(|| String::from_utf8_lossy(&body).into_owned()))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.process.kill();
        // Its children go when they notice, and until then may still write there.
        for _ in 0..50 {
            if fs::remove_dir_all(&self.profile).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
