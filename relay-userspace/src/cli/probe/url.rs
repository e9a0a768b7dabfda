//! TURN URIs (RFC 7065), as far as the probe can follow them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::config::DEFAULT_PORT;

/// `turn:HOST[:PORT][?transport=udp]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TurnUrl {
    /// A name or an address, IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl FromStr for TurnUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once(':') {
            Some(("turn", rest)) => rest,
            Some(("turns", _)) => return Err("turns: is not supported yet: only turn: over UDP is".into()),
            _ => return Err("write turn:HOST[:PORT][?transport=udp]".into()),
        };
        let (authority, query) = rest.split_once('?').unwrap_or((rest, "transport=udp"));
        match query {
            "transport=udp" => {}
            "transport=tcp" => return Err("transport=tcp is not supported yet: only UDP is".into()),
            _ => return Err(format!("{query:?} is not known: write ?transport=udp or nothing")),
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or("a bracket is not closed")?;
                host.parse::<Ipv6Addr>().map_err(|_| format!("{host:?} is no IPv6 address"))?;
                (
                    host,
                    port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or("write [ADDRESS]:PORT")?,
                )
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        if host.is_empty() || host.contains(|c: char| !c.is_ascii_alphanumeric() && !"-._:".contains(c)) {
            return Err(format!("{host:?} is no name of a host"));
        }
        let port = match port {
            "" => DEFAULT_PORT,
            digits => {
                digits.parse().ok().filter(|port| *port != 0).ok_or(format!("{digits:?} is no port"))?
            }
        };
        Ok(Self { host: host.into(), port })
    }
}

impl fmt::Display for TurnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "turn:[{}]:{}", self.host, self.port)
        } else {
            write!(f, "turn:{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_browsers_write_them() {
        let cases = [
            ("turn:relay.example.org", "turn:relay.example.org:3478"),
            ("turn:192.0.2.1:443", "turn:192.0.2.1:443"),
            ("turn:192.0.2.1:3478?transport=udp", "turn:192.0.2.1:3478"),
            ("turn:[2001:db8::1]", "turn:[2001:db8::1]:3478"),
            ("turn:[2001:db8::1]:443?transport=udp", "turn:[2001:db8::1]:443"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<TurnUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn urls_that_cannot_be_followed_are_refused_with_the_reason() {
        let cases = [
            ("turns:relay.example.org", "turns: is not supported yet"),
            ("turn:relay.example.org?transport=tcp", "transport=tcp is not supported yet"),
            ("turn:relay.example.org?x=1", "is not known"),
            ("stun:relay.example.org", "write turn:HOST"),
            ("relay.example.org:3478", "write turn:HOST"),
            ("turn:relay.example.org:0", "is no port"),
            ("turn:relay.example.org:99999", "is no port"),
            ("turn:", "is no name"),
            ("turn:a b", "is no name"),
            ("turn:[2001:db8::1", "not closed"),
            ("turn:[2001:db8::1]x", "write [ADDRESS]:PORT"),
            ("turn:[relay]", "is no IPv6"),
        ];
        for (text, why) in cases {
            let complaint = text.parse::<TurnUrl>().expect_err(text);
            assert!(complaint.contains(why), "{text}: {complaint}");
        }
    }
}
