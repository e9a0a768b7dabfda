//! Out of file descriptors. Its own process, because the limit is one for the process.

#[path = "sockets/client.rs"]
#[allow(dead_code, reason = "shared with the other tests of the sockets")]
mod client;
#[path = "sockets/server.rs"]
#[allow(dead_code, reason = "shared with the other tests of the sockets")]
mod server;

use client::Client;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use turnpike::net::{RelaySockets, Server, ServerConfig};
use turnpike::stun::ErrorCode;

#[test]
fn without_descriptors_clients_are_told_so_and_served_again_later() {
    // The server raises the soft limit to the hard one.
    setrlimit(Resource::RLIMIT_NOFILE, 20, 100).unwrap();
    // Shared ones would serve them all.
    let config = server::config(1, server::ANY_PORT);
    let server = Server::start(ServerConfig { relay_sockets: RelaySockets::Each, ..config }).unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((100, 100)));

    let mut clients: Vec<_> = (0..60).map(|_| Client::new(server.listeners()[0])).collect();
    let mut last = None;
    let mut served = 0;
    for client in &mut clients {
        match client.allocate() {
            Ok(_) => (served, last) = (served + 1, Some(client)),
            Err(code) => assert_eq!(code, ErrorCode::INSUFFICIENT_CAPACITY),
        }
    }
    assert!((1..60).contains(&served), "{served} of 60 got a socket");
    assert!(server.stats().ports_without_resources > 0);
    // Clients cannot starve the admin API.
    let others: Vec<_> = (0..20).map(|_| client::socket()).collect();
    drop(others);

    last.expect("some were served").release();
    let mut waiting = clients.pop().expect("the last came too late");
    waiting.allocate().expect("a descriptor is free again");
}
