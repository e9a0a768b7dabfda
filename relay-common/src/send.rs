//! Reading a Send indication (RFC 8656 section 11): the peer it names, and where its data lies.
//!
//! Nothing is taken here that the protocol core would refuse. What this cannot tell for certain, or would take long to
//! read, goes up as what it is, a STUN message. ([`stun`](crate::stun) says why it has another walk over attributes.)

use crate::addr::Endpoint;
use crate::addr::{Be16, NetIp};
use crate::checksum;
use crate::flow::FlowKey;
use crate::packet::{LONGEST, Packet};
use crate::reason::Reason;
use crate::wire::stun::{Attribute, Stun, XorAddress, attribute, family, kind};
use crate::wire::{Frame, Ipv4, Udp, Word};

/// How many attributes are walked over: a client sends two to four.
const MOST_ATTRIBUTES: usize = 6;

/// Longest value of an attribute that is skipped, in bytes: it must be read, because the UDP checksum covers it.
const LONGEST_SKIPPED: usize = 32;

/// Bytes that all lengths in a message are multiples of.
const ALIGNMENT: usize = 4;

/// Reads what [`packet::parse`](crate::packet::parse) called [`Reason::Stun`]. `None` when it is a Send indication: the
/// flow table can then be asked, and a record that is found is to be compared with the peer as well. Otherwise why the
/// packet goes up as it is, and `packet` is as it was.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Option<Reason> {
    let start = packet.payload_at();
    let Some(stun) = frame.header::<Stun>(start) else { return Some(Reason::Stun) };
    let len = usize::from({ stun.len }.get());
    let id = stun.id;
    let payload = packet.udp_len.wrapping_sub(size_of::<Udp>() as u16);
    if { stun.kind }.0 != kind::SEND_INDICATION.0 || !stun.is_message(payload) {
        return Some(Reason::Stun);
    }
    let mut at = start + size_of::<Stun>();
    let end = at + len;
    let mut sum = stun.sum();
    let (mut head, mut data_len) = (0, 0);
    let mut peer = NetIp::default();
    let mut port = Be16(0);
    let mut fragment = packet.fragment;
    let mut fingerprint = false;
    for _ in 0..MOST_ATTRIBUTES {
        if at >= end {
            break;
        }
        // RFC 8489 section 14.7: what follows FINGERPRINT is not looked at, by us or by the core.
        if fingerprint || at > LONGEST {
            return Some(Reason::Stun);
        }
        let Some(header) = frame.header::<Attribute>(at) else { return Some(Reason::Stun) };
        let kind = header.kind;
        let len = usize::from({ header.len }.get());
        let padded = (len + ALIGNMENT - 1) & !(ALIGNMENT - 1);
        sum += header.sum();
        at += size_of::<Attribute>();
        if padded > LONGEST || at + padded > end {
            return Some(Reason::Stun);
        }
        if kind.0 == attribute::XOR_PEER_ADDRESS.0 {
            // The first counts (RFC 8489 section 14), but who sends two may mean something else.
            if port.0 != 0 {
                return Some(Reason::Stun);
            }
            if len == size_of::<XorAddress<u32>>() {
                let Some(value) = frame.header::<XorAddress<u32>>(at) else { return Some(Reason::Stun) };
                if value.family != family::V4 {
                    return Some(Reason::Stun);
                }
                peer = value.plain_ip();
                port = value.plain_port();
                sum += value.sum();
            } else if len == size_of::<XorAddress<[u32; 4]>>() {
                let Some(value) = frame.header::<XorAddress<[u32; 4]>>(at) else { return Some(Reason::Stun) };
                peer = value.plain_ip(&id);
                port = value.plain_port();
                sum += value.sum();
                // An IPv4-mapped address is no address of IPv4 to the core.
                if value.family != family::V6 || peer.is_v4() {
                    return Some(Reason::Stun);
                }
            } else {
                return Some(Reason::Stun);
            }
            if port.0 == 0 {
                return Some(Reason::Stun);
            }
        } else if kind.0 == attribute::DATA.0 {
            if head != 0 {
                return Some(Reason::Stun);
            }
            head = at - start;
            data_len = len;
            let odd = len % ALIGNMENT;
            if odd != 0 {
                let Some(last) = frame.header::<Word>(at + padded - ALIGNMENT) else {
                    return Some(Reason::Stun);
                };
                sum += checksum::word(last.0 & (u32::MAX >> (8 * odd)).to_be());
            }
        } else if kind.0 == attribute::DONT_FRAGMENT.0 && len == 0 {
            // RFC 8656 section 13: to be ignored where either side is IPv6, whose header has no place for it.
            fragment = Ipv4::DONT_FRAGMENT;
        } else if kind.get() >= attribute::FIRST_OPTIONAL {
            fingerprint = kind.0 == attribute::FINGERPRINT.0;
            if padded > LONGEST_SKIPPED {
                return Some(Reason::Stun);
            }
            let mut skipped = 0;
            while skipped < LONGEST_SKIPPED {
                if skipped >= padded {
                    break;
                }
                let Some(word) = frame.header::<Word>(at + skipped) else { return Some(Reason::Stun) };
                sum += checksum::word(word.0);
                skipped += ALIGNMENT;
            }
        } else {
            return Some(Reason::Stun);
        }
        at += padded;
    }
    if at != end || head == 0 || port.0 == 0 {
        return Some(Reason::Stun);
    }
    packet.data_at = (start + head) as u16;
    packet.data_len = data_len as u16;
    packet.removed = checksum::removed(checksum::fold(sum));
    packet.fragment = fragment;
    packet.peer = peer;
    packet.peer_port = port;
    let client = Endpoint { ip: packet.key.src, port: packet.key.src_port };
    let listener = Endpoint { ip: packet.key.dst, port: packet.key.dst_port };
    packet.key = FlowKey::send(client, listener, &peer);
    None
}
