//! Embeds the eBPF object: the one that `TURNPIKE_EBPF_OBJECT` names (empty: none), else the one that
//! `cargo xtask build-ebpf` has put in its place, else nothing, so that everything builds without the BPF toolchain.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const VARIABLE: &str = "TURNPIKE_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let object = match env::var_os(VARIABLE) {
        Some(path) if path.is_empty() => None,
        Some(path) => {
            println!("cargo::rerun-if-changed={}", Path::new(&path).display());
            Some(PathBuf::from(path))
        }
        None => built(),
    };
    let bytes = object.as_ref().map_or_else(Vec::new, |path| {
        fs::read(path).unwrap_or_else(|error| {
            panic!("{}: {error}. Set {VARIABLE} to an eBPF object, or unset it", path.display())
        })
    });
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("turnpike-xdp.o"), bytes).expect("OUT_DIR can be written");
    println!("cargo::rustc-env=TURNPIKE_EMBEDDED={}", object.unwrap_or_default().display());
}

/// The object in its usual place. Its directory is watched rather than the file, and made for that: cargo takes a
/// missing file for a changed one and would build the crate anew each time.
fn built() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let directory = root.join("target/ebpf");
    // Where it cannot be made (read-only sources), there is no object either.
    let _ = fs::create_dir_all(&directory);
    println!("cargo::rerun-if-changed={}", directory.display());
    let object = directory.join("turnpike-xdp.o");
    object.exists().then_some(object)
}
