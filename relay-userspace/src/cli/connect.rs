//! How a client gets to its server: the flags that `probe` and `tunnel` have in common.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

use crate::client::{Connector, Proxy, ServerUrl, Trust};
use crate::config::read_secrets;

/// Proxy and trust.
#[derive(Debug, clap::Args)]
pub(super) struct ConnectFlags {
    /// An HTTP proxy: http://[USER:PASSWORD@]HOST:PORT, or none
    ///
    /// Everything but UDP goes through it, by CONNECT, with Basic authentication where USER:PASSWORD is given. Without this flag,
    /// https_proxy and no_proxy of the environment hold, but for servers on the loopback. Letters that a URL cannot have are
    /// written as %40 (for @) and so on.
    #[arg(long, value_name = "URL", help_heading = "Connection")]
    proxy: Option<ProxyChoice>,

    /// USER:PASSWORD for the proxy, in a file that others cannot read; of a command's flags all users of this host may know
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    proxy_auth_file: Option<PathBuf>,

    /// Trust the certificates of authorities in this file (PEM) in place of those that this host trusts
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    ca: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum ProxyChoice {
    None,
    This(Proxy),
}

impl FromStr for ProxyChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            url => url.parse().map(Self::This).map_err(|e: crate::client::BadProxy| e.to_string()),
        }
    }
}

impl ConnectFlags {
    /// The way to this server.
    pub(super) fn connector(&self, url: ServerUrl) -> Result<Connector> {
        let proxy = match &self.proxy {
            Some(ProxyChoice::None) => None,
            Some(ProxyChoice::This(proxy)) => Some(proxy.clone()),
            None => Proxy::from_environment(&url, |name| env::var(name).ok())?,
        };
        let proxy = match (proxy, &self.proxy_auth_file) {
            (Some(proxy), Some(path)) => {
                let lines = read_secrets(path)?;
                let [line] = &lines[..] else {
                    bail!("{} must have one line, USER:PASSWORD", path.display())
                };
                Some(proxy.with_credentials(line.expose())?)
            }
            // UDP goes without, and so may what stays on this host.
            (None, Some(_)) if self.proxy.is_none() && env_proxy().is_none() => {
                bail!("--proxy-auth-file, but neither --proxy nor https_proxy names a proxy")
            }
            (proxy, _) => proxy,
        };
        let trust = self.ca.as_deref().map(Trust::file).transpose()?;
        let shown = url.to_string();
        Connector::new(url, proxy, trust).with_context(|| format!("cannot go to {shown}"))
    }
}

fn env_proxy() -> Option<String> {
    ["https_proxy", "HTTPS_PROXY"].iter().find_map(|name| env::var(name).ok().filter(|url| !url.is_empty()))
}
