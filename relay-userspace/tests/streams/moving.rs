//! RFC 8016 over streams: a client that connects again keeps its allocation, whichever shard it comes to.

use std::sync::Arc;

use relay_common::reason::Reason;
use turnpike::net::Server;

use super::client::{Client, KINDS, channel_data};
use super::relaying::peer;
use super::server::{ANY_PORT, config, wait_for};

const CHANNEL: u16 = 0x4001;

#[test]
fn a_client_that_connects_again_is_served_by_the_shard_of_its_allocation() {
    let mut config = config(4, ANY_PORT);
    Arc::get_mut(&mut config.core).expect("nobody else has it yet").mobility = true;
    let server = Server::start(config).unwrap();
    let peer = peer();
    let mut client = Client::new(&server, KINDS[0]);
    let (relayed, mut ticket) = client.allocate_mobile();
    client.bind_channel(CHANNEL, peer.local_addr().unwrap());
    for round in 0..9_usize {
        // The old connection breaks before, or stays until the new one is used.
        let kind = KINDS[round % KINDS.len()];
        if round % 3 == 0 {
            drop(client);
            wait_for(&server, "its end", |s| KINDS.iter().all(|&k| s.connections(k).open() == 0));
        }
        let mut new = Client::new(&server, kind);
        ticket = new.move_here(&ticket);
        // Where it does not come back but moves, its first data brings media along.
        std::thread::sleep(std::time::Duration::from_millis(1050));
        new.send(&channel_data(CHANNEL, &round.to_be_bytes()));
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&round.to_be_bytes()[..], relayed));
        peer.send_to(&round.to_le_bytes(), relayed).unwrap();
        assert_eq!(new.receive(), Some(channel_data(CHANNEL, &round.to_le_bytes())), "{kind:?}");
        client = new;
    }
    let stats = server.stats();
    assert_eq!((stats.allocations_created, stats.allocations()), (1, 1));
    assert_eq!(stats.reason(Reason::NoAllocation).packets, 0);
    drop(client);
    // It is kept for a client that comes back.
    wait_for(&server, "its end", |s| KINDS.iter().all(|&k| s.connections(k).open() == 0));
    assert_eq!(server.stats().allocations(), 1);
}
