//! `turnpike doctor`: what keeps XDP from running here, or from running well?

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::flags::SettingsFlags;
use super::run::datapath_config;
use super::screen::print;
use crate::config::{self, Host};
use crate::datapath::doctor::{Examination, Finding, Level, examine};
use crate::net::LISTENER_BUFFER;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingsFlags,

    /// Print JSON: {"xdp": BOOL, "findings": [{"about", "level", "text", "command"}]}
    #[arg(long, help_heading = "Operation")]
    json: bool,
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    let host = Host::read().context("cannot read this host's addresses")?;
    let path = args.settings.config.clone();
    let settings = config::load(path.as_deref(), args.settings.layer(), &host)?.settings;
    let ports = settings.relay_ports;
    let reserve = host.hands_out(ports).then(|| {
        let all = host.reserved_ports.iter().chain([&ports]);
        all.map(ToString::to_string).collect::<Vec<_>>().join(",")
    });
    let findings = examine(Examination {
        datapath: &datapath_config(&settings),
        reserve: reserve.as_deref(),
        buffer: LISTENER_BUFFER,
    })?;
    let prevented = findings.iter().any(|finding| finding.level == Level::Error);
    if args.json {
        print(serde_json::json!({ "xdp": !prevented, "findings": findings }))?;
    } else {
        print(render(&findings))?;
    }
    Ok(if prevented { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A line for each finding, and one that sums up.
fn render(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { about, level, text: what, command } in findings {
        let command = command.as_ref().map(|command| format!(": {command}")).unwrap_or_default();
        text.push_str(&format!("{about:<width$}  {:<8} {what}{command}\n", level.name()));
    }
    let of = |level| findings.iter().filter(|finding| finding.level == level).count();
    let warnings = match of(Level::Warning) {
        0 => "no warnings".into(),
        1 => "1 warning".into(),
        n => format!("{n} warnings"),
    };
    text.push_str(&match of(Level::Error) {
        0 => format!("\nnothing prevents XDP; {warnings}"),
        1 => format!("\n1 error prevents XDP; {warnings}"),
        n => format!("\n{n} errors prevent XDP; {warnings}"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_that_ends_with_its_command() {
        let finding = |about: &str, level, text: &str, command: Option<&str>| Finding {
            about: about.into(),
            level,
            text: text.into(),
            command: command.map(Into::into),
        };
        let mut findings = vec![
            finding("host", Level::Ok, "kernel 6.1.0", None),
            finding("enp1s0", Level::Warning, "LRO is on", Some("ethtool -K enp1s0 lro off")),
        ];
        let expected = "\
host    ok       kernel 6.1.0
enp1s0  warning  LRO is on: ethtool -K enp1s0 lro off

nothing prevents XDP; 1 warning";
        assert_eq!(render(&findings), expected);
        findings.push(finding("enp1s0", Level::Error, "no", None));
        assert!(render(&findings).ends_with("\n1 error prevents XDP; 1 warning"));
    }
}
