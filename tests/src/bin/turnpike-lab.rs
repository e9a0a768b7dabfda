//! `turnpike-lab firewalls`: every network of the firewall lab, as a matrix. `cargo xtask lab` builds what it needs and
//! runs it.

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;
use turnpike_tests::firewalls::networks::NETWORKS;
use turnpike_tests::firewalls::{self, Network, Report, Subject, report};

#[derive(Parser)]
#[command(name = "cargo xtask lab", about = "Turnpike in networks that are made for it")]
struct Cli {
    #[command(subcommand)]
    lab: Lab,
}

#[derive(Subcommand)]
enum Lab {
    /// Real browsers and other clients behind every kind of firewall, NAT and proxy
    Firewalls(Firewalls),
}

#[derive(clap::Args)]
struct Firewalls {
    /// Which networks, by name or number [default: all]
    networks: Vec<String>,
    /// Name the networks and do nothing
    #[arg(long)]
    list: bool,
    /// The server to try
    #[arg(long, value_enum, default_value_t = Server::Turnpike)]
    server: Server,
    /// Write what was seen here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the matrix here, as Markdown: between the lines `<!-- matrix -->` and `<!-- end of the matrix -->` of a file that
    /// has them
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Server {
    /// The one that was just built
    Turnpike,
    /// Debian's, to compare with
    Coturn,
}

fn main() -> ExitCode {
    let Lab::Firewalls(options) = Cli::parse().lab;
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as it should be.
fn run(options: &Firewalls) -> Result<bool> {
    let networks = chosen(&options.networks)?;
    if options.list {
        for network in networks {
            println!("{:>2} {:<24} {}", network.row, network.name, network.what);
        }
        return Ok(true);
    }
    ensure!(!firewalls::skipped(), "the lab cannot run here");
    let subject = match options.server {
        Server::Turnpike => Subject::Turnpike,
        Server::Coturn => Subject::Coturn,
    };
    let mut reports: Vec<Report> = Vec::new();
    let mut broken = Vec::new();
    for network in networks {
        match catch_unwind(|| firewalls::run(network, subject)) {
            Ok(report) => {
                print!("{}", report.lines());
                reports.push(report);
            }
            // What went wrong is on the terminal already.
            Err(_) => broken.push(network.name),
        }
    }
    let matrix = report::markdown(&reports);
    println!("\n{matrix}");
    if let Some(file) = &options.markdown {
        let before = fs::read_to_string(file).unwrap_or_default();
        let after = report::put_into(&before, &matrix);
        fs::write(file, after).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &options.json {
        let all =
            json!({ "networks": reports.iter().map(Report::json).collect::<Vec<_>>(), "broken": broken });
        fs::write(file, format!("{all:#}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let problems: usize = reports.iter().map(|report| report.problems.len()).sum();
    let seconds: f64 = reports.iter().map(|report| report.took.as_secs_f64()).sum();
    println!("{} networks in {seconds:.0} s; {problems} problems; broken: {broken:?}", reports.len());
    Ok(problems == 0 && broken.is_empty())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Network>> {
    let is = |network: &Network, name: &String| network.name == name || network.row.to_string() == *name;
    for name in names {
        ensure!(NETWORKS.iter().any(|network| is(network, name)), "no network {name}: see --list");
    }
    let wanted = |network: &&Network| names.is_empty() || names.iter().any(|name| is(network, name));
    Ok(NETWORKS.iter().filter(wanted).collect())
}
