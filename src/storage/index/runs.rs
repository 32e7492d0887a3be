//! Sorted runs: the ids of one flushed generation, or of several merged ones, in packed blocks.
//!
//! A block holds up to [`BLOCK_IDS_MAX`] entries in the order of their hashes and a CRC32C, and its
//! key is its run and first hash. In memory are the first hashes of all blocks, so that one read
//! finds an id or tells that it is not there, and a filter of one byte an id, which saves that read
//! in most runs that do not have it: with 29 runs and 72 M ids a look-up of a known id took 140 us
//! of CPU without. A run never changes, and it exists only once its row does; its range of LSNs
//! overlaps no other's.

use std::sync::Arc;

use redb::WriteTransaction;

use crate::model::{Lsn, Timestamp};
use crate::storage::index::bloom::{BLOCK_BYTES, Filter, RUN_BITS_PER_ID};
use crate::storage::index::entry::{ENTRY_BYTES, Hit, IdEntry, IdHash};
use crate::storage::index::error::Error;
use crate::storage::index::generation::Generation;
use crate::storage::index::store::{self, BLOCKS, BlockTable, guarded};

/// The most entries that fill one 4096-byte page of redb: 28 bytes of page header, key and offset,
/// 4 of checksum, 144 x 28 of entries. At 128 a page would be a tenth empty, at 146 it would be two.
pub const BLOCK_IDS_MAX: usize = 144;

const CRC_BYTES: usize = 4;
const FIRST_BYTES: usize = 16;
const _: () = assert!(BLOCK_IDS_MAX * ENTRY_BYTES + CRC_BYTES + 32 <= 4096);

/// What a run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The lowest LSN.
    pub first_lsn: Lsn,
    /// The highest LSN: every event between the two is in the run.
    pub last_lsn: Lsn,
    /// The earliest arrival.
    pub first_arrival: Timestamp,
    /// The latest arrival.
    pub last_arrival: Timestamp,
    /// The number of ids.
    pub ids: u64,
}

impl Summary {
    pub(crate) fn of_generation(generation: &Generation) -> Self {
        Self {
            first_lsn: generation.first_lsn(),
            last_lsn: generation.last_lsn(),
            first_arrival: generation.first_arrival(),
            last_arrival: generation.last_arrival(),
            ids: generation.ids() as u64,
        }
    }

    /// What both hold together, when no id is in both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            first_lsn: self.first_lsn.min(other.first_lsn),
            last_lsn: self.last_lsn.max(other.last_lsn),
            first_arrival: self.first_arrival.min(other.first_arrival),
            last_arrival: self.last_arrival.max(other.last_arrival),
            ids: self.ids + other.ids,
        }
    }
}

/// A run that exists, with the first hashes of its blocks and its filter.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) number: u64,
    pub(crate) summary: Summary,
    pub(crate) firsts: Box<[IdHash]>,
    pub(crate) filter: Filter,
}

impl Run {
    /// What is known of an id, when it is in this run: at most one read.
    pub(crate) fn find(&self, blocks: &BlockTable, hash: IdHash) -> Result<Option<Hit>, Error> {
        if !self.filter.test(hash) {
            return Ok(None);
        }
        let after = self.firsts.partition_point(|first| *first <= hash);
        let Some(first) = after.checked_sub(1).and_then(|at| self.firsts.get(at)) else {
            return Ok(None);
        };
        read_block(blocks, self.number, *first, |entries| find_packed(entries, hash))
    }
}

/// What is known of an id, when it is among these packed entries, which ascend by hash.
pub fn find_packed(entries: &[[u8; ENTRY_BYTES]], hash: IdHash) -> Option<Hit> {
    let at = entries.binary_search_by_key(&hash, |bytes| IdEntry::from_bytes(bytes).hash);
    at.ok().and_then(|at| entries.get(at)).map(|bytes| IdEntry::from_bytes(bytes).hit())
}

/// Lets `look` see the entries of one block, sorted.
fn read_block<T>(
    blocks: &BlockTable,
    run: u64,
    first: IdHash,
    look: impl FnOnce(&[[u8; ENTRY_BYTES]]) -> T,
) -> Result<T, Error> {
    const ACTION: &str = "read a block of the id index";
    let damaged = |what| Error::Damaged {
        action: ACTION,
        what: format!("block {:032x} of run {run} {what}", first.0),
    };
    guarded(ACTION, || {
        let block = blocks.get((run, first.0)).map_err(Error::redb(ACTION))?;
        let block = block.ok_or_else(|| damaged("is missing"))?;
        let entries = unpack_block(block.value()).ok_or_else(|| damaged("fails its checksum"))?;
        if entries.first().is_none_or(|bytes| IdEntry::from_bytes(bytes).hash != first) {
            return Err(damaged("starts with another hash"));
        }
        Ok(look(entries))
    })
}

/// Replaces `bytes` by the block of these entries, which ascend by hash.
pub fn pack_block(entries: &[IdEntry], bytes: &mut Vec<u8>) {
    bytes.clear();
    for entry in entries {
        bytes.extend_from_slice(&entry.to_bytes());
    }
    let crc = crc32c::crc32c(bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// The entries of a block, each packed, when it is whole.
pub fn unpack_block(bytes: &[u8]) -> Option<&[[u8; ENTRY_BYTES]]> {
    let (entries, crc) = bytes.split_last_chunk()?;
    let (entries_packed, []) = entries.as_chunks() else {
        return None;
    };
    (crc32c::crc32c(entries) == u32::from_le_bytes(*crc)).then_some(entries_packed)
}

/// The first hashes and the filter of a run from the rows that [`RunWriter`] wrote, when they are
/// whole.
pub(crate) fn unpack_directory(firsts: &[u8], filter: &[u8]) -> Option<(Box<[IdHash]>, Filter)> {
    let (firsts, []) = firsts.as_chunks::<FIRST_BYTES>() else {
        return None;
    };
    let (blocks, []) = filter.as_chunks::<BLOCK_BYTES>() else {
        return None;
    };
    let run_filter = Filter::with_blocks(blocks.len());
    run_filter.decode(0, filter);
    let firsts = firsts.iter().map(|first| IdHash(u128::from_le_bytes(*first)));
    (!blocks.is_empty()).then(|| (firsts.collect(), run_filter))
}

/// Reads a run from its first hash to its last, a block at a time.
#[derive(Debug)]
pub(crate) struct Scan {
    run: Arc<Run>,
    next_block: usize,
}

impl Scan {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Self { run, next_block: 0 }
    }

    /// Appends the entries of the next block; false when there is none left.
    pub(crate) fn next_block(
        &mut self,
        blocks: &BlockTable,
        entries: &mut impl Extend<IdEntry>,
    ) -> Result<bool, Error> {
        let Some(first) = self.run.firsts.get(self.next_block) else {
            return Ok(false);
        };
        read_block(blocks, self.run.number, *first, |packed| {
            entries.extend(packed.iter().map(IdEntry::from_bytes));
        })?;
        self.next_block += 1;
        Ok(true)
    }
}

/// Writes the blocks of a run that does not exist yet, over any number of transactions.
#[derive(Debug)]
pub(crate) struct RunWriter {
    number: u64,
    block_ids: usize,
    /// Entries that do not fill a block yet.
    pending: Vec<IdEntry>,
    firsts: Vec<IdHash>,
    filter: Filter,
    /// Blocks of the filter that were written: no later hash comes before them.
    filter_blocks: usize,
    ids: u64,
    rows: u64,
}

impl RunWriter {
    /// A writer for about `ids` ids.
    pub(crate) fn new(number: u64, ids: usize, block_ids_max: usize) -> Self {
        Self {
            number,
            block_ids: block_ids_max.clamp(1, BLOCK_IDS_MAX),
            pending: Vec::new(),
            firsts: Vec::new(),
            filter: Filter::with_bits(ids, RUN_BITS_PER_ID),
            filter_blocks: 0,
            ids: 0,
            rows: 0,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Takes the next entries in order, and says whether a block can be written.
    pub(crate) fn take(&mut self, entries: impl IntoIterator<Item = IdEntry>) -> bool {
        self.pending.extend(entries);
        self.pending.len() >= self.block_ids
    }

    /// Writes the full blocks, or when these are the `Last` ones also what is left.
    pub(crate) fn write(
        &mut self,
        transaction: &WriteTransaction,
        portion: Portion,
    ) -> Result<(), redb::Error> {
        let count = match portion {
            Portion::More => self.pending.len() - self.pending.len() % self.block_ids,
            Portion::Last => self.pending.len(),
        };
        let entries = self.pending.get(..count).unwrap_or_default();
        // Later ids may still set bits in the last one's block of the filter, but in none before it.
        let filter_end = match (portion, entries.last()) {
            (Portion::More, None) => self.filter_blocks,
            (Portion::More, Some(last)) => self.filter.block_of(last.hash),
            (Portion::Last, _) => self.filter.blocks_count(),
        };
        let mut blocks = transaction.open_table(BLOCKS)?;
        let mut bytes = Vec::new();
        let mut firsts = Vec::new();
        for entries in entries.chunks(self.block_ids) {
            let first = entries.first().expect("chunks are not empty").hash;
            pack_block(entries, &mut bytes);
            blocks.insert((self.number, first.0), bytes.as_slice())?;
            firsts.extend_from_slice(&first.0.to_le_bytes());
            self.firsts.push(first);
            for entry in entries {
                self.filter.insert_exclusive(entry.hash);
            }
        }
        bytes.clear();
        self.filter.encode(self.filter_blocks, filter_end - self.filter_blocks, &mut bytes);
        store::add_directory(transaction, (self.number, self.rows), &firsts, &bytes)?;
        self.filter_blocks = filter_end;
        self.rows += 1;
        self.ids += count as u64;
        self.pending.drain(..count);
        Ok(())
    }

    /// The run as it will exist once its row is written.
    pub(crate) fn finish(self, summary: Summary) -> Run {
        assert!(self.pending.is_empty(), "the last entries were written");
        let summary = Summary { ids: self.ids, ..summary };
        Run {
            number: self.number,
            summary,
            firsts: self.firsts.into_boxed_slice(),
            filter: self.filter,
        }
    }
}

/// Whether more entries of a run follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    More,
    Last,
}
