//! `turnpike sessions`: who is relayed for, how much, and by which path; and how to end that.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::http;
use super::screen::{bytes, print, table, thousands, uptime};
use crate::admin::{Carried, EndedSessions, MOST_SESSIONS, Session, Sessions};
use crate::auth::printable;
use crate::datapath::Forwarded;
use crate::net::{Found, FoundSession, SessionId};
use crate::turn::{FiveTuple, Usage, Way};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    end: Option<Change>,

    #[command(flatten)]
    server: http::ServerFlags,

    /// Only those of this user: its whole user name, or NAME where that is EXPIRY:NAME
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Show no more than this many, at most 10,000
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,

    /// Print the answer of the admin API as it is
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// End a session, or all of a user, at once; the client gets 437 for what it asks next
    ///
    /// Who has a valid credential may allocate again: take it away first (`turnpike reload`).
    End(EndArgs),
}

#[derive(Debug, clap::Args)]
struct EndArgs {
    #[command(flatten)]
    server: http::ServerFlags,

    /// The session, as the list names it
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    id: Option<SessionId>,

    /// All sessions of this user: its whole user name, or NAME where that is EXPIRY:NAME
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    match args.end {
        Some(Change::End(args)) => end(args),
        None => list(args),
    }
}

fn list(args: Args) -> Result<ExitCode> {
    let user = args.user.as_deref().map(|user| format!("&user={}", in_query(user))).unwrap_or_default();
    let path = format!("/v1/sessions?limit={}{user}", args.limit.min(MOST_SESSIONS));
    let text = http::change(args.server.authority(), "GET", &path)
        .context("no sessions: is `turnpike run` up on this host, and is this its --admin address?")?;
    if args.json {
        print(text)?;
    } else {
        print(render(&serde_json::from_str(&text).context("the answer is not one of this version")?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn end(args: EndArgs) -> Result<ExitCode> {
    let path = match (args.id, args.user) {
        (Some(id), _) => format!("/v1/sessions/{id}"),
        (None, user) => format!("/v1/sessions?user={}", in_query(&user.unwrap_or_default())),
    };
    let text = http::change(args.server.authority(), "DELETE", &path)
        .context("is `turnpike run` up on this host, and is this its --admin address?")?;
    let EndedSessions { ended } =
        serde_json::from_str(&text).context("the answer is not one of this version")?;
    match ended {
        0 => print("there is none")?,
        1 => print("ended 1 session")?,
        n => print(format_args!("ended {} sessions", thousands(n)))?,
    }
    Ok(if ended == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Percent-encoded, all but what needs it nowhere.
fn in_query(text: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn render(told: &Sessions) -> String {
    let Sessions { total, sessions } = told;
    let shown = match (*total, sessions.len() as u64) {
        (0, _) => return "no sessions".into(),
        (1, 1) => "1 session".into(),
        (total, shown) if shown == total => format!("{} sessions", thousands(total)),
        (total, shown) => {
            format!("{} sessions, the {} with the most data:", thousands(total), thousands(shown))
        }
    };
    let head = ["id", "user", "client", "by", "relayed", "age", "to peers", "to client", "xdp", "dropped"];
    let rows = sessions.iter().map(|s| {
        [
            printable(&s.id).to_string(),
            printable(&s.user).to_string(),
            printable(&s.client).to_string(),
            printable(&s.transport).to_string(),
            printable(&s.relayed.join(" ")).to_string(),
            uptime(Duration::from_secs(s.age_seconds)),
            amount(&s.to_peer),
            amount(&s.to_client),
            share(s),
            thousands(s.to_peer.dropped + s.to_client.dropped),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.map(String::from)).chain(rows).collect();
    format!("{shown}\n\n{}", table(&rows))
}

fn amount(carried: &Carried) -> String {
    format!("{} / {}", thousands(carried.packets), bytes(carried.bytes))
}

/// Of the packets, how many went by XDP.
fn share(session: &Session) -> String {
    let Session { to_peer, to_client, .. } = session;
    match to_peer.packets + to_client.packets {
        0 => "-".into(),
        all => format!("{:.1} %", (to_peer.xdp_packets + to_client.xdp_packets) as f64 * 100.0 / all as f64),
    }
}

/// What all shards found together.
pub(super) fn told(found: Vec<Found>, most: usize) -> Sessions {
    let total = found.iter().map(|found| found.total).sum();
    let mut all: Vec<FoundSession> = found.into_iter().flat_map(|found| found.sessions).collect();
    all.sort_by_key(|session| (std::cmp::Reverse(session.bytes()), session.id));
    all.truncate(most);
    Sessions { total, sessions: all.into_iter().map(session).collect() }
}

fn session(FoundSession { id, session, fast, connection }: FoundSession) -> Session {
    let FiveTuple { client, listener, transport } = session.five_tuple;
    let Forwarded { to_peer, to_client } = fast;
    let Usage { to_peer: slow_to_peer, to_client: slow_to_client } = session.usage;
    let carried = |Way { relayed, dropped }, fast: relay_common::tables::Count| Carried {
        packets: relayed.packets + fast.packets,
        bytes: relayed.bytes + fast.bytes,
        xdp_packets: fast.packets,
        xdp_bytes: fast.bytes,
        dropped,
    };
    Session {
        id: id.to_string(),
        user: session.username,
        realm: String::from(&*session.realm),
        client: client.0.to_string(),
        listener: listener.to_string(),
        transport: connection.map_or_else(|| transport.to_string(), |kind| kind.name().to_owned()),
        relayed: session.relayed.values().map(|relayed| relayed.0.to_string()).collect(),
        age_seconds: session.age.as_secs(),
        expires_in_seconds: session.expires_in.as_secs(),
        permissions: session.permissions,
        channels: session.channels,
        connections: session.connections,
        to_peer: carried(slow_to_peer, to_peer),
        to_client: carried(slow_to_client, to_client),
    }
}
