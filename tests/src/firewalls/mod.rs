//! The firewall lab: the networks that a relay must get through, each made of namespaces, and what connects from behind
//! them: a real browser by each kind of URL, and the clients that are no browsers.
//!
//! ```text
//! client ---- router (the firewall) ---- outside: the server, the proxy, and a machine elsewhere
//! 10.77.0.2   10.77.0.254 | 10.78.0.254  10.78.0.1 10.78.0.4         10.78.0.3
//! ```
//!
//! [`networks::NETWORKS`] is the list; [`run`] tries one and says what was seen, also whether the firewall itself is real:
//! what it must block is tried too, past any TURN server. Nothing has a name outside of the lab and nothing is left
//! behind: see [`crate::lab`].

pub mod networks;
pub mod report;

mod also;
mod echo;
mod network;
mod pages;
mod pki;
mod probe;
mod proxy;
mod scripted;
mod subject;
mod topology;
mod tries;
mod url;

use std::time::Instant;

use crate::browser::CHROMIUM;
use crate::lab;

pub use network::{Also, Network, Way};
pub use probe::Probe;
pub use report::{Cell, Outcome, Report};
pub use subject::Subject;
pub use url::Url;

/// What else the lab needs: a file, and the package of Debian's that has it.
pub const NEEDED: &[(&str, &str)] = &[
    (CHROMIUM, "chromium"),
    ("/usr/bin/certutil", "libnss3-tools"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/htpasswd", "apache2-utils"),
    ("/usr/bin/mitmdump", "mitmproxy"),
    ("/usr/sbin/squid", "squid-openssl"),
    ("/usr/bin/turnserver", "coturn"),
];

/// Whether to leave a test out: see [`lab::skipped`] and [`lab::lacks`].
pub fn skipped() -> bool {
    // Every one is named that is missing.
    let lacking = NEEDED.iter().filter(|(file, package)| lab::lacks(file, package)).count();
    lab::skipped() || lacking > 0
}

/// Builds a network, starts this server in it, and tries everything.
pub fn run(network: &Network, subject: Subject) -> Report {
    let start = Instant::now();
    let mut report = Report::new(network, subject);
    let net = topology::Topology::new(network);
    probe::all(network, &net, &mut report);
    tries::all(network, &net, subject, &mut report);
    report.took = start.elapsed();
    report
}
