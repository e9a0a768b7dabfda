//! The capacity bench: `cargo xtask bench` builds it with all that it measures, and becomes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::unistd::geteuid;
use turnpike_bench::report::Report;
use turnpike_bench::report::machine::Machine;
use turnpike_bench::report::markdown::markdown;
use turnpike_bench::report::plots::plots;
use turnpike_bench::runs::engine::run;
use turnpike_bench::runs::plan::{RUNS, named};
use turnpike_bench::subjects::af_xdp::reflect;

mod cli;
mod place;
mod progress;

use cli::{Cli, Output, Task};
use progress::Bar;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.task {
        Some(Task::List) => {
            list();
            Ok(())
        }
        Some(Task::AfXdpReflector { interface }) => reflect(interface),
        Some(Task::Run { names }) => measure(&cli, names),
        None => measure(&cli, &[]),
    };
    // Without the backtrace that anyhow adds where RUST_BACKTRACE is set.
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn list() {
    for run in RUNS {
        println!("{:10} {}", run.name, run.about);
    }
}

/// Runs, and reports. When a run cannot go on, those before it are reported all the same.
fn measure(cli: &Cli, names: &[String]) -> Result<()> {
    let runs = named(names)?;
    let real = cli.place.real()?;
    let options = cli.how.options();
    for file in [&cli.output.json, &cli.output.markdown].into_iter().flatten() {
        // Better now than after an hour.
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let there = directory.is_none_or(Path::is_dir);
        ensure!(there, "there is no directory for {}", file.display());
    }
    ensure!(
        geteuid().is_root(),
        "the bench loads XDP programs and makes network namespaces, which needs root: run it with sudo"
    );
    let mut bench = place::open(&cli.place, real)?;
    let machine = Machine::read(bench.drivers());
    for warning in machine.warnings() {
        eprintln!("note: {warning}");
    }
    let (started, progress) = (SystemTime::now(), Bar::new());
    let (mut results, mut failure) = (Vec::new(), Ok(()));
    for named in &runs {
        match run(named, bench.as_mut(), &options, &progress) {
            Ok(result) => results.push(result),
            Err(error) => {
                failure = Err(error.context(format!("the run {}", named.name)));
                break;
            }
        }
    }
    progress.finish();
    // The lab goes before anything is written, so that an error below leaves nothing behind.
    drop(bench);
    if !results.is_empty() {
        let report = Report::new(command(std::env::args().skip(1)), started, &options, machine, results);
        write(&report, &cli.output)?;
    }
    failure
}

/// Writes what was asked for.
fn write(report: &Report, output: &Output) -> Result<()> {
    if let Some(file) = &output.json {
        save(file, &report.json()?)?;
    }
    let pictures = match &output.plots {
        Some(directory) => plots(report, directory)?,
        None => Vec::new(),
    };
    let base = output.markdown.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let link = |(title, path): (String, PathBuf)| {
        (title, path.strip_prefix(base).unwrap_or(&path).display().to_string())
    };
    let text = markdown(report, &pictures.into_iter().map(link).collect::<Vec<_>>());
    match &output.markdown {
        Some(file) => save(file, &text),
        None => {
            println!("{text}");
            Ok(())
        }
    }
}

fn save(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("wrote {}", file.display());
    Ok(())
}

/// The command that was given these words, without a relay's password: reports are passed on.
fn command(words: impl Iterator<Item = String>) -> String {
    let mut command = String::from("cargo xtask bench");
    let mut secret = false;
    for word in words {
        command.push(' ');
        command.push_str(match word.starts_with("--user=") {
            true => "--user=NAME:PASSWORD",
            false if secret => "NAME:PASSWORD",
            false => &word,
        });
        secret = word == "--user";
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_no_password_in_it() {
        let command = |line: &str| command(line.split(' ').map(str::to_owned));
        assert_eq!(
            command("run nics --user a:b --quick"),
            "cargo xtask bench run nics --user NAME:PASSWORD --quick"
        );
        assert_eq!(command("--user=a:b"), "cargo xtask bench --user=NAME:PASSWORD");
    }
}
