//! Messages and attempts that are old are forgotten, whatever became of them.
//!
//! How old they are is a matter of the machine's clock, and nothing that records decide on: rows that are
//! forgotten are only missing to whoever looks. Now and then a row notes the last LSN at an instant; once
//! that is long ago enough, all that earlier records have made goes.

use std::time::Duration;

use super::{Outbox, keys};
use crate::engine::rows::{RowKind, encoded, numbers_of};
use crate::engine::shared::Shared;
use crate::model::{EndpointIndex, Lsn, Timestamp};
use crate::storage::codec;
use crate::storage::rows::{self, Batch, Table, View};

/// How often the last LSN is noted.
const NOTED_EVERY: Duration = Duration::from_hours(1);
/// Rows of a kind that are removed by one checkpoint.
const REMOVED_AT_ONCE: usize = 100_000;

/// Why the sweep failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rows cannot be read or written.
    #[error(transparent)]
    Rows(#[from] rows::Error),
    /// A row cannot be understood.
    #[error(transparent)]
    Codec(#[from] codec::Error),
}

/// Removes what is old, as a part of a checkpoint at `lsn`.
///
/// # Errors
/// [`Error`]
pub fn sweep(shared: &Shared, batch: &Batch, lsn: Lsn) -> Result<(), Error> {
    let was_ever_used =
        shared.state.with_outbox(|outbox| outbox.next_endpoint() > EndpointIndex::default());
    if !was_ever_used || shared.clock_in_doubt() {
        return Ok(());
    }
    let now = shared.world.clock.real();
    let view = shared.rows.read()?;
    let Ages { forgotten, passed, newest } = ages(&view, now.minus(shared.options.webhook_keep))?;
    if newest.is_none_or(|newest| now.since(newest) >= NOTED_EVERY) {
        let noted = encoded(&lsn);
        let key = keys::age(now);
        batch.write(Table::Objects, std::iter::once((&*key, Some(&*noted))))?;
    }
    let Some(forgotten) = forgotten else { return Ok(()) };
    let is_old = |lsn: u64| lsn <= forgotten.0;
    let mut is_done = true;
    let messages = |numbers: [u64; 2]| is_old(numbers[0]);
    is_done &= remove(&view, batch, &[(RowKind::Message, None)], messages)?;
    let mut of_endpoints = Vec::new();
    let next = shared.state.with_outbox(Outbox::next_endpoint);
    for kind in [RowKind::Undelivered, RowKind::Attempt] {
        of_endpoints.extend((0..next.0).map(|index| (kind, Some(index))));
    }
    is_done &= remove(&view, batch, &of_endpoints, |numbers: [u64; 3]| is_old(numbers[1]))?;
    // Of those who are gone nobody looks at what is to be tried again.
    let is_nobody = |index: &u32| {
        shared.state.with_outbox(|outbox| outbox.endpoint(EndpointIndex(*index)).is_none())
    };
    let gone: Vec<_> = (0..next.0).filter(is_nobody).map(|at| (RowKind::Retry, Some(at))).collect();
    is_done &= remove(&view, batch, &gone, |_: [u64; 4]| true)?;
    if is_done {
        let passed = passed.iter().map(|key| (&**key, None));
        batch.write(Table::Objects, passed)?;
    }
    Ok(())
}

/// What the noted LSNs say.
struct Ages {
    /// What records up to here have made is old.
    forgotten: Option<Lsn>,
    /// The rows that say so.
    passed: Vec<Vec<u8>>,
    /// When an LSN was last noted.
    newest: Option<Timestamp>,
}

fn ages(view: &View, old: Timestamp) -> Result<Ages, Error> {
    let mut ages = Ages { forgotten: None, passed: Vec::new(), newest: None };
    let (from, below) = ([RowKind::Age.prefix()], [RowKind::Age.prefix() + 1]);
    let mut failed = None;
    let limit = keys::age(old);
    view.range(Table::Objects, &from, &below, |key, value| {
        if *key > *limit {
            return false;
        }
        match codec::decode(value) {
            Ok(lsn) => {
                ages.forgotten = Some(lsn);
                ages.passed.push(key.to_vec());
                true
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    })?;
    view.range_back(Table::Objects, &from, &below, |key, _| {
        ages.newest = keys::age_of(key);
        false
    })?;
    failed.map_or(Ok(ages), |error| Err(error.into()))
}

/// Removes rows from the lowest on, of each kind and endpoint, as long as they are old; whether that were
/// all.
fn remove<const NUMBERS: usize>(
    view: &View,
    batch: &Batch,
    kinds: &[(RowKind, Option<u32>)],
    is_old: impl Fn([u64; NUMBERS]) -> bool,
) -> Result<bool, Error> {
    let mut removed = Vec::new();
    for (kind, endpoint) in kinds {
        let (from, below) = match endpoint {
            None => (vec![kind.prefix()], vec![kind.prefix() + 1]),
            Some(index) => {
                let at = |index: u32| keys::of_endpoint(*kind, EndpointIndex(index));
                (at(*index), at(index.saturating_add(1)))
            }
        };
        view.range(Table::Objects, &from, &below, |key, _| {
            let goes = numbers_of(key).is_none_or(&is_old) && removed.len() < REMOVED_AT_ONCE;
            if goes {
                removed.push(key.to_vec());
            }
            goes
        })?;
    }
    batch.write(Table::Objects, removed.iter().map(|key| (&**key, None)))?;
    Ok(removed.len() < REMOVED_AT_ONCE)
}
