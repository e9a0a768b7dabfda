//! Realms: who may come in by which listener, and from which web page.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::credentials::{AuthError, Authenticated, Credentials};
use crate::stun::Message;

/// Users under one REALM (RFC 8489 section 9.2). A user name in two realms is two users.
#[derive(Debug)]
pub struct Realm {
    name: Arc<str>,
    credentials: Credentials,
    listeners: Vec<SocketAddr>,
    origins: Vec<String>,
    is_default: bool,
}

/// The realms of a server: one that is asked for unless another is responsible, and the others.
#[derive(Debug)]
pub struct Realms {
    /// The default realm first.
    realms: Vec<Realm>,
    by_name: HashMap<Arc<str>, usize>,
    /// Those for all clients of a listener.
    by_listener: HashMap<SocketAddr, usize>,
    /// Those for web pages, which may differ from listener to listener.
    by_origin: HashMap<String, Vec<usize>>,
}

/// Realms of which some could not be told apart or never be asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidRealms {
    /// Which users are meant?
    #[error("realm {0:?} is listed twice: remove one of them or name it otherwise")]
    SameName(String),
    /// Which realm is to be asked for?
    #[error("realms {0:?} and {1:?} are both for listener {2}: leave one of them there, or give it origins")]
    SameListener(String, String, SocketAddr),
    /// Which realm is to be asked for?
    #[error(
        "realms {0:?} and {1:?} are both for origin {2}: leave one of them, or give them different listeners"
    )]
    SameOrigin(String, String, String),
    /// It would stand for the default realm.
    #[error(
        "realm {0:?} has neither listeners nor origins, so no client would be asked for it: give it some"
    )]
    Unreachable(String),
}

impl Realm {
    /// A realm and its users.
    pub fn new(name: &str, credentials: Credentials) -> Self {
        let (listeners, origins) = Default::default();
        Self { name: name.into(), credentials, listeners, origins, is_default: false }
    }

    /// For these listeners only; all of them when empty.
    pub fn on_listeners(self, listeners: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { listeners: listeners.into_iter().collect(), ..self }
    }

    /// For web pages of these origins only (ORIGIN attribute, draft-ietf-tram-stun-origin); all clients of its
    /// listeners when empty.
    pub fn for_origins(self, origins: impl IntoIterator<Item = String>) -> Self {
        Self { origins: origins.into_iter().collect(), ..self }
    }

    /// REALM.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// See [`Credentials::authenticate`].
    pub fn authenticate<'m>(
        &self,
        request: &Message<'_>,
        username: &'m str,
        unix_now: u64,
    ) -> Result<Authenticated<'m>, AuthError> {
        self.credentials.authenticate(request, username, &self.name, unix_now)
    }

    /// The name by which quotas and limits know an account of this realm: in the default realm its own, in others
    /// `REALM\ACCOUNT`. No realm has a backslash in its name, and an account of the default realm that has one gets
    /// another before it, so that no two accounts ever have the same.
    pub fn account<'a>(&self, account: &'a str) -> Cow<'a, str> {
        match self.is_default {
            true if account.contains('\\') => format!("\\{account}").into(),
            true => account.into(),
            false => format!("{}\\{account}", self.name).into(),
        }
    }

    fn serves(&self, listener: SocketAddr) -> bool {
        self.listeners.is_empty() || self.listeners.contains(&listener)
    }

    fn shares_a_listener(&self, other: &Realm) -> bool {
        self.listeners.is_empty()
            || other.listeners.is_empty()
            || self.listeners.iter().any(|l| other.serves(*l))
    }
}

impl Realms {
    /// The realms of a server; what `default` says of listeners and origins does not count.
    pub fn new(default: Realm, others: impl IntoIterator<Item = Realm>) -> Result<Self, InvalidRealms> {
        let default = Realm { is_default: true, listeners: Vec::new(), origins: Vec::new(), ..default };
        let by_name = HashMap::from([(default.name.clone(), 0)]);
        let (by_listener, by_origin) = Default::default();
        let mut realms = Self { realms: vec![default], by_name, by_listener, by_origin };
        others.into_iter().try_for_each(|realm| realms.add(realm))?;
        Ok(realms)
    }

    fn add(&mut self, realm: Realm) -> Result<(), InvalidRealms> {
        let index = self.realms.len();
        let name = |i: usize| String::from(&*self.realms[i].name);
        let own = || String::from(&*realm.name);
        if realm.listeners.is_empty() && realm.origins.is_empty() {
            return Err(InvalidRealms::Unreachable(own()));
        }
        for origin in &realm.origins {
            let others = self.by_origin.get(origin).into_iter().flatten();
            if let Some(&other) = others.into_iter().find(|&&i| self.realms[i].shares_a_listener(&realm)) {
                return Err(InvalidRealms::SameOrigin(name(other), own(), origin.clone()));
            }
        }
        if realm.origins.is_empty() {
            for listener in &realm.listeners {
                if let Some(&other) = self.by_listener.get(listener) {
                    return Err(InvalidRealms::SameListener(name(other), own(), *listener));
                }
            }
            self.by_listener.extend(realm.listeners.iter().map(|l| (*l, index)));
        }
        for origin in &realm.origins {
            self.by_origin.entry(origin.clone()).or_default().push(index);
        }
        if self.by_name.insert(realm.name.clone(), index).is_some() {
            return Err(InvalidRealms::SameName(own()));
        }
        self.realms.push(realm);
        Ok(())
    }

    /// All of them, the default realm first.
    pub fn iter(&self) -> impl Iterator<Item = &Realm> {
        self.realms.iter()
    }

    /// The realm to ask a client for that has not named one: that of its web page, that of its listener, or the default
    /// realm.
    pub fn of(&self, listener: SocketAddr, origin: Option<&str>) -> &Realm {
        let of_origin = origin.and_then(|origin| self.by_origin.get(origin)).into_iter().flatten();
        let mut of_origin = of_origin.filter(|&&i| self.realms[i].serves(listener));
        let index = of_origin.next().or_else(|| self.by_listener.get(&listener)).copied();
        &self.realms[index.unwrap_or(0)]
    }

    /// The realm of this name, if clients of this listener may use it. The default realm is not for listeners that
    /// another realm has for itself.
    pub fn named(&self, name: &str, listener: SocketAddr) -> Option<&Realm> {
        let realm = &self.realms[*self.by_name.get(name)?];
        let open =
            if realm.is_default { !self.by_listener.contains_key(&listener) } else { realm.serves(listener) };
        open.then_some(realm)
    }
}
