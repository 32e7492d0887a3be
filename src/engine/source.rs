//! Every retained event of a range of LSNs, forward, in pieces: what a backfill reads.
//!
//! From history they come one by one, from the log a request at a time. Whoever looks for a window of
//! timestamps says so, and is spared blocks and requests without any event in it; of the others every
//! event is shown.

use std::ops::Range;

use crate::engine::record::{Body, EventsEntry, PayloadError, decode_payload};
use crate::engine::shared::Shared;
use crate::model::{Lsn, Timestamp};
use crate::storage::history::{self, Reader, Scan, Stored};
use crate::storage::log::{self, Frame, LogReader};

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The log could not be read.
    #[error("read the log")]
    Log(#[from] log::ReadError),
    /// History could not be read.
    #[error("read history")]
    History(#[from] history::Error),
    /// The log holds something that cannot be understood.
    #[error("decode the log")]
    Payload(#[from] PayloadError),
}

impl SourceError {
    /// Whether reading again from the start may go well: the disk refused, or a segment has left.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Log(log::ReadError::Io { .. } | log::ReadError::Gone { .. })
            | Self::History(history::Error::Io { .. }) => true,
            Self::History(
                history::Error::Damaged(_)
                | history::Error::Newer { .. }
                | history::Error::Foreign { .. }
                | history::Error::Missing { .. },
            )
            | Self::Log(log::ReadError::Damaged(_))
            | Self::Payload(_) => false,
        }
    }
}

/// A piece of what is read.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'p> {
    /// An event of history.
    Event(&'p Stored<'p>),
    /// A request of the log, and the LSN of its first event.
    Request(Lsn, &'p EventsEntry<'p>),
}

/// A position in the retained events.
#[derive(Debug)]
pub struct EventSource {
    next: Lsn,
    end: Lsn,
    window: Range<Timestamp>,
    /// What is being read of history, and the LSN after it.
    scan: Option<(Scan, Lsn)>,
    reader: Reader,
}

impl EventSource {
    /// The retained events before `end` whose timestamps lie in `window`.
    pub fn new(shared: &Shared, end: Lsn, window: Range<Timestamp>) -> Self {
        let segments = shared.log.segments();
        let in_log = segments.first().map_or(Lsn::ZERO, |segment| segment.first_lsn);
        let first = shared.history.first_lsn().unwrap_or(in_log);
        let next = first.max(Lsn::ZERO.next());
        Self { next, end, window, scan: None, reader: Reader::new() }
    }

    /// Whether everything was shown.
    pub fn is_exhausted(&self) -> bool {
        self.next >= self.end
    }

    /// Shows about the next `records` records.
    ///
    /// # Errors
    /// [`SourceError`], also what `visit` says.
    pub fn read(
        &mut self,
        shared: &Shared,
        records: u64,
        visit: impl FnMut(Piece<'_>) -> Result<(), PayloadError>,
    ) -> Result<(), SourceError> {
        if self.is_exhausted() {
            return Ok(());
        }
        let in_history = shared.history.last_lsn();
        if self.scan.is_none() && self.next <= in_history {
            let last = in_history.min(self.end.previous());
            self.scan = Some((shared.history.scan_forward(self.next..=last)?, last.next()));
        }
        if self.scan.is_some() {
            self.read_history(records, visit)
        } else {
            self.read_log(&shared.log, records, visit)
        }
    }

    fn read_history(
        &mut self,
        records: u64,
        mut visit: impl FnMut(Piece<'_>) -> Result<(), PayloadError>,
    ) -> Result<(), SourceError> {
        let Self { next, window, scan, reader, .. } = self;
        let Some((parts, end)) = scan else { return Ok(()) };
        let enough = next.plus(records.max(1));
        while *next < enough {
            let Some(part) = parts.next().transpose()? else {
                *next = *end;
                *scan = None;
                return Ok(());
            };
            *next = part.last_lsn().next();
            if part.overlaps(window) {
                part.events::<SourceError>(reader, |stored| Ok(visit(Piece::Event(&stored))?))?;
            }
        }
        Ok(())
    }

    fn read_log(
        &mut self,
        log: &LogReader,
        records: u64,
        mut visit: impl FnMut(Piece<'_>) -> Result<(), PayloadError>,
    ) -> Result<(), SourceError> {
        let last = self.next.plus(records.max(1)).min(self.end).previous();
        let (end, window) = (self.end, self.window.clone());
        let mut next = self.next;
        log.visit::<SourceError>(self.next..=last, |frame| {
            next = frame.next_lsn();
            Ok(show(&frame, end, &window, &mut visit)?)
        })?;
        self.next = next;
        Ok(())
    }
}

/// Shows the requests of a frame that stand before `end` and have an event in `window`.
fn show(
    frame: &Frame<'_>,
    end: Lsn,
    window: &Range<Timestamp>,
    visit: &mut impl FnMut(Piece<'_>) -> Result<(), PayloadError>,
) -> Result<(), PayloadError> {
    let mut lsn = frame.first_lsn;
    for entry in decode_payload(frame.payload)? {
        let next = lsn.plus(entry.body.lsn_count());
        match &entry.body {
            Body::Events(events) if lsn < end => {
                if events.events.iter().any(|event| window.contains(&event.timestamp)) {
                    visit(Piece::Request(lsn, events))?;
                }
            }
            Body::Events(_)
            | Body::Change(_)
            | Body::ClockSet(_)
            | Body::Backfilled(_)
            | Body::PeriodTurned(_)
            | Body::CycleClosed(_)
            | Body::PaymentMarked(_)
            | Body::CreditsMoved(_)
            | Body::AlertsFired(_)
            | Body::WebhookSettled(_) => {}
        }
        lsn = next;
    }
    Ok(())
}
