//! A list by number whose copy costs a small part of its length: what a checkpoint copies while
//! nothing may change.

use std::sync::Arc;

/// Objects of one drawer. A change after a copy copies one drawer of pointers, and counts one reference
/// more in each object of it, which is a miss of the caches each.
pub const DRAWER: usize = 64;

/// The objects of a list as they were, drawer by drawer.
pub type Drawers<T> = std::vec::IntoIter<Arc<Vec<Arc<T>>>>;

/// A list of shared objects; see the module.
#[derive(Debug)]
pub struct Shelf<T> {
    drawers: Vec<Arc<Vec<Arc<T>>>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { drawers: Vec::new() }
    }
}

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Self {
        Self { drawers: self.drawers.clone() }
    }
}

impl<T> Shelf<T> {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.drawers.last().map_or(0, |last| (self.drawers.len() - 1) * DRAWER + last.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.drawers.is_empty()
    }

    /// The object at `place`.
    pub fn get(&self, place: usize) -> Option<&Arc<T>> {
        self.drawers.get(place / DRAWER)?.get(place % DRAWER)
    }

    /// The object at `place`, to be changed; a copy elsewhere keeps it as it was.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T>
    where
        T: Clone,
    {
        let drawer = Arc::make_mut(self.drawers.get_mut(place / DRAWER)?);
        drawer.get_mut(place % DRAWER).map(Arc::make_mut)
    }

    /// Puts an object over the one at `place`, or behind the last one.
    ///
    /// # Panics
    /// When that would leave a gap.
    pub fn put(&mut self, place: usize, object: Arc<T>) {
        assert!(place <= self.len(), "places have no gaps");
        if place / DRAWER == self.drawers.len() {
            self.drawers.push(Arc::default());
        }
        let drawer = self.drawers.get_mut(place / DRAWER).expect("it was just made");
        let drawer = Arc::make_mut(drawer);
        match drawer.get_mut(place % DRAWER) {
            Some(known) => *known = object,
            None => drawer.push(object),
        }
    }

    /// All objects as they are now, drawer by drawer in order; one that is dropped is not kept for it any more.
    pub fn drawers(&self) -> Drawers<T> {
        self.drawers.clone().into_iter()
    }

    /// The objects, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        self.drawers.iter().flat_map(|drawer| drawer.iter())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_copy_keeps_what_was_there_and_the_list_what_is(
            puts in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..40),
            filled in 0..3000_usize,
            copy_at in 0..40_usize,
        ) {
            let (mut shelf, mut model) = (Shelf::default(), Vec::new());
            for place in 0..filled {
                shelf.put(place, Arc::new(0));
                model.push(0);
            }
            let mut copied = (shelf.drawers(), model.clone());
            for (nth, (place, value)) in puts.into_iter().enumerate() {
                if nth == copy_at {
                    copied = (shelf.drawers(), model.clone());
                }
                let place = place.index(model.len() + 1);
                shelf.put(place, Arc::new(value));
                if place == model.len() {
                    model.push(value);
                } else {
                    model[place] = value;
                }
            }
            let (drawers, then) = copied;
            let copied: Vec<u32> = drawers.flat_map(Arc::unwrap_or_clone).map(|value| *value).collect();
            prop_assert_eq!(copied, then);
            prop_assert_eq!(shelf.len(), model.len());
            let found: Vec<u32> = shelf.iter().map(|value| **value).collect();
            prop_assert_eq!(&found, &model);
            prop_assert!(shelf.get(model.len()).is_none());
            let by_place: Vec<u32> =
                (0..model.len()).filter_map(|place| Some(**shelf.get(place)?)).collect();
            prop_assert_eq!(by_place, model);
        }
    }
}
