//! The ids since the last flush: one generation that is filled and at most two sealed ones.
//!
//! A sealed generation stays for look-ups until its ids stand in a run, and on until its place is
//! needed, so that a request prepared under a slightly older view still finds them here. The place is its
//! memory: once three were alive no other is asked for, and until then the flush has the next one ready. It
//! does no I/O; when it is full the committer waits, and memory does not grow.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::Timestamp;
use crate::storage::index::entry::{Hit, IdEntry, IdHash};
use crate::storage::index::generation::Generation;

/// Sealed generations that may be alive: one being flushed, one waiting.
const SEALED_MAX: usize = 2;
/// The next generation is made when the current one is filled to this part: a daemon that hardly anybody uses
/// needs no second one.
const NEXT_FROM: usize = 4;

/// Generations of ids, oldest first; those that a view covers come before those that none does.
#[derive(Debug)]
pub struct Generations {
    ids_max: usize,
    current: Generation,
    sealed: VecDeque<Sealed>,
    /// The one after the current one.
    next: Option<Generation>,
    complete_from: u64,
}

#[derive(Debug)]
struct Sealed {
    generation: Arc<Generation>,
    covered_by: Option<u64>,
}

impl Generations {
    /// No ids, and generations of `ids_max` ids each (39 bytes of memory an id, three alive).
    pub fn new(ids_max: usize) -> Self {
        Self {
            ids_max: ids_max.max(1),
            current: Generation::new(ids_max),
            sealed: VecDeque::with_capacity(SEALED_MAX),
            next: None,
            complete_from: 0,
        }
    }

    /// Remembers an id; seals the current generation first when it is full.
    ///
    /// # Panics
    /// When [`Self::room`] is zero.
    pub fn insert(&mut self, entry: IdEntry, arrival: Timestamp) {
        if self.current.is_full() {
            assert!(self.seal_current(), "the caller waits while there is no room");
        }
        self.current.insert(entry, arrival);
    }

    /// What is known of an id, when it is in a generation that is alive.
    pub fn find(&self, hash: IdHash) -> Option<Hit> {
        let sealed = self.sealed.iter().rev().map(|sealed| &*sealed.generation);
        std::iter::once(&self.current).chain(sealed).find_map(|generation| generation.find(hash))
    }

    /// What is known of each id of `hashes`, put where `found` has nothing yet. Generations that the
    /// view `view_version` covers are left out: `found` was looked up in it.
    ///
    /// A request's new ids miss the cache in every generation. Each one's tags are gone through as a
    /// whole, first without looking, so that the processor has many of these misses on their way at
    /// once: an id after the other takes several times as long.
    pub fn find_all(&self, hashes: &[IdHash], view_version: u64, found: &mut [Option<Hit>]) {
        let is_covered = |sealed: &&Sealed| sealed.covered_by.is_some_and(|by| by <= view_version);
        let sealed = self.sealed.iter().rev().filter(|sealed| !is_covered(sealed));
        let sealed = sealed.map(|sealed| &*sealed.generation);
        for generation in std::iter::once(&self.current).chain(sealed) {
            generation.touch_tags(hashes);
            for (hash, found) in hashes.iter().zip(&mut *found) {
                if found.is_none() {
                    *found = generation.find(*hash);
                }
            }
        }
    }

    /// Brings the places where these ids would be inserted nearer to the processor.
    pub fn touch(&self, hashes: &[IdHash]) {
        self.current.touch(hashes);
    }

    /// Ids that can be inserted before the committer must wait for a flush.
    pub fn room(&self) -> usize {
        let waiting = self.sealed.iter().filter(|sealed| sealed.covered_by.is_none()).count();
        self.current.room() + (SEALED_MAX - waiting) * self.ids_max
    }

    /// Hands the current generation to the flush, also when it is not full, and starts another.
    /// Says whether nothing is left unsealed; false when both places are taken by generations that
    /// no view covers.
    pub fn seal_current(&mut self) -> bool {
        if self.current.is_empty() {
            return true;
        }
        if self.sealed.len() == SEALED_MAX {
            let Some(view_version) = self.sealed.front().and_then(|sealed| sealed.covered_by)
            else {
                return false;
            };
            self.complete_from = self.complete_from.max(view_version);
            let oldest = self.sealed.pop_front().map(|sealed| sealed.generation);
            if let Some(oldest) = oldest.and_then(Arc::into_inner).filter(|_| self.next.is_none()) {
                self.next = Some(oldest.emptied());
            }
        }
        let next = self.next.take().unwrap_or_else(|| Generation::new(self.ids_max));
        let full = std::mem::replace(&mut self.current, next);
        self.sealed.push_back(Sealed { generation: Arc::new(full), covered_by: None });
        true
    }

    /// The oldest sealed generation that no view covers yet: the next to be flushed.
    pub fn oldest_sealed(&self) -> Option<Arc<Generation>> {
        self.sealed
            .iter()
            .find(|sealed| sealed.covered_by.is_none())
            .map(|sealed| Arc::clone(&sealed.generation))
    }

    /// Notes that the view `view_version` of the index, and every later one, has the ids of
    /// `generation`.
    ///
    /// # Panics
    /// When it is not the one that [`Self::oldest_sealed`] gives.
    pub fn flushed(&mut self, generation: &Arc<Generation>, view_version: u64) {
        let oldest = self.sealed.iter_mut().find(|sealed| sealed.covered_by.is_none());
        let oldest = oldest.expect("a generation stays until a view covers it");
        assert!(Arc::ptr_eq(&oldest.generation, generation), "flushed in the order of sealing");
        oldest.covered_by = Some(view_version);
    }

    /// The oldest view version that, together with [`Self::find`], sees every id. What was looked
    /// up under an older one must be looked up again under the current view.
    pub fn complete_from(&self) -> u64 {
        self.complete_from
    }

    /// For how many ids the next generation is to be made, when it will be needed and no flushed one will
    /// have its place free.
    pub fn wants_next(&self) -> Option<usize> {
        let is_wanted = self.next.is_none()
            && self.sealed.len() < SEALED_MAX
            && self.current.ids() >= self.ids_max / NEXT_FROM;
        is_wanted.then_some(self.ids_max)
    }

    /// Takes an empty generation that is ready.
    pub fn put_next(&mut self, next: Generation) {
        self.next = Some(next);
    }

    /// Ids in generations that are alive.
    pub fn ids(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|sealed| sealed.generation.ids()).sum();
        sealed + self.current.ids()
    }

    /// Generations that are alive, one to three.
    pub fn alive(&self) -> usize {
        self.sealed.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Lsn;

    fn entry(number: u64) -> IdEntry {
        let hash = IdHash(u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64);
        IdEntry { hash, lsn: Lsn(number), fingerprint: 0 }
    }

    fn insert(generations: &mut Generations, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            generations.insert(entry(number), Timestamp::MIN);
        }
    }

    #[test]
    fn room_ends_when_three_generations_are_full_and_comes_back_with_a_flush() {
        let mut generations = Generations::new(4);
        assert_eq!(generations.room(), 12);
        insert(&mut generations, 1..=12);
        assert_eq!((generations.room(), generations.alive(), generations.ids()), (0, 3, 12));
        assert!(!generations.seal_current());

        let oldest = generations.oldest_sealed().unwrap();
        assert_eq!((oldest.first_lsn(), oldest.last_lsn()), (Lsn(1), Lsn(4)));
        generations.flushed(&oldest, 7);
        assert_eq!(generations.room(), 4);
        assert_eq!(generations.find(entry(1).hash), Some(entry(1).hit()), "still has its place");
        assert_eq!(generations.complete_from(), 0);

        insert(&mut generations, 13..=13);
        assert_eq!(generations.find(entry(1).hash), None);
        assert_eq!(generations.find(entry(5).hash), Some(entry(5).hit()));
        assert_eq!(generations.complete_from(), 7);
        assert_eq!(generations.wants_next(), None, "three are alive");
    }

    #[test]
    fn the_next_generation_is_wanted_while_fewer_than_three_are_alive() {
        let mut generations = Generations::new(8);
        insert(&mut generations, 1..=1);
        assert_eq!(generations.wants_next(), None);
        insert(&mut generations, 2..=2);
        assert_eq!(generations.wants_next(), Some(8));
        generations.put_next(Generation::touched(8));
        assert_eq!(generations.wants_next(), None);
        insert(&mut generations, 3..=10);
        assert_eq!((generations.wants_next(), generations.alive()), (Some(8), 2));
        insert(&mut generations, 11..=18);
        assert_eq!((generations.wants_next(), generations.alive()), (None, 3));
        assert!((1..=18).all(|number| generations.find(entry(number).hash).is_some()));
    }

    #[test]
    fn the_memory_of_a_flushed_generation_is_used_again_unless_somebody_still_has_it() {
        for is_held in [false, true] {
            let mut generations = Generations::new(4);
            insert(&mut generations, 1..=12);
            let oldest = generations.oldest_sealed().unwrap();
            generations.flushed(&oldest, 7);
            let place = oldest.place_in_memory();
            let held = is_held.then(|| Arc::clone(&oldest));
            drop(oldest);
            insert(&mut generations, 13..=16);
            assert_eq!(generations.current.place_in_memory() == place, !is_held);
            assert_eq!(generations.find(entry(1).hash), None);
            assert_eq!(held.map(|oldest| oldest.ids()), is_held.then_some(4));
            assert!((5..=16).all(|number| generations.find(entry(number).hash).is_some()));
        }
    }

    #[test]
    fn a_generation_that_the_view_covers_is_left_to_the_view() {
        let mut generations = Generations::new(4);
        insert(&mut generations, 1..=5);
        let oldest = generations.oldest_sealed().unwrap();
        generations.flushed(&oldest, 7);
        let hashes = [entry(1).hash, entry(5).hash, entry(6).hash];
        let find = |view_version, mut found: [Option<Hit>; 3]| {
            generations.find_all(&hashes, view_version, &mut found);
            found
        };
        let (first, last) = (Some(entry(1).hit()), Some(entry(5).hit()));
        assert_eq!(find(6, [None; 3]), [first, last, None]);
        assert_eq!(find(7, [None; 3]), [None, last, None]);
        assert_eq!(find(8, [first, None, None]), [first, last, None]);
    }

    #[test]
    fn an_empty_generation_is_not_sealed() {
        let mut generations = Generations::new(4);
        assert!(generations.seal_current());
        assert!(generations.oldest_sealed().is_none());
        assert_eq!(generations.alive(), 1);
    }
}
