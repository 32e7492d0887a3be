//! Checking a log that no process has open: every frame of every segment, and every hole.
//!
//! Opening stops at the first damage; this names all of it. It reads, and changes nothing.

use crate::model::Lsn;
use crate::storage::log::Damage;
use crate::storage::log::cursor::{Cursor, Found, READ_AHEAD_LONG_BYTES};
use crate::storage::log::frame::{BLOCK_BYTES, Header};
use crate::storage::log::open::OpenError;
use crate::storage::log::scan::{self, Piece, Vacancy};
use crate::storage::log::segment::{HEADER_BYTES, Incarnation};
use crate::world::Disk;

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// The highest LSN that a frame says is durable.
    pub durable: Lsn,
    /// The last LSN of the last good frame: behind the durable one when nothing came after it.
    pub last_lsn: Lsn,
    /// Everything that was durable and cannot be read, in log order.
    pub damage: Vec<Damage>,
}

/// What one segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub file: String,
    /// The data directory's life it belongs to; `None` when its header is damaged.
    pub incarnation: Option<Incarnation>,
    /// Good groups.
    pub groups: u64,
    /// The first LSN of a good group and the last one.
    pub lsns: Option<(Lsn, Lsn)>,
}

/// Reads the whole log of a data directory.
///
/// # Errors
/// [`OpenError::NewerFormat`] and [`OpenError::Io`]; damage is in the report.
pub fn verify(disk: &dyn Disk) -> Result<Verification, OpenError> {
    let pieces = scan::list(disk)?;
    scan::check_identity(&pieces, None)?;
    let ends = scan::ends(&pieces);
    let mut audit = Audit { expected: None, durable: Lsn::ZERO, holes: Vec::new(), open: None };
    let mut segments = Vec::new();
    for (piece, end) in pieces.iter().zip(ends) {
        segments.push(audit.read(piece, end)?);
    }
    let (durable, last_lsn) = (audit.durable, audit.expected.unwrap_or_default().previous());
    Ok(Verification { segments, durable, last_lsn, damage: audit.damage() })
}

/// Something that is missing.
#[derive(Debug)]
struct Hole {
    damage: Damage,
    /// It is damage even above D: what follows it was written after its sync.
    proven: bool,
}

#[derive(Debug)]
struct Audit {
    /// The LSN that the next frame must begin with; unknown before the first one.
    expected: Option<Lsn>,
    durable: Lsn,
    holes: Vec<Hole>,
    /// Where something other than the expected frame stands.
    open: Option<Vacancy>,
}

impl Audit {
    fn read(&mut self, piece: &Piece, end: Option<Lsn>) -> Result<SegmentReport, OpenError> {
        let file = piece.name();
        let mut report =
            SegmentReport { file: file.clone(), incarnation: None, groups: 0, lsns: None };
        let Ok(header) = piece.header else {
            let first_lsn = self.expected.unwrap_or_default();
            let last_lsn = end.map_or(first_lsn, Lsn::previous);
            let damage = Damage { file, offset_bytes: 0, first_lsn, last_lsn };
            self.holes.push(Hole { damage, proven: true });
            self.expected = end.or(self.expected);
            self.open = None;
            return Ok(report);
        };
        report.incarnation = Some(header.incarnation);
        let mut cursor = Cursor::new(&*piece.file, header.salt, READ_AHEAD_LONG_BYTES);
        let mut offset = HEADER_BYTES;
        while self.expected.is_none() || self.expected != end {
            let found = cursor.frame_at(offset).map_err(|cause| piece.unreadable(cause))?;
            if let Found::Frame(frame, _) = found {
                self.take(&frame, &file, offset, header.pipelined);
                report.add(&frame);
                offset += frame.frame_bytes();
                continue;
            }
            if let Found::Torn(torn) = found {
                self.durable = self.durable.max(torn.durable);
            }
            let beyond = offset + BLOCK_BYTES as u64;
            let next = cursor.next_header(beyond).map_err(|cause| piece.unreadable(cause))?;
            let here = Vacancy::at(piece, &mut cursor, offset)?;
            self.open = Some(match self.open.take() {
                Some(open) if open.file == here.file => open,
                Some(open) if next.is_none() => open.or_likelier(here),
                Some(_) | None => here,
            });
            match next {
                Some((at, _)) => offset = at,
                None => break,
            }
        }
        Ok(report)
    }

    /// Takes in a good frame; what should have stood before it and does not is a hole.
    fn take(&mut self, frame: &Header, file: &str, offset: u64, pipelined: bool) {
        self.durable = self.durable.max(frame.durable);
        let first_lsn = self.expected.unwrap_or(frame.first_lsn);
        let open = self.open.take();
        let inside = open.as_ref().is_some_and(|open| open.file == file);
        if first_lsn != frame.first_lsn || (inside && !pipelined) {
            let here = || (file.to_owned(), offset);
            let (file, offset_bytes) = open.map_or_else(here, |it| (it.file, it.offset_bytes));
            let last_lsn = frame.first_lsn.previous();
            let damage = Damage { file, offset_bytes, first_lsn, last_lsn };
            self.holes.push(Hole { damage, proven: !pipelined });
        }
        self.expected = Some(frame.next_lsn());
    }

    /// The holes that are damage, and what is missing at the end.
    fn damage(self) -> Vec<Damage> {
        let durable = self.durable;
        let certain = |hole: &Hole| hole.proven || hole.damage.first_lsn <= durable;
        let mut damage: Vec<_> =
            self.holes.into_iter().filter(certain).map(|hole| hole.damage).collect();
        if let (Some(first_lsn), Some(open)) = (self.expected, self.open)
            && first_lsn <= durable
        {
            let Vacancy { file, offset_bytes, .. } = open;
            damage.push(Damage { file, offset_bytes, first_lsn, last_lsn: durable });
        }
        damage
    }
}

impl SegmentReport {
    fn add(&mut self, frame: &Header) {
        if frame.count > 0 {
            let first_lsn = self.lsns.map_or(frame.first_lsn, |(first, _)| first);
            self.groups += 1;
            self.lsns = Some((first_lsn, frame.next_lsn().previous()));
        }
    }
}
