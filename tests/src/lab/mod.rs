//! The lab: hosts, switches and routers that are network namespaces of one test, servers and clients in them.
//!
//! Nothing has a name outside of the test: namespaces live as long as somebody holds them, and the processes in them
//! die with the thread that started them. A test that is killed leaves nothing behind, and tests run side by side.

mod browser;
mod client;
mod coturn;
mod counters;
mod folder;
mod host;
mod http;
mod namespace;
mod net;
mod pass;
mod process;
mod requirements;
mod server;
mod squid;
mod uclient;
mod wire;

pub use browser::Chromium;
pub use client::{Received, TurnClient};
pub use coturn::Coturn;
pub use counters::{Counters, Path};
pub use folder::Folder;
pub use host::{Host, receive};
pub use http::{Page, get};
pub use namespace::Namespace;
pub use net::{Net, OneNic, TwoNic, veth};
pub use pass::PassProgram;
pub use process::Process;
pub use requirements::{kernel_lacks, lacks, skipped, xdp_mode};
pub use server::{ADMIN, PASSWORD, Server, ServerOptions, USER, turnpike};
pub use squid::Squid;
pub use uclient::{Echo, Load, Totals, Uclient};
pub use wire::Wire;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How long a lab waits for what ought to happen at once; long, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a lab waits to see that something does not happen.
pub const QUIET: Duration = Duration::from_millis(300);

/// A limit of time as it is on this computer: an emulated one takes `TURNPIKE_TEST_SLOWNESS` times as long for everything.
pub fn scaled(limit: Duration) -> Duration {
    static SLOWNESS: LazyLock<u32> = LazyLock::new(|| {
        let Ok(text) = std::env::var("TURNPIKE_TEST_SLOWNESS") else { return 1 };
        text.parse().expect("TURNPIKE_TEST_SLOWNESS is a whole number")
    });
    limit * *SLOWNESS
}

/// Polls until `ready` gives something, and panics with `what` when it never does.
pub fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    wait_longer_for(what, PATIENCE, ready)
}

/// The same with another limit than [`PATIENCE`].
pub fn wait_longer_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let limit = scaled(limit);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
