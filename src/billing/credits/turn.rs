//! What a change of a subscription does to a pool, and what time does.
//!
//! A turn goes in this order, all at its instant: settle, overage by its behaviour, roll over, expire,
//! grant. It ends every grant of its subscription, those that have rolled over too; grants of other
//! sources live by their own date.

use super::grant::NewGrant;
use super::ledger::{Cause, Ids, Left, Scribe};
use super::passage::Passage;
use super::pool::{OverageDue, Pool, push_tight};
use super::totals::Move;
use crate::billing::calendar::boundary;
use crate::model::credit::{
    CreditProration, GrantSource, LedgerReference, OverageBehavior, OverageTerms, RolloverTerms,
};
use crate::model::{Attachment, Credits, Grant, Share, SubscriptionIndex, Timestamp};

/// What a subscription has attached of a pool's entitlement; nothing when that is not in its price.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attached<'a> {
    /// Before a change of the subscription.
    pub before: Option<&'a Attachment>,
    /// After it.
    pub after: Option<&'a Attachment>,
}

/// A turn of a subscription, or its end.
#[derive(Clone, Copy, Debug)]
struct Turn {
    subscription: SubscriptionIndex,
    at: Timestamp,
    segment: Option<u32>,
    is_end: bool,
}

/// The balance is low below this; nothing when nobody asks.
pub fn low_balance_threshold(attachment: &Attachment) -> Option<Credits> {
    attachment.low_balance_percent.map(|percent| percent_of(attachment.amount, percent))
}

/// The earliest instant at which a grant can end that a turn at `at` makes.
pub fn earliest_end(attachment: &Attachment, at: Timestamp) -> Option<Timestamp> {
    let days = attachment.terms.expires_after_days;
    let of_period = days.and_then(|days| at.days_later(days.into()));
    let timeframe = attachment.terms.rollover.timeframe;
    let of_rollover = timeframe.and_then(|timeframe| boundary(at, timeframe, 1));
    of_period.into_iter().chain(of_rollover).min()
}

/// Whether new grants repay overage under these terms.
pub(super) fn repays(terms: &OverageTerms) -> bool {
    match terms.behavior {
        OverageBehavior::CarryDeficitAutoRepay => true,
        OverageBehavior::ForgiveAtReset
        | OverageBehavior::InvoiceAtBilling
        | OverageBehavior::CarryDeficit => false,
    }
}

impl Pool {
    /// Does what a change of a subscription means for the pool. To be asked for every pool that one of
    /// the two prices has attached, or that [`concerns`](Pool::concerns) the subscription.
    ///
    /// The end of a subscription may be done again: what late events have drawn since is settled as it
    /// was the first time.
    pub fn pass(
        &mut self,
        passage: &Passage,
        subscription: SubscriptionIndex,
        attached: Attached<'_>,
        ids: &mut Ids,
    ) -> Left {
        match *passage {
            Passage::Nothing => Left::default(),
            Passage::Begun { at, in_trial } => {
                let mut scribe = self.settled(at, ids);
                if let Some(attachment) = attached.after {
                    self.add_new(of_period(attachment, subscription, in_trial, at), &mut scribe);
                }
                self.rearm(at);
                scribe.left
            }
            Passage::Turned { at, segment, grants, trial_ended } => {
                let turn = Turn { subscription, at, segment: Some(segment), is_end: false };
                let mut scribe = self.settled(at, ids);
                self.end_period(&turn, attached.before, trial_ended, &mut scribe);
                if let Some(attachment) = attached.after {
                    self.take_terms(subscription, &attachment.terms.overage);
                    if grants {
                        let new = of_period(attachment, subscription, false, at);
                        self.add_new(new, &mut scribe);
                    }
                }
                self.rearm(at);
                scribe.left
            }
            Passage::ChangedWithin { at, share, in_trial } => {
                let Some(after) = attached.after else { return Left::default() };
                self.take_terms(subscription, &after.terms.overage);
                let amount = share_of_change(attached.before, after, share, in_trial);
                let new = NewGrant { amount, ..of_period(after, subscription, in_trial, at) };
                if amount.is_zero() { Left::default() } else { self.grant(new, ids) }
            }
            Passage::Paused { at, segment } => {
                self.pause(subscription, (at, segment), attached.before, ids)
            }
            Passage::Ended { at, segment } => {
                let turn = Turn { subscription, at, segment, is_end: true };
                let mut scribe = self.settled(at, ids);
                self.end_period(&turn, attached.before, false, &mut scribe);
                self.change_account(subscription, |account| account.low_below = Credits::ZERO);
                scribe.left
            }
        }
    }

    /// When the next grant expires, leaving out those that a turn ends at the same instant: `turns_at`
    /// says when the running segment of a subscription ends.
    pub fn next_expiry(
        &self,
        turns_at: impl Fn(SubscriptionIndex) -> Option<Timestamp>,
    ) -> Option<Timestamp> {
        let by_time = self.grants.iter().filter(|grant| !is_left_to_turn(grant, &turns_at));
        by_time.filter_map(|grant| grant.expires_at).min()
    }

    /// Ends the grants whose time is over at `at`, leaving out those that a turn ends at this instant.
    pub fn expire(
        &mut self,
        at: Timestamp,
        turns_at: impl Fn(SubscriptionIndex) -> Option<Timestamp>,
        ids: &mut Ids,
    ) -> Left {
        let is_over = |grant: &Grant| match grant.expires_at {
            Some(end) => end < at || (end == at && !is_left_to_turn(grant, &turns_at)),
            None => false,
        };
        if !self.grants.iter().any(is_over) {
            return Left::default();
        }
        let mut scribe = self.settled(at, ids);
        let mut over: Vec<Grant> = self.grants.extract_if(.., |grant| is_over(grant)).collect();
        over.sort_by_key(|grant| grant.expires_at);
        for grant in over {
            scribe.at = grant.expires_at.unwrap_or(at);
            self.lose(grant, Move::Expired, &mut scribe);
        }
        scribe.left
    }

    /// The first part of a turn, and all of an end.
    fn end_period(
        &mut self,
        turn: &Turn,
        attachment: Option<&Attachment>,
        trial_ended: bool,
        scribe: &mut Scribe<'_>,
    ) {
        self.end_overage(turn, attachment.map(|attachment| &attachment.terms.overage), scribe);
        let stays = |grant: &Grant| grant.outlives_turn && !turn.is_end;
        let is_own =
            |grant: &Grant| grant.source.subscription() == Some(turn.subscription) && !stays(grant);
        let own: Vec<Grant> = self.grants.extract_if(.., |grant| is_own(grant)).collect();
        for grant in &mut self.grants {
            // What has outlived this turn of its subscription does not outlive the next.
            if grant.source.subscription() == Some(turn.subscription) {
                grant.outlives_turn = false;
            }
        }
        let rolls = |attachment: &&Attachment| {
            let is_revoked = trial_ended && attachment.trial_expires;
            attachment.terms.rollover.is_enabled && !is_revoked && !turn.is_end
        };
        let rest = match attachment.filter(rolls) {
            Some(attachment) => self.roll_over(own, turn, attachment, scribe),
            None => own,
        };
        for grant in rest {
            self.lose(grant, Move::Expired, scribe);
        }
    }

    /// A pause closes the usage so far, and with it the overage that is invoiced: a subscription that ends
    /// while it is paused has no other close.
    fn pause(
        &mut self,
        subscription: SubscriptionIndex,
        (at, segment): (Timestamp, u32),
        attachment: Option<&Attachment>,
        ids: &mut Ids,
    ) -> Left {
        let Some(terms) = attachment.map(|attachment| &attachment.terms.overage) else {
            return Left::default();
        };
        if terms.behavior != OverageBehavior::InvoiceAtBilling
            || self.overage_of(subscription).is_zero()
        {
            return Left::default();
        }
        let turn = Turn { subscription, at, segment: Some(segment), is_end: false };
        let mut scribe = self.settled(at, ids);
        self.end_overage(&turn, Some(terms), &mut scribe);
        scribe.left
    }

    /// Settles the overage of an ended period.
    fn end_overage(&mut self, turn: &Turn, terms: Option<&OverageTerms>, scribe: &mut Scribe<'_>) {
        let credits = self.overage_of(turn.subscription);
        let price = terms.and_then(|terms| terms.price);
        let (what, price) = match terms.map(|terms| terms.behavior) {
            Some(OverageBehavior::InvoiceAtBilling) if price.is_some() => (Move::Charged, price),
            Some(OverageBehavior::InvoiceAtBilling | OverageBehavior::ForgiveAtReset) => {
                (Move::Reset, None)
            }
            Some(OverageBehavior::CarryDeficit | OverageBehavior::CarryDeficitAutoRepay) | None
                if turn.is_end =>
            {
                (Move::Reset, None)
            }
            Some(OverageBehavior::CarryDeficit | OverageBehavior::CarryDeficitAutoRepay) | None => {
                return;
            }
        };
        if credits.is_zero() {
            return;
        }
        self.change_account(turn.subscription, |account| account.overage = Credits::ZERO);
        self.totals.count(what, credits);
        if let Some(price) = price {
            let (subscription, segment) = (turn.subscription, turn.segment);
            self.owe(OverageDue { subscription, segment, credits, price });
        }
        let reference = LedgerReference::Subscription(turn.subscription);
        scribe.write(what, credits, Cause::new(None, reference));
    }

    /// Puts overage on its way to an invoice, together with what is there for the same line of it.
    fn owe(&mut self, due: OverageDue) {
        let key = |due: &OverageDue| (due.subscription, due.segment, due.price);
        match self.dues.iter_mut().find(|known| key(known) == key(&due)) {
            Some(known) => known.credits = known.credits.plus(due.credits),
            None => push_tight(&mut self.dues, due),
        }
    }

    /// Lets grants that have ended go on in new ones as far as the terms say: the grants with what is to
    /// expire.
    fn roll_over(
        &mut self,
        own: Vec<Grant>,
        turn: &Turn,
        attachment: &Attachment,
        scribe: &mut Scribe<'_>,
    ) -> Vec<Grant> {
        let terms = &attachment.terms.rollover;
        let mut rest = Vec::with_capacity(own.len());
        for mut grant in own {
            if grant.expires_at.is_some_and(|end| end < turn.at) {
                rest.push(grant);
                continue;
            }
            if terms.count_max.is_some_and(|most| grant.rollover_count >= most) {
                self.lose(grant, Move::Forfeited, scribe);
                continue;
            }
            let percent = terms.percentage.unwrap_or(100);
            let rolled = percent_of(grant.remaining, percent).rounded_down(attachment.precision);
            if !rolled.is_zero() {
                grant.remaining = grant.remaining.minus(rolled);
                grant.is_rolled_over = true;
                self.add(rolled_grant(&grant, rolled, turn, terms), Move::RolledOver, scribe);
            }
            rest.push(grant);
        }
        rest
    }

    /// Ends a grant that was taken out of the pool, with what it has left.
    fn lose(&mut self, mut grant: Grant, what: Move, scribe: &mut Scribe<'_>) {
        if !grant.remaining.is_zero() {
            self.totals.count(what, grant.remaining);
            scribe.write(what, grant.remaining, Cause::of(&grant));
        }
        grant.remaining = Credits::ZERO;
        grant.is_expired = true;
        grant.updated_at = scribe.at;
        scribe.left.ended.push(grant);
    }

    /// Lets overage that is carried on be repaid as the terms say that are in force now.
    fn take_terms(&mut self, subscription: SubscriptionIndex, terms: &OverageTerms) {
        self.change_account(subscription, |account| account.repays = repays(terms));
    }
}

/// Whether a grant is over at the very instant at which a turn of its subscription ends it anyway, so
/// that it may roll over.
fn is_left_to_turn(
    grant: &Grant,
    turns_at: impl Fn(SubscriptionIndex) -> Option<Timestamp>,
) -> bool {
    let turns_at = grant.source.subscription().and_then(turns_at);
    !grant.outlives_turn && turns_at.is_some() && turns_at == grant.expires_at
}

/// What a subscription gets at the start of a period, or of its trial.
fn of_period(
    attachment: &Attachment,
    subscription: SubscriptionIndex,
    in_trial: bool,
    at: Timestamp,
) -> NewGrant {
    let amount = amount_of(attachment, in_trial);
    let days = attachment.terms.expires_after_days;
    NewGrant {
        expires_at: days.and_then(|days| at.days_later(days.into())),
        outlives_turn: in_trial && !attachment.trial_expires,
        ..NewGrant::new(GrantSource::Subscription(subscription), amount, at)
    }
}

fn amount_of(attachment: &Attachment, in_trial: bool) -> Credits {
    let of_trial = attachment.trial_amount.filter(|_| in_trial);
    of_trial.unwrap_or(attachment.amount)
}

fn rolled_grant(parent: &Grant, amount: Credits, turn: &Turn, terms: &RolloverTerms) -> NewGrant {
    let Turn { subscription, at, .. } = *turn;
    NewGrant {
        expires_at: terms.timeframe.and_then(|length| boundary(at, length, 1)),
        rollover_count: parent.rollover_count.saturating_add(1),
        ..NewGrant::new(GrantSource::Rollover { subscription, parent: parent.id }, amount, at)
    }
}

/// What a change of plan within a period hands out: the share of what is more, rounded down.
fn share_of_change(
    before: Option<&Attachment>,
    after: &Attachment,
    share: Share,
    in_trial: bool,
) -> Credits {
    let old = before.map_or(Credits::ZERO, |before| amount_of(before, in_trial));
    match after.proration {
        CreditProration::NoProrate => Credits::ZERO,
        CreditProration::Prorate => {
            let more = amount_of(after, in_trial).less(old);
            part_of(more, share).rounded_down(after.precision)
        }
    }
}

/// So much percent of an amount, rounded down to the last unit.
fn percent_of(amount: Credits, percent: u8) -> Credits {
    let (units, percent) = (amount.as_units(), i128::from(percent.min(100)));
    // In two parts, because an amount may be near 128 bits.
    Credits::from_units((units / 100) * percent + (units % 100) * percent / 100)
}

/// A share of an amount, rounded down to the last unit.
pub(super) fn part_of(amount: Credits, share: Share) -> Credits {
    let whole = share.whole.as_nanos().max(1);
    let part = share.part.as_nanos().min(whole);
    let units = amount.as_units().unsigned_abs();
    // units x part / whole in two parts. Fits: a time between two instants has 64 bits of nanoseconds,
    // and the quotient is not above the amount.
    let (quotient, remainder) = (units / whole, units % whole);
    let shared = quotient * part + remainder * part / whole;
    Credits::from_units(i128::try_from(shared).unwrap_or(i128::MAX))
}
