//! The write-ahead log: numbered segment files of checksummed frames, one frame a commit group.
//!
//! [`open()`] recovers what is there and hands out three parts: [`Wal`] writes (one thread),
//! [`LogReader`] reads beside it (any thread), [`Upkeep`] prepares segments ahead of use and removes
//! old ones (one background thread). [`verify()`] reads a log that no process has open.
//!
//! The one rule of recovery: D is the highest LSN that any valid frame, checkpoint or run says is
//! durable. A frame that is bad at or below D is damage and stops the start; above D it was never
//! acknowledged, and it is dropped with what follows. Between segments: LSNs go on without a gap, and
//! a segment ends where the next one begins.

mod cursor;
mod frame;
mod open;
mod reader;
mod scan;
mod segment;
mod upkeep;
mod verify;
mod wal;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Lsn;
use crate::storage::log::segment::Segment;
use crate::storage::log::upkeep::Named;
use crate::world::sabotage::{self, Sabotage};
use crate::world::sync::atomic::{AtomicU64, Ordering};
use crate::world::sync::{Mutex, RwLock};
use crate::world::{Disk, Entropy};

pub use frame::{Frame, OwnedFrame, PAYLOAD_BYTES_MAX};
pub use open::{Bounds, Dropped, OpenError, Opened, Report, open};
pub use reader::{Error as ReadError, LogReader, SegmentInfo};
pub use segment::Incarnation;
pub use upkeep::{Error as UpkeepError, Progress, Upkeep};
pub use verify::{SegmentReport, Verification, verify};
pub use wal::{Appended, Counters, Error, Group, Wal};

/// When a group may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After its sync; a group is written only after the sync of the one before.
    Commit,
    /// After it was written. A sync follows at most so much later: a power cut takes at most that
    /// long a suffix, a killed process takes nothing.
    Interval(Duration),
}

/// What one log is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The data directory's life.
    pub incarnation: Incarnation,
    /// Size of a segment file, between [`SEGMENT_BYTES_MIN`] and 1 GiB. Larger: fewer files and
    /// more disk before the first can go; the default of 64 MiB is prepared in 0.1 s.
    pub segment_bytes: u64,
    /// When a group may be acknowledged.
    pub durability: Durability,
}

/// The smallest segment: a header and room for a few groups.
pub const SEGMENT_BYTES_MIN: u64 = segment::HEADER_BYTES + 4096;

/// Records that were durable and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it the first bad bytes are.
    pub offset_bytes: u64,
    /// The first LSN that cannot be vouched for.
    pub first_lsn: Lsn,
    /// The last one that is known to have been durable; below `first_lsn` when only a mark between
    /// records was hit.
    pub last_lsn: Lsn,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset_bytes, first_lsn, last_lsn } = self;
        write!(f, "{file} is damaged at byte {offset_bytes}: ")?;
        if last_lsn < first_lsn {
            write!(f, "a mark before lsn {first_lsn}")
        } else {
            write!(f, "lsn {first_lsn} to {last_lsn} were durable and are in doubt")
        }
    }
}

/// What writer, readers and upkeep of one log share.
#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    options: Options,
    /// Ascending by number and by first LSN; the last one is live.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// A segment that is ready.
    spare: Mutex<Option<Named>>,
    /// The number that no segment had yet.
    next_number: AtomicU64,
    /// The last LSN that may be acknowledged, and so read.
    readable: AtomicU64,
}

impl Shared {
    fn readable(&self) -> Lsn {
        Lsn(self.readable.load(Ordering::Acquire))
    }

    fn set_readable(&self, lsn: Lsn) {
        self.readable.store(lsn.0, Ordering::Release);
    }

    /// A number that ranks behind all others.
    fn take_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::AcqRel)
    }

    /// Whether a segment ranks behind the live one.
    fn can_follow(&self, named: &Named) -> bool {
        self.segments.read().last().is_none_or(|live| live.number < named.number)
    }

    /// Whether a segment can follow the live one with a frame of this size.
    fn takes(&self, named: &Named, frame_bytes: u64) -> bool {
        segment::HEADER_BYTES + frame_bytes <= named.spare.bytes && self.can_follow(named)
    }

    fn sync_names(&self) -> io::Result<()> {
        if sabotage::is(Sabotage::NameSync) { Ok(()) } else { self.disk.sync_names() }
    }

    /// The segment whose range `lsn` falls into.
    fn segment_of(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let after = segments.partition_point(|segment| segment.first_lsn <= lsn);
        segments.get(after.checked_sub(1)?).map(Arc::clone)
    }

    /// A header for a new use of a file.
    fn new_header(&self) -> segment::Header {
        segment::Header {
            incarnation: self.options.incarnation,
            salt: u64::from_le_bytes(crate::world::entropy::draw(&*self.entropy)),
            pipelined: match self.options.durability {
                Durability::Commit => false,
                Durability::Interval(_) => true,
            },
        }
    }
}
