//! What is due of pools: the expiry of grants, and draws that are to stand in the ledger.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::PoolIndex;
use crate::billing::credits::Pool;
use crate::model::{SubscriptionIndex, Timestamp};

/// What is to be done with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolStep {
    /// Grants end that no turn ends at the same instant.
    Expire,
    /// Draws are brought to the ledger.
    Settle,
}

/// Something that is due of a pool at an instant; sorts in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolWork {
    /// The instant.
    pub at: Timestamp,
    /// What is to be done.
    pub step: PoolStep,
    /// The pool.
    pub pool: PoolIndex,
}

/// When a pool's steps are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scheduled {
    expire: Option<Timestamp>,
    settle: Option<Timestamp>,
}

impl Scheduled {
    pub(super) fn of(
        pool: &Pool,
        turns_at: impl Fn(SubscriptionIndex) -> Option<Timestamp>,
    ) -> Self {
        Self { expire: pool.next_expiry(turns_at), settle: pool.settle_due_at() }
    }

    pub(super) fn is_unsettled(self) -> bool {
        self.settle.is_some()
    }

    pub(super) fn works(self, pool: PoolIndex) -> impl Iterator<Item = PoolWork> {
        let expire = self.expire.map(|at| PoolWork { at, step: PoolStep::Expire, pool });
        let settle = self.settle.map(|at| PoolWork { at, step: PoolStep::Settle, pool });
        expire.into_iter().chain(settle)
    }
}

pub(super) fn behind<'d>(
    due: &'d BTreeSet<PoolWork>,
    last: Option<&PoolWork>,
) -> impl Iterator<Item = &'d PoolWork> {
    let start = last.map_or(Bound::Unbounded, Bound::Excluded);
    due.range((start, Bound::Unbounded))
}
