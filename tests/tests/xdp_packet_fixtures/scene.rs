//! One binding between a client and a peer, the program that carries it, and what is asserted of a packet.

use std::net::SocketAddr;

use relay_common::channel::INDICATION;
use relay_common::flow::{FlowRecord, Path};
use relay_common::reason::Reason;
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::{INGRESS, Program, Run, Verdict, next_hop, path};

pub(crate) const CHANNEL: u16 = 0x4001;
pub(crate) const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
pub(crate) const NIC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
pub(crate) const MTU: u16 = 1500;

/// Next hops of the scene, by number: one a family, an unresolved one, and some with tags.
pub(crate) const HOP_V4: u32 = 1;
pub(crate) const HOP_V6: u32 = 2;
pub(crate) const HOP_UNRESOLVED: u32 = 3;
pub(crate) const HOP_VLAN: u32 = 4;
pub(crate) const HOP_QINQ: u32 = 5;
pub(crate) const HOP_NO_DEVICE: u32 = 6;

pub(crate) const VLAN_7: (u16, u16) = (0x8100, 7);
pub(crate) const SERVICE_9: (u16, u16) = (0x88a8, 9);

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

/// One binding between a client and a peer, and the program that carries it.
pub(crate) struct Scene {
    pub(crate) program: Program,
    pub(crate) client: SocketAddr,
    pub(crate) listener: SocketAddr,
    pub(crate) relayed: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) to_peer: u32,
    pub(crate) to_client: u32,
}

impl Scene {
    pub(crate) fn v4() -> Self {
        Self::v4_on(Program::load())
    }

    pub(crate) fn v4_on(program: Program) -> Self {
        Self::on(program, "198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000")
    }

    pub(crate) fn v6() -> Self {
        let (client, peer) = ("[2001:db8::7]:5000", "[2001:db8:2::9]:6000");
        Self::between(client, "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", peer)
    }

    pub(crate) fn between(client: &str, listener: &str, relayed: &str, peer: &str) -> Self {
        Self::on(Program::load(), client, listener, relayed, peer)
    }

    fn on(mut program: Program, client: &str, listener: &str, relayed: &str, peer: &str) -> Self {
        for (index, hop) in [
            (HOP_V4, next_hop(INGRESS, MTU, GATEWAY, NIC, &[], 0x0800)),
            (HOP_V6, next_hop(INGRESS, MTU, GATEWAY, NIC, &[], 0x86dd)),
            (HOP_UNRESOLVED, next_hop(0, MTU, GATEWAY, NIC, &[], 0x0800)),
            (HOP_VLAN, next_hop(INGRESS, MTU, GATEWAY, NIC, &[VLAN_7], 0x0800)),
            (HOP_QINQ, next_hop(INGRESS, MTU, GATEWAY, NIC, &[SERVICE_9, VLAN_7], 0x0800)),
            (HOP_NO_DEVICE, next_hop(4_000_000, MTU, GATEWAY, NIC, &[], 0x0800)),
        ] {
            program.next_hop(index, hop);
        }
        let (client, listener, relayed, peer) = (addr(client), addr(listener), addr(relayed), addr(peer));
        program.listener(listener);
        program.relay_address(relayed.ip());
        let mut scene = Self { program, client, listener, relayed, peer, to_peer: 0, to_client: 0 };
        scene.to_peer = scene.program.insert(scene.client_to_peer());
        scene.to_client = scene.program.insert(scene.peer_to_client());
        scene
    }

    pub(crate) fn path(&self) -> Path {
        path(self.client, self.listener, self.relayed, self.peer, CHANNEL)
    }

    pub(crate) fn client_to_peer(&self) -> FlowRecord {
        alive(FlowRecord::client_to_peer(&self.path()))
    }

    pub(crate) fn peer_to_client(&self) -> FlowRecord {
        alive(FlowRecord::peer_to_client(&self.path()))
    }

    /// Replaces both records after `change`.
    pub(crate) fn change(&mut self, change: impl Fn(&mut FlowRecord)) {
        for (number, mut record) in
            [(self.to_peer, self.client_to_peer()), (self.to_client, self.peer_to_client())]
        {
            change(&mut record);
            self.program.rewrite(number, record);
        }
    }

    pub(crate) fn client_sends(&self, data: &[u8]) -> Datagram {
        Datagram::new(self.client, self.listener, channel_data(CHANNEL, data, 0))
    }

    pub(crate) fn peer_sends(&self, data: &[u8]) -> Datagram {
        Datagram::new(self.peer, self.relayed, data)
    }

    /// What the peer must see of `data` that came as `seen`.
    pub(crate) fn at_peer(&self, seen: &Datagram, data: &[u8]) -> Datagram {
        self.rewritten(seen, Datagram::new(self.relayed, self.peer, data))
    }

    /// What the client must see.
    pub(crate) fn at_client(&self, seen: &Datagram, data: &[u8]) -> Datagram {
        self.rewritten(seen, Datagram::new(self.listener, self.client, channel_data(CHANNEL, data, 0)))
    }

    pub(crate) fn rewritten(&self, seen: &Datagram, out: Datagram) -> Datagram {
        Datagram {
            macs: (GATEWAY, NIC),
            ttl: seen.ttl - 1,
            tos: seen.tos,
            dont_fragment: seen.dont_fragment,
            id: if seen.dont_fragment { 0 } else { seen.id },
            checksum: seen.checksum,
            ..out
        }
    }

    #[track_caller]
    pub(crate) fn sent(&mut self, frame: &Datagram, verdict: Verdict, out: &Datagram, reason: Reason) {
        let run = self.program.run(&frame.frame());
        assert_eq!((run.verdict, &run.counted[..]), (verdict, &[(reason, 1)][..]));
        assert_eq!(&Datagram::read(&run.frame), out);
    }

    /// As [`sent`](Self::sent), for what leaves as a Data indication from `peer`, whose transaction id is random.
    #[track_caller]
    pub(crate) fn told(
        &mut self,
        frame: &[u8],
        seen: &Datagram,
        ends: (SocketAddr, SocketAddr),
        (peer, data): (SocketAddr, &[u8]),
        reason: Reason,
    ) {
        let run = self.program.run(frame);
        assert_eq!((run.verdict, &run.counted[..]), (Verdict::Tx, &[(reason, 1)][..]));
        let out = Datagram::read(&run.frame);
        let payload = data_from(peer, data, &out.payload);
        let expected = self.rewritten(seen, Datagram::new(ends.0, ends.1, payload));
        assert_eq!(out, expected);
        assert_eq!(run.frame.len(), expected.frame().len(), "nothing lies behind the packet");
    }

    #[track_caller]
    pub(crate) fn tx(&mut self, frame: &Datagram, out: &Datagram, reason: Reason) {
        self.sent(frame, Verdict::Tx, out, reason);
    }

    #[track_caller]
    pub(crate) fn passed(&mut self, frame: &[u8], reason: Reason) {
        self.untouched(frame, Verdict::Pass, reason);
    }

    #[track_caller]
    pub(crate) fn dropped(&mut self, frame: &[u8], reason: Reason) {
        self.untouched(frame, Verdict::Drop, reason);
    }

    #[track_caller]
    pub(crate) fn untouched(&mut self, frame: &[u8], verdict: Verdict, reason: Reason) {
        let run = self.program.run(frame);
        assert_eq!(run, Run { verdict, frame: frame.to_vec(), counted: vec![(reason, 1)] });
    }
}

/// A record that lives for ever behind the next hop of its family, and whose sender is reached by that of his.
pub(crate) fn alive(record: FlowRecord) -> FlowRecord {
    let hop = |is_v4| if is_v4 { HOP_V4 } else { HOP_V6 };
    let (next_hop, way_back) = (hop(record.dst.is_v4()), hop(record.key.src.is_v4()));
    FlowRecord { deadline: u64::MAX, next_hop, way_back, ..record }
}

/// The records of a permission: Send indications to the peer's address, and its datagrams to the client.
pub(crate) fn permission(
    client: SocketAddr,
    listener: SocketAddr,
    relayed: SocketAddr,
    peer: SocketAddr,
) -> [FlowRecord; 2] {
    let peer = SocketAddr::new(peer.ip(), 0);
    let path = Path { channel: INDICATION, ..path(client, listener, relayed, peer, 0) };
    [alive(FlowRecord::client_to_peer(&path)), alive(FlowRecord::peer_to_client(&path))]
}

/// A Send indication with the attributes that `fill` writes.
pub(crate) fn send_of(fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = MessageType::new(Method::SEND, Class::Indication);
    fill(&mut Builder::new(&mut out, kind, TransactionId(*b"transactions")));
    out
}

/// Ends a chain of attributes in a closure for [`send_of`].
pub(crate) fn done(_: &mut Builder<'_>) {}

/// The usual Send indication.
pub(crate) fn send_to(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    send_of(|b| {
        b.xor_peer_address(peer).data(data).expect("it fits");
    })
}

/// The Data indication of these bytes' transaction id: what the server's other half would make of it.
pub(crate) fn data_from(peer: SocketAddr, data: &[u8], like: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = MessageType::new(Method::DATA, Class::Indication);
    let id = TransactionId(like[8..20].try_into().expect("a header"));
    Builder::new(&mut out, kind, id).xor_peer_address(peer).data(data).expect("it fits");
    out
}
