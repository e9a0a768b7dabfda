//! The values of `[ice]` and `[test-page]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::alternate::Domain;
use super::values::{BadValue, refuse, split_port};

/// A shorter key could be found by trying.
const MIN_KEY: usize = 12;

/// No header that a client sends is longer.
const MAX_KEY: usize = 512;

/// A name or address in the form that it has in URLs: `turn.example.org`, `192.0.2.1`, `[2001:db8::1]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicHost(String);

impl PublicHost {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an address and no name.
    pub fn is_address(&self) -> bool {
        self.0.starts_with('[') || self.0.parse::<Ipv4Addr>().is_ok()
    }
}

impl From<IpAddr> for PublicHost {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self(v4.to_string()),
            IpAddr::V6(v6) => Self(format!("[{v6}]")),
        }
    }
}

impl FromStr for PublicHost {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(v6) = bracketed.unwrap_or(text).parse::<Ipv6Addr>().ok().filter(|_| text.contains(':')) {
            return Ok(IpAddr::V6(v6).into());
        }
        let is_like_v4 = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if text.parse::<Domain>().is_err() || (is_like_v4 && text.parse::<Ipv4Addr>().is_err()) {
            return refuse(format!(
                "{text:?} is no name of a host: write for instance turn.example.org, without scheme and port"
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for PublicHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a client finds a server: a `stun:`, `turn:` or `turns:` URI (RFC 7064, RFC 7065), or the `ws:` or `wss:` URL of TURN over
/// WebSockets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IceUrl(String);

impl IceUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one that browsers know only as a WebSocket.
    pub fn is_web_socket(&self) -> bool {
        self.0.starts_with("ws://") || self.0.starts_with("wss://")
    }

    /// Whether it is one of TURN over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("turns:")
    }

    /// Whether it is one at an address and no name.
    pub fn is_tls_at_an_address(&self) -> bool {
        let authority = self.0.strip_prefix("turns:").and_then(|rest| rest.split('?').next());
        let host = authority.and_then(|authority| split_port(authority).0.parse::<PublicHost>().ok());
        host.is_some_and(|host| host.is_address())
    }

    /// Whether no credentials go with it.
    pub fn is_stun(&self) -> bool {
        self.0.starts_with("stun")
    }
}

impl FromStr for IceUrl {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return refuse(format!("{text:?} is no URL: write turn:HOST:PORT?transport=udp"));
        };
        let (authority, rest) = match (scheme, rest.strip_prefix("//")) {
            ("ws" | "wss", Some(rest)) => match rest.split_once('/') {
                Some((authority, path)) if !path.contains(|c: char| c.is_control() || " #\"".contains(c)) => {
                    (authority, "")
                }
                _ => return refuse(format!("{text:?} has no path: write {scheme}://HOST/turn")),
            },
            ("stun" | "stuns" | "turn" | "turns", None) => rest.split_once('?').unwrap_or((rest, "")),
            ("stun" | "stuns" | "turn" | "turns", Some(_)) => {
                return refuse(format!("{text:?}: there is no // in such a URL: write {scheme}:HOST:PORT"));
            }
            _ => {
                return refuse(format!(
                    "{text:?}: unknown scheme: write stun:, turn:, turns:, or wss:// for WebSockets"
                ));
            }
        };
        // RFC 7065 section 3.1; the STUN URI of RFC 7064 has no query.
        let query_is_good = match scheme {
            "turn" | "turns" => ["", "transport=udp", "transport=tcp"].contains(&rest),
            _ => rest.is_empty(),
        };
        if !query_is_good {
            return refuse(format!(
                "{text:?}: after the ? only transport=udp or transport=tcp can be said of TURN"
            ));
        }
        let (host, port) = split_port(authority);
        // `parse` would take a sign too.
        let is_port = |port: &str| !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0);
        if port.is_some_and(|port| !is_port(port)) {
            return refuse(format!("{text:?}: the port is no number from 1 to 65535"));
        }
        host.parse::<PublicHost>().map_err(|why| BadValue::new(format!("{text:?}: {why}")))?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What quotas and the log know the users of a tenant by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantName(String);

impl TenantName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The tenant that the test page's visitors are.
pub(crate) const TEST_TENANT: &str = "test-page";

impl FromStr for TenantName {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_plain) {
            return refuse(format!(
                "{text:?} is no name of a tenant: write letters, digits, dots and dashes"
            ));
        }
        if text == TEST_TENANT {
            return refuse(format!("{text:?} stands for the visitors of the test page: choose another name"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as it is sent. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(KeyHash);

impl ApiKey {
    /// What is kept of it.
    pub fn hash(&self) -> KeyHash {
        self.0.clone()
    }
}

impl FromStr for ApiKey {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        // It may be a key: it is not repeated. Those are the characters that a header can carry.
        if !text.bytes().all(|b| b.is_ascii_graphic()) || text.len() > MAX_KEY {
            return refuse(format!(
                "a key is made of letters, digits and signs, without blanks, {MAX_KEY} at most"
            ));
        }
        if text.len() < MIN_KEY {
            return refuse(format!(
                "a key of less than {MIN_KEY} characters can be guessed: take for instance `openssl rand -hex 24`"
            ));
        }
        Ok(Self(KeyHash::of(text.as_bytes())))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// SHA-256 of a key: 64 hexadecimal digits. Keys are long and random, so that no slower hash is needed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// That of this key.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether it is the same, found out in the same time whichever it is.
    pub fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl FromStr for KeyHash {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const WHAT: &str =
            "the hash of a key has 64 hexadecimal digits: `printf %s KEY | sha256sum` prints it";
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return refuse(WHAT);
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).ok();
            let Some(Ok(value)) = digits.map(|digits| u8::from_str_radix(digits, 16)) else {
                return refuse(WHAT);
            };
            *byte = value;
        }
        Ok(Self(hash))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}
