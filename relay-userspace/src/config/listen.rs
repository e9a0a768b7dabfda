//! Where clients are served: `udp://ADDRESS[:PORT]` and the other schemes.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::values::{BadValue, refuse};

/// The port of TURN over UDP and TCP (RFC 8656 section 20).
pub const DEFAULT_PORT: u16 = 3478;

/// Every scheme, for complaints.
const SCHEMES: &str = "udp, tcp, tls, dtls, http or https";

/// What a listener speaks.
///
/// On a connection the client's first bytes decide: `tcp` and `http` differ in their default port alone, as do `tls` and
/// `https`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// TURN in datagrams.
    Udp,
    /// TURN over TCP, HTTP and WebSocket.
    Tcp,
    /// The same over TLS.
    Tls,
    /// TURN in datagrams over DTLS.
    Dtls,
    /// As `Tcp`, on the port of HTTP.
    Http,
    /// As `Tls`, on the port of HTTPS.
    Https,
}

impl Scheme {
    /// All there are.
    pub const ALL: [Self; 6] = [Self::Udp, Self::Tcp, Self::Tls, Self::Dtls, Self::Http, Self::Https];

    /// As in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Dtls => "dtls",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Where clients look for it (RFC 8656 section 20, RFC 9110 section 4.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => DEFAULT_PORT,
            Self::Tls | Self::Dtls => 5349,
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Whether clients connect by TCP.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Udp | Self::Dtls)
    }

    /// Whether they are served by TLS over TCP.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }

    /// Whether a certificate is shown to them.
    pub const fn has_certificate(self) -> bool {
        self.is_tls() || matches!(self, Self::Dtls)
    }
}

/// Where to listen, and for what: `SCHEME://ADDRESS[:PORT]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// What is spoken there.
    pub scheme: Scheme,
    /// Where.
    pub address: SocketAddr,
}

impl Listen {
    /// A listener for TURN over UDP.
    pub fn udp(address: SocketAddr) -> Self {
        Self { scheme: Scheme::Udp, address }
    }
}

impl FromStr for Listen {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let Some((name, rest)) = text.split_once("://") else {
            return refuse(format!("{text:?} has no scheme: write udp://ADDRESS:PORT, or {SCHEMES}"));
        };
        let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name) else {
            let hint = match name {
                "turns" => "; TURN over TLS is tls://",
                "wss" => "; WebSockets are at /turn of https://",
                "ws" => "; WebSockets are at /turn of http://",
                "turn" => "; clients write turn: where a listener is udp:// or tcp://",
                _ => "",
            };
            return refuse(format!("unknown scheme {name:?}: write udp://ADDRESS:PORT, or {SCHEMES}{hint}"));
        };
        match address_and_port(rest, &format!("{name}://"), scheme.default_port())? {
            address if address.port() == 0 => refuse("port 0: clients must know the port beforehand"),
            address => Ok(Self { scheme, address }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.address)
    }
}

/// An address with the port that follows it, else the default. IPv6 addresses take brackets, because
/// `2001:db8::1:3478` could mean either. A complaint shows the form with `scheme` before it.
pub(super) fn address_and_port(text: &str, scheme: &str, default: u16) -> Result<SocketAddr, BadValue> {
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return refuse(format!("IPv6 addresses take brackets: write {scheme}[{v6}]:{default}"));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = text.parse().or_else(|_| {
        let ip = bracketed.map_or_else(|| text.parse(), |v6| v6.parse::<Ipv6Addr>().map(IpAddr::V6));
        ip.map(|ip| SocketAddr::new(ip, default))
    });
    match address {
        Ok(SocketAddr::V6(v6)) if v6.scope_id() != 0 => refuse_link(text),
        Ok(address) => Ok(address),
        Err(_) if text.contains('%') => refuse_link(text),
        Err(_) => refuse(format!("{text:?} is no IP address with a port: write {scheme}ADDRESS:PORT")),
    }
}

fn refuse_link<T>(text: &str) -> Result<T, BadValue> {
    refuse(format!("{text:?} is an address of one link only: name a global or unique local one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_the_port_that_clients_look_for() {
        let shown = |text: &str| text.parse::<Listen>().unwrap().to_string();
        for (text, expected) in [
            ("udp://10.0.0.2", "udp://10.0.0.2:3478"),
            ("tcp://[2001:db8::1]", "tcp://[2001:db8::1]:3478"),
            ("tls://10.0.0.2", "tls://10.0.0.2:5349"),
            ("dtls://10.0.0.2", "dtls://10.0.0.2:5349"),
            ("http://10.0.0.2", "http://10.0.0.2:80"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
            ("tls://10.0.0.2:443", "tls://10.0.0.2:443"),
        ] {
            assert_eq!(shown(text), expected);
        }
        let complaint = "tls://2001:db8::1".parse::<Listen>().unwrap_err().to_string();
        assert_eq!(complaint, "IPv6 addresses take brackets: write tls://[2001:db8::1]:5349");
    }
}
