//! `[alternate]`: the servers that clients are sent to instead of this one.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::ConfigError;
use super::host::is_link_local;
use super::layer;
use super::listen::{DEFAULT_PORT, Listen, address_and_port};
use super::resolve::refuse;
use super::values::{BadValue, refuse as refuse_value};
use crate::turn::{Alternate, RedirectWhen, RelayAddress};

/// A server that clients are sent to: `ADDRESS[:PORT]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlternateServer(pub SocketAddr);

impl FromStr for AlternateServer {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let address = address_and_port(text, "", DEFAULT_PORT)?;
        // A mapped address is one of IPv4, and of use to its clients only.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let ip = address.ip();
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || is_link_local(ip) {
            return refuse_value(format!("{text:?} is no place where a server can be reached"));
        }
        Ok(Self(address))
    }
}

/// The name in the certificates of the alternate servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain(String);

impl FromStr for Domain {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 253 || !text.split('.').all(is_label) {
            return refuse_value(format!("{text:?} is no domain name: write for instance turn2.example.org"));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for RedirectWhen {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "always" => Ok(Self::Always),
            "draining" => Ok(Self::Draining),
            _ => refuse_value(format!("{text:?} is neither always nor draining")),
        }
    }
}

impl fmt::Display for RedirectWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Draining => "draining",
        })
    }
}

/// The alternate servers, if there are any.
pub(super) fn alternate(
    layer: layer::Alternate,
    listen: &[Listen],
    relay: &[RelayAddress],
    warnings: &mut Vec<String>,
) -> Result<Option<Alternate>, ConfigError> {
    let servers: Vec<_> = layer.servers.into_iter().map(|server| server.0).collect();
    if servers.is_empty() {
        return match (layer.domain, layer.when) {
            (None, None) => Ok(None),
            _ => refuse("[alternate] has no servers: name those to send clients to (--alternate-server)"),
        };
    }
    if let Some(own) = servers.iter().find(|server| is_own(**server, listen, relay)) {
        return refuse(format!(
            "alternate server {own} is a listener of this server: its clients would be sent round in a circle"
        ));
    }
    let when = layer.when.unwrap_or_default();
    for (family, is_v6) in [("IPv4", false), ("IPv6", true)] {
        if listen.iter().any(|l| l.address.is_ipv6() == is_v6)
            && !servers.iter().any(|s| s.is_ipv6() == is_v6)
        {
            let instead = match when {
                RedirectWhen::Always => "are served here",
                RedirectWhen::Draining => "are refused with 508 while this server is drained",
            };
            warnings.push(format!("no alternate server has an {family} address: {family} clients {instead}"));
        }
    }
    let domain = layer.domain.map(|Domain(name)| name);
    Ok(Some(Alternate { servers, domain, when }))
}

/// Whether it is one of our listeners, by its own address or by that of the 1:1 NAT in front of it.
fn is_own(server: SocketAddr, listen: &[Listen], relay: &[RelayAddress]) -> bool {
    listen.iter().any(|&Listen { address: listener, .. }| {
        let public = relay.iter().find(|a| a.local == listener.ip()).map(|a| a.public);
        server.port() == listener.port() && (server.ip() == listener.ip() || Some(server.ip()) == public)
    })
}
