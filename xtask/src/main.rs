//! The project's own chores: `cargo xtask --help`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod chores;
mod ebpf;
mod fuzz;
mod lab;
mod linker;
mod object;
mod packages;
mod shell;
mod toolchain;
mod version;
mod vm;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Turnpike's chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the eBPF object, installing its toolchain where it is missing
    BuildEbpf,
    /// Build the eBPF object and the release binary that embeds it
    Build {
        /// Without a library of the host's: one file that runs on any Linux of this CPU
        #[arg(long = "static")]
        is_static: bool,
    },
    /// Build everything and run the server: `cargo xtask run -- --user alice:secret`
    Run {
        /// Flags for `turnpike run`
        #[arg(last = true)]
        flags: Vec<OsString>,
    },
    /// Build everything and run the tests; the end-to-end ones need root
    Test(chores::TestOptions),
    /// Build everything and measure what this machine relays; needs root. `cargo xtask bench --help`, `cargo xtask bench list`
    #[command(disable_help_flag = true)]
    Bench {
        /// Flags and commands of the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build everything and try it in networks that are made for it; needs root. `cargo xtask lab firewalls --help`
    #[command(disable_help_flag = true)]
    Lab {
        /// A lab and its flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Fuzz the parsers and the protocol core, installing cargo-fuzz where it is missing
    Fuzz(fuzz::Options),
    /// Run a choice of the tests on Debian's kernel, in a virtual machine; needs root and apt
    Vm(vm::Options),
    /// Formatting, lints, documentation and licences, as CI checks them
    Check,
}

fn main() -> ExitCode {
    let result = match Cli::parse().chore {
        Chore::BuildEbpf => ebpf::build(),
        Chore::Build { is_static: false } => chores::build().map(drop),
        Chore::Build { is_static: true } => chores::build_static(),
        Chore::Run { flags } => chores::run(&flags),
        Chore::Test(options) => chores::test(&options),
        Chore::Bench { args } => bench::bench(&args),
        Chore::Lab { args } => lab::lab(&args),
        Chore::Fuzz(options) => fuzz::fuzz(&options),
        Chore::Vm(options) => vm::vm(&options),
        Chore::Check => chores::check(),
    };
    // Without the backtrace that anyhow adds where RUST_BACKTRACE is set: it says nothing about a failed command.
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::FAILURE
}
