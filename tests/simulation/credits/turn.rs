//! What a subscription's turns, changes and end do to a pool, one step after the other.

use quipu::billing::boundary;
use quipu::model::credit::{Attachment, CreditProration, OverageBehavior, TransactionType};
use quipu::model::{Lsn, Share, SubscriptionIndex, Timestamp};

use super::pool::{Due, Given, Move, NaivePool, Source};

/// A turn of a subscription, or its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) of: SubscriptionIndex,
    pub(crate) at: Timestamp,
    /// What was cut, and is still to be closed.
    pub(crate) segment: Option<u32>,
    pub(crate) lsn: Lsn,
}

impl NaivePool {
    /// Hands out what a period begins with.
    fn begin_period(&mut self, turn: &Turn, attached: &Attachment, in_trial: bool) {
        let place = self.add(
            TransactionType::CreditAdded,
            period_amount(attached, in_trial),
            given(turn, attached),
        );
        if let Some(place) = place {
            self.meet(if in_trial { "credits: of a trial" } else { "credits: of a period" });
            self.grants[place].outlives_turn = in_trial && !attached.trial_expires;
        }
    }

    pub(crate) fn begin(&mut self, turn: &Turn, attached: Option<&Attachment>, in_trial: bool) {
        if let Some(attached) = attached {
            self.begin_period(turn, attached, in_trial);
        }
        self.rise(turn.at);
    }

    /// A period has ended under `before`, and another begun under `after`.
    pub(crate) fn turn(
        &mut self,
        turn: &Turn,
        (before, after): (Option<&Attachment>, Option<&Attachment>),
        (grants, trial_ended): (bool, bool),
    ) {
        self.end_overage(turn, before, false);
        let is_revoked = trial_ended && before.is_some_and(|before| before.trial_expires);
        let rolls = before.filter(|before| before.terms.rollover.is_enabled && !is_revoked);
        let own = self.own(turn.of);
        let (staying, ending): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|place| self.grants[*place].outlives_turn);
        for place in staying {
            self.grants[place].outlives_turn = false;
        }
        for place in &ending {
            if let Some(attached) = rolls {
                self.roll(*place, turn, attached);
            }
        }
        self.expire_all(&ending, turn.at, turn.lsn);
        if let Some(after) = after {
            self.take_terms(turn.of, &after.terms.overage);
            if grants {
                self.begin_period(turn, after, false);
            }
        }
        self.rise(turn.at);
    }

    pub(crate) fn change(
        &mut self,
        turn: &Turn,
        (before, after): (Option<&Attachment>, Option<&Attachment>),
        (share, in_trial): (Share, bool),
    ) {
        let Some(after) = after else { return };
        self.take_terms(turn.of, &after.terms.overage);
        let old = before.map_or(0, |before| period_amount(before, in_trial));
        let more = (period_amount(after, in_trial) - old).max(0);
        let nanos = |span: std::time::Duration| i128::try_from(span.as_nanos()).unwrap();
        // Of small numbers: no overflow here.
        let part = more / nanos(share.whole) * nanos(share.part)
            + more % nanos(share.whole) * nanos(share.part) / nanos(share.whole);
        let step = step(after);
        match after.proration {
            CreditProration::NoProrate => {}
            CreditProration::Prorate => {
                let place =
                    self.add(TransactionType::CreditAdded, part / step * step, given(turn, after));
                if let Some(place) = place {
                    self.meet("credits: of a change within a period");
                    self.grants[place].outlives_turn = in_trial && !after.trial_expires;
                }
                self.rise(turn.at);
            }
        }
    }

    /// A pause closes the overage that is invoiced.
    pub(crate) fn pause(&mut self, turn: &Turn, attached: Option<&Attachment>) {
        let is_invoiced = |attached: &&Attachment| {
            attached.terms.overage.behavior == OverageBehavior::InvoiceAtBilling
        };
        if let Some(attached) = attached.filter(is_invoiced) {
            self.end_overage(turn, Some(attached), false);
        }
    }

    pub(crate) fn end(&mut self, turn: &Turn, attached: Option<&Attachment>) {
        self.end_overage(turn, attached, true);
        let own = self.own(turn.of);
        self.expire_all(&own, turn.at, turn.lsn);
        self.low.remove(&turn.of);
    }

    fn roll(&mut self, place: usize, turn: &Turn, attached: &Attachment) {
        let terms = &attached.terms.rollover;
        let grant = self.grants[place].clone();
        if grant.expires_at.is_some_and(|end| end < turn.at) {
            return;
        }
        if terms.count_max.is_some_and(|most| grant.rollovers >= most) {
            self.lose(place, TransactionType::RolloverForfeited, turn.at, turn.lsn);
            return;
        }
        let percent = i128::from(terms.percentage.unwrap_or(100));
        let rolled = grant.left * percent / 100 / step(attached) * step(attached);
        self.grants[place].left -= rolled;
        let given = Given {
            source: Source::Rollover(turn.of),
            at: turn.at,
            expires_at: terms.timeframe.and_then(|length| boundary(turn.at, length, 1)),
            lsn: turn.lsn,
        };
        if let Some(heir) = self.add(TransactionType::CreditRolledOver, rolled, given) {
            self.grants[heir].rollovers = grant.rollovers + 1;
            self.meet("credits: rolled over");
        }
    }

    fn end_overage(&mut self, turn: &Turn, attached: Option<&Attachment>, is_end: bool) {
        let overage = self.overage_of(turn.of);
        let terms = attached.map(|attached| attached.terms.overage);
        let is_settled = match terms.map(|terms| terms.behavior) {
            Some(OverageBehavior::InvoiceAtBilling | OverageBehavior::ForgiveAtReset) => true,
            Some(OverageBehavior::CarryDeficit | OverageBehavior::CarryDeficitAutoRepay) | None => {
                is_end
            }
        };
        if overage == 0 {
            return;
        }
        if !is_settled {
            self.meet("credits: overage carried on");
            return;
        }
        self.change_overage(turn.of, -overage);
        let invoiced = terms.filter(|terms| terms.behavior == OverageBehavior::InvoiceAtBilling);
        let Some(price) = invoiced.and_then(|terms| terms.price) else {
            self.meet("credits: overage forgiven");
            self.moves.push(Move {
                lsn: turn.lsn,
                what: TransactionType::OverageReset,
                amount: overage,
                grant: None,
                at: turn.at,
            });
            return;
        };
        self.meet("credits: overage to be invoiced");
        self.moves.push(Move {
            lsn: turn.lsn,
            what: TransactionType::OverageCharged,
            amount: overage,
            grant: None,
            at: turn.at,
        });
        let due = Due { of: turn.of, segment: turn.segment, amount: overage, price };
        let same = |known: &&mut Due| Due { amount: overage, ..**known } == due;
        match self.dues.iter_mut().find(same) {
            Some(known) => known.amount += overage,
            None => self.dues.push(due),
        }
    }
}

fn given(turn: &Turn, attached: &Attachment) -> Given {
    let days = attached.terms.expires_after_days;
    Given {
        source: Source::Period(turn.of),
        at: turn.at,
        expires_at: days.and_then(|days| turn.at.days_later(days.into())),
        lsn: turn.lsn,
    }
}

fn period_amount(attached: &Attachment, in_trial: bool) -> i128 {
    let amount = match attached.trial_amount {
        Some(amount) if in_trial => amount,
        Some(_) | None => attached.amount,
    };
    amount.as_units()
}

/// The smallest amount of the entitlement.
pub(crate) fn step(attached: &Attachment) -> i128 {
    10_i128.pow(12 - u32::from(attached.precision))
}
