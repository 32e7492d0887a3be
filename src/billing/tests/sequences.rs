//! Random lives of a subscription against a model that keeps lists of (start, end) and finds every
//! end by counting days: it knows no numbers of boundaries.

use std::ops::Range;
use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;

use super::{closed, draft, naive_calendar};
use crate::billing::{
    Cut, Draft, Refusal, Step, boundary, cancel_at_next_billing_date, cancel_now, due, extend,
    move_next_billing_date, payment_failed, payment_succeeded, subscribe, turn,
};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::subscription::Closing;
use crate::model::{
    InvoiceNumber, Period, PriceVersion, Subscription, SubscriptionStatus, Terms, Timestamp,
};

#[derive(Clone, Debug)]
enum Act {
    /// Time passes, and whatever is due is done.
    Wait {
        hours: u32,
    },
    Fail(u64),
    Pay(u64),
    Flag(bool),
    Move {
        hours: i64,
    },
    Extend(Interval),
    Cancel {
        cut_minutes: u32,
    },
    Reprice(u32),
}

/// A segment that has ended, with the period that its close renews.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ended {
    period: Period,
    terms: Terms,
    close_at: Timestamp,
    renewal: Option<(Period, Terms)>,
}

#[derive(Debug)]
struct Model {
    interval: Interval,
    length: Interval,
    trial_days: u32,
    grace: Duration,
    terms: Terms,
    anchor: Timestamp,
    term_start: Timestamp,
    expires_at: Timestamp,
    status: SubscriptionStatus,
    flagged: bool,
    unpaid: Vec<u64>,
    running: Option<(Period, Terms)>,
    ended: Vec<Ended>,
}

impl Model {
    fn new(draft: &Draft, grace: Duration) -> Self {
        let mut model = Self {
            interval: draft.interval,
            length: draft.subscription_period,
            trial_days: draft.trial_days,
            grace,
            terms: draft.terms,
            anchor: draft.created_at,
            term_start: draft.created_at,
            expires_at: draft.created_at,
            status: SubscriptionStatus::Pending,
            flagged: false,
            unpaid: Vec::new(),
            running: None,
            ended: Vec::new(),
        };
        model.anchor_behind_trial(draft.created_at);
        model
    }

    fn anchor_behind_trial(&mut self, start: Timestamp) {
        self.anchor = start.plus(Duration::from_hours(24) * self.trial_days);
        self.term_start = self.anchor;
        self.expires_at = self.end_after(self.length);
    }

    fn end_after(&self, length: Interval) -> Timestamp {
        naive_calendar::boundaries(self.term_start, length, 365 * 7)[1]
    }

    /// The period from `start` to the first boundary behind it.
    fn period_from(&self, start: Timestamp) -> Period {
        let days = start.since(self.anchor).as_secs() / 86_400 + 800;
        let boundaries =
            naive_calendar::boundaries(self.anchor, self.interval, i64::try_from(days).unwrap());
        let next = boundaries.into_iter().find(|boundary| *boundary > start).unwrap();
        Period { start, end: next.min(self.expires_at) }
    }

    fn has_ended(&self) -> bool {
        self.running.is_none() && !self.ended.is_empty()
            || self.status == SubscriptionStatus::Cancelled
    }

    fn begin(&mut self, now: Timestamp) {
        self.anchor_behind_trial(now);
        self.status = SubscriptionStatus::Active;
        self.running = Some((self.period_from(now), self.terms));
    }

    /// The running segment ends, is due then, and is closed a grace later.
    fn end_running(
        &mut self,
        (end, due_at): (Timestamp, Timestamp),
        renewal: Option<(Period, Terms)>,
    ) {
        if let Some((Period { start, .. }, terms)) = self.running.take() {
            let period = Period { start, end };
            self.ended.push(Ended { period, terms, close_at: due_at.plus(self.grace), renewal });
        }
    }

    fn wait_until(&mut self, now: Timestamp) {
        while let Some((Period { end, .. }, _)) = self.running
            && end <= now
        {
            let next = (self.period_from(end), self.terms);
            if end == self.expires_at || self.flagged {
                self.end_running((end, end), None);
                let expired = end == self.expires_at;
                let ended = [SubscriptionStatus::Cancelled, SubscriptionStatus::Expired];
                self.status = ended[usize::from(expired)];
                self.flagged = false;
            } else {
                let is_active = self.status == SubscriptionStatus::Active;
                self.end_running((end, end), is_active.then_some(next));
                self.running = Some(next);
            }
        }
    }

    fn act(&mut self, act: &Act, now: Timestamp) -> Result<(), Refusal> {
        let begun = self.running.is_some() || !self.ended.is_empty();
        match act {
            Act::Wait { .. } => self.wait_until(now),
            Act::Reprice(version) => self.terms.version = PriceVersion(*version),
            Act::Fail(invoice) => {
                self.unpaid.retain(|unpaid| unpaid != invoice);
                self.unpaid.push(*invoice);
                if !self.has_ended() {
                    self.status = SubscriptionStatus::OnHold;
                }
            }
            Act::Pay(invoice) => {
                self.unpaid.retain(|unpaid| unpaid != invoice);
                if !begun && !self.has_ended() {
                    self.begin(now);
                } else if !self.has_ended() && self.unpaid.is_empty() {
                    self.status = SubscriptionStatus::Active;
                }
            }
            Act::Move { hours } => {
                let to = later(now, *hours);
                let Some((period, _)) = &mut self.running else {
                    return Err(Refusal::NotLive(self.status));
                };
                if to <= now {
                    return Err(Refusal::NotInTheFuture);
                }
                if to > self.expires_at {
                    return Err(Refusal::AfterExpiry);
                }
                period.end = to;
                self.anchor = to;
            }
            _ if self.has_ended() => return Err(Refusal::NotLive(self.status)),
            Act::Flag(yes) => self.flagged = *yes,
            Act::Extend(length) => {
                let end = self.end_after(*length);
                if end <= self.expires_at {
                    return Err(Refusal::NotLonger);
                }
                (self.length, self.expires_at) = (*length, end);
                let grown = self.running.map(|(period, terms)| (self.grown(period), terms));
                self.running = grown;
            }
            Act::Cancel { cut_minutes } => {
                let cut = now.plus(Duration::from_mins((*cut_minutes).into()));
                // What is cut just behind the present is due at the present.
                self.end_running((cut, now.max(cut.minus(Duration::from_nanos(1)))), None);
                self.status = SubscriptionStatus::Cancelled;
                self.flagged = false;
            }
        }
        Ok(())
    }

    /// A running period under a later end of the subscription. A period that a move has made longer
    /// than its cycle ends at the new anchor.
    fn grown(&self, period: Period) -> Period {
        if period.start < self.anchor {
            Period { end: self.anchor.min(self.expires_at), ..period }
        } else {
            self.period_from(period.start)
        }
    }
}

fn later(now: Timestamp, hours: i64) -> Timestamp {
    Timestamp::from_nanos(now.as_nanos() + hours * 3_600_000_000_000)
}

/// The subscription under test, and what it has closed.
struct Real {
    subscription: Subscription,
    grace: Duration,
    closed: Vec<Closing>,
}

impl Real {
    /// Does everything that is due until `now`, one by one in order of time.
    fn wait_until(&mut self, now: Timestamp) {
        let mut previous = None;
        while let Some(next) = due(&self.subscription).into_iter().min()
            && next.at <= now
        {
            assert!(previous <= Some(next.at), "time goes back");
            previous = Some(next.at);
            self.subscription = match next.step {
                Step::PastDueEnd => unreachable!("no time to pay was given"),
                Step::Turn => turn(&self.subscription, self.grace).unwrap(),
                Step::Close { segment } => {
                    let waiting = &self.subscription.closing;
                    let number = |closing: &&Closing| closing.segment.number == segment;
                    self.closed.push(*waiting.iter().find(number).unwrap());
                    closed(&self.subscription, segment)
                }
            };
        }
    }

    fn act(&mut self, act: &Act, now: Timestamp) -> Result<(), Refusal> {
        let this = &self.subscription;
        self.subscription = match act {
            Act::Wait { .. } => {
                self.wait_until(now);
                return Ok(());
            }
            Act::Reprice(version) => {
                let terms = Terms { version: PriceVersion(*version), ..this.terms };
                Subscription { terms, ..this.clone() }
            }
            Act::Fail(invoice) => payment_failed(this, InvoiceNumber(*invoice), None),
            Act::Pay(invoice) => {
                let cut = Cut { at: now, end: now, grace: self.grace };
                payment_succeeded(this, InvoiceNumber(*invoice), cut)?
            }
            Act::Flag(yes) => cancel_at_next_billing_date(this, *yes)?,
            Act::Move { hours } => move_next_billing_date(this, later(now, *hours), now)?,
            Act::Extend(length) => extend(this, *length)?,
            Act::Cancel { cut_minutes } => {
                let cut = now.plus(Duration::from_mins((*cut_minutes).into()));
                cancel_now(this, Cut { at: now, end: cut, grace: self.grace })?
            }
        };
        Ok(())
    }

    fn assert_is(&self, model: &Model, now: Timestamp) {
        let real = &self.subscription;
        assert_eq!(real.status, model.status);
        assert_eq!(real.cancel_at_next_billing_date, model.flagged);
        assert_eq!(real.cycle.expires_at, model.expires_at);
        assert_eq!(real.running.map(|running| (running.period, running.terms)), model.running);
        let ended = self.closed.iter().chain(&real.closing);
        let ended: Vec<Ended> = ended
            .map(|closing| Ended {
                period: closing.segment.period,
                terms: closing.segment.terms,
                close_at: closing.close_at,
                renewal: closing.renewal.map(|renewal| (renewal.period, renewal.terms)),
            })
            .collect();
        assert_eq!(ended, model.ended);
        assert!(self.closed.iter().all(|closing| closing.close_at <= now));
        let segments = self.closed.iter().chain(&real.closing).map(|closing| closing.segment);
        let numbers = segments.chain(real.running).map(|segment| segment.number);
        assert_eq!(numbers.collect::<Vec<_>>(), (0..real.next_segment).collect::<Vec<_>>());
        self.assert_dates();
    }

    /// A running segment lies between the billing dates and ends at a boundary or with everything.
    fn assert_dates(&self) {
        let (cycle, running) = (&self.subscription.cycle, self.subscription.running);
        let next = boundary(cycle.anchor, cycle.interval, cycle.next_boundary).unwrap();
        if let Some(period) = running.map(|running| running.period) {
            assert_eq!(period.start, cycle.previous_billing_date);
            assert_eq!(period.end, cycle.next_billing_date);
            assert_eq!(period.end, next.min(cycle.expires_at));
            assert!(period.start < period.end);
        }
    }
}

fn length(days: Range<u32>, months: Range<u32>) -> impl Strategy<Value = Interval> {
    use IntervalUnit::{Day, Month, Week, Year};
    let of = |unit| move |count| Interval { count, unit };
    prop_oneof![
        days.prop_map(of(Day)),
        (2_u32..20).prop_map(of(Week)),
        months.prop_map(of(Month)),
        (1_u32..3).prop_map(of(Year)),
    ]
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0_u32..24 * 60).prop_map(|hours| Act::Wait { hours }),
        2 => (0_u64..3).prop_map(Act::Fail),
        4 => (0_u64..3).prop_map(Act::Pay),
        1 => any::<bool>().prop_map(Act::Flag),
        3 => (-48_i64..24 * 90).prop_map(|hours| Act::Move { hours }),
        2 => length(30..1_500, 1..60).prop_map(Act::Extend),
        1 => (0_u32..10).prop_map(|cut_minutes| Act::Cancel { cut_minutes }),
        2 => (1_u32..9).prop_map(Act::Reprice),
    ]
}

proptest! {
    #[test]
    fn every_life_of_a_subscription_is_that_of_the_model(
        interval in length(10..60, 1..14),
        period in length(10..900, 1..30),
        trial_days in prop_oneof![Just(0_u32), 1_u32..40],
        start in 1_700_000_000_000_000_000_i64..2_000_000_000_000_000_000,
        acts in collection::vec(any_act(), 1..40),
        is_paid_at_once in prop::bool::weighted(0.8),
        grace_minutes in prop_oneof![Just(70_u64), 0_u64..60 * 24 * 60],
    ) {
        let mut now = Timestamp::from_nanos(start);
        let draft = Draft { trial_days, ..draft(interval, period, now) };
        let grace = Duration::from_mins(grace_minutes);
        let mut model = Model::new(&draft, grace);
        let subscription = subscribe(draft).unwrap();
        let mut real = Real { subscription, grace, closed: Vec::new() };
        let first = is_paid_at_once.then_some(Act::Pay(0));
        for act in first.iter().chain(&acts) {
            if let Act::Wait { hours } = act {
                now = later(now, i64::from(*hours));
            }
            let answer = real.act(act, now);
            prop_assert_eq!(answer, model.act(act, now), "{:?}", act);
            real.assert_is(&model, now);
        }
        now = later(now, 24 * 365 * 8);
        real.wait_until(now);
        model.wait_until(now);
        real.assert_is(&model, now);
        assert_is_whole(&real, &model);
    }
}

/// The laws of a life that is over: no gap and no overlap, each segment closed once, nothing due.
fn assert_is_whole(real: &Real, model: &Model) {
    assert_eq!(due(&real.subscription), []);
    assert_eq!(real.closed.len(), model.ended.len());
    for pair in model.ended.windows(2) {
        assert_eq!(pair[0].period.end, pair[1].period.start);
        // A close pays for the period that follows; where that ends may have been changed since.
        let ahead = pair[0].renewal.map(|(period, _)| period.start);
        assert!(ahead.is_none_or(|start| start == pair[1].period.start));
    }
    if let Some(last) = model.ended.last() {
        assert_eq!(last.renewal, None);
        let is_expired = real.subscription.status == SubscriptionStatus::Expired;
        assert!(!is_expired || last.period.end == model.expires_at);
    }
}
