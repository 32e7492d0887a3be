//! Lets redb keep its file on a [`crate::world::Disk`], so that the simulated disk can carry it.
//!
//! Both compare what they read with its checksum, see [`PageFile`]. [`RedbFile`] passes everything
//! through. [`Overlay`] never alters the file: what redb writes to it
//! (even opening one after a crash writes) stays in memory and is gone with it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::storage::pages::{PAGE_BYTES, PageFile};
use crate::world::DiskFile;

/// What is wrong with a file, when an error of redb says that it is not as it was written.
pub fn damage(error: &redb::Error) -> Option<String> {
    if let redb::Error::Corrupted(what) = error {
        return Some(what.clone());
    }
    if let redb::Error::Io(error) = error {
        // What is no file of redb at all, or ends too early.
        let is_damage =
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
        return is_damage.then(|| error.to_string());
    }
    // Whoever writes these files makes all their tables, always of one type.
    let is_damage = matches!(
        error,
        redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::UpgradeRequired(_)
    );
    is_damage.then(|| error.to_string())
}

/// A file of the data directory as redb wants it.
#[derive(Debug)]
pub struct RedbFile {
    pages: PageFile,
}

impl RedbFile {
    /// Hands `file` to redb, which wants it to itself.
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { pages: PageFile::new(file) }
    }
}

impl StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        self.pages.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.pages.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pages.resize(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pages.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pages.write(offset, data)
    }
}

/// A file that redb may open, repair and write, while the file itself stays as it is.
#[derive(Debug)]
pub struct Overlay {
    pages: PageFile,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    size: u64,
    /// The part of the file below this offset still counts; it was cut off above.
    file_size: u64,
    pieces: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Overlay {
    /// Shows `file` to redb without ever writing to it.
    ///
    /// # Errors
    /// What the operating system says when asked for the size.
    pub fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let pages = PageFile::new(file);
        let size = pages.size()?;
        let written = Mutex::new(Written { size, file_size: size, pieces: BTreeMap::new() });
        Ok(Self { pages, written })
    }

    fn piece(&self, written: &Written, number: u64) -> io::Result<Box<[u8; PAGE_BYTES]>> {
        if let Some(piece) = written.pieces.get(&number) {
            return Ok(piece.clone());
        }
        let mut piece = Box::new([0; PAGE_BYTES]);
        let offset = number.saturating_mul(PAGE_BYTES as u64);
        let in_file = written.file_size.saturating_sub(offset).min(PAGE_BYTES as u64);
        let in_file = usize::try_from(in_file).expect("at most one piece");
        if in_file > 0 {
            self.pages.read(offset, &mut *piece)?;
            piece.get_mut(in_file..).expect("at most one piece").fill(0);
        }
        Ok(piece)
    }
}

/// The parts of `length` bytes at `offset` by piece: number, start within the piece, bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let mut left = length;
    std::iter::from_fn(move || {
        let start = usize::try_from(at % PAGE_BYTES as u64).expect("below the piece's size");
        let count = left.min(PAGE_BYTES - start);
        let part = (count > 0).then_some((at / PAGE_BYTES as u64, start, count));
        at = at.saturating_add(count as u64);
        left -= count;
        part
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().size)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock();
        if offset.saturating_add(out.len() as u64) > written.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &mut *out;
        for (number, start, count) in parts(offset, rest.len()) {
            let piece = self.piece(&written, number)?;
            let (part, after) = rest.split_at_mut(count);
            part.copy_from_slice(piece.get(start..start + count).expect("within the piece"));
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        // A piece that straddles the new end must read as zeros behind it when the file grows again.
        let end = len % PAGE_BYTES as u64;
        if len < written.size && end > 0 {
            let number = len / PAGE_BYTES as u64;
            let mut piece = self.piece(&written, number)?;
            let end = usize::try_from(end).expect("below the piece's size");
            piece.get_mut(end..).expect("within the piece").fill(0);
            written.pieces.insert(number, piece);
        }
        written.pieces.split_off(&len.div_ceil(PAGE_BYTES as u64));
        written.size = len;
        written.file_size = written.file_size.min(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock();
        let mut rest = data;
        for (number, start, count) in parts(offset, data.len()) {
            let mut piece = self.piece(&written, number)?;
            let (part, after) = rest.split_at(count);
            piece.get_mut(start..start + count).expect("within the piece").copy_from_slice(part);
            written.pieces.insert(number, piece);
            rest = after;
        }
        written.size = written.size.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }
}
