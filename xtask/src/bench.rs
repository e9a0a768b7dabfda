//! The capacity bench: what it measures is built first, so that no figure is of an old build.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::chores::{build, cargo, target_dir};
use crate::shell::{is_root, run, step};

/// Builds what these arguments need, and becomes the bench.
pub(crate) fn bench(args: &[OsString]) -> Result<()> {
    let mut command = Command::new(target_dir()?.join("release/turnpike-bench"));
    command.args(args);
    if measures(args) {
        ensure!(
            is_root(),
            "the bench loads XDP programs and makes network namespaces, which needs root: \
             sudo env \"PATH=$PATH\" cargo xtask bench"
        );
        // The server that is measured.
        command.env("TURNPIKE_BIN", build()?);
    }
    step("build the bench (release)", || {
        run(cargo().args(["build", "--release", "--package", "turnpike-bench", "--bin", "turnpike-bench"]))
    })?;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Whether the bench will measure, or only say what it can do.
fn measures(args: &[OsString]) -> bool {
    let asks = ["list", "help", "--help", "-h"];
    !args.iter().any(|arg| asks.iter().any(|ask| arg == ask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_need_neither_root_nor_a_server() {
        let measures = |line: &str| {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            measures(&args)
        };
        assert!(measures("") && measures("--quick") && measures("run capacity --json list.json"));
        assert!(!measures("list") && !measures("run --help") && !measures("-h"));
    }
}
