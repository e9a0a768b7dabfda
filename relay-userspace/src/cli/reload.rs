//! `turnpike reload`: has a running server read its settings again.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::http;
use super::screen::{Screen, print};
use crate::admin::Reloaded;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: http::ServerFlags,

    /// Print the answer of the admin API as it is
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    let text = http::change(args.server.authority(), "POST", "/v1/reload")
        .context("not reloaded, the settings before still hold")?;
    if args.json {
        print(text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let reloaded: Reloaded = serde_json::from_str(&text).context("the answer is not one of this version")?;
    print(render(&reloaded))?;
    for warning in &reloaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

fn render(reloaded: &Reloaded) -> Screen {
    let mut screen = Screen::default();
    let Reloaded { applied, waiting, .. } = reloaded;
    screen.line(if applied.is_empty() { "reloaded, nothing is different" } else { "reloaded" });
    let width = applied.iter().chain(waiting).map(|change| change.key.len()).max().unwrap_or(0).max(22);
    for (title, changes) in [("in force", applied), ("waiting for a restart", waiting)] {
        if !changes.is_empty() {
            screen.line("");
            screen.line(title);
        }
        for change in changes {
            screen.line(format_args!("  {:<width$} {}", change.key, change.what));
        }
    }
    screen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Change;

    #[test]
    fn the_screen_says_what_holds_and_what_waits() {
        let change = |key: &str, what: &str| Change { key: key.into(), what: what.into() };
        let applied =
            vec![change("auth.users", "1 new, 1 gone; 12 now"), change("limits.max-lifetime", "1h -> 2h")];
        let waiting = vec![change("listen", "udp://10.0.0.2:3478 -> udp://10.0.0.3:3478")];
        let all = Reloaded { applied, waiting: waiting.clone(), warnings: vec![] };
        let expected = "\
reloaded

in force
  auth.users             1 new, 1 gone; 12 now
  limits.max-lifetime    1h -> 2h

waiting for a restart
  listen                 udp://10.0.0.2:3478 -> udp://10.0.0.3:3478";
        assert_eq!(render(&all).to_string(), expected);
        let none = render(&Reloaded { waiting, ..Reloaded::default() }).to_string();
        assert!(none.starts_with("reloaded, nothing is different\n\nwaiting for a restart\n"), "{none}");
    }
}
