//! The pools of credits: what each customer has of each entitlement, and what is due of it.
//!
//! Pools change as records are applied, by [`billing::credits`](crate::billing::credits), which is pure.
//! Rows of the ledger and grants that have ended go to disk with the next checkpoint; until then they are
//! found here.

pub mod draws;
pub mod moves;
pub mod rows;
pub mod told;
pub mod view;
pub mod work;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::billing::credits::{Left, Pool};
use crate::engine::books::shelf::Shelf;
use crate::engine::rows::Row;
use crate::engine::wide::WideMap;
use crate::model::notice::BalanceLow;
use crate::model::{CustomerIndex, EntitlementIndex, Lsn, SubscriptionIndex, Timestamp};

use rows::Recent;
use told::CreditsTold;
use work::{PoolWork, Scheduled};

/// A pool's number: the n-th pool of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolIndex(pub u32);

impl PoolIndex {
    fn position(self) -> usize {
        self.0 as usize
    }
}

/// What names a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolKey {
    /// The entitlement.
    pub entitlement: EntitlementIndex,
    /// The customer.
    pub customer: CustomerIndex,
}

/// A pool, and when something happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPool {
    /// The pool.
    pub pool: Pool,
    /// Log time of the record that made it.
    pub created_at: Timestamp,
    /// Log time of the last change.
    pub updated_at: Timestamp,
    /// The instant of the last row of its ledger.
    pub last_row_at: Option<Timestamp>,
}

impl KeptPool {
    /// What names it.
    pub fn key(&self) -> PoolKey {
        PoolKey { entitlement: self.pool.entitlement(), customer: self.pool.customer() }
    }
}

/// The digest of a manual entry's `idempotency_key` and its pool.
pub type EntryDigest = [u8; 16];

/// All pools; see the module.
#[derive(Debug, Default)]
pub struct Pools {
    all: Shelf<KeptPool>,
    places: WideMap<PoolKey, PoolIndex>,
    of_customer: WideMap<CustomerIndex, Vec<PoolIndex>>,
    /// There are few entitlements, and the list of a million pools takes 4 MB.
    of_entitlement: BTreeMap<EntitlementIndex, Vec<PoolIndex>>,
    due: BTreeSet<PoolWork>,
    /// What is due of each pool.
    scheduled: Vec<Scheduled>,
    /// Rows and ended grants that no checkpoint has yet.
    recent: Recent,
    /// Those that the next cut takes.
    fresh: Vec<Row>,
    /// Entitlements whose balances some alert watches.
    watched: HashSet<EntitlementIndex>,
    /// Pools of those that have changed since the last call of [`Pools::take_touched`].
    touched: Vec<PoolKey>,
    /// Digests of the `idempotency_key`s of manual entries, which are kept for ever.
    entries: HashSet<EntryDigest>,
    /// Pools with draws that stand in no row.
    unsettled: usize,
    /// Rows that were made since this was set to nothing.
    rows_made: u64,
    /// Whether anybody is to be told what happens.
    tells: bool,
    /// What has happened and is to be told.
    told: Vec<CreditsTold>,
}

impl Pools {
    /// The number of a pool.
    pub fn index(&self, key: &PoolKey) -> Option<PoolIndex> {
        self.places.get(key).copied()
    }

    /// The pool with this number.
    pub fn get(&self, index: PoolIndex) -> Option<&Arc<KeptPool>> {
        self.all.get(index.position())
    }

    /// The pool of a customer and an entitlement.
    pub fn by_key(&self, key: &PoolKey) -> Option<&Arc<KeptPool>> {
        self.get(self.index(key)?)
    }

    /// The pools of a customer, oldest first.
    pub fn of_customer(&self, customer: CustomerIndex) -> &[PoolIndex] {
        self.of_customer.get(&customer).map_or(&[], Vec::as_slice)
    }

    /// The pools of an entitlement, oldest first.
    pub fn of_entitlement(&self, entitlement: EntitlementIndex) -> &[PoolIndex] {
        self.of_entitlement.get(&entitlement).map_or(&[], Vec::as_slice)
    }

    /// Every pool, in the order of their indexes.
    pub fn all(&self) -> &Shelf<KeptPool> {
        &self.all
    }

    /// Whether there are none: nothing has to do with credits then.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of a pool, which is made when it is not there.
    pub fn index_or_make(&mut self, key: PoolKey, log_time: Timestamp) -> PoolIndex {
        self.index(&key).unwrap_or_else(|| {
            let pool = Pool::new(key.entitlement, key.customer);
            self.add(Arc::new(KeptPool {
                pool,
                created_at: log_time,
                updated_at: log_time,
                last_row_at: None,
            }))
        })
    }

    /// Puts a loaded or new pool behind the last one.
    ///
    /// # Panics
    /// After 2^32 pools.
    pub fn add(&mut self, kept: Arc<KeptPool>) -> PoolIndex {
        let index = u32::try_from(self.all.len()).expect("fewer than 2^32 pools");
        let index = PoolIndex(index);
        let key = kept.key();
        self.places.insert(key, index);
        self.of_customer.or_default(key.customer).push(index);
        self.of_entitlement.entry(key.entitlement).or_default().push(index);
        self.scheduled.push(Scheduled::default());
        self.all.put(index.position(), kept);
        index
    }

    /// Changes a pool by a record, keeps what that leaves, and notes what is due of it from then on.
    /// `turns_at` says when the running segment of a subscription ends. Whether the balance has gone low.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn change(
        &mut self,
        index: PoolIndex,
        (lsn, log_time): (Lsn, Timestamp),
        turns_at: impl Fn(SubscriptionIndex) -> Option<Timestamp>,
        change: impl FnOnce(&mut Pool) -> Left,
    ) -> bool {
        let kept = self.all.get_mut(index.position()).expect("pools are never removed");
        let Left { rows, ended, went_low } = change(&mut kept.pool);
        kept.updated_at = log_time;
        kept.last_row_at = rows.last().map(|row| row.created_at).or(kept.last_row_at);
        let key = kept.key();
        self.rows_made += rows.len() as u64;
        if self.watched.contains(&key.entitlement) {
            self.touched.push(key);
        }
        for row in rows {
            let row = Arc::new(row);
            if self.tells {
                self.told.push(CreditsTold::Row(Arc::clone(&row)));
            }
            self.fresh.push(self.recent.keep_row(index, row));
        }
        for grant in ended {
            self.fresh.push(self.recent.keep_grant((index, key), lsn, grant));
        }
        self.reschedule(index, turns_at);
        went_low
    }

    /// Says whether anybody is to be told what happens.
    pub fn tell(&mut self, tells: bool) {
        self.tells = tells;
    }

    /// Whether anybody is.
    pub fn tells(&self) -> bool {
        self.tells
    }

    /// Notes that a balance has gone low.
    pub fn tell_low(&mut self, lsn: Lsn, at: Timestamp, low: Box<BalanceLow>) {
        self.told.push(CreditsTold::Low { lsn, at, low });
    }

    /// Takes what has happened since the last call and is to be told.
    pub fn take_told(&mut self) -> Vec<CreditsTold> {
        std::mem::take(&mut self.told)
    }

    /// Notes what is due of a pool as it stands.
    pub fn reschedule(
        &mut self,
        index: PoolIndex,
        turns_at: impl Fn(SubscriptionIndex) -> Option<Timestamp>,
    ) {
        let Some(kept) = self.all.get(index.position()) else { return };
        let now = Scheduled::of(&kept.pool, turns_at);
        let Some(before) = self.scheduled.get_mut(index.position()) else { return };
        if *before == now {
            return;
        }
        self.unsettled += usize::from(now.is_unsettled());
        self.unsettled -= usize::from(before.is_unsettled());
        for work in std::mem::replace(before, now).works(index) {
            self.due.remove(&work);
        }
        self.due.extend(now.works(index));
    }

    /// What is due behind a piece of work, in order; everything when there is none before it.
    pub fn due_behind(&self, last: Option<&PoolWork>) -> impl Iterator<Item = &PoolWork> {
        work::behind(&self.due, last)
    }

    /// How many pools have draws that stand in no row of their ledgers yet.
    pub fn unsettled_count(&self) -> usize {
        self.unsettled
    }

    /// How many rows of ledgers were made since [`Pools::count_rows_anew`].
    pub fn rows_made(&self) -> u64 {
        self.rows_made
    }

    /// Counts rows from nothing: those that a replay makes were made before.
    pub fn count_rows_anew(&mut self) {
        self.rows_made = 0;
    }

    /// Rows and ended grants that no checkpoint has yet.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Takes out of one of [`rows::PARTS`] the rows and ended grants that are durable up to `lsn`.
    pub fn take_recent(&mut self, part: usize, lsn: Lsn) -> impl Sized + use<> {
        self.recent.take(part, lsn)
    }

    /// Takes the rows that were made since the last call.
    pub fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.fresh)
    }

    /// Changes of pools of these entitlements are noted from now on.
    pub fn watch(&mut self, entitlements: HashSet<EntitlementIndex>) {
        self.watched = entitlements;
    }

    /// The pools that were watched and have changed since the last call.
    pub fn take_touched(&mut self) -> Vec<PoolKey> {
        std::mem::take(&mut self.touched)
    }

    /// Whether a manual entry with this digest was made.
    pub fn knows_entry(&self, digest: &EntryDigest) -> bool {
        self.entries.contains(digest)
    }

    /// Remembers a manual entry.
    pub fn remember_entry(&mut self, digest: EntryDigest) {
        self.entries.insert(digest);
    }

    /// The digests of manual entries, in no order.
    pub fn entries(&self) -> Vec<EntryDigest> {
        self.entries.iter().copied().collect()
    }
}
