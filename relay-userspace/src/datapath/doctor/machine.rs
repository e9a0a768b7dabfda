//! What is to be known of the host before the rules can judge it.

use std::fs;
use std::str::FromStr;

use nix::sys::resource::{Resource, getrlimit};

/// The host. What could not be read is `None`: some settings are not shown in a network namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Machine {
    /// As the kernel calls itself: `6.1.0-28-amd64`.
    pub(super) release: String,
    /// Whether the kernel hands the program packets in pieces, where it was asked.
    pub(super) pieces: Option<bool>,
    /// This process's effective capabilities, a bit each.
    pub(super) capabilities: Option<u64>,
    /// Where this binary lies.
    pub(super) binary: Option<String>,
    pub(super) cpus: u32,
    /// The hard limit on locked memory, in bytes; `u64::MAX` for none.
    pub(super) memlock: Option<u64>,
    /// The hard limit on open files.
    pub(super) open_files: Option<u64>,
    /// `net.core.rmem_max`, in bytes.
    pub(super) receive_buffer: Option<u64>,
    /// `net.core.wmem_max`, in bytes.
    pub(super) send_buffer: Option<u64>,
    /// `net.core.bpf_jit_enable`
    pub(super) jit: Option<u32>,
    /// `kernel.bpf_stats_enabled`
    pub(super) bpf_stats: Option<u32>,
    /// `net.netfilter.nf_conntrack_max`, where conntrack is loaded.
    pub(super) conntrack: Option<u64>,
    /// Why the kernel does not take our program; `None` when it does, or was not asked.
    pub(super) refusal: Option<String>,
    /// Whether it was asked.
    pub(super) asked: bool,
}

impl Machine {
    /// As it is now; the kernel is not asked about the program here.
    pub(super) fn read() -> Self {
        let hard = |resource| getrlimit(resource).ok().map(|(_, hard)| hard);
        Self {
            release: release(),
            pieces: None,
            capabilities: capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
            binary: std::env::current_exe().ok().map(|path| path.display().to_string()),
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            memlock: hard(Resource::RLIMIT_MEMLOCK),
            open_files: hard(Resource::RLIMIT_NOFILE),
            receive_buffer: sysctl("net/core/rmem_max"),
            send_buffer: sysctl("net/core/wmem_max"),
            jit: sysctl("net/core/bpf_jit_enable"),
            bpf_stats: sysctl("kernel/bpf_stats_enabled"),
            conntrack: sysctl("net/netfilter/nf_conntrack_max"),
            refusal: None,
            asked: false,
        }
    }

    /// Its version; 0.0 when it is none that can be read.
    pub(super) fn kernel(&self) -> (u32, u32) {
        version(&self.release)
    }
}

/// The version of the running kernel.
pub(super) fn kernel() -> (u32, u32) {
    version(&release())
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn sysctl<T: FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().parse().ok()
}

/// From the text of `/proc/self/status`.
fn capabilities(status: &str) -> Option<u64> {
    let digits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_read() {
        let machine = Machine::read();
        assert!(machine.kernel() >= (4, 0) && machine.cpus > 0, "{machine:?}");
        assert!(machine.capabilities.is_some() && machine.open_files.is_some(), "{machine:?}");
    }

    #[test]
    fn the_version_is_the_first_two_numbers() {
        let version = |release: &str| Machine { release: release.into(), ..Machine::default() }.kernel();
        assert_eq!(version("6.1.0-28-amd64"), (6, 1));
        assert_eq!(version("5.15"), (5, 15));
        assert_eq!(version("6.18-rc3"), (6, 18));
        assert_eq!(version("unknown"), (0, 0));
    }

    #[test]
    fn capabilities_are_hexadecimal() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(capabilities("Name:\tx\n"), None);
    }
}
