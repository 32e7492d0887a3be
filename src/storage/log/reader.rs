//! Reading the log back while it is written.
//!
//! A reader is cheap to clone and sees only what may be acknowledged. It keeps no more in memory than
//! a position for each 256 KiB of a segment, and reads frames from the files, checksums checked. A
//! segment that leaves the log while it is read stays readable to whoever is in it.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::model::Lsn;
use crate::storage::log::cursor::{Cursor, Found, READ_AHEAD_LONG_BYTES, READ_AHEAD_SHORT_BYTES};
use crate::storage::log::frame::{Frame, OwnedFrame};
use crate::storage::log::segment::{Index, Segment};
use crate::storage::log::{Damage, Shared};

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not what was written.
    #[error("read the log: {0}")]
    Damaged(Damage),
    /// The records left the log; older ones are in history, if anywhere.
    #[error("read lsn {lsn}: the log begins later")]
    Gone {
        /// The first LSN that was asked for and is gone.
        lsn: Lsn,
    },
    /// The disk refused.
    #[error("read {file}")]
    Io {
        /// The file.
        file: String,
        /// What the disk said.
        #[source]
        cause: io::Error,
    },
}

/// A segment, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; they ascend, not always without a gap.
    pub number: u64,
    /// The LSN it begins with.
    pub first_lsn: Lsn,
    /// The LSN after its last record, as far as written.
    pub next_lsn: Lsn,
    /// Whether it is never written again.
    pub sealed: bool,
}

/// Reads acknowledged records of one log.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The last LSN that can be read.
    pub fn last_lsn(&self) -> Lsn {
        self.shared.readable()
    }

    /// The segments of the log, oldest first; the last one is live.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let segments = self.shared.segments.read();
        let live = segments.last().map(|segment| segment.number);
        let info = |segment: &Arc<Segment>| SegmentInfo {
            number: segment.number,
            first_lsn: segment.first_lsn,
            next_lsn: segment.next_lsn(),
            sealed: Some(segment.number) != live,
        };
        segments.iter().map(info).collect()
    }

    /// The frame that holds `lsn`; `None` when it left the log or may not be read yet.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Io`].
    pub fn read_lsn(&self, lsn: Lsn) -> Result<Option<OwnedFrame>, Error> {
        if lsn == Lsn::ZERO || lsn > self.shared.readable() {
            return Ok(None);
        }
        let Some(segment) = self.shared.segment_of(lsn) else { return Ok(None) };
        let Some(offset) = segment.find(lsn)? else { return Ok(None) };
        let mut cursor = segment.cursor(READ_AHEAD_SHORT_BYTES);
        Ok(Some(frame_at(&segment, &mut cursor, offset, lsn)?.to_owned()))
    }

    /// The frames that hold `lsns`, newest first. Ends early when the log begins later, or when a
    /// segment it has yet to enter leaves the log. LSNs above [`Self::last_lsn`] are left out.
    pub fn frames_back(&self, lsns: RangeInclusive<Lsn>) -> FramesBack {
        FramesBack {
            shared: Arc::clone(&self.shared),
            from: *lsns.start(),
            upto: (*lsns.end()).min(self.shared.readable()),
            within: None,
        }
    }

    /// Hands the frames that hold `lsns` to `visit`, oldest first, one in memory at a time. The first
    /// may begin before the range and the last end behind it; LSNs above [`Self::last_lsn`] are left
    /// out.
    ///
    /// # Errors
    /// What `visit` says, which ends the visit, or an [`Error`] of reading; [`Error::Gone`] when the
    /// range begins before the log.
    pub fn visit<E: From<Error>>(
        &self,
        lsns: RangeInclusive<Lsn>,
        mut visit: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let last = (*lsns.end()).min(self.shared.readable());
        let mut next = (*lsns.start()).max(Lsn::ZERO.next());
        while next <= last {
            let segment = self.shared.segment_of(next).ok_or(Error::Gone { lsn: next })?;
            let Some(mut offset) = segment.find(next)? else {
                return Err(Error::Gone { lsn: next }.into());
            };
            let end = segment.index()?.end;
            let mut cursor = segment.cursor(READ_AHEAD_LONG_BYTES);
            while offset < end && next <= last {
                let (bytes, frame) = match cursor.frame_at(offset) {
                    Ok(Found::Frame(header, frame)) => (header.frame_bytes(), frame),
                    Ok(Found::Torn(_) | Found::Nothing) => {
                        return Err(segment.damaged(offset, next).into());
                    }
                    Err(cause) => return Err(segment.unreadable(cause).into()),
                };
                if frame.count > 0 {
                    next = frame.next_lsn();
                    visit(frame)?;
                }
                offset += bytes;
            }
        }
        Ok(())
    }
}

/// Frames, newest first; see [`LogReader::frames_back`]. Ends after an error.
#[derive(Debug)]
pub struct FramesBack {
    shared: Arc<Shared>,
    /// The first LSN that is wanted.
    from: Lsn,
    /// The last LSN not yet given out.
    upto: Lsn,
    within: Option<Within>,
}

/// A position inside a segment.
#[derive(Debug)]
struct Within {
    segment: Arc<Segment>,
    index: Index,
    /// Frames of the stretch that is being given out; the next is the last one.
    offsets: VecDeque<u64>,
}

impl FramesBack {
    fn step(&mut self) -> Result<Option<OwnedFrame>, Error> {
        loop {
            if self.upto == Lsn::ZERO || self.upto < self.from {
                return Ok(None);
            }
            let Some(within) = &mut self.within else {
                let Some(segment) = self.shared.segment_of(self.upto) else { return Ok(None) };
                let index = segment.index()?;
                self.within = Some(Within { segment, index, offsets: VecDeque::new() });
                continue;
            };
            if let Some(offset) = within.offsets.pop_back() {
                let mut cursor = within.segment.cursor(READ_AHEAD_SHORT_BYTES);
                let frame = frame_at(&within.segment, &mut cursor, offset, self.upto)?.to_owned();
                self.upto = frame.first_lsn.previous();
                return Ok(Some(frame));
            }
            if within.segment.first_lsn > self.upto {
                self.within = None;
            } else {
                within.offsets = within.stretch_before(self.upto)?;
            }
        }
    }
}

impl Within {
    /// The offsets of the frames between two marks, up to the one that holds `lsn`.
    fn stretch_before(&self, lsn: Lsn) -> Result<VecDeque<u64>, Error> {
        let damaged = |offset| self.segment.damaged(offset, lsn);
        let (mut offset, end) =
            self.index.stretch(lsn).ok_or_else(|| damaged(super::segment::HEADER_BYTES))?;
        let mut cursor = self.segment.cursor(READ_AHEAD_SHORT_BYTES);
        let mut offsets = VecDeque::new();
        while offset < end {
            let header =
                cursor.header_at(offset).map_err(|cause| self.segment.unreadable(cause))?;
            let header = header.ok_or_else(|| damaged(offset))?;
            if header.count > 0 {
                offsets.push_back(offset);
            }
            if header.holds(lsn) {
                return Ok(offsets);
            }
            offset += header.frame_bytes();
        }
        Err(damaged(offset))
    }
}

impl Iterator for FramesBack {
    type Item = Result<OwnedFrame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if let Some(Err(_)) = step {
            self.upto = Lsn::ZERO;
        }
        step
    }
}

/// The frame at `offset`, which must hold `lsn`.
fn frame_at<'c>(
    segment: &Segment,
    cursor: &'c mut Cursor<'_>,
    offset: u64,
    lsn: Lsn,
) -> Result<Frame<'c>, Error> {
    match cursor.frame_at(offset).map_err(|cause| segment.unreadable(cause))? {
        Found::Frame(header, frame) if header.holds(lsn) => Ok(frame),
        Found::Frame(..) | Found::Torn(_) | Found::Nothing => Err(segment.damaged(offset, lsn)),
    }
}
