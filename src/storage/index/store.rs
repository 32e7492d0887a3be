//! The tables of `ids.redb` and their transactions; the only place that knows how runs are listed.
//!
//! Every commit is durable when it returns and leaves a file that opens fast after a crash. Blocks
//! whose run has no row are leftovers of unfinished or removed runs: nobody reads them, and a
//! number that has blocks is never given again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, TableError, WriteTransaction,
};

use crate::model::{Lsn, Timestamp};
use crate::storage::index::error::Error;
use crate::storage::index::runs::{Run, Summary, unpack_directory};

/// The name of the file in the data directory.
pub const FILE: &str = "ids.redb";

/// Run and first hash to the packed entries of a block.
pub(crate) const BLOCKS: TableDefinition<'_, (u64, u128), &[u8]> = TableDefinition::new("blocks");
/// Run and row to the first hashes of the blocks that one transaction wrote, with a CRC32C.
const FIRSTS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("firsts");
/// Run and row to the part of the run's filter that one transaction completed, with a CRC32C.
const FILTERS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("filters");
/// Run to first LSN, last LSN, first arrival, last arrival, ids and blocks (8 bytes each,
/// little-endian) and a CRC32C of the run's number and all of them.
const RUNS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("runs");
/// `format` to the format (8 bytes); `state` to the last flushed LSN and the number of runs, with a
/// CRC32C as in the table of runs.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_STATE: &str = "state";
const FORMAT: u64 = 1;

/// The blocks as they were when it was opened, for as long as it is kept.
pub(crate) type BlockTable = ReadOnlyTable<(u64, u128), &'static [u8]>;

/// The open file.
#[derive(Debug)]
pub(crate) struct Store {
    /// None only while it is dropped.
    database: Option<Database>,
}

/// What the file holds.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// In the order of their LSNs.
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) flushed_through: Lsn,
    pub(crate) leftovers: Vec<u64>,
    pub(crate) next_run: u64,
}

impl Store {
    /// Opens the file, or makes the tables in an empty one.
    pub(crate) fn open(backend: impl StorageBackend, builder: &Builder) -> Result<Self, Error> {
        const ACTION: &str = "open the id index";
        guarded(ACTION, || Self::open_unguarded(ACTION, backend, builder))
    }

    fn open_unguarded(
        action: &'static str,
        backend: impl StorageBackend,
        builder: &Builder,
    ) -> Result<Self, Error> {
        let database = builder.create_with_backend(backend).map_err(Error::redb(action))?;
        let store = Self { database: Some(database) };
        let read = store.database().begin_read().map_err(Error::redb(action))?;
        match read.open_table(META) {
            Ok(meta) => {
                let format = meta.get(META_FORMAT).map_err(Error::redb(action))?;
                let format = format.and_then(|format| format.value().first_chunk().copied());
                match format.map(u64::from_le_bytes) {
                    Some(FORMAT) => {}
                    Some(found) if found > FORMAT => {
                        return Err(Error::NewerFormat { found, known: FORMAT });
                    }
                    Some(_) | None => return Err(damaged("it names no format")),
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {
                store.commit(action, |transaction| {
                    transaction.open_table(BLOCKS)?;
                    transaction.open_table(FIRSTS)?;
                    transaction.open_table(FILTERS)?;
                    transaction.open_table(RUNS)?;
                    let format = FORMAT.to_le_bytes();
                    transaction.open_table(META)?.insert(META_FORMAT, format.as_slice())?;
                    set_state(transaction, Lsn::ZERO, 0)
                })?;
            }
            Err(error) => return Err(Error::redb(action)(error)),
        }
        Ok(store)
    }

    fn database(&self) -> &Database {
        self.database.as_ref().expect("it is taken out by `drop` alone")
    }

    /// Reads the list of runs, the first hashes of their blocks and what is left over.
    pub(crate) fn load(&self) -> Result<Content, Error> {
        const ACTION: &str = "list the runs of the id index";
        guarded(ACTION, || self.read_content().map_err(Error::redb(ACTION))?)
    }

    fn read_content(&self) -> Result<Result<Content, Error>, redb::Error> {
        let read = self.database().begin_read()?;
        let firsts = read.open_table(FIRSTS)?;
        let filters = read.open_table(FILTERS)?;
        let mut runs = BTreeMap::new();
        for row in read.open_table(RUNS)?.iter()? {
            let (number, row) = row?;
            let number = number.value();
            let Some([first_lsn, last_lsn, first_arrival, last_arrival, ids, blocks]) =
                unpack_row(number, row.value())
            else {
                return Ok(Err(damaged(format!("row of run {number}"))));
            };
            let firsts = join_rows(&firsts, number)?;
            let filter = join_rows(&filters, number)?;
            let directory =
                firsts.zip(filter).and_then(|(firsts, filter)| unpack_directory(&firsts, &filter));
            let Some((firsts, filter)) =
                directory.filter(|(firsts, _)| firsts.len() as u64 == blocks)
            else {
                return Ok(Err(damaged(format!("first hashes or filter of run {number}"))));
            };
            let summary = Summary {
                first_lsn: Lsn(first_lsn),
                last_lsn: Lsn(last_lsn),
                first_arrival: Timestamp::from_nanos(first_arrival.cast_signed()),
                last_arrival: Timestamp::from_nanos(last_arrival.cast_signed()),
                ids,
            };
            let run = Run { number, summary, firsts, filter };
            runs.insert(number, Arc::new(run));
        }
        let blocks = read.open_table(BLOCKS)?;
        let mut leftovers = Vec::new();
        let mut next_run = runs.keys().next_back().map_or(1, |last| last.saturating_add(1));
        let mut from = 0;
        // One look-up a run: each goes to the first block behind all blocks of the run before.
        while let Some(block) = blocks.range((from, 0)..)?.next() {
            let number = block?.0.value().0;
            if !runs.contains_key(&number) {
                leftovers.push(number);
            }
            let Some(next) = number.checked_add(1) else {
                return Ok(Err(damaged("number of a run")));
            };
            from = next;
            next_run = next_run.max(next);
        }
        let state = read.open_table(META)?.get(META_STATE)?;
        let state = state.and_then(|state| unpack_row(0, state.value()));
        let Some([flushed_through, _]) = state.filter(|[_, count]| *count == runs.len() as u64)
        else {
            return Ok(Err(damaged("last flushed LSN or number of runs")));
        };
        let mut runs: Vec<_> = runs.into_values().collect();
        runs.sort_by_key(|run| run.summary.first_lsn);
        Ok(Ok(Content { runs, flushed_through: Lsn(flushed_through), leftovers, next_run }))
    }

    /// The blocks as of now.
    pub(crate) fn blocks(&self) -> Result<BlockTable, Error> {
        const ACTION: &str = "open a view of the id index";
        guarded(ACTION, || {
            let read = self.database().begin_read().map_err(Error::redb(ACTION))?;
            read.open_table(BLOCKS).map_err(Error::redb(ACTION))
        })
    }

    /// Makes a change, whole and durable.
    pub(crate) fn commit(
        &self,
        action: &'static str,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), Error> {
        guarded(action, || self.try_commit(change).map_err(Error::redb(action)))
    }

    fn try_commit(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.database().begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        change(&transaction)?;
        transaction.commit()?;
        Ok(())
    }
}

impl Drop for Store {
    /// Closing writes. What goes wrong then is met by the next start, which repairs it.
    fn drop(&mut self) {
        let database = self.database.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// Runs `access`, which calls redb: redb does not check what it reads against its checksums, and
/// panics on a page that was altered behind its back.
pub(crate) fn guarded<T>(
    action: &'static str,
    access: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(access))
        .unwrap_or_else(|_| Err(Error::Damaged { action, what: "redb panicked".to_owned() }))
}

fn damaged(what: impl Into<String>) -> Error {
    Error::Damaged { action: "open the id index", what: what.into() }
}

/// All rows of a run, one behind the other, when each is whole.
fn join_rows(
    table: &ReadOnlyTable<(u64, u64), &'static [u8]>,
    run: u64,
) -> Result<Option<Vec<u8>>, redb::Error> {
    let mut bytes = Vec::new();
    for row in table.range((run, 0)..=(run, u64::MAX))? {
        let (key, row) = row?;
        let Some((content, crc)) = row.value().split_last_chunk() else {
            return Ok(None);
        };
        if row_crc(key.value().1, content) != u32::from_le_bytes(*crc) {
            return Ok(None);
        }
        bytes.extend_from_slice(content);
    }
    Ok(Some(bytes))
}

/// Adds a row of first hashes and one of the filter to a run.
pub(crate) fn add_directory(
    transaction: &WriteTransaction,
    key: (u64, u64),
    firsts: &[u8],
    filter: &[u8],
) -> Result<(), redb::Error> {
    for (table, content) in [(FIRSTS, firsts), (FILTERS, filter)] {
        let row = [content, &row_crc(key.1, content).to_le_bytes()].concat();
        transaction.open_table(table)?.insert(key, row.as_slice())?;
    }
    Ok(())
}

/// The numbers of a row, when they are what was written for `key`.
fn unpack_row<const COUNT: usize>(key: u64, bytes: &[u8]) -> Option<[u64; COUNT]> {
    let (content, crc) = bytes.split_last_chunk()?;
    if row_crc(key, content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (numbers, []) = content.as_chunks() else {
        return None;
    };
    <&[_; COUNT]>::try_from(numbers).ok().map(|numbers| numbers.map(u64::from_le_bytes))
}

fn pack_row(key: u64, numbers: &[u64]) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let crc = row_crc(key, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn row_crc(key: u64, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&key.to_le_bytes()), content)
}

/// Makes a run exist.
pub(crate) fn add_run(transaction: &WriteTransaction, run: &Run) -> Result<(), redb::Error> {
    let Summary { first_lsn, last_lsn, first_arrival, last_arrival, ids } = run.summary;
    let row = pack_row(
        run.number,
        &[
            first_lsn.0,
            last_lsn.0,
            first_arrival.as_nanos().cast_unsigned(),
            last_arrival.as_nanos().cast_unsigned(),
            ids,
            run.firsts.len() as u64,
        ],
    );
    transaction.open_table(RUNS)?.insert(run.number, row.as_slice())?;
    Ok(())
}

/// Notes that every id up to `flushed_through` stands in a run, or did before it left the window,
/// and how many runs there are now: a list that lost rows is not believed.
pub(crate) fn set_state(
    transaction: &WriteTransaction,
    flushed_through: Lsn,
    runs: usize,
) -> Result<(), redb::Error> {
    let row = pack_row(0, &[flushed_through.0, runs as u64]);
    transaction.open_table(META)?.insert(META_STATE, row.as_slice())?;
    Ok(())
}

/// Makes runs exist no more; their blocks become leftovers.
pub(crate) fn remove_runs(
    transaction: &WriteTransaction,
    runs: &[Arc<Run>],
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(RUNS)?;
    for run in runs {
        table.remove(run.number)?;
    }
    Ok(())
}

/// Removes up to `blocks_max` blocks of a run that does not exist, and its first hashes and
/// filter with the last of them. Says whether nothing is left.
pub(crate) fn remove_leftovers(
    transaction: &WriteTransaction,
    run: u64,
    blocks_max: usize,
) -> Result<bool, redb::Error> {
    let mut blocks = transaction.open_table(BLOCKS)?;
    for block in blocks.extract_from_if((run, 0)..=(run, u128::MAX), |_, _| true)?.take(blocks_max)
    {
        block?;
    }
    // In the same commit: a run is known to be left over by its blocks alone, and without them its
    // number is given again.
    let is_last = blocks.range((run, 0)..=(run, u128::MAX))?.next().is_none();
    if is_last {
        for table in [FIRSTS, FILTERS] {
            let mut rows = transaction.open_table(table)?;
            rows.retain_in((run, 0)..=(run, u64::MAX), |_, _| false)?;
        }
    }
    Ok(is_last)
}
