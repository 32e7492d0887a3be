//! A table on disk from a hash to the blocks that hold it, one or two pages read for a look-up.
//!
//! An entry is 24 bits of the hash and a block's number; the hash's upper half chooses its page. A
//! page that was full when an entry came says so, and the entry stands in the next one. So a file
//! answers "not here" out of one page of 4 KiB, the least that reading costs anyway, and is wrong for
//! one hash in 20,000: a filter in front would save nothing. Each page has its own checksum.
//!
//! | bytes | what |
//! | --- | --- |
//! | 2 | entries |
//! | 1 | 1: entries of this page stand in the next one too |
//! | per entry 3, 2 | the lowest bytes of the hash, the block's number |
//! | … | zeros |
//! | 4 | CRC32C of the file's first LSN, the page's offset and the page up to here |

use crate::storage::history::format::checksum;
use crate::storage::history::pack::Fault;
use crate::storage::index::IdHash;

pub(super) const PAGE_BYTES: usize = 4096;
const HEAD_BYTES: usize = 3;
const MARK_BYTES: usize = 3;
const ENTRY_BYTES: usize = MARK_BYTES + 2;
const CRC_BYTES: usize = 4;
const CRC_AT: usize = PAGE_BYTES - CRC_BYTES;
const ENTRIES_MAX: usize = (CRC_AT - HEAD_BYTES) / ENTRY_BYTES;

/// Entries of a page on average. At 93 % one page in fifty spills over; without room for chance the
/// last pages would all be read for one look-up.
const ENTRIES_PLANNED: usize = 760;
const _: () = assert!(ENTRIES_PLANNED < ENTRIES_MAX && ENTRIES_MAX <= u16::MAX as usize);

/// Entries are sorted in so many parts, so that no step of writing takes long.
const BUCKETS: usize = 256;

/// A hash of which 96 bits are kept, and a block that has it: two hashes alike in those are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    high: u64,
    low: u32,
    block: u16,
}

fn low_bits(hash: IdHash) -> u32 {
    u32::try_from(hash.low() & u64::from(u32::MAX)).expect("32 bits")
}

fn mark(low: u32) -> [u8; MARK_BYTES] {
    let [a, b, c, _] = low.to_le_bytes();
    [a, b, c]
}

/// The page of `places` that a hash belongs to; it ascends with the hash.
fn place(high: u64, places: u32) -> u32 {
    let product = u128::from(high) * u128::from(places);
    u32::try_from(product >> u64::BITS).expect("below `places`")
}

/// Which of the blocks that have one hash the table keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The last one alone: of an id, the newest copy is asked for.
    Last,
    /// All of them.
    All,
}

/// Gathers the pairs of a table, 16 bytes each.
pub(super) struct Pairs {
    keep: Keep,
    buckets: Vec<Vec<Pair>>,
    count: usize,
}

impl Pairs {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, buckets: vec![Vec::new(); BUCKETS], count: 0 }
    }

    /// Adds a pair.
    pub(super) fn push(&mut self, hash: IdHash, block: u16) {
        let bucket = self.buckets.get_mut(hash.place(BUCKETS)).expect("below the number of them");
        bucket.push(Pair { high: hash.high(), low: low_bits(hash), block });
        self.count += 1;
    }

    /// Begins to write the table.
    pub(super) fn into_pages(self) -> PageWriter {
        let places = self.count.div_ceil(ENTRIES_PLANNED).max(1);
        PageWriter {
            keep: self.keep,
            buckets: self.buckets.into_iter(),
            places: u32::try_from(places).expect("fewer than 2^32 pages"),
            pages: 0,
            entries: Vec::with_capacity(CRC_AT),
        }
    }
}

/// Where a table stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// The LSN that the file begins with.
    pub(super) first_lsn: crate::model::Lsn,
    /// Where its first page begins.
    pub(super) offset: u64,
}

impl Site {
    pub(super) fn page_offset(&self, page: u32) -> u64 {
        self.offset.saturating_add(u64::from(page) * PAGE_BYTES as u64)
    }

    fn checksum(&self, page: u32, bytes: &[u8]) -> u32 {
        checksum(self.first_lsn, self.page_offset(page), bytes)
    }
}

/// Writes a table, page after page.
pub(super) struct PageWriter {
    keep: Keep,
    buckets: std::vec::IntoIter<Vec<Pair>>,
    /// Pages that hashes are spread over.
    places: u32,
    /// Pages written.
    pages: u32,
    /// The entries of the page to come, as bytes.
    entries: Vec<u8>,
}

impl PageWriter {
    /// Appends the pages of some more pairs to `out`; false when all are written.
    pub(super) fn step(&mut self, site: &Site, out: &mut Vec<u8>) -> bool {
        let Some(mut bucket) = self.buckets.next() else {
            while self.pages < self.places || !self.entries.is_empty() {
                self.close(site, false, out);
            }
            return false;
        };
        bucket.sort_unstable();
        for (pair, next) in bucket.iter().zip(bucket.iter().skip(1).map(Some).chain([None])) {
            let same = next.is_some_and(|next| (next.high, next.low) == (pair.high, pair.low));
            if same && (self.keep == Keep::Last || next == Some(pair)) {
                continue;
            }
            let place = place(pair.high, self.places);
            while self.pages < place {
                self.close(site, false, out);
            }
            if self.entries.len() == ENTRIES_MAX * ENTRY_BYTES {
                self.close(site, true, out);
            }
            self.entries.extend_from_slice(&mark(pair.low));
            self.entries.extend_from_slice(&pair.block.to_le_bytes());
        }
        true
    }

    fn close(&mut self, site: &Site, spills: bool, out: &mut Vec<u8>) {
        let start = out.len();
        let count = u16::try_from(self.entries.len() / ENTRY_BYTES).expect("a page's entries");
        out.extend_from_slice(&count.to_le_bytes());
        out.push(spills.into());
        out.append(&mut self.entries);
        out.resize(start + CRC_AT, 0);
        let crc = site.checksum(self.pages, out.split_at(start).1);
        out.extend_from_slice(&crc.to_le_bytes());
        self.pages += 1;
    }

    /// The pages that hashes are spread over, and those written.
    pub(super) fn extent(&self) -> (u32, u32) {
        (self.places, self.pages)
    }
}

/// The first page to read for a hash.
pub(super) fn first_page(hash: IdHash, places: u32) -> u32 {
    place(hash.high(), places)
}

/// A page that was read.
#[derive(Debug)]
pub(super) struct Page<'a> {
    entries: &'a [[u8; ENTRY_BYTES]],
    /// Whether the next page has entries of this one too.
    pub(super) spills: bool,
}

impl<'a> Page<'a> {
    /// Page `page` of a table, whose bytes these are.
    pub(super) fn read(bytes: &'a [u8; PAGE_BYTES], page: u32, site: &Site) -> Result<Self, Fault> {
        const FORM: Fault = Fault("a page of an index is not one");
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(FORM)?;
        if u32::from_le_bytes(*crc) != site.checksum(page, body) {
            return Err(Fault("the checksum of an index page differs"));
        }
        let (count, rest) = body.split_first_chunk().ok_or(FORM)?;
        let (spills, rest) = rest.split_first().ok_or(FORM)?;
        let (entries, _) = rest.as_chunks();
        let entries = entries.get(..usize::from(u16::from_le_bytes(*count))).ok_or(FORM)?;
        Ok(Self { entries, spills: *spills == 1 })
    }

    /// Appends the blocks that may hold `hash`.
    pub(super) fn blocks(&self, hash: IdHash, blocks: &mut Vec<u16>) {
        let [a, b, c] = mark(low_bits(hash));
        let found = self.entries.iter().filter(|[d, e, f, _, _]| (a, b, c) == (*d, *e, *f));
        blocks.extend(found.map(|[_, _, _, low, high]| u16::from_le_bytes([*low, *high])));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Lsn;

    const SITE: Site = Site { first_lsn: Lsn(9), offset: 77 };

    fn written(keep: Keep, pairs: &[(u128, u16)]) -> (Vec<u8>, u32) {
        let mut table = Pairs::new(keep);
        for (hash, block) in pairs {
            table.push(IdHash(*hash), *block);
        }
        let mut writer = table.into_pages();
        let mut bytes = Vec::new();
        while writer.step(&SITE, &mut bytes) {}
        let (places, pages) = writer.extent();
        assert_eq!(bytes.len(), pages as usize * PAGE_BYTES);
        (bytes, places)
    }

    fn blocks(table: &(Vec<u8>, u32), hash: u128) -> Vec<u16> {
        let (bytes, places) = table;
        let (pages, _) = bytes.as_chunks();
        let mut found = Vec::new();
        for number in first_page(IdHash(hash), *places).. {
            let page = Page::read(&pages[number as usize], number, &SITE).unwrap();
            page.blocks(IdHash(hash), &mut found);
            if !page.spills {
                break;
            }
        }
        found
    }

    #[test]
    fn hashes_that_crowd_into_one_page_are_found_in_those_behind_it() {
        let same: Vec<_> = (0..5000).map(|block| (u128::MAX - 5, block)).collect();
        let table = written(Keep::All, &same);
        assert_eq!(blocks(&table, u128::MAX - 5), (0..5000).collect::<Vec<_>>());
        let last = written(Keep::Last, &same);
        assert_eq!(blocks(&last, u128::MAX - 5), [4999]);
        // One above the other in the upper half, so that all belong to the first page.
        let near: Vec<_> =
            (0..4000_u16).map(|n| (u128::from(n) << 64 | u128::from(n), n)).collect();
        let table = written(Keep::All, &near);
        for (hash, block) in near {
            assert_eq!(blocks(&table, hash), [block]);
        }
    }

    #[test]
    fn an_empty_table_is_one_page() {
        let table = written(Keep::All, &[]);
        assert_eq!(table.0.len(), PAGE_BYTES);
        assert!(blocks(&table, 3).is_empty());
    }

    proptest! {
        #[test]
        fn every_block_of_a_hash_is_found(
            seeds in prop::collection::vec((any::<u64>(), 0..9_u16), 0..3000),
        ) {
            let spread = |seed: u64| u128::from(seed % 1500 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let pairs: Vec<_> = seeds.iter().map(|(seed, block)| (spread(*seed), *block)).collect();
            let (all, last) = (written(Keep::All, &pairs), written(Keep::Last, &pairs));
            for (hash, _) in &pairs {
                let of_hash = pairs.iter().filter(|(other, _)| other == hash);
                let expected: std::collections::BTreeSet<_> = of_hash.map(|(_, block)| *block).collect();
                let found = blocks(&last, *hash);
                prop_assert_eq!(found.as_slice(), &[*expected.last().unwrap()][..]);
                prop_assert_eq!(blocks(&all, *hash), expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
