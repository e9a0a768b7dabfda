//! The sessions (allocations) of a server as data: what `/v1/sessions` answers and `turnpike sessions` shows.

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::control::Operator;
use super::server::{Pages, change};
use crate::net::{Selection, SessionId, SessionQuery};

/// How many sessions are told of unless the request names another number.
const DEFAULT_LIMIT: usize = 1000;

/// The most that are told of: a few megabytes.
pub const MOST_SESSIONS: usize = 10_000;

/// Sessions, those with the most data first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// How many there are, of the user that was asked for or of all.
    pub total: u64,
    /// No more of them than asked for.
    pub sessions: Vec<Session>,
}

/// One allocation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Its name: `SHARD-NUMBER`, as `shard` and `allocation` in the log.
    pub id: String,
    /// USERNAME of its client.
    pub user: String,
    /// The realm of that user.
    pub realm: String,
    /// The client's address and port, as this server sees them.
    pub client: String,
    /// Where the client came to.
    pub listener: String,
    /// How the client's packets are carried: `udp`, `dtls`, or what its connection is made of, as in the metrics.
    pub transport: String,
    /// Its relayed transport addresses, one or two, as bound on this host.
    pub relayed: Vec<String>,
    /// How long it has lived.
    pub age_seconds: u64,
    /// How long it lives yet, unless its client refreshes it.
    pub expires_in_seconds: u64,
    /// Live permissions.
    pub permissions: usize,
    /// Bound channels.
    pub channels: usize,
    /// Connections with peers, of a TCP allocation.
    #[serde(default)]
    pub connections: usize,
    /// From the client to its peers.
    pub to_peer: Carried,
    /// From the peers to the client.
    pub to_client: Carried,
}

/// The data of one direction so far: datagrams, and bytes without the headers of TURN, UDP and IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Carried {
    /// Relayed, by XDP and userspace.
    pub packets: u64,
    /// Their data.
    pub bytes: u64,
    /// Those of `packets` that XDP forwarded.
    pub xdp_packets: u64,
    /// Their data.
    pub xdp_bytes: u64,
    /// Dropped in userspace.
    pub dropped: u64,
}

/// What a request to end sessions came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndedSessions {
    /// How many were ended.
    pub ended: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    user: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Whose {
    user: Option<String>,
}

/// It names users and their addresses, so it is told to whom changes are taken from.
pub(super) async fn list(
    _: Operator,
    Shared(pages): Shared<Pages>,
    Query(Wanted { user, limit }): Query<Wanted>,
) -> Response {
    let query = SessionQuery { user, most: limit.unwrap_or(DEFAULT_LIMIT).min(MOST_SESSIONS) };
    change(pages.walking, StatusCode::SERVICE_UNAVAILABLE, move || pages.source.sessions(&query)).await
}

pub(super) async fn end_one(_: Operator, Shared(pages): Shared<Pages>, Path(id): Path<String>) -> Response {
    match id.parse::<SessionId>() {
        Ok(id) => end(pages, Selection::One(id)).await,
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Those of a user. There is no request that ends all: nobody should send it by mistake.
pub(super) async fn end_of_user(
    _: Operator,
    Shared(pages): Shared<Pages>,
    Query(Whose { user }): Query<Whose>,
) -> Response {
    match user {
        Some(user) => end(pages, Selection::User(user)).await,
        None => (StatusCode::BAD_REQUEST, "whose? ?user=NAME says it\n").into_response(),
    }
}

async fn end(pages: Pages, which: Selection) -> Response {
    change(pages.walking, StatusCode::SERVICE_UNAVAILABLE, move || pages.source.end_sessions(&which)).await
}
