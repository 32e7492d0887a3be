//! Credits reckoned unit by unit, with everything that ever was kept in lists.

use std::collections::BTreeMap;

use super::{
    Attachment, Credits, Draw, GrantOrder, OverageBehavior, OverageTerms, SubscriptionIndex,
};
use crate::model::Share;
use crate::model::price::IntervalUnit;

/// What has become of units of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Spent,
    Debited,
    Repaid,
    Expired,
    Forfeited,
    RolledOver,
}

/// Credits that were handed out, in steps of the precision; instants are days.
#[derive(Clone, Debug)]
pub(super) struct NaiveGrant {
    pub(super) subscription: Option<SubscriptionIndex>,
    pub(super) is_heir: bool,
    pub(super) initial: i128,
    pub(super) fates: BTreeMap<Fate, i128>,
    pub(super) rollovers: u32,
    pub(super) outlives: bool,
    pub(super) expires: Option<u32>,
    pub(super) has_ended: bool,
}

impl NaiveGrant {
    pub(super) fn remaining(&self) -> i128 {
        self.initial - self.fates.values().sum::<i128>()
    }

    fn give(&mut self, fate: Fate, steps: i128) {
        *self.fates.entry(fate).or_default() += steps;
        self.has_ended |= self.remaining() == 0;
    }

    fn end(&mut self, fate: Fate) {
        self.give(fate, self.remaining());
        self.has_ended = true;
    }
}

/// What a hold takes, in steps.
pub(super) type NaiveHold = (SubscriptionIndex, i128, i128);

/// A pool.
#[derive(Debug)]
pub(super) struct Naive {
    /// Units of 10^-12 in a step.
    pub(super) step: i128,
    pub(super) order: GrantOrder,
    pub(super) grants: Vec<NaiveGrant>,
    /// Steps of overage that were made, and taken away again: by subscription.
    pub(super) made: BTreeMap<SubscriptionIndex, i128>,
    pub(super) repaid: BTreeMap<SubscriptionIndex, i128>,
    pub(super) charged: BTreeMap<SubscriptionIndex, i128>,
    pub(super) reset: BTreeMap<SubscriptionIndex, i128>,
    repays: BTreeMap<SubscriptionIndex, bool>,
    pub(super) holds: Vec<NaiveHold>,
    /// Thresholds that the balance is below, in units of 10^-12.
    pub(super) low: BTreeMap<SubscriptionIndex, i128>,
    pub(super) uncovered: i128,
}

impl Naive {
    pub(super) fn new(step: i128, order: GrantOrder) -> Self {
        Self {
            step,
            order,
            grants: Vec::new(),
            made: BTreeMap::new(),
            repaid: BTreeMap::new(),
            charged: BTreeMap::new(),
            reset: BTreeMap::new(),
            repays: BTreeMap::new(),
            holds: Vec::new(),
            low: BTreeMap::new(),
            uncovered: 0,
        }
    }

    pub(super) fn steps(&self, credits: Credits) -> i128 {
        credits.as_units() / self.step
    }

    pub(super) fn balance(&self, now: u32) -> i128 {
        self.live(now).map(|(_, grant)| grant.remaining()).sum()
    }

    fn live(&self, now: u32) -> impl Iterator<Item = (usize, &NaiveGrant)> {
        let is_live = move |grant: &NaiveGrant| {
            !grant.has_ended && grant.expires.is_none_or(|expires| now < expires)
        };
        self.grants.iter().enumerate().filter(move |(_, grant)| is_live(grant))
    }

    pub(super) fn spendable(&self, now: u32) -> i128 {
        let held: i128 = self.holds.iter().map(|(_, balance, _)| balance).sum();
        (self.balance(now) - held).max(0)
    }

    pub(super) fn overage(&self, of: SubscriptionIndex) -> i128 {
        let get = |list: &BTreeMap<_, i128>| list.get(&of).copied().unwrap_or(0);
        get(&self.made) - get(&self.repaid) - get(&self.charged) - get(&self.reset)
    }

    /// Room for overage; without end when there is none.
    pub(super) fn room(&self, of: SubscriptionIndex, terms: &OverageTerms) -> Option<i128> {
        let held: i128 = self.holds.iter().filter(|hold| hold.0 == of).map(|hold| hold.2).sum();
        if terms.is_enabled {
            terms.limit.map(|limit| (self.steps(limit) - self.overage(of) - held).max(0))
        } else {
            Some(0)
        }
    }

    fn take(&mut self, fate: Fate, now: u32) {
        let mut live: Vec<_> =
            self.live(now).map(|(place, grant)| (grant.expires, place)).collect();
        match self.order {
            GrantOrder::OldestFirst => {}
            GrantOrder::ExpiresFirst => {
                live.sort_by_key(|(expires, place)| (expires.unwrap_or(u32::MAX), *place));
            }
        }
        self.grants[live[0].1].give(fate, 1);
    }

    pub(super) fn draw(&mut self, draw: &Draw, now: u32) {
        let (of, terms) = (draw.subscription, &draw.overage);
        let steps = self.steps(draw.amount);
        if steps == 0 {
            return;
        }
        let before = self.balance(now);
        for _ in 0..steps {
            if self.spendable(now) > 0 {
                self.take(Fate::Spent, now);
            } else if self.room(of, terms).is_none_or(|room| room > 0) {
                *self.made.entry(of).or_default() += 1;
                self.repays.insert(of, terms.behavior == OverageBehavior::CarryDeficitAutoRepay);
            } else {
                self.uncovered += 1;
            }
        }
        let threshold = draw.low_below.map_or(0, Credits::as_units);
        if before * self.step >= threshold {
            self.low.remove(&of);
        }
        let after = self.balance(now);
        let goes_low = after < before && after * self.step < threshold;
        if goes_low || self.low.contains_key(&of) {
            self.low.insert(of, threshold);
        }
    }

    pub(super) fn debit(&mut self, steps: i128, now: u32) {
        (0..steps).for_each(|_| self.take(Fate::Debited, now));
    }

    pub(super) fn grant(&mut self, mut grant: NaiveGrant, now: u32) {
        let in_debt: Vec<_> = self.repays.iter().filter(|(_, repays)| **repays).collect();
        let in_debt: Vec<_> = in_debt.into_iter().map(|(of, _)| *of).collect();
        for of in in_debt {
            while grant.remaining() > 0 && self.overage(of) > 0 {
                grant.give(Fate::Repaid, 1);
                *self.repaid.entry(of).or_default() += 1;
            }
        }
        if grant.initial > 0 {
            self.grants.push(grant);
        }
        let balance = self.balance(now) * self.step;
        self.low.retain(|_, threshold| balance < *threshold);
    }

    /// Ends what is over at `day`, but what a turn of its subscription ends that day.
    pub(super) fn expire(&mut self, day: u32, turning: &[SubscriptionIndex]) {
        for grant in self.grants.iter_mut().filter(|grant| !grant.has_ended) {
            let turns =
                !grant.outlives && grant.subscription.is_some_and(|of| turning.contains(&of));
            if grant.expires.is_some_and(|end| end < day || (end == day && !turns)) {
                grant.end(Fate::Expired);
            }
        }
    }

    pub(super) fn period_grant(
        &self,
        of: SubscriptionIndex,
        terms: &Attachment,
        in_trial: bool,
        now: u32,
    ) -> NaiveGrant {
        let amount = match terms.trial_amount {
            Some(amount) if in_trial => amount,
            Some(_) | None => terms.amount,
        };
        NaiveGrant {
            subscription: Some(of),
            is_heir: false,
            initial: self.steps(amount),
            fates: BTreeMap::new(),
            rollovers: 0,
            outlives: in_trial && !terms.trial_expires,
            expires: terms.terms.expires_after_days.map(|days| now + days),
            has_ended: false,
        }
    }

    /// What ends a period; `trial_ended` when it was a trial.
    pub(super) fn end_period(
        &mut self,
        of: SubscriptionIndex,
        terms: Option<&Attachment>,
        trial_ended: bool,
        day: u32,
    ) {
        let overage = self.overage(of);
        match terms.map(|terms| terms.terms.overage.behavior) {
            Some(OverageBehavior::ForgiveAtReset) => *self.reset.entry(of).or_default() += overage,
            Some(OverageBehavior::InvoiceAtBilling) => {
                *self.charged.entry(of).or_default() += overage;
            }
            Some(OverageBehavior::CarryDeficit | OverageBehavior::CarryDeficitAutoRepay) | None => {
            }
        }
        let revoked = trial_ended && terms.is_some_and(|terms| terms.trial_expires);
        for place in 0..self.grants.len() {
            let grant = &mut self.grants[place];
            if grant.has_ended || grant.subscription != Some(of) {
                continue;
            }
            if grant.outlives {
                grant.outlives = false;
                continue;
            }
            let expired = grant.expires.is_some_and(|end| end < day);
            let rules = terms.filter(|terms| terms.terms.rollover.is_enabled);
            match rules.filter(|_| !revoked && !expired) {
                None => grant.end(Fate::Expired),
                Some(terms)
                    if terms.terms.rollover.count_max.is_some_and(|max| max <= grant.rollovers) =>
                {
                    grant.end(Fate::Forfeited);
                }
                Some(terms) => self.roll(place, terms, day),
            }
        }
    }

    fn roll(&mut self, place: usize, terms: &Attachment, day: u32) {
        let rules = &terms.terms.rollover;
        let percentage = rules.percentage.map_or(100, i128::from);
        let rolled = self.grants[place].remaining() * percentage / 100;
        self.grants[place].give(Fate::RolledOver, rolled);
        self.grants[place].end(Fate::Expired);
        let timeframe = rules.timeframe.map(|length| {
            assert_eq!(length.unit, IntervalUnit::Day);
            length.count
        });
        let heir = NaiveGrant {
            is_heir: true,
            initial: rolled,
            fates: BTreeMap::new(),
            rollovers: self.grants[place].rollovers + 1,
            outlives: false,
            expires: timeframe.map(|days| day + days),
            has_ended: false,
            ..self.grants[place].clone()
        };
        self.grant(heir, day);
    }

    pub(super) fn take_terms(&mut self, of: SubscriptionIndex, terms: &Attachment) {
        let repays = terms.terms.overage.behavior == OverageBehavior::CarryDeficitAutoRepay;
        self.repays.insert(of, repays);
    }

    pub(super) fn end(&mut self, of: SubscriptionIndex, terms: Option<&Attachment>, day: u32) {
        for grant in self.grants.iter_mut().filter(|grant| grant.subscription == Some(of)) {
            if !grant.has_ended {
                grant.end(Fate::Expired);
            }
        }
        self.end_period(of, terms, false, day);
        *self.reset.entry(of).or_default() += self.overage(of);
        self.low.remove(&of);
    }

    pub(super) fn change(
        &mut self,
        of: SubscriptionIndex,
        (old, new): (Option<&Attachment>, &Attachment),
        (share, in_trial): (Share, bool),
        now: u32,
    ) {
        self.take_terms(of, new);
        let before = old.map_or(0, |old| self.period_grant(of, old, in_trial, now).initial);
        let mut grant = self.period_grant(of, new, in_trial, now);
        let (part, whole) = (share.part.as_secs(), share.whole.as_secs());
        let more = (grant.initial - before).max(0);
        grant.initial = more * i128::from(part) / i128::from(whole);
        match new.proration {
            super::CreditProration::Prorate => self.grant(grant, now),
            super::CreditProration::NoProrate => {}
        }
    }
}
