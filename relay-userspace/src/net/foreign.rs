//! Which ports other programs hold.
//!
//! Without a socket of its own, nothing but this keeps an allocation off a port that is in use: the socket lookup program
//! comes before sockets that are bound to an address. The kernel's list of sockets is read at the start and every few
//! seconds, so a program that takes a port in between is noticed that much later.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::lookup::Lookup;
use super::sockets;

/// How long a program that takes a port may go unnoticed.
const PERIOD: Duration = Duration::from_secs(2);

/// A bit for each port of each relay address.
#[derive(Debug)]
pub(super) struct ForeignPorts(Vec<Box<[AtomicU64]>>);

impl ForeignPorts {
    /// Reads the kernel's list for this thread's network namespace. What is open in `lookup` is ours.
    pub(super) fn read(lookup: &Lookup) -> io::Result<Self> {
        let words = || (0..1 << 10).map(|_| AtomicU64::new(0)).collect();
        let ports = Self(lookup.addresses().iter().map(|_| words()).collect());
        ports.refresh(lookup)?;
        Ok(ports)
    }

    /// Whether another program held a port when the list was read last.
    pub(super) fn hold(&self, address: usize, port: u16) -> bool {
        self.0[address][usize::from(port / 64)].load(Ordering::Relaxed) & 1 << (port % 64) != 0
    }

    fn refresh(&self, lookup: &Lookup) -> io::Result<()> {
        let mut held: Vec<Vec<u64>> = self.0.iter().map(|_| vec![0; 1 << 10]).collect();
        for path in ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"] {
            let list = match fs::read_to_string(path) {
                // A host without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                list => list?,
            };
            for (ip, port) in list.lines().skip(1).filter_map(bound) {
                for (address, relay) in lookup.addresses().iter().enumerate() {
                    if takes_from(ip, *relay) && !lookup.is_open(address, port) {
                        held[address][usize::from(port / 64)] |= 1 << (port % 64);
                    }
                }
            }
        }
        for (word, held) in self.0.iter().flatten().zip(held.iter().flatten()) {
            word.store(*held, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether a socket bound to `bound` takes what is sent to `relay`. A wildcard of IPv6 may take IPv4 too, which the list
/// does not tell.
fn takes_from(bound: IpAddr, relay: IpAddr) -> bool {
    bound == relay
        || bound == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        || (bound.is_unspecified() && relay.is_ipv4())
}

/// The address and port that a line of `/proc/net/udp` or `udp6` says a socket is bound to: `SL: ADDRESS:PORT ...`, the
/// address in words of this machine's order.
fn bound(line: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = line.split_ascii_whitespace().nth(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let words = [word(0)?, word(8)?, word(16)?, word(24)?];
        let mut octets = [0; 16];
        octets.copy_from_slice(words.as_flattened());
        Ipv6Addr::from(octets).to_canonical()
    };
    Some((ip, port))
}

/// Reads the list again and again, until it is dropped; and keeps the sockets for what is not wanted.
pub(super) struct Watch {
    sinks: Vec<Sink>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(
        sinks: [Option<UdpSocket>; 2],
        ports: Arc<ForeignPorts>,
        lookup: Arc<Lookup>,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("foreign-ports".into()).spawn(move || {
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                lookup.next_rounds();
                if let Err(error) = ports.refresh(&lookup) {
                    tracing::warn!(%error, "the kernel did not list its UDP sockets: ports of other programs may be taken");
                }
            }
        })?;
        let sinks = sinks.into_iter().flatten().map(Sink::new).collect();
        Ok(Self { sinks, stop: Some(stop), thread: Some(thread) })
    }

    /// Datagrams that were dropped because too many came to one port at once.
    pub(super) fn shed(&self) -> u64 {
        self.sinks.iter().map(Sink::dropped).sum()
    }
}

/// A socket that drops what is led to it, and the last reading of the kernel's count with the sum of all. The program does
/// not count them, as it may run twice for a datagram: see [`steer::ROUND`](relay_common::steer::ROUND).
struct Sink {
    socket: UdpSocket,
    count: Mutex<(u32, u64)>,
}

impl Sink {
    fn new(socket: UdpSocket) -> Self {
        Self { socket, count: Mutex::default() }
    }

    fn dropped(&self) -> u64 {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, sum) = *count;
        // Without an answer of the kernel's, as many as before.
        let now = sockets::dropped(&self.socket).unwrap_or(last);
        *count = (now, sum + u64::from(now.wrapping_sub(last)));
        count.1
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        // It has nothing to say that was not logged.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read_in_both_families() {
        let v4 = "  493: 0100007F:D431 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0";
        assert_eq!(bound(v4), Some((Ipv4Addr::LOCALHOST.into(), 0xd431)));
        let v6 = "  493: 00000000000000000000000001000000:D431 00000000000000000000000000000000:0000 07";
        assert_eq!(bound(v6), Some((Ipv6Addr::LOCALHOST.into(), 0xd431)));
        let mapped = "  1: 0000000000000000FFFF00000100007F:0001 0:0 07";
        assert_eq!(bound(mapped), Some((Ipv4Addr::LOCALHOST.into(), 1)));
        assert_eq!(bound("  sl  local_address"), None);
    }

    #[test]
    fn a_wildcard_takes_from_every_address_that_it_may() {
        let ip = |text: &str| text.parse().unwrap();
        for (bound, relay, takes) in [
            ("0.0.0.0", "192.0.2.1", true),
            ("0.0.0.0", "2001:db8::1", false),
            ("::", "192.0.2.1", true),
            ("::", "2001:db8::1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.2", "192.0.2.1", false),
        ] {
            assert_eq!(takes_from(ip(bound), ip(relay)), takes, "{bound} {relay}");
        }
    }
}
