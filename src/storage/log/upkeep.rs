//! Segments ahead of use and after it: one is kept ready, old ones are reused or removed.
//!
//! A segment is prepared under the name [`SPARE`]: zeros first, written as data and synced in steps,
//! its header last, so that a valid header proves the rest. Writing over such blocks syncs two to four
//! times as fast as growing a file. Then it gets its number, and its name is made durable: the writer that
//! takes it must not wait for the file system's journal, which waits for whatever else is being written. A
//! start finds it without a frame, and removes it. What an earlier process left
//! as a spare is removed: nothing in it was acknowledged, and nobody knows whether a sync of it
//! failed. For the same reason only segments of this process are reused.

use std::io;
use std::sync::Arc;

use crate::model::Lsn;
use crate::storage::log::Shared;
use crate::storage::log::segment::{self, HEADER_BYTES, Origin, Segment};
use crate::world::DiskFile;
use crate::world::disk::{give_back, remove_if_there};

/// The name of a segment that is being prepared.
pub(super) const SPARE: &str = "wal-spare";

/// The most that is written between two syncs: 128 MiB at once makes a commit wait 70 ms, 2 MiB
/// steps 7 ms (measured).
const STEP_BYTES_MAX: usize = 4 << 20;

/// A segment without a frame: zeros behind a header.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) salt: u64,
    pub(super) bytes: u64,
}

/// A spare that has its name, durably.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) number: u64,
    pub(super) spare: Spare,
}

/// Preparing or removing a segment failed. The log itself is not hurt: it goes on without a prepared
/// segment, and the next step begins anew.
#[derive(Debug, thiserror::Error)]
#[error("{action} {file}")]
pub struct Error {
    /// What was attempted.
    pub action: &'static str,
    /// With which file.
    pub file: String,
    /// What the disk said.
    #[source]
    pub cause: io::Error,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A segment is ready, and nothing has left the log: there is nothing to do until the writer takes it.
    Ready,
    /// More steps are needed.
    Working,
}

/// The background half of a log: prepares segments ahead of use and takes old ones away. There is one.
#[derive(Debug)]
pub struct Upkeep {
    shared: Arc<Shared>,
    zeroing: Option<Zeroing>,
    zeros: Vec<u8>,
    /// Files that have lost their names and whose blocks are still to be given back: a little at a time once the
    /// next segment is ready, or at once when there is no room for it.
    leaving: Vec<Arc<dyn DiskFile>>,
}

/// A spare on its way: the first `done` bytes behind the header's page are zero and durable.
#[derive(Debug)]
struct Zeroing {
    file: Arc<dyn DiskFile>,
    done: u64,
}

impl Upkeep {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, zeroing: None, zeros: Vec::new(), leaving: Vec::new() }
    }

    /// Brings the next segment nearer to being ready, writing and syncing at most `budget_bytes`
    /// (at least one block, at most 4 MiB). When it is ready, gives back a little of what has left the log.
    ///
    /// # Errors
    /// [`Error`] when the disk refused; the unfinished file is given up.
    pub fn step(&mut self, budget_bytes: usize) -> Result<Progress, Error> {
        let prepared = self.prepare(budget_bytes);
        if prepared.is_err() {
            // They may be the room that was missing. Closed, they give it back at once.
            self.leaving.clear();
        }
        prepared
    }

    fn prepare(&mut self, budget_bytes: usize) -> Result<Progress, Error> {
        let zeroing = match self.zeroing.take() {
            Some(zeroing) => zeroing,
            None if self.is_ready()? => return Ok(self.let_go()),
            None => self.begin().map_err(failed("create", SPARE))?,
        };
        let advanced = self.advance(zeroing, budget_bytes).map_err(failed("write zeros to", SPARE));
        if advanced.is_err() {
            // A file whose sync failed is not written again; `begin` removes it if this does not.
            let _ = self.shared.disk.remove(SPARE);
        }
        advanced
    }

    /// Gives back a little of the files that have left the log.
    fn let_go(&mut self) -> Progress {
        while let Some(file) = self.leaving.last() {
            if give_back(&**file).unwrap_or(false) {
                return Progress::Working;
            }
            // What is left goes when it is closed, now.
            self.leaving.pop();
        }
        Progress::Ready
    }

    /// Whether a segment is ready that can follow the live one. When that got a later number, because a
    /// frame did not fit the one that was ready, another is needed.
    fn is_ready(&self) -> Result<bool, Error> {
        let mut slot = self.shared.spare.lock();
        let Some(named) = &*slot else { return Ok(false) };
        if self.shared.can_follow(named) {
            return Ok(true);
        }
        let name = segment::name_of(named.number);
        *slot = None;
        drop(slot);
        self.shared.disk.remove(&name).map_err(failed("remove", &name))?;
        Ok(false)
    }

    /// Removes the segments whose records are all below `lsn`; one of them becomes the next spare if
    /// none is ready and nobody reads it, which saves writing zeros. The live segment stays. Says how
    /// many left the log.
    ///
    /// # Errors
    /// [`Error`] when the disk refused; segments that were not yet removed are removed by the next
    /// call.
    pub fn retire_below(&mut self, lsn: Lsn) -> Result<usize, Error> {
        let mut retired = self.take_below(lsn);
        let count = retired.len();
        let has_spare = self.zeroing.is_some() || self.shared.spare.lock().is_some();
        let newest = retired.pop_if(|segment| !has_spare && segment.origin == Origin::ThisProcess);
        match newest.map(Arc::try_unwrap) {
            // Those before it go first, so that a crash leaves no hole in the log.
            Some(Ok(segment)) => {
                self.remove_below(segment.number)?;
                if !self.reuse(&segment)? {
                    self.remove_forgotten()?;
                }
            }
            Some(Err(_)) | None => self.remove_forgotten()?,
        }
        // Whoever still reads one reads on.
        let unread = retired.into_iter().filter_map(Arc::into_inner);
        self.leaving.extend(unread.map(|segment| segment.file));
        Ok(count)
    }

    /// Takes segments off the list, oldest first. The one after them must hold something readable:
    /// the log is never left without a frame that says where it stands.
    fn take_below(&self, lsn: Lsn) -> Vec<Arc<Segment>> {
        let mut segments = self.shared.segments.write();
        let readable = self.shared.readable();
        let kept = segments
            .iter()
            .rposition(|segment| segment.first_lsn <= lsn && segment.first_lsn <= readable)
            .unwrap_or_default();
        segments.drain(..kept).collect()
    }

    /// Makes a spare of a file that left the log; says whether it is one now.
    fn reuse(&self, segment: &Segment) -> Result<bool, Error> {
        let name = segment.name();
        let attempt = || {
            let bytes = segment.file.size()?;
            if bytes < self.shared.options.segment_bytes {
                return Ok(None);
            }
            // Its name goes first: under the old one its frames must stay valid.
            self.shared.disk.rename(&name, SPARE)?;
            self.shared.disk.sync_names()?;
            let spare = adopt(&self.shared, Arc::clone(&segment.file), bytes)?;
            self.number(spare).map(Some)
        };
        let named = attempt().map_err(failed("reuse", &name))?;
        let reused = named.is_some();
        *self.shared.spare.lock() = named;
        Ok(reused)
    }

    /// Gives the spare the next number, and makes its name durable.
    fn number(&self, spare: Spare) -> io::Result<Named> {
        let disk = &*self.shared.disk;
        let number = self.shared.take_number();
        let name = segment::name_of(number);
        // A sync of names that fails takes this name with it, whoever asked for it.
        let failed_name_syncs = disk.failed_name_syncs();
        disk.rename(SPARE, &name)?;
        let synced = self.shared.sync_names().and_then(|()| {
            let is_certain = disk.failed_name_syncs() == failed_name_syncs;
            if is_certain { Ok(()) } else { Err(io::Error::other("its name may be lost")) }
        });
        match synced {
            Ok(()) => Ok(Named { number, spare }),
            Err(cause) => {
                // Nothing is ever written to it, so that it does not matter whether it comes back.
                let _ = disk.remove(&name);
                Err(cause)
            }
        }
    }

    /// Removes every segment file older than the oldest of the log, oldest first.
    fn remove_forgotten(&self) -> Result<(), Error> {
        let oldest = self.shared.segments.read().first().map(|segment| segment.number);
        oldest.map_or(Ok(()), |oldest| self.remove_below(oldest))
    }

    /// Removes the files of segments with a smaller number, oldest first, each for good before the next:
    /// a crash never leaves an older one without a newer one.
    fn remove_below(&self, number: u64) -> Result<(), Error> {
        let disk = &*self.shared.disk;
        let names = disk.names().map_err(failed("list", "the data directory"))?;
        let numbered = names.iter().filter_map(|name| Some((segment::number_of(name)?, name)));
        let mut old: Vec<_> = numbered.filter(|(found, _)| *found < number).collect();
        old.sort_unstable();
        for (_, name) in old {
            disk.remove(name).map_err(failed("remove", name))?;
            disk.sync_names().map_err(failed("sync the names of", "the data directory"))?;
        }
        Ok(())
    }

    fn begin(&self) -> io::Result<Zeroing> {
        // Not emptied but removed: whatever lies there may have failed a sync.
        remove_if_there(&*self.shared.disk, SPARE)?;
        Ok(Zeroing { file: self.shared.disk.create(SPARE)?, done: 0 })
    }

    fn advance(&mut self, mut zeroing: Zeroing, budget_bytes: usize) -> io::Result<Progress> {
        let bytes = self.shared.options.segment_bytes;
        let left = (bytes - HEADER_BYTES) - zeroing.done;
        let step = budget_bytes.clamp(super::frame::BLOCK_BYTES, STEP_BYTES_MAX);
        let step = usize::try_from(left).unwrap_or(step).min(step);
        if self.zeros.len() < step {
            self.zeros = vec![0; step];
        }
        let zeros = self.zeros.get(..step).expect("made long enough above");
        zeroing.file.write_at(HEADER_BYTES + zeroing.done, zeros)?;
        zeroing.file.sync()?;
        zeroing.done += step as u64;
        if zeroing.done < bytes - HEADER_BYTES {
            self.zeroing = Some(zeroing);
            return Ok(Progress::Working);
        }
        self.zeros = Vec::new();
        let spare = adopt(&self.shared, zeroing.file, bytes)?;
        let named = self.number(spare)?;
        *self.shared.spare.lock() = Some(named);
        Ok(Progress::Ready)
    }
}

/// Begins a new use of a file: a header with a new salt makes every frame in it invalid.
pub(super) fn adopt(shared: &Shared, file: Arc<dyn DiskFile>, bytes: u64) -> io::Result<Spare> {
    let header = shared.new_header();
    file.write_at(0, &header.encode())?;
    file.sync()?;
    Ok(Spare { file, salt: header.salt, bytes })
}

fn failed<'a>(action: &'static str, file: &'a str) -> impl Fn(io::Error) -> Error + 'a {
    move |cause| Error { action, file: file.to_owned(), cause }
}
