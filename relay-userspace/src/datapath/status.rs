//! What was asked of the data path and what came of it.

use std::fmt;

use relay_common::reason::{Reason, Verdict};
use serde::{Deserialize, Serialize};

use super::Totals;

/// What the operator asked for with `--datapath`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The best that each interface can do: driver mode, else generic mode, else userspace.
    #[default]
    Auto,
    /// XDP in driver mode, or do not start.
    Xdp,
    /// XDP in generic (SKB) mode, or do not start.
    XdpGeneric,
    /// No XDP.
    Userspace,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Request::Auto => "auto",
            Request::Xdp => "xdp",
            Request::XdpGeneric => "xdp-generic",
            Request::Userspace => "userspace",
        })
    }
}

/// How an interface relays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// XDP in the driver.
    Xdp,
    /// XDP on socket buffers: any interface, slower.
    XdpGeneric,
    /// Through the kernel's stack and this process.
    Userspace,
    /// Not at all: it is gone, or the addresses that it carried are.
    Absent,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Xdp => "xdp",
            Mode::XdpGeneric => "xdp-generic",
            Mode::Userspace => "userspace",
            Mode::Absent => "absent",
        })
    }
}

/// One interface, the mode it runs in, and why not in a better one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its kernel index; 0 while it is absent.
    pub index: u32,
    /// How it relays.
    pub mode: Mode,
    /// One sentence for each step down from driver mode, or what is wrong with that; else empty.
    pub reasons: Vec<String>,
}

/// Who handled the packets to relay that came in by an interface with the program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InterfaceTraffic {
    /// The interface's name.
    pub name: String,
    /// XDP: forwarded or answered there.
    pub fast: u64,
    /// Passed up although they were for us, for another reason than that they are control traffic or nothing to relay.
    pub slow: u64,
}

impl InterfaceTraffic {
    /// From what XDP counted there.
    pub fn new(name: String, counts: &Totals) -> Self {
        let of = |wanted: fn(Reason) -> bool| {
            let counts = Reason::ALL.into_iter().zip(counts);
            counts.filter(|(reason, _)| wanted(*reason)).map(|(_, count)| count.packets).sum()
        };
        Self { name, fast: of(|reason| reason.verdict() == Verdict::Forward), slow: of(is_slow) }
    }

    /// The share of the fast path, 0 to 1; `None` before the first packet.
    pub fn share(&self) -> Option<f64> {
        let all = self.fast + self.slow;
        (all > 0).then(|| self.fast as f64 / all as f64)
    }
}

/// Whether what went up for this reason may have been something to relay. Requests belong there; what is not ours or
/// broken would not be relayed either way.
fn is_slow(reason: Reason) -> bool {
    const ELSE: [Reason; 4] = [Reason::NotOurs, Reason::Stun, Reason::BadLength, Reason::BadChecksum];
    reason.verdict() == Verdict::Pass && !ELSE.contains(&reason)
}

#[cfg(test)]
mod tests {
    use relay_common::tables::Count;

    use super::*;

    #[test]
    fn the_share_of_an_interface_is_of_what_there_was_to_relay() {
        let mut counts = [Count::default(); Reason::COUNT];
        let traffic = |counts: &Totals| InterfaceTraffic::new("eth0".into(), counts);
        assert_eq!(traffic(&counts).share(), None);
        let mut count = |reason: Reason, packets| counts[reason as usize] = Count { packets, bytes: 1 };
        // Neither is anything that a relay could have forwarded by itself.
        for reason in [Reason::NotOurs, Reason::Stun, Reason::BadLength, Reason::BadChecksum] {
            count(reason, 1000);
        }
        count(Reason::Expired, 1000);
        count(Reason::ToPeer, 4);
        count(Reason::ToClient, 2);
        count(Reason::Answered, 1);
        count(Reason::RelayToRelay, 2);
        count(Reason::Padding, 1);
        count(Reason::NextHop, 2);
        let traffic = traffic(&counts);
        assert_eq!((traffic.fast, traffic.slow, traffic.share()), (9, 3, Some(0.75)));
    }
}
