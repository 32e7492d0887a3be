//! Reading the log back while it is written.
//!
//! A reader is cheap to clone and sees only what may be acknowledged. It keeps no more in memory than
//! a position for each 256 KiB of a segment, and reads frames from the files, checksums checked. A
//! segment that leaves the log while it is read stays readable to whoever is in it.

use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use crate::model::Lsn;
use crate::storage::log::cursor::{Cursor, Found, READ_AHEAD_LONG_BYTES, READ_AHEAD_SHORT_BYTES};
use crate::storage::log::frame::{Frame, OwnedFrame};
use crate::storage::log::segment::{self, Segment};
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

    /// Hands the frames that hold `lsns` to `visit`, newest first, until it breaks, and returns the
    /// first LSN of the last one. That is above the range's when `visit` broke, or when the log begins
    /// later: also when a segment that was still to be entered has left it. The first frame may end
    /// behind the range and the last begin before it; LSNs above [`Self::last_lsn`] are left out.
    ///
    /// # Errors
    /// What `visit` says, which ends the visit, or an [`Error`] of reading, but not [`Error::Gone`].
    pub fn visit_back<E: From<Error>>(
        &self,
        lsns: RangeInclusive<Lsn>,
        mut visit: impl FnMut(Frame<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<Lsn, E> {
        let from = (*lsns.start()).max(Lsn::ZERO.next());
        let mut next = (*lsns.end()).min(self.shared.readable()).next();
        while from < next {
            let Some(segment) = self.shared.segment_of(next.previous()) else { break };
            let index = segment.index()?;
            let mut cursor = segment.cursor(READ_AHEAD_SHORT_BYTES);
            while from.max(segment.first_lsn) < next {
                let upto = next.previous();
                let damaged = || segment.damaged(segment::HEADER_BYTES, upto);
                let (offset, end) = index.stretch(upto).ok_or_else(damaged)?;
                // A few hundred KiB, or one large frame.
                cursor.read_ahead(usize::try_from(end - offset).unwrap_or(READ_AHEAD_LONG_BYTES));
                let offsets = offsets_to(upto, (offset, end), &segment, &mut cursor)?;
                for offset in offsets.into_iter().rev() {
                    let frame = frame_at(&segment, &mut cursor, offset, next.previous())?;
                    next = frame.first_lsn;
                    if visit(frame)?.is_break() || next <= from {
                        return Ok(next);
                    }
                }
            }
        }
        Ok(next)
    }
}

/// The offsets of the frames with records from `offset` on, before `end`, up to the one that holds
/// `lsn`.
fn offsets_to(
    lsn: Lsn,
    (mut offset, end): (u64, u64),
    segment: &Segment,
    cursor: &mut Cursor<'_>,
) -> Result<Vec<u64>, Error> {
    let mut offsets = Vec::new();
    while offset < end {
        let header = cursor.header_at(offset).map_err(|cause| segment.unreadable(cause))?;
        let header = header.ok_or_else(|| segment.damaged(offset, lsn))?;
        if header.count > 0 {
            offsets.push(offset);
        }
        if header.holds(lsn) {
            return Ok(offsets);
        }
        offset += header.frame_bytes();
    }
    Err(segment.damaged(offset, lsn))
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
