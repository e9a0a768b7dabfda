//! A map in one sorted vector: an allocation has few permissions and channels, there are very many allocations, and
//! a `BTreeMap` node would take more memory than all that is in it. Most have one of each, which lies in the map itself.

use smallvec::SmallVec;

/// Keys in order, each with its value.
#[derive(Debug)]
pub(super) struct SortedMap<K, V>(SmallVec<[(K, V); 1]>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|i| &self.0[i].1)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).ok().map(|i| &mut self.0[i].1)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(i) => self.0[i].1 = value,
            Err(i) => {
                // Those that have more have two or three, and the vector would make room for four.
                if self.0.len() < 4 {
                    self.0.reserve_exact(1);
                }
                self.0.insert(i, (key, value));
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.find(key).ok().map(|i| self.0.remove(i).1)
    }

    /// Removes the entries that `keep` says no to.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain(|(key, value)| keep(key, value));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The positions of the keys for which neither bound holds: `below` for a first part of the keys, `above` for a
    /// last part.
    pub(super) fn position(&self, below: impl Fn(&K) -> bool, above: impl Fn(&K) -> bool) -> (usize, usize) {
        (self.0.partition_point(|(key, _)| below(key)), self.0.partition_point(|(key, _)| !above(key)))
    }

    /// The value at a position.
    pub(super) fn at(&self, position: usize) -> &V {
        &self.0[position].1
    }

    /// The key at a position.
    pub(super) fn key_at(&self, position: usize) -> &K {
        &self.0[position].0
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.cmp(key))
    }
}
