//! One segment: a file of frames behind a header, and where in it an LSN is found.
//!
//! Files are named `wal-<number>`, ten digits, and rank by number. The first page is the header,
//! written and synced once, before the file gets that name, and never again:
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | "QUIPUWAL" |
//! | 8 | 4 | format version |
//! | 12 | 4 | flags; 1: groups were written before the sync of earlier ones |
//! | 16 | 16 | incarnation of the data directory |
//! | 32 | 8 | salt of this use of the file |
//! | 4092 | 4 | CRC32C of the page up to here; stays here in every version |
//!
//! A segment's LSNs begin with its first frame's and end where the next segment's begin: what stands
//! behind that was abandoned by a restart.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::model::Lsn;
use crate::storage::log::cursor::{Cursor, READ_AHEAD_SHORT_BYTES};
use crate::storage::log::frame::{self, field};
use crate::storage::log::scan::Piece;
use crate::storage::log::{Damage, reader};
use crate::world::DiskFile;
use crate::world::sync::{MappedMutexGuard, Mutex, MutexGuard};

/// The only format there is.
pub(super) const FORMAT_VERSION: u32 = 1;

/// A page; the first frame begins behind it.
pub(super) const HEADER_BYTES: u64 = 4096;

const MAGIC: [u8; 8] = *b"QUIPUWAL";
const VERSION_AT: usize = MAGIC.len();
const FLAGS_AT: usize = VERSION_AT + size_of::<u32>();
const INCARNATION_AT: usize = FLAGS_AT + size_of::<u32>();
const SALT_AT: usize = INCARNATION_AT + size_of::<Incarnation>();
const FIELDS_END: usize = SALT_AT + size_of::<u64>();
const HEADER_LEN: usize = 4096;
const CHECKSUM_AT: usize = HEADER_LEN - size_of::<u32>();

const _: () = assert!(HEADER_LEN as u64 == HEADER_BYTES && FIELDS_END <= CHECKSUM_AT);
const _: () = assert!(HEADER_LEN.is_multiple_of(frame::BLOCK_BYTES), "frames are aligned");

/// A position is kept at least for each so many bytes: finding a frame reads at most this much, and
/// a segment of 64 MiB costs 4 KiB of memory.
const MARK_DISTANCE_BYTES: u64 = 256 << 10;

/// Which life of the data directory a file belongs to: a restored directory begins another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation(pub [u8; 16]);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a segment file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The data directory's life it belongs to.
    pub(super) incarnation: Incarnation,
    /// Part of every checksum in the file.
    pub(super) salt: u64,
    /// Whether groups were written before the sync of earlier ones, so that a valid frame says
    /// nothing about those before it.
    pub(super) pipelined: bool,
}

/// Why a page is not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// The page is not what was written.
    Damaged,
    /// It was written by a newer Quipu.
    Newer {
        /// The format's version.
        version: u32,
    },
}

impl Header {
    /// The header's page.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.pipelined).to_le_bytes());
        bytes.extend_from_slice(&self.incarnation.0);
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.resize(CHECKSUM_AT, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The header whose page is `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let version = checked_version(bytes).ok_or(HeaderFault::Damaged)?;
        if version > FORMAT_VERSION {
            return Err(HeaderFault::Newer { version });
        }
        Self::fields(bytes).ok_or(HeaderFault::Damaged)
    }

    /// The header of an open file.
    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Result<Self, HeaderFault>> {
        let mut page = [0; HEADER_LEN];
        let filled = file.read_at(0, &mut page)?;
        Ok(Self::decode(page.get(..filled).unwrap_or_default()))
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let pipelined = match u32::from_le_bytes(field(bytes, FLAGS_AT)?) {
            0 => false,
            1 => true,
            _ => return None,
        };
        let incarnation = Incarnation(field(bytes, INCARNATION_AT)?);
        Some(Self { incarnation, salt: u64::from_le_bytes(field(bytes, SALT_AT)?), pipelined })
    }
}

/// The version, if the page is whole.
fn checked_version(bytes: &[u8]) -> Option<u32> {
    let checksum = u32::from_le_bytes(field(bytes, CHECKSUM_AT)?);
    let whole = field(bytes, 0)? == MAGIC && crc32c::crc32c(bytes.get(..CHECKSUM_AT)?) == checksum;
    whole.then(|| field(bytes, VERSION_AT).map(u32::from_le_bytes))?
}

/// The name of segment `number`.
pub(super) fn name_of(number: u64) -> String {
    format!("wal-{number:010}")
}

/// The number of the segment called `name`, if it is the name of one.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?;
    let plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// A segment of the running log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) salt: u64,
    /// The LSN its frames begin with.
    pub(super) first_lsn: Lsn,
    pub(super) origin: Origin,
    extent: Mutex<Extent>,
}

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This process, and no sync of it failed.
    ThisProcess,
    /// An earlier process.
    Earlier,
}

/// What is known of a segment's inside.
#[derive(Debug)]
enum Extent {
    /// Nothing yet but where it ends.
    Unread { next_lsn: Lsn },
    /// Where its frames are.
    Known(Index),
}

/// Where the frames of a segment are, in steps of [`MARK_DISTANCE_BYTES`].
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// (first LSN, offset) of some frames with records, the first of them included, ascending.
    marks: Vec<(Lsn, u64)>,
    /// The end of the last frame.
    pub(super) end: u64,
    /// The LSN after the last record.
    pub(super) next_lsn: Lsn,
}

impl Index {
    /// The index of a segment that has no frame yet and begins with `first_lsn`.
    pub(super) fn new(first_lsn: Lsn) -> Self {
        Self { marks: Vec::new(), end: HEADER_BYTES, next_lsn: first_lsn }
    }

    /// Adds the frame that stands at the end.
    pub(super) fn push(&mut self, header: &frame::Header) {
        let distant = self.marks.last().is_none_or(|(_, at)| self.end - at >= MARK_DISTANCE_BYTES);
        if header.count > 0 && distant {
            self.marks.push((header.first_lsn, self.end));
        }
        self.end += header.frame_bytes();
        self.next_lsn = header.next_lsn();
    }

    /// Where to look for `lsn`: from the first offset on, before the second.
    pub(super) fn stretch(&self, lsn: Lsn) -> Option<(u64, u64)> {
        let after = self.marks.partition_point(|(first, _)| *first <= lsn);
        let (_, from) = self.marks.get(after.checked_sub(1)?)?;
        Some((*from, self.marks.get(after).map_or(self.end, |(_, at)| *at)))
    }

    /// Forgets the frame at `offset`, which begins with `lsn`, and all after it.
    fn cut(&mut self, lsn: Lsn, offset: u64) {
        self.marks.retain(|(_, at)| *at < offset);
        self.end = offset;
        self.next_lsn = lsn;
    }
}

impl Segment {
    /// A segment that begins now, with `first_lsn`.
    pub(super) fn begun(number: u64, file: Arc<dyn DiskFile>, salt: u64, first_lsn: Lsn) -> Self {
        let extent = Mutex::new(Extent::Known(Index::new(first_lsn)));
        Self { number, file, salt, first_lsn, origin: Origin::ThisProcess, extent }
    }

    /// A segment of an earlier process, whose frames were read.
    pub(super) fn read(piece: &Piece, salt: u64, first_lsn: Lsn, index: Index) -> Self {
        Self::earlier(piece, salt, first_lsn, Extent::Known(index))
    }

    /// A segment of an earlier process that ends before `next_lsn`; its frames are looked up when they
    /// are first asked for.
    pub(super) fn unread(piece: &Piece, salt: u64, first_lsn: Lsn, next_lsn: Lsn) -> Self {
        Self::earlier(piece, salt, first_lsn, Extent::Unread { next_lsn })
    }

    fn earlier(piece: &Piece, salt: u64, first_lsn: Lsn, extent: Extent) -> Self {
        let (number, file) = (piece.number, Arc::clone(&piece.file));
        Self { number, file, salt, first_lsn, origin: Origin::Earlier, extent: Mutex::new(extent) }
    }

    /// The file's name.
    pub(super) fn name(&self) -> String {
        name_of(self.number)
    }

    /// The LSN after the last record, as far as written.
    pub(super) fn next_lsn(&self) -> Lsn {
        match &*self.extent.lock() {
            Extent::Unread { next_lsn } => *next_lsn,
            Extent::Known(index) => index.next_lsn,
        }
    }

    /// Whether its frames are known without reading.
    pub(super) fn is_read(&self) -> bool {
        match &*self.extent.lock() {
            Extent::Known(_) => true,
            Extent::Unread { .. } => false,
        }
    }

    /// Adds the frame that was written at the end.
    ///
    /// # Panics
    /// When the segment's frames are not known: only the live one is written.
    pub(super) fn push(&self, header: &frame::Header) {
        match &mut *self.extent.lock() {
            Extent::Known(index) => index.push(header),
            Extent::Unread { .. } => panic!("only a segment whose frames are known is written"),
        }
    }

    /// Where the frames are now; reads the segment's headers the first time.
    pub(super) fn index(&self) -> Result<Index, reader::Error> {
        self.known_index().map(|index| index.clone())
    }

    /// Where to look for `lsn`, see [`Index::stretch`].
    pub(super) fn stretch(&self, lsn: Lsn) -> Result<Option<(u64, u64)>, reader::Error> {
        Ok(self.known_index()?.stretch(lsn))
    }

    /// Lets the segment end before the frame at `offset`, which begins with `lsn`.
    pub(super) fn cut(&self, lsn: Lsn, offset: u64) -> Result<(), reader::Error> {
        self.known_index()?.cut(lsn, offset);
        Ok(())
    }

    /// The offset of the frame that holds `lsn`.
    pub(super) fn find(&self, lsn: Lsn) -> Result<Option<u64>, reader::Error> {
        let Some((from, to)) = self.stretch(lsn)? else { return Ok(None) };
        let mut cursor = self.cursor(READ_AHEAD_SHORT_BYTES);
        let found = cursor.find(lsn, from, to).map_err(|cause| self.unreadable(cause))?;
        match found {
            None if lsn < self.next_lsn() => Err(self.damaged(from, lsn)),
            found => Ok(found),
        }
    }

    /// A reading position in the file.
    pub(super) fn cursor(&self, read_ahead_bytes: usize) -> Cursor<'_> {
        Cursor::new(&*self.file, self.salt, read_ahead_bytes)
    }

    /// The error of a read that failed.
    pub(super) fn unreadable(&self, cause: io::Error) -> reader::Error {
        reader::Error::Io { file: self.name(), cause }
    }

    /// The error of a frame that is not there any more.
    pub(super) fn damaged(&self, offset_bytes: u64, first_lsn: Lsn) -> reader::Error {
        let last_lsn = self.next_lsn().previous();
        reader::Error::Damaged(Damage { file: self.name(), offset_bytes, first_lsn, last_lsn })
    }

    fn known_index(&self) -> Result<MappedMutexGuard<'_, Index>, reader::Error> {
        let mut extent = self.extent.lock();
        if let Extent::Unread { next_lsn } = *extent {
            *extent = Extent::Known(self.survey(next_lsn)?);
        }
        Ok(MutexGuard::map(extent, |extent| match extent {
            Extent::Known(index) => index,
            Extent::Unread { .. } => unreachable!("made known above, under the same lock"),
        }))
    }

    /// Goes from header to header until `next_lsn`.
    fn survey(&self, next_lsn: Lsn) -> Result<Index, reader::Error> {
        let mut cursor = self.cursor(READ_AHEAD_SHORT_BYTES);
        let mut index = Index::new(self.first_lsn);
        while index.next_lsn < next_lsn {
            let header = cursor.header_at(index.end).map_err(|cause| self.unreadable(cause))?;
            match header {
                Some(header) if header.first_lsn == index.next_lsn => index.push(&header),
                Some(_) | None => {
                    return Err(reader::Error::Damaged(Damage {
                        file: self.name(),
                        offset_bytes: index.end,
                        first_lsn: index.next_lsn,
                        last_lsn: next_lsn.previous(),
                    }));
                }
            }
        }
        Ok(index)
    }
}
