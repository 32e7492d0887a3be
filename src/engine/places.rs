//! The numbers that ids stand for, without the ids.
//!
//! A look-up compares 128 bits of a keyed hash: millions of ids need not be kept, and a table
//! that grows does not follow a pointer to each of them. The key is drawn at each start and never leaves the
//! process, so that nobody can aim at a collision. There are many small tables, because one that grows moves
//! all its entries while everybody waits.

use std::fmt;
use std::hash::BuildHasher;
use std::hint::black_box;

use hashbrown::HashTable;
use siphasher::sip128::SipHasher13;

use crate::engine::wide::PARTS;

/// Numbers by id; see the module.
pub struct Places<N> {
    parts: Box<[HashTable<Slot<N>>]>,
    hasher: SipHasher13,
}

/// The hash of an id, and its number.
#[derive(Clone, Copy)]
struct Slot<N> {
    hash: [u64; 2],
    number: N,
}

impl<N> Default for Places<N> {
    fn default() -> Self {
        let random = std::hash::RandomState::new();
        let hasher = SipHasher13::new_with_keys(random.hash_one(0_u8), random.hash_one(1_u8));
        Self { parts: std::iter::repeat_with(HashTable::new).take(PARTS).collect(), hasher }
    }
}

impl<N: Copy> Places<N> {
    fn hash(&self, id: &str) -> ([u64; 2], usize) {
        let hash = self.hasher.hash(id.as_bytes());
        // Fits: the remainder is below the number of parts.
        let part = usize::try_from(hash.h2 % PARTS as u64).unwrap_or(0);
        ([hash.h1, hash.h2], part)
    }

    /// The number of an id.
    pub fn get(&self, id: &str) -> Option<N> {
        self.find(self.hash(id))
    }

    fn find(&self, (hash, part): ([u64; 2], usize)) -> Option<N> {
        let found = self.parts.get(part)?.find(hash[0], |slot| slot.hash == hash);
        found.map(|slot| slot.number)
    }

    /// The numbers of these ids, in their order.
    pub fn get_all<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<Option<N>> {
        // Hashed first, so that the processor has several cache misses of the tables on their way.
        let hashes: Vec<_> = ids.map(|id| self.hash(id)).collect();
        hashes.into_iter().map(|hash| self.find(hash)).collect()
    }

    /// Reads where an id would stand, so that a cache has it.
    pub fn look_at(&self, id: &str) {
        black_box(self.get(id).is_some());
    }

    /// Notes the number of an id that has none.
    pub fn insert(&mut self, id: &str, number: N) {
        let (hash, part) = self.hash(id);
        if let Some(part) = self.parts.get_mut(part) {
            part.insert_unique(hash[0], Slot { hash, number }, |slot| slot.hash[0]);
        }
    }
}

impl<N> fmt::Debug for Places<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places({})", self.parts.iter().map(HashTable::len).sum::<usize>())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_id_has_its_number_and_others_have_none(
            ids in prop::collection::btree_set("[a-d]{1,6}", 0..200),
            others in prop::collection::vec("[a-d]{1,6}", 0..50),
        ) {
            let mut places = Places::default();
            let numbered: BTreeMap<String, u32> = ids.into_iter().zip(0..).collect();
            for (id, number) in &numbered {
                places.insert(id, *number);
            }
            let asked = || numbered.keys().chain(&others);
            for id in asked() {
                prop_assert_eq!(places.get(id), numbered.get(id).copied());
            }
            let expected: Vec<_> = asked().map(|id| numbered.get(id).copied()).collect();
            prop_assert_eq!(places.get_all(asked().map(String::as_str)), expected);
        }
    }
}
