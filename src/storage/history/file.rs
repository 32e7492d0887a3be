//! One file of history: what is kept of it in memory, and how its parts are read and checked.

use std::io;
use std::sync::{Arc, OnceLock};

use crate::model::Lsn;
use crate::storage::history::format::{
    BlockEntry, Directory, FOOTER_BYTES_MAX, Footer, HEADER_BYTES, Header, HeaderFault, Section,
    TRAILER_BYTES, Table, checksum,
};
use crate::storage::history::lookup::{PAGE_BYTES, Page};
use crate::storage::history::pack::Fault;
use crate::storage::history::{Damage, Error, Summary};
use crate::storage::log::Incarnation;
use crate::world::disk::read_exact_at;
use crate::world::sync::Mutex;
use crate::world::sync::atomic::AtomicBool;
use crate::world::{Disk, DiskFile};

const PREFIX: &str = "history-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The name of the file that begins with `first_lsn`.
pub(super) fn name_of(first_lsn: Lsn) -> String {
    format!("{PREFIX}{:020}", first_lsn.0)
}

/// The name of the file that begins with `first_lsn` while it is written.
pub(super) fn temporary_name_of(first_lsn: Lsn) -> String {
    name_of(first_lsn) + TEMPORARY_SUFFIX
}

/// The LSN that the file called `name` begins with, if it is the name of one.
pub(super) fn first_lsn_of(name: &str) -> Option<Lsn> {
    let digits = name.strip_prefix(PREFIX)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Lsn))?
}

/// Whether a writer that did not finish left the file called `name`.
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX).and_then(first_lsn_of).is_some()
}

/// A file of history.
#[derive(Debug)]
pub(super) struct File {
    pub(super) summary: Summary,
    pub(super) footer: Footer,
    /// Set before the file's name goes away: not to find it is then no error.
    pub(super) removed: AtomicBool,
    /// The file while it is open.
    pub(super) handle: Mutex<Option<Arc<Handle>>>,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Handle {
    file: Arc<dyn DiskFile>,
    directory: OnceLock<Directory>,
}

impl Handle {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, directory: OnceLock::new() }
    }
}

impl File {
    /// Reads the header and the footer of the file called `name`, which must begin with `first_lsn`;
    /// without an incarnation one of any data directory will do.
    pub(super) fn load(
        disk: &dyn Disk,
        name: &str,
        first_lsn: Lsn,
        incarnation: Option<Incarnation>,
    ) -> Result<(Self, Handle), Error> {
        let failed = |cause| Error::Io { file: name.to_owned(), cause };
        let damaged = |offset_bytes, what| {
            Error::Damaged(Damage {
                file: name.to_owned(),
                offset_bytes,
                what,
                first_lsn,
                last_lsn: None,
            })
        };
        let file = disk.open(name).map_err(failed)?;
        let bytes = file.size().map_err(failed)?;
        let mut head = [0; HEADER_BYTES];
        let filled = file.read_at(0, &mut head).map_err(failed)?;
        let header = match Header::decode(head.split_at(filled).0) {
            Ok(header) => header,
            Err(HeaderFault::Newer(version)) => {
                return Err(Error::Newer { file: name.to_owned(), version });
            }
            Err(HeaderFault::Damaged) => return Err(damaged(0, "the header is not one")),
        };
        if header.first_lsn != first_lsn {
            return Err(damaged(0, "the header names another LSN than the file's name"));
        }
        if incarnation.is_some_and(|incarnation| header.incarnation != incarnation) {
            return Err(Error::Foreign { file: name.to_owned() });
        }
        let mut tail = [0; FOOTER_BYTES_MAX + TRAILER_BYTES];
        let tail_at = bytes.saturating_sub(tail.len() as u64);
        let filled = file.read_at(tail_at, &mut tail).map_err(failed)?;
        let footer = Footer::decode(first_lsn, bytes, tail.split_at(filled).0)
            .map_err(|Fault(what)| damaged(tail_at, what))?;
        let summary = Summary {
            file: name.to_owned(),
            bytes,
            first_lsn,
            last_lsn: footer.last_lsn,
            events: footer.events,
            records: footer.records,
            times: footer.times,
            arrivals: footer.arrivals,
        };
        let removed = AtomicBool::new(false);
        Ok((Self { summary, footer, removed, handle: Mutex::default() }, Handle::new(file)))
    }

    /// The file's blocks; read and checked the first time.
    pub(super) fn directory<'h>(&self, handle: &'h Handle) -> Result<&'h Directory, Error> {
        if let Some(directory) = handle.directory.get() {
            return Ok(directory);
        }
        let Section { offset, bytes, crc } = self.footer.directory;
        let mut buffer = Vec::new();
        self.section(handle, (offset, bytes, crc), &mut buffer)
            .map_err(|fault| self.error(fault, offset, None))?;
        let directory = Directory::decode(&buffer, &self.footer)
            .map_err(|Fault(what)| self.damage(offset, what))?;
        Ok(handle.directory.get_or_init(|| directory))
    }

    /// The bytes of a block, checked.
    pub(super) fn block_bytes(
        &self,
        handle: &Handle,
        entry: &BlockEntry,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.section(handle, (entry.offset, entry.bytes, entry.crc), buffer)
            .map_err(|fault| self.error(fault, entry.offset, Some(entry)))
    }

    /// Shows page `number` of a table to `see`, checked.
    pub(super) fn page<T>(
        &self,
        handle: &Handle,
        table: &Table,
        number: u32,
        see: impl FnOnce(&Page<'_>) -> T,
    ) -> Result<T, Error> {
        let site = self.footer.site(table);
        let offset = site.page_offset(number);
        let mut bytes = [0; PAGE_BYTES];
        read_exact_at(&*handle.file, offset, &mut bytes)
            .map_err(|cause| self.error(ReadFault::Io(cause), offset, None))?;
        let page = Page::read(&bytes, number, &site);
        page.map(|page| see(&page)).map_err(|Fault(what)| self.damage(offset, what))
    }

    fn section(
        &self,
        handle: &Handle,
        (offset, bytes, crc): (u64, u32, u32),
        buffer: &mut Vec<u8>,
    ) -> Result<(), ReadFault> {
        // Fits: directory and footer were checked, so it lies within the file.
        buffer.clear();
        buffer.resize(bytes as usize, 0);
        read_exact_at(&*handle.file, offset, buffer).map_err(ReadFault::Io)?;
        if checksum(self.summary.first_lsn, offset, buffer) == crc {
            Ok(())
        } else {
            Err(ReadFault::Differs)
        }
    }

    fn error(&self, fault: ReadFault, offset: u64, block: Option<&BlockEntry>) -> Error {
        let damage = |what| match block {
            Some(block) => self.block_damage(block, what),
            None => self.damage(offset, what),
        };
        match fault {
            ReadFault::Io(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                damage("the file ends too early")
            }
            ReadFault::Io(cause) => self.unreadable(cause),
            ReadFault::Differs => damage("the checksum differs"),
        }
    }

    /// The error of a part that is not what was written.
    pub(super) fn damage(&self, offset_bytes: u64, what: &'static str) -> Error {
        let Summary { file, first_lsn, last_lsn, .. } = &self.summary;
        Error::Damaged(Damage {
            file: file.clone(),
            offset_bytes,
            what,
            first_lsn: *first_lsn,
            last_lsn: Some(*last_lsn),
        })
    }

    /// The error of a block that is not what was written.
    pub(super) fn block_damage(&self, block: &BlockEntry, what: &'static str) -> Error {
        Error::Damaged(Damage {
            file: self.summary.file.clone(),
            offset_bytes: block.offset,
            what,
            first_lsn: block.first_lsn,
            last_lsn: Some(block.last_lsn()),
        })
    }

    /// The error of an access that the disk refused.
    pub(super) fn unreadable(&self, cause: io::Error) -> Error {
        Error::Io { file: self.summary.file.clone(), cause }
    }
}

/// Why bytes could not be had.
enum ReadFault {
    Io(io::Error),
    /// They are there, but are not those that were written.
    Differs,
}
