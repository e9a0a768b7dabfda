//! The values that flags and the file share. Each is read from text in one place, so that `--listen` and `listen = []`
//! refuse the same things with the same words.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::alternate::{AlternateServer, Domain};
use super::ice_values::{ApiKey, IceUrl, KeyHash, TenantName};
use super::listen::Listen;
use super::origin::Origin;
use super::proxy::{Endpoint, ServerName};
use super::rates::{Bandwidth, StrangerRate};
use crate::auth::{Credentials, SecretHash};
use crate::policy::Cidr;
use crate::stun::PasswordAlgorithm;
use crate::turn::{RedirectWhen, RelayAddress};

/// The ports that RFC 8656 section 7.2 suggests to relay from.
pub const DEFAULT_RELAY_PORTS: PortRange = PortRange { first: 49152, last: 65535 };

/// Why a value is refused: a sentence that says what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

impl BadValue {
    pub(super) fn new(why: String) -> Self {
        Self(why)
    }
}

pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T, BadValue> {
    Err(BadValue(why.into()))
}

impl FromStr for RelayAddress {
    type Err = BadValue;

    /// `ADDRESS`, or `PUBLIC/LOCAL` behind a 1:1 NAT.
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let ip = |text: &str| -> Result<IpAddr, BadValue> {
            match text.parse() {
                Ok(ip) => Ok(ip),
                Err(_) => refuse(format!(
                    "{text:?} is no IP address: write ADDRESS, or PUBLIC/LOCAL behind a 1:1 NAT"
                )),
            }
        };
        let (public, local) = text.split_once('/').unwrap_or((text, text));
        let address = Self { public: ip(public)?, local: ip(local)? };
        if address.public.is_ipv4() != address.local.is_ipv4() {
            return refuse(format!("{public} and {local} are of different families"));
        }
        Ok(address)
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.public == self.local {
            write!(f, "{}", self.local)
        } else {
            write!(f, "{}/{}", self.public, self.local)
        }
    }
}

/// A range of ports: `FIRST-LAST`, both included, never empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Whether the port is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether some port is in both.
    pub fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether every port of the other range is one of them.
    pub fn covers(self, other: PortRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// From the first to the last port.
    pub fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl FromStr for PortRange {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let ports =
            text.split_once('-').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        match ports {
            None => refuse(format!("{text:?} is no port range: write FIRST-LAST, for instance 49152-65535")),
            Some((0, _)) => refuse("port 0 cannot be relayed from"),
            Some((first, last)) if first > last => {
                refuse(format!("{first}-{last} runs backwards: write {last}-{first}"))
            }
            Some((first, last)) => Ok(Self { first, last }),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// REALM of the long-term credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Realm(String);

impl Realm {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Realm {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text.is_empty() {
            return refuse("the realm is empty: a domain name is the custom, for instance example.org");
        }
        // RFC 8489 section 14.9; the characters are those that a quoted-string has to escape.
        if text.chars().count() >= 128 {
            return refuse("the realm has 128 characters or more, which STUN does not allow");
        }
        if text.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
            return refuse(format!("the realm {text:?} has a quote, a backslash or a control character"));
        }
        Ok(Self(text.into()))
    }
}

/// A password or shared secret. Never shown: neither `check` nor a log can print it by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for whoever computes with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Credentials::new([], [text.into()]).map_err(|e| BadValue(e.to_string()))?;
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A user with a password that does not expire: `NAME:PASSWORD`, or with keys made from one: `NAME:0xKEY`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// USERNAME, as clients send it.
    pub name: String,
    /// Its password or keys, see [`crate::auth::Password::read`].
    pub password: Secret,
}

impl User {
    /// Checks the name and the password.
    pub fn new(name: &str, password: &str) -> Result<Self, BadValue> {
        Credentials::new([(name.into(), password.into())], []).map_err(|e| BadValue(e.to_string()))?;
        if name.contains(char::is_control) {
            return refuse(format!("the user name {name:?} has a control character"));
        }
        Ok(Self { name: name.into(), password: Secret(password.into()) })
    }
}

impl FromStr for User {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.split_once(':') {
            Some((name, password)) => Self::new(name, password),
            // The text may be a password: it is not repeated.
            None => refuse("a user is written NAME:PASSWORD"),
        }
    }
}

/// A length of time: `1h`, `90s`, `1h 30m`, or a plain number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let seconds = text.parse().map(Duration::from_secs);
        match seconds.or_else(|_| humantime::parse_duration(text)) {
            Ok(duration) => Ok(Self(duration)),
            Err(_) => refuse(format!(
                "{text:?} is no length of time: write for instance 1h, 90s or a number of seconds"
            )),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// Where the admin API listens: `ADDRESS:PORT` or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminListen {
    /// Nowhere.
    Off,
    /// There.
    On(SocketAddr),
}

impl FromStr for AdminListen {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse() {
            Ok(address) => Ok(Self::On(address)),
            Err(_) if text == "off" => Ok(Self::Off),
            Err(_) => refuse(format!("{text:?} is neither ADDRESS:PORT nor off")),
        }
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(address) => address.fmt(f),
        }
    }
}

/// Host and port of `HOST:PORT`; the colons of an IPv6 address in brackets are none of a port.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Lets the file have these values as the text that their flags take; a number is read as it is written.
macro_rules! read_as_text {
    ($($value:ty),*) => {$(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(AsText(PhantomData))
            }
        }
    )*};
}

read_as_text!(Listen, RelayAddress, PortRange, Realm, Secret, User, Span, AdminListen, Cidr);
read_as_text!(Origin, PasswordAlgorithm, SecretHash);
read_as_text!(ApiKey, IceUrl, KeyHash, TenantName);
read_as_text!(AlternateServer, Domain, RedirectWhen, Bandwidth, StrangerRate);
read_as_text!(Endpoint, ServerName);

/// Refuses within the visitor, which is where the file's reader still knows the very element of a list.
struct AsText<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for AsText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}
