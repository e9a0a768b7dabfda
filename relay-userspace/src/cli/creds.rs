//! `turnpike creds`: time-limited credentials.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::screen::print;
use crate::auth::time_limited;
use crate::config::{self, Secret, Span};
use crate::stun::MAX_USERNAME_LEN;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    secret: SecretArgs,

    /// Whom the credential is for; quotas and the log know the holder by it
    #[arg(long, default_value = "")]
    name: String,

    /// How long it may be used to make and refresh allocations
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Span,

    /// A TURN URL to put into the JSON (repeatable)
    #[arg(long, value_name = "TURN_URL")]
    url: Vec<String>,

    /// Print JSON to hand to a browser: `new RTCPeerConnection(...)`
    #[arg(long, requires = "url")]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct SecretArgs {
    /// The server's --auth-secret
    #[arg(long)]
    secret: Option<Secret>,

    /// The server's file of secrets; the first one in it is used
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    let secret = match (args.secret.secret, args.secret.secret_file) {
        (Some(secret), _) => secret,
        (None, file) => {
            let file = file.context("clap takes one of the two")?;
            let secrets = config::read_secrets(&file)?;
            secrets.into_iter().next().with_context(|| format!("{} has no secret in it", file.display()))?
        }
    };
    let expiry = unix_now().checked_add(args.ttl.0.as_secs()).context("--ttl: no clock counts that far")?;
    let (username, password) = time_limited(secret.expose(), &args.name, expiry);
    ensure!(
        username.len() <= MAX_USERNAME_LEN,
        "--name is too long: with the expiry before it, it may have {MAX_USERNAME_LEN} bytes, which is all that STUN can carry"
    );
    print(render(&username, &password, &args.url, args.json))?;
    Ok(ExitCode::SUCCESS)
}

/// Seconds since 1970.
pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn render(username: &str, password: &str, urls: &[String], json: bool) -> String {
    if json {
        let server = json!({ "urls": urls, "username": username, "credential": password });
        return json!({ "iceServers": [server] }).to_string();
    }
    let urls = urls.iter().map(|url| format!("url       {url}\n"));
    format!("{}username  {username}\npassword  {password}", urls.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_the_turn_rest_api() {
        // Computed with: printf %s 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        let made = time_limited("north", "alice", 1_700_000_000);
        assert_eq!(made, ("1700000000:alice".into(), "Cd/49soE35ICqcJF/bCTn8Z4OyE=".into()));
    }

    #[test]
    fn browsers_can_use_the_json_as_it_is() {
        let text = render("17:\"a\"", "p+/=", &["turn:192.0.2.1:3478?transport=udp".into()], true);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let server = &value["iceServers"][0];
        assert_eq!(server["urls"], json!(["turn:192.0.2.1:3478?transport=udp"]));
        assert_eq!((&server["username"], &server["credential"]), (&json!("17:\"a\""), &json!("p+/=")));
    }

    #[test]
    fn text_is_one_thing_a_line() {
        assert_eq!(render("17:a", "p=", &[], false), "username  17:a\npassword  p=");
    }
}
