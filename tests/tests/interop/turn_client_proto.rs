//! The crate `turn-client-proto`, which is the TURN client of librice. It does no I/O, so that this file does.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use turn_client_proto::api::{
    DelayedMessageOrChannelSend, Transmit, TransmitBuild, TurnClientApi, TurnConfig, TurnEvent, TurnRecvRet,
};
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::types::stun::message::IntegrityAlgorithm;
use turn_client_proto::types::{AddressFamily, Instant as ProtoInstant, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;
use turnpike_tests::lab::{PASSWORD, PATIENCE, Path, ServerOptions, USER, receive};

use crate::common::{Family, Lab};

const UDP: TransportType = TransportType::Udp;

/// A client and its socket.
struct Client {
    protocol: TurnClientUdp,
    socket: UdpSocket,
    start: Instant,
    /// Types of the attributes in the last request.
    attributes: Vec<u16>,
}

impl Client {
    fn new(lab: &Lab, relayed: Family, configure: impl FnOnce(&mut TurnConfig)) -> Self {
        let socket = lab.client().udp(0);
        let mut config = TurnConfig::new(TurnCredentials::new(USER, PASSWORD));
        config.set_address_family(match relayed {
            Family::V4 => AddressFamily::IPV4,
            Family::V6 => AddressFamily::IPV6,
        });
        configure(&mut config);
        let address = socket.local_addr().expect("bound");
        let protocol = TurnClientUdp::allocate(address, lab.server.address(), config);
        Self { protocol, socket, start: Instant::now(), attributes: Vec::new() }
    }

    fn now(&self) -> ProtoInstant {
        ProtoInstant::from_std(self.start)
    }

    /// Sends what the client wants to send, waits for the next datagram, and gives it to the client. Data from a peer
    /// comes back.
    fn turn(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        // What is due is produced by asking for the time of the next.
        self.protocol.poll(self.now());
        while let Some(out) = self.protocol.poll_transmit(self.now()) {
            self.attributes = attributes(&out.data);
            self.socket.send_to(&out.data, out.to).expect("the server is reachable");
        }
        let (datagram, from) = receive(&self.socket, Duration::from_millis(20))?;
        let to = self.protocol.local_addr();
        match self.protocol.recv(Transmit::new(datagram, UDP, from, to), self.now()) {
            TurnRecvRet::PeerData(data) => Some((data.peer, data.data().to_vec())),
            TurnRecvRet::Handled => None,
            other => panic!("from the server came {other:?}"),
        }
    }

    /// Turns until an event is the one waited for; none may say that something failed.
    fn until<T>(&mut self, what: &str, wanted: impl Fn(&TurnEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let data = self.turn();
            assert_eq!(data, None, "nobody has sent anything yet");
            if let Some(event) = self.protocol.poll_event() {
                return wanted(&event).unwrap_or_else(|| panic!("{event:?} instead of {what}"));
            }
        }
        panic!("{what}: not within {PATIENCE:?}");
    }

    fn relayed(&mut self) -> SocketAddr {
        self.until("an allocation", |event| match event {
            TurnEvent::AllocationCreated(UDP, address) => Some(*address),
            _ => None,
        })
    }

    fn permit(&mut self, peer: SocketAddr) {
        self.protocol.create_permission(UDP, peer.ip(), self.now()).expect("a new permission");
        self.until("a permission", |event| {
            matches!(event, TurnEvent::PermissionCreated(UDP, at) if *at == peer.ip()).then_some(())
        });
    }

    fn bind(&mut self, peer: SocketAddr) {
        self.protocol.bind_channel(UDP, peer, self.now()).expect("a new channel");
        self.until("a channel", |event| {
            matches!(event, TurnEvent::ChannelCreated(UDP, at) if *at == peer).then_some(())
        });
    }

    /// Sends in the way that the client takes at this moment: whether that was ChannelData.
    fn send(&mut self, peer: SocketAddr, data: &[u8]) -> bool {
        let out = self.protocol.send_to(UDP, peer, data, self.now()).expect("permitted");
        let out: TransmitBuild<_> = out.expect("something to send");
        let channel = matches!(out.data, DelayedMessageOrChannelSend::Channel(_));
        let out = out.build();
        self.socket.send_to(&out.data, out.to).expect("the server is reachable");
        channel
    }

    fn receive(&mut self) -> (SocketAddr, Vec<u8>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(data) = self.turn() {
                return data;
            }
            assert!(Instant::now() < deadline, "no data within {PATIENCE:?}");
        }
    }

    fn end(&mut self) {
        self.protocol.delete(self.now()).expect("there is an allocation");
        self.attributes.clear();
        // It lets some time pass between two requests.
        let deadline = Instant::now() + PATIENCE;
        while self.attributes.is_empty() && Instant::now() < deadline {
            self.turn();
        }
    }
}

/// The types of a message's attributes (RFC 8489 section 14).
fn attributes(message: &[u8]) -> Vec<u16> {
    let mut types = Vec::new();
    let mut rest = &message[20..];
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])).next_multiple_of(4);
        types.push(u16::from_be_bytes([head[0], head[1]]));
        rest = &after[length..];
    }
    types
}

/// Five messages each way.
fn exchange(lab: &Lab, client: &mut Client, relayed: SocketAddr, peer: &UdpSocket, channel: bool) {
    let peer_address = peer.local_addr().expect("bound");
    let before = packets(lab);
    for length in [1, 2, 3, 4, 1200] {
        let data = vec![0x30 + u8::from(channel); length];
        assert_eq!(client.send(peer_address, &data), channel, "in a channel once there is one");
        assert_eq!(receive(peer, PATIENCE), Some((data.clone(), relayed)), "what the peer received");
        peer.send_to(&data, relayed).expect("the server is reachable");
        assert_eq!(client.receive(), (peer_address, data), "what the client received");
    }
    assert_eq!(packets(lab) - before, 10);
}

/// Data both ways in indications, with a peer whose machine has the family of this relayed address.
fn by_indications(lab: &Lab, client: &mut Client, relayed: SocketAddr) -> UdpSocket {
    let family = if relayed.is_ipv4() { Family::V4 } else { Family::V6 };
    assert_eq!(relayed.ip(), lab.relay(family).address());
    let peer = lab.peer(family).udp(0);
    client.permit(peer.local_addr().expect("bound"));
    exchange(lab, client, relayed, &peer, false);
    peer
}

/// Data both ways, first in indications and then in a channel.
fn call(lab: &Lab, client: &mut Client, relayed: SocketAddr) {
    let peer = by_indications(lab, client, relayed);
    client.bind(peer.local_addr().expect("bound"));
    exchange(lab, client, relayed, &peer, true);
}

/// Packets relayed so far, whoever did it.
fn packets(lab: &Lab) -> u64 {
    let counters = lab.server.counters();
    let relayed = [Path::Xdp, Path::Userspace].map(|path| counters.relayed(path));
    relayed.iter().map(|(to_peer, to_client)| to_peer + to_client).sum()
}

// The attributes by which a request says who sends it (RFC 8489 section 18.3).
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const PASSWORD_ALGORITHM: u16 = 0x001d;
const USERHASH: u16 = 0x001e;

/// A whole call over these families, by a client whose last request has the first of these attributes and none of the
/// second.
fn whole_call(
    [listen, relayed]: [Family; 2],
    datapath: &'static str,
    configure: impl FnOnce(&mut TurnConfig),
    [with, without]: [&[u16]; 2],
) {
    let Some(lab) = Lab::new(listen, &[relayed], ServerOptions::new(datapath)) else { return };
    let mut client = Client::new(&lab, relayed, configure);
    let relayed = client.relayed();
    call(&lab, &mut client, relayed);
    client.end();
    let has = |attribute| client.attributes.contains(attribute);
    assert!(with.iter().all(has) && !without.iter().any(has), "{:x?}", client.attributes);
    lab.nothing_is_left();
}

/// HMAC-SHA1 with a key made by MD5, and the user's name in clear: what RFC 5389 had, and browsers have.
fn sha1(listen: Family, relayed: Family, datapath: &'static str) {
    let attributes: [&[u16]; 2] = [&[USERNAME, MESSAGE_INTEGRITY], &[USERHASH, MESSAGE_INTEGRITY_SHA256]];
    let old = |config: &mut TurnConfig| config.set_anonymous_username(Feature::Disabled);
    whole_call([listen, relayed], datapath, old, attributes);
}

/// HMAC-SHA256, and a hash instead of the user's name.
fn sha256(listen: Family, relayed: Family, datapath: &'static str) {
    let attributes: [&[u16]; 2] =
        [&[USERHASH, MESSAGE_INTEGRITY_SHA256, PASSWORD_ALGORITHM], &[USERNAME, MESSAGE_INTEGRITY]];
    let new = |config: &mut TurnConfig| {
        config.set_supported_integrity(IntegrityAlgorithm::Sha256);
        config.set_anonymous_username(Feature::Required);
    };
    whole_call([listen, relayed], datapath, new, attributes);
}

#[test]
fn with_sha1_over_ipv4_by_xdp() {
    sha1(Family::V4, Family::V4, "xdp");
}

#[test]
fn with_sha1_over_ipv4_in_userspace() {
    sha1(Family::V4, Family::V4, "userspace");
}

#[test]
fn with_sha1_over_ipv6_in_userspace() {
    sha1(Family::V6, Family::V6, "userspace");
}

#[test]
fn with_sha1_over_ipv6_to_a_peer_of_ipv4() {
    sha1(Family::V6, Family::V4, "xdp");
}

#[test]
fn with_sha1_over_ipv4_to_a_peer_of_ipv6() {
    sha1(Family::V4, Family::V6, "xdp");
}

#[test]
fn with_sha256_and_userhash_over_ipv4_by_xdp() {
    sha256(Family::V4, Family::V4, "xdp");
}

#[test]
fn with_sha256_and_userhash_over_ipv6_in_userspace() {
    sha256(Family::V6, Family::V6, "userspace");
}

/// A client that knows both takes the stronger one.
#[test]
fn with_the_best_that_both_sides_know() {
    let both = |config: &mut TurnConfig| config.add_supported_integrity(IntegrityAlgorithm::Sha256);
    let attributes: [&[u16]; 2] = [&[USERHASH, MESSAGE_INTEGRITY_SHA256], &[USERNAME, MESSAGE_INTEGRITY]];
    whole_call([Family::V4; 2], "xdp", both, attributes);
}

/// One allocation with an address of each family (RFC 8656 section 7.2).
#[test]
fn with_two_relayed_addresses() {
    let both = [Family::V4, Family::V6];
    let Some(lab) = Lab::new(Family::V4, &both, ServerOptions::new("xdp")) else { return };
    let mut client = Client::new(&lab, Family::V4, |config| config.add_address_family(AddressFamily::IPV6));
    let mut relayed = both.map(|_| client.relayed());
    relayed.sort();
    assert_eq!(relayed.map(|address| address.is_ipv4()), [true, false]);
    let [ipv4, ipv6] = relayed;
    // It numbers the channels of both addresses from 0x4000, although a number may be bound once in an allocation (RFC
    // 8656 section 12); so that the other address has none.
    by_indications(&lab, &mut client, ipv6);
    call(&lab, &mut client, ipv4);
    client.end();
    lab.nothing_is_left();
}
