//! The labs: what they need is installed and built first, so that nothing of an old build is tried.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::chores::{build, cargo, install_test_packages, target_dir};
use crate::shell::{is_root, run, step};

/// Builds what these arguments need, and becomes the lab.
pub(crate) fn lab(args: &[OsString]) -> Result<()> {
    let mut command = Command::new(target_dir()?.join("debug/turnpike-lab"));
    command.args(args);
    if tries(args) {
        ensure!(
            is_root(),
            "a lab is made of network namespaces, which needs root: sudo env \"PATH=$PATH\" cargo xtask lab firewalls"
        );
        let lacking = step("install what the lab uses", install_test_packages)?;
        if !lacking.is_empty() {
            bail!("apt has no {} here: see docs/firewalls.md", lacking.join(" "));
        }
        // The server that is tried.
        command.env("TURNPIKE_BIN", build()?);
    }
    step("build the lab", || {
        run(cargo().args(["build", "--package", "turnpike-tests", "--bin", "turnpike-lab"]))
    })?;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Whether the lab will try something, or only say what it could.
fn tries(args: &[OsString]) -> bool {
    let asks = ["--list", "--help", "-h", "help"];
    !args.is_empty() && !args.iter().any(|arg| asks.iter().any(|ask| arg == ask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_need_neither_root_nor_a_server() {
        let tries = |line: &str| {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            tries(&args)
        };
        assert!(tries("firewalls") && tries("firewalls no-udp 11 --server coturn --json seen.json"));
        assert!(!tries("") && !tries("firewalls --list") && !tries("firewalls --help") && !tries("-h"));
    }
}
