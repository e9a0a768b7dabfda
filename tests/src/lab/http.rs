//! Asking a server's admin API, from inside its namespace.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::namespace::Namespace;

/// What a page answered.
#[derive(Clone, Debug)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The page.
    pub body: String,
}

/// Fetches a page. An error when nobody answers within a second.
pub fn get(machine: &Namespace, admin: SocketAddr, path: &str) -> io::Result<Page> {
    machine.enter(|| {
        let limit = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&admin, limit)?;
        stream.set_read_timeout(Some(limit))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Page { status: status.ok_or(io::ErrorKind::InvalidData)?, body: body.to_owned() })
    })
}
