//! `[tcp-relay]`: TCP allocations (RFC 6062).

use super::ConfigError;
use super::resolve::refuse;
use super::values::Span;
use crate::turn::TcpRelay;

/// TCP allocations.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TcpRelayLayer {
    /// Whether clients may have them.
    pub enabled: Option<bool>,
    /// Connections of one allocation with peers.
    #[serde(alias = "max_connections_per_allocation")]
    pub max_connections_per_allocation: Option<u32>,
    /// Connections of one user with peers.
    #[serde(alias = "max_connections_per_user")]
    pub max_connections_per_user: Option<u32>,
    /// Connections of all allocations with peers.
    #[serde(alias = "max_connections")]
    pub max_connections: Option<u32>,
    /// How long a connection may carry nothing.
    #[serde(alias = "idle_timeout")]
    pub idle_timeout: Option<Span>,
}

/// A file transfer or a remote desktop needs one or two.
const PER_ALLOCATION: u32 = 16;

/// An eighth of all: no user keeps the others out, and hardly one needs as many.
const PER_USER: u32 = 128;

/// Each takes two descriptors, and up to 64 KiB while it carries data.
const IN_ALL: u32 = 1024;

/// Longer than the usual keep-alives of protocols over TCP.
const IDLE: Span = Span(std::time::Duration::from_secs(3600));

/// Shorter would end connections between two keystrokes.
const LEAST_IDLE: Span = Span(std::time::Duration::from_secs(60));

impl TcpRelayLayer {
    /// These settings, and where they say nothing those below.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            enabled: self.enabled.or(below.enabled),
            max_connections_per_allocation: self
                .max_connections_per_allocation
                .or(below.max_connections_per_allocation),
            max_connections_per_user: self.max_connections_per_user.or(below.max_connections_per_user),
            max_connections: self.max_connections.or(below.max_connections),
            idle_timeout: self.idle_timeout.or(below.idle_timeout),
        }
    }

    /// What TCP allocations may do; `None` unless they are switched on. What is wrong is refused either way.
    pub(super) fn resolve(self) -> Result<Option<TcpRelay>, ConfigError> {
        let allocation = self.max_connections_per_allocation.unwrap_or(PER_ALLOCATION);
        let user = self.max_connections_per_user.unwrap_or(PER_USER);
        let total = self.max_connections.unwrap_or(IN_ALL);
        let idle = self.idle_timeout.unwrap_or(IDLE);
        for (limit, name) in [
            (allocation, "max-connections-per-allocation"),
            (user, "max-connections-per-user"),
            (total, "max-connections"),
        ] {
            if limit == 0 {
                return refuse(format!(
                    "tcp-relay.{name} is 0: nobody could connect; write enabled = false to switch TCP allocations off"
                ));
            }
        }
        if idle.0 < LEAST_IDLE.0 {
            return refuse(format!("tcp-relay.idle-timeout is {idle}: the least is {LEAST_IDLE}"));
        }
        let limits = TcpRelay {
            allocation_connections: allocation as usize,
            user_connections: user as usize,
            total_connections: total as usize,
            idle: idle.0,
        };
        Ok(Some(limits).filter(|_| self.enabled.unwrap_or(false)))
    }
}

/// How the log tells of a change, and `turnpike check` of what holds.
pub(crate) fn tcp_relay_shown(limits: Option<TcpRelay>) -> String {
    limits.map_or("off".into(), |limits| {
        format!(
            "{} connections of an allocation, {} of a user, {} in all, idle for {}",
            limits.allocation_connections,
            limits.user_connections,
            limits.total_connections,
            Span(limits.idle)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Host, parse};

    fn resolved(text: &str) -> Result<Option<super::TcpRelay>, String> {
        let layer = parse(Path::new("turnpike.toml"), text).map_err(|error| error.to_string())?;
        let resolved = layer.resolve(&Host::default()).map_err(|error| error.to_string())?;
        Ok(resolved.settings.tcp_relay)
    }

    #[test]
    fn tcp_allocations_are_off_unless_switched_on() {
        assert_eq!(resolved(""), Ok(None));
        assert_eq!(resolved("[tcp-relay]\nmax-connections = 5"), Ok(None));
        assert_eq!(resolved("[tcp-relay]\nenabled = false"), Ok(None));
        let on =
            resolved("[tcp_relay]\nenabled = true\nmax_connections_per_allocation = 2").unwrap().unwrap();
        assert_eq!((on.allocation_connections, on.total_connections, on.idle.as_secs()), (2, 1024, 3600));
        let on = resolved("[tcp-relay]\nenabled = true\nidle-timeout = \"10m\"").unwrap().unwrap();
        assert_eq!((on.allocation_connections, on.user_connections, on.idle.as_secs()), (16, 128, 600));
        let on = resolved("[tcp-relay]\nenabled = true\nmax-connections-per-user = 1024").unwrap().unwrap();
        assert_eq!(on.user_connections, 1024);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let complaint = |text| resolved(text).unwrap_err();
        let none = complaint("[tcp-relay]\nmax-connections = 0");
        assert!(none.contains("tcp-relay.max-connections is 0"), "{none}");
        let nobody = complaint("[tcp-relay]\nmax-connections-per-user = 0");
        assert!(nobody.contains("tcp-relay.max-connections-per-user is 0"), "{nobody}");
        let short = complaint("[tcp-relay]\nidle-timeout = 5");
        assert!(short.contains("the least is 1m"), "{short}");
        let unknown = complaint("[tcp-relay]\nenable = true");
        assert!(
            unknown.contains("turnpike.toml:2:1") && unknown.contains("did you mean \"enabled\""),
            "{unknown}"
        );
    }
}
