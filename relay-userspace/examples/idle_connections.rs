//! What idle clients over streams cost in memory: `cargo run --release -p turnpike --example idle_connections [NUMBER [KIND]]`.
//!
//! A server in one process, its clients in another: each has an allocation and then says nothing. For each kind of
//! connection, what the server's memory grew by, divided by their number, when all are made and once it has looked after all.

#[path = "../tests/streams/client.rs"]
#[allow(dead_code, reason = "shared with the tests of streams")]
mod client;
#[path = "../tests/sockets/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the sockets")]
mod server;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, accept, connect_by, tls};
use turnpike::net::{ConnectionKind, Server};

/// Every connection is looked after once a minute, when it gives back what it does not need.
const LOOKED_AFTER: Duration = Duration::from_secs(70);

fn main() {
    let mut args = env::args();
    let this = args.next().expect("the name of this program");
    let number: usize = args.next().map_or(2000, |n| n.parse().expect("a number"));
    let kind = args.next();
    // Both processes know the certificate.
    tls();
    for one in ConnectionKind::ALL {
        match kind.as_deref() {
            // What was freed after one kind would be used again by the next: each has a process of its own.
            None => {
                let status = Command::new(&this).args([&number.to_string(), one.name()]).status();
                assert!(status.expect("this program can be started").success());
            }
            Some(kind) if kind == one.name() => measure(one, number),
            Some(_) => {}
        }
    }
}

fn measure(kind: ConnectionKind, number: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    // SAFETY: there is no other thread: those of the server before have ended.
    match unsafe { libc::fork() } {
        0 => {
            drop(ours);
            be_clients(kind, number, at, theirs);
            std::process::exit(0);
        }
        child => assert!(child > 0, "no process for the clients"),
    }
    drop(theirs);
    let server = server::start(2);
    let before = memory();
    let streams = server.streams();
    for _ in 0..number {
        streams.admit(accept(listener.accept().unwrap().0, kind));
    }
    ours.read_exact(&mut [0]).expect("the clients have all they want");
    let made = memory();
    let until = Instant::now() + LOOKED_AFTER;
    while Instant::now() < until {
        thread::sleep(Duration::from_secs(1));
    }
    let idle = memory();
    assert_eq!(server.stats().connections(kind).open(), number as u64);
    let each = |bytes: usize| (bytes - before) / number;
    println!("{:<4} {number} connections: {} bytes each, idle {}", kind.name(), each(made), each(idle));
    Server::stop(server);
    ours.write_all(&[0]).unwrap();
    // SAFETY: it waits for the only child.
    unsafe { libc::wait(std::ptr::null_mut()) };
}

fn be_clients(kind: ConnectionKind, number: usize, at: SocketAddr, mut parent: UnixStream) {
    let connect = || {
        let socket = TcpStream::connect(at).unwrap();
        socket.set_nodelay(true).unwrap();
        let websocket = matches!(kind, ConnectionKind::Ws | ConnectionKind::Wss);
        let mut client = Client::over(connect_by(socket, kind), websocket);
        client.allocate();
        client
    };
    let clients: Vec<_> = (0..number).map(|_| connect()).collect();
    parent.write_all(&[0]).unwrap();
    let _ = parent.read(&mut [0]);
    drop(clients);
}

/// Memory of this process that is its own, in bytes.
fn memory() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
