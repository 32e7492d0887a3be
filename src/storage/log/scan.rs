//! What a log holds: the first pass of recovery. It reads and changes nothing.
//!
//! Frames are accepted as long as each goes on where the last ended. At the first that does not, the
//! pass stops accepting and only looks for evidence: every later block of this and all later segments
//! that holds a valid header. A header's checksum vouches for what it says, whether or not its payload
//! ever arrived, so each one counts toward D, the highest LSN known to be durable. Where groups are not
//! pipelined a later header in the same segment is proof by itself: it was written after the sync of
//! everything before it.

use std::sync::Arc;

use crate::model::{Lsn, Timestamp};
use crate::storage::log::cursor::{Cursor, Found, READ_AHEAD_LONG_BYTES, READ_AHEAD_SHORT_BYTES};
use crate::storage::log::frame;
use crate::storage::log::open::{Bounds, OpenError};
use crate::storage::log::segment::{self, HEADER_BYTES, HeaderFault, Incarnation, Index, Segment};
use crate::storage::log::{Damage, Dropped};
use crate::world::{Disk, DiskFile};

/// A segment file as found.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: Result<segment::Header, HeaderFault>,
    /// The header of its first frame, if that is valid: it says where the segment's LSNs begin.
    pub(super) opening: Option<frame::Header>,
}

impl Piece {
    pub(super) fn name(&self) -> String {
        segment::name_of(self.number)
    }

    /// The LSN it begins with, as far as that can be told from the first frame.
    pub(super) fn first_lsn(&self) -> Option<Lsn> {
        self.opening.map(|opening| opening.first_lsn)
    }

    pub(super) fn unreadable(&self, cause: std::io::Error) -> OpenError {
        OpenError::Io { action: "read", file: self.name(), cause }
    }
}

/// All segment files, oldest first.
pub(super) fn list(disk: &dyn Disk) -> Result<Vec<Piece>, OpenError> {
    let unlisted =
        |cause| OpenError::Io { action: "list", file: "the data directory".to_owned(), cause };
    let mut pieces = Vec::new();
    for name in disk.names().map_err(unlisted)? {
        let Some(number) = segment::number_of(&name) else { continue };
        let unreadable = |cause| OpenError::Io { action: "read", file: name.clone(), cause };
        let file = disk.open(&name).map_err(unreadable)?;
        let header = segment::Header::read(&*file).map_err(unreadable)?;
        let opening = match &header {
            Ok(header) => Cursor::new(&*file, header.salt, READ_AHEAD_SHORT_BYTES)
                .header_at(HEADER_BYTES)
                .map_err(unreadable)?,
            Err(HeaderFault::Damaged | HeaderFault::Newer { .. }) => None,
        };
        pieces.push(Piece { number, file, header, opening });
    }
    pieces.sort_by_key(|piece| piece.number);
    Ok(pieces)
}

/// Refuses a newer format and, if one is given, segments of another incarnation.
pub(super) fn check_identity(
    pieces: &[Piece],
    expected: Option<Incarnation>,
) -> Result<(), OpenError> {
    for piece in pieces {
        match piece.header {
            Err(HeaderFault::Newer { version }) => {
                return Err(OpenError::NewerFormat { file: piece.name(), version });
            }
            Ok(segment::Header { incarnation: found, .. }) => {
                if let Some(expected) = expected.filter(|expected| *expected != found) {
                    return Err(OpenError::OtherIncarnation {
                        file: piece.name(),
                        found,
                        expected,
                    });
                }
            }
            Err(HeaderFault::Damaged) => {}
        }
    }
    Ok(())
}

/// Where each of `pieces` must end: the first LSN of the next one that says where it begins.
pub(super) fn ends(pieces: &[Piece]) -> Vec<Option<Lsn>> {
    let mut ends = Vec::with_capacity(pieces.len());
    let mut next = None;
    for piece in pieces.iter().rev() {
        ends.push(next);
        next = piece.first_lsn().or(next);
    }
    ends.reverse();
    ends
}

/// What the pass found.
#[derive(Debug)]
pub(super) struct Scan {
    /// The segments that hold records, oldest first.
    pub(super) segments: Vec<Segment>,
    /// D.
    pub(super) durable: Lsn,
    /// The LSN after the last good frame.
    pub(super) next_lsn: Lsn,
    /// Log time of the last good frame.
    pub(super) log_time: Timestamp,
    /// Good frames with records that were read.
    pub(super) groups: u64,
    /// What was found behind the last good frame.
    pub(super) dropped: Option<Dropped>,
    /// Numbers of the files that hold nothing of what was read.
    pub(super) empty: Vec<u64>,
}

/// Reads the log from the segment that holds `bounds.from` on and decides what of it counts.
pub(super) fn scan(pieces: &[Piece], bounds: Bounds) -> Result<Scan, OpenError> {
    let ends = ends(pieces);
    let start = start(pieces, bounds.from);
    let older = pieces.iter().zip(&ends).take(start);
    let mut segments: Vec<_> = older.filter_map(|(piece, end)| unread(piece, *end)).collect();
    let mut survey = Survey::new(expected_first(pieces.get(start), &ends, start, bounds)?, bounds);
    for (piece, end) in pieces.iter().zip(&ends).skip(start) {
        survey.read(piece, *end)?;
    }
    let Vacancy { file, offset_bytes, blank: _ } = survey.place(pieces.first());
    let (durable, next_lsn) = (survey.durable, survey.expected);
    if survey.proven || next_lsn <= durable {
        let damage = Damage { file, offset_bytes, first_lsn: next_lsn, last_lsn: durable };
        return Err(OpenError::Damaged(damage));
    }
    let dropped =
        survey.bad.is_some().then_some(Dropped { file, offset_bytes, first_lsn: next_lsn });
    segments.extend(survey.segments);
    let (log_time, groups, empty) = (survey.log_time, survey.groups, survey.empty);
    Ok(Scan { segments, durable, next_lsn, log_time, groups, dropped, empty })
}

/// The segment to begin with: the last that begins at or below `from`, or an older one if the header
/// of one before it is damaged, so that the damage is met.
fn start(pieces: &[Piece], from: Lsn) -> usize {
    let begins_below = |piece: &Piece| piece.first_lsn().is_some_and(|first| first <= from);
    let wanted = pieces.iter().rposition(begins_below).unwrap_or_default();
    match pieces.iter().take(wanted).position(|piece| piece.header.is_err()) {
        None => wanted,
        Some(damaged) => pieces
            .iter()
            .take(damaged)
            .rposition(|piece| piece.opening.is_some())
            .unwrap_or_default(),
    }
}

/// The name of a file before all readable ones in which something stands that is no frame.
pub(super) fn unreadable_start(pieces: &[Piece]) -> Result<Option<String>, OpenError> {
    for piece in pieces.iter().take_while(|piece| piece.opening.is_none()) {
        let Ok(header) = piece.header else { continue };
        let mut cursor = Cursor::new(&*piece.file, header.salt, READ_AHEAD_SHORT_BYTES);
        if !Vacancy::at(piece, &mut cursor, HEADER_BYTES)?.blank {
            return Ok(Some(piece.name()));
        }
    }
    Ok(None)
}

/// The LSN that the pass must find first.
fn expected_first(
    piece: Option<&Piece>,
    ends: &[Option<Lsn>],
    start: usize,
    bounds: Bounds,
) -> Result<Lsn, OpenError> {
    let from = bounds.from.max(Lsn::ZERO.next());
    let Some(piece) = piece else {
        // Every start leaves a segment: no segment at all is a new log, or one that was taken away.
        return if bounds.known_durable == Lsn::ZERO {
            Ok(Lsn::ZERO.next())
        } else {
            Err(OpenError::Damaged(Damage {
                file: segment::name_of(1),
                offset_bytes: 0,
                first_lsn: from.min(bounds.known_durable),
                last_lsn: bounds.known_durable,
            }))
        };
    };
    match piece.first_lsn() {
        Some(first) if first <= from => Ok(first),
        Some(first) => Err(OpenError::Damaged(Damage {
            file: piece.name(),
            offset_bytes: HEADER_BYTES,
            first_lsn: from,
            last_lsn: first.previous(),
        })),
        None => Ok(ends.get(start).copied().flatten().map_or(from, |end| end.min(from))),
    }
}

/// A segment below everything that is asked for.
fn unread(piece: &Piece, end: Option<Lsn>) -> Option<Segment> {
    let (header, first, end) = (piece.header.ok()?, piece.first_lsn()?, end?);
    (first < end).then(|| Segment::unread(piece, header.salt, first, end))
}

/// Where a frame was expected and is not.
#[derive(Clone, Debug)]
pub(super) struct Vacancy {
    pub(super) file: String,
    pub(super) offset_bytes: u64,
    /// Zeros stand there, or nothing: more likely the end of what was written than damage.
    blank: bool,
}

impl Vacancy {
    /// The place at `offset`.
    pub(super) fn at(
        piece: &Piece,
        cursor: &mut Cursor<'_>,
        offset: u64,
    ) -> Result<Self, OpenError> {
        let blank = cursor.is_blank(offset).map_err(|cause| piece.unreadable(cause))?;
        Ok(Self { file: piece.name(), offset_bytes: offset, blank })
    }

    /// Of two places, the likelier one for a missing frame: that where something stands.
    pub(super) fn or_likelier(self, later: Self) -> Self {
        if self.blank && !later.blank { later } else { self }
    }
}

/// The pass on its way.
#[derive(Debug)]
struct Survey {
    /// The LSN that the next frame must begin with.
    expected: Lsn,
    /// D, as far as known.
    durable: Lsn,
    log_time: Timestamp,
    groups: u64,
    segments: Vec<Segment>,
    empty: Vec<u64>,
    /// The end of the last segment, while nothing says that more should follow there.
    open_end: Option<Vacancy>,
    /// Where something other than the expected frame stands. From here on nothing is accepted.
    bad: Option<Vacancy>,
    /// It is damage, whatever D is.
    proven: bool,
}

impl Survey {
    fn new(expected: Lsn, bounds: Bounds) -> Self {
        Self {
            expected,
            durable: bounds.known_durable,
            log_time: Timestamp::from_nanos(i64::MIN),
            groups: 0,
            segments: Vec::new(),
            empty: Vec::new(),
            open_end: None,
            bad: None,
            proven: false,
        }
    }

    /// Goes through one segment. `end` is where the next one begins.
    fn read(&mut self, piece: &Piece, end: Option<Lsn>) -> Result<(), OpenError> {
        let Ok(header) = piece.header else {
            self.proven = true;
            let here = Vacancy { file: piece.name(), offset_bytes: 0, blank: false };
            self.bad.get_or_insert(here);
            return Ok(());
        };
        let mut cursor = Cursor::new(&*piece.file, header.salt, READ_AHEAD_LONG_BYTES);
        let first_lsn = self.expected;
        let mut index = Index::new(first_lsn);
        let complete = self.bad.is_none() && self.accept(piece, &mut cursor, &mut index, end)?;
        if !complete {
            self.look_for_evidence(piece, &mut cursor, index.end, header.pipelined)?;
        }
        if index.next_lsn > first_lsn {
            self.segments.push(Segment::read(piece, header.salt, first_lsn, index));
        } else {
            self.empty.push(piece.number);
        }
        Ok(())
    }

    /// Accepts frames while they go on where the last ended. True when the segment ends where the next
    /// begins: what stands behind that was abandoned.
    fn accept(
        &mut self,
        piece: &Piece,
        cursor: &mut Cursor<'_>,
        index: &mut Index,
        end: Option<Lsn>,
    ) -> Result<bool, OpenError> {
        while Some(self.expected) != end {
            let found = cursor.frame_at(index.end).map_err(|cause| piece.unreadable(cause))?;
            match found {
                Found::Frame(header, _) if header.first_lsn == self.expected => {
                    index.push(&header);
                    self.expected = header.next_lsn();
                    self.durable = self.durable.max(header.durable);
                    self.log_time = header.log_time;
                    self.groups += u64::from(header.count > 0);
                    self.open_end = None;
                }
                Found::Frame(header, _) => {
                    // Records are missing before this one: at the end of the segment before, if this
                    // is the first.
                    self.durable = self.durable.max(header.durable);
                    self.proven = true;
                    let here = Vacancy::at(piece, cursor, index.end)?;
                    self.bad = Some(self.open_end.take().unwrap_or(here));
                    return Ok(false);
                }
                Found::Torn(_) | Found::Nothing => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Looks at every block from `offset` on, where no expected frame stands.
    fn look_for_evidence(
        &mut self,
        piece: &Piece,
        cursor: &mut Cursor<'_>,
        offset: u64,
        pipelined: bool,
    ) -> Result<(), OpenError> {
        let mut at = offset;
        let mut met = false;
        while let Some((found, header)) =
            cursor.next_header(at).map_err(|cause| piece.unreadable(cause))?
        {
            self.durable = self.durable.max(header.durable);
            let later = self.bad.is_none() && found > offset;
            self.proven |= later && !pipelined;
            met = true;
            at = found + header.frame_bytes();
        }
        let here = Vacancy::at(piece, cursor, offset)?;
        if self.bad.is_none() && met {
            self.bad = Some(here);
        } else {
            self.open_end = Some(match self.open_end.take() {
                None => here,
                Some(end) => end.or_likelier(here),
            });
        }
        Ok(())
    }

    /// The place that the next frame was expected at.
    fn place(&self, first: Option<&Piece>) -> Vacancy {
        let nowhere = || Vacancy {
            file: first.map_or_else(|| segment::name_of(1), Piece::name),
            offset_bytes: HEADER_BYTES,
            blank: true,
        };
        self.bad.clone().or_else(|| self.open_end.clone()).unwrap_or_else(nowhere)
    }
}
