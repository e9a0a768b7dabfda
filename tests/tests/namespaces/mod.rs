//! Network namespaces with veths between them, made with `ip` and deleted on drop.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

/// A namespace of this test's own.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, its loopback up.
    pub(crate) fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "this test makes network namespaces: run it as root");
        let name = format!("dp-{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        command("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `ip` in it and returns what it prints.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        command("ip", &[&["-n", &self.name], arguments].concat())
    }

    /// Runs something in it, on a thread of its own.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let in_namespace = move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            f()
        };
        std::thread::scope(|scope| match scope.spawn(in_namespace).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Sets a file below /proc/sys.
    pub(crate) fn sysctl(&self, path: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/{path}"), value).unwrap());
    }

    /// The Ethernet address of an interface.
    pub(crate) fn mac(&self, interface: &str) -> String {
        let text = self.ip(&["-o", "link", "show", interface]);
        let after = text.split("link/ether ").nth(1).expect("an Ethernet interface");
        after.split_whitespace().next().expect("an address").to_owned()
    }

    /// Turns a feature of an interface on or off.
    pub(crate) fn ethtool(&self, interface: &str, feature: &str, state: &str) {
        command("ip", &["netns", "exec", &self.name, "ethtool", "-K", interface, feature, state]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Not `command`: a panic here would hide the test's own.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Joins two namespaces by a veth, both ends up. XDP on one end needs GRO on the other to send to it, and sees whole
/// checksums only when the other does not leave them to its card.
pub(crate) fn veth(a: &Namespace, a_name: &str, b: &Namespace, b_name: &str) {
    a.ip(&["link", "add", a_name, "type", "veth", "peer", "name", b_name, "netns", &b.name]);
    for (namespace, name) in [(a, a_name), (b, b_name)] {
        namespace.ethtool(name, "gro", "on");
        namespace.ethtool(name, "tx", "off");
        namespace.ip(&["link", "set", name, "up"]);
    }
}

fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
