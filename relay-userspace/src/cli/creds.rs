//! `turnpike creds`: time-limited credentials, and the keys to store in place of a password.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::screen::print;
use crate::auth::{Password, SecretHash};
use crate::config::{self, Realm, Secret, Span, User};
use crate::stun::MAX_USERNAME_LEN;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,

    /// Whom the credential is for; quotas and the log know the holder by it
    #[arg(long, default_value = "")]
    name: String,

    /// How long it may be used to make and refresh allocations
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Span,

    /// A TURN URL to put into the JSON (repeatable)
    #[arg(long, value_name = "TURN_URL")]
    url: Vec<String>,

    /// The hash that makes the password; the server must have it in --secret-algorithms
    #[arg(long, value_name = "HASH", default_value_t = SecretHash::Sha1)]
    algorithm: SecretHash,

    /// Print JSON to hand to a browser: `new RTCPeerConnection(...)`
    #[arg(long, requires = "url")]
    json: bool,

    /// With --key: whose password it is
    #[arg(long, value_name = "NAME", requires = "key", conflicts_with_all = ["secret", "secret_file"])]
    user: Option<String>,

    /// With --key: the realm in which the keys are to hold
    #[arg(long, value_name = "NAME", requires = "key", conflicts_with_all = ["secret", "secret_file"])]
    realm: Option<Realm>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// The server's --auth-secret
    #[arg(long)]
    secret: Option<Secret>,

    /// The server's file of secrets; the first one in it is used
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Read a password from stdin and print the user with keys made from it, for --user or a line of --users-file
    ///
    /// The keys let their holder in as this user of this realm, but the password cannot be read from them.
    #[arg(long, requires_all = ["user", "realm"], conflicts_with_all = ["name", "ttl", "url", "algorithm", "json"])]
    key: bool,
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    if let (Some(user), Some(realm)) = (&args.user, &args.realm) {
        print(stored(user, realm.as_str(), &password(io::stdin())?)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let secret = match (args.source.secret, args.source.secret_file) {
        (Some(secret), _) => secret,
        (None, file) => first_secret(&file.context("clap takes one of the two")?)?,
    };
    let expiry = unix_now().checked_add(args.ttl.0.as_secs()).context("--ttl: no clock counts that far")?;
    let (username, password) = args.algorithm.credential(secret.expose(), &args.name, expiry);
    ensure!(
        username.len() <= MAX_USERNAME_LEN,
        "--name is too long: with the expiry before it, it may have {MAX_USERNAME_LEN} bytes, which is all that STUN can carry"
    );
    print(render(&username, &password, &args.url, args.json))?;
    Ok(ExitCode::SUCCESS)
}

/// The first secret of a file of them.
pub(super) fn first_secret(file: &Path) -> Result<Secret> {
    let secrets = config::read_secrets(file)?;
    secrets.into_iter().next().with_context(|| format!("{} has no secret in it", file.display()))
}

/// Seconds since 1970.
pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The first line of stdin.
fn password(mut stdin: io::Stdin) -> Result<String> {
    if stdin.is_terminal() {
        eprintln!("password (shown as you type; end with Enter and Ctrl-D):");
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).context("the password on stdin")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A user as files have it, with keys in place of the password.
fn stored(user: &str, realm: &str, password: &str) -> Result<String> {
    ensure!(!password.is_empty(), "no password: write it to stdin");
    ensure!(!user.contains(':'), "--user has a colon, which ends the name in a list of users");
    let keys = Password::to_stored(user, realm, password).expose();
    let User { name, .. } = User::new(user, &keys)?;
    Ok(format!("{name}:{keys}"))
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
        let made = SecretHash::Sha1.credential("north", "alice", 1_700_000_000);
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
    fn stored_keys_are_a_line_of_the_users_file() {
        // Computed with: printf %s alice:example.org:wonderland | md5sum (sha256sum)
        let line = stored("alice", "example.org", "wonderland").unwrap();
        assert_eq!(
            line,
            "alice:0x72f86f2053703faa0f521ce71cfe6f59,\
             0xf0c3ae808cef897043f79de49549776f1f58cb7c5364e03ab40abac620459848"
        );
        line.parse::<User>().unwrap();
        assert!(stored("alice", "example.org", "").is_err() && stored("a:b", "example.org", "x").is_err());
        assert!(stored(&"x".repeat(509), "example.org", "x").is_err());
    }

    #[test]
    fn text_is_one_thing_a_line() {
        assert_eq!(render("17:a", "p=", &[], false), "username  17:a\npassword  p=");
    }
}
