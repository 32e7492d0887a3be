//! Checks a data directory that no daemon has open, and changes nothing in it.
//!
//! It reads every frame of the log, every event of history, every snapshot that the checkpoint names and every run of the id
//! index. What it finds is a list of sentences for people.

use crate::engine::checkpoint::{self, Checkpoints};
use crate::engine::clock_file;
use crate::engine::clock_guard::Earlier;
use crate::engine::incarnation;
use crate::model::{Causes, Lsn};
use crate::storage::rows::{RowStore, Table};
use crate::storage::{codec, history, index, log, snapshot};
use crate::world::World;

/// What was checked, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Segments of the log.
    pub segments: usize,
    /// The last LSN that the log says is durable.
    pub durable: Lsn,
    /// The last LSN that can be read from the log.
    pub last_lsn: Lsn,
    /// The LSN of the last checkpoint; zero when there is none.
    pub checkpoint: Lsn,
    /// Events in history.
    pub history_events: u64,
    /// Runs of the id index.
    pub runs: u64,
    /// Ids in them.
    pub ids: u64,
    /// What is wrong, a sentence each; empty when nothing is.
    pub findings: Vec<String>,
}

/// Why a directory could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Who the directory is.
    #[error("read the identity of the data directory")]
    Identity(#[from] incarnation::Error),
    /// The log's files.
    #[error("read the log")]
    Log(#[from] log::OpenError),
    /// The files of history.
    #[error("read history")]
    History(#[from] history::Error),
    /// The index's file.
    #[error("read the id index")]
    Index(#[from] index::Error),
    /// There is no data here.
    #[error("this is not a data directory of quipu")]
    Empty,
}

/// Checks the data directory of `world`.
///
/// # Errors
/// [`Error`] when something cannot be read at all; damage is a finding.
pub fn verify(world: &World) -> Result<Report, Error> {
    let incarnation = incarnation::read(world)?.ok_or(Error::Empty)?;
    let mut report = Report::default();
    let in_rows = verify_checkpoint(world, incarnation.id, &mut report);
    verify_clock(world, &mut report);
    let in_history = verify_history(world, incarnation.id, &mut report)?;
    verify_log(world, in_rows.min(in_history), &mut report)?;
    let index = index::verify(&*world.disk)?;
    report.runs = index.runs;
    report.ids = index.ids;
    for finding in &index.findings {
        report.findings.push(format!("id index: {}", Causes(finding)));
    }
    // They vouch for what they hold: a log whose last frame is whole need not say that it is durable.
    if index.flushed_through > report.last_lsn {
        report.findings.push(format!(
            "id index: holds ids up to lsn {}, the log only up to {}",
            index.flushed_through, report.last_lsn
        ));
    }
    if report.checkpoint > report.last_lsn {
        report.findings.push(format!(
            "checkpoint: stands at lsn {}, the log only at {}",
            report.checkpoint, report.last_lsn
        ));
    }
    Ok(report)
}

/// Nothing of a segment counts whose last LSN is at or below `gone`: it has left the log, and a cut may have
/// brought back the name of a file that was being prepared for other use.
fn verify_log(world: &World, gone: Lsn, report: &mut Report) -> Result<(), Error> {
    let checked = log::verify(&*world.disk)?;
    report.segments = checked.segments.len();
    report.durable = checked.durable;
    report.last_lsn = checked.last_lsn;
    let counts = checked.damage.iter().filter(|damage| damage.last_lsn > gone);
    report.findings.extend(counts.map(|damage| format!("log: {damage}")));
    Ok(())
}

/// The last LSN that history holds together with every one that the log does not hold.
fn verify_history(world: &World, incarnation: [u8; 16], report: &mut Report) -> Result<Lsn, Error> {
    let checked = history::verify(&*world.disk, Some(log::Incarnation(incarnation)))?;
    report.history_events = checked.files.iter().map(|file| file.events).sum();
    report.findings.extend(checked.damage.iter().map(|damage| format!("history: {damage}")));
    let last = checked.files.iter().map(|file| file.summary.last_lsn).max();
    Ok(last.filter(|_| checked.damage.is_empty()).unwrap_or(Lsn::ZERO))
}

fn verify_clock(world: &World, report: &mut Report) {
    match clock_file::read(world) {
        Ok(Earlier::Nothing | Earlier::Trusted(_)) => {}
        Ok(Earlier::Damaged) => report.findings.push(format!(
            "file {} is damaged: the next start doubts the wall clock for ten minutes",
            clock_file::FILE
        )),
        Err(error) => report.findings.push(format!("read file {}: {error}", clock_file::FILE)),
    }
}

/// The LSN of the older checkpoint that a start can begin at.
fn verify_checkpoint(world: &World, incarnation: [u8; 16], report: &mut Report) -> Lsn {
    let checkpoints = match read_checkpoints(world) {
        Ok(checkpoints) => checkpoints,
        Err(finding) => {
            report.findings.push(format!("checkpoint: {finding}"));
            return Lsn::ZERO;
        }
    };
    let Some(Checkpoints { newest, previous, .. }) = checkpoints else { return Lsn::ZERO };
    report.checkpoint = newest.lsn;
    let older = previous.as_ref().map_or(Lsn::ZERO, |previous| previous.lsn);
    for named in std::iter::once(newest).chain(previous) {
        let checked = snapshot::verify(&*world.disk, &named.snapshot, incarnation, &named.hash);
        if let Err(error) = checked {
            report.findings.push(format!("checkpoint: {}", Causes(&error)));
        }
    }
    older
}

fn read_checkpoints(world: &World) -> Result<Option<Checkpoints>, String> {
    let Some(store) =
        RowStore::open_to_verify(&*world.disk).map_err(|error| Causes(&error).to_string())?
    else {
        return Ok(None);
    };
    let view = store.read().map_err(|error| Causes(&error).to_string())?;
    let meta = view.meta(checkpoint::META).map_err(|error| Causes(&error).to_string())?;
    let Some(meta) = meta else { return Ok(None) };
    let checkpoints: Checkpoints =
        codec::decode(&meta).map_err(|error| Causes(&error).to_string())?;
    for (table, expected) in Table::ALL.into_iter().zip(checkpoints.row_counts) {
        let found = view.check(table).map_err(|error| Causes(&error).to_string())?;
        if found != expected {
            return Err(format!("{found} rows of {table:?} where {expected} were counted"));
        }
    }
    Ok(Some(checkpoints))
}
