//! `turnpike probe`: a TURN client that says which step fails.

mod client;
mod failure;
mod report;
mod steps;
mod url;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use self::report::Report;
use self::url::TurnUrl;
use super::creds::unix_now;
use super::screen::print;
use crate::auth::time_limited;
use crate::config::Secret;
use crate::stun::MAX_USERNAME_LEN;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server: turn:HOST[:PORT][?transport=udp]
    #[arg(value_name = "TURN_URL")]
    url: TurnUrl,

    /// The user's name
    #[arg(long, requires = "password", required_unless_present = "secret")]
    user: Option<String>,

    /// The user's password
    #[arg(long, requires = "user")]
    password: Option<Secret>,

    /// Instead of a user: the server's --auth-secret, to make a credential from
    #[arg(long, conflicts_with_all = ["user", "password"])]
    secret: Option<Secret>,

    /// How many packets to send each way, by Send indications and again through a channel
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    packets: u16,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
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
    let (username, password) = match (&args.secret, args.user, args.password) {
        (Some(secret), ..) => time_limited(secret.expose(), "probe", unix_now() + CREDENTIAL_TTL),
        (None, user, password) => {
            (user.unwrap_or_default(), password.map(|p| p.expose().to_owned()).unwrap_or_default())
        }
    };
    ensure!(
        username.len() <= MAX_USERNAME_LEN,
        "--user is too long: STUN can carry {MAX_USERNAME_LEN} bytes"
    );
    let mut report = Report::new(args.url.to_string(), |step| {
        if !args.json {
            // Without a reader the exit code still tells, and the allocations are still to be ended.
            let _ = print(step);
        }
    });
    // The report has the reason.
    let _ = steps::run(&args.url, &Identity { username, password }, args.packets, &mut report);
    let ok = report.is_ok();
    if args.json {
        print(report.json())?;
    } else {
        print(format_args!("\n{}", report.verdict()))?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
