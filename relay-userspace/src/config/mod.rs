//! What the operator wants: flags over the file over defaults, checked before anything starts.
//!
//! The file is TOML and read only when it is named. Its keys are the flags' names; an unknown key is an error, and so is
//! every value that cannot be meant. A flag replaces what the file says, a list as a whole.

mod addresses;
mod alternate;
mod changes;
mod file;
mod host;
mod ice;
mod ice_values;
mod layer;
mod listen;
mod origin;
mod overrides;
mod proxy;
mod rates;
mod realms;
mod resolve;
mod streams;
mod tcp_relay;
mod tls;
mod values;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use alternate::{AlternateServer, Domain};
pub use changes::{CERTIFICATES_KEY, Change, Changes};
pub use file::{parse, read};
pub use host::Host;
pub use ice::{Ice, IceSettings, TenantLayer, TenantSettings, TestPage, TestPageSettings};
pub(crate) use ice_values::TEST_TENANT;
pub use ice_values::{ApiKey, IceUrl, KeyHash, PublicHost, TenantName};
pub use layer::{Admin, Alternate, Auth, Datapath, Discovery, Layer, Limits, Peers, Relay};
pub use listen::{DEFAULT_PORT, Listen, Scheme};
pub use origin::Origin;
pub use overrides::Override;
pub use proxy::{Endpoint, ServerName};
pub use rates::{Bandwidth, DEFAULT_STRANGER_RATE, RateSettings, StrangerRate};
pub use realms::{RealmLayer, RealmSettings};
pub use resolve::{DEFAULT_ADMIN, DEFAULT_MAX_LIFETIME, Resolved, Settings};
pub use streams::{Http, ProxyProtocol, StreamLimits, StreamSettings, Streams};
pub use tcp_relay::TcpRelayLayer;
pub(crate) use tcp_relay::tcp_relay_shown;
pub use tls::{CertificateFiles, Passthrough, Tls, TlsSettings};
pub use values::{AdminListen, BadValue, DEFAULT_RELAY_PORTS, PortRange, Realm, Secret, Span, User};

/// The settings that hold: those of the flags, over those of the file if one is named, over the defaults for the host.
pub fn load(path: Option<&Path>, flags: Layer, host: &Host) -> Result<Resolved, ConfigError> {
    let Some(path) = path else { return flags.resolve(host) };
    let layer = read(path)?;
    let has_secrets = !layer.auth.users.is_empty()
        || !layer.auth.secrets.is_empty()
        || layer.realms.iter().any(|realm| !realm.users.is_empty() || !realm.secrets.is_empty())
        || layer.ice.tenants.iter().any(|tenant| tenant.key.is_some())
        || layer.test_page.key.is_some();
    let mut resolved = flags.over(layer).resolve(host)?;
    if has_secrets {
        resolved.warnings.extend(file::readable_by_all(path));
    }
    Ok(resolved)
}

/// The secrets of a file, one a line; empty lines and those that begin with `#` are skipped.
pub fn read_secrets(path: &Path) -> Result<Vec<Secret>, ConfigError> {
    file::read_lines(path)
}

/// Why the server must not start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}", path = .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says. Not called `source`: the message has it, and a chain of errors would show it twice.
        cause: io::Error,
    },
    /// Something in a file is wrong.
    #[error("{path}:{line}:{column}: {what}", path = .path.display())]
    At {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong, and what to write instead.
        what: String,
    },
    /// Settings that are each right contradict one another or this host.
    #[error("{0}")]
    Refused(String),
}
