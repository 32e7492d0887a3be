//! A list of blocks: one of millions that grows moves all of its entries at once, and everybody waits for it.

/// Entries of a block.
const BLOCK: usize = 4_096;

/// The list; see the module.
#[derive(Debug)]
pub struct LongList<T> {
    /// All but the last are full.
    blocks: Vec<Vec<T>>,
}

impl<T> Default for LongList<T> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T> LongList<T> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * BLOCK + last.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The entry at `place`.
    pub fn get(&self, place: usize) -> Option<&T> {
        self.blocks.get(place / BLOCK)?.get(place % BLOCK)
    }

    /// The entry at `place`, to be changed.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.blocks.get_mut(place / BLOCK)?.get_mut(place % BLOCK)
    }

    /// Puts an entry behind the last one.
    pub fn push(&mut self, entry: T) {
        match self.blocks.last_mut() {
            Some(last) if last.len() < BLOCK => last.push(entry),
            // The first one grows as it is filled: most lists are short.
            None => self.blocks.push(vec![entry]),
            Some(_) => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(entry);
                self.blocks.push(block);
            }
        }
    }

    /// The entries in order, in parts, each of which can be dropped before the next.
    pub fn into_parts(self) -> impl Iterator<Item = Vec<T>> {
        self.blocks.into_iter()
    }
}

impl<T> Extend<T> for LongList<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, entries: I) {
        entries.into_iter().for_each(|entry| self.push(entry));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_list(count in prop_oneof![0..10_usize, 0..3 * BLOCK + 2], changed in 0..3 * BLOCK) {
            let (mut list, mut model) = (LongList::default(), Vec::new());
            list.extend(0..count);
            model.extend(0..count);
            if let (Some(entry), Some(expected)) = (list.get_mut(changed), model.get_mut(changed)) {
                (*entry, *expected) = (0, 0);
            }
            prop_assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
            for place in [0, changed, count.saturating_sub(1), count] {
                prop_assert_eq!(list.get(place), model.get(place));
            }
            prop_assert_eq!(list.into_parts().flatten().collect::<Vec<_>>(), model);
        }
    }
}
