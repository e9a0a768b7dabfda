//! Keys of users who came in lately: what a call sends after its first request costs no more key derivation.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::iter;

use crate::stun::{Key, PasswordAlgorithm};

/// Most keys kept, 0.7 MiB of them. At 20,000 calls a second that is the tenth of a second that a client takes from one
/// request to the next.
const MOST: usize = 2048;

/// The last keys that authenticated a request, each in the one place that its user may have; the newer takes it from the
/// older. Only who has authenticated gets in. One shard's own, so nothing is locked. To be forgotten when credentials
/// change.
#[derive(Default)]
pub struct KnownKeys {
    /// None until the first key comes.
    places: Box<[Option<Known>]>,
    hashing: RandomState,
}

struct Known {
    realm: String,
    username: String,
    algorithm: PasswordAlgorithm,
    key: Key,
}

impl KnownKeys {
    /// The key that this user had last.
    pub(super) fn get(&self, realm: &str, username: &str, algorithm: PasswordAlgorithm) -> Option<&Key> {
        if self.places.is_empty() {
            return None;
        }
        let known = self.places[self.place(realm, username)].as_ref()?;
        let is_it = known.algorithm == algorithm && *known.username == *username && *known.realm == *realm;
        is_it.then_some(&known.key)
    }

    /// Keeps the key that authenticated a request of this user.
    pub(super) fn insert(&mut self, realm: &str, username: &str, algorithm: PasswordAlgorithm, key: &Key) {
        if self.places.is_empty() {
            self.places = iter::repeat_with(|| None).take(MOST).collect();
        }
        let place = self.place(realm, username);
        let key = key.clone();
        match &mut self.places[place] {
            // In the memory of the one before.
            Some(known) => {
                realm.clone_into(&mut known.realm);
                username.clone_into(&mut known.username);
                (known.algorithm, known.key) = (algorithm, key);
            }
            none => *none = Some(Known { realm: realm.into(), username: username.into(), algorithm, key }),
        }
    }

    fn place(&self, realm: &str, username: &str) -> usize {
        self.hashing.hash_one((realm, username)) as usize % MOST
    }
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::PasswordAlgorithm::{Md5, Sha256};
    use super::*;

    #[test]
    fn a_key_is_known_for_its_user_realm_and_algorithm_only() {
        let (mut known, key) = (KnownKeys::default(), Key::long_term("alice", "x.org", "secret"));
        assert_eq!(known.get("x.org", "alice", Md5), None);
        known.insert("x.org", "alice", Md5, &key);
        assert_eq!(known.get("x.org", "alice", Md5), Some(&key));
        assert_eq!(known.get("x.org", "alice", Sha256), None);
        assert_eq!(known.get("y.org", "alice", Md5), None);
        assert_eq!(known.get("x.org", "bob", Md5), None);
    }

    #[test]
    fn no_more_than_so_many_keys_are_kept() {
        let (mut known, key) = (KnownKeys::default(), Key::long_term("alice", "x.org", "secret"));
        let names: Vec<_> = (0..10 * MOST).map(|n| n.to_string()).collect();
        names.iter().for_each(|name| known.insert("x.org", name, Md5, &key));
        let kept = names.iter().filter(|name| known.get("x.org", name, Md5).is_some()).count();
        assert!(kept > MOST * 9 / 10 && kept <= MOST, "{kept} are kept");
        assert!(known.get("x.org", &names[10 * MOST - 1], Md5).is_some(), "the last one is");
    }
}
