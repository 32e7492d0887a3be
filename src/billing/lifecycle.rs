//! How a subscription begins, turns, is changed and ends: from one value of it to the next.
//!
//! Nothing here makes an invoice, and nothing knows what time it is. While a subscription is live
//! and has begun, one segment is running, `[previous_billing_date, next_billing_date)`; it ends at
//! boundary `next_boundary` of the cycle or at `expires_at`, whichever comes first. Segments have no
//! gap between them and are numbered in order of time.

use std::time::Duration;

use crate::billing::calendar::boundary;
use crate::model::customer::Metadata;
use crate::model::price::Interval;
use crate::model::subscription::{BillingAddress, Cancellation, Closing, Cycle, Renewal, Segment};
use crate::model::{
    CustomerIndex, InvoiceNumber, PaymentId, Period, Subscription, SubscriptionId,
    SubscriptionIndex, SubscriptionStatus, Terms, Timestamp,
};

/// The least time there is.
const INSTANT: Duration = Duration::from_nanos(1);

/// Why a subscription stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has ended, or what is asked for needs one that has begun.
    #[error("subscription is {}", word(*.0))]
    NotLive(SubscriptionStatus),
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
    /// The length of a cycle.
    pub interval: Interval,
    /// How long it lasts, behind the trial.
    pub subscription_period: Interval,
    /// Days before the first cycle.
    pub trial_days: u32,
    /// Its first payment.
    pub first_payment: PaymentId,
    /// Where the customer lives.
    pub billing: BillingAddress,
    /// The customer's company.
    pub customer_business_name: Option<String>,
    /// The customer's tax number.
    pub tax_id: Option<String>,
    /// Free details.
    pub metadata: Metadata,
    /// Log time of the creation.
    pub created_at: Timestamp,
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
    };
    Ok(Subscription {
        cycle: length.cycle_from(draft.created_at)?,
        id: draft.id,
        index: draft.index,
        customer: draft.customer,
        terms: draft.terms,
        quantity: draft.quantity,
        status: SubscriptionStatus::Pending,
        subscription_period: draft.subscription_period,
        trial_days: draft.trial_days,
        running: None,
        closing: Vec::new(),
        next_segment: 0,
        cancel_at_next_billing_date: false,
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
    };
    let cycle = length.cycle_from(at)?;
    let mut next = subscription.clone();
    next.status = SubscriptionStatus::Active;
    next.cycle = cycle;
    next.run_segment();
    Ok(next)
}

/// What the first payment pays in advance: the first period, or nothing in a trial. The subscription
/// is pending or has just begun.
pub fn first_renewal(subscription: &Subscription) -> Option<Renewal> {
    (subscription.trial_days == 0).then(|| subscription.renewal())
}

/// The subscription after its running segment has come to its end: expired, cancelled as it was asked
/// to be, or with the next segment running under its present terms. The ended segment closes `grace`
/// later and pays for the next one, unless there is none or the subscription is on hold. Dates of a
/// subscription that has ended stay as they were.
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
        // Fits: with a boundary a day the end of the subscription comes before the 2^18th.
        next.cycle.next_boundary += 1;
        next.cycle.previous_billing_date = end;
        next.cycle.next_billing_date = next.cycle.next_end();
        next.run_segment();
        (subscription.status == SubscriptionStatus::Active).then(|| next.renewal())
    };
    let close_at = end.plus(grace);
    next.closing.push(Closing { segment: ended, due_at: end, close_at, renewal });
    Ok(next)
}

/// The subscription after the invoice of this segment was made.
pub fn closed(subscription: &Subscription, segment: u32) -> Subscription {
    let mut next = subscription.clone();
    next.closing.retain(|closing| closing.segment.number != segment);
    next
}

/// The subscription cancelled at `at`. Usage before `cut` is still billed, `grace` after it and
/// without a fixed price; a `cut` before the running segment's start leaves nothing of it.
///
/// # Errors
/// [`Refusal::NotLive`] when it has ended.
pub fn cancel_now(
    subscription: &Subscription,
    at: Timestamp,
    cut: Timestamp,
    grace: Duration,
) -> Result<Subscription, Refusal> {
    check_not_ended(subscription)?;
    let mut next = subscription.clone();
    next.end_as(SubscriptionStatus::Cancelled);
    next.cancellation.at = Some(at);
    if let Some(mut segment) = subscription.running {
        segment.period.end = cut.max(segment.period.start);
        // A cut just behind the present is due at the present.
        let due_at = at.max(segment.period.end.minus(INSTANT));
        let close_at = due_at.plus(grace);
        next.closing.push(Closing { segment, due_at, close_at, renewal: None });
    }
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

/// The subscription with its next boundary at `to`, where its cycle is anchored from then on; when
/// it ends is not changed.
///
/// # Errors
/// [`Refusal::NotLive`] when no segment is running, [`Refusal::NotInTheFuture`],
/// [`Refusal::AfterExpiry`].
pub fn move_next_billing_date(
    subscription: &Subscription,
    to: Timestamp,
    now: Timestamp,
) -> Result<Subscription, Refusal> {
    let mut segment = running(subscription)?;
    if to <= now || to <= segment.period.start {
        return Err(Refusal::NotInTheFuture);
    }
    if subscription.cycle.expires_at < to {
        return Err(Refusal::AfterExpiry);
    }
    segment.period.end = to;
    let mut next = subscription.clone();
    next.cycle.anchor = to;
    next.cycle.next_boundary = 0;
    next.cycle.next_billing_date = to;
    next.running = Some(segment);
    Ok(next)
}

/// The subscription that lasts longer, counted from where its time began. A running segment that
/// would have been cut at its end now ends later.
///
/// # Errors
/// [`Refusal::NotLive`] when it has ended, [`Refusal::NotLonger`], [`Refusal::OutOfRange`].
pub fn extend(subscription: &Subscription, period: Interval) -> Result<Subscription, Refusal> {
    check_not_ended(subscription)?;
    let expires_at = boundary(subscription.cycle.term_start, period, 1);
    let expires_at = expires_at.ok_or(Refusal::OutOfRange)?;
    if expires_at <= subscription.cycle.expires_at {
        return Err(Refusal::NotLonger);
    }
    let mut next = subscription.clone();
    next.subscription_period = period;
    next.cycle.expires_at = expires_at;
    next.cycle.next_billing_date = next.cycle.next_end();
    if let Some(segment) = &mut next.running {
        segment.period.end = next.cycle.next_billing_date;
    }
    Ok(next)
}

/// The subscription after the payment of this invoice has failed: on hold, unless it has ended.
pub fn payment_failed(subscription: &Subscription, invoice: InvoiceNumber) -> Subscription {
    let mut next = subscription.clone();
    if !next.unpaid.contains(&invoice) {
        next.unpaid.push(invoice);
    }
    if !has_ended(&next) {
        next.status = SubscriptionStatus::OnHold;
    }
    next
}

/// The subscription after this invoice was paid: one that has not begun begins at `at`, and one on
/// hold of which nothing else is unpaid is active again.
///
/// # Errors
/// [`Refusal::OutOfRange`] when it would begin.
pub fn payment_succeeded(
    subscription: &Subscription,
    invoice: InvoiceNumber,
    at: Timestamp,
) -> Result<Subscription, Refusal> {
    let mut next = subscription.clone();
    next.unpaid.retain(|unpaid| *unpaid != invoice);
    if !has_ended(&next) && !has_begun(&next) {
        return activate(&next, at);
    }
    if next.status == SubscriptionStatus::OnHold && next.unpaid.is_empty() {
        next.status = SubscriptionStatus::Active;
    }
    Ok(next)
}

fn has_begun(subscription: &Subscription) -> bool {
    subscription.next_segment > 0
}

fn has_ended(subscription: &Subscription) -> bool {
    match subscription.status {
        SubscriptionStatus::Cancelled | SubscriptionStatus::Expired => true,
        SubscriptionStatus::Pending | SubscriptionStatus::Active | SubscriptionStatus::OnHold => {
            false
        }
    }
}

fn check_not_ended(subscription: &Subscription) -> Result<(), Refusal> {
    if has_ended(subscription) { Err(Refusal::NotLive(subscription.status)) } else { Ok(()) }
}

fn running(subscription: &Subscription) -> Result<Segment, Refusal> {
    subscription.running.ok_or(Refusal::NotLive(subscription.status))
}

/// What a subscription's dates follow from, beside its start.
struct Length {
    interval: Interval,
    subscription_period: Interval,
    trial_days: u32,
}

impl Length {
    fn cycle_from(&self, start: Timestamp) -> Result<Cycle, Refusal> {
        let anchor = start.days_later(self.trial_days.into()).ok_or(Refusal::OutOfRange)?;
        let expires_at = boundary(anchor, self.subscription_period, 1);
        let expires_at = expires_at.ok_or(Refusal::OutOfRange)?;
        let mut cycle = Cycle {
            anchor,
            interval: self.interval,
            next_boundary: u32::from(self.trial_days == 0),
            previous_billing_date: start,
            next_billing_date: anchor,
            term_start: anchor,
            expires_at,
        };
        cycle.next_billing_date = cycle.next_end();
        Ok(cycle)
    }
}

impl Cycle {
    /// Where the running segment ends. A boundary that is no instant any more lies after the end of
    /// the subscription, which is one.
    fn next_end(&self) -> Timestamp {
        let next = boundary(self.anchor, self.interval, self.next_boundary);
        next.map_or(self.expires_at, |next| next.min(self.expires_at))
    }

    fn period(&self) -> Period {
        Period { start: self.previous_billing_date, end: self.next_billing_date }
    }
}

impl Subscription {
    /// The fixed price of the cycle's present period.
    fn renewal(&self) -> Renewal {
        Renewal { terms: self.terms, quantity: self.quantity, period: self.cycle.period() }
    }

    /// Lets the cycle's present period run as the next segment.
    fn run_segment(&mut self) {
        let (number, period) = (self.next_segment, self.cycle.period());
        self.running = Some(Segment { number, period, terms: self.terms });
        self.next_segment += 1;
    }

    fn end_as(&mut self, status: SubscriptionStatus) {
        self.status = status;
        self.running = None;
        self.cancel_at_next_billing_date = false;
    }
}
