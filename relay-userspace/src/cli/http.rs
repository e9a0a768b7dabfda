//! One HTTP request, which is all that talking to the admin API needs.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::admin::HEADER;
use crate::config::DEFAULT_ADMIN;

const TIME: Duration = Duration::from_secs(5);

/// How long the server may take to change something: longer than it waits for its shards.
const CHANGE_TIME: Duration = Duration::from_secs(12);

/// Most bytes of an answer.
const SIZE: usize = 16 << 20;

/// Which server to talk to.
#[derive(Debug, clap::Args)]
pub(super) struct ServerFlags {
    /// The server's --admin address; changes are taken from its own host only
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = DEFAULT_ADMIN.to_string())]
    admin: String,
}

impl ServerFlags {
    /// `HOST:PORT`.
    pub(super) fn authority(&self) -> &str {
        self.admin.trim_start_matches("http://").trim_end_matches('/')
    }
}

/// Gets `path` from `authority` (`HOST:PORT`).
pub(super) fn get(authority: &str, path: &str) -> Result<String> {
    let (first, body) = ask(authority, "GET", path, TIME)?;
    match status(&first) {
        Some("200") => Ok(body),
        _ => bail!("{authority} answers {path} with {first:?}"),
    }
}

/// Asks for a change, or for what the server tells to its own host only. When it is refused, the error is what the server
/// says.
pub(super) fn change(authority: &str, method: &str, path: &str) -> Result<String> {
    let (first, body) = ask(authority, method, path, CHANGE_TIME)?;
    // It ends up on a terminal.
    let said: String = body.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match status(&first) {
        Some("200") => Ok(body),
        Some("404" | "405") if said.is_empty() => {
            bail!("{authority} knows nothing of {path}: it is another version")
        }
        _ if said.is_empty() => bail!("{authority} answers {path} with {first:?}"),
        _ => bail!("{said}"),
    }
}

/// First line and body of the answer. In HTTP/1.0, where the body ends with the connection.
fn ask(authority: &str, method: &str, path: &str, time: Duration) -> Result<(String, String)> {
    let addresses = authority.to_socket_addrs().with_context(|| format!("{authority:?} is not HOST:PORT"))?;
    let mut stream = connect(addresses).with_context(|| format!("cannot connect to {authority}"))?;
    stream.set_write_timeout(Some(TIME))?;
    // By address: changes are not taken under a name.
    let host = stream.peer_addr()?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {host}\r\n{HEADER}: 1\r\n\r\n")?;
    let answer = read(stream, time).with_context(|| format!("no answer from {authority}"))?;
    let answer = String::from_utf8(answer).context("the answer is no text")?;

    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let first = head.lines().next().unwrap_or_default();
    ensure!(first.starts_with("HTTP/1."), "the answer is not HTTP");
    Ok((first.to_owned(), body.to_owned()))
}

fn status(first: &str) -> Option<&str> {
    first.split(' ').nth(1)
}

/// Reads to the end, within `time` however slowly it comes.
fn read(mut stream: TcpStream, time: Duration) -> Result<Vec<u8>> {
    let deadline = Instant::now() + time;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    while answer.len() < SIZE {
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero would mean no timeout.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(len) if !left.is_zero() => answer.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(error.into());
            }
            _ => bail!("it is not complete after {} s", time.as_secs()),
        }
    }
    bail!("it has more than {SIZE} bytes")
}

fn connect(addresses: impl Iterator<Item = std::net::SocketAddr>) -> Result<TcpStream> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, TIME) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("the name has no address")?.into())
}
