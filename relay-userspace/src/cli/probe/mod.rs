//! `turnpike probe`: a TURN client that says which step fails.

mod client;
mod failure;
mod report;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use self::report::{Report, Step};
use super::connect::ConnectFlags;
use super::creds::{first_secret, unix_now};
use super::screen::{print, table};
use crate::auth::time_limited;
use crate::client::ServerUrl;
use crate::config::Secret;
use crate::stun::MAX_USERNAME_LEN;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  turnpike probe turn:turn.example.org --user alice --password secret
  turnpike probe turns:turn.example.org:443 --secret-file /etc/turnpike/secrets --ca ca.pem
  turnpike probe wss://turn.example.org/turn --proxy http://me:secret@proxy.corp:3128 --user alice --password secret
  What works from behind this firewall, and how fast:
    turnpike probe turn:turn.example.org 'turn:turn.example.org:80?transport=tcp' turns:turn.example.org:443 \\
        wss://turn.example.org/turn --user alice --password secret")]
pub(super) struct Args {
    /// The server: turn:HOST[:PORT][?transport=tcp], turns:HOST[:PORT], wss://HOST[:PORT]/turn or ws://HOST[:PORT]/turn
    ///
    /// Of several, each is tried, and a table at the end says which work from here.
    #[arg(value_name = "URL", required = true)]
    urls: Vec<ServerUrl>,

    /// The user's name
    #[arg(long, required_unless_present_any = ["secret", "secret_file"], conflicts_with_all = ["secret", "secret_file"])]
    user: Option<String>,

    #[command(flatten)]
    proof: Proof,

    /// How many packets to send each way, by Send indications and again through a channel
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    packets: u16,

    #[command(flatten)]
    connect: ConnectFlags,

    /// Print one JSON object: url, ok and steps, or with several URLs ok and probes, a list of these
    #[arg(long)]
    json: bool,
}

/// What it is let in by.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Proof {
    /// The user's password; other users of this host can see it in the list of processes
    #[arg(long, requires = "user")]
    password: Option<Secret>,

    /// A file with the user's password: its first line that is neither empty nor begins with #
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,

    /// Instead of a user: the server's --auth-secret, to make a credential from; it can be seen as --password can
    #[arg(long)]
    secret: Option<Secret>,

    /// Instead of a user: the server's file of secrets, of which the first is used
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Whom the probe claims to be.
#[derive(Clone, Debug)]
struct Identity {
    username: String,
    password: String,
}

/// Life of a credential made from a secret, in seconds: longer than any probe takes.
const CREDENTIAL_TTL: u64 = 600;

pub(super) fn main(args: Args) -> Result<ExitCode> {
    let identity = identity(args.user, args.proof)?;
    let mut reports = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a runtime")?;
    for url in &args.urls {
        let mut report = Report::new(url.to_string(), |step: &Step| {
            if !args.json {
                // Without a reader the exit code still tells, and the allocations are still to be ended.
                let _ = print(step);
            }
        });
        let connector = args.connect.connector(url.clone())?;
        if !args.json && args.urls.len() > 1 {
            let through = connector.proxy().map(|proxy| format!(" through {proxy}")).unwrap_or_default();
            print(format_args!("{url}{through}"))?;
        }
        // The report has the reason.
        let _ = runtime.block_on(steps::run(&connector, &identity, args.packets, &mut report));
        if !args.json {
            print(format_args!("\n{}{}", report.verdict(), if args.urls.len() > 1 { "\n" } else { "" }))?;
        }
        reports.push(report);
    }
    let ok = reports.iter().all(Report::is_ok);
    match &reports[..] {
        [report] if args.json => print(report.json())?,
        reports if args.json => {
            let probes: Vec<_> = reports.iter().map(Report::json).collect();
            print(json!({ "ok": ok, "probes": probes }))?;
        }
        [_] => {}
        reports => print(table(&reports.iter().map(Report::row).collect::<Vec<_>>()).trim_end())?,
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn identity(user: Option<String>, proof: Proof) -> Result<Identity> {
    let one_of = |given: Option<Secret>, file: Option<PathBuf>| match (given, file) {
        (Some(given), _) => Ok(given),
        (None, file) => first_secret(&file.context("clap takes one of the two")?),
    };
    let (username, password) = match user {
        Some(user) => (user, one_of(proof.password, proof.password_file)?.expose().to_owned()),
        None => {
            let secret = one_of(proof.secret, proof.secret_file)?;
            time_limited(secret.expose(), "probe", unix_now() + CREDENTIAL_TTL)
        }
    };
    ensure!(
        username.len() <= MAX_USERNAME_LEN,
        "--user is too long: STUN can carry {MAX_USERNAME_LEN} bytes"
    );
    Ok(Identity { username, password })
}
