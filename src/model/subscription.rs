//! Subscriptions: a customer pays for a product each cycle.
//!
//! Usage is counted in *segments*, each a stretch of time billed under one price. One at most is
//! running. One that has ended is closing until its invoice is made, so that late events still find
//! it. Together they never overlap. Most periods are one segment; a pause, or a change of plan that
//! keeps the cycle, cuts a period into several.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::credit::Attachment;
use crate::model::customer::Metadata;
use crate::model::id::{
    CustomerIndex, MeterIndex, PaymentId, ProductIndex, SubscriptionId, SubscriptionIndex,
};
use crate::model::invoice::InvoiceNumber;
use crate::model::money::Money;
use crate::model::period::Period;
use crate::model::plan::{PendingChange, ScheduledChange};
use crate::model::price::Interval;
use crate::model::product::PriceVersion;
use crate::model::rate::Used;
use crate::model::time::Timestamp;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubscriptionStatus {
    /// Its first payment is open; it has not begun.
    Pending,
    /// It runs.
    Active,
    /// A payment has failed: it runs, and bills usage alone.
    OnHold,
    /// A payment has failed, and there is some time left to pay: it runs, and bills usage alone.
    PastDue,
    /// It stands still: nothing is counted, nothing falls due.
    Paused,
    /// It was ended.
    Cancelled,
    /// Its time was over.
    Expired,
}

/// A price that a subscription was bought at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// The product.
    pub product: ProductIndex,
    /// Which of its prices.
    pub version: PriceVersion,
}

/// A stretch of time whose usage is billed under one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its number among the segments of its subscription, from 0 in order of time.
    pub number: u32,
    /// Events with a timestamp in it belong to it.
    pub period: Period,
    /// What they cost.
    pub terms: Terms,
    /// The number of the segment that its period began with: its own, unless it goes on with the period
    /// of the segment before. What that one used of free units and tiers is not granted again then.
    pub opened_by: u32,
}

impl Segment {
    /// Whether it goes on with the period of an earlier segment.
    pub fn continues(&self) -> bool {
        self.opened_by != self.number
    }
}

/// The fixed price that a close bills in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The price.
    pub terms: Terms,
    /// How many.
    pub quantity: u32,
    /// What is paid for.
    pub period: Period,
}

/// A segment that has ended and waits for its invoice; all of this was in force at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The segment.
    pub segment: Segment,
    /// The instant at which it ended: what its invoice is due at. A test clock that stands still ends a
    /// segment just behind the present.
    pub due_at: Timestamp,
    /// When no event can come for it any more: its invoice is made then.
    pub close_at: Timestamp,
    /// What is billed beside its usage; nothing when the subscription does not go on, or is on hold.
    pub renewal: Option<Renewal>,
    /// Whether its period ends with it: minimum amounts are owed then.
    pub ends_period: bool,
}

/// Where the boundaries of a subscription lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// Boundary k is `anchor + k x interval`, month ends clamped.
    pub anchor: Timestamp,
    /// The length of a cycle.
    pub interval: Interval,
    /// Whether there are boundaries at all: one that is charged on demand only ends.
    pub renews: bool,
    /// The number of the boundary at which the running segment ends, unless the subscription ends
    /// before.
    pub next_boundary: u32,
    /// The last boundary that has passed, or the start.
    pub previous_billing_date: Timestamp,
    /// The next one.
    pub next_billing_date: Timestamp,
    /// How much of the time between the two it was paused.
    pub paused: Duration,
    /// Where the subscription's own length is counted from: its start, or its trial's end. A new
    /// anchor does not move it.
    pub term_start: Timestamp,
    /// When the subscription ends by itself.
    pub expires_at: Timestamp,
}

/// Why a customer has left, as the client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire format's and say it all")]
pub enum CancellationFeedback {
    TooExpensive,
    MissingFeatures,
    SwitchedService,
    Unused,
    CustomerService,
    LowQuality,
    TooComplex,
    Other,
}

/// Who or what has ended a subscription, as the client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire format's and say it all")]
pub enum CancelReason {
    CancelledByCustomer,
    CancelledByMerchant,
    CancelledByMerchantSendDunning,
    CancelledByMerchantGracePeriodExpired,
    DodoTeam,
}

/// What is known of an end that somebody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// When it took effect.
    pub at: Option<Timestamp>,
    /// Who or what.
    pub reason: Option<CancelReason>,
    /// Why.
    pub feedback: Option<CancellationFeedback>,
    /// Why, in words.
    pub comment: Option<String>,
}

/// A postal address; the country alone is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingAddress {
    /// Two capitals (ISO 3166-1 alpha-2).
    pub country: String,
    /// The city.
    pub city: Option<String>,
    /// The state or province.
    pub state: Option<String>,
    /// Street and number.
    pub street: Option<String>,
    /// The postal code.
    pub zipcode: Option<String>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The id, `sub_…`.
    pub id: SubscriptionId,
    /// The number that stands for the subscription in accumulator keys.
    pub index: SubscriptionIndex,
    /// Who pays.
    pub customer: CustomerIndex,
    /// The price it was bought at.
    pub terms: Terms,
    /// How many; multiplies the fixed price alone.
    pub quantity: u32,
    /// What it is granted of credits each period, and how it draws on them: its price's, with what was
    /// agreed on otherwise.
    pub credits: Arc<Vec<Attachment>>,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// Its boundaries; as they would be while it is pending.
    pub cycle: Cycle,
    /// How long it lasts from its `term_start`; may be made longer.
    pub subscription_period: Interval,
    /// Days before the first cycle.
    pub trial_days: u32,
    /// What is counted now; nothing before it has begun and after it has ended.
    pub running: Option<Segment>,
    /// What has ended and has no invoice yet, oldest first.
    pub closing: Vec<Closing>,
    /// The number of the next segment.
    pub next_segment: u32,
    /// The number of the segment that its present period began with.
    pub period_opened_by: u32,
    /// Whether it ends at the next boundary.
    pub cancel_at_next_billing_date: bool,
    /// Whether the running segment is a trial: nothing was paid for it.
    pub in_trial: bool,
    /// When it was paused, until it is resumed or ends.
    pub paused_at: Option<Timestamp>,
    /// While it is past due: when its time to pay is over.
    pub past_due_until: Option<Timestamp>,
    /// The change of plan at the next boundary; few have one, and there are millions of those without.
    pub scheduled_change: Option<Box<ScheduledChange>>,
    /// The change of plan that waits for its payment.
    pub pending_change: Option<Box<PendingChange>>,
    /// What closed segments have used of the period that a later one goes on with.
    pub used: Vec<(MeterIndex, Used)>,
    /// Money that a change of plan left, for later invoices; never negative.
    pub credit: Money,
    /// What is known of its end.
    pub cancellation: Cancellation,
    /// Invoices whose payment has failed; on hold or past due while there are any.
    pub unpaid: Vec<InvoiceNumber>,
    /// Whether a total has left 64 bits: its closes wait for somebody to look.
    pub stopped: bool,
    /// The payment that it was made with.
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

// There are millions, and each turn and each close makes a new one.
const _: () = assert!(size_of::<Subscription>() <= 464);
