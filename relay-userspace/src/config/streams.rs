//! `[http]`, `[proxy-protocol]` and `[streams]`: who else is served on the ports of streams, and how many.

use std::time::Duration;

use super::ConfigError;
use super::layer::list;
use super::listen::Listen;
use super::origin::Origin;
use super::proxy::Endpoint;
use super::resolve::refuse;
use super::values::Span;
use crate::policy::Cidr;

/// `[http]`.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Http {
    /// Who answers the requests that are not ours.
    pub upstream: Option<Endpoint>,
    /// The web pages that may open a WebSocket.
    #[serde(alias = "websocket_origins")]
    pub websocket_origins: Vec<Origin>,
}

/// `[proxy-protocol]`.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProxyProtocol {
    /// The proxies that say who their clients are.
    pub from: Vec<Cidr>,
}

/// `[streams]`.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Streams {
    /// Connections at a time.
    pub connections: Option<u32>,
    /// Of one address.
    #[serde(alias = "connections_per_address")]
    pub connections_per_address: Option<u32>,
    /// Of those, such as have not said yet what they are.
    pub handshakes: Option<u32>,
    /// How long they may take to.
    #[serde(alias = "handshake_time")]
    pub handshake_time: Option<Span>,
    /// How long a connection of HTTP, or one that is passed through, may carry nothing.
    #[serde(alias = "idle_time")]
    pub idle_time: Option<Span>,
}

/// The bounds of what streams may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamLimits {
    /// Connections at a time.
    pub connections: u32,
    /// Of one IPv4 address, or one IPv6 /64.
    pub connections_per_address: u32,
    /// Connections at a time that have not said yet what they are.
    pub handshakes: u32,
    /// How long they may take to: a TLS handshake, the head of a request, the first TURN message.
    pub handshake_time: Duration,
    /// How long a connection of HTTP, or one that is passed through, may carry nothing.
    pub idle_time: Duration,
}

impl Default for StreamLimits {
    /// A thousand callers behind one NAT have room; a thousand undecided connections take some 40 MB at the most.
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_address: 1_000,
            handshakes: 1_024,
            handshake_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(300),
        }
    }
}

/// All of the three tables.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamSettings {
    /// Who answers the requests that are not ours.
    pub upstream: Option<Endpoint>,
    /// The web pages that may open a WebSocket; all when empty.
    pub websocket_origins: Vec<Origin>,
    /// The proxies whose connections begin with a PROXY header.
    pub proxies: Vec<Cidr>,
    /// How many, and how long.
    pub limits: StreamLimits,
}

impl StreamSettings {
    /// Fills in the defaults and checks.
    pub(super) fn resolve(
        http: Http,
        proxy_protocol: ProxyProtocol,
        streams: &Streams,
        listen: &[Listen],
    ) -> Result<Self, ConfigError> {
        let default = StreamLimits::default();
        let time = |span: Option<Span>, default| span.map_or(default, |Span(time)| time);
        let limits = StreamLimits {
            connections: streams.connections.unwrap_or(default.connections),
            connections_per_address: streams
                .connections_per_address
                .unwrap_or(default.connections_per_address),
            handshakes: streams.handshakes.unwrap_or(default.handshakes),
            handshake_time: time(streams.handshake_time, default.handshake_time),
            idle_time: time(streams.idle_time, default.idle_time),
        };
        for (number, name) in [
            (limits.connections, "connections"),
            (limits.connections_per_address, "connections-per-address"),
            (limits.handshakes, "handshakes"),
        ] {
            if number == 0 {
                return refuse(format!("streams.{name} is 0: nobody could connect"));
            }
        }
        for (time, name) in [(limits.handshake_time, "handshake-time"), (limits.idle_time, "idle-time")] {
            if time < Duration::from_secs(1) {
                return refuse(format!("streams.{name} is below a second: distant clients need longer"));
            }
        }
        let Http { upstream, websocket_origins } = http;
        if let Some(upstream) = &upstream {
            upstream.check("http.upstream", listen)?;
        }
        Ok(Self { upstream, websocket_origins, proxies: proxy_protocol.from, limits })
    }
}

impl Http {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            upstream: self.upstream.or(below.upstream),
            websocket_origins: list(self.websocket_origins, below.websocket_origins),
        }
    }
}

impl Streams {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            connections: self.connections.or(below.connections),
            connections_per_address: self.connections_per_address.or(below.connections_per_address),
            handshakes: self.handshakes.or(below.handshakes),
            handshake_time: self.handshake_time.or(below.handshake_time),
            idle_time: self.idle_time.or(below.idle_time),
        }
    }
}
