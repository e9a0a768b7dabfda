//! Building the eBPF objects. Every flag that they are compiled with is here or in the `bpf` profile of the root manifest.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::object;
use crate::shell::{root, run, step};
use crate::toolchain::{self, Compiler, Core};

const TARGET: &str = "bpfel-unknown-none";
/// The crate's binaries: the server's programs, for packets and for sockets, and those that the benchmark times it with.
const PROGRAMS: &[&str] = &["turnpike-xdp", "turnpike-lookup", "turnpike-bench-xdp", "turnpike-bench-af-xdp"];

const RUSTFLAGS: &[&str] = &[
    // 32-bit jumps and registers. Kernel 5.1; v4 would need 6.6.
    "-Ctarget-cpu=v3",
    // Type information, for the verifier's messages and for maps defined by type.
    "-Clink-arg=--btf",
    // One load for a field of a packet instead of a load a byte: x86-64 and arm64 allow it, and so does the verifier
    // where alignment is not strict. 490 -> 283 instructions, 42 -> 28 ns for the IPv4 rewrite.
    "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
    // Clears and copies in line. As bpf-linker would have it, LLVM calls a loop over the bytes for a clear of any size.
    "-Clink-arg=--disable-expand-memcpy-in-order",
];

/// Builds the objects whose sources have changed, checks them, and puts them in `target/bpf/PROGRAM.o`, where
/// `relay-userspace/build.rs` and the benchmark look for them.
pub(crate) fn build() -> Result<()> {
    step("build the eBPF objects", || {
        let toolchain = toolchain::find_or_install()?;
        // Two cargos of different versions in one directory would rebuild everything in turn.
        let target_dir = root().join("target/bpf-build");
        let mut cargo = cargo(&toolchain.compiler);
        cargo.args(["build", "--locked", "--package", "relay-ebpf", "--bins"]);
        cargo.args(["--profile", "bpf", "--target", TARGET, "--target-dir"]).arg(&target_dir);
        if toolchain.compiler.core == Core::FromSource {
            cargo.args(["-Z", "build-std=core"]);
        }
        // The encoded form has precedence over a user's own RUSTFLAGS, which are not meant for BPF.
        cargo.env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"));
        cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker);
        run(&mut cargo)?;
        let objects = root().join("target/bpf");
        fs::create_dir_all(&objects)?;
        PROGRAMS.iter().try_for_each(|program| {
            publish(&target_dir.join(TARGET).join("bpf").join(program), &objects.join(format!("{program}.o")))
        })
    })
}

/// The compiler's cargo, undisturbed by the cargo and rustup that started this process.
pub(crate) fn cargo(compiler: &Compiler) -> Command {
    let mut cargo = Command::new(&compiler.cargo);
    for variable in [
        "RUSTUP_TOOLCHAIN",
        "CARGO",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "LD_LIBRARY_PATH",
    ] {
        cargo.env_remove(variable);
    }
    cargo.env("RUSTC", &compiler.rustc);
    if compiler.core == Core::Prebuilt {
        // The crates that need an unstable feature (assembly for BPF), on a stable compiler.
        cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf,turnpike_xdp,turnpike_lookup");
    }
    // Build scripts look for the compiler on the PATH: this one must come before rustup's stand-ins.
    let mut path: Vec<PathBuf> = compiler.cargo.parent().into_iter().map(PathBuf::from).collect();
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    if let Ok(path) = env::join_paths(path) {
        cargo.env("PATH", path);
    }
    cargo
}

/// Puts an object in its place. One that has not changed is left alone, so that nothing is rebuilt for it.
fn publish(built: &Path, place: &Path) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("the linker left no {}", built.display()))?;
    object::check(&bytes).with_context(|| {
        format!(
            "{} is not a usable eBPF object; remove target/bpf-build and target/tools and run it again",
            built.display()
        )
    })?;
    if fs::read(place).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(place, bytes).with_context(|| format!("cannot write {}", place.display()))
}
