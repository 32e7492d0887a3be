//! Checks `ids.redb` offline, without altering it: what opening it would write stays in memory.
//!
//! It reads every page and every entry. It does not compare with the log.

use std::io;
use std::sync::Arc;

use redb::Builder;

use crate::model::Lsn;
use crate::storage::index::entry::IdHash;
use crate::storage::index::error::Error;
use crate::storage::index::runs::{Run, Scan};
use crate::storage::index::store::{BlockTable, FILE, Store};
use crate::storage::redb_disk::Overlay;
use crate::world::Disk;

/// What a check of the id index found.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs that exist.
    pub runs: u64,
    /// Ids in them.
    pub ids: u64,
    /// Runs that do not exist and whose blocks are still to be removed; they do no harm.
    pub leftovers: u64,
    /// The last LSN whose id stands in a run.
    pub flushed_through: Lsn,
    /// What is wrong; empty when nothing is.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with the id index.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// The file or a part of it cannot be read.
    #[error("a part cannot be read")]
    Unreadable(#[source] Error),
    /// The hashes of a run do not ascend.
    #[error("run {run} is not sorted")]
    Unsorted {
        /// The run.
        run: u64,
    },
    /// A run holds another number of ids than its row says.
    #[error("run {run} has {found} ids where its row says {expected}")]
    Count {
        /// The run.
        run: u64,
        /// What its row says.
        expected: u64,
        /// What it holds.
        found: u64,
    },
    /// An entry's LSN lies outside its run's range.
    #[error("run {run} has LSN {lsn} outside its range")]
    Lsn {
        /// The run.
        run: u64,
        /// The first such LSN.
        lsn: Lsn,
    },
    /// A run's range of LSNs is empty, overlaps the one before it or passes the last flushed LSN.
    #[error("run {run} does not follow the runs before it")]
    Order {
        /// The run.
        run: u64,
    },
}

/// Checks the index of a data directory that no process has open. No file is a sound empty index.
///
/// # Errors
/// [`Error::Failed`] when the directory or the file cannot be opened. Damage is a [`Finding`].
pub fn verify(disk: &dyn Disk) -> Result<Report, Error> {
    const ACTION: &str = "open the id index to verify it";
    let mut report = Report::default();
    let file = match disk.open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(report),
        Err(error) => return Err(Error::io(ACTION)(error)),
    };
    let overlay = Overlay::new(file).map_err(Error::io(ACTION))?;
    if let Err(error) = check_file(overlay, &mut report) {
        report.findings.push(Finding::Unreadable(error));
    }
    Ok(report)
}

fn check_file(overlay: Overlay, report: &mut Report) -> Result<(), Error> {
    let mut builder = Builder::new();
    builder.set_check_integrity_on_open(true);
    let store = Store::open(overlay, &builder)?;
    let content = store.load()?;
    let blocks = store.blocks()?;
    report.runs = content.runs.len() as u64;
    report.leftovers = content.leftovers.len() as u64;
    report.flushed_through = content.flushed_through;
    let mut previous = Lsn::ZERO;
    for run in &content.runs {
        let summary = &run.summary;
        if summary.first_lsn <= previous
            || summary.last_lsn < summary.first_lsn
            || summary.last_lsn > content.flushed_through
        {
            report.findings.push(Finding::Order { run: run.number });
        }
        previous = summary.last_lsn;
        if let Err(error) = check_run(run, &blocks, report) {
            report.findings.push(Finding::Unreadable(error));
        }
    }
    Ok(())
}

fn check_run(run: &Arc<Run>, blocks: &BlockTable, report: &mut Report) -> Result<(), Error> {
    let number = run.number;
    let range = run.summary.first_lsn..=run.summary.last_lsn;
    let mut scan = Scan::new(Arc::clone(run));
    let mut entries = Vec::new();
    let mut previous: Option<IdHash> = None;
    let mut found = 0;
    let mut unsorted = false;
    let mut outside = None;
    while scan.next_block(blocks, &mut entries)? {
        for entry in entries.drain(..) {
            unsorted |= previous.is_some_and(|previous| previous >= entry.hash);
            previous = Some(entry.hash);
            if !range.contains(&entry.lsn) {
                outside.get_or_insert(entry.lsn);
            }
            found += 1;
        }
    }
    report.ids += found;
    if unsorted {
        report.findings.push(Finding::Unsorted { run: number });
    }
    if let Some(lsn) = outside {
        report.findings.push(Finding::Lsn { run: number, lsn });
    }
    if found != run.summary.ids {
        let expected = run.summary.ids;
        report.findings.push(Finding::Count { run: number, expected, found });
    }
    Ok(())
}
