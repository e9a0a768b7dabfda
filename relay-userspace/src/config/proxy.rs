//! Names of other servers that connections are passed on to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::alternate::Domain;
use super::listen::Listen;
use super::values::{BadValue, refuse};
use super::{ConfigError, resolve};

/// A server that connections are passed on to: `HOST:PORT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Its name or address; an IPv6 one without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let Some((host, port @ 1..)) = parts else {
            return refuse(format!("{text:?} is no HOST:PORT, as in 127.0.0.1:8080"));
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_right = match bare {
            Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Domain>().is_ok(),
        };
        if !is_right {
            return refuse(format!("{text:?} is no HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080"));
        }
        Ok(Self { host: bare.unwrap_or(host).into(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Endpoint {
    /// Refuses one that is ourselves: what is passed on would come back, again and again.
    pub(super) fn check(&self, key: &str, listen: &[Listen]) -> Result<(), ConfigError> {
        let ip = self.host.parse::<IpAddr>();
        let is_own =
            |l: &&Listen| l.scheme.is_stream() && ip == Ok(l.address.ip()) && self.port == l.address.port();
        match listen.iter().find(is_own) {
            Some(own) => resolve::refuse(format!("{key} {self} is the listener {own} of this server itself")),
            None => Ok(()),
        }
    }
}

/// A name that clients ask for in SNI (RFC 6066 section 3): `www.example.org`, or `*.example.org` for all names with one
/// label more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerName(String);

impl ServerName {
    /// In lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        text.strip_prefix("*.").unwrap_or(text).parse::<Domain>()?;
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_host_and_a_port() {
        for text in ["127.0.0.1:8080", "[::1]:1", "web.example.org:443", "localhost:65535"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:1".parse::<Endpoint>().unwrap().host, "::1");
        for text in
            ["", "localhost", ":80", "localhost:0", "localhost:65536", "::1:80", "http://x:80", "[x]:80"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_may_begin_with_a_star() {
        assert_eq!("WWW.Example.org".parse::<ServerName>().unwrap().as_str(), "www.example.org");
        assert_eq!("*.example.org".parse::<ServerName>().unwrap().as_str(), "*.example.org");
        for text in ["", "*", "*.", "a.*.org", "**.org"] {
            assert!(text.parse::<ServerName>().is_err(), "{text}");
        }
    }
}
