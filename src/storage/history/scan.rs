//! Reading many events: back from the newest, or forward through everything.

use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

use crate::model::{Lsn, Timestamp};
use crate::storage::history::block::Block;
use crate::storage::history::file::{File, Handle};
use crate::storage::history::format::BlockEntry;
use crate::storage::history::pack::Fault;
use crate::storage::history::read::{Reader, blocks_of};
use crate::storage::history::{Error, History, Record, Stored};
use crate::storage::index::{IdHash, IdHasher};

/// Which events are asked for; every given field must match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<'q> {
    /// Of this customer.
    pub customer_id: Option<&'q str>,
    /// Of this name.
    pub event_name: Option<&'q str>,
    /// Used at this instant or later.
    pub start: Option<Timestamp>,
    /// Used before this instant.
    pub end: Option<Timestamp>,
}

/// A query and the hashes that files and blocks are asked for.
struct Wanted<'q> {
    query: &'q Query<'q>,
    customer: Option<IdHash>,
    name: Option<u64>,
}

impl<'q> Wanted<'q> {
    fn new(query: &'q Query<'q>, hasher: &IdHasher) -> Self {
        Self {
            query,
            customer: query.customer_id.map(|customer| hasher.hash(customer)),
            name: query.event_name.map(|name| hasher.hash(name).high()),
        }
    }

    /// Whether something within these times can be asked for.
    fn overlaps(&self, times: Option<(Timestamp, Timestamp)>) -> bool {
        times.is_some_and(|(earliest, latest)| {
            self.query.start.is_none_or(|start| latest >= start)
                && self.query.end.is_none_or(|end| earliest < end)
        })
    }

    /// Whether a file can have what is asked for.
    fn concerns_file(&self, file: &File) -> bool {
        let has = |name| file.footer.names.as_ref().is_none_or(|names| names.contains(&name));
        self.overlaps(file.footer.times) && self.name.is_none_or(has)
    }

    /// Whether a block can have what is asked for. `name` is the name's place in the directory.
    fn concerns_block(&self, block: &BlockEntry, name: Option<u16>) -> bool {
        let has = |names: &Vec<u16>| name.is_some_and(|name| names.binary_search(&name).is_ok());
        self.overlaps(block.times) && (self.name.is_none() || block.names.as_ref().is_none_or(has))
    }

    fn matches(&self, (customer, name, timestamp): (&str, &str, Timestamp)) -> bool {
        self.query.customer_id.is_none_or(|it| it == customer)
            && self.query.event_name.is_none_or(|it| it == name)
            && self.query.start.is_none_or(|start| timestamp >= start)
            && self.query.end.is_none_or(|end| timestamp < end)
    }

    /// The places of the blocks of a file that can have what is asked for, descending.
    fn blocks(&self, file: &Arc<File>, handle: &Handle) -> Result<Vec<usize>, Error> {
        // Asked first: most files know nothing of most customers, and need no directory then.
        let of_customer = match self.customer {
            Some(customer) => Some(blocks_of(file, handle, &file.footer.customers, customer)?),
            None => None,
        };
        if of_customer.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let directory = file.directory(handle)?;
        let name = self.name.and_then(|wanted| {
            let place = directory.names.iter().position(|name| *name == wanted)?;
            u16::try_from(place).ok()
        });
        let concerned = |place: &usize| {
            directory.blocks.get(*place).is_some_and(|block| self.concerns_block(block, name))
        };
        Ok(match of_customer {
            Some(blocks) => blocks.into_iter().rev().map(usize::from).filter(concerned).collect(),
            None => (0..directory.blocks.len()).rev().filter(concerned).collect(),
        })
    }
}

impl History {
    /// Shows the events below `below` that match to `visit`, newest first by LSN, until it breaks.
    /// Files and blocks in which nothing can match are not read.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Missing`] when it comes to a gap.
    pub fn scan_back(
        &self,
        query: &Query<'_>,
        below: Lsn,
        mut visit: impl FnMut(&Stored<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let wanted = Wanted::new(query, &self.shared.hasher);
        let mut reader = Reader::new();
        let mut newer: Option<Lsn> = None;
        for file in self.snapshot().iter().rev() {
            if file.summary.first_lsn >= below {
                continue;
            }
            if let Some(newer) = newer
                && file.summary.last_lsn.next() != newer
            {
                let first_lsn = file.summary.last_lsn.next();
                return Err(Error::Missing { first_lsn, last_lsn: newer.previous() });
            }
            newer = Some(file.summary.first_lsn);
            if !wanted.concerns_file(file) {
                continue;
            }
            // A file that is gone was the oldest: there is nothing behind it.
            let Some(handle) = self.open_file(file)? else { return Ok(()) };
            for place in wanted.blocks(file, &handle)? {
                let blocks = &file.directory(&handle)?.blocks;
                let Some(entry) = blocks.get(place).filter(|it| it.first_lsn < below) else {
                    continue;
                };
                let block = reader.block(file, &handle, entry)?;
                let damaged = |Fault(what)| file.block_damage(entry, what);
                if visit_back(&block, &wanted, below, &mut visit).map_err(damaged)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The blocks that hold these LSNs, oldest first. All of the LSNs must be in history.
    ///
    /// # Errors
    /// [`Error::Missing`] names the first LSNs that are not.
    pub fn scan_forward(&self, lsns: RangeInclusive<Lsn>) -> Result<Scan, Error> {
        let (first, last) = ((*lsns.start()).max(Lsn::ZERO.next()), *lsns.end());
        let files: Vec<_> = self
            .snapshot()
            .iter()
            .filter(|file| file.summary.last_lsn >= first && file.summary.first_lsn <= last)
            .map(Arc::clone)
            .collect();
        let mut next = first;
        for file in &files {
            if file.summary.first_lsn > next {
                let last_lsn = file.summary.first_lsn.previous();
                return Err(Error::Missing { first_lsn: next, last_lsn });
            }
            next = file.summary.last_lsn.next();
        }
        if next <= last {
            return Err(Error::Missing { first_lsn: next, last_lsn: last });
        }
        let history = self.clone();
        let lsns = first..Lsn(last.0.saturating_add(1));
        Ok(Scan { history, lsns, files: files.into_iter(), within: None })
    }
}

fn visit_back(
    block: &Block,
    wanted: &Wanted<'_>,
    below: Lsn,
    visit: &mut impl FnMut(&Stored<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Fault> {
    for event in block.events_within(&(Lsn::ZERO..below)).rev() {
        if block.outline(event).is_some_and(|outline| wanted.matches(outline))
            && visit(&block.event(event)?).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The blocks of a range of LSNs, oldest first; each can be read by another thread.
#[derive(Debug)]
pub struct Scan {
    history: History,
    lsns: Range<Lsn>,
    files: std::vec::IntoIter<Arc<File>>,
    /// The file that is gone through, and the next block of it.
    within: Option<(Arc<File>, Arc<Handle>, usize)>,
}

impl Scan {
    fn step(&mut self) -> Result<Option<Part>, Error> {
        loop {
            let Some((file, handle, place)) = &mut self.within else {
                let Some(file) = self.files.next() else { return Ok(None) };
                let Some(handle) = self.history.open_file(&file)? else {
                    let (first_lsn, last_lsn) = (file.summary.first_lsn, file.summary.last_lsn);
                    return Err(Error::Missing { first_lsn, last_lsn });
                };
                let blocks = &file.directory(&handle)?.blocks;
                let place = blocks.partition_point(|block| block.last_lsn() < self.lsns.start);
                self.within = Some((file, handle, place));
                continue;
            };
            let blocks = &file.directory(handle)?.blocks;
            let next = blocks.get(*place).filter(|block| block.first_lsn < self.lsns.end);
            let Some(entry) = next.cloned() else {
                self.within = None;
                continue;
            };
            *place += 1;
            let (file, handle) = (Arc::clone(file), Arc::clone(handle));
            return Ok(Some(Part { file, handle, entry, lsns: self.lsns.clone() }));
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Part, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if let Some(Err(_)) = step {
            self.within = None;
            self.files = Vec::new().into_iter();
        }
        step
    }
}

/// One block of a [`Scan`]: at most 1024 events and other records, in LSN order. It stays readable
/// when its file is removed.
#[derive(Debug)]
pub struct Part {
    file: Arc<File>,
    handle: Arc<Handle>,
    entry: BlockEntry,
    lsns: Range<Lsn>,
}

impl Part {
    /// The last LSN of the scan's range that it holds.
    pub fn last_lsn(&self) -> Lsn {
        self.entry.last_lsn().min(self.lsns.end.previous())
    }

    /// Whether any of its events may have a timestamp in `window`.
    pub fn overlaps(&self, window: &Range<Timestamp>) -> bool {
        self.entry.times.is_some_and(|(first, last)| first < window.end && last >= window.start)
    }

    /// Shows its events of the scan's range to `visit`, oldest first.
    ///
    /// # Errors
    /// What `visit` says, which ends the visit, or an [`Error`] of reading.
    pub fn events<E: From<Error>>(
        &self,
        reader: &mut Reader,
        mut visit: impl FnMut(Stored<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let block = reader.block(&self.file, &self.handle, &self.entry)?;
        for event in block.events_within(&self.lsns) {
            let stored = block.event(event);
            visit(stored.map_err(|Fault(what)| self.file.block_damage(&self.entry, what))?)?;
        }
        Ok(())
    }

    /// Shows its records of the scan's range that are no events to `visit`, oldest first.
    ///
    /// # Errors
    /// What `visit` says, which ends the visit, or an [`Error`] of reading.
    pub fn records<E: From<Error>>(
        &self,
        reader: &mut Reader,
        visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.entry.events == self.entry.items {
            return Ok(());
        }
        let block = reader.block(&self.file, &self.handle, &self.entry)?;
        let wanted = |record: &Record<'_>| self.lsns.contains(&record.lsn);
        block.records().filter(wanted).try_for_each(visit)
    }
}
