//! A shard without its thread: tests and fuzz targets take it a step at a time, and look at what it holds.

use std::sync::Arc;

use super::counters::Counters;
use super::listeners;
use super::mailbox::Mailbox;
use super::server::ServerConfig;
use super::shard::{Parts, Shard};
use super::tcp_relay::TcpRelays;
use crate::turn::{Core, Transport};

/// The first shard of a server with these settings, each of whose allocations has a socket of its own.
pub(super) fn shard(mut config: ServerConfig) -> Shard {
    let mailboxes: Arc<[Mailbox]> = Arc::new([Mailbox::new().expect("a descriptor")]);
    let mut by_shard = listeners::open(&config.listeners, Transport::Udp, 1).expect("addresses to listen on");
    let parts = Parts {
        number: 0,
        core: Core::new(config.core, config.shared, [7; 32]),
        listeners: by_shard.remove(0),
        shared: None,
        fast_path: (config.fast_path)(0),
        tcp_relays: TcpRelays::new(0, Arc::clone(&mailboxes), None),
        counters: Arc::new(Counters::default()),
        mailboxes,
    };
    Shard::new(parts).expect("a shard can wait for its sockets")
}
