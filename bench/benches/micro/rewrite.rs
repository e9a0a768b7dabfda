//! The rewrite of each kind of packet.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::Criterion;
use relay_common::addr::{Be16, Endpoint};
use relay_common::channel::INDICATION;
use relay_common::flow::{FlowRecord, HashSeed, Path};
use relay_common::next_hop::NextHop;
use relay_common::packet::{self, Packet};
use relay_common::reason::Reason;
use relay_common::tables::Settings;
use relay_common::way::Way;
use relay_common::{rewrite, send};
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};
use turnpike_bench::templates::{self, Ends};
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::next_hop;

const DATA: [u8; 160] = [7; 160];

/// Room for the headers of a packet that grows.
const ROOM: usize = 128;

/// A packet and the records that carry it.
struct Subject {
    frame: Vec<u8>,
    first: FlowRecord,
    second: Option<FlowRecord>,
    hop: NextHop,
    settings: Settings,
}

/// Measures all kinds.
pub(crate) fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("rewrite");
    let (v4, v6) = (templates::V4, templates::V6);
    for (families, ends) in [
        ("v4-v4", v4),
        ("v4-v6", (v4.0, v4.1, v6.2, v6.3)),
        ("v6-v4", (v6.0, v6.1, v4.2, v4.3)),
        ("v6-v6", v6),
    ] {
        let path = templates::path_of(ends, 0);
        for (kind, subject) in [
            ("channel-to-peer", Subject::to_peer(&path)),
            ("channel-to-client", Subject::to_client(&path)),
            ("send", Subject::send(&path)),
            ("data", Subject::data(&path)),
            ("relay-to-relay", Subject::relay_to_relay(ends)),
        ] {
            let mut out = vec![0; subject.frame.len() + ROOM];
            let forwards = subject.run(&mut out).forwards();
            assert!(forwards, "{kind} {families} is not forwarded");
            group.bench_function(format!("{kind}/{families}"), |b| {
                b.iter(|| black_box(&subject).run(black_box(&mut out)));
            });
        }
    }
    group.finish();
}

impl Subject {
    fn new(first: FlowRecord, second: Option<FlowRecord>, datagram: &Datagram) -> Self {
        let alive = |record| FlowRecord { deadline: u64::MAX, ..record };
        let dst = second.as_ref().unwrap_or(&first).dst;
        let ethertype = if dst.is_v4() { 0x0800 } else { 0x86dd };
        Self {
            frame: datagram.frame(),
            first: alive(first),
            second: second.map(alive),
            hop: next_hop(1, 1500, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], &[], ethertype),
            settings: Settings {
                seed: HashSeed::default(),
                first_port: 49152,
                last_port: 65535,
                ..Settings::default()
            },
        }
    }

    fn to_peer(path: &Path) -> Self {
        let payload = channel_data(path.channel.get(), &DATA, 0);
        Self::new(FlowRecord::client_to_peer(path), None, &between(path.client, path.listener, payload))
    }

    fn to_client(path: &Path) -> Self {
        Self::new(FlowRecord::peer_to_client(path), None, &between(path.peer, path.relayed, DATA))
    }

    fn send(path: &Path) -> Self {
        let mut message = Vec::new();
        let kind = MessageType::new(Method::SEND, Class::Indication);
        let mut builder = Builder::new(&mut message, kind, TransactionId(*b"transactions"));
        builder.xor_peer_address(path.peer.into()).data(&DATA).expect("it fits");
        let datagram = between(path.client, path.listener, message);
        Self::new(FlowRecord::client_to_peer(&permission(path)), None, &datagram)
    }

    fn data(path: &Path) -> Self {
        let datagram = between(path.peer, path.relayed, DATA);
        Self::new(FlowRecord::peer_to_client(&permission(path)), None, &datagram)
    }

    /// From channel to channel: the peer is another relayed address of ours.
    fn relay_to_relay(ends: Ends) -> Self {
        let path = templates::path_of((ends.0, ends.1, ends.2, ends.2), 0);
        let back = FlowRecord::peer_to_client(&path).inside();
        Self { second: Some(FlowRecord { deadline: u64::MAX, ..back }), ..Self::to_peer(&path) }
    }

    /// A packet's way but for the lookups. The data stays where it is, so only headers are written, somewhere else: the
    /// frame serves again.
    fn run(&self, out: &mut [u8]) -> Reason {
        let mut packet = Packet::default();
        let mut refused = packet::parse(&self.frame[..], &self.settings, &mut packet);
        if refused == Some(Reason::Stun) {
            refused = send::parse(&self.frame[..], &mut packet);
        } else {
            packet.peer = packet.key.src;
        }
        if let Some(reason) = refused {
            return reason;
        }
        let way = Way::any(&packet, &self.first, self.second.as_ref(), &self.hop);
        let reason = rewrite::decide(&packet, &way, 1);
        if !reason.forwards() {
            return reason;
        }
        let len = self.frame.len().wrapping_add_signed(rewrite::growth(&packet, &way) as isize);
        if rewrite::write(&mut out[..len], &packet, &way) { reason } else { Reason::Torn }
    }
}

fn between(src: Endpoint, dst: Endpoint, payload: impl Into<Vec<u8>>) -> Datagram {
    Datagram::new(SocketAddr::from(src), SocketAddr::from(dst), payload)
}

fn permission(path: &Path) -> Path {
    Path { channel: INDICATION, peer: Endpoint { port: Be16(0), ..path.peer }, ..*path }
}
