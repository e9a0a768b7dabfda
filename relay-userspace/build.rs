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
        Some(path) => Some(PathBuf::from(path)),
        None => built(),
    };
    if let Some(path) = &object {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let bytes = match object.as_ref().map(fs::read) {
        None => Vec::new(),
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => {
            println!(
                "cargo::error=the eBPF object: {error}; set {VARIABLE} to an object's path, or unset it"
            );
            return;
        }
    };
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("turnpike-xdp.o"), bytes).expect("OUT_DIR can be written");
    println!("cargo::rustc-env=TURNPIKE_EMBEDDED={}", object.unwrap_or_default().display());
}

/// The object in its usual place. While it is not there its directory is watched, and made for that: cargo takes a
/// missing file for a changed one and would build the crate anew each time.
fn built() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let directory = root.join("target/bpf");
    let object = directory.join("turnpike-xdp.o");
    if object.exists() {
        return Some(object);
    }
    // Where the directory cannot be made (read-only sources), no object will appear either.
    let _ = fs::create_dir_all(&directory);
    println!("cargo::rerun-if-changed={}", directory.display());
    None
}
