//! Who sent a request (RFC 8489 section 9.2.4, RFC 8656 section 5), and what the others are answered.

use std::borrow::Cow;
use std::sync::Arc;

use super::core::Core;
use super::io::Outputs;
use super::request::Caller;
use crate::auth::{Claim, Realm, User};
use crate::stun::{AttributeType, Builder, ErrorCode, Integrity, Key, Message};

/// The user behind an authenticated request.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    pub(super) username: Cow<'a, str>,
    /// The name of its realm.
    pub(super) realm: Arc<str>,
    /// Whose quota counts, see [`Realm::account`].
    pub(super) account: String,
}

/// What the answers to an authenticated request are signed with.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    key: Key,
    integrity: Integrity,
}

impl Signer {
    pub(super) fn sign(&self, answer: &mut Builder<'_>) {
        answer.sign(&self.key, self.integrity);
    }
}

impl Core {
    /// The long-term credential mechanism, with the checks of RFC 8489 section 9.2.4 in its order but for one: the nonce
    /// comes first. So nobody makes us compute hashes who has not been answered at its address; and what a nonce
    /// promised can only be known of one that is ours, so that an offer changed since is answered 438 and not 400.
    pub(super) fn authenticate<'a>(&mut self, caller: &mut Caller<'a>) -> Result<Sender<'a>, ErrorCode> {
        let message = caller.message;
        if message.integrity().is_none() {
            return Err(ErrorCode::UNAUTHENTICATED);
        }
        let bad = |_| ErrorCode::BAD_REQUEST;
        let claim = claim(&message)?;
        let name = message.realm().map_err(bad)?.ok_or(ErrorCode::BAD_REQUEST)?;
        let nonce = message.nonce().map_err(bad)?.ok_or(ErrorCode::BAD_REQUEST)?;

        let realm = self.config.realms.named(name, caller.five_tuple.listener);
        let realm = realm.ok_or(ErrorCode::UNAUTHENTICATED)?;
        let offer = realm.offer();
        if !self.shared.nonces.is_valid(nonce, self.now, &caller.five_tuple.client.0, offer)
            && !self.is_nonce_of_control(nonce, caller, offer)
        {
            return Err(ErrorCode::STALE_NONCE);
        }
        let algorithm = offer.chosen(&message)?;
        let unix_now = self.unix_seconds();
        let User { username, account, key } = realm
            .authenticate(&message, claim, algorithm, unix_now, &mut self.known_keys)
            .map_err(|_| ErrorCode::UNAUTHENTICATED)?;
        caller.signer = Some(Signer { key, integrity: integrity_of_answers(&message) });
        Ok(Sender { username, realm: realm.name().clone(), account })
    }

    /// 401 or 438 with what the client needs to try again, and nothing else: nothing is remembered, and it may go to
    /// somebody who never asked.
    pub(super) fn challenge(&self, caller: &Caller<'_>, code: ErrorCode, out: &mut Outputs) {
        if !self.may_answer(caller, out) {
            return;
        }
        let realm = self.realm_for(caller);
        let offer = realm.offer();
        let nonce = self.shared.nonces.issue(self.now, &caller.five_tuple.client.0, offer);
        let mut answer = Builder::error(&mut out.bytes, &caller.message, code, "");
        answer.realm(realm.name()).nonce(nonce.as_bytes());
        if let Some(algorithms) = offer.password_algorithms() {
            answer.password_algorithms(algorithms);
        }
        let range = self.seal(caller, answer);
        self.push_answer(caller, range, out);
        self.push_refused(caller, code, out);
    }

    /// The realm to ask for: the one that the client means if this listener serves it, else the one for its listener and
    /// the web page that it runs in.
    fn realm_for(&self, caller: &Caller<'_>) -> &Realm {
        let (message, listener) = (caller.message, caller.five_tuple.listener);
        let named = message.realm().ok().flatten().and_then(|name| self.config.realms.named(name, listener));
        named.unwrap_or_else(|| self.config.realms.of(listener, message.origin()))
    }
}

/// Whom the request names: USERNAME or USERHASH, and not both, or they could be two users.
fn claim<'a>(message: &Message<'a>) -> Result<Claim<'a>, ErrorCode> {
    let bad = |_| ErrorCode::BAD_REQUEST;
    match (message.username().map_err(bad)?, message.userhash().map_err(bad)?) {
        (Some(name), None) => Ok(Claim::Name(name)),
        (None, Some(hash)) => Ok(Claim::Hash(hash)),
        _ => Err(ErrorCode::BAD_REQUEST),
    }
}

/// The attribute that answers are signed with: one that the client has shown to know by sending it.
///
/// RFC 8489 section 9.2.4 has MESSAGE-INTEGRITY where the request says nothing of password algorithms, so that one counts
/// when such a request has both, and else MESSAGE-INTEGRITY-SHA256. A client that chose an algorithm and signs with
/// MESSAGE-INTEGRITY all the same breaks section 9.2.5; there is one that does so with MD5, and it would believe no other
/// answer.
fn integrity_of_answers(message: &Message<'_>) -> Integrity {
    let chose = message.has(AttributeType::PASSWORD_ALGORITHM);
    match message.integrity() {
        Some(Integrity::Sha256) if chose || !message.has(AttributeType::MESSAGE_INTEGRITY) => {
            Integrity::Sha256
        }
        _ => Integrity::Sha1,
    }
}
