//! The command line: one file a subcommand. The help texts are the manual.

mod check;
mod connect;
mod creds;
mod doctor;
mod drain;
mod flags;
mod http;
mod log;
mod origin;
mod parts;
mod probe;
mod reload;
mod run;
mod running;
mod screen;
mod sessions;
mod signals;
mod status;
mod traffic;
mod tunnel;
mod welcome;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use crate::auth::printable;

/// A TURN relay whose media path runs in the network driver (XDP).
#[derive(Debug, Parser)]
#[command(name = "turnpike", version, max_term_width = 110, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until SIGTERM or Ctrl-C; SIGHUP reads the settings again
    ///
    /// Without any setting: listens on the default route's address, makes up a user for this run and prints a URL, the
    /// credential and a `turnpike probe` line to try it. With CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON media is forwarded
    /// by XDP; without them everything works in userspace.
    Run(run::Args),
    /// Check the settings and print what holds, secrets masked
    ///
    /// Nothing is started. Exit code 1: `run` would refuse these settings; 0: it would not. What this host may lack when the server
    /// starts (an address, an interface, a free port) is warned of where it can be seen.
    Check(check::Args),
    /// Say what on this host keeps XDP from running, or from running well, and the command that changes it
    ///
    /// Looks at the host and at every interface that `run` would use with these settings; changes nothing. Exit code 0:
    /// nothing prevents XDP in the mode that --datapath asks for (driver mode, unless it is xdp-generic); 1: something does, or the
    /// settings are wrong.
    Doctor(doctor::Args),
    /// Show what a running server does: interfaces, allocations, packets by fate
    Status(status::Args),
    /// List the sessions (allocations) of a running server with what each has relayed so far, or end some
    ///
    /// Those with the most data come first. To be run on the server's own host: the list names users and addresses.
    Sessions(sessions::Args),
    /// Have a running server read its settings again, without ending a call
    ///
    /// It reads its configuration file and the files of users and secrets that are named there or by its flags, with the
    /// same flags on top, as it does at SIGHUP. Exit code 0: the new settings hold, but for those that are listed as waiting for
    /// a restart; 1: something is wrong, and nothing has changed.
    Reload(reload::Args),
    /// Make no new allocations on a running server, and let those there are come to their end
    ///
    /// Before maintenance: `turnpike drain --wait --timeout 1h && systemctl stop turnpike`.
    Drain(drain::Args),
    /// Make a time-limited credential from a shared secret, or keys to store in place of a password
    ///
    /// The user name is EXPIRY:NAME and the password base64(HMAC-SHA1(secret, user name)), as in coturn's
    /// `use-auth-secret` and most WebRTC back ends. With --key it reads a password from stdin and prints a line for a users file.
    Creds(creds::Args),
    /// Try a TURN server as a client and say which step fails
    ///
    /// Connects over UDP, TCP, TLS or a WebSocket, through an HTTP proxy if need be, makes two allocations, sends packets from one
    /// to the other through the server, by Send indications and through a channel, and ends both. Works with any TURN server. Exit
    /// code 0: every step of every URL went well; 1: one failed.
    Probe(probe::Args),
    /// Carry the TURN of local clients to a server over a secure WebSocket, through a web proxy if need be
    ///
    /// For native clients and SIP systems in a network that lets out nothing but HTTPS: they use this host as their TURN server, over UDP or
    /// TCP, with the credentials of the real one. Each gets a connection of its own. Needs no privileges.
    Tunnel(tunnel::Args),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let outcome = match parse().command {
        Command::Run(args) => run::main(args),
        Command::Check(args) => check::main(args),
        Command::Doctor(args) => doctor::main(args),
        Command::Status(args) => status::main(args),
        Command::Sessions(args) => sessions::main(args),
        Command::Reload(args) => reload::main(args),
        Command::Drain(args) => drain::main(args),
        Command::Creds(args) => creds::main(args),
        Command::Probe(args) => probe::main(args),
        Command::Tunnel(args) => tunnel::main(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("turnpike: {error:#}");
        ExitCode::FAILURE
    })
}

/// The command line, with what to write in place of a file that stands by itself.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
            && error.kind() == ErrorKind::UnknownArgument
            && word.ends_with(".toml")
        {
            let hint = format!("a configuration file is named by a flag: -c {}", printable(word));
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
        }
        error.exit()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
