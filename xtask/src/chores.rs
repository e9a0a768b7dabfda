//! What is done with the workspace: build, run, test, check.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};

use crate::shell::{capture, is_root, on_path, root, run as run_command, step};
use crate::{ebpf, object, packages, version};

/// The package of the end-to-end tests.
const E2E: &str = "turnpike-tests";

/// Package of the bench.
const BENCH: &str = "turnpike-bench";

/// The suite that runs what wants XDP a second time, in generic mode.
const IN_GENERIC_MODE: &str = "end-to-end tests in generic mode";

/// Parts of the names of end-to-end tests that would do the same in the second run: those of one mode, and those about
/// the choice of a mode.
const RUN_ALREADY: &[&str] = &[
    "generic",
    "userspace",
    "by_the_process",
    "the_ladder_says",
    "the_doctor_names",
    "sigterm_leaves",
    "channels_go_by_xdp_and_the_process_sees_none_of_it::by_xdp",
    // These have a test of generic mode beside each of driver mode.
    "an_expired_permission_stops_media_while_the_server_is_stopped::in_driver_mode",
    "an_interface_that_is_made_again_is_attached_again::in_driver_mode",
    "clients_and_peers_may_be_of_either_family::by_channel_in_driver_mode",
    "first_media_after_channel_bind_is_not_lost::in_driver_mode",
    "other_traffic_of_the_host_is_undisturbed::in_driver_mode",
    "two_clients_of_one_server_reach_each_other::in_driver_mode",
];

#[derive(clap::Args)]
pub(crate) struct TestOptions {
    /// Which tests to run
    #[arg(long, value_enum, default_value_t = Suite::All)]
    suite: Suite,
    /// How many end-to-end tests run at once [default: half of the CPUs, for each runs a server and its clients]
    #[arg(long, value_name = "N")]
    e2e_threads: Option<usize>,
    /// Arguments for the test programs: a part of a test's name, --nocapture, ...
    #[arg(last = true)]
    args: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    /// Every test
    All,
    /// All but the end-to-end tests
    Host,
    /// The end-to-end tests, in network namespaces of their own
    E2e,
}

/// Builds the object and the release binary with the object in it, and says where that lies.
pub(crate) fn build() -> Result<PathBuf> {
    ebpf::build()?;
    step("build the server (release)", || {
        run_command(cargo().args(["build", "--release", "--package", "turnpike", "--bin", "turnpike"]))
    })?;
    Ok(target_dir()?.join("release/turnpike"))
}

/// Builds the same without a library of the host's, for tunnels on any host, and says where that lies.
pub(crate) fn build_static() -> Result<()> {
    ebpf::build()?;
    let verbose = capture(Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let host = version::field(&verbose, "host:").context("rustc -vV names no host")?;
    step("build a static server (release)", || {
        run_command(
            cargo()
                .args(["build", "--release", "--package", "turnpike", "--bin", "turnpike"])
                // Naming the target keeps the flag from macros and build scripts, which are loaded by the compiler.
                .args(["--target", host])
                .args(["--config", "profile.release.strip=\"debuginfo\""])
                .env("RUSTFLAGS", "-C target-feature=+crt-static"),
        )
        .context("a static build needs the C library as an archive, libc.a: Debian's libc6-dev, Fedora's glibc-static")
    })?;
    let built = target_dir()?.join(host).join("release/turnpike");
    let file = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    ensure!(!object::wants_loader(&file)?, "{} wants libraries of the host all the same", built.display());
    eprintln!("==> {} ({} MB)", built.display(), file.len() / 1_000_000);
    Ok(())
}

/// Builds everything and becomes `turnpike run`.
pub(crate) fn run(flags: &[OsString]) -> Result<()> {
    let server = build()?;
    if !is_root() {
        eprintln!(
            "==> XDP needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON. Without them the server relays in \
             userspace. With XDP: sudo {} run",
            server.display()
        );
    }
    eprintln!("==> run {}", server.display());
    let error = Command::new(&server).arg("run").args(flags).exec();
    Err(error).with_context(|| format!("cannot start {}", server.display()))
}

/// Builds everything and runs the tests.
pub(crate) fn test(options: &TestOptions) -> Result<()> {
    let e2e = options.suite != Suite::Host && is_root();
    ensure!(
        e2e || options.suite != Suite::E2e,
        "the end-to-end tests make network namespaces and load XDP programs, which needs root: run this with sudo"
    );
    if e2e {
        step("install what the tests use", install_test_packages)?;
    }
    let server = build()?;
    let mut suites = Vec::new();
    if options.suite != Suite::E2e {
        suites.push((
            "unit and integration tests",
            ["--workspace", "--exclude", "relay-ebpf", "--exclude", E2E].to_vec(),
            [].as_slice(),
            None,
        ));
    }
    if e2e {
        let threads = options
            .e2e_threads
            .unwrap_or_else(|| available_parallelism().map_or(1, |cpus| cpus.get().div_ceil(2)));
        suites.push(("end-to-end tests", ["--package", E2E].to_vec(), &[], Some(threads)));
        let again = ["--package", E2E, "--test", "end_to_end"].to_vec();
        suites.push((IN_GENERIC_MODE, again, RUN_ALREADY, Some(threads)));
    }
    let mut failed = Vec::new();
    for (name, packages, without, threads) in suites {
        let result = step(name, || {
            let mut cargo = cargo();
            cargo.args(["test", "--no-fail-fast"]).args(packages).arg("--").args(&options.args);
            cargo.args(threads.map(|threads| format!("--test-threads={threads}")));
            cargo.args(without.iter().flat_map(|name| ["--skip", name]));
            if name == IN_GENERIC_MODE {
                cargo.env("TURNPIKE_TEST_DATAPATH", "xdp-generic");
            }
            // The server that the tests start.
            cargo.env("TURNPIKE_BIN", &server);
            run_command(&mut cargo)
        });
        if result.is_err() {
            failed.push(name);
        }
    }
    if options.suite == Suite::All && !e2e {
        eprintln!(
            "==> NOT RUN: the end-to-end tests, which need root: sudo env \"PATH=$PATH\" cargo xtask test --suite e2e"
        );
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Builds the end-to-end and packet tests, and says where their programs lie.
pub(crate) fn test_programs() -> Result<Vec<PathBuf>> {
    let mut cargo = cargo();
    cargo.args(["test", "--no-run", "--package", E2E, "--package", BENCH, "--tests"]);
    cargo.arg("--message-format=json-render-diagnostics");
    // A line for each thing built; those that can be run have a path.
    const BEFORE: &str = r#""executable":""#;
    let said = capture(&mut cargo)?;
    Ok(said
        .lines()
        .filter_map(|line| line.split_once(BEFORE)?.1.split('"').next())
        .map(PathBuf::from)
        .collect())
}

/// Formatting, lints, documentation and, where cargo-deny is installed, licences and sources.
pub(crate) fn check() -> Result<()> {
    for tool in ["fmt", "clippy"] {
        let hint = || format!("check needs cargo {tool}: rustup component add rustfmt clippy");
        capture(cargo().args([tool, "--version"])).with_context(hint)?;
    }
    step("formatting", || {
        run_command(cargo().args(["fmt", "--all", "--check"]))?;
        // A workspace of its own.
        run_command(cargo().args(["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--check"]))
    })?;
    step("lints", || {
        let mut clippy = cargo();
        clippy.args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]);
        run_command(&mut clippy)
    })?;
    step("documentation", || {
        let mut doc = cargo();
        doc.args(["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        run_command(&mut doc)
    })?;
    if on_path("cargo-deny").is_none() {
        eprintln!("==> NOT RUN: licences and sources, which need cargo-deny");
        return Ok(());
    }
    step("licences and sources", || {
        run_command(cargo().args(["deny", "check", "bans", "licenses", "sources"]))
    })
}

/// Installs what the end-to-end tests, those with other clients and the firewall lab use. Gives what apt does not have.
pub(crate) fn install_test_packages() -> Result<Vec<&'static str>> {
    if on_path("apt-get").is_none() {
        let all = [packages::TESTS, packages::FIREWALLS, packages::CLIENTS].concat().join(" ");
        eprintln!("    no apt here: the tests expect the equivalents of {all}");
        return Ok(Vec::new());
    }
    let needed = [packages::TESTS, packages::FIREWALLS].concat();
    packages::ensure_without_daemons(&needed, packages::DAEMONS)?;
    let unknown = packages::ensure_those_known(packages::CLIENTS)?;
    for client in &unknown {
        eprintln!("==> NOT RUN: the tests with {client}, which apt does not have here");
    }
    Ok(unknown)
}

/// The cargo that started this program, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Where cargo puts what it builds; this program lies in there, in a directory named by its profile.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe()?;
    Ok(program.ancestors().nth(2).context("xtask must be run by cargo: `cargo xtask`")?.to_path_buf())
}
