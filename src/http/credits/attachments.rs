//! What a product hands out of credits, on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::Engine;
use crate::engine::command::credits::NewAttachment;
use crate::http::price::IntervalWord;
use crate::http::reply::ApiError;
use crate::http::text;
use crate::model::credit::{ATTACHMENTS_MAX, CreditProration};
use crate::model::{Attachment, CreditEntitlement, EntitlementId, Product};

use super::terms::{OverageWord, TermsInput};
use super::{amount, positive_amount, within};

/// What a change of plan within a period does: hand out a share, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CbbProrationBehavior)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProrationWord {
    Prorate,
    NoProrate,
}

/// What a product is to hand out of a credit entitlement. Settings that are left out or `null` are the
/// entitlement's own as they are now.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AttachCreditEntitlement)]
pub(crate) struct AttachmentInput {
    #[schema(value_type = String)]
    credit_entitlement_id: Option<String>,
    /// Credits of each cycle, or of a purchase: a decimal number, more than zero, with at most as many
    /// digits behind the point as the entitlement's precision.
    #[schema(value_type = String)]
    credits_amount: Option<String>,
    /// Of overage: the currency of the product's price.
    currency: Option<String>,
    expires_after_days: Option<i64>,
    /// 0 to 100, of `credits_amount`.
    low_balance_threshold_percent: Option<i64>,
    max_rollover_count: Option<i64>,
    overage_behavior: Option<OverageWord>,
    overage_enabled: Option<bool>,
    overage_limit: Option<String>,
    price_per_unit: Option<String>,
    /// `no_prorate` by default.
    proration_behavior: Option<ProrationWord>,
    rollover_enabled: Option<bool>,
    rollover_percentage: Option<i64>,
    rollover_timeframe_count: Option<i64>,
    rollover_timeframe_interval: Option<IntervalWord>,
    /// Credits of a trial, in place of `credits_amount`.
    trial_credits: Option<String>,
    /// `false` by default.
    trial_credits_expire_after_trial: Option<bool>,
}

/// What a product hands out of a credit entitlement.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditEntitlementMapping)]
pub(crate) struct MappingBody {
    id: String,
    credit_entitlement_id: String,
    credit_entitlement_name: String,
    credit_entitlement_unit: String,
    credits_amount: String,
    trial_credits: Option<String>,
    trial_credits_expire_after_trial: bool,
    low_balance_threshold_percent: Option<u8>,
    proration_behavior: ProrationWord,
    overage_enabled: bool,
    overage_limit: Option<String>,
    overage_behavior: OverageWord,
    price_per_unit: Option<String>,
    currency: Option<String>,
    rollover_enabled: bool,
    rollover_percentage: Option<u8>,
    rollover_timeframe_count: Option<u32>,
    rollover_timeframe_interval: Option<IntervalWord>,
    max_rollover_count: Option<u32>,
    expires_after_days: Option<u32>,
}

/// What a product is to hand out: each entitlement once.
///
/// # Errors
/// 422 that names the field
pub(crate) fn attachments(inputs: Vec<AttachmentInput>) -> Result<Vec<NewAttachment>, ApiError> {
    let field = "credit_entitlements";
    if inputs.len() > ATTACHMENTS_MAX {
        let message = format!("{field}: a product has at most {ATTACHMENTS_MAX}");
        return Err(ApiError::invalid(field, message));
    }
    let mut attachments: Vec<NewAttachment> = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.into_iter().enumerate() {
        let attachment = input.into_new(&format!("{field}.{place}."))?;
        let is_same = |other: &NewAttachment| other.entitlement_id == attachment.entitlement_id;
        if attachments.iter().any(is_same) {
            let field = format!("{field}.{place}.credit_entitlement_id");
            return Err(ApiError::invalid(&field, format!("{field}: it stands twice")));
        }
        attachments.push(attachment);
    }
    Ok(attachments)
}

impl AttachmentInput {
    fn into_new(self, path: &str) -> Result<NewAttachment, ApiError> {
        let field = |name: &str| format!("{path}{name}");
        let entitlement = text::id(&field("credit_entitlement_id"), self.credit_entitlement_id)?;
        let of = field("credits_amount");
        let credits_amount = self.credits_amount.as_deref();
        let credits_amount =
            credits_amount.ok_or_else(|| ApiError::invalid(&of, format!("{of} is missing")))?;
        let limit = self.overage_limit.as_deref();
        let limit = limit.map(|text| amount(&field("overage_limit"), text)).transpose()?;
        let trial = self.trial_credits.as_deref();
        let low_balance = self
            .low_balance_threshold_percent
            .map(|percent| within(&field("low_balance_threshold_percent"), percent, 0, 100));
        let terms = TermsInput {
            overage_enabled: self.overage_enabled,
            overage_limit: limit.map(Some),
            overage_behavior: self.overage_behavior.map(Some),
            price_per_unit: self.price_per_unit.map(Some),
            currency: self.currency.map(Some),
            rollover_enabled: self.rollover_enabled,
            rollover_percentage: self.rollover_percentage.map(Some),
            rollover_timeframe_count: self.rollover_timeframe_count.map(Some),
            rollover_timeframe_interval: self.rollover_timeframe_interval.map(Some),
            max_rollover_count: self.max_rollover_count.map(Some),
            expires_after_days: self.expires_after_days.map(Some),
        };
        Ok(NewAttachment {
            entitlement_id: EntitlementId::new(entitlement),
            amount: positive_amount(&of, credits_amount)?,
            trial_amount: trial.map(|text| amount(&field("trial_credits"), text)).transpose()?,
            trial_expires: self.trial_credits_expire_after_trial.unwrap_or(false),
            low_balance_percent: low_balance.transpose()?,
            proration: self.proration_behavior.unwrap_or(ProrationWord::NoProrate).into(),
            terms: terms.checked(path)?,
        })
    }
}

/// What new purchases of a product get, as it is printed.
pub(crate) fn mappings(product: &Product, engine: &Engine) -> Vec<MappingBody> {
    let attachments = product.price().credits.iter();
    let mappings = attachments.filter_map(|attachment| {
        let entitlement = engine.entitlement_at(attachment.entitlement)?;
        Some(MappingBody::new(product, &entitlement, attachment))
    });
    mappings.collect()
}

impl MappingBody {
    fn new(product: &Product, entitlement: &CreditEntitlement, attachment: &Attachment) -> Self {
        let terms = &attachment.terms;
        Self {
            id: mapping_id(product, entitlement),
            credit_entitlement_id: entitlement.id.as_str().to_owned(),
            credit_entitlement_name: entitlement.name.clone(),
            credit_entitlement_unit: entitlement.unit.clone(),
            credits_amount: attachment.amount.to_string(),
            trial_credits: attachment.trial_amount.map(|credits| credits.to_string()),
            trial_credits_expire_after_trial: attachment.trial_expires,
            low_balance_threshold_percent: attachment.low_balance_percent,
            proration_behavior: attachment.proration.into(),
            overage_enabled: terms.overage.is_enabled,
            overage_limit: terms.overage.limit.map(|limit| limit.to_string()),
            overage_behavior: terms.overage.behavior.into(),
            price_per_unit: terms.overage.price.map(|price| price.to_string()),
            currency: terms.overage.currency.map(|currency| currency.to_string()),
            rollover_enabled: terms.rollover.is_enabled,
            rollover_percentage: terms.rollover.percentage,
            rollover_timeframe_count: terms.rollover.timeframe.map(|frame| frame.count),
            rollover_timeframe_interval: terms.rollover.timeframe.map(|frame| frame.unit.into()),
            max_rollover_count: terms.rollover.count_max,
            expires_after_days: terms.expires_after_days,
        }
    }
}

/// The id of an entitlement's place in a product: the same for as long as both are.
fn mapping_id(product: &Product, entitlement: &CreditEntitlement) -> String {
    let drawn = |id: &str| id.rsplit('_').next().unwrap_or_default().to_owned();
    format!("cem_{}{}", drawn(product.id.as_str()), drawn(entitlement.id.as_str()))
}

impl From<ProrationWord> for CreditProration {
    fn from(word: ProrationWord) -> Self {
        match word {
            ProrationWord::Prorate => Self::Prorate,
            ProrationWord::NoProrate => Self::NoProrate,
        }
    }
}

impl From<CreditProration> for ProrationWord {
    fn from(proration: CreditProration) -> Self {
        match proration {
            CreditProration::Prorate => Self::Prorate,
            CreditProration::NoProrate => Self::NoProrate,
        }
    }
}
