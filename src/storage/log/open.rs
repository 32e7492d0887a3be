//! Opening a log: decide what counts, write the end anew, then hand out its parts.
//!
//! The frames above D, which the next frame was to vouch for, are written into a fresh segment and
//! synced before anything is served: after a failed sync the old ones may be in the page cache alone.
//! The fresh segment is whole and durable before it gets its name, so that a crash at any operation
//! leaves the log as it was or as it will be. Once its name is durable too, it gets a mark that vouches
//! for all of it: after a failed sync of names, which no later one can heal, the next start copies it
//! again. Only then is the abandoned end of older segments cut off and what holds nothing removed; no old
//! file is ever synced.

use std::io;
use std::sync::Arc;

use crate::model::{Lsn, Timestamp};
use crate::storage::log::frame::Header;
use crate::storage::log::scan::{self, Piece, Scan};
use crate::storage::log::segment::{self, Incarnation, Segment};
use crate::storage::log::upkeep::{self, SPARE, Spare};
use crate::storage::log::wal::{NEXT, Position, Tail};
use crate::storage::log::{
    Damage, LogReader, Options, SEGMENT_BYTES_MIN, Shared, Upkeep, Wal, reader,
};
use crate::world::disk::remove_if_there;
use crate::world::sabotage::{self, Sabotage};
use crate::world::sync::atomic::AtomicU64;
use crate::world::sync::{Mutex, RwLock};
use crate::world::{Disk, Entropy};

/// A segment's abandoned end is cut off when it is at least this part of a segment: less is what an
/// ordinary last group leaves, and a file of full size can be reused.
const CUT_DIVISOR: u64 = 8;

/// What the rest of the data directory knows of the log.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The highest LSN that a checkpoint or run says is durable; zero for none.
    pub known_durable: Lsn,
    /// The first LSN that is needed; what is below it was durable and is not read.
    pub from: Lsn,
}

/// An open log.
#[derive(Debug)]
pub struct Opened {
    /// The writer. [`Wal::durable`] is the last LSN recovered.
    pub wal: Wal,
    /// The background half.
    pub upkeep: Upkeep,
    /// A reader, for the replay and after.
    pub reader: LogReader,
    /// What was found.
    pub report: Report,
}

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The last LSN recovered.
    pub last_lsn: Lsn,
    /// D: the last LSN that was known to be durable before.
    pub durable: Lsn,
    /// Groups read.
    pub groups: u64,
    /// Groups above D that were written anew.
    pub groups_rewritten: u64,
    /// What stood behind the last good frame.
    pub dropped: Option<Dropped>,
    /// A file before all others whose first frame cannot be read: the remains of a start that failed, or
    /// damage of the oldest records. Whoever knows where the log must begin can tell.
    pub unreadable_start: Option<String>,
}

/// The end of a log that was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The file.
    pub file: String,
    /// Where in it the torn frame begins.
    pub offset_bytes: u64,
    /// The LSN that stood there, or was to; it is given anew.
    pub first_lsn: Lsn,
}

/// Why a log was not opened. Nothing was changed, except after [`OpenError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Durable records cannot be read. Restore a backup, or accept the loss by hand.
    #[error("open the log: {0}")]
    Damaged(Damage),
    /// A segment belongs to another data directory.
    #[error("open the log: {file} belongs to incarnation {found}, not {expected}")]
    OtherIncarnation {
        /// The file.
        file: String,
        /// Whose it is.
        found: Incarnation,
        /// Whose it should be.
        expected: Incarnation,
    },
    /// A newer Quipu wrote this log.
    #[error("open the log: {file} has format {version}, newer than {}", segment::FORMAT_VERSION)]
    NewerFormat {
        /// The file.
        file: String,
        /// Its format.
        version: u32,
    },
    /// The disk refused; what was recovered so far is as safe as before.
    #[error("{action} {file}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// With which file.
        file: String,
        /// What the disk said.
        #[source]
        cause: io::Error,
    },
}

impl From<reader::Error> for OpenError {
    fn from(error: reader::Error) -> Self {
        match error {
            reader::Error::Damaged(damage) => Self::Damaged(damage),
            reader::Error::Io { file, cause } => Self::Io { action: "read", file, cause },
            reader::Error::Gone { lsn } => Self::Io {
                action: "find again",
                file: format!("lsn {lsn}"),
                cause: io::ErrorKind::NotFound.into(),
            },
        }
    }
}

/// Recovers the log of a data directory, or begins one where there is none. When this returns, every
/// record that it found is durable.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    options: Options,
    bounds: Bounds,
) -> Result<Opened, OpenError> {
    // What nobody needs any more was durable.
    let known_durable = bounds.known_durable.max(bounds.from.previous());
    let bounds = Bounds { known_durable, ..bounds };
    let pieces = scan::list(&*disk)?;
    scan::check_identity(&pieces, Some(options.incarnation))?;
    let Scan { segments, durable, next_lsn, log_time, groups, dropped, empty } =
        scan::scan(&pieces, bounds)?;
    let number = pieces.last().map_or(1, |piece| piece.number + 1);
    let shared = Arc::new(Shared {
        disk,
        entropy,
        options: normal(options),
        segments: RwLock::new(segments.into_iter().map(Arc::new).collect()),
        spare: Mutex::new(None),
        next_number: AtomicU64::new(number + 1),
        readable: AtomicU64::new(next_lsn.previous().0),
    });
    let unreadable_start = scan::unreadable_start(&pieces)?;
    let last = Last { durable, next_lsn, log_time };
    let (tail, groups_rewritten) = write_fresh(&shared, number, last)?;
    cut_abandoned(&shared, &pieces, &empty, tail.segment.first_lsn)?;
    shared.segments.write().push(Arc::clone(&tail.segment));

    let last_lsn = next_lsn.previous();
    let position = Position { appended: last_lsn, durable: last_lsn, marked: last_lsn, log_time };
    Ok(Opened {
        wal: Wal::new(Arc::clone(&shared), tail, position),
        upkeep: Upkeep::new(Arc::clone(&shared)),
        reader: LogReader::new(shared),
        report: Report { last_lsn, durable, groups, groups_rewritten, dropped, unreadable_start },
    })
}

/// The options, with a segment size that frames fit.
fn normal(options: Options) -> Options {
    let bytes = options.segment_bytes.clamp(SEGMENT_BYTES_MIN, 1 << 30);
    let segment_bytes = bytes.next_multiple_of(super::frame::BLOCK_BYTES as u64);
    Options { segment_bytes, ..options }
}

/// Where the scanned log ends.
#[derive(Clone, Copy, Debug)]
struct Last {
    durable: Lsn,
    next_lsn: Lsn,
    log_time: Timestamp,
}

/// Writes the groups above D into a new segment, makes it durable, names it, and then marks it.
fn write_fresh(shared: &Arc<Shared>, number: u64, last: Last) -> Result<(Tail, u64), OpenError> {
    let name = segment::name_of(number);
    let failed = |action: &'static str| {
        let file = name.clone();
        move |cause| OpenError::Io { action, file, cause }
    };
    let spare = fresh_file(shared).map_err(failed("begin"))?;
    let mut tail = None;
    let mut groups = 0;
    let reader = LogReader::new(Arc::clone(shared));
    reader.visit(last.durable.next()..=last.next_lsn.previous(), |frame| {
        // A checkpoint may know of a part of a group; all of it is durable then.
        if frame.first_lsn <= last.durable || sabotage::is(Sabotage::TailRewrite) {
            return Ok(());
        }
        let tail = tail.get_or_insert_with(|| fresh_tail(&spare, number, frame.first_lsn));
        let header = Header {
            payload_bytes: u32::try_from(frame.payload.len()).expect("as it was read"),
            first_lsn: frame.first_lsn,
            durable: last.durable,
            log_time: frame.log_time,
            count: frame.count,
        };
        groups += 1;
        tail.put(&header, frame.payload).map_err(failed("write"))
    })?;
    let mut tail = tail.unwrap_or_else(|| fresh_tail(&spare, number, last.next_lsn));
    spare.file.sync().map_err(failed("sync"))?;
    shared.disk.rename(NEXT, &name).map_err(failed("name"))?;
    shared.disk.sync_names().map_err(failed("name"))?;
    // Only now: a start after one whose names were not synced must not rely on this segment.
    let mark = Header {
        payload_bytes: 0,
        first_lsn: last.next_lsn,
        durable: last.next_lsn.previous(),
        log_time: last.log_time,
        count: 0,
    };
    tail.put(&mark, &[]).map_err(failed("write"))?;
    spare.file.sync().map_err(failed("sync"))?;
    tail.limit = spare.bytes.max(tail.offset);
    Ok((tail, groups))
}

/// A file that no earlier process had.
fn fresh_file(shared: &Shared) -> io::Result<Spare> {
    let disk = &*shared.disk;
    remove_if_there(disk, SPARE)?;
    remove_if_there(disk, NEXT)?;
    upkeep::adopt(shared, disk.create(NEXT)?, shared.options.segment_bytes)
}

fn fresh_tail(spare: &Spare, number: u64, first_lsn: Lsn) -> Tail {
    let segment = Segment::begun(number, Arc::clone(&spare.file), spare.salt, first_lsn);
    // What is above D fits no limit but its own: usually one group, never more than a segment.
    Tail::new(Arc::new(segment), u64::MAX, true)
}

/// Lets the older segments end where the fresh one begins, and gives back the disk behind that.
fn cut_abandoned(
    shared: &Shared,
    pieces: &[Piece],
    empty: &[u64],
    first_lsn: Lsn,
) -> Result<(), OpenError> {
    let mut segments = shared.segments.write();
    let abandoned = segments.partition_point(|segment| segment.first_lsn < first_lsn);
    let mut unused: Vec<u64> = segments.drain(abandoned..).map(|segment| segment.number).collect();
    unused.extend(empty);
    if let Some(last) = segments.last().filter(|segment| segment.is_read()) {
        if let Some(offset) = last.find(first_lsn)? {
            last.cut(first_lsn, offset)?;
        }
        let failed = |cause| OpenError::Io { action: "cut", file: last.name(), cause };
        let (end, size) = (last.index()?.end, last.file.size().map_err(failed)?);
        if size.saturating_sub(end) >= shared.options.segment_bytes / CUT_DIVISOR {
            last.file.resize(end).map_err(failed)?;
        }
    }
    for piece in pieces.iter().filter(|piece| unused.contains(&piece.number)) {
        let failed = |cause| OpenError::Io { action: "remove", file: piece.name(), cause };
        shared.disk.remove(&piece.name()).map_err(failed)?;
    }
    Ok(())
}
