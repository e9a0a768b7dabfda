//! Credentials for a tenant's user, in the form that browsers take.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::site::Tenant;
use crate::stun::MAX_USERNAME_LEN;

/// What a request may say.
#[derive(Default, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wish {
    /// Whom the credentials are for: quotas and the log know the holder by it.
    pub(super) user: String,
    /// For how many seconds.
    pub(super) ttl: Option<u64>,
}

/// What `new RTCPeerConnection(...)` takes, and what else a client should know.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Issued {
    ice_servers: Vec<IceServer>,
    /// Seconds, after which the credentials make no new allocations and refresh none.
    ttl: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    turnpike: Option<Turnpike>,
}

#[derive(Debug, Serialize)]
struct IceServer {
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// For clients that know of it: a browser throws at a scheme in `iceServers` that it does not know.
#[derive(Debug, Serialize)]
struct Turnpike {
    websocket: String,
}

impl Tenant {
    /// Makes credentials from the tenant's secret (`auth/time_limited.rs`).
    ///
    /// The account that they stand for is `TENANT/USER`, so that no tenant can name a user of another, nor one that the operator
    /// made rules for. Without a user it is the tenant's own.
    pub(super) fn issue(&self, wish: &Wish) -> Result<Issued, Refusal> {
        if wish.user.contains(char::is_control) {
            return Err(Refusal::bad_request("user has a control character: leave it out"));
        }
        let lifetime = match wish.ttl {
            None => self.lifetime,
            Some(0) => {
                return Err(Refusal::bad_request("ttl is 0: write a number of seconds, or leave it out"));
            }
            Some(ttl) => Duration::from_secs(ttl).min(self.max_lifetime),
        };
        let name = match &*wish.user {
            "" => self.name.clone(),
            user => format!("{}/{user}", self.name),
        };
        let ttl = lifetime.as_secs();
        let expiry = unix_now().saturating_add(ttl);
        let (username, password) = self.hash.credential(self.secret.expose(), &name, expiry);
        if username.len() > MAX_USERNAME_LEN {
            let most = MAX_USERNAME_LEN - (username.len() - wish.user.len());
            return Err(Refusal::bad_request(format!("user is too long: {most} bytes are the most")));
        }
        // The one with credentials first: some clients look no further.
        let (username, credential) = (Some(username), Some(password));
        let mut ice_servers = vec![IceServer { urls: self.urls.turn.clone(), username, credential }];
        if !self.urls.stun.is_empty() {
            ice_servers.push(IceServer { urls: self.urls.stun.clone(), username: None, credential: None });
        }
        let turnpike = self.urls.web_socket.clone().map(|websocket| Turnpike { websocket });
        Ok(Issued { ice_servers, ttl, turnpike })
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
