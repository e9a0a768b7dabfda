//! What the machine must have.

use std::env;
use std::path::Path;

/// Whether to leave out a test that needs a lab: only where somebody asked for that on a machine of their own. Panics
/// where something is missing, because a test that silently does nothing is no test.
pub fn skipped() -> bool {
    if env::var_os("TURNPIKE_SKIP_PRIVILEGED").is_some_and(|v| v == "1") && env::var_os("CI").is_none() {
        eprintln!("NOT RUN: TURNPIKE_SKIP_PRIVILEGED=1");
        return true;
    }
    assert!(
        nix::unistd::geteuid().is_root(),
        "a lab is made of network namespaces, which needs root: run `sudo cargo xtask test`, or set \
         TURNPIKE_SKIP_PRIVILEGED=1 to leave out the tests that need one"
    );
    for (program, package) in [
        ("ip", "iproute2"),
        ("ethtool", "ethtool"),
        ("turnutils_uclient", "coturn"),
        ("turnutils_peer", "coturn"),
        ("turnutils_natdiscovery", "coturn"),
    ] {
        assert!(installed(program), "{program} is missing: apt-get install {package}");
    }
    false
}

/// Whether to leave out a test for want of a file that a package brings which not every system has. Panics in CI.
pub fn lacks(file: &str, package: &str) -> bool {
    let lacks = !Path::new(file).exists();
    assert!(!lacks || env::var_os("CI").is_none(), "{file} is missing: apt-get install {package}");
    if lacks {
        eprintln!("NOT RUN: {file} is missing: apt-get install {package}");
    }
    lacks
}

fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(Into::into);
    env::split_paths(&path).chain(sbin).any(|folder| Path::new(&folder).join(program).exists())
}
