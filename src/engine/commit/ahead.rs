//! Due work that was decided and is not applied yet.
//!
//! The state does not know of it, so what is decided behind it asks here first: which subscriptions
//! it has changed, how far it has come, and which numbers it has given. The next of it is decided
//! while the last is written, as if both were one group.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::engine::books::{DueWork, Turn};
use crate::engine::invoicing::Numbers;
use crate::engine::shared::Shared;
use crate::model::{Subscription, SubscriptionIndex};

/// Due work of groups that are not applied yet; see the module.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// One a group, in order.
    groups: VecDeque<Batch>,
    /// The last piece that was decided.
    last: Option<DueWork>,
    /// The numbers that follow those that were given.
    numbers: Option<Numbers>,
}

/// Due work of one group.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Subscriptions as they will be.
    pub(super) changed: HashMap<SubscriptionIndex, Arc<Subscription>>,
    /// When the first of what the work itself makes due is due.
    pub(super) new_due: Option<Turn>,
}

impl Batch {
    /// Notes what a piece of work has made due, which other work must not overtake.
    pub(super) fn note_due(&mut self, new: Option<Turn>) {
        self.new_due = match (self.new_due, new) {
            (Some(known), Some(new)) => Some(known.min(new)),
            (known, new) => known.or(new),
        };
    }
}

impl Ahead {
    /// The last piece that was decided and may not be applied.
    pub(super) fn last(&self) -> Option<&DueWork> {
        self.last.as_ref()
    }

    /// A subscription as work has left it that is not applied.
    pub(super) fn get(&self, index: SubscriptionIndex) -> Option<&Arc<Subscription>> {
        self.groups.iter().rev().find_map(|batch| batch.changed.get(&index))
    }

    /// When the first of what this work makes due is due: only what comes before may be decided.
    pub(super) fn new_due(&self) -> Option<Turn> {
        self.groups.iter().filter_map(|batch| batch.new_due).min()
    }

    /// The numbers that the next invoice and payment get.
    pub(super) fn take_numbers(&mut self, shared: &Shared) -> Numbers {
        self.numbers.take().unwrap_or_else(|| Numbers::next(shared))
    }

    /// Notes the work of a group.
    pub(super) fn push(&mut self, batch: Batch, last: DueWork, numbers: Numbers) {
        self.groups.push_back(batch);
        self.last = Some(last);
        self.numbers = Some(numbers);
    }

    /// The first group was applied. What it has made due stands in the state from now on, behind
    /// everything that was decided.
    pub(super) fn pop(&mut self) {
        self.groups.pop_front();
        if self.groups.is_empty() {
            *self = Self::default();
        }
    }
}
