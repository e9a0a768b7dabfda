//! Where the socket lookup program runs, the allocations of a shard share a few sockets. Its own process, as descriptors are
//! counted.

#[path = "sockets/client.rs"]
#[allow(dead_code, reason = "shared with the other tests of the sockets")]
mod client;
#[path = "sockets/server.rs"]
#[allow(dead_code, reason = "shared with the other tests of the sockets")]
mod server;

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, PATIENCE, Relayed, socket};
use relay_common::reason::Reason;
use turnpike::net::{RelaySockets, Server, ServerConfig};
use turnpike::stun::{ErrorCode, Message, Method};
use turnpike::turn::{RelayAddress, Shared};

/// One test at a time: descriptors are the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server whose allocations share sockets; `None`, said aloud, without the privileges for that.
fn shared(config: ServerConfig) -> Option<Server> {
    let server = Server::start(ServerConfig { relay_sockets: RelaySockets::Auto, ..config }).unwrap();
    match server.why_each_has_a_socket() {
        None => Some(server),
        Some(why) if nix::unistd::geteuid().is_root() => panic!("as root: {why}"),
        Some(why) => {
            assert!(why.contains("CAP_"), "{why}");
            println!("NOT RUN: {why}");
            None
        }
    }
}

/// The sockets of this process. Other descriptors come and go with the threads that read files.
fn descriptors() -> usize {
    let links =
        fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn an_allocation_opens_no_descriptor() {
    let _alone = alone();
    let Some(server) = shared(server::dual_stack_config()) else { return };
    let mut clients: Vec<_> = (0..20).map(|_| Client::new(server.listeners()[0])).collect();
    let before = descriptors();
    for client in &mut clients {
        client.allocate().unwrap();
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn without_the_program_the_reason_is_told_and_each_has_a_socket() {
    let _alone = alone();
    let config = server::config(1, server::ANY_PORT);
    let server = Server::start(ServerConfig { relay_sockets: RelaySockets::Each, ..config }).unwrap();
    assert_eq!(server.why_each_has_a_socket(), Some("as configured"));
    let mut client = Client::new(server.listeners()[0]);
    let before = descriptors();
    client.allocate().unwrap();
    assert_eq!(descriptors(), before + 1);
}

/// What `bind` would have found at once is found when the kernel's list is read again.
#[test]
fn a_port_that_a_program_takes_later_is_left_to_it() {
    let _alone = alone();
    let config = server::config(1, 50_000..=50_000);
    let ip = config.core.relay_addresses[0].local;
    let Some(server) = shared(config) else { return };
    let program = UdpSocket::bind((ip, 50_000)).unwrap();
    thread::sleep(Duration::from_secs(3));
    let mut client = Client::new(server.listeners()[0]);
    assert_eq!(client.allocate(), Err(ErrorCode::INSUFFICIENT_CAPACITY));
    assert_eq!(server.stats().ports_in_use, 1);
    socket().send_to(b"for the program", program.local_addr().unwrap()).unwrap();
    assert_eq!(program.recv(&mut [0; 64]).unwrap(), 15);
}

/// Nobody is led to a port that is not open: the kernel goes on as if there were no program.
#[test]
fn ports_without_an_allocation_are_as_ever() {
    let _alone = alone();
    let config = server::config(1, 50_000..=50_003);
    let ip = config.core.relay_addresses[0].local;
    let Some(server) = shared(config) else { return };
    let mut client = Client::new(server.listeners()[0]);
    let relayed = client.allocate().unwrap();
    let others = (50_000..=50_003).map(|port| SocketAddr::new(ip, port)).filter(|other| *other != relayed);
    for other in others {
        let peer = socket();
        peer.connect(other).unwrap();
        peer.send(b"anybody there?").unwrap();
        let refused = peer.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

/// They wait in one queue with everybody else's.
#[test]
fn what_waits_for_a_dead_allocation_never_reaches_the_next_holder_of_its_port() {
    let _alone = alone();
    let recorder = server::Recorder { delay: Duration::from_millis(300), ..server::Recorder::default() };
    let mut config = server::config(1, 50_000..=50_001);
    config.fast_path = recorder.writers();
    let Some(server) = shared(config) else { return };
    let listener = server.listeners()[0];
    let (mut old, mut busy, mut new) = (Client::new(listener), Client::new(listener), Client::new(listener));
    let peer = socket();
    let (relayed, _) = (old.allocate().unwrap(), busy.allocate().unwrap());
    let here = peer.local_addr().unwrap();
    old.permit(here);
    // There is no third port, but the client has a nonce now.
    assert_eq!(new.allocate(), Err(ErrorCode::INSUFFICIENT_CAPACITY));
    // While the shard installs this binding, it serves nobody: all that comes next waits. It finds the requests first, so the
    // port has its next holder, who expects data of the same peer, when it comes to what was sent to the one before.
    let (allocated, bound) = thread::scope(|s| {
        s.spawn(|| busy.bind_channel(0x4000, here));
        thread::sleep(Duration::from_millis(100));
        let ended = old.ask(Method::REFRESH, |b| _ = b.lifetime(Duration::ZERO));
        let allocated = new.ask(Method::ALLOCATE, |b| _ = b.requested_transport(17));
        let bound = new.ask(Method::CHANNEL_BIND, |b| _ = b.channel_number(0x4000).xor_peer_address(here));
        peer.send_to(b"for the old", relayed).unwrap();
        old.answer(ended).unwrap();
        (allocated, bound)
    });
    let answer = new.answer(allocated).unwrap();
    assert_eq!(Message::parse(&answer).unwrap().xor_relayed_address(), Ok(Some(relayed)));
    new.answer(bound).unwrap();
    server::wait_for(&server, "the datagram that waited", |stats| {
        stats.reasons[Reason::NoAllocation as usize].packets == 1
    });
    peer.send_to(b"for the new", relayed).unwrap();
    assert_eq!(new.receive(), Relayed::Channel(0x4000, b"for the new".to_vec()));
}

/// A burst of one allocation takes its share of the queue and not the others'.
#[test]
fn a_burst_that_waits_leaves_room_for_the_others() {
    const BURST: u64 = 20_000;
    let _alone = alone();
    let recorder = server::Recorder { delay: Duration::from_millis(1500), ..server::Recorder::default() };
    let mut config = server::config(1, server::ANY_PORT);
    config.fast_path = recorder.writers();
    let Some(server) = shared(config) else { return };
    let listener = server.listeners()[0];
    let (mut loud, mut quiet, mut busy) =
        (Client::new(listener), Client::new(listener), Client::new(listener));
    let (flooder, peer) = (socket(), socket());
    let (flooded, relayed) = (loud.allocate().unwrap(), quiet.allocate().unwrap());
    busy.allocate().unwrap();
    quiet.permit(peer.local_addr().unwrap());
    thread::scope(|s| {
        s.spawn(|| busy.bind_channel(0x4000, peer.local_addr().unwrap()));
        thread::sleep(Duration::from_millis(100));
        (0..BURST).for_each(|_| _ = flooder.send_to(&[0; 1_200], flooded).unwrap());
        peer.send_to(b"one of the others", relayed).unwrap();
    });
    assert_eq!(quiet.receive(), Relayed::Data(peer.local_addr().unwrap(), b"one of the others".to_vec()));
    let stats = server::wait_for(&server, "the flood", |s| {
        s.reason(Reason::NoPermission).packets + s.relay_drops >= BURST
    });
    assert!(stats.relay_drops > BURST / 2, "{stats:?}");
}

/// What the program lets through in a round is read in so many calls that none finds less than it has room for. The port
/// must hear what comes later all the same.
#[test]
fn a_burst_of_exactly_one_round_does_not_make_a_port_deaf() {
    let _alone = alone();
    let recorder = server::Recorder { delay: Duration::from_millis(700), ..server::Recorder::default() };
    let mut config = server::config(1, server::ANY_PORT);
    config.fast_path = recorder.writers();
    let Some(server) = shared(config) else { return };
    let listener = server.listeners()[0];
    let (mut client, mut busy) = (Client::new(listener), Client::new(listener));
    let (stranger, peer) = (socket(), socket());
    let relayed = client.allocate().unwrap();
    busy.allocate().unwrap();
    thread::scope(|s| {
        s.spawn(|| busy.bind_channel(0x4000, peer.local_addr().unwrap()));
        thread::sleep(Duration::from_millis(100));
        (0..relay_common::steer::ROUND).for_each(|_| _ = stranger.send_to(b"noise", relayed).unwrap());
    });
    server::wait_for(&server, "the burst", |s| {
        s.reason(Reason::NoPermission).packets == u64::from(relay_common::steer::ROUND)
    });
    client.permit(peer.local_addr().unwrap());
    peer.send_to(b"later", relayed).unwrap();
    assert_eq!(client.receive(), Relayed::Data(peer.local_addr().unwrap(), b"later".to_vec()));
}

/// The kernel removes the program when its last descriptor is closed, however the process ends.
#[test]
fn a_server_that_is_gone_leaves_no_program() {
    let _alone = alone();
    let Some(server) = shared(server::config(1, 50_000..=50_001)) else { return };
    let links = || {
        let entries = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        entries
            .filter_map(|entry| fs::read_to_string(entry.path()).ok())
            .filter(|info| info.contains("link_type:\tnetns"))
            .count()
    };
    assert_eq!(links(), 1);
    drop(server);
    let start = Instant::now();
    while links() != 0 {
        assert!(start.elapsed() < PATIENCE, "still attached");
        thread::yield_now();
    }
}

/// A server that starts with the address and the ports of another.
fn beside(ip: IpAddr, sockets: RelaySockets, ports: RangeInclusive<u16>) -> Result<Server, String> {
    let mut config = server::config(1, ports);
    Arc::get_mut(&mut config.core).unwrap().relay_addresses = vec![RelayAddress { public: ip, local: ip }];
    config.shared = Arc::new(Shared::new(&config.core, [7; 32]));
    Server::start(ServerConfig { relay_sockets: sockets, ..config }).map_err(|error| error.to_string())
}

/// The program would lead what comes to a port to one of them, whichever client has it at the other.
#[test]
fn two_servers_never_relay_from_the_same_ports() {
    let _alone = alone();
    let config = server::config(1, 50_000..=50_009);
    let ip = config.core.relay_addresses[0].local;
    let other = server::config(1, server::ANY_PORT).core.relay_addresses[0].local;
    let Some(first) = shared(config) else { return };
    let refusal =
        format!("another Turnpike relays from {ip}, ports 50000-50009: give this one other --relay-ports");
    for sockets in [RelaySockets::Auto, RelaySockets::Each] {
        for ports in [50_000..=50_009, 50_009..=50_020] {
            let refused = beside(ip, sockets, ports.clone());
            assert_eq!(refused.err().as_ref(), Some(&refusal), "{sockets} {ports:?}");
        }
        beside(ip, sockets, 50_010..=50_019).expect("other ports");
        beside(other, sockets, 50_000..=50_009).expect("another address");
    }
    drop(first);
    beside(ip, RelaySockets::Auto, 50_005..=50_015).expect("there is no other");
}

#[test]
fn a_restart_waits_for_the_server_before() {
    let _alone = alone();
    for sockets in [RelaySockets::Auto, RelaySockets::Each] {
        let config = server::config(1, 50_000..=50_009);
        let ip = config.core.relay_addresses[0].local;
        let Some(before) = shared(config) else { return };
        thread::scope(|s| {
            s.spawn(|| {
                thread::sleep(Duration::from_millis(500));
                drop(before);
            });
            beside(ip, sockets, 50_000..=50_009).expect("the server before is gone");
        });
    }
}
