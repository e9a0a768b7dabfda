//! What a server did with a datagram, and how two servers differ in it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use turnpike::stun::{AddressFamily, AttributeType, Class, Key, Message, Method, TransactionId};

/// All that one datagram brought about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Done {
    pub effect: Option<Effect>,
    /// Relayed transport addresses asked for.
    pub opened: usize,
}

/// A datagram that went out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    ToPeer {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    ChannelData {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A Data indication; its transaction id is the server's own.
    Data {
        to: SocketAddr,
        peer: Option<SocketAddr>,
        data: Option<Vec<u8>>,
        /// The value of the attribute.
        icmp: Option<Vec<u8>>,
        kinds: Vec<AttributeType>,
    },
    Answer(Answer),
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub to: SocketAddr,
    pub method: Method,
    pub id: TransactionId,
    /// The error code; 0 of a success response.
    pub code: u16,
    /// Of all attributes, in their order.
    pub kinds: Vec<AttributeType>,
    pub lifetime: Option<Duration>,
    pub mapped: Option<SocketAddr>,
    pub relayed: BTreeSet<SocketAddr>,
    pub unknown: Vec<u16>,
    pub address_error: Option<(AddressFamily, u16)>,
    /// Whether the integrity is right, where there is one.
    pub authentic: Option<bool>,
    pub bytes: Vec<u8>,
}

/// One way in which two servers did not do the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Difference {
    /// The code of the answer, 0 for success, `None` for no answer.
    Outcome(Option<u16>, Option<u16>),
    /// How often an attribute is in answers with the same code.
    Attribute(AttributeType, usize, usize),
    /// A value in answers with the same code.
    Value(&'static str),
    /// Data that goes elsewhere, otherwise or not at all. Which of the two servers sent any.
    Data(bool, bool),
    /// How many relayed transport addresses were asked for.
    Opened(usize, usize),
    /// The value of the ICMP attribute in Data indications that are the same otherwise.
    Icmp(Vec<u8>, Vec<u8>),
}

impl Effect {
    /// A datagram to a client, who signed its request with this key.
    pub(crate) fn to_client(to: SocketAddr, bytes: Vec<u8>, key: Option<&Key>) -> Self {
        if bytes[0] & 0xc0 == 0x40 {
            return Self::ChannelData { to, bytes };
        }
        let message = Message::parse(&bytes).expect("servers send well-formed messages");
        let kinds = message.attributes().map(|a| a.kind).collect();
        if message.class() == Class::Indication {
            let peer = message.xor_peer_address().unwrap();
            let icmp = message.attribute(AttributeType::ICMP).map(|a| a.value.to_vec());
            let data = message.data().map(<[u8]>::to_vec);
            return Self::Data { to, peer, data, icmp, kinds };
        }
        let code = match message.class() {
            Class::Success => 0,
            _ => message.error_code().unwrap().expect("errors have a code").0.get(),
        };
        let mut unknown: Vec<_> = message.unknown_attributes().map(|kind| kind.0).collect();
        unknown.sort_unstable();
        Self::Answer(Answer {
            to,
            method: message.method(),
            id: message.transaction_id(),
            code,
            kinds,
            lifetime: message.lifetime().unwrap(),
            mapped: message.xor_mapped_address().unwrap(),
            relayed: message.xor_relayed_addresses().map(Result::unwrap).collect(),
            unknown,
            address_error: message.address_error_code().unwrap().map(|(f, code)| (f, code.get())),
            authentic: message.integrity().and(key).map(|key| message.is_authentic(key)),
            bytes,
        })
    }
}

impl Effect {
    fn icmp(&self) -> Option<&[u8]> {
        match self {
            Self::Data { icmp, .. } => icmp.as_deref(),
            _ => None,
        }
    }

    /// The same, but for the value of the ICMP attribute, whose presence is among the attributes.
    fn without_icmp(&self) -> Self {
        let mut effect = self.clone();
        if let Self::Data { icmp, .. } = &mut effect {
            *icmp = None;
        }
        effect
    }
}

impl Done {
    pub(crate) fn answer(&self) -> Option<&Answer> {
        match &self.effect {
            Some(Effect::Answer(answer)) => Some(answer),
            _ => None,
        }
    }

    pub(crate) fn code(&self) -> Option<u16> {
        self.answer().map(|answer| answer.code)
    }

    /// In what `theirs` differs.
    pub(crate) fn differences(&self, theirs: &Done) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.opened != theirs.opened {
            found.push(Difference::Opened(self.opened, theirs.opened));
        }
        match (&self.effect, &theirs.effect) {
            (Some(Effect::Answer(ours)), Some(Effect::Answer(theirs))) if ours.code == theirs.code => {
                ours.compare(theirs, &mut found);
            }
            (Some(Effect::Answer(_)), _) | (_, Some(Effect::Answer(_))) => {
                found.push(Difference::Outcome(self.code(), theirs.code()));
            }
            (Some(ours), Some(theirs)) if ours.without_icmp() == theirs.without_icmp() => {
                if let (Some(ours), Some(theirs)) = (ours.icmp(), theirs.icmp())
                    && ours != theirs
                {
                    found.push(Difference::Icmp(ours.into(), theirs.into()));
                }
            }
            (ours, theirs) if ours != theirs => {
                found.push(Difference::Data(ours.is_some(), theirs.is_some()));
            }
            _ => {}
        }
        found
    }
}

impl Answer {
    pub(crate) fn has(&self, kind: AttributeType) -> bool {
        self.count(kind) > 0
    }

    fn count(&self, kind: AttributeType) -> usize {
        self.kinds.iter().filter(|&&k| k == kind).count()
    }

    fn compare(&self, theirs: &Answer, found: &mut Vec<Difference>) {
        let kinds: BTreeSet<u16> = self.kinds.iter().chain(&theirs.kinds).map(|kind| kind.0).collect();
        for kind in kinds.into_iter().map(AttributeType) {
            let (ours, theirs) = (self.count(kind), theirs.count(kind));
            if ours != theirs {
                found.push(Difference::Attribute(kind, ours, theirs));
            }
        }
        let values = [
            ("destination", self.to == theirs.to),
            ("method", self.method == theirs.method),
            ("transaction id", self.id == theirs.id),
            ("LIFETIME", self.lifetime == theirs.lifetime),
            ("XOR-MAPPED-ADDRESS", self.mapped == theirs.mapped),
            ("XOR-RELAYED-ADDRESS", self.relayed == theirs.relayed),
            ("UNKNOWN-ATTRIBUTES", self.unknown == theirs.unknown),
            ("ADDRESS-ERROR-CODE", self.address_error == theirs.address_error),
            // An integrity that only one has is a difference of attributes.
            ("integrity", self.authentic.is_none_or(|ok| ok && theirs.authentic.is_none_or(|ok| ok))),
        ];
        found.extend(values.into_iter().filter(|(_, same)| !same).map(|(name, _)| Difference::Value(name)));
    }
}
