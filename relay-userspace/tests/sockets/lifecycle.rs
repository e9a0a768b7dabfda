//! Starting, stopping, ports, privileges.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use turnpike::net::Server;
use turnpike::stun::ErrorCode;

use super::client::{Client, PATIENCE, Relayed, socket};
use super::server::{ANY_PORT, Recorder, config, start, wait_for};

#[test]
fn a_port_that_another_program_uses_is_left_alone_and_another_one_chosen() {
    let config = config(1, 50_000..=50_002);
    let ip = config.core.relay_addresses[0].local;
    let foreign = [50_000, 50_001].map(|port| UdpSocket::bind((ip, port)).unwrap());
    let server = Server::start(config).unwrap();
    let mut clients: Vec<_> = (0..8).map(|_| Client::new(server.listeners()[0])).collect();
    assert_eq!(clients[0].allocate(), Ok(SocketAddr::new(ip, 50_002)));
    for client in &mut clients[1..] {
        assert_eq!(client.allocate(), Err(ErrorCode::INSUFFICIENT_CAPACITY));
    }
    assert!(server.stats().ports_in_use >= 2);

    for program in &foreign {
        socket().send_to(b"for the other program", program.local_addr().unwrap()).unwrap();
        assert_eq!(program.recv(&mut [0; 64]).unwrap(), 21);
    }
}

#[test]
fn a_released_port_serves_the_next_client_and_only_that_one() {
    let recorder = Recorder::default();
    let mut config = config(1, 50_000..=50_000);
    config.fast_path = recorder.writers();
    let server = Server::start(config).unwrap();
    let (mut old, mut new) = (Client::new(server.listeners()[0]), Client::new(server.listeners()[0]));
    let peer = socket();

    let relayed = old.allocate().unwrap();
    old.bind_channel(0x4000, peer.local_addr().unwrap());
    assert_eq!(new.allocate(), Err(ErrorCode::INSUFFICIENT_CAPACITY));
    old.release();
    assert_eq!(recorder.unbound.lock().unwrap().len(), 2, "channel and permission");

    assert_eq!(new.allocate(), Ok(relayed));
    new.bind_channel(0x4001, peer.local_addr().unwrap());
    peer.send_to(b"media", relayed).unwrap();
    assert_eq!(new.receive(), Relayed::Channel(0x4001, b"media".to_vec()));
    old.socket.set_nonblocking(true).unwrap();
    assert!(old.socket.recv(&mut [0; 64]).is_err(), "nothing reaches the old client");
    let stats = wait_for(&server, "the end of the old allocation", |s| s.allocations_ended == 1);
    assert_eq!(stats.allocations(), 1);
}

#[test]
fn stopping_ends_all_threads_and_frees_all_ports() {
    // So many shards that no other test has threads of these names.
    let shard_threads = || {
        let comms = fs::read_dir("/proc/self/task").unwrap().flatten();
        comms
            .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
            .filter(|comm| ["shard-20\n", "shard-21\n", "shard-22\n", "shard-23\n"].contains(&comm.as_str()))
            .count()
    };
    // A thread takes its name as it starts, and leaves /proc a little after it is joined.
    let wait_for_threads = |count| {
        let start = Instant::now();
        while shard_threads() != count {
            assert!(start.elapsed() < PATIENCE, "{} threads instead of {count}", shard_threads());
            thread::yield_now();
        }
    };
    let server = start(24);
    let mut client = Client::new(server.listeners()[0]);
    let (listener, relayed) = (server.listeners()[0], client.allocate().unwrap());
    wait_for_threads(4);
    server.stop();
    wait_for_threads(0);
    UdpSocket::bind(listener).expect("the listener's port is free");
    UdpSocket::bind(relayed).expect("the relayed port is free");
}

#[test]
fn a_listener_that_another_server_has_is_refused() {
    let first = start(2);
    let mut second = config(2, ANY_PORT);
    second.listeners = first.listeners().to_vec();
    let error = format!("{:#}", Server::start(second).unwrap_err());
    assert!(error.contains("cannot listen on udp://127."), "{error}");
    assert!(error.contains("Address already in use"), "{error}");
}

#[test]
fn a_wildcard_listener_is_refused_with_advice() {
    for wildcard in ["0.0.0.0:3478", "[::]:3478"] {
        let mut config = config(1, ANY_PORT);
        config.listeners = vec![wildcard.parse().unwrap()];
        let error = Server::start(config).unwrap_err().to_string();
        assert!(error.contains("give each address of this host"), "{error}");
    }
}

#[test]
fn it_relays_without_any_privilege() {
    let unprivileged = thread::spawn(|| {
        const NOBODY: libc::uid_t = 65_534;
        // SAFETY: no pointers. The raw system call changes this thread only, and those that it starts.
        let rc = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
        let is_root = fs::read_to_string("/proc/thread-self/status").unwrap().contains("Uid:\t0\t");
        assert!(rc == 0 || !is_root);
        start(2)
    });
    let server = unprivileged.join().unwrap();
    let mut client = Client::new(server.listeners()[0]);
    let (relayed, peer) = (client.allocate().unwrap(), socket());
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    client.send_on(0x4000, b"to");
    assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 2);
    peer.send_to(b"fro", relayed).unwrap();
    assert_eq!(client.receive(), Relayed::Channel(0x4000, b"fro".to_vec()));
}

#[test]
fn once_settings_were_waited_for_no_shard_goes_by_those_before() {
    let first = config(4, ANY_PORT);
    let addresses = first.core.relay_addresses.clone();
    let server = Server::start(first).unwrap();
    let settings = |draining| {
        let mut core = config(4, ANY_PORT).core;
        let settings = Arc::get_mut(&mut core).unwrap();
        (settings.relay_addresses, settings.draining) = (addresses.clone(), draining);
        core
    };
    // All to the end: the next socket might get the port of one that has an allocation, and its answer be 437.
    let mut clients = Vec::new();
    for draining in [true, false, true] {
        assert!(server.reconfigure(&settings(draining)).wait(PATIENCE));
        // The kernel's hash leads them to all shards.
        for _ in 0..32 {
            let mut client = Client::new(server.listeners()[0]);
            let refused = client.allocate().err();
            clients.push(client);
            assert_eq!(refused, draining.then_some(ErrorCode::INSUFFICIENT_CAPACITY));
        }
    }
}
