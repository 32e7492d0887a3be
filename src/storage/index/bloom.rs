//! A blocked bloom filter: says "surely new" for all but 0.4 % of the ids that are new, with 12 bits
//! for each id that it holds.
//!
//! A block is one cache line; the upper half of an id's hash chooses it and 63 bits of the lower
//! half choose seven bits in it. One thread may insert ids while others test: bits are only ever
//! set, and whoever publishes a filter orders its bits before that. It never says "new" for an id
//! that was inserted.

use crate::storage::index::entry::IdHash;
use crate::world::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bits an id in the filter of a slice that gets no more ids, which every id is tested against:
/// 0.42 % of new ids pass (measured at 100 M ids).
const BITS_PER_ID: usize = 12;
/// Bits an id in the filter of the slice that is being filled, when it was just made anew, …
const GROWN_BITS_PER_ID: usize = 14;
/// … and when it must be made anew. Between the two it has 11.8 bits an id on average, and 0.2 % to 1 %
/// of new ids pass, on average 0.5 %. On the way to many ids each is scanned three or four times.
const FULL_BITS_PER_ID: usize = 10;
/// Bits an id in the filter of a run, which only ids that passed the slice's are tested against:
/// about 3 % pass that are not in the run.
pub(crate) const RUN_BITS_PER_ID: usize = 8;
const PROBES: u32 = 7;
const BLOCK_WORDS: usize = 8;
pub(crate) const BLOCK_BYTES: usize = BLOCK_WORDS * 8;
const BLOCK_BITS: usize = BLOCK_BYTES * 8;
/// Bits of the hash that choose one of a block's bits.
const PROBE_BITS: u32 = BLOCK_BITS.ilog2();
const _: () = assert!(PROBES * PROBE_BITS <= u64::BITS);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Block([AtomicU64; BLOCK_WORDS]);

/// A set of ids that may claim to hold one it does not.
#[derive(Debug)]
pub struct Filter {
    blocks: Box<[Block]>,
    ids: AtomicUsize,
}

impl Filter {
    /// An empty filter that keeps its promise up to `ids` ids: 1.5 bytes each.
    pub fn for_ids(ids: usize) -> Self {
        Self::with_bits(ids, BITS_PER_ID)
    }

    /// An empty filter for `ids` ids to which two fifths of that can be added.
    pub(crate) fn growing_from(ids: usize) -> Self {
        Self::with_bits(ids, GROWN_BITS_PER_ID)
    }

    /// An empty filter for `ids` ids, with more false positives the fewer bits each has.
    pub(crate) fn with_bits(ids: usize, bits_per_id: usize) -> Self {
        Self::with_blocks(ids.saturating_mul(bits_per_id).div_ceil(BLOCK_BITS).max(1))
    }

    pub(crate) fn with_blocks(blocks: usize) -> Self {
        let blocks = (0..blocks).map(|_| Block::default()).collect();
        Self { blocks, ids: AtomicUsize::new(0) }
    }

    /// Adds an id. One thread at a time may: a locked instruction for each bit would be a third of what
    /// it takes to write an id to disk.
    pub fn insert(&self, hash: IdHash) {
        let block = self.block(hash);
        for probe in 0..PROBES {
            let (word, bit) = position(hash.low(), probe);
            if let Some(word) = block.0.get(word) {
                word.store(word.load(Ordering::Relaxed) | 1 << bit, Ordering::Relaxed);
            }
        }
        self.ids.fetch_add(1, Ordering::Relaxed);
    }

    /// [`Self::insert`] for whoever has the filter alone, without locked instructions.
    pub(crate) fn insert_exclusive(&mut self, hash: IdHash) {
        let block = hash.place(self.blocks.len());
        let block = self.blocks.get_mut(block).expect("a place lies below the count");
        for probe in 0..PROBES {
            let (word, bit) = position(hash.low(), probe);
            if let Some(word) = block.0.get_mut(word) {
                *word.get_mut() |= 1 << bit;
            }
        }
        *self.ids.get_mut() += 1;
    }

    /// Whether an id may have been inserted; false is certain.
    pub fn test(&self, hash: IdHash) -> bool {
        let block = self.block(hash);
        let mut all = 1;
        // Without branches, so that the cache misses of neighbouring ids overlap.
        for probe in 0..PROBES {
            let (word, bit) = position(hash.low(), probe);
            all &= block.0.get(word).map_or(0, |word| word.load(Ordering::Relaxed)) >> bit;
        }
        all & 1 == 1
    }

    /// [`Self::test`] for each of `hashes`, in their order, into `passed`.
    pub fn test_batch(&self, hashes: &[IdHash], passed: &mut Vec<bool>) {
        passed.clear();
        passed.extend(hashes.iter().map(|hash| self.test(*hash)));
    }

    /// Ids that can be inserted before more than 1 % of new ids pass.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK_BITS / FULL_BITS_PER_ID
    }

    /// Ids that were inserted.
    pub fn ids(&self) -> usize {
        self.ids.load(Ordering::Relaxed)
    }

    /// The filter's size in bits.
    pub fn bits(&self) -> usize {
        self.blocks.len() * BLOCK_BITS
    }

    /// The block that an id's bits are in; it ascends with the hash.
    pub(crate) fn block_of(&self, hash: IdHash) -> usize {
        hash.place(self.blocks.len())
    }

    pub(crate) fn blocks_count(&self) -> usize {
        self.blocks.len()
    }

    /// Appends `count` blocks from block `first` on to `bytes`, or as many as there are.
    pub(crate) fn encode(&self, first: usize, count: usize, bytes: &mut Vec<u8>) {
        for word in self.blocks.iter().skip(first).take(count).flat_map(|block| &block.0) {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
    }

    /// Adds the bits of blocks that [`Self::encode`] wrote.
    pub(crate) fn decode(&self, first: usize, bytes: &[u8]) {
        let words = self.blocks.iter().skip(first).flat_map(|block| &block.0);
        for (word, bytes) in words.zip(bytes.as_chunks().0) {
            word.fetch_or(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// Counts ids whose bits came in through [`Self::decode`].
    pub(crate) fn add_ids(&self, ids: usize) {
        self.ids.fetch_add(ids, Ordering::Relaxed);
    }

    fn block(&self, hash: IdHash) -> &Block {
        self.blocks.get(self.block_of(hash)).expect("a place lies below the count")
    }
}

/// The word of a block and the bit in it that a probe looks at.
fn position(low: u64, probe: u32) -> (usize, u32) {
    let bits = (low >> (probe * PROBE_BITS)) & (BLOCK_BITS as u64 - 1);
    let bits = u32::try_from(bits).expect("nine bits");
    ((bits / u64::BITS) as usize, bits % u64::BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::index::IdHasher;

    #[test]
    fn few_new_ids_pass_at_first_and_below_one_percent_of_them_in_the_end() {
        let filter = Filter::growing_from(100_000);
        assert!((140_000..140_100).contains(&filter.capacity()));
        let hasher = IdHasher::new([7; 16]);
        let new: Vec<_> =
            (0..100_000).map(|number| hasher.hash(&format!("other_{number}"))).collect();
        let passing = || {
            let mut passed = Vec::new();
            filter.test_batch(&new, &mut passed);
            passed.into_iter().filter(|passed| *passed).count()
        };
        let insert = |ids: std::ops::Range<usize>| {
            ids.for_each(|id| filter.insert(hasher.hash(&format!("evt_{id}"))));
        };
        insert(0..100_000);
        let first = passing();
        assert!((100..300).contains(&first), "{first} of 100,000 new ids passed");
        insert(100_000..120_000);
        let middle = passing();
        assert!((300..650).contains(&middle), "{middle} of 100,000 new ids passed");
        insert(120_000..filter.capacity());
        assert_eq!(filter.ids(), filter.capacity());
        let last = passing();
        assert!((750..1_150).contains(&last), "{last} of 100,000 new ids passed");
    }

    proptest! {
        #[test]
        fn an_id_that_was_inserted_always_passes(
            inserted in prop::collection::vec(any::<u128>(), 1..50),
            capacity in 0..100_usize,
        ) {
            let filter = Filter::for_ids(capacity);
            let hashes: Vec<_> = inserted.into_iter().map(IdHash).collect();
            for hash in &hashes {
                filter.insert(*hash);
            }
            let mut bytes = Vec::new();
            filter.encode(0, filter.blocks_count(), &mut bytes);
            prop_assert_eq!(bytes.len(), filter.blocks_count() * BLOCK_BYTES);
            let copy = Filter::with_blocks(filter.blocks_count());
            copy.decode(0, &bytes);
            let mut alone = Filter::with_blocks(filter.blocks_count());
            for hash in &hashes {
                alone.insert_exclusive(*hash);
            }
            for filter in [filter, copy, alone] {
                let mut passed = Vec::new();
                filter.test_batch(&hashes, &mut passed);
                prop_assert!(passed.into_iter().all(|passed| passed));
            }
        }
    }
}
