//! How the Turnpikes of a network namespace know of each other.
//!
//! Ports that allocations hold by the socket lookup program are in no list of the kernel's, and `bind` does not refuse them.
//! So a server that shares sockets holds an abstract UNIX name for each relay address with its ports, and a server whose
//! ports are among those of another does not start. Such names belong to the network namespace and go with the process.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;
use std::time::{Duration, Instant};

const PREFIX: &str = "turnpike-relay/";

/// How long another server may take to end: a restart does not always wait for that.
const PATIENCE: Duration = Duration::from_secs(2);

/// Another server that shares sockets.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("another Turnpike relays from {ip}, ports {}-{}: give this one other --relay-ports", .ports.start(), .ports.end())]
pub(super) struct Another {
    ip: IpAddr,
    ports: RangeInclusive<u16>,
}

/// Why names are not held.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHeld {
    #[error(transparent)]
    Another(#[from] Another),
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The names of a server, until it is dropped.
#[derive(Debug)]
pub(super) struct Names {
    _listeners: Vec<UnixListener>,
}

impl Names {
    /// Takes this server's names. Waits for another server that may be about to end.
    pub(super) fn hold(ips: &[IpAddr], ports: &RangeInclusive<u16>) -> Result<Self, NotHeld> {
        patiently(|| Self::try_hold(ips, ports))
    }

    /// Takes the names first and looks then: of two that start at once, at least one sees the other.
    fn try_hold(ips: &[IpAddr], ports: &RangeInclusive<u16>) -> Result<Self, NotHeld> {
        let mut listeners = Vec::with_capacity(ips.len());
        for &ip in ips {
            let ours = Another { ip, ports: ports.clone() };
            let address = SocketAddr::from_abstract_name(ours.name())?;
            match UnixListener::bind_addr(&address) {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(ours.into()),
                Err(error) => return Err(error.into()),
            }
        }
        // A name like ours is ours.
        match find(ips, ports, |another| another.ports != *ports)? {
            Some(another) => Err(another.into()),
            None => Ok(Self { _listeners: listeners }),
        }
    }
}

/// Looks for another server that shares sockets, and waits for one that may be about to end. For a server that shares none:
/// two such servers know each other by `bind`.
pub(super) fn look(ips: &[IpAddr], ports: &RangeInclusive<u16>) -> Result<(), NotHeld> {
    patiently(|| find(ips, ports, |_| true)?.map_or(Ok(()), |another| Err(another.into())))
}

/// Tries until there is no other server, or it stays. The pauses are random: two that start at once take turns.
fn patiently<T>(attempt: impl Fn() -> Result<T, NotHeld>) -> Result<T, NotHeld> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(NotHeld::Another(_)) if start.elapsed() < PATIENCE => {
                let pause = 50 + RandomState::new().hash_one(start) % 100;
                thread::sleep(Duration::from_millis(pause));
            }
            outcome => return outcome,
        }
    }
}

/// A server in this thread's network namespace with one of these addresses and ports.
fn find(
    ips: &[IpAddr],
    ports: &RangeInclusive<u16>,
    counts: impl Fn(&Another) -> bool,
) -> io::Result<Option<Another>> {
    // Names of other programs need not be text.
    let list = fs::read("/proc/thread-self/net/unix")?;
    let list = String::from_utf8_lossy(&list);
    let mut servers = list.lines().filter_map(Another::listed);
    Ok(servers.find(|another| ips.contains(&another.ip) && another.overlaps(ports) && counts(another)))
}

impl Another {
    fn name(&self) -> String {
        format!("{PREFIX}{}/{}-{}", self.ip, self.ports.start(), self.ports.end())
    }

    /// What a line of `/proc/net/unix` says of a server: seven words, and `@` with the name.
    fn listed(line: &str) -> Option<Self> {
        let name = line.split_ascii_whitespace().nth(7)?.strip_prefix('@')?.strip_prefix(PREFIX)?;
        let (ip, ports) = name.split_once('/')?;
        let (first, last) = ports.split_once('-')?;
        Some(Self { ip: ip.parse().ok()?, ports: first.parse().ok()?..=last.parse().ok()? })
    }

    fn overlaps(&self, ports: &RangeInclusive<u16>) -> bool {
        self.ports.start() <= ports.end() && ports.start() <= self.ports.end()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_kernels_list_is_read_in_both_families() {
        let line = |name: &str| format!("ffff9e0a: 00000002 00000000 00010000 0001 01 24561 {name}");
        for ip in [IpAddr::from([192, 0, 2, 1]), Ipv6Addr::LOCALHOST.into()] {
            let server = Another { ip, ports: 50_000..=50_099 };
            assert_eq!(Another::listed(&line(&format!("@{}", server.name()))), Some(server));
        }
        for other in
            ["", "/run/x", "turnpike-relay/::1/1-2", "@turnpike-relay/::1/1-", "@turnpike-relay/x/1-2"]
        {
            assert_eq!(Another::listed(&line(other)), None, "{other}");
        }
    }

    #[test]
    fn ranges_overlap_at_their_last_port() {
        let another = Another { ip: Ipv4Addr::LOCALHOST.into(), ports: 10..=20 };
        for (ports, overlaps) in [
            (1..=9, false),
            (1..=10, true),
            (12..=13, true),
            (1..=99, true),
            (20..=99, true),
            (21..=99, false),
        ] {
            assert_eq!(another.overlaps(&ports), overlaps, "{ports:?}");
        }
    }

    #[test]
    fn of_two_that_start_at_once_one_starts() {
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = [IpAddr::from([127, 250 + high % 4, low, 1])];
        let (one, two) = thread::scope(|s| {
            let two = s.spawn(|| Names::hold(&ip, &(15..=30)));
            (Names::hold(&ip, &(10..=20)), two.join().unwrap())
        });
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        assert!(look(&ip, &(31..=40)).is_ok());
        drop((one, two));
        assert!(look(&ip, &(1..=99)).is_ok());
    }
}
