//! Settings of credits on the wire: of an entitlement, and of what a price hands out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::command::credits::CreditTermsPatch;
use crate::http::price::{COUNT_MAX, IntervalWord, currency};
use crate::http::reply::ApiError;
use crate::http::text::Clearable;
use crate::model::credit::OverageBehavior;
use crate::model::{Credits, UnitPrice};

use super::within;

/// Days that a grant lives at most.
const EXPIRES_DAYS_MAX: i64 = 36_500;
/// How often a credit may roll over; without a number it is without end.
const ROLLOVERS_MAX: i64 = 1_000_000;

/// What becomes of overage at a turn: forgiven, invoiced, or kept; with auto-repay new credits pay it
/// back first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CbbOverageBehavior)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OverageWord {
    ForgiveAtReset,
    InvoiceAtBilling,
    CarryDeficit,
    CarryDeficitAutoRepay,
}

/// What a client says about settings: `None` where it says nothing, `Some(None)` for `null`.
#[derive(Debug, Default)]
pub(crate) struct TermsInput {
    pub(crate) overage_enabled: Option<bool>,
    pub(crate) overage_limit: Clearable<Credits>,
    pub(crate) overage_behavior: Clearable<OverageWord>,
    pub(crate) price_per_unit: Clearable<String>,
    pub(crate) currency: Clearable<String>,
    pub(crate) rollover_enabled: Option<bool>,
    pub(crate) rollover_percentage: Clearable<i64>,
    pub(crate) rollover_timeframe_count: Clearable<i64>,
    pub(crate) rollover_timeframe_interval: Clearable<IntervalWord>,
    pub(crate) max_rollover_count: Clearable<i64>,
    pub(crate) expires_after_days: Clearable<i64>,
}

impl TermsInput {
    /// The settings, each within its bounds.
    ///
    /// # Errors
    /// 422 that names a member of `path`, which is empty or ends with a point
    pub(crate) fn checked(self, path: &str) -> Result<CreditTermsPatch, ApiError> {
        let bounded = |name: &str, number: Clearable<i64>, least, most| {
            clearable(number, |number| within(&format!("{path}{name}"), number, least, most))
        };
        let percentage = clearable(self.rollover_percentage, |percentage| {
            within(&format!("{path}rollover_percentage"), percentage, 0, 100)
        })?;
        let count = self.rollover_timeframe_count;
        Ok(CreditTermsPatch {
            overage_enabled: self.overage_enabled,
            overage_limit: self.overage_limit,
            overage_behavior: self.overage_behavior.map(|word| word.map(OverageBehavior::from)),
            price_per_unit: clearable(self.price_per_unit, |text| {
                let field = format!("{path}price_per_unit");
                let refusal = |error| ApiError::invalid(&field, format!("{field}: {error}"));
                UnitPrice::parse(&text).map_err(refusal)
            })?,
            currency: clearable(self.currency, |code| currency(&format!("{path}currency"), &code))?,
            rollover_enabled: self.rollover_enabled,
            rollover_percentage: percentage,
            rollover_timeframe_count: bounded("rollover_timeframe_count", count, 1, COUNT_MAX)?,
            rollover_timeframe_unit: self
                .rollover_timeframe_interval
                .map(|word| word.map(Into::into)),
            rollover_count_max: bounded(
                "max_rollover_count",
                self.max_rollover_count,
                0,
                ROLLOVERS_MAX,
            )?,
            expires_after_days: bounded(
                "expires_after_days",
                self.expires_after_days,
                1,
                EXPIRES_DAYS_MAX,
            )?,
        })
    }
}

fn clearable<T, U>(
    given: Clearable<T>,
    read: impl FnOnce(T) -> Result<U, ApiError>,
) -> Result<Clearable<U>, ApiError> {
    given.map(|given| given.map(read).transpose()).transpose()
}

impl From<OverageWord> for OverageBehavior {
    fn from(word: OverageWord) -> Self {
        match word {
            OverageWord::ForgiveAtReset => Self::ForgiveAtReset,
            OverageWord::InvoiceAtBilling => Self::InvoiceAtBilling,
            OverageWord::CarryDeficit => Self::CarryDeficit,
            OverageWord::CarryDeficitAutoRepay => Self::CarryDeficitAutoRepay,
        }
    }
}

impl From<OverageBehavior> for OverageWord {
    fn from(behavior: OverageBehavior) -> Self {
        match behavior {
            OverageBehavior::ForgiveAtReset => Self::ForgiveAtReset,
            OverageBehavior::InvoiceAtBilling => Self::InvoiceAtBilling,
            OverageBehavior::CarryDeficit => Self::CarryDeficit,
            OverageBehavior::CarryDeficitAutoRepay => Self::CarryDeficitAutoRepay,
        }
    }
}
