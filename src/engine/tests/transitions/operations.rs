//! What the rows of the tables do, and what each may change.

use super::payments;
use super::states::{CUSTOMER, DAY, Known};
use crate::engine::command::billing::{Effective, Mark, NewCharge, PlanChange, SubscriptionPatch};
use crate::engine::tests::rig::{Rig, Sent};
use crate::engine::{Command, Refused};
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::invoice::PaymentStatus;
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Currency, Money, PaymentId, ProductId, ProrationMode, Subscription, SubscriptionStatus,
    Timestamp,
};

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Use,
    Pay,
    Fail,
    Retry,
    Change(ProrationMode),
    ChangeReplacing,
    ChangeWhenPaid,
    ChangeToGone,
    ChangeToOnce,
    ChangeCurrency,
    Schedule,
    ScheduleAnew,
    Unschedule,
    Pause,
    Resume,
    Cancel,
    CancelLater,
    TakeBack,
    Move,
    MoveBack,
    MoveTooFar,
    Renew,
    RenewBack,
    Extend,
    Shorten,
    Describe,
    Charge,
    ChargeInOtherCurrency,
    Wait(Until),
}

/// How much time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Until the time to pay is over, or a few days.
    TimeOver,
    /// Until the running period ends.
    Turn,
    /// Until its bill is made.
    Close,
    /// Until everything is over.
    Expire,
}

use Operation::{
    Cancel, CancelLater, Change, ChangeCurrency, ChangeReplacing, ChangeToGone, ChangeToOnce,
    ChangeWhenPaid, Charge, ChargeInOtherCurrency, Describe, Extend, Fail, Move, MoveBack,
    MoveTooFar, Pause, Pay, Renew, RenewBack, Resume, Retry, Schedule, ScheduleAnew, Shorten,
    TakeBack, Unschedule, Use, Wait,
};

/// What a change to another plan may do at once.
const CHANGE: &str = "plan cycle length running closing segments trial scheduled";

impl Operation {
    pub(super) const ALL: [Self; 36] = [
        Use,
        Pay,
        Fail,
        Retry,
        Change(ProrationMode::ProratedImmediately),
        Change(ProrationMode::ProratedImmediatelyKeepCycle),
        Change(ProrationMode::DifferenceImmediately),
        Change(ProrationMode::FullImmediately),
        Change(ProrationMode::DoNotBill),
        ChangeReplacing,
        ChangeWhenPaid,
        ChangeToGone,
        ChangeToOnce,
        ChangeCurrency,
        Schedule,
        ScheduleAnew,
        Unschedule,
        Pause,
        Resume,
        Cancel,
        CancelLater,
        TakeBack,
        Move,
        MoveBack,
        MoveTooFar,
        Renew,
        RenewBack,
        Extend,
        Shorten,
        Describe,
        Charge,
        ChargeInOtherCurrency,
        Wait(Until::TimeOver),
        Wait(Until::Turn),
        Wait(Until::Close),
        Wait(Until::Expire),
    ];

    /// The row's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Use => "use",
            Pay => "pay",
            Fail => "fail",
            Retry => "retry",
            Change(ProrationMode::ProratedImmediately) => "change prorated",
            Change(ProrationMode::ProratedImmediatelyKeepCycle) => "change keeping",
            Change(ProrationMode::DifferenceImmediately) => "change difference",
            Change(ProrationMode::FullImmediately) => "change full",
            Change(ProrationMode::DoNotBill) => "change unbilled",
            ChangeReplacing => "change replacing",
            ChangeWhenPaid => "change when paid",
            ChangeToGone => "change gone",
            ChangeToOnce => "change once",
            ChangeCurrency => "change currency",
            Schedule => "schedule",
            ScheduleAnew => "schedule anew",
            Unschedule => "unschedule",
            Pause => "pause",
            Resume => "resume",
            Cancel => "cancel",
            CancelLater => "cancel later",
            TakeBack => "take back",
            Move => "move",
            MoveBack => "move back",
            MoveTooFar => "move too far",
            Renew => "renew",
            RenewBack => "renew back",
            Extend => "extend",
            Shorten => "shorten",
            Describe => "describe",
            Charge => "charge",
            ChargeInOtherCurrency => "charge currency",
            Wait(Until::TimeOver) => "time over",
            Wait(Until::Turn) => "turn",
            Wait(Until::Close) => "close",
            Wait(Until::Expire) => "expire",
        }
    }

    /// Does it.
    pub(super) fn perform(self, rig: &mut Rig, known: &Known) -> Result<(), Refused> {
        let before = known.subscription(rig);
        let (id, now) = (known.id.clone(), rig.engine.now());
        let patched = |patch| Command::UpdateSubscription(id.clone(), Box::new(patch));
        let patch = SubscriptionPatch::default;
        let moved = |to| patched(SubscriptionPatch { next_billing_date: Some(to), ..patch() });
        let renewing = |from| patched(SubscriptionPatch { renews_from: Some(from), ..patch() });
        let lasting = |period| SubscriptionPatch { subscription_period: Some(period), ..patch() };
        let later = |yes| SubscriptionPatch { cancel_at_next_billing_date: Some(yes), ..patch() };
        let pausing = |yes| patched(SubscriptionPatch { pause: Some(yes), ..patch() });
        let changed = |change: PlanChange| Command::ChangePlan(id.clone(), Box::new(change));
        let at_once = |product, mode| change(product, mode, Effective::Now);
        let scheduled = || change(&known.other, FULL, Effective::NextBillingDate);
        let command = match self {
            Use => {
                let used = Sent::new(format!("used at {now}"), CUSTOMER).with_tokens("5");
                return rig.ingest(&[used]).map(drop);
            }
            Wait(until) => {
                until.pass(rig, &before);
                return Ok(());
            }
            Pay => Command::MarkPayment(awaited(rig), Mark::Succeeded),
            Fail => {
                let failed = Mark::Failed { code: Some("declined".to_owned()), message: None };
                Command::MarkPayment(awaited(rig), failed)
            }
            Retry => Command::RetryPayment(failed(rig)),
            Change(mode) => changed(at_once(&known.other, mode)),
            ChangeReplacing => {
                changed(PlanChange { replaces_scheduled: true, ..at_once(&known.other, FULL) })
            }
            ChangeWhenPaid => changed(change(&known.other, FULL, Effective::WhenPaid)),
            ChangeToGone => changed(at_once(&known.archived, FULL)),
            ChangeToOnce => changed(at_once(&known.once, FULL)),
            ChangeCurrency => changed(at_once(&known.in_euro, FULL)),
            Schedule => changed(scheduled()),
            ScheduleAnew => changed(PlanChange { replaces_scheduled: true, ..scheduled() }),
            Unschedule => Command::CancelScheduledChange(id.clone()),
            Pause => pausing(true),
            Resume => pausing(false),
            Cancel => patched(SubscriptionPatch { cancel_now: true, ..patch() }),
            CancelLater => patched(later(true)),
            TakeBack => patched(later(false)),
            Move => moved(now.plus(DAY * 5)),
            MoveBack => moved(now.minus(DAY)),
            MoveTooFar => moved(before.cycle.expires_at.plus(DAY)),
            Renew => renewing(now.plus(DAY * 5)),
            RenewBack => renewing(now.minus(DAY)),
            Extend => patched(lasting(Interval { count: 50, unit: IntervalUnit::Year })),
            Shorten => patched(lasting(Interval { count: 1, unit: IntervalUnit::Day })),
            Describe => patched(SubscriptionPatch { metadata: Some(described()), ..patch() }),
            Charge => Command::Charge(id.clone(), Box::new(charge(None))),
            ChargeInOtherCurrency => {
                let euro = Currency::from_code("EUR").unwrap();
                Command::Charge(id.clone(), Box::new(charge(Some(euro))))
            }
        };
        rig.change(command).map(drop)
    }

    /// The fields that it may change of a subscription; any when it lets time pass.
    pub(super) fn may_change(self) -> Option<&'static str> {
        Some(match self {
            Wait(_) => return None,
            Use | Retry | Charge | ChargeInOtherCurrency => "",
            Pay => {
                "status unpaid until pending credit plan cycle length running closing segments trial"
            }
            Fail => "status unpaid until pending credit",
            Change(_) | ChangeReplacing | ChangeToGone | ChangeToOnce | ChangeCurrency => CHANGE,
            ChangeWhenPaid => "pending credit",
            Schedule | ScheduleAnew | Unschedule => "scheduled",
            Pause => "status running closing paused",
            Resume => "status running segments cycle paused",
            Cancel => "status running closing flag scheduled until paused trial cancellation",
            CancelLater | TakeBack => "flag cancellation",
            Move | MoveBack | MoveTooFar | Renew | RenewBack => "cycle running",
            Extend | Shorten => "cycle length running",
            Describe => "metadata",
        })
    }

    /// How many invoices it makes at once.
    pub(super) fn invoices(self) -> usize {
        usize::from(self != Retry) * self.payments()
    }

    /// How many payments it makes at once.
    pub(super) fn payments(self) -> usize {
        match self {
            Change(_) | ChangeReplacing | ChangeWhenPaid | Charge | Retry => 1,
            Use
            | Pay
            | Fail
            | ChangeToGone
            | ChangeToOnce
            | ChangeCurrency
            | Schedule
            | ScheduleAnew
            | Unschedule
            | Pause
            | Resume
            | Cancel
            | CancelLater
            | TakeBack
            | Move
            | MoveBack
            | MoveTooFar
            | Renew
            | RenewBack
            | Extend
            | Shorten
            | Describe
            | ChargeInOtherCurrency
            | Wait(_) => 0,
        }
    }

    /// What must be true of what it has done, beside the word of the table.
    pub(super) fn check(self, before: &Subscription, after: &Subscription, now: Timestamp) {
        let (was, is) = (&before.cycle, &after.cycle);
        match self {
            Change(mode) => check_change(mode, before, after, now),
            ChangeReplacing => check_change(FULL, before, after, now),
            ChangeWhenPaid => assert_eq!(after.pending_change.as_ref().unwrap().mode, FULL),
            Schedule | ScheduleAnew => {
                let scheduled = after.scheduled_change.as_ref().unwrap();
                assert_eq!((scheduled.created_at, scheduled.plan.quantity), (now, 1));
            }
            Pause => {
                assert_eq!((after.running, after.paused_at), (None, Some(now)));
                assert_eq!(is, was, "the dates move when it is resumed");
            }
            Resume => {
                let pause = now.since(before.paused_at.unwrap());
                assert_eq!(after.paused_at, None);
                assert_eq!(is.expires_at, was.expires_at.plus(pause));
                assert_eq!(is.next_billing_date, was.next_billing_date.plus(pause));
            }
            Cancel => {
                assert_eq!((after.running, after.cancellation.at), (None, Some(now)));
                assert_eq!(is, was, "dates of what has ended stay");
            }
            Move | Renew => {
                assert_eq!(is.next_billing_date, now.plus(DAY * 5));
                assert_eq!(after.running.unwrap().period.end, is.next_billing_date);
                assert_eq!((is.anchor, is.expires_at), (is.next_billing_date, was.expires_at));
            }
            Extend => {
                assert!(is.expires_at > was.expires_at);
                assert_eq!(after.running.is_some(), before.running.is_some());
            }
            Describe => assert_eq!(after.metadata, described()),
            Wait(_) => check_turn(before, after),
            Pay => check_paid(before, after, now),
            Unschedule => assert_eq!(after.scheduled_change, None),
            Shorten
            | RenewBack
            | MoveBack
            | MoveTooFar
            | ChangeToGone
            | ChangeToOnce
            | ChangeCurrency
            | ChargeInOtherCurrency => panic!("it is never done"),
            Use | Fail | Retry | CancelLater | TakeBack | Charge => {}
        }
    }
}

impl Until {
    fn pass(self, rig: &mut Rig, before: &Subscription) {
        let now = rig.engine.now();
        let end = before.running.map_or(now.plus(DAY * 31), |running| running.period.end);
        let until = match self {
            Self::TimeOver => before.past_due_until.unwrap_or(now.plus(DAY * 4)),
            Self::Turn => end,
            Self::Close => end.plus(rig.place.options.grace),
            Self::Expire => now.plus(DAY * 3_660),
        };
        rig.advance(until.since(now));
        rig.settle().unwrap();
    }
}

const FULL: ProrationMode = ProrationMode::FullImmediately;

fn change(product: &ProductId, mode: ProrationMode, effective: Effective) -> PlanChange {
    PlanChange {
        product_id: product.clone(),
        quantity: 1,
        mode,
        effective,
        replaces_scheduled: false,
        metadata: None,
    }
}

fn charge(currency: Option<Currency>) -> NewCharge {
    NewCharge { amount: Money::from_minor(700), currency, description: None, metadata: None }
}

fn described() -> Metadata {
    vec![("team".to_owned(), MetadataValue::Boolean(true))]
}

/// The newest payment that is open, else the newest.
fn awaited(rig: &Rig) -> PaymentId {
    newest(rig, PaymentStatus::Processing)
}

/// The newest payment that has failed, else the newest.
fn failed(rig: &Rig) -> PaymentId {
    newest(rig, PaymentStatus::Failed)
}

fn newest(rig: &Rig, status: PaymentStatus) -> PaymentId {
    let payments = payments(rig);
    let found = payments.iter().find(|payment| payment.status == status);
    found.unwrap_or(&payments[0]).id.clone()
}

/// What was paid for is given: the subscription begins, or its plan is changed.
fn check_paid(before: &Subscription, after: &Subscription, now: Timestamp) {
    let Some(running) = after.running else {
        // It has ended: what the change cost, and what it took of the credit, is the subscription's.
        let back =
            before.pending_change.as_ref().map_or(0, |change| 8_000 + change.credit.as_minor());
        assert_eq!(after.credit.as_minor() - before.credit.as_minor(), back);
        return;
    };
    if before.next_segment == 0 {
        assert_eq!((running.period.start, after.cycle.anchor), (now, now));
    }
    if let Some(change) = &before.pending_change {
        check_change(change.mode, before, after, now);
        assert_eq!((after.terms, after.quantity), (change.plan.terms, change.plan.quantity));
    }
}

/// The period is cut now, billed at the old price, and goes on or begins anew under the new plan.
fn check_change(mode: ProrationMode, before: &Subscription, after: &Subscription, now: Timestamp) {
    let (was, is) = (&before.cycle, &after.cycle);
    let cut = after.closing.last().unwrap();
    assert_eq!((cut.segment.terms, cut.segment.period.end), (before.terms, now));
    assert_eq!(cut.renewal, None, "usage alone");
    let running = after.running.unwrap();
    assert_eq!((running.period.start, running.terms), (now, after.terms));
    assert_eq!(running.period.end, is.next_billing_date);
    if mode.keeps_cycle() {
        assert_eq!(is.next_billing_date, was.next_billing_date);
        assert_eq!(is.previous_billing_date, was.previous_billing_date);
    } else {
        assert_eq!((is.previous_billing_date, is.anchor), (now, now));
    }
}

/// The fixed price of the next period is owed by what is active and goes on, and by nothing else.
fn check_turn(before: &Subscription, after: &Subscription) {
    let Some(running) = before.running.filter(|_| before.cycle.renews) else { return };
    let Some(closing) =
        after.closing.iter().find(|closing| closing.segment.number == running.number)
    else {
        return;
    };
    let goes_on = after.running.is_some() && before.status == SubscriptionStatus::Active;
    assert_eq!(closing.renewal.is_some(), goes_on);
    if let Some(renewal) = closing.renewal {
        assert_eq!((renewal.terms, renewal.period.start), (after.terms, running.period.end));
    }
}
