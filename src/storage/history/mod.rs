//! What sealed segments of the log become: compressed, indexed, checksummed files, read for as long
//! as events are kept.
//!
//! A file `history-<first lsn>` holds every record of a range of LSNs: events by column, and other
//! records byte for byte. It is written once, under another name, synced, read back and then given
//! its name; afterwards it is never changed, only removed as a whole. [`Writer`] makes one,
//! [`History`] is the set of them: it finds an event by id or LSN, walks back from the newest, and
//! forward through everything. `format.rs` has the byte table of a file, `block.rs` that of a block.
//!
//! In memory is a summary of each file; of those last read, at most [`OPEN_FILES_MAX`], also an open
//! file and the directory of its blocks, some 60 bytes each. Nothing here decides what goes into
//! history or when: the caller does, and it looks here only for LSNs that are no longer in the log.

mod block;
mod file;
mod format;
mod lookup;
mod metadata;
mod pack;
mod read;
mod retention;
mod scan;
#[cfg(test)]
mod tests;
mod texts;
mod verify;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::model::{Event, Lsn, Timestamp};
use crate::storage::history::file::{File, Handle, first_lsn_of, is_temporary};
use crate::storage::index::IdHasher;
use crate::storage::log::Incarnation;
use crate::world::Disk;
use crate::world::sync::atomic::Ordering;
use crate::world::sync::{Mutex, RwLock};

pub use block::{pack_block, unpack_block};
pub use read::Reader;
pub use retention::{Retention, expired};
pub use scan::{Part, Query, Scan};
pub use verify::{FileReport, Verification, verify};
pub use writer::{Progress, Writer};

/// Files that are kept open, each with its directory of blocks, at most.
pub const OPEN_FILES_MAX: usize = 128;

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Its LSN.
    pub lsn: Lsn,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The event as it was admitted.
    pub event: Event<'a>,
}

/// A record that is no event, kept as it stood in the log. It takes one LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its LSN.
    pub lsn: Lsn,
    /// When it was decided.
    pub log_time: Timestamp,
    /// Its bytes, at most 16 MiB.
    pub payload: &'a [u8],
}

/// What one file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The file's name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// The first LSN it holds.
    pub first_lsn: Lsn,
    /// The last one; it holds all between.
    pub last_lsn: Lsn,
    /// How many events it has.
    pub events: u64,
    /// How many other records.
    pub records: u64,
    /// The earliest and the latest timestamp of an event.
    pub times: Option<(Timestamp, Timestamp)>,
    /// The earliest and the latest arrival of an event or log time of another record.
    pub arrivals: (Timestamp, Timestamp),
}

/// Something that was written and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it the damaged part begins.
    pub offset_bytes: u64,
    /// What is wrong there.
    pub what: &'static str,
    /// The first LSN that cannot be vouched for.
    pub first_lsn: Lsn,
    /// The last one, when that is known.
    pub last_lsn: Option<Lsn>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset_bytes, what, first_lsn, last_lsn } = self;
        write!(f, "{file} is damaged at byte {offset_bytes}: {what}; lsn {first_lsn} ")?;
        match last_lsn {
            Some(last_lsn) => write!(f, "to {last_lsn}"),
            None => f.write_str("and following"),
        }
    }
}

/// Why history could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error("access {file}")]
    Io {
        /// The file.
        file: String,
        /// What the disk said.
        #[source]
        cause: io::Error,
    },
    /// The bytes are not what was written.
    #[error("{0}")]
    Damaged(Damage),
    /// A newer program wrote the file; it was not touched.
    #[error("{file} has format {version}, which this version of quipu does not know")]
    Newer {
        /// The file.
        file: String,
        /// The format's version.
        version: u32,
    },
    /// The file belongs to another data directory.
    #[error("{file} belongs to another data directory")]
    Foreign {
        /// The file.
        file: String,
    },
    /// No file holds these LSNs.
    #[error("lsn {first_lsn} to {last_lsn} are not in history")]
    Missing {
        /// The first one that was asked for and is not there.
        first_lsn: Lsn,
        /// The last one.
        last_lsn: Lsn,
    },
}

/// The history of one data directory; clones share it.
#[derive(Clone, Debug)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    incarnation: Incarnation,
    hasher: IdHasher,
    /// In LSN order. Replaced as a whole, so that a reader has the files of one instant.
    files: RwLock<Arc<Vec<Arc<File>>>>,
    /// Those that are open, the longest open first.
    open: Mutex<VecDeque<Arc<File>>>,
}

impl History {
    /// Reads what each file says of itself, and removes what an unfinished [`Writer`] left. `hasher`
    /// must be the one that the files were written with: customers and names are looked up by it.
    ///
    /// # Errors
    /// [`Error`]; the first damaged file is named.
    pub fn open(
        disk: Arc<dyn Disk>,
        incarnation: Incarnation,
        hasher: IdHasher,
    ) -> Result<Self, Error> {
        let listing = |cause| Error::Io { file: "the list of files".to_owned(), cause };
        let names = disk.names().map_err(listing)?;
        for name in names.iter().filter(|name| is_temporary(name)) {
            disk.remove(name).map_err(|cause| Error::Io { file: name.clone(), cause })?;
        }
        let numbered: Vec<_> =
            names.iter().filter_map(|name| Some((first_lsn_of(name)?, name))).collect();
        let mut files: Vec<Arc<File>> = Vec::with_capacity(numbered.len());
        let nexts = numbered.iter().skip(1).map(|(lsn, _)| Some(*lsn)).chain([None]);
        for ((first_lsn, name), next) in numbered.iter().zip(nexts) {
            let (file, _) = File::load(&*disk, name, *first_lsn, Some(incarnation))
                .map_err(|error| error.up_to(next))?;
            if let Some(next) = next
                && file.summary.last_lsn >= next
            {
                let what = "it holds LSNs that the next file holds too";
                return Err(file.damage(0, what));
            }
            files.push(Arc::new(file));
        }
        let files = RwLock::new(Arc::new(files));
        let open = Mutex::default();
        Ok(Self { shared: Arc::new(Shared { disk, incarnation, hasher, files, open }) })
    }

    /// What the files hold, in LSN order.
    pub fn files(&self) -> Vec<Summary> {
        self.snapshot().iter().map(|file| file.summary.clone()).collect()
    }

    /// The first LSN that is in history; `None` when it is empty.
    pub fn first_lsn(&self) -> Option<Lsn> {
        self.snapshot().first().map(|file| file.summary.first_lsn)
    }

    /// The last LSN that is in history; zero when it is empty.
    pub fn last_lsn(&self) -> Lsn {
        self.snapshot().last().map_or(Lsn::ZERO, |file| file.summary.last_lsn)
    }

    /// LSNs between the first and the last that no file holds. There are none unless somebody took a
    /// file away.
    pub fn gaps(&self) -> Vec<RangeInclusive<Lsn>> {
        let files = self.snapshot();
        let pairs = files.iter().zip(files.iter().skip(1));
        let gap = |(a, b): (&Arc<File>, &Arc<File>)| {
            let (from, to) = (a.summary.last_lsn.next(), b.summary.first_lsn);
            (from < to).then(|| from..=to.previous())
        };
        pairs.filter_map(gap).collect()
    }

    /// Begins a file that is to follow the last one; see [`Writer`]. One at a time.
    ///
    /// # Errors
    /// [`Error::Io`]
    ///
    /// # Panics
    /// When history is not empty and `first_lsn` is not the LSN after its last one.
    pub fn writer(&self, first_lsn: Lsn) -> Result<Writer, Error> {
        let last_lsn = self.last_lsn();
        assert!(
            last_lsn == Lsn::ZERO || first_lsn == last_lsn.next(),
            "history goes on without a gap"
        );
        Writer::create(self.clone(), first_lsn)
    }

    /// Removes these files, which must be the oldest ones, oldest first: after a crash a part of
    /// them may be left, but no gap. Whoever is reading one reads on. Names of no file are left out.
    ///
    /// # Errors
    /// [`Error::Io`]; that file and those after it stay.
    pub fn remove(&self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let files = self.snapshot();
            let Some(file) = files.iter().find(|file| file.summary.file == *name) else { continue };
            file.removed.store(true, Ordering::Release);
            let removed = self.shared.disk.remove(name);
            if let Err(cause) = removed
                && cause.kind() != io::ErrorKind::NotFound
            {
                file.removed.store(false, Ordering::Release);
                return Err(file.unreadable(cause));
            }
            self.change(|files| files.retain(|file| file.summary.file != *name));
            self.shared.open.lock().retain(|file| file.summary.file != *name);
            *file.handle.lock() = None;
            self.shared.disk.sync_names().map_err(|cause| file.unreadable(cause))?;
        }
        Ok(())
    }

    fn snapshot(&self) -> Arc<Vec<Arc<File>>> {
        Arc::clone(&self.shared.files.read())
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<File>>)) {
        change(Arc::make_mut(&mut self.shared.files.write()));
    }

    /// Takes in a file that was written.
    fn add(&self, file: File) {
        self.change(|files| files.push(Arc::new(file)));
    }

    /// The open file; `None` when it was removed meanwhile.
    fn open_file(&self, file: &Arc<File>) -> Result<Option<Arc<Handle>>, Error> {
        let mut slot = file.handle.lock();
        if let Some(handle) = &*slot {
            return Ok(Some(Arc::clone(handle)));
        }
        let opened = match self.shared.disk.open(&file.summary.file) {
            Ok(opened) => opened,
            Err(_) if file.removed.load(Ordering::Acquire) => return Ok(None),
            Err(cause) => return Err(file.unreadable(cause)),
        };
        let handle = Arc::new(Handle::new(opened));
        *slot = Some(Arc::clone(&handle));
        drop(slot);
        let mut open = self.shared.open.lock();
        open.push_back(Arc::clone(file));
        let surplus = if open.len() > OPEN_FILES_MAX { open.pop_front() } else { None };
        drop(open);
        if let Some(surplus) = surplus {
            *surplus.handle.lock() = None;
        }
        Ok(Some(handle))
    }
}

impl Error {
    /// The same error, with the end of the damage when the next file shows it.
    fn up_to(self, next: Option<Lsn>) -> Self {
        if let Self::Damaged(damage) = self {
            let last_lsn = damage.last_lsn.or(next.map(Lsn::previous));
            return Self::Damaged(Damage { last_lsn, ..damage });
        }
        self
    }
}
