//! bpf-linker, which turns the compiler's LLVM bitcode into the eBPF object.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::{capture, on_path, root, run};
use crate::toolchain::Compiler;
use crate::version::{self, Version};
use crate::{ebpf, packages};

/// The release that is built here. Older ones do not know the CPU feature that [`ebpf`] asks for.
const VERSION: &str = "0.13.0";
/// The major versions of LLVM that this release can be built for and that know that feature.
const BUILDS_FOR: RangeInclusive<u32> = 22..=23;

/// A linker whose LLVM reads what a compiler of LLVM `llvm` writes: an LLVM reads its own bitcode and older.
pub(crate) fn find(llvm: u32) -> Option<PathBuf> {
    let candidates = [Some(built(llvm)), Some(released()), on_path("bpf-linker")];
    candidates.into_iter().flatten().find(|path| suits(path, llvm))
}

/// Installs a linker for this compiler under `target/tools`: built against the system's LLVM where that has the
/// right version, else as its project releases it.
pub(crate) fn install(compiler: &Compiler) -> Result<PathBuf> {
    build(compiler).or_else(|error| {
        eprintln!("    bpf-linker cannot be built here ({error:#}); fetching a released one");
        fetch()?;
        find(compiler.llvm).with_context(|| {
            format!(
                "the released bpf-linker does not read LLVM {} bitcode: update the compiler",
                compiler.llvm
            )
        })
    })
}

fn build(compiler: &Compiler) -> Result<PathBuf> {
    let llvm = compiler.llvm;
    if !BUILDS_FOR.contains(&llvm) {
        anyhow::bail!("bpf-linker {VERSION} cannot be built for LLVM {llvm}");
    }
    let packages = packages::linker(llvm);
    packages::ensure(&packages.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut cargo = ebpf::cargo(compiler);
    cargo.args(["install", "--quiet", "--locked", "--no-default-features"]);
    cargo.args(["--features", &format!("llvm-{llvm}"), &format!("bpf-linker@{VERSION}")]);
    cargo.arg("--root").arg(tools().join(format!("llvm-{llvm}")));
    cargo.arg("--target-dir").arg(tools().join("build"));
    cargo.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    run(&mut cargo)?;
    // Only the program is of use; the rest is some hundred megabytes.
    fs::remove_dir_all(tools().join("build")).context("cannot tidy up target/tools/build")?;
    Ok(built(llvm))
}

/// The latest release: it follows the nightlies' LLVM, as a pinned one could not.
fn fetch() -> Result<()> {
    let name = format!("bpf-linker-{}-unknown-linux-musl.tar.zst", std::env::consts::ARCH);
    let url = format!("https://github.com/aya-rs/bpf-linker/releases/latest/download/{name}");
    let by_hand = || {
        format!(
            "put a bpf-linker {VERSION} or newer on the PATH and run it again (`cargo binstall bpf-linker`, or unpack {url})"
        )
    };
    packages::ensure(&["curl", "zstd"]).with_context(by_hand)?;
    let directory = released().parent().expect("a file in a directory").to_path_buf();
    fs::create_dir_all(&directory)?;
    let archive = directory.join(name);
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--max-time", "300", "--output"]);
    run(curl.arg(&archive).arg(url.as_str())).with_context(by_hand)?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&directory)).with_context(by_hand)?;
    Ok(fs::remove_file(archive)?)
}

/// Where the tools lie that only this project uses.
fn tools() -> PathBuf {
    root().join("target/tools")
}

fn built(llvm: u32) -> PathBuf {
    tools().join(format!("llvm-{llvm}/bin/bpf-linker"))
}

fn released() -> PathBuf {
    tools().join("released/bpf-linker")
}

fn suits(linker: &Path, llvm: u32) -> bool {
    let new_enough = || {
        let version = capture(Command::new(linker).arg("--version")).ok()?;
        Some(Version::parse(version.strip_prefix("bpf-linker ")?)? >= Version::parse(VERSION)?)
    };
    linker.is_file() && new_enough() == Some(true) && llvm_of(linker).is_some_and(|own| own >= llvm)
}

/// The major version of the LLVM in a linker. It does not tell itself, but names the library that it loads, or
/// carries the string that LLVM signs bitcode with.
fn llvm_of(linker: &Path) -> Option<u32> {
    let name = r"libLLVM(\.so\.|-)[0-9]+|LLVM[0-9]+\.[0-9]+\.[0-9]+";
    let names = capture(Command::new("grep").args(["-aoEm1", name]).arg(linker)).ok()?;
    version::of_llvm_name(names.lines().next()?)
}
