//! Realms: who may come in by which listener, and from which web page.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::realm::Realm;

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

impl Realms {
    /// The realms of a server; what `default` says of listeners and origins does not count.
    pub fn new(mut default: Realm, others: impl IntoIterator<Item = Realm>) -> Result<Self, InvalidRealms> {
        default.is_default = true;
        (default.listeners, default.origins) = Default::default();
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
