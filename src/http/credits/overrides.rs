//! What a subscription or an order has agreed on otherwise than a price says of its credits.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::engine::command::credits::CreditOverride;
use crate::http::price::IntervalWord;
use crate::http::reply::ApiError;
use crate::http::text;
use crate::model::EntitlementId;
use crate::model::credit::ATTACHMENTS_MAX;

use super::terms::TermsInput;
use super::{amount, positive_amount, within};

/// Settings of one of a subscription's credit entitlements. What is left out or `null` stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = SubscriptionCreditEntitlement)]
pub(crate) struct OverrideInput {
    #[schema(value_type = String)]
    credit_entitlement_id: Option<String>,
    /// Credits of each cycle: a decimal number, more than zero.
    credits_amount: Option<String>,
    expires_after_days: Option<i64>,
    /// 0 to 100, of `credits_amount`.
    low_balance_threshold_percent: Option<i64>,
    max_rollover_count: Option<i64>,
    overage_enabled: Option<bool>,
    overage_limit: Option<String>,
    rollover_enabled: Option<bool>,
    rollover_percentage: Option<i64>,
    rollover_timeframe_count: Option<i64>,
    rollover_timeframe_interval: Option<IntervalWord>,
}

/// So many credits of an entitlement that a product of a cart hands out.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CartCreditEntitlement)]
pub(crate) struct CartCreditsInput {
    #[schema(value_type = String)]
    credit_entitlement_id: Option<String>,
    /// A decimal number, more than zero.
    #[schema(value_type = String)]
    credits_amount: Option<String>,
}

/// What is agreed on otherwise, each entitlement once.
///
/// # Errors
/// 422 that names the field, as a path from `list`
pub(crate) fn overrides(
    list: &str,
    inputs: Vec<OverrideInput>,
) -> Result<Vec<CreditOverride>, ApiError> {
    if inputs.len() > ATTACHMENTS_MAX {
        let message = format!("{list}: a product has at most {ATTACHMENTS_MAX}");
        return Err(ApiError::invalid(list, message));
    }
    let mut overrides: Vec<CreditOverride> = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.into_iter().enumerate() {
        let wanted = input.into_override(&format!("{list}.{place}."))?;
        if overrides.iter().any(|other| other.entitlement_id == wanted.entitlement_id) {
            let field = format!("{list}.{place}.credit_entitlement_id");
            return Err(ApiError::invalid(&field, format!("{field}: it stands twice")));
        }
        overrides.push(wanted);
    }
    Ok(overrides)
}

/// The amounts of a product of a cart, each entitlement once.
///
/// # Errors
/// 422 that names the field, as a path from `list`
pub(crate) fn amounts(
    list: &str,
    inputs: Vec<CartCreditsInput>,
) -> Result<Vec<CreditOverride>, ApiError> {
    if let Some(place) = inputs.iter().position(|input| input.credits_amount.is_none()) {
        let field = format!("{list}.{place}.credits_amount");
        return Err(ApiError::invalid(&field, format!("{field} is missing")));
    }
    let inputs = inputs.into_iter().map(|input| OverrideInput {
        credit_entitlement_id: input.credit_entitlement_id,
        credits_amount: input.credits_amount,
        ..OverrideInput::default()
    });
    overrides(list, inputs.collect())
}

impl OverrideInput {
    fn into_override(self, path: &str) -> Result<CreditOverride, ApiError> {
        let field = |name: &str| format!("{path}{name}");
        let entitlement = text::id(&field("credit_entitlement_id"), self.credit_entitlement_id)?;
        let credits_amount = self.credits_amount.as_deref();
        let limit = self.overage_limit.as_deref();
        let limit = limit.map(|text| amount(&field("overage_limit"), text)).transpose()?;
        let low_balance = self
            .low_balance_threshold_percent
            .map(|percent| within(&field("low_balance_threshold_percent"), percent, 0, 100));
        let terms = TermsInput {
            overage_enabled: self.overage_enabled,
            overage_limit: limit.map(Some),
            rollover_enabled: self.rollover_enabled,
            rollover_percentage: self.rollover_percentage.map(Some),
            rollover_timeframe_count: self.rollover_timeframe_count.map(Some),
            rollover_timeframe_interval: self.rollover_timeframe_interval.map(Some),
            max_rollover_count: self.max_rollover_count.map(Some),
            expires_after_days: self.expires_after_days.map(Some),
            ..TermsInput::default()
        };
        Ok(CreditOverride {
            entitlement_id: EntitlementId::new(entitlement),
            amount: credits_amount
                .map(|text| positive_amount(&field("credits_amount"), text))
                .transpose()?,
            low_balance_percent: low_balance.transpose()?,
            terms: terms.checked(path)?,
        })
    }
}
