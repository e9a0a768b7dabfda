//! STUN messages from clients: which are answered, who sent them, and how answers are made (RFC 8489 sections 6.3 and
//! 9.2.4, RFC 8656 section 5).

use std::ops::Range;
use std::sync::Arc;

use relay_common::reason::Reason;

use super::allocations::Slot;
use super::answers::RequestKey;
use super::authenticate::{Sender, Signer};
use super::core::Core;
use super::io::{Event, Output, Outputs};
use super::types::FiveTuple;
use crate::policy::is_tunnelled;
use crate::stun::{AttributeType, BadAttribute, Builder, Class, ErrorCode, Message, Method};

/// Whom an answer goes to, and what it answers.
#[derive(Clone, Debug)]
pub(super) struct Caller<'a> {
    pub(super) five_tuple: FiveTuple,
    pub(super) message: Message<'a>,
    /// Of all the message's bytes: the same again is a retransmission.
    pub(super) digest: u64,
    /// Once the request is authenticated: what the answer is signed with.
    pub(super) signer: Option<Signer>,
}

/// An authenticated request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) sender: Sender<'a>,
}

impl Request<'_> {
    /// USERNAME, also where the client sent its hash.
    pub(super) fn username(&self) -> &str {
        &self.sender.username
    }

    /// The name of the realm that the user is one of.
    pub(super) fn realm(&self) -> &Arc<str> {
        &self.sender.realm
    }

    /// Whose quota counts: another name in each realm.
    pub(super) fn account(&self) -> &str {
        &self.sender.account
    }
}

/// A request is answered with this error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal(pub(super) ErrorCode);

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self(code)
    }
}

impl From<BadAttribute> for Refusal {
    fn from(_: BadAttribute) -> Self {
        Self(ErrorCode::BAD_REQUEST)
    }
}

impl Core {
    /// A datagram that begins like a STUN message.
    pub(super) fn stun(&mut self, five_tuple: FiveTuple, datagram: &[u8], out: &mut Outputs) {
        let Ok(message) = Message::parse(datagram) else {
            return out.items.push(Output::Dropped(Reason::Malformed));
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => self.send(five_tuple, &message, out),
            // Keeps the client's NAT binding alive, and is never answered (RFC 8489 section 6.3.2).
            (Class::Indication, Method::BINDING) => {}
            (Class::Request, Method::BINDING) => {
                let caller = Caller { five_tuple, message, digest: 0, signer: None };
                self.binding(&caller, out);
            }
            (
                Class::Request,
                Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND,
            ) => {
                let digest = self.digest(datagram);
                self.request(Caller { five_tuple, message, digest, signer: None }, out);
            }
            // RFC 6062; otherwise methods that are not known.
            (Class::Request, Method::CONNECT | Method::CONNECTION_BIND)
                if self.config.tcp_relay.is_some() =>
            {
                let digest = self.digest(datagram);
                self.request(Caller { five_tuple, message, digest, signer: None }, out);
            }
            _ => out.items.push(Output::Dropped(Reason::Unexpected)),
        }
    }

    /// The slot of the client's allocation, if it is the user's.
    pub(super) fn own_allocation(&self, request: &Request<'_>) -> Result<Slot, Refusal> {
        let slot = self.allocations.of_client(&request.caller.five_tuple);
        let slot = slot.ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        self.check_owner(slot, request)?;
        Ok(slot)
    }

    /// RFC 8656 section 5: the credentials of an allocation's requests must not change.
    pub(super) fn check_owner(&self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        let allocation = self.allocations.get(slot);
        if *allocation.username != *request.username() || allocation.realm != *request.realm() {
            return Err(ErrorCode::WRONG_CREDENTIALS.into());
        }
        Ok(())
    }

    /// Sends a success response with the attributes that `fill` writes.
    pub(super) fn answer(
        &self,
        caller: &Caller<'_>,
        out: &mut Outputs,
        fill: impl FnOnce(&mut Builder<'_>),
    ) -> Range<usize> {
        let mut answer = Builder::success(&mut out.bytes, &caller.message);
        fill(&mut answer);
        let range = self.seal(caller, answer);
        self.push_answer(caller, range.clone(), out);
        out.items.push(Output::Event(Event::Answered { method: caller.message.method().get() }));
        range
    }

    /// Sends an error response. A refused Allocate is kept: carried out again it might be granted, to a client that
    /// has already given up.
    pub(super) fn refuse(&mut self, caller: &Caller<'_>, code: ErrorCode, out: &mut Outputs) {
        if caller.signer.is_none() && !self.may_answer(caller, out) {
            return;
        }
        // Without a reason phrase to a stranger, who may not be who the packet says.
        let reason = if caller.signer.is_some() { code.reason() } else { "" };
        let mut answer = Builder::error(&mut out.bytes, &caller.message, code, reason);
        if code == ErrorCode::UNKNOWN_ATTRIBUTE {
            answer.unknown_attributes(self.not_understood(caller));
        }
        if code == ErrorCode::TRY_ALTERNATE {
            self.name_alternate(caller.five_tuple.client, &mut answer);
        }
        let range = self.seal(caller, answer);
        if caller.signer.is_some() && caller.message.method() == Method::ALLOCATE {
            self.keep_answer(caller.key(), out.bytes[range.clone()].into());
        }
        self.push_answer(caller, range, out);
        self.push_refused(caller, code, out);
    }

    /// A Binding request is answered to anybody, in as few bytes as there can be: it costs nothing to send one in
    /// another's name.
    fn binding(&mut self, caller: &Caller<'_>, out: &mut Outputs) {
        if self.not_understood(caller).next().is_some() {
            return self.refuse(caller, ErrorCode::UNKNOWN_ATTRIBUTE, out);
        }
        match self.discovery(caller) {
            Err(Refusal(code)) => self.refuse(caller, code, out),
            // By the address that the request came from: the answer goes to its host, if to another port of it.
            Ok(_) if !self.may_answer(caller, out) => {}
            Ok(None) => {
                self.answer(caller, out, |answer| {
                    answer.xor_mapped_address(caller.five_tuple.client.0);
                });
            }
            Ok(Some(discovered)) => {
                let way_back = Caller { five_tuple: discovered.five_tuple, ..caller.clone() };
                self.answer(&way_back, out, |answer| discovered.fill(answer));
            }
        }
    }

    /// A request that needs credentials.
    fn request(&mut self, mut caller: Caller<'_>, out: &mut Outputs) {
        if let Some(answer) = self.known_answer(&caller) {
            let start = out.bytes.len();
            out.bytes.extend_from_slice(answer);
            let range = start..out.bytes.len();
            return self.push_answer(&caller, range, out);
        }
        let sender = match self.authenticate(&mut caller) {
            Ok(sender) => sender,
            Err(code @ (ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE)) => {
                return self.challenge(&caller, code, out);
            }
            Err(code) => return self.refuse(&caller, code, out),
        };
        let request = Request { caller, sender };
        if let Err(Refusal(code)) = self.carry_out(&request, out) {
            self.refuse(&request.caller, code, out);
        }
    }

    fn carry_out(&mut self, request: &Request<'_>, out: &mut Outputs) -> Result<(), Refusal> {
        // After authentication, as RFC 8489 section 6.3.1 has it.
        if unknown(&request.caller.message).next().is_some() {
            return Err(ErrorCode::UNKNOWN_ATTRIBUTE.into());
        }
        // RFC 8656 section 21.4: with such a client, a relay and a tunnel could be made to send a packet to and fro. It
        // gets no allocation, so of all its requests only one to move an allocation there could do anything.
        if is_tunnelled(request.caller.five_tuple.client.0.ip()) {
            return Err(ErrorCode::FORBIDDEN.into());
        }
        match request.caller.message.method() {
            Method::ALLOCATE => self.allocate(request, out),
            Method::REFRESH => self.refresh(request, out),
            Method::CREATE_PERMISSION => self.create_permission(request, out),
            Method::CONNECT => self.connect(request, out),
            Method::CONNECTION_BIND => self.connection_bind(request, out),
            _ => self.channel_bind(request, out),
        }
    }

    /// The answer that this very request got before.
    fn known_answer(&self, caller: &Caller<'_>) -> Option<&[u8]> {
        if caller.message.method() == Method::ALLOCATE
            && let Some(slot) = self.allocations.of_client(&caller.five_tuple)
        {
            let allocation = self.allocations.get(slot);
            if allocation.request == caller.digest {
                return Some(&allocation.answer);
            }
        }
        self.answers.get(&caller.key())
    }

    /// The attributes at the end of an answer. SOFTWARE goes to authenticated clients only: it makes answers longer.
    pub(super) fn seal(&self, caller: &Caller<'_>, mut answer: Builder<'_>) -> Range<usize> {
        if let Some(signer) = &caller.signer {
            if let Some(software) = &self.config.software {
                answer.software(software);
            }
            signer.sign(&mut answer);
        }
        // RFC 8489 section 7 lets the server answer in the form of the request.
        if caller.message.has(AttributeType::FINGERPRINT) {
            answer.fingerprint();
        }
        answer.finish()
    }

    pub(super) fn push_answer(&self, caller: &Caller<'_>, head: Range<usize>, out: &mut Outputs) {
        out.items.push(Output::ToClient { five_tuple: caller.five_tuple, head, body: 0..0 });
    }

    pub(super) fn push_refused(&self, caller: &Caller<'_>, code: ErrorCode, out: &mut Outputs) {
        let method = caller.message.method().get();
        out.items.push(Output::Event(Event::Refused { method, code: code.get() }));
    }
}

impl Caller<'_> {
    /// The name of its answer among those that are kept.
    pub(super) fn key(&self) -> RequestKey {
        RequestKey { five_tuple: self.five_tuple, digest: self.digest }
    }
}

/// The attributes that must be understood and are not: those without a meaning in this crate, and those whose meaning
/// this core does not carry out.
pub(super) fn unknown<'a>(message: &Message<'a>) -> impl Iterator<Item = AttributeType> + use<'a> {
    const NOT_SERVED: [AttributeType; 3] =
        [AttributeType::CHANGE_REQUEST, AttributeType::PADDING, AttributeType::RESPONSE_PORT];
    let not_served = message.attributes().map(|a| a.kind).filter(|kind| NOT_SERVED.contains(kind));
    message.unknown_required().chain(not_served)
}
