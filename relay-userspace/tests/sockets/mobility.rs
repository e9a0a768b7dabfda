//! Clients that change their port, and with it the shard that the kernel chooses for them.

use std::collections::HashSet;
use std::sync::Arc;

use relay_common::reason::Reason;
use turnpike::net::Server;

use super::client::{Client, Relayed, socket};
use super::server::{ANY_PORT, Recorder, config, wait_for};

const CHANNEL: u16 = 0x4001;

/// Whatever shard the kernel chooses for a new port, requests and media are served at once: nothing that a client sends
/// after it heard the answer comes before its shard knows where it belongs.
#[test]
fn a_client_is_served_from_every_port_that_it_moves_to() {
    const MOVES: usize = 24;
    let recorder = Recorder::default();
    let mut config = config(4, ANY_PORT);
    Arc::get_mut(&mut config.core).expect("nobody else has it yet").mobility = true;
    config.fast_path = recorder.writers();
    let server = Server::start(config).unwrap();
    let at = server.listeners()[0];

    let peers: Vec<_> = (0..8).map(|_| socket()).collect();
    let mut clients: Vec<_> = peers
        .iter()
        .map(|peer| {
            let mut client = Client::new(at);
            let (relayed, ticket) = client.allocate_mobile();
            client.bind_channel(CHANNEL, peer.local_addr().unwrap());
            (client, relayed, ticket)
        })
        .collect();
    for round in 0..MOVES / 8 {
        for ((client, relayed, ticket), peer) in clients.iter_mut().zip(&peers) {
            let mut new = Client::new(at);
            *ticket = new.move_here(ticket);
            // At once: a 437 would end it.
            new.permit(peer.local_addr().unwrap());
            new.send_on(CHANNEL, format!("round {round}").as_bytes());
            let mut buffer = [0; 64];
            let (len, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (format!("round {round}").as_bytes(), *relayed));
            if round == 0 {
                peer.send_to(b"back", *relayed).unwrap();
                assert_eq!(new.receive(), Relayed::Channel(CHANNEL, b"back".to_vec()));
            }
            *client = new;
        }
    }
    let stats = wait_for(&server, "all media", |s| s.reason(Reason::ToPeer).packets == MOVES as u64);
    assert_eq!(stats.reason(Reason::ShardBusy).packets + stats.reason(Reason::NoAllocation).packets, 0);
    assert_eq!(stats.responses("refresh", Some(437)) + stats.responses("create_permission", Some(437)), 0);

    for (client, ..) in &mut clients {
        client.release();
    }
    let stats = wait_for(&server, "the end of all", |s| s.allocations() == 0);
    assert_eq!(stats.allocations_created, 8);
    let (bound, unbound) = (recorder.bound.lock().unwrap(), recorder.unbound.lock().unwrap());
    assert!(bound.len() >= 16, "each client was bound at two ports at least");
    assert_eq!(bound.len(), unbound.len());
    let shards: HashSet<_> = bound.iter().map(|(shard, _)| *shard).collect();
    assert!(shards.len() > 1, "clients are spread over the shards");
}
