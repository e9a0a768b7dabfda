//! Embeds the eBPF objects: the XDP program's that `TURNPIKE_EBPF_OBJECT` names (empty: none), else those that
//! `cargo xtask build-ebpf` has put in their place, else nothing, so that everything builds without the BPF toolchain. The
//! socket lookup program's lies beside the XDP program's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const VARIABLE: &str = "TURNPIKE_EBPF_OBJECT";
const XDP: &str = "turnpike-xdp.o";
const LOOKUP: &str = "turnpike-lookup.o";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let xdp = match env::var_os(VARIABLE) {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(PathBuf::from(path)),
        None => built(),
    };
    let lookup = xdp.as_ref().map(|xdp| xdp.with_file_name(LOOKUP)).filter(|lookup| lookup.exists());
    embed(xdp.as_deref(), XDP);
    embed(lookup.as_deref(), LOOKUP);
    println!("cargo::rustc-env=TURNPIKE_EMBEDDED={}", xdp.unwrap_or_default().display());
}

/// Puts an object, or none, where the sources include it from.
fn embed(object: Option<&Path>, name: &str) {
    if let Some(path) = object {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let bytes = match object.map(fs::read) {
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
    fs::write(Path::new(&out).join(name), bytes).expect("OUT_DIR can be written");
}

/// The object in its usual place. While it is not there its directory is watched, and made for that: cargo takes a
/// missing file for a changed one and would build the crate anew each time.
fn built() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let directory = root.join("target/bpf");
    let object = directory.join(XDP);
    if object.exists() {
        return Some(object);
    }
    // Where the directory cannot be made (read-only sources), no object will appear either.
    let _ = fs::create_dir_all(&directory);
    println!("cargo::rerun-if-changed={}", directory.display());
    None
}
