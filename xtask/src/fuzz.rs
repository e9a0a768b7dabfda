//! Fuzzing: the targets of `tests/fuzz`, run by cargo-fuzz.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::shell::{on_path, root, run, step};

/// The release that is installed where there is none.
const VERSION: &str = "0.13.2";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The targets, by the names of their files in tests/fuzz/targets [default: all]
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

/// Runs the targets one after the other; fails with the first finding, whose input then lies in `tests/fuzz/artifacts`.
pub(crate) fn fuzz(options: &Options) -> Result<()> {
    let known = targets()?;
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(target)) {
        bail!("there is no target {unknown}: there are {}", known.join(", "));
    }
    let tool = match find() {
        Some(tool) => tool,
        None => step("install cargo-fuzz", install)?,
    };
    // libFuzzer is C++.
    packages::ensure(&["g++"])?;
    step("build the fuzz targets", || run(&mut command(&tool, "build")))?;
    for target in if options.targets.is_empty() { &known } else { &options.targets } {
        let corpus = root().join("target/fuzz-corpus").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        step(&format!("fuzz {target} for {} s", options.seconds), || {
            let mut command = command(&tool, "run");
            command.arg(target).arg(&corpus).arg("--");
            command.arg(format!("-max_total_time={}", options.seconds));
            // Seconds an input may take, and megabytes; the last lines tell how many inputs were tried.
            command.args([
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-max_len=4096",
                "-print_final_stats=1",
                "-verbosity=0",
            ]);
            run(&mut command)
        })?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = directory().join("targets");
    let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let name = |file: fs::DirEntry| file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<_> = files.filter_map(|file| name(file.ok()?)).collect();
    names.sort();
    Ok(names)
}

fn command(tool: &Path, what: &str) -> Command {
    let mut command = Command::new(tool);
    // The sanitizers' flags are unstable; a stable compiler takes them when it is told to.
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", what, "--fuzz-dir"]).arg(directory());
    command.arg("--target-dir").arg(root().join("target/fuzz"));
    command
}

fn find() -> Option<PathBuf> {
    [Some(installed()), on_path("cargo-fuzz")].into_iter().flatten().find(|path| path.is_file())
}

fn install() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["install", "--quiet", "--locked", &format!("cargo-fuzz@{VERSION}"), "--root"]).arg(tools());
    cargo.arg("--target-dir").arg(tools().join("build"));
    run(&mut cargo)?;
    fs::remove_dir_all(tools().join("build")).context("cannot tidy up target/tools/fuzz")?;
    Ok(installed())
}

fn directory() -> PathBuf {
    root().join("tests/fuzz")
}

fn tools() -> PathBuf {
    root().join("target/tools/fuzz")
}

fn installed() -> PathBuf {
    tools().join("bin/cargo-fuzz")
}
