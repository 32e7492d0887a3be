//! The writer: one frame a commit group, one sync, and no way back after a failure.
//!
//! Always marked <= durable <= appended. After a failed write or sync every call is refused and the
//! file is never synced again: bytes that a failed sync left behind may be in the page cache alone,
//! and a second sync would say yes to them. The process must end; the next start finds out what is
//! there and writes it anew.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Lsn, Timestamp};
use crate::storage::log::frame::{self, Header, PAYLOAD_BYTES_MAX, Place};
use crate::storage::log::segment::{self, HEADER_BYTES, Segment};
use crate::storage::log::upkeep::{self, Named};
use crate::storage::log::{Durability, LogReader, Shared};
use crate::world::disk::remove_if_there;
use crate::world::sabotage::{self, Sabotage};

/// The name of a segment that is created when none was prepared, until it is whole.
pub(super) const NEXT: &str = "wal-next";

/// Why nothing was logged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`]; nothing was written and the log goes on.
    #[error("log a group of {bytes} bytes: more than {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// The payload's length.
        bytes: usize,
    },
    /// A write or sync failed. The group may or may not be found after a restart; end the process.
    #[error("{action} {file}")]
    Failed {
        /// What was attempted.
        action: &'static str,
        /// With which file.
        file: String,
        /// What the disk said.
        #[source]
        cause: io::Error,
    },
    /// An earlier call failed; nothing was attempted.
    #[error("an earlier write of the log failed")]
    Poisoned,
}

/// One commit group.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// Its first LSN: the one after the last appended.
    pub first_lsn: Lsn,
    /// How many LSNs it has, not 0.
    pub count: u32,
    /// Log time of its last record.
    pub log_time: Timestamp,
    /// Its bytes, at most [`PAYLOAD_BYTES_MAX`].
    pub payload: &'a [u8],
}

/// A group that was written, not yet synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The group's last LSN.
    pub last_lsn: Lsn,
    /// What it takes in the log, header and padding included.
    pub frame_bytes: u64,
}

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Groups written.
    pub groups: u64,
    /// Bytes written, headers, padding and marks included.
    pub bytes: u64,
    /// Syncs of a segment.
    pub syncs: u64,
    /// Segments begun.
    pub segments: u64,
    /// Segments begun that had not been prepared ahead: their writes are slower.
    pub segments_unprepared: u64,
}

/// The end of the log that is being written.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    /// Where the next frame goes.
    pub(super) offset: u64,
    /// No frame reaches beyond this.
    pub(super) limit: u64,
    /// Whether the blocks ahead are not written yet.
    pub(super) grows: bool,
    buffer: Vec<u8>,
}

impl Tail {
    /// The end of a segment that has no frame yet. `limit` bounds it.
    pub(super) fn new(segment: Arc<Segment>, limit: u64, grows: bool) -> Self {
        Self { segment, offset: HEADER_BYTES, limit, grows, buffer: Vec::new() }
    }

    /// Writes one frame.
    pub(super) fn put(&mut self, header: &Header, payload: &[u8]) -> io::Result<()> {
        let place = Place { salt: self.segment.salt, offset: self.offset };
        frame::encode(header, payload, place, &mut self.buffer);
        self.segment.file.write_at(self.offset, &self.buffer)?;
        self.segment.push(header);
        self.offset += header.frame_bytes();
        Ok(())
    }
}

/// Where the log stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) appended: Lsn,
    pub(super) durable: Lsn,
    /// The highest durable LSN that a frame names.
    pub(super) marked: Lsn,
    pub(super) log_time: Timestamp,
}

/// The writer of a log.
#[derive(Debug)]
pub struct Wal {
    shared: Arc<Shared>,
    tail: Tail,
    position: Position,
    /// Something was written since the last sync.
    unsynced: bool,
    /// When the last sync that was asked for by time was made.
    synced_at: Duration,
    poisoned: bool,
    counters: Counters,
}

impl Wal {
    pub(super) fn new(shared: Arc<Shared>, tail: Tail, position: Position) -> Self {
        let (synced_at, counters) = (Duration::ZERO, Counters::default());
        Self { shared, tail, position, unsynced: false, synced_at, poisoned: false, counters }
    }

    /// Writes one group, beginning a new segment when it does not fit this one. It is durable after
    /// the next sync; under [`Durability::Commit`] an earlier group is synced first.
    ///
    /// # Errors
    /// [`Error`]; after anything but [`Error::TooLarge`] the log takes nothing more.
    ///
    /// # Panics
    /// When the group has no LSN or does not go on where the last one ended.
    pub fn append(&mut self, group: Group<'_>) -> Result<Appended, Error> {
        assert_eq!(group.first_lsn, self.position.appended.next(), "LSNs go on without a gap");
        assert!(group.count > 0, "a group has a record");
        let payload_bytes = match u32::try_from(group.payload.len()) {
            Ok(bytes) if group.payload.len() <= PAYLOAD_BYTES_MAX => bytes,
            Ok(_) | Err(_) => return Err(Error::TooLarge { bytes: group.payload.len() }),
        };
        self.refuse_if_poisoned()?;
        match self.shared.options.durability {
            Durability::Commit => self.sync().map(drop)?,
            Durability::Interval(_) => {}
        }
        let header = Header {
            payload_bytes,
            first_lsn: group.first_lsn,
            durable: self.position.durable,
            log_time: group.log_time,
            count: group.count,
        };
        self.write(header, group.payload)?;
        self.position.appended = header.next_lsn().previous();
        self.position.log_time = group.log_time;
        self.counters.groups += 1;
        self.publish();
        Ok(Appended { last_lsn: self.position.appended, frame_bytes: header.frame_bytes() })
    }

    /// Makes everything appended durable and returns its last LSN.
    ///
    /// # Errors
    /// [`Error::Failed`] when the disk refused: nothing written since the last sync may be
    /// acknowledged. [`Error::Poisoned`].
    pub fn sync(&mut self) -> Result<Lsn, Error> {
        self.refuse_if_poisoned()?;
        if self.unsynced {
            if !sabotage::is(Sabotage::LogSync) {
                let synced = self.tail.segment.file.sync();
                let file = self.tail.segment.name();
                self.attempted("sync", &file, synced)?;
            }
            self.counters.syncs += 1;
            self.unsynced = false;
            self.position.durable = self.position.appended;
            self.publish();
        }
        Ok(self.position.durable)
    }

    /// Syncs if the durability asks for it: under [`Durability::Commit`] always, otherwise when the
    /// interval has passed since the last such sync. `now` is time since boot. Says whether everything
    /// is durable.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn sync_if_due(&mut self, now: Duration) -> Result<bool, Error> {
        let due = match self.shared.options.durability {
            Durability::Commit => true,
            Durability::Interval(interval) => now.saturating_sub(self.synced_at) >= interval,
        };
        if due {
            self.sync()?;
            self.synced_at = now;
        }
        Ok(!self.unsynced)
    }

    /// Syncs, and writes and syncs a frame without records that names the durable LSN, unless a frame
    /// names it already; says whether one was written. After it a torn last group is known from a
    /// damaged one. For idle moments and the end.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn write_idle_mark(&mut self) -> Result<bool, Error> {
        let durable = self.sync()?;
        if self.position.marked == durable {
            return Ok(false);
        }
        let header = Header {
            payload_bytes: 0,
            first_lsn: self.position.appended.next(),
            durable,
            log_time: self.position.log_time,
            count: 0,
        };
        self.write(header, &[])?;
        self.sync()?;
        Ok(true)
    }

    /// The last LSN that no crash takes back.
    pub fn durable(&self) -> Lsn {
        self.position.durable
    }

    /// The last LSN that may be acknowledged: the last durable one, or under
    /// [`Durability::Interval`] the last appended one.
    pub fn acknowledged(&self) -> Lsn {
        match self.shared.options.durability {
            Durability::Commit => self.position.durable,
            Durability::Interval(_) => self.position.appended,
        }
    }

    /// The last LSN that was written.
    pub fn appended(&self) -> Lsn {
        self.position.appended
    }

    /// Log time of the last record that was written.
    pub fn log_time(&self) -> Timestamp {
        self.position.log_time
    }

    /// Whether a write or sync failed.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Counts since the log was opened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A reader of this log.
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    fn write(&mut self, mut header: Header, payload: &[u8]) -> Result<(), Error> {
        self.make_room(&header)?;
        // Only now: a new segment begins with the sync of the one before, and must say so.
        header.durable = self.position.durable;
        let put = self.tail.put(&header, payload);
        let file = self.tail.segment.name();
        self.attempted("write", &file, put)?;
        self.unsynced = true;
        self.position.marked = self.position.marked.max(header.durable);
        self.counters.bytes += header.frame_bytes();
        Ok(())
    }

    /// Begins a new segment when the frame does not fit, or when this one grows with every write and
    /// a prepared one has become ready.
    fn make_room(&mut self, header: &Header) -> Result<(), Error> {
        let bytes = header.frame_bytes();
        let fits = self.tail.offset + bytes <= self.tail.limit;
        if fits && !(self.tail.grows && self.spare_takes(bytes)) {
            return Ok(());
        }
        // A later segment says by being there that this one is whole.
        self.sync()?;
        let (Named { number, spare }, grows) = match self.take_spare(bytes) {
            Some(named) => (named, false),
            None => (self.create(bytes)?, true),
        };
        let segment = Segment::begun(number, spare.file, spare.salt, header.first_lsn);
        let segment = Arc::new(segment);
        self.shared.segments.write().push(Arc::clone(&segment));
        self.counters.segments += 1;
        self.counters.segments_unprepared += u64::from(grows);
        self.tail = Tail::new(segment, spare.bytes, grows);
        Ok(())
    }

    fn spare_takes(&self, frame_bytes: u64) -> bool {
        let slot = self.shared.spare.lock();
        slot.as_ref().is_some_and(|named| self.shared.takes(named, frame_bytes))
    }

    /// The prepared segment, if it is large enough for the frame. Its name is durable: nothing of this waits
    /// for the disk.
    fn take_spare(&self, frame_bytes: u64) -> Option<Named> {
        self.shared.spare.lock().take_if(|named| self.shared.takes(named, frame_bytes))
    }

    /// A segment that was not prepared: a header, to grow with every write.
    fn create(&mut self, frame_bytes: u64) -> Result<Named, Error> {
        let number = self.shared.take_number();
        let name = segment::name_of(number);
        let attempt = || {
            let disk = &*self.shared.disk;
            remove_if_there(disk, NEXT)?;
            let file = disk.create(NEXT)?;
            let bytes = self.shared.options.segment_bytes.max(HEADER_BYTES + frame_bytes);
            let spare = upkeep::adopt(&self.shared, file, bytes)?;
            disk.rename(NEXT, &name)?;
            self.shared.sync_names()?;
            Ok(Named { number, spare })
        };
        let created = attempt();
        self.attempted("begin", &name, created)
    }

    fn publish(&self) {
        self.shared.set_readable(self.acknowledged());
    }

    fn refuse_if_poisoned(&self) -> Result<(), Error> {
        if self.poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }

    fn attempted<T>(
        &mut self,
        action: &'static str,
        file: &str,
        result: io::Result<T>,
    ) -> Result<T, Error> {
        result.map_err(|cause| {
            self.poisoned = true;
            Error::Failed { action, file: file.to_owned(), cause }
        })
    }
}
