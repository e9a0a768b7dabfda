//! By which records and with what before its data a packet goes on, and how long that makes it.

use crate::addr::Be16;
use crate::channel;
use crate::checksum;
use crate::flow::FlowRecord;
use crate::next_hop::NextHop;
use crate::packet::Packet;
use crate::wire::Udp;
use crate::wire::stun::DataHead;

/// By which records and with what before its data a packet goes on.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The record whose key is the packet's.
    pub(crate) first: &'a FlowRecord,
    /// The record whose addresses the packet leaves with: the same, or the one of the second relayed address.
    pub(crate) last: &'a FlowRecord,
    pub(crate) hop: &'a NextHop,
    /// How many relayed transport addresses of ours are on the way.
    pub(crate) relays: u8,
    /// The packet is a Send indication.
    pub(crate) send: bool,
    pub(crate) put: Put,
    /// The new UDP length. Wider than the field: the largest packet grows past it, and is [`Reason::TooBig`].
    ///
    /// [`Reason::TooBig`]: crate::reason::Reason::TooBig
    pub(crate) udp_len: u32,
    /// Bytes of padding behind the client's data, which come off.
    pub(crate) padded: u16,
    /// The peer's port as a Data indication tells it; its address is [`Packet::peer`].
    pub(crate) peer_port: Be16,
    /// What a Data indication's transaction id is made of.
    pub(crate) random: u32,
}

/// What is put before the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put {
    Nothing,
    ChannelData,
    DataIndication,
}

impl Put {
    /// What is put before data that goes by this record of a channel, and its bytes.
    #[inline(always)]
    fn in_channel(record: &FlowRecord) -> (Self, u32) {
        if record.channel.0 != 0 { (Put::ChannelData, channel::HEADER_LEN as u32) } else { (Put::Nothing, 0) }
    }

    /// Zeros that are put after the data.
    #[inline(always)]
    fn padding(self, packet: &Packet) -> u16 {
        // RFC 8489 section 14: attributes end on multiples of four bytes.
        if self == Put::DataIndication { packet.data_len.wrapping_neg() & 3 } else { 0 }
    }
}

/// Bytes of a UDP header.
const UDP_LEN: u32 = size_of::<Udp>() as u32;

impl<'a> Way<'a> {
    /// The way of a channel, between client and peer.
    #[inline(always)]
    pub fn channel(packet: &Packet, record: &'a FlowRecord, hop: &'a NextHop) -> Self {
        let (put, put_len) = Put::in_channel(record);
        Self {
            first: record,
            last: record,
            hop,
            relays: 1,
            send: false,
            put,
            udp_len: UDP_LEN + put_len + u32::from(packet.data_len),
            padded: 0,
            peer_port: Be16(0),
            random: 0,
        }
    }

    /// Any way; `second` is the record of the second relayed address where `first` leads to one of ours. Where it
    /// [`tells_peer`](Self::tells_peer), [`Packet::peer`] is to be the peer as the client knows it.
    #[inline(always)]
    pub fn any(
        packet: &Packet,
        first: &'a FlowRecord,
        second: Option<&'a FlowRecord>,
        hop: &'a NextHop,
    ) -> Self {
        let (last, relays, peer_port) = match second {
            Some(second) => (second, 2, first.src_port),
            None => (first, 1, packet.peer_port),
        };
        let (put, put_len) = if last.channel.0 == channel::INDICATION.0 {
            let v4 = packet.peer.is_v4();
            let len = if v4 { size_of::<DataHead<u32>>() } else { size_of::<DataHead<[u32; 4]>>() };
            (Put::DataIndication, len as u32)
        } else {
            Put::in_channel(last)
        };
        let padding = u32::from(put.padding(packet));
        Self {
            first,
            last,
            hop,
            relays,
            send: packet.key.channel.0 == channel::INDICATION.0,
            put,
            udp_len: UDP_LEN + put_len + u32::from(packet.data_len) + padding,
            padded: packet.padding,
            peer_port,
            random: 0,
        }
    }

    /// Makes the transaction id of a Data indication. RFC 8489 section 5 has it random so that nobody answers a request in
    /// another's name; an indication has no answer.
    #[inline(always)]
    pub fn random(&mut self, random: u32) {
        self.random = random;
    }

    /// Whether the client gets the data in a Data indication.
    #[inline(always)]
    pub fn tells_peer(&self) -> bool {
        self.put == Put::DataIndication
    }

    /// The meters of the allocation that sends to a peer and of the one that receives for its client; 0 for none.
    #[inline(always)]
    pub fn meters(&self) -> (u32, u32) {
        if self.relays == 2 {
            (self.first.meter, self.last.meter)
        } else if self.first.to_peer() {
            (self.first.meter, 0)
        } else {
            (0, self.first.meter)
        }
    }

    /// Number of the next hop by which the packet is expected to have come; see [`FlowRecord::way_back`].
    #[inline(always)]
    pub fn way_back(&self) -> u32 {
        self.first.way_back
    }

    /// New UDP ports, source and destination.
    #[inline(always)]
    pub(crate) fn ports(&self, packet: &Packet) -> [Be16; 2] {
        // A permission is for all ports of the peer: the Send indication names one.
        let named = self.send && self.last.dst_port.0 == 0;
        [self.last.src_port, if named { packet.peer_port } else { self.last.dst_port }]
    }

    /// Zeros that are put after the data.
    #[inline(always)]
    pub(crate) fn padding(&self, packet: &Packet) -> u16 {
        self.put.padding(packet)
    }

    /// Whether every IP header on the way is IPv4.
    #[inline(always)]
    pub(crate) fn all_v4(&self, packet: &Packet) -> bool {
        packet.is_v4() && self.hop.is_v4() && (self.relays == 1 || self.first.dst.is_v4())
    }

    /// What addresses and ports add to the UDP checksum's sum.
    #[inline(always)]
    pub(crate) fn delta(&self, packet: &Packet) -> u32 {
        let mut delta = u32::from(self.first.udp_delta);
        if self.relays == 2 {
            // The first record's new addresses are the second one's old ones.
            delta += u32::from(self.last.udp_delta);
        }
        if self.send {
            delta += u32::from(packet.peer_port.0);
        }
        if self.put == Put::DataIndication {
            delta += checksum::removed(self.peer_port.0);
        }
        delta
    }
}
