//! The row store: `state.redb`, sorted tables of opaque bytes that change together.
//!
//! Every write transaction is one checkpoint: rows, hours and the record that names the checkpoint
//! become durable in one step. Quick repair keeps reopening after a crash short.

use std::sync::Arc;

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};

use crate::storage::redb_disk::{Overlay, RedbFile, damage};
use crate::world::processor::LongWork;
use crate::world::{Disk, DiskFile};

/// The file's name.
pub const FILE: &str = "state.redb";

/// What the file is called until it is whole.
const UNFINISHED: &str = "state.redb.new";

const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");

/// Pages in memory, of which half may be those that a transaction has changed: beyond that they are written
/// before it ends. Most rows are written in the order of their keys and read seldom, so that more saves little.
/// The default is 1 GiB, which a million subscriptions fill.
const CACHE_BYTES: usize = 128 << 20;

/// A row that is written takes about as long as so many events.
const ROW_IN_EVENTS: u64 = 4;

/// The tables that rows live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Objects: customers, keys, kept answers.
    Objects,
    /// Usage by hour.
    Hours,
    /// Usage by day: the hours of a day put together.
    Days,
}

type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

impl Table {
    /// Every table, in the order in which checkpoints count their rows.
    pub const ALL: [Self; 3] = [Self::Objects, Self::Hours, Self::Days];

    fn definition(self) -> Bytes {
        TableDefinition::new(match self {
            Self::Objects => "objects",
            Self::Hours => "hours",
            Self::Days => "days",
        })
    }
}

/// Why the row store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened or created.
    #[error("open {FILE}")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A transaction failed; nothing of it was applied.
    #[error("access {FILE}")]
    Access(#[source] Box<redb::Error>),
    /// A row is not as it was written.
    #[error("the checksum of a row of {FILE} differs")]
    Damaged,
}

impl Error {
    /// Whether the file is not as it was written.
    pub fn is_damage(&self) -> bool {
        let cause = match self {
            Self::Open(cause) => cause.downcast_ref::<redb::Error>(),
            Self::Access(cause) => Some(&**cause),
            Self::Damaged => return true,
        };
        cause.and_then(damage).is_some()
    }
}

/// A value as it is kept: behind a checksum of its key and itself. redb's own are of pages, and are not
/// looked at when it opens a file that was closed in order.
fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = checksum(key, value).to_vec();
    sealed.extend_from_slice(value);
    sealed
}

/// The value in what [`sealed`] made.
fn unsealed<'v>(key: &[u8], sealed: &'v [u8]) -> Result<&'v [u8], Error> {
    let (found, value) = sealed.split_first_chunk().ok_or(Error::Damaged)?;
    if *found == checksum(key, value) { Ok(value) } else { Err(Error::Damaged) }
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(key), value).to_le_bytes()
}

fn access<E: Into<redb::Error>>(error: E) -> Error {
    Error::Access(Box::new(error.into()))
}

/// The row store; clones share it.
#[derive(Clone)]
pub struct RowStore {
    database: Arc<Database>,
}

impl std::fmt::Debug for RowStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowStore")
    }
}

impl RowStore {
    /// Opens the store, or creates an empty one when there is no file.
    ///
    /// # Errors
    /// [`Error`]
    pub fn open(disk: &dyn Disk) -> Result<Self, Error> {
        let names = disk.names().map_err(|error| Error::Open(Box::new(error)))?;
        if !names.iter().any(|name| name == FILE) {
            Self::create(disk)?;
        }
        let file = disk.open(FILE).map_err(|error| Error::Open(Box::new(error)))?;
        Self::over(file)
    }

    /// Makes an empty store. It gets its name when it is whole, so that a crash leaves none or all.
    fn create(disk: &dyn Disk) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Open(Box::new(error));
        let store = Self::over(disk.create(UNFINISHED).map_err(failed)?)?;
        // The tables exist from the first transaction on, so that reads need no special case.
        store.begin()?.commit()?;
        drop(store);
        disk.rename(UNFINISHED, FILE).map_err(failed)?;
        disk.sync_names().map_err(|error| {
            // Its name is in doubt for ever: the next start must not find it, and take it for durable.
            let _ = disk.remove(FILE);
            failed(error)
        })
    }

    fn over(file: Arc<dyn DiskFile>) -> Result<Self, Error> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(RedbFile::new(file))
            .map_err(|error| Error::Open(Box::new(redb::Error::from(error))))?;
        Ok(Self { database: Arc::new(database) })
    }

    /// Opens an existing store without changing its file; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Open`]
    pub fn open_to_verify(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let file = match disk.open(FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::Open(Box::new(error))),
        };
        let overlay = Overlay::new(file).map_err(|error| Error::Open(Box::new(error)))?;
        let database = Database::builder()
            .set_check_integrity_on_open(true)
            .create_with_backend(overlay)
            .map_err(|error| Error::Open(Box::new(error)))?;
        Ok(Some(Self { database: Arc::new(database) }))
    }

    /// Starts a change; only one at a time.
    ///
    /// # Errors
    /// [`Error::Access`]
    pub fn begin(&self) -> Result<Batch, Error> {
        let mut transaction = self.database.begin_write().map_err(access)?;
        transaction.set_durability(Durability::Immediate).map_err(access)?;
        transaction.set_quick_repair(true);
        for table in Table::ALL {
            transaction.open_table(table.definition()).map_err(access)?;
        }
        transaction.open_table(META).map_err(access)?;
        Ok(Batch { transaction })
    }

    /// The rows as the last finished change left them, however many follow.
    ///
    /// # Errors
    /// [`Error::Access`]
    pub fn read(&self) -> Result<View, Error> {
        let transaction = self.database.begin_read().map_err(access)?;
        Ok(View { transaction })
    }
}

/// A change that is not finished; dropping it undoes it.
pub struct Batch {
    transaction: redb::WriteTransaction,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

impl Batch {
    /// Writes rows, or removes those without a value; later ones win.
    ///
    /// # Errors
    /// [`Error::Access`]
    pub fn write<'r>(
        &self,
        table: Table,
        rows: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)>,
    ) -> Result<(), Error> {
        let mut table = self.transaction.open_table(table.definition()).map_err(access)?;
        let mut work = LongWork::default();
        for (key, value) in rows {
            work.advance(ROW_IN_EVENTS);
            match value {
                Some(value) => {
                    table.insert(key, sealed(key, value).as_slice()).map_err(access)?;
                }
                None => drop(table.remove(key).map_err(access)?),
            }
        }
        Ok(())
    }

    /// The row under `key`, as this change leaves it.
    ///
    /// # Errors
    /// [`Error::Access`], [`Error::Damaged`]
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let table = self.transaction.open_table(table.definition()).map_err(access)?;
        let value = table.get(key).map_err(access)?;
        value.map(|value| unsealed(key, value.value()).map(<[u8]>::to_vec)).transpose()
    }

    /// How many rows a table has, as this change leaves it.
    ///
    /// # Errors
    /// [`Error::Access`]
    pub fn count(&self, table: Table) -> Result<u64, Error> {
        let table = self.transaction.open_table(table.definition()).map_err(access)?;
        table.len().map_err(access)
    }

    /// Sets what the store says of itself.
    ///
    /// # Errors
    /// [`Error::Access`]
    pub fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        let mut table = self.transaction.open_table(META).map_err(access)?;
        table.insert(name, sealed(name.as_bytes(), value).as_slice()).map_err(access)?;
        Ok(())
    }

    /// Makes the whole change durable.
    ///
    /// # Errors
    /// [`Error::Access`]; it is then unknown whether the change was made.
    pub fn commit(self) -> Result<(), Error> {
        self.transaction.commit().map_err(access)
    }
}

/// The rows at one instant.
pub struct View {
    transaction: redb::ReadTransaction,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl View {
    /// Shows the rows with `from <= key < to` to `visit`, in order, until it says `false`.
    ///
    /// # Errors
    /// [`Error::Access`], [`Error::Damaged`]
    pub fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let table = self.transaction.open_table(table.definition()).map_err(access)?;
        for row in table.range(from..to).map_err(access)? {
            let (key, value) = row.map_err(access)?;
            if !visit(key.value(), unsealed(key.value(), value.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// Shows the rows with `from <= key < to` to `visit`, the last one first, until it says `false`.
    ///
    /// # Errors
    /// [`Error::Access`], [`Error::Damaged`]
    pub fn range_back(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let table = self.transaction.open_table(table.definition()).map_err(access)?;
        for row in table.range(from..to).map_err(access)?.rev() {
            let (key, value) = row.map_err(access)?;
            if !visit(key.value(), unsealed(key.value(), value.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// One row.
    ///
    /// # Errors
    /// [`Error::Access`], [`Error::Damaged`]
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let table = self.transaction.open_table(table.definition()).map_err(access)?;
        let value = table.get(key).map_err(access)?;
        value.map(|value| unsealed(key, value.value()).map(<[u8]>::to_vec)).transpose()
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// [`Error::Access`]
    pub fn count(&self, table: Table) -> Result<u64, Error> {
        let table = self.transaction.open_table(table.definition()).map_err(access)?;
        table.len().map_err(access)
    }

    /// What the store says of itself.
    ///
    /// # Errors
    /// [`Error::Access`], [`Error::Damaged`]
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let table = self.transaction.open_table(META).map_err(access)?;
        let value = table.get(name).map_err(access)?;
        value.map(|value| unsealed(name.as_bytes(), value.value()).map(<[u8]>::to_vec)).transpose()
    }

    /// Reads every row, and says how many a table has.
    ///
    /// # Errors
    /// [`Error::Access`], [`Error::Damaged`]
    pub fn check(&self, table: Table) -> Result<u64, Error> {
        let table = self.transaction.open_table(table.definition()).map_err(access)?;
        let mut found = 0;
        for row in table.iter().map_err(access)? {
            let (key, value) = row.map_err(access)?;
            unsealed(key.value(), value.value())?;
            found += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::sim::SimDisk;

    type Pair = (Vec<u8>, Vec<u8>);

    fn put(batch: &Batch, table: Table, rows: &[(&[u8], Option<&[u8]>)]) {
        batch.write(table, rows.iter().copied()).unwrap();
    }

    fn all(store: &RowStore, table: Table) -> Vec<Pair> {
        let mut found = Vec::new();
        let view = store.read().unwrap();
        view.range(table, &[0], &[255], |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            true
        })
        .unwrap();
        found
    }

    #[test]
    fn a_finished_change_survives_a_power_cut_whole_and_an_unfinished_one_leaves_nothing() {
        let disk = SimDisk::new();
        let store = RowStore::open(&disk).unwrap();
        let batch = store.begin().unwrap();
        put(&batch, Table::Hours, &[(&[2], Some(b"b")), (&[1], Some(b"a")), (&[3], Some(b"c"))]);
        put(&batch, Table::Hours, &[(&[3], None)]);
        put(&batch, Table::Days, &[(&[9], Some(b"z"))]);
        batch.set_meta("name", b"value").unwrap();
        assert_eq!(batch.count(Table::Hours).unwrap(), 2);
        batch.commit().unwrap();
        let unfinished = store.begin().unwrap();
        put(&unfinished, Table::Hours, &[(&[4], Some(b"d"))]);
        let after = disk.crash_dropping_all();
        drop(unfinished);
        let store = RowStore::open(&after).unwrap();
        let pair = |key: u8, value: &[u8]| (vec![key], value.to_vec());
        assert_eq!(all(&store, Table::Hours), [pair(1, b"a"), pair(2, b"b")]);
        assert_eq!(all(&store, Table::Days), [pair(9, b"z")]);
        assert_eq!(all(&store, Table::Objects), []);
        let view = store.read().unwrap();
        assert_eq!(view.meta("name").unwrap().as_deref(), Some(&b"value"[..]));
        assert_eq!(view.meta("other").unwrap(), None);
    }

    #[test]
    fn a_view_shows_the_rows_of_its_instant() {
        let disk = SimDisk::new();
        let store = RowStore::open(&disk).unwrap();
        let before = store.read().unwrap();
        let batch = store.begin().unwrap();
        put(&batch, Table::Objects, &[(&[1], Some(b"a"))]);
        batch.commit().unwrap();
        assert_eq!(before.count(Table::Objects).unwrap(), 0);
        assert_eq!(store.read().unwrap().count(Table::Objects).unwrap(), 1);
    }

    #[test]
    fn a_range_is_shown_backwards_until_it_is_enough() {
        let store = RowStore::open(&SimDisk::new()).unwrap();
        let batch = store.begin().unwrap();
        let rows: Vec<_> = (1..=9).map(|key| [key]).collect();
        let rows: Vec<_> = rows.iter().map(|key| (&key[..], Some(&key[..]))).collect();
        put(&batch, Table::Objects, &rows);
        batch.commit().unwrap();
        let shown = |from: &[u8], to: &[u8], most: usize| {
            let mut found = Vec::new();
            let view = store.read().unwrap();
            view.range_back(Table::Objects, from, to, |key, value| {
                assert_eq!(key, value);
                found.push(key[0]);
                found.len() < most
            })
            .unwrap();
            found
        };
        assert_eq!(shown(&[3], &[7], 10), [6, 5, 4, 3]);
        assert_eq!(shown(&[3], &[7], 2), [6, 5]);
        assert_eq!(shown(&[0], &[255], 1), [9]);
        assert_eq!(shown(&[4], &[4], 1), Vec::<u8>::new());
    }

    #[test]
    fn checking_changes_nothing() {
        let disk = SimDisk::new();
        assert!(RowStore::open_to_verify(&disk).unwrap().is_none());
        drop(RowStore::open(&disk).unwrap());
        let image = disk.image(FILE);
        let store = RowStore::open_to_verify(&disk).unwrap().unwrap();
        assert_eq!(all(&store, Table::Hours), []);
        drop(store);
        assert_eq!(disk.image(FILE), image);
    }
}
