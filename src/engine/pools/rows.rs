//! Rows of ledgers and ended grants until a checkpoint has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PoolIndex, PoolKey};
use crate::engine::rows::Row;
use crate::model::{Grant, GrantId, LedgerEntry, LedgerEntryId, Lsn};

/// What a checkpoint has is forgotten part by part, so that nobody waits for all of it.
pub const PARTS: usize = 64;

/// What was made since the last checkpoint.
#[derive(Debug)]
pub struct Recent {
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
struct Part {
    rows: BTreeMap<(PoolIndex, LedgerEntryId), Arc<LedgerEntry>>,
    /// With the record that has ended the grant.
    grants: BTreeMap<(PoolIndex, GrantId), (Lsn, Arc<Grant>)>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { parts: std::iter::repeat_with(Part::default).take(PARTS).collect() }
    }
}

impl Recent {
    pub(super) fn keep_row(&mut self, pool: PoolIndex, row: Arc<LedgerEntry>) -> Row {
        if let Some(part) = self.parts.get_mut(place(pool)) {
            part.rows.insert((pool, row.id), Arc::clone(&row));
        }
        Row::Ledger(row)
    }

    /// A grant of a pool has ended by the record of this LSN.
    pub(super) fn keep_grant(
        &mut self,
        (pool, key): (PoolIndex, PoolKey),
        lsn: Lsn,
        grant: Grant,
    ) -> Row {
        let grant = Arc::new(grant);
        if let Some(part) = self.parts.get_mut(place(pool)) {
            part.grants.insert((pool, grant.id), (lsn, Arc::clone(&grant)));
        }
        Row::Grant(key, grant)
    }

    /// The rows of a pool with ids below this one, newest first.
    pub fn rows_below(
        &self,
        pool: PoolIndex,
        id: LedgerEntryId,
    ) -> impl Iterator<Item = &Arc<LedgerEntry>> {
        let range = (pool, LedgerEntryId::FIRST)..(pool, id);
        let part = self.parts.get(place(pool)).into_iter();
        part.flat_map(move |part| part.rows.range(range.clone()).rev()).map(|(_, row)| row)
    }

    /// The ended grants of a pool with ids below this one, newest first.
    pub fn grants_below(&self, pool: PoolIndex, id: GrantId) -> impl Iterator<Item = &Arc<Grant>> {
        let range = (pool, GrantId::FIRST)..(pool, id);
        let part = self.parts.get(place(pool)).into_iter();
        let found = part.flat_map(move |part| part.grants.range(range.clone()).rev());
        found.map(|(_, (_, grant))| grant)
    }

    /// Takes out of one of the [`PARTS`] what is durable up to `lsn`: to be dropped by whoever holds no
    /// lock.
    pub(super) fn take(&mut self, part: usize, lsn: Lsn) -> impl Sized + use<> {
        let Some(part) = self.parts.get_mut(part) else { return Default::default() };
        let rows: Vec<_> = part.rows.extract_if(.., |(_, id), _| id.lsn <= lsn).collect();
        let grants: Vec<_> = part.grants.extract_if(.., |_, (ended, _)| *ended <= lsn).collect();
        (rows, grants)
    }
}

fn place(pool: PoolIndex) -> usize {
    pool.position() % PARTS
}
