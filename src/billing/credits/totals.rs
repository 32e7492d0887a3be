//! What a pool has ever moved: proof that nothing is lost and nothing made.

use serde::{Deserialize, Serialize};

use crate::model::Credits;

/// Everything that was ever done to a pool, added up; each is at least nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Handed out; what rolls over is not counted again.
    pub granted: Credits,
    /// Drawn from grants by usage.
    pub consumed: Credits,
    /// Taken by manual entries.
    pub debited: Credits,
    /// Taken from new grants against overage.
    pub repaid: Credits,
    /// Lost by time, at a turn, or at the end of a subscription.
    pub expired: Credits,
    /// Lost because it had rolled over as often as it may.
    pub forfeited: Credits,
    /// Taken out of grants that have rolled over.
    pub rolled_out: Credits,
    /// Put into the grants that they have become.
    pub rolled_in: Credits,
    /// Overage made by usage.
    pub overage_made: Credits,
    /// Overage that was invoiced.
    pub overage_charged: Credits,
    /// Overage that was forgiven.
    pub overage_reset: Credits,
    /// Usage that nothing has covered.
    pub uncovered: Credits,
}

/// A movement of credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Handed out.
    Added,
    /// Usage covered by a grant.
    Spent,
    /// Usage beyond all grants.
    Overdrawn,
    /// Overage paid back by a new grant.
    Repaid,
    /// A manual entry that takes.
    Debited,
    /// From an old grant to a new one.
    RolledOver,
    /// Lost by time.
    Expired,
    /// Lost by count.
    Forfeited,
    /// Overage that an invoice bills.
    Charged,
    /// Overage that is forgiven.
    Reset,
}

impl Totals {
    pub(super) fn count(&mut self, what: Move, amount: Credits) {
        let add = |total: &mut Credits| *total = total.plus(amount);
        match what {
            Move::Added => add(&mut self.granted),
            Move::Spent => add(&mut self.consumed),
            Move::Overdrawn => add(&mut self.overage_made),
            Move::Repaid => add(&mut self.repaid),
            Move::Debited => add(&mut self.debited),
            Move::RolledOver => {
                add(&mut self.rolled_out);
                add(&mut self.rolled_in);
            }
            Move::Expired => add(&mut self.expired),
            Move::Forfeited => add(&mut self.forfeited),
            Move::Charged => add(&mut self.overage_charged),
            Move::Reset => add(&mut self.overage_reset),
        }
    }

    /// Whether a pool that has this balance and this overage has lost and made nothing.
    pub(super) fn agree_with(&self, balance: Credits, overage: Credits) -> bool {
        let gone =
            [balance, self.consumed, self.debited, self.repaid, self.expired, self.forfeited];
        let settled = [overage, self.overage_charged, self.overage_reset, self.repaid];
        self.granted == Credits::sum(gone)
            && self.overage_made == Credits::sum(settled)
            && self.rolled_out == self.rolled_in
    }
}
