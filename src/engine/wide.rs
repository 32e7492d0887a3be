//! A map of many small ones: a map of millions that grows moves all its entries at once, and everybody
//! waits for it.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashMap};

/// How many small maps there are: with four million entries one of them grows in about 0.2 ms.
pub const PARTS: usize = 512;

/// The map; see the module.
#[derive(Debug)]
pub struct WideMap<K, V> {
    parts: Box<[HashMap<K, V>]>,
    hasher: DefaultHashBuilder,
}

impl<K, V> Default for WideMap<K, V> {
    fn default() -> Self {
        Self {
            parts: std::iter::repeat_with(HashMap::default).take(PARTS).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<K: Eq + Hash, V> WideMap<K, V> {
    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // Fits: the remainder is below 512. The part's own map uses the low bits of another hash.
        usize::try_from((self.hasher.hash_one(key) >> 32) % PARTS as u64).unwrap_or(0)
    }

    /// The value under a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.parts.get(self.place(key))?.get(key)
    }

    /// Puts a value under a key; gives the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.place(&key);
        self.parts.get_mut(place)?.insert(key, value)
    }

    /// Takes the value under a key out.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let place = self.place(key);
        self.parts.get_mut(place)?.remove(key)
    }

    /// The value under a key, made when it is not there.
    ///
    /// # Panics
    /// Never: every key has a part.
    pub fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let place = self.place(&key);
        self.parts.get_mut(place).expect("every key has a part").entry(key).or_default()
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(in crate::engine) fn len(&self) -> usize {
        self.parts.iter().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds(
            steps in prop::collection::vec((0..400_u32, any::<Option<u16>>()), 0..600),
        ) {
            let (mut wide, mut plain) = (WideMap::default(), BTreeMap::new());
            for (key, value) in steps {
                if let Some(value) = value {
                    prop_assert_eq!(wide.insert(key, value), plain.insert(key, value));
                } else {
                    prop_assert_eq!(wide.remove(&key), plain.remove(&key));
                }
            }
            *wide.or_default(1_000) = 7;
            plain.insert(1_000, 7);
            prop_assert_eq!(wide.len(), plain.len());
            for key in 0..=1_000 {
                prop_assert_eq!(wide.get(&key), plain.get(&key));
            }
        }
    }
}
