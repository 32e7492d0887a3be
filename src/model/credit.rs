//! Credits: what usage draws on before any money is owed.
//!
//! An *entitlement* is a kind of credit. A product hands out *grants* of it, at a subscription's start and
//! at each of its turns, or once. The grants of one customer are one *pool*, which usage of linked meters
//! draws on. What a pool cannot cover is *overage*, or *uncovered* where there is none. What happened to a
//! pool stands in its *ledger*.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::currency::Currency;
use crate::model::customer::Metadata;
use crate::model::id::{
    CustomerIndex, EntitlementId, EntitlementIndex, GrantId, LedgerEntryId, PaymentId,
    SubscriptionIndex,
};
use crate::model::number::Quantity;
use crate::model::price::{Interval, UnitPrice};
use crate::model::time::Timestamp;

/// Digits behind the point that an entitlement's amounts may have, at most.
pub const PRECISION_MAX: u8 = 10;
/// Entitlements that one price may hand out, at most.
pub const ATTACHMENTS_MAX: usize = 5;

/// An amount of credits in units of 10^-12, which is no amount of a meter's units.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Credits(i128);

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many units of 10^-12.
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// The amount in units of 10^-12.
    pub const fn as_units(self) -> i128 {
        self.0
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum. Amounts that a pool can hold are far from 128 bits; what would not fit stays at the end.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, which may be less than nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The difference, but not less than nothing.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(count as i128))
    }

    /// Rounded down to so many digits behind the point; not of amounts below nothing.
    #[must_use]
    pub fn rounded_down(self, precision: u8) -> Self {
        let step = 10_i128.pow(12 - u32::from(precision.min(12)));
        Self(self.0 - self.0.rem_euclid(step))
    }

    /// The sum of all.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Self {
        amounts.into_iter().fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Credits {
    /// The shortest decimal: no exponent, no trailing zeros, no point without a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quantity::from_units(self.0).fmt(f)
    }
}

/// What becomes of overage at a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire format's and say it all")]
pub enum OverageBehavior {
    ForgiveAtReset,
    InvoiceAtBilling,
    CarryDeficit,
    CarryDeficitAutoRepay,
}

/// Usage beyond what there is of credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverageTerms {
    /// Whether there is any: without, usage that no credit covers is never charged.
    pub is_enabled: bool,
    /// How much of it there may be; without end when there is none.
    pub limit: Option<Credits>,
    /// What becomes of it at a turn.
    pub behavior: OverageBehavior,
    /// What a credit of it costs in the currency's minor unit.
    pub price: Option<UnitPrice>,
    /// The currency of that price.
    pub currency: Option<Currency>,
}

/// What becomes of credits that are left at a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloverTerms {
    /// Whether any go on.
    pub is_enabled: bool,
    /// The percentage of each grant that does; all of it when there is none.
    pub percentage: Option<u8>,
    /// How long they live then; until the next turn when there is none.
    pub timeframe: Option<Interval>,
    /// How often a credit may roll over; without end when there is none.
    pub count_max: Option<u32>,
}

/// Settings of credits: of an entitlement, and of each place that hands it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditTerms {
    /// Usage beyond the credits.
    pub overage: OverageTerms,
    /// Credits beyond the usage.
    pub rollover: RolloverTerms,
    /// Days that a grant lives at most.
    pub expires_after_days: Option<u32>,
}

/// A kind of credit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditEntitlement {
    /// The id, `cde_…`.
    pub id: EntitlementId,
    /// The number that stands for it.
    pub index: EntitlementIndex,
    /// The name people read.
    pub name: String,
    /// A longer text.
    pub description: Option<String>,
    /// What one credit is called.
    pub unit: String,
    /// Digits behind the point of every amount; never changed, at most [`PRECISION_MAX`].
    pub precision: u8,
    /// What attachments inherit.
    pub terms: CreditTerms,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// Log time of the last change.
    pub updated_at: Timestamp,
    /// Whether it hands out no more.
    pub deleted: bool,
}

/// Whether a change of plan within a period hands out a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire format's and say it all")]
pub enum CreditProration {
    Prorate,
    NoProrate,
}

/// What a price hands out of one entitlement, with every setting as it was when the price was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The entitlement.
    pub entitlement: EntitlementIndex,
    /// Digits behind the point of its amounts.
    pub precision: u8,
    /// Credits of each period, or of a purchase.
    pub amount: Credits,
    /// Credits of a trial; as many as of a period when there is none.
    pub trial_amount: Option<Credits>,
    /// Whether what is left of a trial ends with it.
    pub trial_expires: bool,
    /// The balance is low below this percentage of [`Attachment::amount`].
    pub low_balance_percent: Option<u8>,
    /// What a change of plan within a period does.
    pub proration: CreditProration,
    /// The settings.
    pub terms: CreditTerms,
}

/// Units of a meter that one credit covers: more than none, below 10^14, with up to 12 digits behind the
/// point: so 10^12 times as much still fits 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i128", into = "i128")]
pub struct UnitsPerCredit(i128);

impl UnitsPerCredit {
    /// So many units; nothing when they are none or too many.
    pub fn new(units: Quantity) -> Option<Self> {
        let limit = 10_i128.pow(14 + 12);
        (1..limit).contains(&units.as_units()).then_some(Self(units.as_units()))
    }

    /// The number in units of 10^-12.
    pub const fn as_units(self) -> i128 {
        self.0
    }
}

impl TryFrom<i128> for UnitsPerCredit {
    type Error = &'static str;

    fn try_from(units: i128) -> Result<Self, Self::Error> {
        Self::new(Quantity::from_units(units)).ok_or("no number of units that a credit covers")
    }
}

impl From<UnitsPerCredit> for i128 {
    fn from(units: UnitsPerCredit) -> Self {
        units.0
    }
}

impl fmt::Display for UnitsPerCredit {
    /// The shortest decimal form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quantity::from_units(self.0).fmt(f)
    }
}

/// How a meter's usage draws on credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CreditLink {
    /// The entitlement.
    pub entitlement: EntitlementIndex,
    /// Units of the meter that one credit covers.
    pub units_per_credit: UnitsPerCredit,
}

/// Which grant is drawn on first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrantOrder {
    /// The oldest.
    #[default]
    OldestFirst,
    /// The one that expires first, those that never do last; of equals the oldest.
    ExpiresFirst,
}

/// Where a grant comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantSource {
    /// A period of a subscription.
    Subscription(SubscriptionIndex),
    /// Something that was bought once.
    OneTime(PaymentId),
    /// A manual entry.
    Api,
    /// What was left of a grant at a turn of this subscription.
    Rollover {
        /// The subscription.
        subscription: SubscriptionIndex,
        /// The grant.
        parent: GrantId,
    },
}

impl GrantSource {
    /// The subscription whose turns end it; other grants live by their date alone.
    pub fn subscription(&self) -> Option<SubscriptionIndex> {
        match self {
            Self::Subscription(subscription) | Self::Rollover { subscription, .. } => {
                Some(*subscription)
            }
            Self::OneTime(_) | Self::Api => None,
        }
    }
}

/// Credits that were handed out at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The id, `cgr_…`.
    pub id: GrantId,
    /// Where it comes from.
    pub source: GrantSource,
    /// How much it was.
    pub initial: Credits,
    /// How much is left; nothing of one that has ended.
    pub remaining: Credits,
    /// How often its credits have rolled over.
    pub rollover_count: u32,
    /// Whether it outlives the next turn of its subscription, as what is left of a trial may.
    pub outlives_turn: bool,
    /// It can be spent before this instant.
    pub expires_at: Option<Timestamp>,
    /// Whether it has ended with something left, wherever that went; one that has ended without was drawn
    /// to nothing.
    pub is_expired: bool,
    /// Whether what was left has gone on in another grant.
    pub is_rolled_over: bool,
    /// Free details.
    pub metadata: Metadata,
    /// When it was handed out.
    pub created_at: Timestamp,
    /// Log time of the last change.
    pub updated_at: Timestamp,
}

/// What happened to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire format's and say it all")]
pub enum TransactionType {
    CreditAdded,
    CreditDeducted,
    CreditExpired,
    CreditRolledOver,
    RolloverForfeited,
    OverageCharged,
    OverageReset,
    ManualAdjustment,
}

/// What a row of a ledger was caused by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerReference {
    /// A subscription: its usage, or its turn.
    Subscription(SubscriptionIndex),
    /// A payment for something that is bought once.
    Payment(PaymentId),
    /// A manual entry.
    Api,
    /// A grant that has repaid overage.
    OverageRepay(SubscriptionIndex),
}

/// A row of a ledger. Rows of a pool chain: each begins where the one before has ended.
///
/// What was rolled over moves from a grant to another: it leaves the balance as it is. A deduction takes
/// from the balance when it names a grant, and adds to the overage when it names none; one that repays
/// takes from both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The id, `cle_…`.
    pub id: LedgerEntryId,
    /// The entitlement.
    pub entitlement: EntitlementIndex,
    /// The customer.
    pub customer: CustomerIndex,
    /// What happened.
    pub transaction: TransactionType,
    /// How much was moved; not negative.
    pub amount: Credits,
    /// Whether it was to the customer's good.
    pub is_credit: bool,
    /// The balance before.
    pub balance_before: Credits,
    /// The balance after.
    pub balance_after: Credits,
    /// The overage before.
    pub overage_before: Credits,
    /// The overage after.
    pub overage_after: Credits,
    /// Usage in it that nothing has covered.
    pub uncovered: Credits,
    /// The grant that it has moved.
    pub grant: Option<GrantId>,
    /// The cause.
    pub reference: LedgerReference,
    /// Why, in the client's words.
    pub reason: Option<String>,
    /// Free details of a manual entry.
    pub metadata: Metadata,
    /// When: the instant of a turn or an expiry, else log time.
    pub created_at: Timestamp,
}
