//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use turnpike_bench::runs::engine::Options;
use turnpike_bench::runs::measure::Pace;
use turnpike_bench::subjects::af_xdp;

/// How much this machine relays, what a packet costs, and how far ahead of coturn that is
#[derive(Parser, Debug)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Cli {
    /// What to do; all runs if nothing is said
    #[command(subcommand)]
    pub(crate) task: Option<Task>,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Task {
    /// Name the runs, and what each answers
    List,
    /// Run these, or all
    Run {
        /// Names of runs, as `bench list` has them
        names: Vec<String>,
    },
    /// Be the AF_XDP reflector on this interface: the bench starts itself so in the relay's namespace
    #[command(name = af_xdp::WORD, hide = true)]
    AfXdpReflector {
        /// The relay's interface
        interface: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct How {
    /// A look instead of a report: fewer cases and rounds, shorter slices
    #[arg(long, global = true)]
    quick: bool,
    /// Rounds that count; one more comes before them [default: 5, with --quick 2]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Milliseconds for which a rate is offered at a time. Longer where CPUs are not taken away by a host [default: 250, with
    /// --quick 100]
    #[arg(long, global = true, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=600_000))]
    slice: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Output {
    /// Write all figures, those of each round too, to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables to this file instead of printing them
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Draw plots (SVG) into this directory
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
}

/// Who makes the packets.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum By {
    /// An XDP program by live frames
    #[default]
    LiveFrames,
    /// The kernel's packet generator
    Pktgen,
}

/// Where it is measured, and beside whom.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// A coturn (its `turnserver`) to measure beside the one on the PATH; may be repeated
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) coturn: Vec<PathBuf>,
    /// Who makes the packets. pktgen, where the kernel has it, makes those of peers only
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) generator: By,
    /// Only the subjects whose names contain this, such as `floor` or `turnpike xdp`; may be repeated
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) subject: Vec<String>,
    /// Instead of a lab in namespaces: the interface of this machine that clients are on. The relay is another machine
    #[arg(long, global = true, value_name = "IF", help_heading = "Real interfaces")]
    client_if: Option<String>,
    /// The interface that peers are on; may be the same
    #[arg(long, global = true, value_name = "IF", help_heading = "Real interfaces")]
    peer_if: Option<String>,
    /// Where the relay listens, one of each family at most
    #[arg(long, global = true, value_name = "ADDR:PORT", help_heading = "Real interfaces")]
    listener: Vec<SocketAddr>,
    /// The address that it relays from, where it is not the listener's; one of each family at most
    #[arg(long, global = true, value_name = "ADDR", help_heading = "Real interfaces")]
    relayed: Vec<IpAddr>,
    /// The relay's user
    #[arg(long, global = true, value_name = "NAME:PASSWORD", help_heading = "Real interfaces")]
    user: Option<String>,
    /// An address of the client interface [default: all of it]; may be repeated
    #[arg(long, global = true, value_name = "ADDR", help_heading = "Real interfaces")]
    client_addr: Vec<IpAddr>,
    /// An address of the peer interface [default: all of it]; may be repeated
    #[arg(long, global = true, value_name = "ADDR", help_heading = "Real interfaces")]
    peer_addr: Vec<IpAddr>,
}

/// Interfaces of this machine, and the relay behind them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RealInterfaces {
    pub(crate) client_interface: String,
    pub(crate) peer_interface: String,
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) relayed: Vec<IpAddr>,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) clients: Vec<IpAddr>,
    pub(crate) peers: Vec<IpAddr>,
}

impl How {
    /// What the runs are told.
    pub(crate) fn options(&self) -> Options {
        let pace = if self.quick { Pace::quick() } else { Pace::thorough() };
        Options {
            rounds: self.rounds.unwrap_or(if self.quick { 2 } else { 5 }),
            quick: self.quick,
            pace: Pace { slice: self.slice.map_or(pace.slice, Duration::from_millis), ..pace },
        }
    }
}

impl Place {
    /// The real interfaces, if any are named.
    ///
    /// # Errors
    /// Where something that they need is missing, or a lab in namespaces is given what is theirs.
    pub(crate) fn real(&self) -> Result<Option<RealInterfaces>> {
        let (client_interface, peer_interface) = match (&self.client_if, &self.peer_if) {
            (Some(client), Some(peer)) => (client.clone(), peer.clone()),
            (None, None) => {
                let other = [&self.client_addr, &self.peer_addr, &self.relayed];
                let any = other.iter().any(|given| !given.is_empty());
                ensure!(
                    !any && self.listener.is_empty() && self.user.is_none(),
                    "--listener, --relayed, --user, --client-addr and --peer-addr are for real interfaces: name \
                     those with --client-if and --peer-if"
                );
                return Ok(None);
            }
            _ => bail!("real interfaces need both --client-if and --peer-if; they may be the same"),
        };
        ensure!(!self.listener.is_empty(), "say where the relay listens: --listener ADDR:PORT");
        ensure!(
            self.coturn.is_empty(),
            "--coturn is for the lab; the relay behind real interfaces is a server there"
        );
        let Some((user, password)) = self.user.as_deref().and_then(|user| user.split_once(':')) else {
            bail!("say who may allocate at the relay: --user NAME:PASSWORD");
        };
        Ok(Some(RealInterfaces {
            client_interface,
            peer_interface,
            listeners: self.listener.clone(),
            relayed: self.relayed.clone(),
            user: user.into(),
            password: password.into(),
            clients: self.client_addr.clone(),
            peers: self.peer_addr.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(["bench"].into_iter().chain(line.split_whitespace())).expect("it is understood")
    }

    fn real(line: &str) -> Result<Option<RealInterfaces>> {
        parse(line).place.real()
    }

    #[test]
    fn flags_may_stand_before_and_after_the_names() {
        for line in ["run capacity sizes --quick --json x", "--quick --json x run capacity sizes"] {
            let cli = parse(line);
            assert!(
                matches!(&cli.task, Some(Task::Run { names }) if *names == ["capacity", "sizes"]),
                "{line}"
            );
            assert_eq!((cli.how.options().rounds, cli.how.options().quick), (2, true));
            assert_eq!(cli.output.json, Some("x".into()));
        }
        assert!(parse("").task.is_none());
        assert!(matches!(parse("list").task, Some(Task::List)));
    }

    #[test]
    fn rounds_and_slices_are_as_asked() {
        let options = parse("--rounds 9 --slice 1000").how.options();
        assert_eq!((options.rounds, options.pace.slice), (9, Duration::from_secs(1)));
        assert!(Cli::try_parse_from(["bench", "--rounds", "0"]).is_err());
    }

    #[test]
    fn coturns_may_be_many() {
        let cli = parse("run --coturn /a --coturn /b");
        assert_eq!(cli.place.coturn, [PathBuf::from("/a"), "/b".into()]);
    }

    #[test]
    fn real_interfaces_say_what_they_miss() {
        assert_eq!(real("run").expect("a lab"), None);
        let whole = "--client-if a --peer-if b --listener 192.0.2.1:3478 --user me:x:y";
        let found = real(whole).expect("all is there").expect("real interfaces");
        assert_eq!((&found.user[..], &found.password[..]), ("me", "x:y"));
        let error = |line: &str| real(line).expect_err("something is missing").to_string();
        assert!(error("--client-if a").contains("--peer-if"));
        assert!(error("--client-if a --peer-if b").contains("--listener"));
        assert!(error("--client-if a --peer-if b --listener 192.0.2.1:3478").contains("--user"));
        assert!(error("--user a:b").contains("--client-if"));
        assert!(error(&format!("{whole} --coturn /x")).contains("--coturn"));
    }
}
