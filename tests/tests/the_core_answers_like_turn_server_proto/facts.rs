//! What a client should be able to count on, worked out from the answers alone and from the times of RFC 8656: which
//! situation a datagram meets.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use turnpike::stun::{AddressFamily, AttributeType, Class, Message, Method};
use turnpike::time::Timestamp;

use crate::effect::Done;
use crate::party::{About, Defect};

/// RFC 8656 section 9.
const PERMISSION: Duration = Duration::from_secs(300);
/// RFC 8656 section 12.
const CHANNEL: Duration = Duration::from_secs(600);
/// RFC 8656 section 12: before a number or a peer may be bound otherwise.
const REST: Duration = Duration::from_secs(300);
/// RFC 8489 section 6.3.1.
const REMEMBERED: Duration = Duration::from_secs(40);

/// An attribute that no RFC knows and that must be understood.
pub(crate) const STRANGE: AttributeType = AttributeType(0x7abc);

/// Of one client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The user of the allocation.
    pub user: Option<String>,
    /// Its relayed transport addresses.
    pub relayed: Vec<SocketAddr>,
    /// When each family's ends.
    pub leases: HashMap<bool, Timestamp>,
    /// The request that made it.
    pub made_by: Option<Vec<u8>>,
    /// The request that ended it, the one that had made it, and when.
    pub ended: Option<(Vec<u8>, Vec<u8>, Timestamp)>,
    /// Some request from here was authenticated since the client was last deleted.
    pub known: bool,
    pub channels: Vec<Bound>,
    pub permissions: HashMap<IpAddr, Timestamp>,
    /// Permissions that end at this very instant.
    pub just_ended: Vec<IpAddr>,
    /// Peers of a CreatePermission request that was refused because of a later one.
    pub refused: HashMap<IpAddr, Timestamp>,
}

/// A channel, bound until then and resting thereafter.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub number: u16,
    pub peer: SocketAddr,
    pub until: Timestamp,
}

/// A datagram and what became of it.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub now: Timestamp,
    pub bytes: &'a [u8],
    /// It, if it is a message from a client.
    pub message: Option<Message<'a>>,
    pub about: &'a About,
    pub facts: &'a Facts,
    /// The peer that sent it.
    pub peer: Option<SocketAddr>,
    pub ours: &'a Done,
    pub theirs: &'a Done,
}

impl Facts {
    /// Forgets what has ended. What ends at this very instant has.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let just = self.permissions.iter().filter(|(_, until)| **until == now).map(|(ip, _)| *ip);
        self.just_ended = just.collect();
        self.permissions.retain(|_, until| *until > now);
        self.refused.retain(|_, until| *until > now);
        self.channels.retain(|c| c.until + REST > now);
        let over: Vec<_> = self.leases.iter().filter(|(_, end)| **end <= now).map(|(v4, _)| *v4).collect();
        over.into_iter().for_each(|v4| self.end_family(v4));
        self.ended = self.ended.take().filter(|(_, _, at)| *at + REMEMBERED > now);
    }

    /// When its permissions, channels, their rests and its relayed transport addresses end.
    pub(crate) fn deadlines(&self) -> Vec<Timestamp> {
        let channels = self.channels.iter().flat_map(|c| [c.until, c.until + REST]);
        channels.chain(self.permissions.values().chain(self.leases.values()).copied()).collect()
    }

    /// Takes over what an answer says.
    pub(crate) fn learn(&mut self, s: &Situation<'_>) {
        let Some(message) = s.message.filter(|m| m.class() == Class::Request) else { return };
        self.known |= s.about.defect == Defect::None && message.method() != Method::BINDING;
        let peers: Vec<_> = message.xor_peer_addresses().filter_map(Result::ok).collect();
        match (message.method(), s.ours.answer()) {
            (Method::ALLOCATE, Some(answer)) if answer.code == 0 && self.user.is_none() => {
                let end = s.now + answer.lifetime.unwrap_or_default();
                self.user = Some(s.about.user.clone());
                self.relayed = answer.relayed.iter().copied().collect();
                self.leases = self.relayed.iter().map(|relayed| (relayed.is_ipv4(), end)).collect();
                self.made_by = Some(s.bytes.to_vec());
            }
            (Method::REFRESH, Some(answer)) if answer.code == 0 && !self.leases.is_empty() => {
                let asked = message.requested_address_family().ok().flatten();
                let lifetime = answer.lifetime.unwrap_or_default();
                for v4 in [true, false] {
                    let family = if v4 { AddressFamily::V4 } else { AddressFamily::V6 };
                    if asked.is_some_and(|asked| asked != family) || !self.leases.contains_key(&v4) {
                        continue;
                    }
                    self.leases.insert(v4, s.now + lifetime);
                    if lifetime.is_zero() {
                        let made_by = self.made_by.clone().unwrap_or_default();
                        self.end_family(v4);
                        self.ended = Some((s.bytes.to_vec(), made_by, s.now));
                    }
                }
            }
            (Method::CREATE_PERMISSION, Some(answer)) => {
                let permitted = if answer.code == 0 { &mut self.permissions } else { &mut self.refused };
                if answer.code == 0 || answer.code == 443 {
                    let until = s.now + PERMISSION;
                    let served = |peer: &&SocketAddr| self.leases.contains_key(&peer.is_ipv4());
                    permitted.extend(peers.iter().take_while(served).map(|peer| (peer.ip(), until)));
                }
            }
            (Method::CHANNEL_BIND, Some(answer)) if answer.code == 0 => {
                let (Ok(Some(number)), [peer, ..]) = (message.channel_number(), &peers[..]) else { return };
                self.channels.retain(|c| c.number != number);
                self.channels.push(Bound { number, peer: *peer, until: s.now + CHANNEL });
                self.permissions.insert(peer.ip(), s.now + PERMISSION);
            }
            _ => {}
        }
    }

    fn end_family(&mut self, v4: bool) {
        self.leases.remove(&v4);
        self.relayed.retain(|relayed| relayed.is_ipv4() != v4);
        self.channels.retain(|c| c.peer.is_ipv4() != v4);
        self.permissions.retain(|peer, _| peer.is_ipv4() != v4);
        self.refused.retain(|peer, _| peer.is_ipv4() != v4);
        if self.leases.is_empty() {
            (self.user, self.made_by, self.known) = (None, None, false);
        }
    }
}

impl<'a> Situation<'a> {
    pub(crate) fn new(
        now: Timestamp,
        bytes: &'a [u8],
        about: &'a About,
        facts: &'a Facts,
        peer: Option<SocketAddr>,
        ours: &'a Done,
        theirs: &'a Done,
    ) -> Self {
        let message = Message::parse(bytes).ok().filter(|_| peer.is_none());
        Self { now, bytes, message, about, facts, peer, ours, theirs }
    }

    /// A request of this method.
    pub(crate) fn asks(&self, method: Method) -> bool {
        self.message.is_some_and(|m| m.class() == Class::Request && m.method() == method)
    }

    pub(crate) fn has(&self, kind: AttributeType) -> bool {
        self.message.is_some_and(|m| m.has(kind))
    }

    /// The credentials are good, and whatever must be understood is.
    pub(crate) fn sound(&self) -> bool {
        self.about.defect == Defect::None && !self.has(STRANGE)
    }

    /// A sound request of the allocation's user.
    pub(crate) fn owner(&self) -> bool {
        self.sound() && self.facts.user.as_ref() == Some(&self.about.user)
    }

    /// A sound Allocate request where there is no allocation yet.
    pub(crate) fn allocates(&self) -> bool {
        self.asks(Method::ALLOCATE) && self.sound() && self.facts.user.is_none()
    }

    /// Both answered with this code.
    pub(crate) fn both(&self, code: u16) -> bool {
        self.ours.code() == Some(code) && self.theirs.code() == Some(code)
    }

    /// Both answered, with the same code.
    pub(crate) fn same_code(&self) -> bool {
        self.ours.code().is_some() && self.ours.code() == self.theirs.code()
    }

    /// Number and peer of a sound ChannelBind request that names both and has a relayed address of the peer's family.
    pub(crate) fn binds(&self) -> Option<(u16, SocketAddr)> {
        let message = self.message.filter(|_| self.asks(Method::CHANNEL_BIND) && self.owner())?;
        let number = message.channel_number().ok()??;
        let peer = message.xor_peer_address().ok()??;
        self.facts.leases.contains_key(&peer.is_ipv4()).then_some((number, peer))
    }

    /// Where data of the client is to go: a Send indication or ChannelData.
    pub(crate) fn towards(&self) -> Option<SocketAddr> {
        match self.message {
            Some(m) if m.class() == Class::Indication && m.method() == Method::SEND => {
                m.xor_peer_address().ok().flatten()
            }
            None if self.peer.is_none() => {
                let number = u16::from_be_bytes(*self.bytes.first_chunk::<2>()?);
                Some(self.facts.channels.iter().find(|c| c.number == number)?.peer)
            }
            _ => None,
        }
    }
}
