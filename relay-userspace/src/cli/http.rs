//! One HTTP GET, which is all that `status` needs.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

const TIME: Duration = Duration::from_secs(5);

/// Most bytes of an answer.
const SIZE: u64 = 4 << 20;

/// Gets `path` from `authority` (`HOST:PORT`). In HTTP/1.0, where the body ends with the connection.
pub(super) fn get(authority: &str, path: &str) -> Result<String> {
    let addresses = authority.to_socket_addrs().with_context(|| format!("{authority:?} is not HOST:PORT"))?;
    let mut stream = connect(addresses).with_context(|| format!("cannot connect to {authority}"))?;
    stream.set_read_timeout(Some(TIME))?;
    stream.set_write_timeout(Some(TIME))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(SIZE).read_to_end(&mut answer).with_context(|| format!("no answer from {authority}"))?;
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
