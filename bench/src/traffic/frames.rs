//! The frames of each flow: as they are sent, and as they must arrive.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use relay_common::addr::{Be16, Endpoint, NetIp};
use relay_common::bench::arrival::head_of;
use relay_common::bench::traffic::{Expected, Outgoing, Stamp, WORDS};
use relay_common::wire::stun::kind;
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};
use turnpike_tests::frames::Datagram;

use super::{Macs, Wire};
use crate::figures::{Direction, Flow};

/// TTL and hop limit as frames are sent.
pub(super) const TTL: u8 = 64;

/// Bytes of Ethernet and UDP headers.
const ETHERNET: usize = 14;
const UDP: usize = 8;

/// Frames of all flows, all of one length.
#[derive(Debug)]
pub(super) struct Frames {
    /// How each is sent and must arrive.
    pub(super) flows: Vec<(Outgoing, Expected)>,
    /// A frame whose bytes behind the headers are those of all frames.
    pub(super) frame: Vec<u8>,
    /// Words of 64 bits that the headers take.
    pub(super) words: u32,
}

/// What a datagram carries application data in.
#[derive(Clone, Copy, Debug)]
enum Envelope {
    Nothing,
    Channel(u16),
    Send(SocketAddr),
    Data(SocketAddr),
}

/// A flow's packet, sent or arrived.
#[derive(Clone, Copy, Debug)]
struct Packet {
    src: SocketAddr,
    dst: SocketAddr,
    envelope: Envelope,
}

impl Frames {
    /// Frames of `len` bytes. Where data travels in Send indications, which are padded, up to three less.
    pub(super) fn new(
        flows: &[Flow],
        wire: Wire,
        direction: Direction,
        len: u16,
        macs: &Macs,
    ) -> Result<Self> {
        let packets = packets(flows, wire, direction)?;
        let least = least(&packets);
        ensure!(
            usize::from(len) >= least,
            "frames of {len} bytes are too short for the headers of these flows and a stamp: they take {least}"
        );
        let len = usize::from(len) - if padded(&packets) { (usize::from(len) + 2) % 4 } else { 0 };
        let words = words(&packets);
        let mut frame = Vec::new();
        let flows = packets.iter().map(|(sent, arrived)| {
            let headers = sent.headers();
            // Without the stamp, which the generator writes and adds to the sum.
            let mut data = vec![0; Stamp::LEN];
            data.extend((headers + Stamp::LEN..len).map(pattern));
            frame = sent.frame(macs, &data);
            debug_assert_eq!(frame.len(), len);
            (sent.outgoing(&frame), arrived.expected(macs, &data))
        });
        let flows = flows.collect();
        Ok(Self { flows, frame, words })
    }
}

/// The shortest frame that these flows' headers and a stamp fit into.
pub fn least_frame(flows: &[Flow], wire: Wire, direction: Direction) -> Result<u16> {
    Ok(least(&packets(flows, wire, direction)?) as u16)
}

fn least(packets: &[(Packet, Packet)]) -> usize {
    let longest = packets.iter().map(|(sent, _)| sent.headers()).max().unwrap_or(0);
    let least = (longest + Stamp::LEN).max(8 * words(packets) as usize);
    if padded(packets) { least + (6 - least % 4) % 4 } else { least }
}

/// Whether there are Send indications. Headers of all kinds are a multiple of four and two bytes long, and so are frames
/// with data that is not padded.
fn padded(packets: &[(Packet, Packet)]) -> bool {
    packets.iter().any(|(sent, _)| matches!(sent.envelope, Envelope::Send(_)))
}

/// Words that headers take. Where they differ from flow to flow, a frame's memory may have been used for longer ones and
/// their stamp, which have to be written over.
fn words(packets: &[(Packet, Packet)]) -> u32 {
    let headers = packets.iter().map(|(sent, _)| sent.headers());
    let (least, most) = (headers.clone().min().unwrap_or(0), headers.max().unwrap_or(0));
    let written = if least == most { most } else { most + Stamp::LEN };
    written.div_ceil(8) as u32
}

/// What is sent and what must arrive of each flow.
fn packets(flows: &[Flow], wire: Wire, direction: Direction) -> Result<Vec<(Packet, Packet)>> {
    // For relay to relay: the other allocation, by its relayed transport address and its peer's.
    let others: HashMap<_, _> = flows.iter().map(|flow| ((flow.relayed, flow.peer), flow)).collect();
    let each = flows.iter().map(|flow| {
        let Flow { client, listener, relayed, peer, channel } = *flow;
        let packet = |src, dst, envelope| Packet { src, dst, envelope };
        let by_channel_or = |indication| match channel {
            0 => indication,
            number => Envelope::Channel(number),
        };
        if wire == Wire::Forward {
            ensure!(
                client.is_ipv4() == peer.is_ipv4() && direction != Direction::RelayToRelay,
                "the kernel forwards between a client and a peer of one family only; {client} and {peer} with a relay \
                 between them is nothing for it"
            );
            let (src, dst) = if direction == Direction::ToPeer { (client, peer) } else { (peer, client) };
            let forwarded = packet(src, dst, Envelope::Nothing);
            return Ok((forwarded, forwarded));
        }
        let sent = match direction {
            Direction::ToPeer | Direction::RelayToRelay => {
                packet(client, listener, by_channel_or(Envelope::Send(peer)))
            }
            Direction::ToClient => packet(peer, relayed, Envelope::Nothing),
        };
        let arrived = match (wire, direction) {
            (Wire::Echo | Wire::Forward, _) => sent,
            (Wire::Turn, Direction::ToPeer) => packet(relayed, peer, Envelope::Nothing),
            (Wire::Turn, Direction::ToClient) => {
                packet(listener, client, by_channel_or(Envelope::Data(peer)))
            }
            (Wire::Turn, Direction::RelayToRelay) => {
                let other = others.get(&(peer, relayed)).with_context(|| {
                    format!("no flow has the relayed address {peer} and the peer {relayed}: both clients must be there")
                })?;
                let envelope = match other.channel {
                    0 => Envelope::Data(relayed),
                    number => Envelope::Channel(number),
                };
                packet(other.listener, other.client, envelope)
            }
        };
        Ok((sent, arrived))
    });
    each.collect()
}

/// The byte of application data at this place of a frame as it is sent: no two in a row are the same, nor two words.
fn pattern(at: usize) -> u8 {
    (at * 167 + 13) as u8 ^ (at >> 8) as u8
}

impl Packet {
    /// Bytes of the frame before the application data.
    fn headers(&self) -> usize {
        let address = |peer: &SocketAddr| if peer.is_ipv4() { 8 } else { 20 };
        let envelope = match &self.envelope {
            Envelope::Nothing => 0,
            Envelope::Channel(_) => 4,
            // Header, XOR-PEER-ADDRESS, and DATA up to its value.
            Envelope::Send(peer) | Envelope::Data(peer) => 20 + 4 + address(peer) + 4,
        };
        self.udp_at() + UDP + envelope
    }

    fn udp_at(&self) -> usize {
        ETHERNET + if self.src.is_ipv4() { 20 } else { 40 }
    }

    fn frame(&self, macs: &Macs, data: &[u8]) -> Vec<u8> {
        let payload = match self.envelope {
            Envelope::Nothing => data.to_vec(),
            Envelope::Channel(number) => turnpike_tests::frames::channel_data(number, data, 0),
            Envelope::Send(peer) => indication(Method::SEND, peer, data),
            Envelope::Data(peer) => indication(Method::DATA, peer, data),
        };
        let mut datagram = Datagram::new(self.src, self.dst, payload);
        datagram.macs = (macs.relay, macs.own);
        datagram.ttl = TTL;
        datagram.frame()
    }

    fn outgoing(&self, frame: &[u8]) -> Outgoing {
        let mut start = [0; 8 * WORDS];
        let len = frame.len().min(start.len());
        start[..len].copy_from_slice(&frame[..len]);
        let word = |i: usize| u64::from_ne_bytes(std::array::from_fn(|j| start[8 * i + j]));
        Outgoing {
            sequence: 0,
            sum: self.sum(frame),
            stamp_at: self.headers() as u32,
            checksum_at: (self.udp_at() + 6) as u32,
            words: std::array::from_fn(word),
            zero: [0; 6],
        }
    }

    fn expected(&self, macs: &Macs, data: &[u8]) -> Expected {
        let frame = self.frame(macs, data);
        let at = self.udp_at() + UDP;
        let head = match self.envelope {
            Envelope::Nothing => 0,
            Envelope::Channel(number) => head_of(Be16::new(number), Be16::new(data.len() as u16)),
            Envelope::Send(_) => head_of(kind::SEND_INDICATION, Be16(0)),
            Envelope::Data(_) => head_of(kind::DATA_INDICATION, Be16(0)),
        };
        let peer = match self.envelope {
            Envelope::Send(peer) | Envelope::Data(peer) => Endpoint::from(peer),
            Envelope::Nothing | Envelope::Channel(_) => Endpoint::default(),
        };
        let udp_len = match self.envelope {
            Envelope::Send(_) | Envelope::Data(_) => 0,
            Envelope::Nothing | Envelope::Channel(_) => (frame.len() - at + UDP) as u16,
        };
        let [src, dst] = [self.src, self.dst].map(Endpoint::from);
        Expected {
            src: src.ip,
            dst: dst.ip,
            src_port: src.port,
            dst_port: dst.port,
            head,
            udp_len,
            data_len: data.len() as u16,
            sum: self.sum(&frame),
            next: 0,
            arrived: 0,
            reordered: 0,
            corrupt: 0,
            peer: if udp_len == 0 { peer.ip } else { NetIp::default() },
            peer_port: peer.port,
            zero: [0; 23],
        }
    }

    /// The sum that a frame's UDP checksum is of. Of the two forms of zero the one that sums have.
    fn sum(&self, frame: &[u8]) -> u32 {
        let at = self.udp_at() + 6;
        match !u16::from_ne_bytes([frame[at], frame[at + 1]]) {
            0 => 0xffff,
            sum => sum.into(),
        }
    }
}

fn indication(method: Method, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = MessageType::new(method, Class::Indication);
    let mut message = Builder::new(&mut out, kind, TransactionId(*b"transactions"));
    message.xor_peer_address(peer).data(data).expect("frames are short enough");
    out
}
