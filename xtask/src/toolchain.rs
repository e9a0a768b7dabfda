//! The compiler and linker for BPF: whatever is there and complete, else what can be installed.
//!
//! Two set-ups work. Debian's `rustc-web` brings a `core` for BPF that is already built. A rustup nightly with
//! `rust-src` builds `core` itself. Stable rustup toolchains have neither.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{capture, on_path, run, step};
use crate::version::{self, Version};
use crate::{linker, packages};

/// What the eBPF object is built with.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    /// `bpf-linker`, of an LLVM that reads the compiler's bitcode.
    pub(crate) linker: PathBuf,
}

/// A compiler that has `core` for BPF, or its source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) core: Core,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
}

/// Where a compiler has `core` for BPF from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Core {
    /// Built already, by the distribution. The compiler is a stable one.
    Prebuilt,
    /// To be built with `-Z build-std`. The compiler is a nightly.
    FromSource,
}

/// Finds a toolchain, or installs one.
pub(crate) fn find_or_install() -> Result<Toolchain> {
    let compiler = match Found::look().choose() {
        Choice::Use(toolchain) => return Ok(toolchain),
        Choice::CompleteDebian(compiler) => compiler,
        Choice::InstallDebian { else_rustup } => {
            match step("install Debian's Rust compiler for eBPF", install_debian) {
                Err(error) if else_rustup => {
                    eprintln!("    {error:#}; trying rustup instead");
                    install_nightly()?
                }
                result => result.context(NO_TOOLCHAIN)?,
            }
        }
        Choice::InstallNightly => install_nightly()?,
        Choice::Nothing => bail!(NO_TOOLCHAIN),
    };
    let linker = match linker::find(compiler.llvm) {
        Some(linker) => linker,
        None => step("install bpf-linker (one to three minutes)", || linker::install(&compiler))?,
    };
    Ok(Toolchain { compiler, linker })
}

const NO_TOOLCHAIN: &str = "no toolchain for eBPF: on Debian run this as root, elsewhere install rustup and run it \
     again (docs/development.md says what is installed). `cargo run --release -p turnpike -- run` needs no such \
     toolchain, and relays in userspace";

/// What this machine has.
struct Found {
    debian: Option<Compiler>,
    nightly: Option<Compiler>,
    /// A linker for each compiler.
    debian_linker: Option<PathBuf>,
    nightly_linker: Option<PathBuf>,
    /// apt, and the right to use it.
    apt: bool,
    rustup: bool,
}

enum Choice {
    Use(Toolchain),
    /// The compiler is there, its linker is not.
    CompleteDebian(Compiler),
    InstallDebian {
        else_rustup: bool,
    },
    InstallNightly,
    Nothing,
}

impl Found {
    fn look() -> Found {
        let debian = debian();
        let nightly = nightly();
        let linker = |compiler: &Option<Compiler>| linker::find(compiler.as_ref()?.llvm);
        Found {
            debian_linker: linker(&debian),
            nightly_linker: linker(&nightly),
            debian,
            nightly,
            apt: packages::may_install(),
            rustup: on_path("rustup").is_some(),
        }
    }

    fn choose(self) -> Choice {
        let complete = [(&self.debian, &self.debian_linker), (&self.nightly, &self.nightly_linker)];
        for (compiler, linker) in complete {
            if let (Some(compiler), Some(linker)) = (compiler, linker) {
                return Choice::Use(Toolchain { compiler: compiler.clone(), linker: linker.clone() });
            }
        }
        if let Some(compiler) = self.debian {
            Choice::CompleteDebian(compiler)
        } else if self.apt {
            Choice::InstallDebian { else_rustup: self.rustup }
        } else if self.rustup {
            Choice::InstallNightly
        } else {
            Choice::Nothing
        }
    }
}

/// The system's own compiler, if it has `core` for BPF.
fn debian() -> Option<Compiler> {
    let rustc = Path::new("/usr/bin/rustc");
    let core_for_bpf = sysroot(rustc)?.join("lib/rustlib/bpfel-unknown-none/lib");
    let has_core = fs::read_dir(core_for_bpf)
        .ok()?
        .flatten()
        .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"));
    has_core.then(|| compiler(rustc, Path::new("/usr/bin/cargo"), Core::Prebuilt)).flatten()
}

/// A rustup nightly that has the source of `core`.
fn nightly() -> Option<Compiler> {
    nightlies().into_iter().find_map(|name| {
        let tool = |tool| capture(Command::new("rustup").args(["which", "--toolchain", &name, tool])).ok();
        let (rustc, cargo) = (tool("rustc")?, tool("cargo")?);
        let rustc = Path::new(rustc.trim());
        let has_source = sysroot(rustc)?.join("lib/rustlib/src/rust/library/core").is_dir();
        has_source.then(|| compiler(rustc, Path::new(cargo.trim()), Core::FromSource)).flatten()
    })
}

/// The names of rustup's nightlies; none without rustup.
fn nightlies() -> Vec<String> {
    let list = capture(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).map(String::from).collect()
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let sysroot = capture(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(sysroot.trim()))
}

fn compiler(rustc: &Path, cargo: &Path, core: Core) -> Option<Compiler> {
    let (release, llvm) = version::of_rustc(&capture(Command::new(rustc).arg("-vV")).ok()?)?;
    let usable = release >= Version::oldest_rust() && cargo.is_file();
    usable.then(|| Compiler { rustc: rustc.into(), cargo: cargo.into(), core, llvm })
}

fn install_debian() -> Result<Compiler> {
    let oldest = Version::oldest_rust();
    match packages::candidate(packages::COMPILER[0]) {
        Some(version) if version >= oldest => {}
        Some(version) => bail!("apt's rustc-web is {version}, and {oldest} is needed"),
        None => bail!("apt does not know rustc-web"),
    }
    packages::ensure(packages::COMPILER)?;
    debian().with_context(|| {
        format!("/usr/bin/rustc is not the one of: {}; reinstall these", packages::COMPILER.join(" "))
    })
}

fn install_nightly() -> Result<Compiler> {
    nightly().map_or_else(|| step("install a nightly Rust with rust-src", add_nightly), Ok)
}

fn add_nightly() -> Result<Compiler> {
    let mut rustup = Command::new("rustup");
    match nightlies().first() {
        Some(nightly) => rustup.args(["component", "add", "rust-src", "--toolchain", nightly]),
        None => rustup.args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]),
    };
    run(&mut rustup).context(
        "rustup could not fetch what eBPF needs: check the network (or a proxy's settings) and run it again; on \
         Debian, root can use apt's packages instead",
    )?;
    nightly().with_context(|| {
        format!("rustup's nightly is older than Rust {}: run `rustup update nightly`", Version::oldest_rust())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Found {
        Found {
            debian: None,
            nightly: None,
            debian_linker: None,
            nightly_linker: None,
            apt: false,
            rustup: false,
        }
    }

    fn compiler(name: &str, core: Core) -> Option<Compiler> {
        Some(Compiler { rustc: name.into(), cargo: "cargo".into(), core, llvm: 22 })
    }

    fn linker() -> Option<PathBuf> {
        Some("bpf-linker".into())
    }

    #[test]
    fn what_is_there_and_complete_is_used_before_anything_is_installed() {
        let found = Found {
            nightly: compiler("nightly", Core::FromSource),
            nightly_linker: linker(),
            apt: true,
            rustup: true,
            ..nothing()
        };
        assert!(
            matches!(found.choose(), Choice::Use(toolchain) if toolchain.compiler.core == Core::FromSource)
        );
    }

    #[test]
    fn of_two_complete_toolchains_the_stable_one_is_used() {
        let found = Found {
            debian: compiler("debian", Core::Prebuilt),
            debian_linker: linker(),
            nightly: compiler("nightly", Core::FromSource),
            nightly_linker: linker(),
            ..nothing()
        };
        assert!(
            matches!(found.choose(), Choice::Use(toolchain) if toolchain.compiler.core == Core::Prebuilt)
        );
    }

    #[test]
    fn a_complete_nightly_is_used_although_debians_compiler_lacks_a_linker() {
        let found = Found {
            debian: compiler("debian", Core::Prebuilt),
            nightly: compiler("nightly", Core::FromSource),
            nightly_linker: linker(),
            ..nothing()
        };
        assert!(
            matches!(found.choose(), Choice::Use(toolchain) if toolchain.compiler.core == Core::FromSource)
        );
    }

    #[test]
    fn apt_comes_before_rustup_and_rustup_stands_by() {
        let found = Found { apt: true, rustup: true, ..nothing() };
        assert!(matches!(found.choose(), Choice::InstallDebian { else_rustup: true }));
        let found = Found { apt: true, ..nothing() };
        assert!(matches!(found.choose(), Choice::InstallDebian { else_rustup: false }));
    }

    #[test]
    fn debians_compiler_that_lacks_only_the_linker_is_completed_without_apt() {
        let found = Found { debian: compiler("debian", Core::Prebuilt), ..nothing() };
        assert!(matches!(found.choose(), Choice::CompleteDebian(_)));
    }

    #[test]
    fn without_apt_or_its_rights_rustup_is_used() {
        let found = Found { rustup: true, ..nothing() };
        assert!(matches!(found.choose(), Choice::InstallNightly));
    }

    #[test]
    fn a_machine_with_neither_gets_an_explanation() {
        assert!(matches!(nothing().choose(), Choice::Nothing));
    }
}
