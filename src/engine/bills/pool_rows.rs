//! Rows of a pool that are on disk, and pages of lists that begin in memory.

use super::BillsError;
use crate::engine::Page;
use crate::engine::pools::PoolKey;
use crate::engine::rows::{RowKind, pool_key, pool_row_id};
use crate::engine::shared::Shared;
use crate::model::Lsn;
use crate::storage::codec;
use crate::storage::rows::Table;

/// What names a row of a pool: the record that made it, and a number.
pub(super) type RowId = (Lsn, u32);

/// Shows the rows of a pool with ids from `range.0` to below `range.1`, newest first, until `visit` says
/// `false`. Those that were there in memory before are there.
///
/// # Errors
/// [`BillsError`]
pub(super) fn visit(
    shared: &Shared,
    (kind, pool): (RowKind, PoolKey),
    (from, below): (RowId, RowId),
    mut visit: impl FnMut(RowId, &[u8]) -> Result<bool, codec::Error>,
) -> Result<(), BillsError> {
    let (from, below) = (pool_key(kind, pool, from), pool_key(kind, pool, below));
    let mut failed = None;
    shared.rows.read()?.range_back(Table::Objects, &from, &below, |key, value| {
        let Some(id) = pool_row_id(key) else { return true };
        visit(id, value).unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Takes the entries of a page as a list goes by.
#[derive(Debug)]
pub(super) struct Pager<T> {
    skip: usize,
    limit: usize,
    taken: Vec<T>,
}

impl<T> Pager<T> {
    pub(super) fn new(page: Page) -> Self {
        Self { skip: page.offset, limit: page.limit, taken: Vec::new() }
    }

    /// Whether nothing that follows is on the page.
    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= self.limit
    }

    /// Whether the next entry lies before the page, and is over with this.
    pub(super) fn skips(&mut self) -> bool {
        let skips = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        skips
    }

    /// The next entry.
    pub(super) fn offer(&mut self, entry: T) {
        if !self.skips() && !self.is_full() {
            self.taken.push(entry);
        }
    }

    /// The page.
    pub(super) fn taken(self) -> Vec<T> {
        self.taken
    }
}
