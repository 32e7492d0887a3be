//! Checking whole files: a new one before it counts, and all of a directory that no process has open.
//!
//! It reads every byte and takes every event apart, and changes nothing.

use std::sync::Arc;

use crate::model::Lsn;
use crate::storage::history::file::{File, Handle, first_lsn_of, is_temporary};
use crate::storage::history::format::{BlockEntry, Table};
use crate::storage::history::pack::Fault;
use crate::storage::history::read::Reader;
use crate::storage::history::{Damage, Error, Summary};
use crate::storage::log::Incarnation;
use crate::world::Disk;

/// Read at once, so that a step does not keep others from the disk for long.
const STEP_BYTES: u64 = 2 << 20;

/// What the history of a data directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The files that say what they hold, in LSN order.
    pub files: Vec<FileReport>,
    /// Everything that cannot be read, and LSNs between files that none holds.
    pub damage: Vec<Damage>,
    /// Files that a writer left unfinished; they count for nothing.
    pub unfinished: Vec<String>,
}

/// What one file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// What it says of itself.
    pub summary: Summary,
    /// Events that could be read.
    pub events: u64,
}

/// Reads all of the history of a data directory. Without an incarnation, files of any will do.
///
/// # Errors
/// [`Error::Io`], [`Error::Newer`] and [`Error::Foreign`]; damage is in the report.
pub fn verify(disk: &dyn Disk, incarnation: Option<Incarnation>) -> Result<Verification, Error> {
    let listing = |cause| Error::Io { file: "the list of files".to_owned(), cause };
    let names = disk.names().map_err(listing)?;
    let mut found = Verification::default();
    let mut expected: Option<Lsn> = None;
    let mut reader = Reader::new();
    for name in names {
        if is_temporary(&name) {
            found.unfinished.push(name);
            continue;
        }
        let Some(first_lsn) = first_lsn_of(&name) else { continue };
        if let Some(expected) = expected
            && expected != first_lsn
        {
            let what = "it does not follow the file before it";
            let last_lsn = Some(first_lsn.previous());
            let file = name.clone();
            found.damage.push(Damage {
                file,
                offset_bytes: 0,
                what,
                first_lsn: expected,
                last_lsn,
            });
        }
        expected = None;
        let loaded = File::load(disk, &name, first_lsn, incarnation);
        let Some((file, handle)) = found.keep_damage(loaded)? else { continue };
        expected = Some(file.summary.last_lsn.next());
        let events = found.read(&file, &handle, &mut reader)?;
        found.files.push(FileReport { summary: file.summary, events });
    }
    Ok(found)
}

impl Verification {
    /// Notes damage and goes on; any other error ends it.
    fn keep_damage<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Damaged(damage)) => {
                self.damage.push(damage);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, file: &File, handle: &Handle, reader: &mut Reader) -> Result<u64, Error> {
        let mut events = 0;
        if let Some(directory) = self.keep_damage(file.directory(handle))? {
            for entry in &directory.blocks {
                let read = check_block(file, handle, entry, reader);
                events += self.keep_damage(read)?.unwrap_or(0);
            }
        }
        for table in [&file.footer.ids, &file.footer.customers] {
            for page in 0..table.pages {
                let read = file.page(handle, table, page, |_| ());
                self.keep_damage(read)?;
            }
        }
        Ok(events)
    }
}

/// Reads a block and takes apart all that is in it; how many events that were.
fn check_block(
    file: &File,
    handle: &Handle,
    entry: &BlockEntry,
    reader: &mut Reader,
) -> Result<u64, Error> {
    let block = reader.block(file, handle, entry)?;
    let damaged = |Fault(what)| file.block_damage(entry, what);
    let mut times = None;
    for event in 0..block.events() {
        let time = block.event(event).map_err(damaged)?.event.timestamp;
        let (earliest, latest) = times.unwrap_or((time, time));
        times = Some((time.min(earliest), time.max(latest)));
    }
    if times == entry.times {
        Ok(entry.events.into())
    } else {
        Err(file.block_damage(entry, "its times are not those in the directory"))
    }
}

/// The check of one file, in steps.
#[derive(Debug)]
pub(super) struct Check {
    file: File,
    handle: Arc<Handle>,
    reader: Reader,
    place: Place,
    events: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Block(usize),
    IdPage(u32),
    CustomerPage(u32),
    End,
}

impl Check {
    pub(super) fn new(file: File, handle: Handle) -> Self {
        let (handle, reader) = (Arc::new(handle), Reader::new());
        Self { file, handle, reader, place: Place::Block(0), events: 0 }
    }

    /// Reads some more; false when all was read and found good.
    pub(super) fn step(&mut self) -> Result<bool, Error> {
        let mut read = 0;
        while read < STEP_BYTES {
            let (bytes, next) = match self.place {
                Place::Block(number) => self.block(number)?,
                Place::IdPage(number) => {
                    let next = self.page(&self.file.footer.ids, number)?;
                    (
                        super::lookup::PAGE_BYTES as u64,
                        next.map_or(Place::CustomerPage(0), Place::IdPage),
                    )
                }
                Place::CustomerPage(number) => {
                    let next = self.page(&self.file.footer.customers, number)?;
                    (super::lookup::PAGE_BYTES as u64, next.map_or(Place::End, Place::CustomerPage))
                }
                Place::End => {
                    return if self.events == self.file.summary.events {
                        Ok(false)
                    } else {
                        Err(self.file.damage(0, "it has another number of events"))
                    };
                }
            };
            read += bytes;
            self.place = next;
        }
        Ok(true)
    }

    /// Reads a block; how long it is and what comes next.
    fn block(&mut self, number: usize) -> Result<(u64, Place), Error> {
        let Some(entry) = self.file.directory(&self.handle)?.blocks.get(number) else {
            return Ok((0, Place::IdPage(0)));
        };
        self.events += check_block(&self.file, &self.handle, entry, &mut self.reader)?;
        Ok((entry.bytes.into(), Place::Block(number + 1)))
    }

    /// Reads a page; the number of the next one.
    fn page(&self, table: &Table, number: u32) -> Result<Option<u32>, Error> {
        self.file.page(&self.handle, table, number, |_| ())?;
        Ok(Some(number + 1).filter(|next| *next < table.pages))
    }

    /// The file that was checked.
    pub(super) fn into_file(self) -> File {
        self.file
    }
}
