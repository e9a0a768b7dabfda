//! What is installed from Debian's or Ubuntu's packages, and how.

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Once;

use anyhow::{Context, Result, bail};

use crate::shell::{capture, is_root, on_path, run};
use crate::version::Version;

/// A compiler whose `core` for BPF is already built.
pub(crate) const COMPILER: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// What the tests use beside the project itself. coturn is there for its client, `turnutils_uclient`, and as a server for our own
/// clients; squid is a proxy for them.
pub(crate) const TESTS: &[&str] =
    &["coturn", "curl", "ethtool", "iproute2", "nftables", "openssl", "squid-openssl"];

/// Those of them that bring a daemon, and the name of its service.
pub(crate) const DAEMONS: &[(&str, &str)] = &[("coturn", "coturn"), ("squid-openssl", "squid")];

/// What the firewall lab uses beside them and the browser: a proxy that decrypts, and tools for pages, passwords and
/// certificates.
pub(crate) const FIREWALLS: &[&str] = &["apache2-utils", "libnss3-tools", "mitmproxy"];

/// Further clients that the server is tried with. Not every release has them all: Ubuntu's browsers are no packages of
/// apt's.
pub(crate) const CLIENTS: &[&str] = &["chromium", "firefox-esr", "libnice-dev", "python3-aioice"];

/// What bpf-linker is built from, for a major version of LLVM.
pub(crate) fn linker(llvm: u32) -> Vec<String> {
    let mut packages = vec![format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    packages.extend(["zlib1g-dev", "libzstd-dev", "g++"].map(String::from));
    packages
}

/// Whether this is a system with apt on which this user may install something.
pub(crate) fn may_install() -> bool {
    on_path("apt-get").is_some() && privilege().is_some()
}

/// The version that apt would install, after asking the mirrors.
pub(crate) fn candidate(package: &str) -> Option<Version> {
    update();
    let policy = capture(Command::new("apt-cache").args(["policy", package])).ok()?;
    Version::of_apt_candidate(&policy)
}

/// Those of the packages that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages.iter().copied().filter(|package| !is_installed(package)).collect()
}

/// Installs those of the packages that are missing, and removes nothing for it.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if on_path("apt-get").is_none() {
        bail!("this system has no apt; install the equivalents of: {}", missing.join(" "));
    }
    let Some(mut command) = privilege() else {
        bail!("installing packages needs root; have this run first: {by_hand}");
    };
    update();
    eprintln!("    installing {}", missing.join(" "));
    command.args(["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends"]);
    // Debian's compilers conflict with its `rustc` and `rustup`: better no package than losing the user's.
    command.args(["--no-remove", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"]).args(&missing);
    run(&mut command).with_context(|| format!("packages are missing; see why with: {by_hand}"))
}

/// As [`ensure`], but for those packages that apt has; gives the others.
pub(crate) fn ensure_those_known<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let (known, unknown): (Vec<_>, Vec<_>) =
        missing(packages).into_iter().partition(|package| candidate(package).is_some());
    ensure(&known)?;
    Ok(unknown)
}

/// As [`ensure`], for packages that bring a daemon: it is neither started now nor at the next boot. Root only.
pub(crate) fn ensure_without_daemons(packages: &[&str], daemons: &[(&str, &str)]) -> Result<()> {
    let new: Vec<_> =
        daemons.iter().filter(|(package, _)| !is_installed(package)).map(|(_, service)| service).collect();
    let policy = NoStart::new()?;
    ensure(packages)?;
    drop(policy);
    if on_path("systemctl").is_some() {
        for daemon in new {
            run(Command::new("systemctl").args(["--quiet", "disable", daemon]))?;
        }
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Fetches the package lists, once. Without them a fresh container knows no package; with old ones, wrong files.
fn update() {
    static UPDATED: Once = Once::new();
    UPDATED.call_once(|| {
        if let Some(mut command) = privilege() {
            command.args(["apt-get", "update", "--quiet=2"]);
            if let Err(error) = run(&mut command) {
                eprintln!("    {error:#}; going on with the package lists as they are");
            }
        }
    });
}

/// The start of a command that runs as root: nothing but `env` for root itself, or sudo where it can work.
fn privilege() -> Option<Command> {
    let mut command;
    if is_root() {
        command = Command::new("env");
    } else {
        let can_ask = std::io::stdin().is_terminal();
        on_path("sudo")?;
        if !can_ask && capture(Command::new("sudo").args(["-n", "true"])).is_err() {
            return None;
        }
        command = Command::new("sudo");
        command.arg("env");
    }
    command.arg("DEBIAN_FRONTEND=noninteractive");
    Some(command)
}

/// While it lives, packages do not start their daemons (`invoke-rc.d` and `deb-systemd-invoke` ask this script).
/// An administrator's own script is left alone.
struct NoStart(Option<&'static Path>);

impl NoStart {
    const SCRIPT: &'static str =
        "#!/bin/sh\n# Written by Turnpike's `cargo xtask test` while it installs packages.\nexit 101\n";

    fn new() -> Result<NoStart> {
        let path = Path::new("/usr/sbin/policy-rc.d");
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                file.write_all(Self::SCRIPT.as_bytes())?;
                Ok(NoStart(Some(path)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                // One of ours is left when an earlier run was killed.
                let ours = fs::read_to_string(path).is_ok_and(|text| text == Self::SCRIPT);
                Ok(NoStart(ours.then_some(path)))
            }
            Err(error) => {
                Err(error).context("cannot keep packages from starting daemons (/usr/sbin/policy-rc.d)")
            }
        }
    }
}

impl Drop for NoStart {
    fn drop(&mut self) {
        if let Some(path) = self.0
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!(
                "    cannot remove {}: {error}; remove it, or no package will start its daemon",
                path.display()
            );
        }
    }
}
