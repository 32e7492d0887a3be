//! Changes of credit entitlements that a client asks for.
//!
//! Whoever makes one of these has checked forms, lengths and ranges; what depends on the state, or on
//! settings that are kept, is checked by the committer.

use crate::model::credit::{CreditProration, OverageBehavior};
use crate::model::price::IntervalUnit;
use crate::model::{Credits, Currency, EntitlementId, UnitPrice};

/// Changes of the settings of credits; `None` keeps, `Some(None)` clears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreditTermsPatch {
    /// Whether there is usage beyond the credits.
    pub overage_enabled: Option<bool>,
    /// How much of it there may be; not negative.
    pub overage_limit: Option<Option<Credits>>,
    /// What becomes of it at a turn; forgiven when it is cleared.
    pub overage_behavior: Option<Option<OverageBehavior>>,
    /// What a credit of it costs.
    pub price_per_unit: Option<Option<UnitPrice>>,
    /// The currency of that price.
    pub currency: Option<Option<Currency>>,
    /// Whether credits that are left go on.
    pub rollover_enabled: Option<bool>,
    /// How many of a hundred do; at most 100.
    pub rollover_percentage: Option<Option<u8>>,
    /// How long they live then: the number, at least one; with a unit or neither.
    pub rollover_timeframe_count: Option<Option<u32>>,
    /// The unit.
    pub rollover_timeframe_unit: Option<Option<IntervalUnit>>,
    /// How often a credit may roll over.
    pub rollover_count_max: Option<Option<u32>>,
    /// Days that a grant lives at most; at least one.
    pub expires_after_days: Option<Option<u32>>,
}

/// An entitlement to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntitlement {
    /// The name people read.
    pub name: String,
    /// A longer text.
    pub description: Option<String>,
    /// What one credit is called.
    pub unit: String,
    /// Digits behind the point of every amount; at most [`crate::model::credit::PRECISION_MAX`].
    pub precision: u8,
    /// Settings; what is kept is off, forgiven or without end.
    pub terms: CreditTermsPatch,
}

/// Changes of an entitlement; `None` keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntitlementPatch {
    /// The name.
    pub name: Option<String>,
    /// The longer text; `Some(None)` clears it.
    pub description: Option<Option<String>>,
    /// What one credit is called.
    pub unit: Option<String>,
    /// What the client takes the precision for, which never changes.
    pub precision: Option<i64>,
    /// Settings.
    pub terms: CreditTermsPatch,
}

/// What is agreed on otherwise than a price says of its credits of one entitlement; `None` keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditOverride {
    /// The entitlement.
    pub entitlement_id: EntitlementId,
    /// Credits of each period, or of a purchase; more than none.
    pub amount: Option<Credits>,
    /// The balance is low below this percentage; at most 100.
    pub low_balance_percent: Option<u8>,
    /// Settings.
    pub terms: CreditTermsPatch,
}

/// What a price is to hand out of one entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttachment {
    /// The entitlement.
    pub entitlement_id: EntitlementId,
    /// Credits of each period, or of a purchase; more than none.
    pub amount: Credits,
    /// Credits of a trial; not negative.
    pub trial_amount: Option<Credits>,
    /// Whether what is left of a trial ends with it.
    pub trial_expires: bool,
    /// The balance is low below this percentage; at most 100.
    pub low_balance_percent: Option<u8>,
    /// What a change of plan within a period does.
    pub proration: CreditProration,
    /// Settings; the entitlement's own as far as nothing is said.
    pub terms: CreditTermsPatch,
}
