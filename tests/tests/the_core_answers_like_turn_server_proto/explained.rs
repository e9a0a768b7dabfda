//! The differences between the two servers, and why each is right or harmless.
//!
//! A row holds both ways: a difference that no row expects fails the test, and so does a row whose situation comes up
//! without its difference.

use turnpike::stun::{AddressFamily, AttributeType, Class, Integrity, Message, Method};

use crate::effect::{Difference, Effect};
use crate::facts::{STRANGE, Situation};
use crate::party::Defect;

/// One way in which the servers differ. Of the differences of a step, every row whose situation it is must take at least
/// one, and none may be left.
pub(crate) struct Explained {
    pub name: &'static str,
    /// What the RFCs say.
    pub why: &'static str,
    pub when: fn(&Situation<'_>) -> bool,
    pub what: fn(&Difference) -> bool,
    /// The servers' states differ from here on.
    pub starts_over: bool,
}

/// In answers with two relayed addresses.
const SENT_TWICE: &[AttributeType] = &[AttributeType::LIFETIME, AttributeType::XOR_MAPPED_ADDRESS];

pub(crate) const EXPLAINED: &[Explained] = &[
    // Attributes of answers that say the same.
    Explained {
        name: "REALM and NONCE in every signed answer",
        why: "RFC 8489 section 9.2.4 wants them in 401 and 438 only. They cost up to 100 bytes per answer.",
        when: |s| s.same_code() && !challenges(s) && signed(s),
        what: |d| added(d, AttributeType::REALM) || added(d, AttributeType::NONCE),
        starts_over: false,
    },
    Explained {
        name: "PASSWORD-ALGORITHM in answers signed with SHA-256",
        why: "RFC 8489 section 9.2.5 has the client send it; section 9.2.4 asks for it in no answer.",
        when: |s| {
            let sha256 = s.message.is_some_and(|m| m.integrity() == Some(Integrity::Sha256));
            s.same_code() && sha256 && !challenges(s) && signed(s)
        },
        what: |d| added(d, AttributeType::PASSWORD_ALGORITHM),
        starts_over: false,
    },
    Explained {
        name: "PASSWORD-ALGORITHMS left out of 438, and of 401 to a client that it knows",
        why: "RFC 8489 section 9.2.4: both MUST have it when the server supports it.",
        when: |s| s.both(438) || s.both(401) && s.facts.known,
        what: |d| dropped(d, AttributeType::PASSWORD_ALGORITHMS),
        starts_over: false,
    },
    Explained {
        name: "401 signed for the user who was here before",
        why: "RFC 8489 section 9.2.4: a 401 SHOULD NOT have MESSAGE-INTEGRITY; the sender is nobody yet.",
        when: |s| s.both(401) && s.facts.known,
        what: |d| {
            let signature = [
                AttributeType::MESSAGE_INTEGRITY,
                AttributeType::MESSAGE_INTEGRITY_SHA256,
                AttributeType::PASSWORD_ALGORITHM,
            ];
            signature.iter().any(|&kind| added(d, kind))
        },
        starts_over: false,
    },
    Explained {
        name: "SOFTWARE in 420",
        why: "RFC 8489 section 6.3.1.1 (SHOULD); the core says what it is only when it is told to.",
        when: |s| s.both(420),
        what: |d| added(d, AttributeType::SOFTWARE),
        starts_over: false,
    },
    Explained {
        name: "FINGERPRINT unasked for, in Binding, 437 and 443",
        why: "RFC 8489 section 7 leaves it to the usage. The core answers in the form of the request.",
        when: |s| s.same_code() && !s.has(AttributeType::FINGERPRINT) && fingerprints(s),
        what: |d| added(d, AttributeType::FINGERPRINT),
        starts_over: false,
    },
    Explained {
        name: "FINGERPRINT of the request not answered with one",
        why: "The same choice from the other side.",
        when: |s| s.same_code() && s.has(AttributeType::FINGERPRINT) && !fingerprints(s),
        what: |d| dropped(d, AttributeType::FINGERPRINT),
        starts_over: false,
    },
    Explained {
        name: "LIFETIME and XOR-MAPPED-ADDRESS for each of two relayed addresses",
        why: "RFC 8656 section 7.3 lists each once, and of repeated attributes the first counts (RFC 8489 section 14).",
        when: |s| {
            s.both(0) && s.allocates() && s.ours.answer().is_some_and(|answer| answer.relayed.len() == 2)
        },
        what: |d| matches!(d, Difference::Attribute(kind, 1, 2) if SENT_TWICE.contains(kind)),
        starts_over: false,
    },
    Explained {
        name: "RESERVATION-TOKEN not given",
        why: "RFC 8656 section 7.2: EVEN-PORT with the R bit reserves the next port. It does not know of reservations.",
        when: |s| {
            let reserves = s.message.is_some_and(|m| m.even_port() == Ok(Some(true)));
            s.both(0) && s.allocates() && reserves
        },
        what: |d| dropped(d, AttributeType::RESERVATION_TOKEN),
        starts_over: false,
    },
    Explained {
        name: "Binding answered to its own address",
        why: "RFC 8489 section 6.3.1.2: to where the request came from. It mixes up the two addresses.",
        when: |s| s.asks(Method::BINDING) && s.same_code(),
        what: |d| *d == Difference::Value("destination"),
        starts_over: false,
    },
    // Other answers.
    Explained {
        name: "Allocate retransmitted: 437",
        why: "RFC 8656 section 7.2: to the same transaction the server sends the same answer again.",
        when: |s| s.asks(Method::ALLOCATE) && s.facts.made_by.as_deref() == Some(s.bytes),
        what: |d| outcome(d, 0, &[437]),
        starts_over: false,
    },
    Explained {
        name: "Refresh with lifetime 0 retransmitted: 437 or 443",
        why: "RFC 8489 section 6.3.1: a retransmission gets the same answer for 40 seconds.",
        when: |s| s.facts.ended.as_ref().is_some_and(|(ended_by, ..)| ended_by == s.bytes),
        what: |d| outcome(d, 0, &[437, 443]),
        starts_over: false,
    },
    Explained {
        name: "Allocate retransmitted after the allocation ended: another allocation",
        why: "RFC 8656 section 7.2: 437 for 40 seconds. Another allocation would be one that nobody uses, and the first answer names an address that is closed.",
        when: |s| {
            let ended = s.facts.ended.as_ref();
            s.facts.user.is_none() && ended.is_some_and(|(_, made_by, _)| made_by == s.bytes)
        },
        what: |d| *d == Difference::Opened(0, 1) || outcome(d, 437, &[0]),
        starts_over: true,
    },
    Explained {
        name: "Allocate of another user at a used 5-tuple: 441",
        why: "RFC 8656 section 7.2: 437; section 5 has 441 for the other methods only.",
        when: |s| {
            let other = s.facts.user.as_ref().is_some_and(|user| *user != s.about.user);
            s.asks(Method::ALLOCATE) && s.sound() && other
        },
        what: |d| outcome(d, 437, &[441]),
        starts_over: false,
    },
    Explained {
        name: "The allocation and its user are looked at before unknown attributes: 437 or 441",
        why: "RFC 8489 section 6.3.1: unknown attributes are rejected before the request's own processing.",
        when: |s| {
            let own = s.facts.user.as_ref() == Some(&s.about.user);
            let fits = if s.asks(Method::ALLOCATE) { s.facts.user.is_none() } else { own };
            let good = s.about.defect == Defect::None && !s.asks(Method::BINDING) && is_request(s);
            good && s.has(STRANGE) && !fits
        },
        what: |d| outcome(d, 420, &[437, 441]),
        starts_over: false,
    },
    Explained {
        name: "Attributes that are known but mean nothing in the request: 420",
        why: "RFC 8489 section 6.3: known-but-unexpected attributes SHOULD be ignored.",
        when: |s| {
            let odd = s.has(AttributeType::CHANNEL_NUMBER) || s.has(AttributeType::DATA);
            let odd = odd && (s.asks(Method::REFRESH) && s.owner() || s.allocates());
            odd || s.asks(Method::BINDING) && s.has(AttributeType::LIFETIME)
        },
        what: |d| outcome(d, 0, &[420]) || matches!(d, Difference::Opened(1, 0)),
        starts_over: true,
    },
    Explained {
        name: "TCP allocations over UDP: 400",
        why: "RFC 6062 section 5.1 for a server that has TCP allocations; RFC 8656 section 7.2 has 442 for one without.",
        when: |s| s.allocates() && s.message.is_some_and(|m| m.requested_transport() == Ok(Some(6))),
        what: |d| outcome(d, 442, &[400]),
        starts_over: false,
    },
    Explained {
        name: "Requests of unknown methods: 401, 437 or 400",
        why: "RFC 8489 section 6.3: a message whose method is not known is discarded silently.",
        when: |s| {
            let known = [
                Method::BINDING,
                Method::ALLOCATE,
                Method::REFRESH,
                Method::CREATE_PERMISSION,
                Method::CHANNEL_BIND,
            ];
            is_request(s) && !known.iter().any(|&method| s.asks(method))
        },
        what: |d| matches!(d, Difference::Outcome(None, Some(400 | 401 | 437))),
        starts_over: false,
    },
    Explained {
        name: "REALM of the request not read",
        why: "RFC 8489 section 9.2.4: the realm is part of whom the user claims to be; the key here is that of another.",
        when: |s| s.about.defect == Defect::OtherRealm,
        what: |d| matches!(d, Difference::Outcome(Some(401), Some(0 | 437)) | Difference::Opened(0, 1)),
        starts_over: true,
    },
    Explained {
        name: "EVEN-PORT without R together with ADDITIONAL-ADDRESS-FAMILY: 400",
        why: "RFC 8656 section 7.2 rejects the two only when the R bit is set.",
        when: |s| {
            let even = s.message.is_some_and(|m| m.even_port() == Ok(Some(false)));
            s.allocates() && even && s.has(AttributeType::ADDITIONAL_ADDRESS_FAMILY)
        },
        what: |d| outcome(d, 0, &[400]) || matches!(d, Difference::Opened(2, 0)),
        starts_over: true,
    },
    Explained {
        name: "RESERVATION-TOKEN that was never given: ignored",
        why: "RFC 8656 section 7.2: 508 for a token that is not valid.",
        when: |s| {
            let token = s.message.is_some_and(|m| m.reservation_token() == Ok(Some([9; 8])));
            s.allocates() && token
        },
        what: |d| outcome(d, 508, &[0]) || matches!(d, Difference::Opened(0, 1)),
        starts_over: true,
    },
    Explained {
        name: "Allocate of a family that does not exist: 400",
        why: "RFC 8656 section 7.2: 440 for a family that the server does not support.",
        when: |s| s.allocates() && strange_family(s),
        what: |d| outcome(d, 440, &[400]),
        starts_over: false,
    },
    Explained {
        name: "Refresh of a family that does not exist: of all",
        why: "RFC 8656 section 8.2: 443 when the allocation has no relayed address of the family.",
        when: |s| s.asks(Method::REFRESH) && s.owner() && strange_family(s),
        what: |d| outcome(d, 443, &[0]),
        starts_over: true,
    },
    Explained {
        name: "LIFETIME that is too short an attribute: the default",
        why: "RFC 8489 section 6.3.1: a request that breaks the syntax is a 400.",
        when: |s| {
            let bad = s.message.is_some_and(|m| m.lifetime().is_err());
            bad && (s.allocates() || s.asks(Method::REFRESH) && s.owner())
        },
        what: |d| outcome(d, 400, &[0]) || matches!(d, Difference::Opened(0, 1)),
        starts_over: true,
    },
    Explained {
        name: "Peers that no rule forbids",
        why: "RFC 8656 section 10.2 leaves 403 to the server's policy. The crate has none, and takes port 0 too.",
        when: |s| {
            let forbidden = |m: Message<'_>| {
                m.xor_peer_addresses().flatten().any(|peer| peer.ip().is_loopback() || peer.port() == 0)
            };
            let asks = s.asks(Method::CREATE_PERMISSION) || s.binds().is_some();
            asks && s.owner() && s.message.is_some_and(forbidden)
        },
        what: |d| outcome(d, 403, &[0]),
        starts_over: true,
    },
    Explained {
        name: "Channel number bound to another peer",
        why: "RFC 8656 section 12.2: 400 when the number is currently bound to a different transport address.",
        when: |s| !peer_is_bound(s) && number_is_bound(s),
        what: |d| outcome(d, 400, &[0]),
        starts_over: true,
    },
    Explained {
        name: "Channel number or peer bound otherwise within 5 minutes of its expiry",
        why: "RFC 8656 section 12 has the client wait, lest packets under way reach the wrong peer; the core sees to it.",
        when: |s| !peer_is_bound(s) && !number_is_bound(s) && rests(s),
        what: |d| outcome(d, 400, &[0]),
        starts_over: true,
    },
    // Data.
    Explained {
        name: "Permissions of a CreatePermission that was refused",
        why: "RFC 8656 section 10.2 installs permissions once the whole request is found valid.",
        when: |s| {
            let to = s.towards().map(|peer| peer.ip());
            to.is_some_and(|ip| s.facts.refused.contains_key(&ip) && !s.facts.permissions.contains_key(&ip))
        },
        what: |d| *d == Difference::Data(false, true),
        starts_over: false,
    },
    Explained {
        name: "DONT-FRAGMENT in Send: the datagram is dropped",
        why: "RFC 8656 section 14: it sets the DF bit. It takes the attribute in Allocate, which says that it can.",
        when: |s| {
            let to = s.towards().map(|peer| peer.ip());
            let let_in = to.is_some_and(|ip| s.facts.permissions.contains_key(&ip));
            s.has(AttributeType::DONT_FRAGMENT) && let_in
        },
        what: |d| *d == Difference::Data(true, false),
        starts_over: false,
    },
    Explained {
        name: "ChannelData with more behind it than padding",
        why: "RFC 8656 section 12.5: over UDP there is one message in a datagram, at most padded to 4 bytes.",
        when: |s| {
            let [_, _, high, low] = *s.bytes.first_chunk().unwrap_or(&[0; 4]);
            let length = usize::from(u16::from_be_bytes([high, low]));
            let long = s.bytes.len() > 4 + length.next_multiple_of(4);
            s.message.is_none() && long && s.towards().is_some()
        },
        what: |d| *d == Difference::Data(false, true),
        starts_over: false,
    },
    Explained {
        name: "Messages with something behind them",
        why: "RFC 8489 section 6.3: the length must be right, or the datagram is discarded.",
        when: |s| {
            let length = s.bytes.get(2..4).map(|l| 20 + usize::from(u16::from_be_bytes([l[0], l[1]])));
            let stun = s.bytes.first().is_some_and(|first| first & 0xc0 == 0) && s.bytes.len() > 20;
            s.peer.is_none() && stun && length.is_some_and(|length| length < s.bytes.len())
        },
        what: |d| *d == Difference::Outcome(None, Some(0)),
        starts_over: false,
    },
    Explained {
        name: "ICMP with 8 bits of type and 8 of code",
        why: "RFC 8656 section 18.13 draws 7 bits of type and 9 of code.",
        when: |s| matches!(&s.ours.effect, Some(Effect::Data { icmp: Some(_), .. })),
        what: icmp_in_other_bits,
        starts_over: false,
    },
    Explained {
        name: "Alive at the very instant at which a lifetime ends",
        why: "RFC 8656 gives lifetimes in seconds and does not say which side of the instant they end on.",
        when: |s| {
            let with = s.peer.or(s.towards()).map(|peer| peer.ip());
            with.is_some_and(|ip| s.facts.just_ended.contains(&ip))
        },
        what: |d| *d == Difference::Data(false, true),
        starts_over: false,
    },
];

/// The same error in 7 bits of type and 9 of code, and in 8 of each.
fn icmp_in_other_bits(difference: &Difference) -> bool {
    let Difference::Icmp(ours, theirs) = difference else { return false };
    let &[0, 0, kind, code, ref data @ ..] = &theirs[..] else { return false };
    let bits = u16::from(kind) << 9 | u16::from(code);
    ours[..] == [&[0, 0], &bits.to_be_bytes()[..], data].concat()
}

fn challenges(s: &Situation<'_>) -> bool {
    s.both(401) || s.both(438)
}

/// The other server's answer has an integrity attribute.
fn signed(s: &Situation<'_>) -> bool {
    let kinds = [AttributeType::MESSAGE_INTEGRITY, AttributeType::MESSAGE_INTEGRITY_SHA256];
    s.theirs.answer().is_some_and(|answer| kinds.iter().any(|&kind| answer.has(kind)))
}

fn fingerprints(s: &Situation<'_>) -> bool {
    s.asks(Method::BINDING) && s.both(0) || s.both(437) || s.both(443)
}

fn added(difference: &Difference, kind: AttributeType) -> bool {
    *difference == Difference::Attribute(kind, 0, 1)
}

fn dropped(difference: &Difference, kind: AttributeType) -> bool {
    *difference == Difference::Attribute(kind, 1, 0)
}

fn is_request(s: &Situation<'_>) -> bool {
    s.message.is_some_and(|m| m.class() == Class::Request)
}

fn strange_family(s: &Situation<'_>) -> bool {
    let family = s.message.and_then(|m| m.requested_address_family().ok().flatten());
    matches!(family, Some(AddressFamily::Unknown(_)))
}

/// The peer has a channel of another number: both servers refuse.
fn peer_is_bound(s: &Situation<'_>) -> bool {
    let bound = |(number, peer)| {
        s.facts.channels.iter().any(|c| c.until > s.now && c.peer == peer && c.number != number)
    };
    s.binds().is_some_and(bound)
}

fn number_is_bound(s: &Situation<'_>) -> bool {
    let bound = |(number, peer)| {
        s.facts.channels.iter().any(|c| c.until > s.now && c.number == number && c.peer != peer)
    };
    s.binds().is_some_and(bound)
}

/// Number or peer, not both, are those of a binding that expired less than 5 minutes ago.
fn rests(s: &Situation<'_>) -> bool {
    let resting = |(number, peer)| {
        let mut channels = s.facts.channels.iter().filter(|c| c.until <= s.now);
        channels.any(|c| (c.number == number) != (c.peer == peer))
    };
    s.binds().is_some_and(resting)
}

/// The core answered `ours` and the other server one of `theirs`; 0 is success.
fn outcome(difference: &Difference, ours: u16, theirs: &[u16]) -> bool {
    matches!(difference, Difference::Outcome(Some(o), Some(t)) if *o == ours && theirs.contains(t))
}
