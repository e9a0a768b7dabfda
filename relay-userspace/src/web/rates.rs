//! How often somebody may ask: by key, and by the network that a request comes from.

use std::net::IpAddr;
use std::time::Duration;

use crate::policy::{Bucket, Rate, Strangers};
use crate::time::Timestamp;

/// What came by one tenant's keys.
pub(super) type KeyBucket = Bucket;

/// Requests without a valid key, of one network. A person who mistypes one is far below.
const WITHOUT_KEY: Rate = Rate::new(1, Duration::from_secs(1), 30);

/// So many a second, and ten seconds' worth at once.
pub(super) fn burst_of_seconds(per_second: u32) -> Rate {
    Rate::new(per_second.into(), Duration::from_secs(1), u64::from(per_second) * 10)
}

/// What came from each network, in tables whose size never changes.
#[derive(Debug, Default)]
pub(super) struct Networks {
    visitors: Strangers,
    without_key: Strangers,
    testers: Strangers,
}

impl Networks {
    /// Whether a request may be answered that its tenant's web pages may have sent.
    pub(super) fn admit_visitor(&self, from: IpAddr, rate: &Rate) -> bool {
        self.visitors.admit(rate, Timestamp::now(), from, 1)
    }

    /// Whether somebody without a valid key may be told so, and try another one.
    pub(super) fn admit_without_key(&self, from: IpAddr) -> bool {
        self.without_key.admit(&WITHOUT_KEY, Timestamp::now(), from, 1)
    }

    /// Whether the test page may be run.
    pub(super) fn admit_tester(&self, from: IpAddr, rate: &Rate) -> bool {
        self.testers.admit(rate, Timestamp::now(), from, 1)
    }
}
