//! One HTTP GET, which is all that `status` needs.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

const TIME: Duration = Duration::from_secs(5);

/// Most bytes of an answer.
const SIZE: usize = 4 << 20;

/// Gets `path` from `authority` (`HOST:PORT`). In HTTP/1.0, where the body ends with the connection.
pub(super) fn get(authority: &str, path: &str) -> Result<String> {
    let addresses = authority.to_socket_addrs().with_context(|| format!("{authority:?} is not HOST:PORT"))?;
    let mut stream = connect(addresses).with_context(|| format!("cannot connect to {authority}"))?;
    stream.set_write_timeout(Some(TIME))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n")?;
    let answer = read(stream).with_context(|| format!("no answer from {authority}"))?;
    let answer = String::from_utf8(answer).context("the answer is no text")?;

    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let first = head.lines().next().unwrap_or_default();
    let mut words = first.split(' ');
    ensure!(words.next().is_some_and(|version| version.starts_with("HTTP/1.")), "the answer is not HTTP");
    match words.next() {
        Some("200") => Ok(body.to_owned()),
        _ => bail!("{authority} answers {path} with {first:?}"),
    }
}

/// Reads to the end, within [`TIME`] however slowly it comes.
fn read(mut stream: TcpStream) -> Result<Vec<u8>> {
    let deadline = Instant::now() + TIME;
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
            _ => bail!("it is not complete after {} s", TIME.as_secs()),
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
