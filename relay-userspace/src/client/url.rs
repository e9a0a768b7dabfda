//! Where a TURN server is: TURN URIs (RFC 7065), and the URL of a WebSocket.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// What carries TURN messages to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// `turn:HOST`
    Udp,
    /// `turn:HOST?transport=tcp`
    Tcp,
    /// `turns:HOST`
    Tls,
    /// `turns:HOST?transport=udp`
    Dtls,
    /// `ws://HOST/turn`
    Ws,
    /// `wss://HOST/turn`
    Wss,
}

impl Carrier {
    /// Whether messages travel one by one and may be lost, so that requests are to be sent again (RFC 8489 section 6.2.1).
    pub fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::Dtls)
    }

    /// Whether there is a TLS handshake over TCP.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether the server shows a certificate.
    pub fn has_certificate(self) -> bool {
        self.has_tls() || matches!(self, Self::Dtls)
    }

    /// Whether there is a WebSocket.
    pub fn is_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// RFC 8656 section 5 has the ports of TURN, RFC 6455 section 3 those of WebSockets.
    fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 3478,
            Self::Tls | Self::Dtls => 5349,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Dtls => "DTLS",
            Self::Ws => "WebSocket",
            Self::Wss => "secure WebSocket",
        })
    }
}

/// `turn:HOST[:PORT][?transport=udp|tcp]`, `turns:HOST[:PORT][?transport=tcp|udp]` or `ws[s]://HOST[:PORT][/PATH]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerUrl {
    /// What carries the messages.
    pub carrier: Carrier,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port; the carrier's own where the URL names none.
    pub port: u16,
    /// Of a WebSocket, with the query if there is one. `/turn` where the URL names none.
    pub path: String,
}

/// Where Turnpike has its WebSocket.
const DEFAULT_PATH: &str = "/turn";

const FORMS: &str = "write turn:HOST[:PORT][?transport=tcp], turns:HOST[:PORT] or wss://HOST[:PORT]/turn";

impl ServerUrl {
    /// `HOST:PORT`, IPv6 in brackets: what a proxy is asked for.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    /// `HOST`, with the port where it is not that of the scheme: the Host header of HTTP (RFC 9110 section 7.2).
    pub fn host_header(&self) -> String {
        if self.port == self.carrier.default_port() { self.bracketed() } else { self.authority() }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').ok_or(FORMS)?;
        let web_socket = match scheme {
            "turn" | "turns" => None,
            "ws" | "turn+ws" => Some(Carrier::Ws),
            "wss" | "turn+wss" => Some(Carrier::Wss),
            "http" | "https" => return Err("a WebSocket's URL begins with ws:// or wss://".into()),
            _ => return Err(FORMS.into()),
        };
        let (carrier, authority, path) = match web_socket {
            Some(carrier) => {
                let rest = rest.strip_prefix("//").ok_or("write wss://HOST[:PORT]/turn")?;
                let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                (carrier, authority, web_path(path)?)
            }
            None => {
                if rest.starts_with("//") {
                    return Err(format!("a TURN URL has no slashes: write {scheme}:HOST[:PORT]"));
                }
                let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
                (transport(scheme, query)?, authority, String::new())
            }
        };
        let (host, port) = host_and_port(authority)?;
        Ok(Self { carrier, host, port: port.unwrap_or(carrier.default_port()), path })
    }
}

/// The carrier of a TURN URI (RFC 7065 section 3.2).
fn transport(scheme: &str, query: &str) -> Result<Carrier, String> {
    match (scheme, query) {
        ("turn", "" | "transport=udp") => Ok(Carrier::Udp),
        ("turn", "transport=tcp") => Ok(Carrier::Tcp),
        ("turns", "" | "transport=tcp") => Ok(Carrier::Tls),
        ("turns", "transport=udp") => Ok(Carrier::Dtls),
        _ => Err(format!("{query:?} is not known: write ?transport=udp, ?transport=tcp or nothing")),
    }
}

fn web_path(path: &str) -> Result<String, String> {
    if path.contains(|c: char| !c.is_ascii_graphic() || c == '#') {
        return Err(format!("{path:?} is no path of a WebSocket"));
    }
    Ok(match path {
        "" | "/" => DEFAULT_PATH.into(),
        query if query.starts_with('?') => format!("{DEFAULT_PATH}{query}"),
        path => path.into(),
    })
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`.
pub(super) fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']').ok_or("a bracket is not closed")?;
            host.parse::<Ipv6Addr>().map_err(|_| format!("{host:?} is no IPv6 address"))?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or("write [ADDRESS]:PORT")?)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            if host.is_empty() || host.contains(|c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c)) {
                return Err(format!("{host:?} is no name of a host"));
            }
            (host, port)
        }
    };
    let port = match port {
        "" => None,
        digits => Some(
            digits.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{digits:?} is no port"))?,
        ),
    };
    Ok((host.into(), port))
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.authority();
        match self.carrier {
            Carrier::Udp => write!(f, "turn:{authority}"),
            Carrier::Tcp => write!(f, "turn:{authority}?transport=tcp"),
            Carrier::Tls => write!(f, "turns:{authority}"),
            Carrier::Dtls => write!(f, "turns:{authority}?transport=udp"),
            Carrier::Ws => write!(f, "ws://{}{}", self.host_header(), self.path),
            Carrier::Wss => write!(f, "wss://{}{}", self.host_header(), self.path),
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
            ("turn:192.0.2.1:80?transport=tcp", "turn:192.0.2.1:80?transport=tcp"),
            ("turns:relay.example.org", "turns:relay.example.org:5349"),
            ("turns:relay.example.org:443?transport=tcp", "turns:relay.example.org:443"),
            ("turns:relay.example.org?transport=udp", "turns:relay.example.org:5349?transport=udp"),
            ("turn:[2001:db8::1]", "turn:[2001:db8::1]:3478"),
            ("turn:[2001:db8::1]:443?transport=udp", "turn:[2001:db8::1]:443"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn web_socket_urls_have_a_path_and_the_ports_of_the_web() {
        let cases = [
            ("wss://relay.example.org/turn", "wss://relay.example.org/turn", 443),
            ("wss://relay.example.org", "wss://relay.example.org/turn", 443),
            ("wss://relay.example.org:8443/", "wss://relay.example.org:8443/turn", 8443),
            ("ws://[2001:db8::1]/a/b?c=d", "ws://[2001:db8::1]/a/b?c=d", 80),
            ("turn+wss://relay.example.org?key=1", "wss://relay.example.org/turn?key=1", 443),
            ("turn+ws://relay.example.org:443", "ws://relay.example.org:443/turn", 443),
        ];
        for (text, shown, port) in cases {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.port), (shown, port));
            assert!(url.carrier.is_web_socket());
        }
    }

    #[test]
    fn urls_that_cannot_be_followed_are_refused_with_the_reason() {
        let cases = [
            ("turn:relay.example.org?transport=sctp", "is not known"),
            ("turn:relay.example.org?x=1", "is not known"),
            ("stun:relay.example.org", "write turn:HOST"),
            ("relay.example.org", "write turn:HOST"),
            ("relay.example.org:3478", "write turn:HOST"),
            ("https://relay.example.org/turn", "wss://"),
            ("wss:relay.example.org", "write wss://HOST"),
            ("wss://relay.example.org/turn#here", "is no path"),
            ("wss://user@relay.example.org/turn", "is no name"),
            ("turns://relay.example.org", "has no slashes"),
            ("turn:relay.example.org:0", "is no port"),
            ("turn:relay.example.org:99999", "is no port"),
            ("turn:2001:db8::1", "is no port"),
            ("turn:", "is no name"),
            ("turn:a b", "is no name"),
            ("turn:[2001:db8::1", "not closed"),
            ("turn:[2001:db8::1]x", "write [ADDRESS]:PORT"),
            ("turn:[relay]", "is no IPv6"),
        ];
        for (text, why) in cases {
            let complaint = text.parse::<ServerUrl>().expect_err(text);
            assert!(complaint.contains(why), "{text}: {complaint}");
        }
    }
}
