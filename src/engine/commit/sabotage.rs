//! A close in two groups, for the build that proves the tests: see [`crate::world::sabotage`].

use std::sync::Arc;

use super::Committer;
use super::group::Piece;
use crate::engine::record::{Body, Change, ChangeEntry};
use crate::model::Subscription;
use crate::world::sabotage::{self, Sabotage};

/// Subscriptions whose close was logged without what it does to them.
#[derive(Debug, Default)]
pub(super) struct Halves(Vec<Arc<Subscription>>);

impl Committer {
    /// Keeps back what a close does to its subscription, when that is the sabotage.
    pub(super) fn split_close(&mut self, piece: &mut Piece) {
        if sabotage::is(Sabotage::CloseAtomicity)
            && let Piece::Close(draft) = piece
        {
            draft.is_half = true;
            self.halves.0.push(Arc::clone(&draft.subscription));
        }
    }

    /// Logs what was kept back, once nothing is in flight; whether there was any.
    pub(super) fn hold_for_halves(&mut self) -> bool {
        if !self.is_idle() {
            return !self.halves.0.is_empty();
        }
        let halves = std::mem::take(&mut self.halves.0);
        for subscription in &halves {
            let change = Change::Subscription(Arc::clone(subscription));
            self.append(Body::Change(ChangeEntry { change, identity: None }), self.log_time);
            self.settling = true;
        }
        !halves.is_empty()
    }
}
