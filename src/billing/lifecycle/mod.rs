//! How a subscription begins, turns, is changed and ends: from one value of it to the next.
//!
//! Nothing here makes an invoice, and nothing knows what time it is. While a subscription is live, has
//! begun and is not paused, one segment is running. It ends at `next_billing_date`, which is boundary
//! `next_boundary` of the cycle or `expires_at`, whichever comes first. Segments are numbered in order
//! of time and have no gap between them but pauses.
//!
//! [`change`] has changes of plan, [`dates`] moved dates, [`paid`] what payments do, [`pause`] pauses.

pub mod change;
pub mod dates;
pub mod paid;
pub mod pause;

use std::sync::Arc;
use std::time::Duration;

use crate::billing::calendar::boundary;
use crate::model::customer::Metadata;
use crate::model::price::{Interval, Recurrence};
use crate::model::subscription::{BillingAddress, Cancellation, Closing, Cycle, Renewal, Segment};
use crate::model::{
    Attachment, CustomerIndex, Money, PaymentId, Period, Subscription, SubscriptionId,
    SubscriptionIndex, SubscriptionStatus, Terms, Timestamp,
};

/// The least time there is.
const INSTANT: Duration = Duration::from_nanos(1);

/// Why a subscription stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It stands where what is asked for cannot be done.
    #[error("subscription is {}", word(*.0))]
    NotLive(SubscriptionStatus),
    /// A change of plan waits for its payment.
    #[error("a change of plan waits for its payment")]
    ChangePending,
    /// A change of plan will take effect at the next billing date.
    #[error("a change of plan is scheduled for the next billing date")]
    ChangeScheduled,
    /// It ends at its next boundary.
    #[error("subscription ends at its next billing date")]
    Ending,
    /// It is charged on demand.
    #[error("subscription is charged on demand")]
    OnDemand,
    /// It is not charged on demand.
    #[error("subscription is not charged on demand")]
    NotOnDemand,
    /// It cannot begin twice.
    #[error("subscription has begun already")]
    Begun,
    /// The instant has passed, or nothing of the running period would be left.
    #[error("the next billing date must lie in the future")]
    NotInTheFuture,
    /// The instant lies behind the end of the subscription.
    #[error("the next billing date must not lie after the subscription's end")]
    AfterExpiry,
    /// The subscription would end no later than it does.
    #[error("a subscription period may only become longer")]
    NotLonger,
    /// A date would lie beyond [`Timestamp::MAX`].
    #[error("a date would lie after the year 2261")]
    OutOfRange,
}

fn word(status: SubscriptionStatus) -> &'static str {
    match status {
        SubscriptionStatus::Pending => "pending",
        SubscriptionStatus::Active => "active",
        SubscriptionStatus::OnHold => "on hold",
        SubscriptionStatus::PastDue => "past due",
        SubscriptionStatus::Paused => "paused",
        SubscriptionStatus::Cancelled => "cancelled",
        SubscriptionStatus::Expired => "expired",
    }
}

/// What a subscription is made of. Its intervals and its quantity are at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The id.
    pub id: SubscriptionId,
    /// The number that stands for it.
    pub index: SubscriptionIndex,
    /// Who pays.
    pub customer: CustomerIndex,
    /// The price.
    pub terms: Terms,
    /// How many.
    pub quantity: u32,
    /// Its credits.
    pub credits: Arc<Vec<Attachment>>,
    /// The length of a cycle.
    pub interval: Interval,
    /// How long it lasts, behind the trial.
    pub subscription_period: Interval,
    /// Days before the first cycle.
    pub trial_days: u32,
    /// Whether it is charged on demand, and never by itself.
    pub on_demand: bool,
    /// Its first payment.
    pub first_payment: PaymentId,
    /// Where the customer lives.
    pub billing: Arc<BillingAddress>,
    /// The customer's company.
    pub customer_business_name: Option<String>,
    /// The customer's tax number.
    pub tax_id: Option<String>,
    /// Free details.
    pub metadata: Metadata,
    /// Log time of the creation.
    pub created_at: Timestamp,
}

/// Whether a subscription that begins at `at` has dates that can be written.
///
/// # Errors
/// [`Refusal::OutOfRange`].
pub fn check_dates(recurrence: &Recurrence, trial_days: u32, at: Timestamp) -> Result<(), Refusal> {
    let length = Length {
        interval: recurrence.payment_frequency,
        subscription_period: recurrence.subscription_period,
        trial_days,
        renews: true,
    };
    length.cycle_from(at).map(drop)
}

/// A pending subscription, with the dates that it would have if it began when it is created.
///
/// # Errors
/// [`Refusal::OutOfRange`].
pub fn subscribe(draft: Draft) -> Result<Subscription, Refusal> {
    let length = Length {
        interval: draft.interval,
        subscription_period: draft.subscription_period,
        trial_days: draft.trial_days,
        renews: !draft.on_demand,
    };
    Ok(Subscription {
        cycle: length.cycle_from(draft.created_at)?,
        id: draft.id,
        index: draft.index,
        customer: draft.customer,
        terms: draft.terms,
        quantity: draft.quantity,
        credits: draft.credits,
        status: SubscriptionStatus::Pending,
        subscription_period: draft.subscription_period,
        trial_days: draft.trial_days,
        running: None,
        closing: Vec::new(),
        next_segment: 0,
        period_opened_by: 0,
        cancel_at_next_billing_date: false,
        in_trial: false,
        paused_at: None,
        past_due_until: None,
        scheduled_change: None,
        pending_change: None,
        used: Vec::new(),
        credit: Money::ZERO,
        cancellation: Cancellation::default(),
        unpaid: Vec::new(),
        stopped: false,
        first_payment: draft.first_payment,
        billing: draft.billing,
        customer_business_name: draft.customer_business_name,
        tax_id: draft.tax_id,
        metadata: draft.metadata,
        created_at: draft.created_at,
    })
}

/// The subscription as it begins at `at`: active, with its first segment running, which is the trial
/// when there is one. A trial's end is boundary 0; without a trial `at` is.
///
/// # Errors
/// [`Refusal::Begun`], [`Refusal::NotLive`] when it ended before it began, [`Refusal::OutOfRange`].
pub fn activate(subscription: &Subscription, at: Timestamp) -> Result<Subscription, Refusal> {
    check_not_ended(subscription)?;
    if has_begun(subscription) {
        return Err(Refusal::Begun);
    }
    let length = Length {
        interval: subscription.cycle.interval,
        subscription_period: subscription.subscription_period,
        trial_days: subscription.trial_days,
        renews: subscription.cycle.renews,
    };
    let cycle = length.cycle_from(at)?;
    let mut next = subscription.clone();
    next.status = SubscriptionStatus::Active;
    next.cycle = cycle;
    next.run_segment();
    next.in_trial = next.trial_days > 0;
    Ok(next)
}

/// What the first payment pays in advance: the first period, or nothing in a trial. The subscription
/// is pending or has just begun.
pub fn first_renewal(subscription: &Subscription) -> Option<Renewal> {
    (subscription.trial_days == 0).then(|| subscription.renewal())
}

/// The subscription after its running segment has come to its end: expired, cancelled as it was asked
/// to be, or with the next segment running under the plan that was scheduled, else its present one. The
/// ended segment closes `grace` later and pays for the next one, unless there is none or a payment has
/// failed. Dates of a subscription that has ended stay as they were.
///
/// # Errors
/// [`Refusal::NotLive`] when no segment is running.
pub fn turn(subscription: &Subscription, grace: Duration) -> Result<Subscription, Refusal> {
    let ended = running(subscription)?;
    let end = ended.period.end;
    let mut next = subscription.clone();
    let renewal = if subscription.cycle.expires_at <= end {
        next.end_as(SubscriptionStatus::Expired);
        None
    } else if subscription.cancel_at_next_billing_date {
        next.end_as(SubscriptionStatus::Cancelled);
        next.cancellation.at = Some(end);
        None
    } else {
        next.turn_cycle();
        next.run_segment();
        (subscription.status == SubscriptionStatus::Active).then(|| next.renewal())
    };
    next.close(ended, Cut { at: end, end, grace }, renewal, true);
    Ok(next)
}

/// The cycle after the next turn of a subscription that goes on there.
pub fn cycle_ahead(subscription: &Subscription) -> (Cycle, Terms) {
    if subscription.scheduled_change.is_some() {
        let mut next = subscription.clone();
        next.turn_cycle();
        return (next.cycle, next.terms);
    }
    // Asked for with every turn: nothing of it is copied that stays as it is.
    let mut cycle = subscription.cycle;
    cycle.pass();
    (cycle, subscription.terms)
}

/// An instant at which a running segment is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The present.
    pub at: Timestamp,
    /// Usage before is still billed; a cut before the segment's start leaves nothing of it.
    pub end: Timestamp,
    /// How long the segment stays open for late events.
    pub grace: Duration,
}

/// The subscription cancelled now. Usage before the cut is still billed, without a fixed price.
///
/// # Errors
/// [`Refusal::NotLive`] when it has ended.
pub fn cancel_now(subscription: &Subscription, cut: Cut) -> Result<Subscription, Refusal> {
    check_not_ended(subscription)?;
    let mut next = subscription.clone();
    next.cut_running(cut, true);
    next.end_as(SubscriptionStatus::Cancelled);
    next.cancellation.at = Some(cut.at);
    Ok(next)
}

/// The subscription that ends at its next boundary, or goes on there after all.
///
/// # Errors
/// [`Refusal::NotLive`] when it has ended.
pub fn cancel_at_next_billing_date(
    subscription: &Subscription,
    yes: bool,
) -> Result<Subscription, Refusal> {
    check_not_ended(subscription)?;
    Ok(Subscription { cancel_at_next_billing_date: yes, ..subscription.clone() })
}

fn has_begun(subscription: &Subscription) -> bool {
    subscription.next_segment > 0
}

pub(super) fn has_ended(subscription: &Subscription) -> bool {
    match subscription.status {
        SubscriptionStatus::Cancelled | SubscriptionStatus::Expired => true,
        SubscriptionStatus::Pending
        | SubscriptionStatus::Active
        | SubscriptionStatus::OnHold
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Paused => false,
    }
}

fn check_not_ended(subscription: &Subscription) -> Result<(), Refusal> {
    if has_ended(subscription) { Err(Refusal::NotLive(subscription.status)) } else { Ok(()) }
}

fn running(subscription: &Subscription) -> Result<Segment, Refusal> {
    subscription.running.ok_or(Refusal::NotLive(subscription.status))
}

/// Whether nothing is wrong with it: it has begun, is paid, and neither paused nor ended.
fn check_active(subscription: &Subscription) -> Result<(), Refusal> {
    if subscription.status == SubscriptionStatus::Active {
        Ok(())
    } else {
        Err(Refusal::NotLive(subscription.status))
    }
}

/// What a subscription's dates follow from, beside its start.
struct Length {
    interval: Interval,
    subscription_period: Interval,
    trial_days: u32,
    renews: bool,
}

impl Length {
    fn cycle_from(&self, start: Timestamp) -> Result<Cycle, Refusal> {
        let anchor = start.days_later(self.trial_days.into()).ok_or(Refusal::OutOfRange)?;
        let expires_at = boundary(anchor, self.subscription_period, 1);
        let expires_at = expires_at.ok_or(Refusal::OutOfRange)?;
        let mut cycle = Cycle {
            anchor,
            interval: self.interval,
            renews: self.renews,
            next_boundary: u32::from(self.trial_days == 0),
            previous_billing_date: start,
            next_billing_date: anchor,
            paused: Duration::ZERO,
            term_start: anchor,
            expires_at,
        };
        cycle.next_billing_date = cycle.next_end();
        Ok(cycle)
    }
}

impl Cycle {
    /// Where the running period ends. A boundary that is no instant any more lies after the end of
    /// the subscription, which is one.
    fn next_end(&self) -> Timestamp {
        if !self.renews {
            return self.expires_at;
        }
        let next = boundary(self.anchor, self.interval, self.next_boundary);
        next.map_or(self.expires_at, |next| next.min(self.expires_at))
    }

    fn period(&self) -> Period {
        Period { start: self.previous_billing_date, end: self.next_billing_date }
    }

    /// Passes a boundary.
    fn pass(&mut self) {
        let end = self.next_billing_date;
        // Fits: with a boundary a day the end of the subscription comes before the 2^18th.
        self.next_boundary += 1;
        self.previous_billing_date = end;
        self.paused = Duration::ZERO;
        self.next_billing_date = self.next_end();
    }

    /// Lets boundary 0 lie at `at`, where the running period ends unless the subscription does before.
    fn anchor_at(&mut self, at: Timestamp) {
        self.anchor = at;
        self.next_boundary = 0;
        self.next_billing_date = self.next_end();
    }
}

impl Subscription {
    /// The fixed price of the cycle's present period.
    fn renewal(&self) -> Renewal {
        Renewal { terms: self.terms, quantity: self.quantity, period: self.cycle.period() }
    }

    /// Passes a boundary: what was scheduled takes effect.
    fn turn_cycle(&mut self) {
        let end = self.cycle.next_billing_date;
        if let Some(scheduled) = self.scheduled_change.take() {
            if self.cycle.interval != scheduled.plan.interval {
                self.cycle.anchor = end;
                self.cycle.next_boundary = 0;
            }
            self.take_plan(&scheduled.plan, end);
        }
        self.cycle.pass();
    }

    /// Lets the cycle's present period run as the next segment.
    fn run_segment(&mut self) {
        self.in_trial = false;
        self.run(self.cycle.previous_billing_date, false);
    }

    /// Lets the rest of the cycle's present period run as the next segment.
    fn run(&mut self, start: Timestamp, continues: bool) {
        let period = Period { start, end: self.cycle.next_billing_date };
        let number = self.next_segment;
        if !continues {
            self.period_opened_by = number;
        }
        let opened_by = self.period_opened_by;
        self.running = Some(Segment { number, period, terms: self.terms, opened_by });
        self.next_segment += 1;
    }

    /// Ends the running segment, when there is one, and bills its usage alone.
    fn cut_running(&mut self, cut: Cut, ends_period: bool) {
        if let Some(mut segment) = self.running.take() {
            segment.period.end = cut.end.max(segment.period.start);
            self.close(segment, cut, None, ends_period);
        }
    }

    /// Lets a segment that has ended wait for its invoice, which follows those of earlier ones. One that
    /// is charged on demand has no usage and makes none.
    fn close(&mut self, segment: Segment, cut: Cut, renewal: Option<Renewal>, ends_period: bool) {
        if !self.cycle.renews {
            return;
        }
        // A cut just behind the present is due at the present.
        let due_at = cut.at.max(segment.period.end.minus(INSTANT));
        let after = self.closing.last().map_or(Timestamp::MIN, |closing| closing.close_at);
        let close_at = due_at.plus(cut.grace).max(after);
        // One at a time as a rule, of millions of subscriptions.
        self.closing.reserve_exact(1);
        self.closing.push(Closing { segment, due_at, close_at, renewal, ends_period });
    }

    /// Ends it. A change of plan that waits for its payment stays until that is decided: what its invoice
    /// took of the credit comes back if it fails.
    fn end_as(&mut self, status: SubscriptionStatus) {
        self.status = status;
        self.running = None;
        self.cancel_at_next_billing_date = false;
        self.scheduled_change = None;
        self.past_due_until = None;
        self.paused_at = None;
        self.in_trial = false;
    }
}
