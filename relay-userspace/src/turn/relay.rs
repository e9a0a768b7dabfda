//! Data both ways: ChannelData (RFC 8656 sections 12.5 to 12.7), Send and Data indications (section 11). Nothing here
//! takes memory for a packet; expired state is gone before any of this runs.

use std::ops::Range;

use rand::RngExt;
use relay_common::channel::HEADER_LEN;
use relay_common::reason::Reason;

use super::allocations::{ChannelState, Slot};
use super::core::Core;
use super::io::{Output, Outputs};
use super::metering::Direction;
use super::peers::may_send_to;
use super::request::unknown;
use super::types::{ChannelNumber, FiveTuple, PeerAddr, RelayAddr};
use crate::stun::{Builder, Class, Message, MessageType, Method, TransactionId};

impl Core {
    /// ChannelData from a client.
    pub(super) fn channel_data(&mut self, five_tuple: FiveTuple, datagram: &[u8], out: &mut Outputs) {
        let effect = self.relay_channel_data(&five_tuple, datagram, out);
        out.items.push(effect.unwrap_or_else(Output::Dropped));
    }

    /// A Send indication from a client.
    pub(super) fn send(&mut self, five_tuple: FiveTuple, message: &Message<'_>, out: &mut Outputs) {
        let effect = self.relay_send(&five_tuple, message, out);
        out.items.push(effect.unwrap_or_else(Output::Dropped));
    }

    /// A datagram at a relayed transport address.
    pub(super) fn peer_datagram(
        &mut self,
        relayed: RelayAddr,
        peer: PeerAddr,
        datagram: &[u8],
        out: &mut Outputs,
    ) {
        let effect = self.relay_to_client(relayed, peer, datagram, &mut out.bytes);
        out.items.push(effect.unwrap_or_else(Output::Dropped));
    }

    /// The allocation that data comes for, which may be the first after the client moved.
    fn data_from(&mut self, five_tuple: &FiveTuple, out: &mut Outputs) -> Result<Slot, Reason> {
        let slot = self.allocations.of_client(five_tuple).ok_or(Reason::NoAllocation)?;
        if self.allocations.get(slot).five_tuple != *five_tuple {
            self.arrived(slot, out);
        }
        Ok(slot)
    }

    fn relay_channel_data(
        &mut self,
        five_tuple: &FiveTuple,
        datagram: &[u8],
        out: &mut Outputs,
    ) -> Result<Output, Reason> {
        let (number, payload) = read_channel_data(datagram)?;
        let slot = self.data_from(five_tuple, out)?;
        let bytes = payload.len();
        let effect = self.to_peer_by_channel(slot, number, payload);
        self.counted(slot, Direction::ToPeer, bytes, effect)
    }

    fn to_peer_by_channel(
        &self,
        slot: Slot,
        number: ChannelNumber,
        payload: Range<usize>,
    ) -> Result<Output, Reason> {
        let allocation = self.allocations.get(slot);
        let channel = allocation.channels.get(&number).ok_or(Reason::NoBinding)?;
        allocation.permissions.get(&channel.peer.0.ip()).ok_or(Reason::NoPermission)?;
        if channel.state != ChannelState::Bound {
            return Err(Reason::Expired);
        }
        let relayed = allocation.relayed_to(channel.peer.0.ip()).ok_or(Reason::NoBinding)?;
        if !allocation.has_room(Direction::ToPeer, self.now, payload.len()) {
            return Err(Reason::RateLimited);
        }
        Ok(Output::ToPeer { relayed, peer: channel.peer, payload, dont_fragment: false })
    }

    /// Writes down for the allocation what becomes of its data.
    fn counted(
        &mut self,
        slot: Slot,
        direction: Direction,
        bytes: usize,
        effect: Result<Output, Reason>,
    ) -> Result<Output, Reason> {
        self.allocations.get_mut(slot).usage.of(direction).note(effect.is_ok(), bytes);
        effect
    }

    fn relay_send(
        &mut self,
        five_tuple: &FiveTuple,
        message: &Message<'_>,
        out: &mut Outputs,
    ) -> Result<Output, Reason> {
        // RFC 8489 section 6.3.2: an indication with unknown attributes that must be understood is discarded.
        if unknown(message).next().is_some() {
            return Err(Reason::Unexpected);
        }
        let slot = self.data_from(five_tuple, out)?;
        // There are no datagrams in a TCP allocation: RFC 6062 section 3 has connections carry its data.
        if self.allocations.get(slot).tcp.is_some() {
            return Err(Reason::Unexpected);
        }
        let data = message.data().ok_or(Reason::Malformed);
        let bytes = data.map_or(0, <[u8]>::len);
        let effect = data.and_then(|data| self.to_peer_by_send(slot, five_tuple, message, data));
        self.counted(slot, Direction::ToPeer, bytes, effect)
    }

    fn to_peer_by_send(
        &self,
        slot: Slot,
        five_tuple: &FiveTuple,
        message: &Message<'_>,
        data: &[u8],
    ) -> Result<Output, Reason> {
        let allocation = self.allocations.get(slot);
        let peer = message.xor_peer_address().ok().flatten().ok_or(Reason::Malformed)?;
        let peer = self.canonical(peer);
        allocation.permissions.get(&peer.0.ip()).ok_or(Reason::NoPermission)?;
        if !may_send_to(&allocation.rules, peer) {
            return Err(Reason::ForbiddenPeer);
        }
        let relayed = allocation.relayed_to(peer.0.ip()).ok_or(Reason::NoPermission)?;
        if !allocation.has_room(Direction::ToPeer, self.now, data.len()) {
            return Err(Reason::RateLimited);
        }
        let start = data.as_ptr().addr() - message.as_bytes().as_ptr().addr();
        let payload = start..start + data.len();
        // RFC 8656 section 14 has DONT-FRAGMENT set DF from IPv4 to IPv4; where one side is IPv6 it MUST be ignored
        // (section 13).
        let dont_fragment = message.dont_fragment() && five_tuple.client.0.is_ipv4() && peer.0.is_ipv4();
        Ok(Output::ToPeer { relayed, peer, payload, dont_fragment })
    }

    fn relay_to_client(
        &mut self,
        relayed: RelayAddr,
        peer: PeerAddr,
        datagram: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<Output, Reason> {
        let slot = self.allocations.of_relayed(&relayed).ok_or(Reason::NoAllocation)?;
        let effect = self.relay_from_peer(slot, peer, datagram, bytes);
        self.counted(slot, Direction::ToClient, datagram.len(), effect)
    }

    fn relay_from_peer(
        &mut self,
        slot: Slot,
        peer: PeerAddr,
        datagram: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<Output, Reason> {
        let allocation = self.allocations.get(slot);
        // RFC 8656 section 9: by address, whatever the port.
        allocation.permissions.get(&peer.0.ip()).ok_or(Reason::NoPermission)?;
        if allocation.is_away() {
            return Err(Reason::ClientAway);
        }
        if !allocation.has_room(Direction::ToClient, self.now, datagram.len()) {
            return Err(Reason::RateLimited);
        }
        let five_tuple = allocation.five_tuple;
        let start = bytes.len();
        if let Some(number) = allocation.bound_channel(&peer) {
            let length = u16::try_from(datagram.len()).map_err(|_| Reason::TooBig)?;
            bytes.extend(number.get().to_be_bytes());
            bytes.extend(length.to_be_bytes());
            return Ok(Output::ToClient { five_tuple, head: start..bytes.len(), body: 0..datagram.len() });
        }

        let id = TransactionId(self.rng.random());
        let mut data = Builder::new(bytes, MessageType::new(Method::DATA, Class::Indication), id);
        // DATA may need padding after it, so the payload is copied.
        let data = data.xor_peer_address(self.public(peer.0)).data(datagram).map_err(|_| Reason::TooBig)?;
        Ok(Output::ToClient { five_tuple, head: data.finish(), body: 0..0 })
    }
}

/// Channel number and where the payload lies. Over a stream, padding was needed to find the end of the message; over UDP it
/// is not needed and must be tolerated (RFC 8656 section 12.5); anything longer than padding is no ChannelData.
fn read_channel_data(datagram: &[u8]) -> Result<(ChannelNumber, Range<usize>), Reason> {
    let (&[n0, n1, l0, l1], rest) =
        datagram.split_first_chunk::<HEADER_LEN>().ok_or(Reason::ChannelDataLength)?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if length > rest.len() || rest.len() > length.next_multiple_of(4) {
        return Err(Reason::ChannelDataLength);
    }
    let number = ChannelNumber::new(u16::from_be_bytes([n0, n1])).ok_or(Reason::Malformed)?;
    Ok((number, HEADER_LEN..HEADER_LEN + length))
}
