//! What payments and invoices say, until a checkpoint has their rows.
//!
//! They are numbered without gaps and come in that order, a million in a row: each goes behind the last, where
//! a map by number would find a place for it that no cache knows.

use std::collections::BTreeMap;

use crate::engine::packed::Packed;
use crate::model::Lsn;

/// Numbers of one block: it is looked through at once when a checkpoint was made.
const BLOCK: u64 = ROOM as u64;
/// Places that a block has from the start: one that grows moves what it holds.
const ROOM: usize = 1_024;

type Block<T> = Vec<Option<(Lsn, Packed<T>)>>;

/// Objects by number, each with the LSN of its record; see the module.
#[derive(Debug)]
pub struct Recent<T> {
    /// Under each block's place those of its numbers, the first first.
    blocks: BTreeMap<u64, Block<T>>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { blocks: BTreeMap::new() }
    }
}

impl<T> Recent<T> {
    /// Puts an object under its number.
    pub fn put(&mut self, number: u64, lsn: Lsn, object: Packed<T>) {
        let block = self.blocks.entry(number / BLOCK).or_insert_with(|| Vec::with_capacity(ROOM));
        let place = place(number);
        if block.len() <= place {
            block.resize_with(place + 1, || None);
        }
        if let Some(known) = block.get_mut(place) {
            *known = Some((lsn, object));
        }
    }

    /// The object under a number, when it is there.
    pub fn get(&self, number: u64) -> Option<&Packed<T>> {
        let found = self.blocks.get(&(number / BLOCK))?.get(place(number))?;
        found.as_ref().map(|(_, object)| object)
    }

    /// Takes out of the first block from `from` on what was put up to `lsn`, and says where the next one may
    /// be; nothing when there is none. The caller, who drops what was taken, begins with 0.
    pub fn take(&mut self, from: u64, lsn: Lsn) -> Option<(Vec<Packed<T>>, u64)> {
        let (at, block) = self.blocks.range_mut(from..).next()?;
        let at = *at;
        let mut taken = Vec::with_capacity(block.len());
        for place in block.iter_mut() {
            taken.extend(place.take_if(|(put, _)| *put <= lsn).map(|(_, object)| object));
        }
        if block.iter().all(Option::is_none) {
            self.blocks.remove(&at);
        }
        Some((taken, at + 1))
    }
}

fn place(number: u64) -> usize {
    // Fits: the remainder is below the length of a block.
    usize::try_from(number % BLOCK).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds_and_forgets_what_is_durable(
            puts in prop::collection::vec((0..5_000_u64, any::<u16>()), 0..200),
            durable in 0..200_u64,
        ) {
            let (mut recent, mut plain) = (Recent::default(), BTreeMap::new());
            for (lsn, (number, value)) in (0..).zip(puts) {
                recent.put(number, Lsn(lsn), Packed::of(&value));
                plain.insert(number, (lsn, value));
            }
            let value = |recent: &Recent<u16>, number| recent.get(number).map(|of| of.unpack().unwrap());
            for number in 0..5_100 {
                prop_assert_eq!(value(&recent, number), plain.get(&number).map(|(_, value)| *value));
            }
            let (mut from, mut forgotten) = (0, 0);
            while let Some((taken, next)) = recent.take(from, Lsn(durable)) {
                (from, forgotten) = (next, forgotten + taken.len());
            }
            let count = plain.len();
            plain.retain(|_, (lsn, _)| *lsn > durable);
            prop_assert_eq!(forgotten, count - plain.len());
            for number in 0..5_100 {
                prop_assert_eq!(value(&recent, number), plain.get(&number).map(|(_, value)| *value));
            }
            prop_assert_eq!(recent.blocks.is_empty(), plain.is_empty());
        }
    }
}
