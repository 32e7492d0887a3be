//! Ids of the recent past in memory: one open-addressing table of a fixed size.
//!
//! It never rehashes (a growing table stalls for up to 0.8 s) and its memory is handed out zeroed
//! by the operating system, so that making one costs nothing up front. What that saves is paid at the first
//! touch of each page, and ids are spread over all of them: 85 ms for 1.5 million ids on a virtual machine,
//! nearly all of it within the first 15,000. So the next table is touched ahead of use, and one that was
//! flushed is used again. An id's home slot ascends
//! with its hash: slots in order are almost sorted, and only neighbours are left to sort.
//!
//! Nearly every id that is looked for is new, and the slots are too many for the caches. So each slot
//! has a tag of one byte beside the table: only a slot whose tag fits is looked into, one in a hundred
//! look-ups of a new id, and all tags together fit where the slots do not.

use std::sync::Arc;

use crate::model::{Lsn, Timestamp};
use crate::storage::index::entry::{Hit, IdEntry, IdHash};

/// Hash (4 words, lowest first), LSN (2 words), fingerprint. What an empty slot holds does not matter.
type Slot = [u32; 7];

/// Bytes of the smallest piece of memory that the operating system hands out at the first touch.
const PAGE_BYTES: usize = 4096;

/// The tag of an empty slot.
const EMPTY: u8 = 0;

/// Up to a fixed number of ids with their first copies.
#[derive(Debug)]
pub struct Generation {
    /// A third more than `ids_max`: load is at most 0.75, and one slot is always empty.
    slots: Box<[Slot]>,
    /// A byte of the hash in each slot, or [`EMPTY`].
    tags: Box<[u8]>,
    ids: usize,
    ids_max: usize,
    first_lsn: Lsn,
    last_lsn: Lsn,
    first_arrival: Timestamp,
    last_arrival: Timestamp,
}

impl Generation {
    /// An empty table for `ids_max` ids, at least one: 39 bytes of memory an id.
    pub fn new(ids_max: usize) -> Self {
        let ids_max = ids_max.max(1);
        let slots = ids_max + ids_max / 3 + 1;
        let tags = vec![EMPTY; slots].into_boxed_slice();
        let slots = vec![[0; 7]; slots].into_boxed_slice();
        Self { slots, tags, ..Self::without_slots(ids_max) }
    }

    fn without_slots(ids_max: usize) -> Self {
        Self {
            slots: Box::default(),
            tags: Box::default(),
            ids: 0,
            ids_max,
            first_lsn: Lsn(u64::MAX),
            last_lsn: Lsn::ZERO,
            first_arrival: Timestamp::MAX,
            last_arrival: Timestamp::MIN,
        }
    }

    /// An empty table whose memory is there already.
    pub fn touched(ids_max: usize) -> Self {
        let mut generation = Self::new(ids_max);
        let per_page = PAGE_BYTES / size_of::<Slot>();
        for slot in generation.slots.iter_mut().step_by(per_page) {
            *slot = std::hint::black_box([0; 7]);
        }
        for tag in generation.tags.iter_mut().step_by(PAGE_BYTES) {
            *tag = std::hint::black_box(EMPTY);
        }
        generation
    }

    /// An empty table in the memory of this one.
    #[must_use]
    pub fn emptied(self) -> Self {
        let Self { slots, mut tags, ids_max, .. } = self;
        tags.fill(EMPTY);
        Self { slots, tags, ..Self::without_slots(ids_max) }
    }

    /// Remembers an id that arrived at `arrival`. An id that is here already was forgotten in the
    /// meantime (only a refill from the log meets both copies): the newer copy counts.
    ///
    /// # Panics
    /// When the table is full or the LSN is zero.
    pub fn insert(&mut self, entry: IdEntry, arrival: Timestamp) {
        assert!(entry.lsn > Lsn::ZERO, "LSN zero stands before every event");
        assert!(!self.is_full(), "the caller seals a full generation");
        let (at, known) = self.probe(entry.hash);
        *self.slots.get_mut(at).expect("probing stays within the table") = pack(entry);
        *self.tags.get_mut(at).expect("there are as many tags as slots") = tag(entry.hash);
        self.ids += usize::from(known.is_none());
        self.first_lsn = self.first_lsn.min(entry.lsn);
        self.last_lsn = self.last_lsn.max(entry.lsn);
        self.first_arrival = self.first_arrival.min(arrival);
        self.last_arrival = self.last_arrival.max(arrival);
    }

    /// What is known of an id, when it is here.
    pub fn find(&self, hash: IdHash) -> Option<Hit> {
        self.probe(hash).1.map(IdEntry::hit)
    }

    /// Brings the slots that these ids are at home in nearer to the processor.
    pub fn touch(&self, hashes: &[IdHash]) {
        let slots = &self.slots;
        let word = |hash: &IdHash| slots.get(hash.place(slots.len())).map_or(0, |slot| slot[4]);
        // No load waits for another here.
        std::hint::black_box(hashes.iter().map(word).fold(0_u32, u32::wrapping_add));
    }

    /// Brings what [`Self::find`] looks at first nearer to the processor.
    pub fn touch_tags(&self, hashes: &[IdHash]) {
        let tags = &self.tags;
        let tag = |hash: &IdHash| tags.get(hash.place(tags.len())).copied().unwrap_or(EMPTY);
        std::hint::black_box(hashes.iter().map(tag).fold(0_u8, u8::wrapping_add));
    }

    /// Ids in the table.
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// Ids that can still be inserted.
    pub fn room(&self) -> usize {
        self.ids_max - self.ids
    }

    /// Whether no further id fits.
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Whether no id was inserted.
    pub fn is_empty(&self) -> bool {
        self.ids == 0
    }

    /// The lowest LSN; meaningless when empty.
    pub fn first_lsn(&self) -> Lsn {
        self.first_lsn
    }

    /// The highest LSN; zero when empty.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// The earliest arrival; meaningless when empty.
    pub fn first_arrival(&self) -> Timestamp {
        self.first_arrival
    }

    /// The latest arrival; meaningless when empty.
    pub fn last_arrival(&self) -> Timestamp {
        self.last_arrival
    }

    #[cfg(test)]
    pub(crate) fn place_in_memory(&self) -> *const u8 {
        self.tags.as_ptr()
    }

    /// The slot that holds `hash` and its entry, or the empty slot where it would go.
    fn probe(&self, hash: IdHash) -> (usize, Option<IdEntry>) {
        let wanted = tag(hash);
        let mut at = hash.place(self.slots.len());
        loop {
            let found = *self.tags.get(at).expect("positions wrap at the end");
            if found == EMPTY {
                return (at, None);
            }
            if found == wanted
                && let Some(entry) = self.slots.get(at).map(unpack)
                && entry.hash == hash
            {
                return (at, Some(entry));
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }
}

/// A byte of the hash that says nothing of its place; never [`EMPTY`].
fn tag(hash: IdHash) -> u8 {
    let [.., byte] = hash.low().to_le_bytes();
    byte.max(EMPTY + 1)
}

fn word(value: u128, index: u32) -> u32 {
    u32::try_from((value >> (32 * index)) & u128::from(u32::MAX)).expect("masked to 32 bits")
}

fn pack(entry: IdEntry) -> Slot {
    let hash = entry.hash.0;
    let lsn = u128::from(entry.lsn.0);
    [
        word(hash, 0),
        word(hash, 1),
        word(hash, 2),
        word(hash, 3),
        word(lsn, 0),
        word(lsn, 1),
        entry.fingerprint,
    ]
}

fn unpack(slot: &Slot) -> IdEntry {
    let [hash_0, hash_1, hash_2, hash_3, lsn_0, lsn_1, fingerprint] = *slot;
    let lsn = u64::from(lsn_0) | u64::from(lsn_1) << 32;
    let hash = u128::from(hash_0)
        | u128::from(hash_1) << 32
        | u128::from(hash_2) << 64
        | u128::from(hash_3) << 96;
    IdEntry { hash: IdHash(hash), lsn: Lsn(lsn), fingerprint }
}

/// The entries of a sealed generation in the order of their hashes, in portions.
#[derive(Debug)]
pub(crate) struct SortedEntries {
    generation: Arc<Generation>,
    slot: usize,
    /// Entries that probing carried over the end of the table to its start: they come last.
    wrapped: Vec<IdEntry>,
}

impl SortedEntries {
    pub(crate) fn new(generation: Arc<Generation>) -> Self {
        Self { generation, slot: 0, wrapped: Vec::new() }
    }

    /// Appends the next entries, at least `count` (and the rest of their cluster) as long as there
    /// are so many. Says whether any are left.
    pub(crate) fn take(&mut self, count: usize, entries: &mut Vec<IdEntry>) -> bool {
        let Generation { slots, tags, .. } = &*self.generation;
        let start = entries.len();
        // A cluster is a stretch of slots without an empty one. Each of its entries has its home
        // within it, so that clusters are sorted among each other.
        let mut cluster = start;
        while let (Some(slot), Some(tag)) = (slots.get(self.slot), tags.get(self.slot)) {
            let place = self.slot;
            self.slot += 1;
            match (*tag != EMPTY).then(|| unpack(slot)) {
                Some(entry) if entry.hash.place(slots.len()) > place => self.wrapped.push(entry),
                Some(entry) => entries.push(entry),
                None => {
                    sort(entries, cluster);
                    cluster = entries.len();
                    if cluster - start >= count {
                        return true;
                    }
                }
            }
        }
        entries.append(&mut self.wrapped);
        sort(entries, cluster);
        false
    }
}

fn sort(entries: &mut [IdEntry], from: usize) {
    entries
        .get_mut(from..)
        .expect("a cluster starts within the entries")
        .sort_unstable_by_key(|entry| entry.hash);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn bounds(generation: &Generation) -> (usize, [Lsn; 2], [Timestamp; 2]) {
        let lsns = [generation.first_lsn(), generation.last_lsn()];
        (generation.room(), lsns, [generation.first_arrival(), generation.last_arrival()])
    }

    proptest! {
        #[test]
        fn finds_what_was_inserted_and_gives_it_back_sorted(
            // The upper bits are few, so that clusters form, also over the end of the table.
            ids in prop::collection::vec((0..4_u128, any::<u16>()), 0..60),
            portion in 1..20_usize,
            before in prop::option::of(prop::collection::vec(any::<u128>(), 0..60)),
        ) {
            let mut generation = Generation::new(60);
            if let Some(before) = &before {
                for (hash, lsn) in before.iter().zip(1..) {
                    let entry = IdEntry { hash: IdHash(*hash), lsn: Lsn(lsn), fingerprint: 7 };
                    generation.insert(entry, Timestamp::MIN);
                }
                generation = generation.emptied();
                prop_assert_eq!(bounds(&generation), bounds(&Generation::touched(60)));
                prop_assert!(before.iter().all(|hash| generation.find(IdHash(*hash)).is_none()));
            }
            let mut model = BTreeMap::new();
            for (index, (high, low)) in ids.into_iter().enumerate() {
                let hash = IdHash(high.wrapping_sub(1) << 126 | u128::from(low));
                let lsn = Lsn(index as u64 + 1);
                let entry = IdEntry { hash, lsn, fingerprint: u32::from(low) };
                generation.insert(entry, Timestamp::from_nanos(i64::try_from(index).unwrap()));
                model.insert(hash, entry);
            }
            prop_assert_eq!(generation.ids(), model.len());
            for (hash, entry) in &model {
                prop_assert_eq!(generation.find(*hash), Some(entry.hit()));
                prop_assert_eq!(generation.find(IdHash(hash.0 ^ 1 << 40)), None);
            }
            let mut sorted = SortedEntries::new(Arc::new(generation));
            let mut entries = Vec::new();
            while sorted.take(portion, &mut entries) {}
            prop_assert_eq!(entries, model.into_values().collect::<Vec<_>>());
        }
    }
}
