//! Servers on the loopback.

use std::env;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as SocketName, UnixListener};
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use turnpike::auth::{Credentials, Realm, Realms};
use turnpike::datapath::{FastPath, Forwarded, NoFastPath, NotInstalled};
use turnpike::net::{RelaySockets, Server, ServerConfig, Stats};
use turnpike::policy::{Cidr, HostAddresses, PeerRules};
use turnpike::turn::{Binding, BindingId, CoreConfig, MOST_PEERS, RelayAddress, Shared};

pub(crate) const REALM: &str = "example.org";
pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "wonderland";

/// The ports of relayed addresses, where a test does not mind.
pub(crate) const ANY_PORT: RangeInclusive<u16> = 49_152..=65_535;

/// Settings for a server that listens and relays on a loopback address that it has for itself, so that tests, also
/// those of another process, do not take each other's ports. All peers on the loopback are allowed.
pub(crate) fn config(shards: usize, relay_ports: RangeInclusive<u16>) -> ServerConfig {
    let ip = own_address();
    let host = HostAddresses { own: vec![], relay: vec![ip], relay_ports: relay_ports.clone() };
    let allow = vec!["127.0.0.0/8".parse().unwrap(), Cidr::host(ip)];
    let credentials = Credentials::new([(USER.into(), PASSWORD.into())], []).unwrap();
    let core = CoreConfig {
        realms: Realms::new(Realm::new(REALM, credentials).unwrap(), []).unwrap(),
        peer_rules: PeerRules::new(allow, vec![], host).into(),
        relay_addresses: vec![RelayAddress { public: ip, local: ip }],
        relay_ports,
        max_lifetime: Duration::from_secs(3600),
        discovery: None,
        alternate: None,
        lifetimes: Default::default(),
        mobility: false,
        user_quota: None,
        smaller_quotas: Default::default(),
        total_quota: None,
        rates: Default::default(),
        allocation_peers: MOST_PEERS,
        strangers: None,
        peer_overrides: Default::default(),
        tcp_relay: None,
        software: None,
        draining: false,
    };
    ServerConfig {
        listeners: vec![SocketAddr::new(ip, 0)],
        shards,
        shared: Arc::new(Shared::new(&core, [7; 32])),
        core: Arc::new(core),
        relay_sockets: relay_sockets(),
        fast_path: Box::new(|_| Box::new(NoFastPath)),
    }
}

/// What tests run with: `TURNPIKE_TEST_RELAY_SOCKETS=each` has them run as without BPF.
fn relay_sockets() -> RelaySockets {
    match env::var("TURNPIKE_TEST_RELAY_SOCKETS").as_deref() {
        Ok("each") => RelaySockets::Each,
        _ => RelaySockets::Auto,
    }
}

/// The same for a server that also listens and relays on the IPv6 loopback, which is one address for all: it relays from
/// ports that it has for itself.
pub(crate) fn dual_stack_config() -> ServerConfig {
    let ports = own_ports();
    let mut config = config(1, ports.clone());
    let v6: IpAddr = Ipv6Addr::LOCALHOST.into();
    config.listeners.push(SocketAddr::new(v6, 0));
    let core = Arc::get_mut(&mut config.core).expect("not shared yet");
    core.relay_addresses.push(RelayAddress { public: v6, local: v6 });
    let relay: Vec<IpAddr> = core.relay_addresses.iter().map(|a| a.local).collect();
    let host = HostAddresses { own: vec![], relay: relay.clone(), relay_ports: ports };
    let allow = vec!["127.0.0.0/8".parse().unwrap(), Cidr::host(v6)];
    core.peer_rules = PeerRules::new(allow, vec![], host).into();
    config.shared = Arc::new(Shared::new(core, [7; 32]));
    config
}

/// Starts a server with all the ports that clients may be relayed from.
pub(crate) fn start(shards: usize) -> Server {
    Server::start(config(shards, ANY_PORT)).unwrap()
}

fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let [.., b, c] = process::id().to_be_bytes();
    Ipv4Addr::new(127, b, c, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// Ports that no other test has, also of another process, until this one ends: the name of a UNIX socket says so.
fn own_ports() -> RangeInclusive<u16> {
    const EACH: u16 = 128;
    let mut blocks = (0..=u16::MAX / EACH).map(|block| block * EACH).filter(|first| ANY_PORT.contains(first));
    let is_free = |first: &u16| {
        let name = SocketName::from_abstract_name(format!("turnpike-tests/ports/{first}")).unwrap();
        UnixListener::bind_addr(&name).map(mem::forget).is_ok()
    };
    let first = blocks.find(is_free).expect("ports for another test");
    first..=first + (EACH - 1)
}

/// Waits until the counters satisfy a condition: they are written after datagrams are sent.
pub(crate) fn wait_for(server: &Server, what: &str, condition: impl Fn(&Stats) -> bool) -> Stats {
    let start = Instant::now();
    loop {
        let stats = server.stats();
        if condition(&stats) {
            return stats;
        }
        assert!(start.elapsed() < super::client::PATIENCE, "{what} never came: {stats:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A fast path that takes every binding and remembers it.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    pub(crate) bound: Arc<Mutex<Vec<(usize, Binding)>>>,
    pub(crate) unbound: Arc<Mutex<Vec<BindingId>>>,
    /// How long each binding takes to install.
    pub(crate) delay: Duration,
}

impl Recorder {
    /// One writer for each shard, all with the same memory.
    pub(crate) fn writers(&self) -> Box<dyn FnMut(usize) -> Box<dyn FastPath>> {
        let recorder = self.clone();
        Box::new(move |shard| Box::new(Writer { shard, recorder: recorder.clone() }))
    }
}

struct Writer {
    shard: usize,
    recorder: Recorder,
}

impl FastPath for Writer {
    fn bind(&mut self, binding: &Binding) -> Result<(), NotInstalled> {
        std::thread::sleep(self.recorder.delay);
        self.recorder.bound.lock().unwrap().push((self.shard, *binding));
        Ok(())
    }

    fn extend(&mut self, _: &Binding) {}

    fn unbind(&mut self, binding: BindingId) {
        self.recorder.unbound.lock().unwrap().push(binding);
    }

    fn forwarded(&self, _: BindingId) -> Option<Forwarded> {
        None
    }
}
