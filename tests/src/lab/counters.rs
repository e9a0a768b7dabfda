//! A server's counters, and how they moved.

use std::collections::BTreeMap;
use std::ops::Sub;

use relay_common::reason::Reason;
use serde_json::Value;

/// Who handled a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Path {
    /// The XDP program.
    Xdp,
    /// The server's process.
    Userspace,
}

/// Packets by who handled them and what became of them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counters(BTreeMap<(Path, String), u64>);

impl Counters {
    /// Out of the page `/v1/status`.
    pub(super) fn from_status(status: &Value) -> Self {
        let traffic = status["traffic"].as_array().unwrap_or_else(|| panic!("no traffic in {status}"));
        let each = traffic.iter().map(|t| {
            let path = match t["datapath"].as_str() {
                Some("xdp") => Path::Xdp,
                Some("userspace") => Path::Userspace,
                other => panic!("datapath {other:?}"),
            };
            let reason = t["reason"].as_str().expect("a reason").to_owned();
            ((path, reason), t["packets"].as_u64().expect("a number of packets"))
        });
        Self(each.collect())
    }

    /// How many packets had this fate.
    pub fn of(&self, path: Path, reason: Reason) -> u64 {
        self.0.get(&(path, reason.name().to_owned())).copied().unwrap_or(0)
    }

    /// How many packets were forwarded, to peers and to clients.
    pub fn relayed(&self, path: Path) -> (u64, u64) {
        (self.of(path, Reason::ToPeer), self.of(path, Reason::ToClient))
    }
}

impl Sub for &Counters {
    type Output = Counters;

    /// How far they moved since `before`; those that did not move are left out.
    fn sub(self, before: &Counters) -> Counters {
        let moved = self.0.iter().map(|(key, now)| (key.clone(), now - before.0.get(key).unwrap_or(&0)));
        Counters(moved.filter(|(_, by)| *by > 0).collect())
    }
}
