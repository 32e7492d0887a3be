//! Writing one file: events and records in, a file that was read back out.
//!
//! Nothing counts before [`Writer::finish_step`] says so: until then the file has another name, and
//! the next start removes it. No call writes, syncs, sorts or reads more than about 4 MiB, so that a
//! caller can pace them; a record longer than that is the exception. Until the file is finished its
//! ids and customers take 16 bytes of memory an entry, some 30 bytes an event.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::model::{Lsn, Timestamp};
use crate::storage::codec;
use crate::storage::history::block::Builder;
use crate::storage::history::file::{File, name_of, temporary_name_of};
use crate::storage::history::format::{
    BLOCKS_MAX, BlockEntry, DIRECTORY_NAMES_MAX, Directory, Footer, Header, NAMES_MAX, Section,
    Table, checksum,
};
use crate::storage::history::lookup::{Keep, PageWriter, Pairs, Site};
use crate::storage::history::pack::Packer;
use crate::storage::history::verify::Check;
use crate::storage::history::{Error, History, Record, Stored};
use crate::storage::index::IdHash;
use crate::world::DiskFile;

/// Written and synced at once, so that a commit never waits long behind history.
const STEP_BYTES: usize = 2 << 20;

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    Working,
    /// The file is part of history.
    Done,
}

/// Writes one file of history.
pub struct Writer {
    history: History,
    name: String,
    temporary: String,
    file: Arc<dyn DiskFile>,
    first_lsn: Lsn,
    /// The LSN that must come next.
    next_lsn: Lsn,
    block: Builder,
    packer: Packer,
    /// Bytes that are in the file and synced.
    offset: u64,
    /// Bytes that follow those.
    pending: Vec<u8>,
    names: Names,
    directory: Directory,
    ids: Pairs,
    customers: Pairs,
    totals: Totals,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    events: u64,
    records: u64,
    times: Option<(Timestamp, Timestamp)>,
    arrivals: Option<(Timestamp, Timestamp)>,
}

enum Stage {
    Filling,
    Ids(PageWriter, u64),
    Customers(PageWriter, u64, Table),
    Tail(Table, Table),
    Checking(Box<Check>),
    Done,
    /// A step failed; what is in the file nobody knows.
    Failed,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, next_lsn, .. } = self;
        f.debug_struct("Writer")
            .field("name", name)
            .field("next_lsn", next_lsn)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn create(history: History, first_lsn: Lsn) -> Result<Self, Error> {
        assert!(first_lsn > Lsn::ZERO, "the first record is number 1");
        let (name, temporary) = (name_of(first_lsn), temporary_name_of(first_lsn));
        let created = history.shared.disk.create(&temporary);
        let file = created.map_err(|cause| Error::Io { file: temporary.clone(), cause })?;
        let header = Header { incarnation: history.shared.incarnation, first_lsn };
        Ok(Self {
            history,
            name,
            temporary,
            file,
            first_lsn,
            next_lsn: first_lsn,
            block: Builder::default(),
            packer: Packer::new(),
            offset: 0,
            pending: header.encode(),
            names: Names::default(),
            directory: Directory::default(),
            ids: Pairs::new(Keep::Last),
            customers: Pairs::new(Keep::All),
            totals: Totals::default(),
            stage: Stage::Filling,
        })
    }

    /// Appends an event whose id has this hash.
    ///
    /// # Errors
    /// [`Error::Io`]; the writer is then of no use.
    ///
    /// # Panics
    /// When its LSN is not the next one, the file was begun to be finished, or a write failed.
    pub fn event(&mut self, stored: &Stored<'_>, hash: IdHash) -> Result<(), Error> {
        self.expect(stored.lsn);
        self.ids.push(hash, self.block_number());
        self.block.event(stored);
        self.totals.events += 1;
        self.flush_when_full()
    }

    /// Appends a record that is no event.
    ///
    /// # Errors
    /// [`Error::Io`]; the writer is then of no use.
    ///
    /// # Panics
    /// When its LSN is not the next one, it is longer than 16 MiB, the file was begun to be finished,
    /// or a write failed.
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.expect(record.lsn);
        self.block.record(record);
        self.totals.records += 1;
        self.flush_when_full()
    }

    /// Whether a file should take another segment: half of the blocks it can have are left.
    pub fn has_room(&self) -> bool {
        self.directory.blocks.len() < BLOCKS_MAX / 2
    }

    /// The LSN that the next event or record must have.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    fn expect(&mut self, lsn: Lsn) {
        assert!(matches!(self.stage, Stage::Filling), "a finished or failed file takes no more");
        assert_eq!(lsn, self.next_lsn, "history has no gaps");
        self.next_lsn = lsn.next();
    }

    /// The number of the block that is being filled.
    fn block_number(&self) -> u16 {
        u16::try_from(self.directory.blocks.len()).expect("callers ask whether there is room")
    }

    fn flush_when_full(&mut self) -> Result<(), Error> {
        if self.block.is_full() {
            self.close_block();
        }
        if self.pending.len() >= STEP_BYTES { self.flush() } else { Ok(()) }
    }

    /// Packs the block that is being filled and begins another.
    fn close_block(&mut self) {
        let number = self.block_number();
        let hasher = &self.history.shared.hasher;
        let mut customers: Vec<_> = self.block.customers.iter().map(|it| hasher.hash(it)).collect();
        customers.sort_unstable();
        customers.dedup();
        for hash in customers {
            self.customers.push(hash, number);
        }
        let name_of = |name: &str| hasher.hash(name).high();
        let names = self.names.of_block(self.block.names.iter(), name_of);
        let (items, events) = (self.block.items(), self.block.events());
        let times = self.block.times();
        widen(&mut self.totals.times, times);
        widen(&mut self.totals.arrivals, self.block.arrivals());
        let start = self.pending.len();
        self.block.pack(&mut self.packer, &mut self.pending);
        let bytes = self.pending.split_at(start).1;
        let offset = self.offset + start as u64;
        self.directory.blocks.push(BlockEntry {
            offset,
            bytes: u32::try_from(bytes.len()).expect("a block is at most some 17 MiB"),
            crc: checksum(self.first_lsn, offset, bytes),
            first_lsn: Lsn(self.next_lsn.0 - items as u64),
            items: u32::try_from(items).expect("at most 1024"),
            events: u32::try_from(events).expect("at most 1024"),
            times,
            names,
        });
    }

    /// Writes and syncs what is pending.
    fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written =
            self.file.write_at(self.offset, &self.pending).and_then(|()| self.file.sync());
        if let Err(cause) = written {
            self.stage = Stage::Failed;
            return Err(Error::Io { file: self.temporary.clone(), cause });
        }
        self.offset += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Does the next part of what is left to do once everything was appended: index, footer, reading
    /// back, and the file's name.
    ///
    /// # Errors
    /// [`Error`]; the writer is then of no use, and history is as it was, or has the file when only
    /// the durability of its name is in doubt.
    ///
    /// # Panics
    /// When nothing was appended, or an earlier call failed.
    pub fn finish_step(&mut self) -> Result<Progress, Error> {
        // A step that fails leaves this behind.
        let stage = std::mem::replace(&mut self.stage, Stage::Failed);
        let (next, progress) = match stage {
            Stage::Filling => (self.end_blocks()?, Progress::Working),
            Stage::Ids(mut pages, start) => match self.table(&mut pages, start)? {
                None => (Stage::Ids(pages, start), Progress::Working),
                Some(ids) => (self.begin_customers(ids), Progress::Working),
            },
            Stage::Customers(mut pages, start, ids) => match self.table(&mut pages, start)? {
                None => (Stage::Customers(pages, start, ids), Progress::Working),
                Some(customers) => (Stage::Tail(ids, customers), Progress::Working),
            },
            Stage::Tail(ids, customers) => (self.end_file(ids, customers)?, Progress::Working),
            Stage::Checking(mut check) => {
                if check.step()? {
                    (Stage::Checking(check), Progress::Working)
                } else {
                    self.publish(check.into_file())?;
                    (Stage::Done, Progress::Done)
                }
            }
            Stage::Done => (Stage::Done, Progress::Done),
            Stage::Failed => panic!("a writer that failed is of no use"),
        };
        self.stage = next;
        Ok(progress)
    }

    fn end_blocks(&mut self) -> Result<Stage, Error> {
        assert!(self.next_lsn > self.first_lsn, "a file holds something");
        if self.block.items() > 0 {
            self.close_block();
        }
        self.flush()?;
        let ids = std::mem::replace(&mut self.ids, Pairs::new(Keep::Last));
        Ok(Stage::Ids(ids.into_pages(), self.offset))
    }

    fn begin_customers(&mut self, ids: Table) -> Stage {
        let customers = std::mem::replace(&mut self.customers, Pairs::new(Keep::All));
        Stage::Customers(customers.into_pages(), self.offset, ids)
    }

    /// Writes some pages of the table that begins at `start`; where it stands once all are written.
    fn table(&mut self, pages: &mut PageWriter, start: u64) -> Result<Option<Table>, Error> {
        let site = Site { first_lsn: self.first_lsn, offset: start };
        let mut more = true;
        while more && self.pending.len() < STEP_BYTES {
            more = pages.step(&site, &mut self.pending);
        }
        self.flush()?;
        let (places, pages) = pages.extent();
        Ok((!more).then_some(Table { offset: start, places, pages }))
    }

    /// Writes directory and footer.
    fn end_file(&mut self, ids: Table, customers: Table) -> Result<Stage, Error> {
        self.directory.names = std::mem::take(&mut self.names.hashes);
        codec::encode(&self.directory, &mut self.pending);
        let directory = Section {
            offset: self.offset,
            bytes: u32::try_from(self.pending.len()).expect("at most 16 MiB"),
            crc: checksum(self.first_lsn, self.offset, &self.pending),
        };
        let names = &self.directory.names;
        let all_known = !self.names.incomplete && names.len() <= NAMES_MAX;
        let footer = Footer {
            first_lsn: self.first_lsn,
            last_lsn: self.next_lsn.previous(),
            events: self.totals.events,
            records: self.totals.records,
            blocks: u32::try_from(self.directory.blocks.len()).expect("at most 65,536"),
            times: self.totals.times,
            arrivals: self.totals.arrivals.expect("a file holds something"),
            names: all_known.then(|| names.clone()),
            ids,
            customers,
            directory,
        };
        let end = self.offset + self.pending.len() as u64;
        self.pending.extend_from_slice(&footer.encode(end));
        self.flush()?;
        let disk = &*self.history.shared.disk;
        let incarnation = Some(self.history.shared.incarnation);
        let (file, handle) = File::load(disk, &self.temporary, self.first_lsn, incarnation)?;
        Ok(Stage::Checking(Box::new(Check::new(file, handle))))
    }

    /// Gives the file its name and lets history have it.
    fn publish(&self, mut file: File) -> Result<(), Error> {
        let disk = &self.history.shared.disk;
        let renamed = disk.rename(&self.temporary, &self.name);
        renamed.and_then(|()| disk.sync_names()).map_err(|cause| {
            // Its name is in doubt for ever: the next process must not find it, and take it for durable.
            let _ = disk.remove(&self.name);
            Error::Io { file: self.name.clone(), cause }
        })?;
        file.summary.file.clone_from(&self.name);
        self.history.add(file);
        Ok(())
    }
}

/// The event names of a file.
#[derive(Default)]
struct Names {
    /// By first appearance.
    hashes: Vec<u64>,
    places: HashMap<u64, u16>,
    /// Whether some block has names that are not among them.
    incomplete: bool,
}

impl Names {
    /// The places of a block's names, ascending; `None` when they are too many.
    fn of_block<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        hash: impl Fn(&str) -> u64,
    ) -> Option<Vec<u16>> {
        let mut distinct: Vec<&str> = Vec::new();
        for name in names {
            if distinct.last() == Some(&name) || distinct.contains(&name) {
                continue;
            }
            if distinct.len() == NAMES_MAX {
                self.incomplete = true;
                return None;
            }
            distinct.push(name);
        }
        let mut places = Vec::with_capacity(distinct.len());
        for name in distinct {
            let hash = hash(name);
            let place = match self.places.get(&hash) {
                Some(place) => *place,
                None if self.hashes.len() == DIRECTORY_NAMES_MAX => {
                    self.incomplete = true;
                    return None;
                }
                None => {
                    let place = u16::try_from(self.hashes.len()).expect("at most 1024");
                    self.hashes.push(hash);
                    self.places.insert(hash, place);
                    place
                }
            };
            places.push(place);
        }
        places.sort_unstable();
        places.dedup();
        Some(places)
    }
}

fn widen(span: &mut Option<(Timestamp, Timestamp)>, other: Option<(Timestamp, Timestamp)>) {
    *span = match (*span, other) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    };
}
