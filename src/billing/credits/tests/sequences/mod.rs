//! Random sequences of everything that happens to a pool, each step compared with the naive model. A
//! second pool goes the same way and is never settled unless it must be.

mod any;

use std::time::Duration;

use proptest::prelude::*;

use any::{any_attachments, any_op};

use super::mark::{drawn_by, terms as draw_terms};
use super::naive::{Fate, Naive, NaiveGrant};
use super::*;
use crate::billing::credits::{Debit, DrawTerms, Hold, Mark, Usage, low_balance_threshold};
use crate::model::customer::Metadata;
use crate::model::{Quantity, Share};

const SUBSCRIPTIONS: usize = 3;
/// Days of a period.
const PERIOD: u32 = 10;

#[derive(Clone, Debug)]
enum Op {
    Use { which: usize, meter: usize, value: i128, late: bool },
    TopUp { steps: i128, lives: Option<u32> },
    Debit { steps: i128 },
    GoOn { days: u32 },
    Settle,
    Begin { which: usize, attached: usize, in_trial: bool },
    Change { which: usize, attached: usize, restarts: bool },
    PauseOrResume { which: usize },
    HoldOrPay { which: usize },
    End { which: usize },
    Reserve { which: usize, steps: i128 },
    Release { nth: usize, uses: Option<i128> },
}

/// The usage of a period: of each meter its mark, and its events.
#[derive(Clone, Debug, Default)]
struct Usages {
    meters: [(Mark, Vec<(Usage, DrawTerms)>); 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Pending,
    Begun,
    Ended,
}

/// A subscription, as far as credits know it.
#[derive(Clone, Debug, Default)]
struct Sub {
    life: Life,
    attached: Option<usize>,
    in_trial: bool,
    on_hold: bool,
    /// When its period ends; nothing while it is paused.
    ends: Option<u32>,
    days_left: u32,
    usages: [Usages; 2],
}

impl Sub {
    fn is_running(&self) -> bool {
        self.life == Life::Begun && self.ends.is_some()
    }
}

struct Story {
    rig: Rig,
    lazy: Rig,
    naive: Naive,
    attachments: Vec<Attachment>,
    subs: Vec<Sub>,
    holds: Vec<(Hold, (SubscriptionIndex, i128, i128))>,
    now: u32,
}

fn of(which: usize) -> SubscriptionIndex {
    SubscriptionIndex(u32::try_from(which).unwrap())
}

impl Story {
    fn new(attachments: Vec<Attachment>, order: GrantOrder) -> Self {
        let step = 10_i128.pow(12 - u32::from(attachments[0].precision));
        Self {
            rig: Rig::new(),
            lazy: Rig::new(),
            naive: Naive::new(step, order),
            attachments,
            subs: vec![Sub::default(); SUBSCRIPTIONS],
            holds: Vec::new(),
            now: 0,
        }
    }

    fn credits(&self, steps: i128) -> Credits {
        Credits::from_units(steps * self.naive.step)
    }

    fn both(&mut self, action: impl Fn(&mut Pool, &mut Ids) -> Left) {
        self.rig.act(&action);
        self.lazy.act(&action);
    }

    /// What the subscription has attached; the last of all stands for nothing.
    fn attachment(&self, attached: Option<usize>) -> Option<Attachment> {
        attached.and_then(|attached| self.attachments.get(attached)).copied()
    }

    fn overage_terms(&self, which: usize) -> OverageTerms {
        let attachment = self.attachment(self.subs[which].attached);
        attachment.unwrap_or_else(ten).terms.overage
    }

    fn pass(&mut self, which: usize, passage: Passage, new: Option<usize>) {
        let (before, after) = (self.attachment(self.subs[which].attached), self.attachment(new));
        let attached = || Attached { before: before.as_ref(), after: after.as_ref() };
        self.both(|pool, ids| pool.pass(&passage, of(which), attached(), ids));
        self.subs[which].attached = new;
    }

    fn draw(&mut self, which: usize, amount: Credits) {
        let terms = self.overage_terms(which);
        let attachment = self.attachment(self.subs[which].attached);
        let low_below = attachment.as_ref().and_then(low_balance_threshold);
        let (subscription, order, now) = (of(which), self.naive.order, day(self.now));
        let draw = Draw { subscription, amount, overage: terms, low_below, order, now };
        self.both(|pool, ids| pool.draw(&draw, ids));
        self.naive.draw(&draw, self.now);
    }

    fn use_meter(&mut self, which: usize, meter: usize, value: i128, late: bool) {
        if self.subs[which].life == Life::Pending {
            return;
        }
        let attached = self.subs[which].attached;
        let (mark, events) = &mut self.subs[which].usages[usize::from(late)].meters[meter];
        let value = Quantity::from_units(value * 10_i128.pow(11));
        let usage = if meter == 0 { Usage::By(value) } else { Usage::To(value) };
        let Some(attachment) = attached.and_then(|attached| self.attachments.get(attached)) else {
            // It is paid in money.
            return;
        };
        let ratio = ["1", "0.5", "3", "7"][(attached.unwrap_or(0) + 2 * meter) % 4];
        let terms = draw_terms(5 * attached.unwrap_or(0) as u64, ratio, attachment.precision);
        let before = drawn_by(events);
        events.push((usage, terms));
        let amount = mark.enter(usage, &terms);
        assert_eq!(amount, drawn_by(events).minus(before));
        self.draw(which, amount);
    }

    fn turns_at(&self) -> impl Fn(SubscriptionIndex) -> Option<Timestamp> + use<> {
        let ends: Vec<_> =
            self.subs.iter().map(|sub| sub.ends.filter(|_| sub.is_running())).collect();
        move |of: SubscriptionIndex| ends[of.position()].map(day)
    }

    fn go_on(&mut self, days: u32) {
        for _ in 0..days {
            self.now += 1;
            let now = self.now;
            self.check_reads();
            let is_turning = |which: &usize| {
                self.subs[*which].is_running() && self.subs[*which].ends == Some(now)
            };
            let turning: Vec<_> = (0..SUBSCRIPTIONS).filter(is_turning).collect();
            let turns_at = self.turns_at();
            let of_turning: Vec<_> = turning.iter().map(|which| of(*which)).collect();
            let ended = self.ended_count();
            self.naive.expire(now, &of_turning);
            let is_due = self.rig.pool.next_expiry(&turns_at) == Some(day(now));
            assert_eq!(is_due, self.ended_count() > ended);
            self.both(|pool, ids| pool.expire(day(now), &turns_at, ids));
            for which in turning {
                self.turn(which, self.subs[which].attached);
            }
        }
    }

    fn ended_count(&self) -> usize {
        self.naive.grants.iter().filter(|grant| grant.has_ended).count()
    }

    fn turn(&mut self, which: usize, new: Option<usize>) {
        let sub = &self.subs[which];
        let (trial_ended, grants) = (sub.in_trial, !sub.on_hold);
        let (before, after) = (self.attachment(sub.attached), self.attachment(new));
        let passage = Passage::Turned { at: day(self.now), segment: 7, grants, trial_ended };
        self.pass(which, passage, new);
        self.naive.end_period(of(which), before.as_ref(), trial_ended, self.now);
        if let Some(after) = after {
            self.naive.take_terms(of(which), &after);
            if grants {
                let grant = self.naive.period_grant(of(which), &after, false, self.now);
                self.naive.grant(grant, self.now);
            }
        }
        let sub = &mut self.subs[which];
        sub.in_trial = false;
        sub.ends = Some(self.now + PERIOD);
        sub.usages[1] = std::mem::take(&mut sub.usages[0]);
    }

    fn begin(&mut self, which: usize, attached: usize, in_trial: bool) {
        if self.subs[which].life != Life::Pending {
            return;
        }
        self.pass(which, Passage::Begun { at: day(self.now), in_trial }, Some(attached));
        if let Some(attachment) = self.attachment(Some(attached)) {
            let grant = self.naive.period_grant(of(which), &attachment, in_trial, self.now);
            self.naive.grant(grant, self.now);
        }
        let ends = Some(self.now + PERIOD);
        let sub = &mut self.subs[which];
        *sub = Sub { life: Life::Begun, in_trial, ends, attached: sub.attached, ..Sub::default() };
    }

    fn change(&mut self, which: usize, attached: usize, restarts: bool) {
        let sub = &self.subs[which];
        let Some(ends) = sub.ends.filter(|_| sub.is_running() && !sub.on_hold) else { return };
        if restarts {
            return self.turn(which, Some(attached));
        }
        let secs = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
        let share = Share { part: secs(ends - self.now), whole: secs(PERIOD) };
        let (old, new) = (self.attachment(sub.attached), self.attachment(Some(attached)));
        let in_trial = sub.in_trial;
        let passage = Passage::ChangedWithin { at: day(self.now), share, in_trial };
        self.pass(which, passage, Some(attached));
        if let Some(new) = new {
            let plans = (old.as_ref(), &new);
            self.naive.change(of(which), plans, (share, in_trial), self.now);
        }
    }

    fn pause_or_resume(&mut self, which: usize) {
        let now = self.now;
        let sub = &mut self.subs[which];
        if sub.life != Life::Begun {
            return;
        }
        match sub.ends.take() {
            Some(ends) => sub.days_left = ends - now,
            None => sub.ends = Some(now + sub.days_left.max(1)),
        }
        let attached = self.subs[which].attached;
        self.pass(which, Passage::Nothing, attached);
    }

    fn end(&mut self, which: usize) {
        if self.subs[which].life == Life::Pending {
            return;
        }
        let attached = self.subs[which].attached;
        let passage = Passage::Ended { at: day(self.now), segment: Some(7) };
        self.pass(which, passage, attached);
        let attachment = self.attachment(attached);
        self.naive.end(of(which), attachment.as_ref(), self.now);
        self.subs[which].life = Life::Ended;
    }

    fn reserve(&mut self, which: usize, steps: i128) {
        let terms = self.overage_terms(which);
        let hold = self.rig.pool.can_cover(self.credits(steps), of(which), &terms, day(self.now));
        let balance = steps.min(self.naive.spendable(self.now));
        let overage = steps - balance;
        let room = self.naive.room(of(which), &terms);
        assert_eq!(hold.is_some(), room.is_none_or(|room| overage <= room));
        if let Some(hold) = hold {
            let parts = (self.credits(balance), self.credits(overage));
            assert_eq!((hold.balance, hold.overage), parts);
            self.rig.pool.hold(&hold);
            self.lazy.pool.hold(&hold);
            let naive = (of(which), balance, overage);
            self.naive.holds.push(naive);
            self.holds.push((hold, naive));
        }
    }

    fn release(&mut self, nth: usize, uses: Option<i128>) {
        if self.holds.is_empty() {
            return;
        }
        let (hold, naive) = self.holds.remove(nth % self.holds.len());
        self.rig.pool.release(&hold);
        self.lazy.pool.release(&hold);
        let place = self.naive.holds.iter().position(|known| *known == naive).unwrap();
        self.naive.holds.remove(place);
        if let Some(steps) = uses {
            self.draw(hold.subscription.position(), self.credits(steps));
        }
    }

    fn top_up(&mut self, steps: i128, lives: Option<u32>) {
        let expires = lives.map(|days| self.now + days);
        let new = NewGrant {
            expires_at: expires.map(day),
            ..NewGrant::new(GrantSource::Api, self.credits(steps), day(self.now))
        };
        self.both(|pool, ids| pool.grant(new.clone(), ids));
        let grant = NaiveGrant {
            subscription: None,
            is_heir: false,
            initial: steps,
            fates: std::collections::BTreeMap::new(),
            rollovers: 0,
            outlives: false,
            expires,
            has_ended: false,
        };
        self.naive.grant(grant, self.now);
    }

    fn debit(&mut self, steps: i128) {
        let (amount, now, order) = (self.credits(steps), day(self.now), self.naive.order);
        let can = self.rig.pool.can_debit(amount, now);
        assert_eq!(can, steps <= self.naive.spendable(self.now));
        if can {
            let debit = Debit { amount, order, now, reason: None, metadata: Metadata::new() };
            self.both(|pool, ids| pool.debit(debit.clone(), ids));
            self.naive.debit(steps, self.now);
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Use { which, meter, value, late } => self.use_meter(which, meter, value, late),
            Op::TopUp { steps, lives } => self.top_up(steps, lives),
            Op::Debit { steps } => self.debit(steps),
            Op::GoOn { days } => self.go_on(days),
            Op::Settle => {
                let now = day(self.now);
                self.rig.act(|pool, ids| pool.settle(now, ids));
                self.lazy.lsn = self.rig.lsn;
            }
            Op::Begin { which, attached, in_trial } => self.begin(which, attached, in_trial),
            Op::Change { which, attached, restarts } => self.change(which, attached, restarts),
            Op::PauseOrResume { which } => self.pause_or_resume(which),
            Op::HoldOrPay { which } => {
                let sub = &mut self.subs[which];
                sub.on_hold = !sub.on_hold && sub.is_running();
            }
            Op::End { which } => self.end(which),
            Op::Reserve { which, steps } => self.reserve(which, steps),
            Op::Release { nth, uses } => self.release(nth, uses),
        }
    }

    fn check(&self) {
        self.check_reads();
        self.check_grants();
        self.check_totals();
        self.check_lazy();
    }

    /// What is read, whether the work of the day was done or not.
    fn check_reads(&self) {
        let (pool, naive, now) = (&self.rig.pool, &self.naive, day(self.now));
        assert_eq!(pool.balance_at(now), self.credits(naive.balance(self.now)));
        assert_eq!(pool.spendable_at(now), self.credits(naive.spendable(self.now)));
        for which in 0..SUBSCRIPTIONS {
            let terms = self.overage_terms(which);
            let overage = self.credits(naive.overage(of(which)));
            assert_eq!(pool.overage_of(of(which)), overage);
            let room = naive.room(of(which), &terms).map(|room| self.credits(room));
            assert_eq!(pool.headroom(of(which), &terms), room);
            let is_full = terms.limit.is_some_and(|limit| limit <= overage);
            assert_eq!(pool.limit_reached(of(which), &terms), terms.is_enabled && is_full);
            assert_eq!(pool.is_low(of(which)), naive.low.contains_key(&of(which)));
            let due = Credits::sum(pool.dues(of(which), Some(7)).map(|due| due.credits));
            let charged = naive.charged.get(&of(which)).copied().unwrap_or(0);
            assert_eq!(due, self.credits(charged));
        }
    }

    fn check_grants(&self) {
        let live = self.naive.grants.iter().filter(|grant| !grant.has_ended);
        let live: Vec<_> = live.collect();
        assert_eq!(self.rig.pool.grants().len(), live.len());
        for (grant, naive) in self.rig.pool.grants().iter().zip(live) {
            let left = (self.credits(naive.initial), self.credits(naive.remaining()));
            assert_eq!((grant.initial, grant.remaining), left);
            assert_eq!(grant.expires_at, naive.expires.map(day));
            assert_eq!(grant.rollover_count, naive.rollovers);
            assert_eq!(grant.outlives_turn, naive.outlives);
            assert_eq!(grant.source.subscription(), naive.subscription);
        }
        let mut ended: Vec<_> = self.rig.ended.iter().collect();
        ended.sort_by_key(|grant| grant.id);
        let naive = self.naive.grants.iter().filter(|grant| grant.has_ended);
        let naive: Vec<_> = naive.collect();
        assert_eq!(ended.len(), naive.len());
        for (grant, naive) in ended.into_iter().zip(naive) {
            let lost = [Fate::Expired, Fate::Forfeited, Fate::RolledOver];
            let has = |fate: &Fate| naive.fates.get(fate).is_some_and(|steps| *steps > 0);
            assert_eq!(grant.initial, self.credits(naive.initial));
            assert_eq!(grant.is_expired, lost.iter().any(has));
            assert_eq!(grant.is_rolled_over, has(&Fate::RolledOver));
        }
    }

    fn check_totals(&self) {
        let fate = |fate: Fate| {
            let grants = self.naive.grants.iter();
            self.credits(grants.filter_map(|grant| grant.fates.get(&fate)).sum())
        };
        let initial = |is_heir: bool| {
            let grants = self.naive.grants.iter().filter(|grant| grant.is_heir == is_heir);
            self.credits(grants.map(|grant| grant.initial).sum())
        };
        let totals = *self.rig.pool.totals();
        let of_grants = [
            (totals.granted, initial(false)),
            (totals.rolled_in, initial(true)),
            (totals.rolled_out, fate(Fate::RolledOver)),
            (totals.consumed, fate(Fate::Spent)),
            (totals.debited, fate(Fate::Debited)),
            (totals.repaid, fate(Fate::Repaid)),
            (totals.expired, fate(Fate::Expired)),
            (totals.forfeited, fate(Fate::Forfeited)),
        ];
        let all = |list: &std::collections::BTreeMap<_, i128>| self.credits(list.values().sum());
        let of_overage = [
            (totals.overage_made, all(&self.naive.made)),
            (totals.repaid, all(&self.naive.repaid)),
            (totals.overage_charged, all(&self.naive.charged)),
            (totals.overage_reset, all(&self.naive.reset)),
            (totals.uncovered, self.credits(self.naive.uncovered)),
        ];
        for (place, (found, expected)) in of_grants.into_iter().chain(of_overage).enumerate() {
            assert_eq!(found, expected, "total {place}");
        }
    }

    /// When it was settled changes nothing: neither the pool nor what the rows come to.
    fn check_lazy(&self) {
        let settled = |rig: &Rig| {
            let mut pool = rig.pool.clone();
            let mut rows = rig.rows.clone();
            let ids = &mut Ids::of(rig.lsn.next());
            rows.extend(pool.settle(day(self.now), ids).rows);
            let sum = |what: TransactionType, has_grant: bool| {
                let is_wanted = |row: &&LedgerEntry| {
                    row.transaction == what && row.grant.is_some() == has_grant
                };
                Credits::sum(rows.iter().filter(is_wanted).map(|row| row.amount))
            };
            let totals = *pool.totals();
            let used = sum(TransactionType::CreditDeducted, true);
            assert_eq!(used, totals.consumed.plus(totals.repaid));
            assert_eq!(sum(TransactionType::CreditDeducted, false), totals.overage_made);
            assert_eq!(sum(TransactionType::CreditAdded, true), totals.granted);
            assert_eq!(sum(TransactionType::CreditExpired, true), totals.expired);
            assert_eq!(sum(TransactionType::RolloverForfeited, true), totals.forfeited);
            assert_eq!(sum(TransactionType::CreditRolledOver, true), totals.rolled_in);
            assert_eq!(sum(TransactionType::OverageCharged, false), totals.overage_charged);
            assert_eq!(sum(TransactionType::OverageReset, false), totals.overage_reset);
            let uncovered = Credits::sum(rows.iter().map(|row| row.uncovered));
            assert_eq!(uncovered, totals.uncovered);
            let newest = rows.last().map(|row| (row.balance_after, row.overage_after));
            let levels = (pool.remaining(), pool.overage());
            assert_eq!(newest.unwrap_or_default(), levels);
            (pool, rig.ended.clone())
        };
        assert_eq!(settled(&self.rig), settled(&self.lazy));
    }
}

proptest! {
    #[test]
    fn every_sequence_goes_as_the_model_says(
        attachments in any_attachments(),
        expires_first: bool,
        ops in prop::collection::vec(any_op(), 1..50),
    ) {
        let order =
            if expires_first { GrantOrder::ExpiresFirst } else { GrantOrder::OldestFirst };
        let mut story = Story::new(attachments, order);
        story.begin(0, 0, false);
        story.begin(1, 1, true);
        for op in &ops {
            story.step(op);
            story.check();
        }
    }
}
