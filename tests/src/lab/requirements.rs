//! What the machine must have.

use std::env;
use std::path::Path;

use super::namespace::Namespace;

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
        ("nft", "nftables"),
        ("turnutils_uclient", "coturn"),
        ("turnutils_peer", "coturn"),
        ("turnutils_natdiscovery", "coturn"),
    ] {
        assert_installed(program, package);
    }
    false
}

/// The mode in which a test runs that wants XDP: driver mode, or the one that `TURNPIKE_TEST_DATAPATH` names, by which the
/// whole suite runs in generic mode.
pub fn xdp_mode() -> &'static str {
    match env::var("TURNPIKE_TEST_DATAPATH").as_deref() {
        Err(env::VarError::NotPresent) | Ok("xdp") => "xdp",
        Ok("xdp-generic") => "xdp-generic",
        other => panic!("TURNPIKE_TEST_DATAPATH is xdp or xdp-generic, not {other:?}"),
    }
}

/// Whether to leave out a test for want of a kind of network device (`vlan`, `bond`), which not every kernel has. Panics
/// where `TURNPIKE_TEST_DEVICES` names the kind: there it has to be.
pub fn kernel_lacks(kind: &str) -> bool {
    let namespace = Namespace::new();
    namespace.ip("link add probe0 type veth peer name probe1");
    let arguments = match kind {
        "vlan" => "link add link probe0 name probe2 type vlan id 7",
        "bond" => "link add probe2 type bond mode active-backup",
        kind => panic!("nobody knows how to make a {kind}"),
    };
    let made = namespace.command("ip").args(arguments.split(' ')).output().expect("ip starts");
    let lacks = !made.status.success();
    let wanted = env::var("TURNPIKE_TEST_DEVICES").is_ok_and(|kinds| kinds.split(',').any(|k| k == kind));
    assert!(!(lacks && wanted), "no {kind}: {}", String::from_utf8_lossy(&made.stderr));
    if lacks {
        eprintln!("NOT RUN: this kernel has no devices of the kind {kind}");
    }
    lacks
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

/// Panics with what to install when a program is missing.
pub(super) fn assert_installed(program: &str, package: &str) {
    assert!(installed(program), "{program} is missing: apt-get install {package}");
}

fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(Into::into);
    env::split_paths(&path).chain(sbin).any(|folder| Path::new(&folder).join(program).exists())
}
