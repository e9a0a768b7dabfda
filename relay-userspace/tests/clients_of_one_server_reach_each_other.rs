//! Two allocations of one server talk to each other, by channel and by Send indication, over either family, with and
//! without a 1:1 NAT, on one shard and on two.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::{Client, Seen, Sim, channel_data, dropped, dual_stack, relaying_from, to_client};
use relay_common::reason::Reason;
use turnpike::stun::{AddressFamily, Message};
use turnpike::turn::{CoreConfig, PeerAddr, RelayAddr, Shared};

const PLAIN: [(&str, &str); 2] = [("198.51.100.7", "198.51.100.7"), ("2001:db8:1::7", "2001:db8:1::7")];
const NAT: [(&str, &str); 2] = [("198.51.100.7", "10.0.0.7"), ("2001:db8:1::7", "fd00::7")];

/// Two shards of one server; the second client may be on the first shard too.
struct Server {
    shards: [Sim; 2],
    config: Arc<CoreConfig>,
}

/// A client, its shard, and what it was told.
struct End {
    client: Client,
    shard: usize,
    relayed: Vec<SocketAddr>,
}

impl Server {
    fn new(config: CoreConfig) -> Self {
        let config = Arc::new(config);
        let shared = Arc::new(Shared::new(&config, [3; 32]));
        let shards = [1, 2].map(|seed| Sim::sharing(config.clone(), shared.clone(), [seed; 32]));
        Self { shards, config }
    }

    fn end(&mut self, port: u16, shard: usize) -> End {
        let mut client = Client::new(port);
        let relayed = client.allocate_both(&mut self.shards[shard]).all_relayed();
        End { client, shard, relayed }
    }

    fn local(&self, public: SocketAddr) -> SocketAddr {
        let address = self.config.relay_addresses.iter().find(|a| a.public == public.ip()).expect("ours");
        SocketAddr::new(address.local, public.port())
    }

    /// What the kernel does with a datagram to one of our own addresses: it comes back in at the other socket, on
    /// whichever shard that is. Returns what its client gets.
    fn loop_back(&mut self, seen: &[Seen], to: &End) -> Option<Vec<u8>> {
        let [Seen::ToPeer(source, destination, bytes)] = seen else { return None };
        let (source, destination) = (PeerAddr(source.0), destination.0);
        let seen = self.shards[to.shard].peer_sends(destination, source, bytes);
        to_client(&seen).map(<[u8]>::to_vec)
    }
}

fn talk(addresses: &[(&str, &str)], shards: [usize; 2]) {
    let mut server = Server::new(relaying_from(addresses));
    let (mut a, mut b) = (server.end(1, shards[0]), server.end(2, shards[1]));
    for (n, (to_a, to_b)) in a.relayed.clone().into_iter().zip(b.relayed.clone()).enumerate() {
        let channels = [0x4000, 0x4100].map(|first| first + n as u16);

        // By Send: the other learns the public address, from which it would answer.
        assert_eq!(a.client.permit(&mut server.shards[a.shard], &[to_b]).code(), 0);
        let sent = a.client.send(&mut server.shards[a.shard], to_b, b"hello");
        assert!(
            matches!(&sent[..], [Seen::ToPeer(from, to, _)] if to.0 == server.local(to_b) && from.0 == server.local(to_a)),
            "{sent:?}"
        );
        assert_eq!(server.loop_back(&sent, &b), None, "without a permission of its own it gets nothing");
        assert_eq!(b.client.permit(&mut server.shards[b.shard], &[to_a]).code(), 0);
        let came = server.loop_back(&sent, &b).expect("a Data indication");
        let data = Message::parse(&came).unwrap();
        assert_eq!((data.xor_peer_address(), data.data()), (Ok(Some(to_a)), Some(&b"hello"[..])));

        // By channel: the address that the client names binds, and what arrives from there is in the channel.
        assert_eq!(a.client.bind(&mut server.shards[a.shard], channels[0], to_b).code(), 0);
        assert_eq!(b.client.bind(&mut server.shards[b.shard], channels[1], to_a).code(), 0);
        let binding = *server.shards[a.shard].datapath.binding(a.client.five_tuple, channels[0]).unwrap();
        assert_eq!(binding.relayed, RelayAddr(server.local(to_a)));
        assert_eq!(binding.peer.0, server.local(to_b), "the data path sees where it is bound");
        for round in 0..3_u8 {
            let sent = a.client.channel_data(&mut server.shards[a.shard], channels[0], &[round]);
            assert_eq!(server.loop_back(&sent, &b), Some(channel_data(channels[1], &[round])));
            let sent = b.client.channel_data(&mut server.shards[b.shard], channels[1], &[round]);
            assert_eq!(server.loop_back(&sent, &a), Some(channel_data(channels[0], &[round])));
            let sent = b.client.send(&mut server.shards[b.shard], to_a, &[round]);
            assert_eq!(server.loop_back(&sent, &a), Some(channel_data(channels[0], &[round])));
        }
    }
}

#[test]
fn without_a_nat() {
    talk(&PLAIN, [0, 0]);
}

#[test]
fn without_a_nat_from_shard_to_shard() {
    talk(&PLAIN, [0, 1]);
}

#[test]
fn by_their_public_addresses_behind_a_nat() {
    talk(&NAT, [0, 0]);
}

#[test]
fn by_their_public_addresses_behind_a_nat_from_shard_to_shard() {
    talk(&NAT, [1, 0]);
}

#[test]
fn one_with_both_families_is_reached_by_clients_of_each() {
    for addresses in [PLAIN, NAT] {
        let mut server = Server::new(relaying_from(&addresses));
        let mut both = server.end(1, 0);
        for (port, family) in [(2, AddressFamily::V4), (3, AddressFamily::V6)] {
            let mut client = Client::new(port);
            let own = client.allocate_of(&mut server.shards[1], family).relayed();
            let theirs = *both.relayed.iter().find(|a| a.is_ipv4() == own.is_ipv4()).unwrap();
            let other = *both.relayed.iter().find(|a| a.is_ipv4() != own.is_ipv4()).unwrap();
            assert_eq!(client.bind(&mut server.shards[1], 0x4000, other).code(), 443);
            assert_eq!(client.bind(&mut server.shards[1], 0x4000, theirs).code(), 0);
            assert_eq!(both.client.bind(&mut server.shards[0], 0x4000 + port, own).code(), 0);
            let end = End { client, shard: 1, relayed: vec![own] };
            let sent = end.client.channel_data(&mut server.shards[1], 0x4000, b"up");
            assert_eq!(server.loop_back(&sent, &both), Some(channel_data(0x4000 + port, b"up")));
            let sent = both.client.channel_data(&mut server.shards[0], 0x4000 + port, b"down");
            assert_eq!(server.loop_back(&sent, &end), Some(channel_data(0x4000, b"down")));
        }
    }
}

/// A private relay address behind a NAT is open to our own clients at relayed ports, and nowhere else.
#[test]
fn the_servers_own_services_stay_out_of_reach() {
    for addresses in [PLAIN, NAT] {
        let mut server = Server::new(relaying_from(&addresses));
        let mut a = server.end(1, 0);
        for to in a.relayed.clone() {
            let service = SocketAddr::new(to.ip(), 3478);
            assert_eq!(a.client.bind(&mut server.shards[0], 0x4000, service).code(), 403);
            assert_eq!(a.client.permit(&mut server.shards[0], &[service]).code(), 0, "by address only");
            let sent = a.client.send(&mut server.shards[0], service, b"x");
            assert_eq!(dropped(&sent), Some(Reason::ForbiddenPeer));
        }
    }
}

/// An allocation may even talk to itself; what it must not do is take anybody else's place.
#[test]
fn a_client_reaches_itself_when_it_permits_its_own_address() {
    let mut server = Server::new(dual_stack());
    let mut a = server.end(1, 0);
    for (n, own) in a.relayed.clone().into_iter().enumerate() {
        let channel = 0x4000 + n as u16;
        assert_eq!(a.client.bind(&mut server.shards[0], channel, own).code(), 0);
        let sent = a.client.channel_data(&mut server.shards[0], channel, b"echo");
        assert_eq!(server.loop_back(&sent, &a), Some(channel_data(channel, b"echo")));
    }
}
