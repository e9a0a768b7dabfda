//! What a relayed datagram costs the userspace relay, with a socket for each allocation and with shared ones.
//!
//! `cargo bench -p turnpike-bench --bench userspace_veth [-- ROUNDS]`, as root, after `cargo xtask build-ebpf`; two CPUs at
//! the least.
//!
//! Two servers of one shard each, in namespaces of their own and on CPU 1; clients and the peer are on CPU 0, at the other
//! ends of two veth pairs. Each end of a pair is polled by a thread of its own, as a card is by an interrupt, so that datagrams
//! come in batches and the kernel may merge those of one flow; nothing is left for the card to compute or to cut. A figure is
//! the datagrams relayed in a second of CPU time of the shard's thread and of the one that polls for it. Both servers take
//! turns. A flow's datagrams come one at a time, in turns with the others', and in runs, as the packets of a video frame do.

#[allow(dead_code, unreachable_pub, reason = "made for the tests of the sockets")]
#[path = "../../relay-userspace/tests/sockets/client.rs"]
mod client;
#[allow(dead_code, unreachable_pub, reason = "made for the tests of the sockets")]
#[path = "../../relay-userspace/tests/sockets/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::iter;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use client::{Client, socket_at};
use nix::unistd::Pid;
use turnpike::net::{RelaySockets, Server, ServerConfig};
use turnpike::policy::{HostAddresses, PeerRules};
use turnpike::turn::{RelayAddress, Shared};
use turnpike_bench::lab::{GENERATOR_CPU, RELAY_CPU, pin, thread_seconds};
use turnpike_tests::lab::{Namespace, veth, wait_for};

const PAYLOAD: [u8; 160] = [7; 160];
/// Datagrams on their way at once: what a busy shard finds.
const BURST: usize = 64;
const BURSTS: usize = 512;
const FLOWS: [usize; 2] = [64, 4096];
/// Datagrams of a flow that come one after the other.
const RUNS: [usize; 2] = [1, 8];

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(15);
    let clients = Namespace::new();
    let mut subjects =
        [RelaySockets::Each, RelaySockets::Auto].map(|sockets| Subject::start(&clients, sockets));
    println!(
        "{:>33} {:>9} {:>9}   datagrams a CPU-second; medians of {rounds} rounds; ratio",
        "", "each", "shared"
    );
    clients.enter(|| {
        pin(Pid::from_raw(0), GENERATOR_CPU).expect("the CPU is there");
        for flows in FLOWS {
            subjects.iter_mut().for_each(|subject| subject.connect(flows));
            for (name, to_peer) in [("to the peer", true), ("to the client", false)] {
                for run in RUNS {
                    let mut figures = Vec::new();
                    for round in 0..=rounds {
                        let [each, shared] = [0, 1].map(|n| subjects[n].pass(to_peer, run));
                        if round > 0 {
                            figures.push([each, shared, shared / each]);
                        }
                    }
                    let [each, shared, ratio] = [0, 1, 2].map(|n| median(figures.iter().map(|f| f[n])));
                    println!(
                        "{flows:>5} flows {name:>13}, {run} a run {each:>8.0} {shared:>9.0}   {ratio:.2}"
                    );
                }
            }
        }
    });
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A server, its clients and their peer.
struct Subject {
    server: Server,
    /// The shard's thread, and the one that polls the interface.
    threads: [Pid; 2],
    /// Of the clients and the peer.
    address: String,
    clients: Vec<(Client, SocketAddr)>,
    peer: UdpSocket,
    _namespace: Namespace,
}

impl Subject {
    fn start(clients: &Namespace, sockets: RelaySockets) -> Self {
        let namespace = Namespace::new();
        let subnet = sockets as u8 + 1;
        let (near, far) = (format!("gen{subnet}"), "nic0");
        veth(clients, &near, &namespace, far);
        let address = format!("10.9.{subnet}.2:0");
        clients.ip(&format!("address add 10.9.{subnet}.2/24 dev {near}"));
        namespace.ip(&format!("address add 10.9.{subnet}.1/24 dev {far}"));
        poll_by_thread(clients, &near, 0);
        let poller = poll_by_thread(&namespace, far, 1);
        let before = threads("shard-0");
        let server =
            namespace.enter(|| Server::start(config([10, 9, subnet, 1].into(), sockets)).expect("a server"));
        if sockets == RelaySockets::Auto {
            assert_eq!(server.why_each_has_a_socket(), None, "this bench compares both");
        }
        // A thread takes its name as it starts.
        let shard = wait_for("the shard's thread", || threads("shard-0").difference(&before).next().copied());
        pin(Pid::from_raw(shard), RELAY_CPU).expect("the CPU is there");
        let peer = clients.enter(|| socket_at(&address));
        Self {
            server,
            threads: [Pid::from_raw(shard), poller],
            address,
            clients: Vec::new(),
            peer,
            _namespace: namespace,
        }
    }

    /// Has so many clients with an allocation and a channel to the peer each.
    fn connect(&mut self, flows: usize) {
        let peer = self.peer.local_addr().expect("bound");
        while self.clients.len() < flows {
            let mut client = Client::over(socket_at(&self.address), self.server.listeners()[0]);
            let relayed = client.allocate().expect("an allocation");
            client.bind_channel(0x4000, peer);
            self.clients.push((client, relayed));
        }
    }

    /// Sends so many datagrams through one flow after the other, and waits for each burst of them. Datagrams a CPU-second.
    fn pass(&mut self, to_peer: bool, run: usize) -> f64 {
        let cpu_time = || self.threads.iter().map(|thread| thread_seconds(*thread)).sum::<f64>();
        let before = cpu_time();
        let mut buffer = [0; 512];
        let mut relayed = 0;
        let mut next = (0..self.clients.len()).cycle().flat_map(|n| iter::repeat_n(n, run));
        for _ in 0..BURSTS {
            let burst: Vec<usize> = next.by_ref().take(BURST).collect();
            for &n in &burst {
                let (client, relayed) = &self.clients[n];
                if to_peer {
                    client.send_on(0x4000, &PAYLOAD);
                } else {
                    self.peer.send_to(&PAYLOAD, relayed).expect("sent");
                }
            }
            for &n in &burst {
                let receiver = if to_peer { &self.peer } else { &self.clients[n].0.socket };
                receiver.recv(&mut buffer).expect("nothing is lost");
                relayed += 1;
            }
        }
        f64::from(relayed) / (cpu_time() - before)
    }
}

fn config(ip: IpAddr, sockets: RelaySockets) -> ServerConfig {
    let mut config = server::config(1, server::ANY_PORT);
    config.listeners = vec![SocketAddr::new(ip, 3478)];
    config.relay_sockets = sockets;
    let core = Arc::get_mut(&mut config.core).expect("not shared yet");
    core.relay_addresses = vec![RelayAddress { public: ip, local: ip }];
    let host = HostAddresses { own: vec![], relay: vec![ip], relay_ports: server::ANY_PORT };
    core.peer_rules = PeerRules::new(vec!["10.9.0.0/16".parse().expect("a network")], vec![], host).into();
    config.shared = Arc::new(Shared::new(core, [7; 32]));
    config
}

/// Has the kernel poll an interface by a thread on this CPU, and merge what comes of one flow. Nothing that is sent is left for
/// the card to do.
fn poll_by_thread(namespace: &Namespace, device: &str, cpu: usize) -> Pid {
    let before = threads("napi/");
    for features in [["tx", "off", "gro", "on"].as_slice(), &["tx-udp-segmentation", "off"]] {
        let done = namespace.command("ethtool").args(["-K", device]).args(features).output();
        assert!(done.expect("ethtool is there").status.success(), "{device}: {features:?}");
    }
    // A namespace of the lab has a /sys of its own.
    let setting = format!("/sys/class/net/{device}/threaded");
    namespace.enter(|| fs::write(&setting, "1")).expect("the kernel polls by threads");
    let thread = wait_for("the thread that polls", || threads("napi/").difference(&before).next().copied());
    pin(Pid::from_raw(thread), cpu).expect("the CPU is there");
    Pid::from_raw(thread)
}

/// The threads of this process and of the kernel whose names begin with this.
fn threads(name: &str) -> BTreeSet<i32> {
    let tasks = ["/proc/self/task", "/proc"].map(|at| fs::read_dir(at).expect("/proc").flatten());
    let named =
        |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with(name));
    let tasks = tasks.into_iter().flatten().map(|task| task.path()).filter(named);
    tasks.filter_map(|task| task.file_name()?.to_str()?.parse().ok()).collect()
}
