//! Who sent a request (RFC 8489 section 9.2.4, RFC 8656 section 5).

use std::borrow::Cow;
use std::sync::Arc;

use super::core::Core;
use super::io::Outputs;
use super::request::Caller;
use crate::auth::Realm;
use crate::stun::{Builder, ErrorCode};

/// The user behind an authenticated request.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    pub(super) username: Cow<'a, str>,
    /// The name of its realm.
    pub(super) realm: Arc<str>,
    /// Whose quota counts, see [`Realm::account`].
    pub(super) account: Cow<'a, str>,
}

impl Core {
    /// The long-term credential mechanism (RFC 8489 section 9.2.4). The nonce comes before the password, so that
    /// nobody makes us compute hashes who has not been answered at its address.
    pub(super) fn authenticate<'a>(&self, caller: &mut Caller<'a>) -> Result<Sender<'a>, ErrorCode> {
        let message = caller.message;
        if message.integrity().is_none() {
            return Err(ErrorCode::UNAUTHENTICATED);
        }
        let bad = |_| ErrorCode::BAD_REQUEST;
        let username = message.username().map_err(bad)?.ok_or(ErrorCode::BAD_REQUEST)?;
        let name = message.realm().map_err(bad)?.ok_or(ErrorCode::BAD_REQUEST)?;
        let nonce = message.nonce().map_err(bad)?.ok_or(ErrorCode::BAD_REQUEST)?;
        if !self.shared.nonces.is_valid(nonce, self.now, &caller.five_tuple.client.0) {
            return Err(ErrorCode::STALE_NONCE);
        }
        let realm = self.config.realms.named(name, caller.five_tuple.listener);
        let realm = realm.ok_or(ErrorCode::UNAUTHENTICATED)?;
        let user = realm
            .authenticate(&message, username, self.unix_seconds())
            .map_err(|_| ErrorCode::UNAUTHENTICATED)?;
        caller.key = Some(user.key);
        Ok(Sender {
            username: user.username.into(),
            realm: realm.name().clone(),
            account: realm.account(user.account),
        })
    }

    /// 401 or 438 with what the client needs to try again, and nothing else: nothing is remembered, and it may go to
    /// somebody who never asked.
    pub(super) fn challenge(&self, caller: &Caller<'_>, code: ErrorCode, out: &mut Outputs) {
        let nonce = self.shared.nonces.issue(self.now, &caller.five_tuple.client.0);
        let mut answer = Builder::error(&mut out.bytes, &caller.message, code, "");
        answer.realm(self.realm_for(caller).name()).nonce(nonce.as_bytes());
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
