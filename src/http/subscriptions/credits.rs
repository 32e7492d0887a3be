//! What a subscription hands out of credits, and which of its meters draw on them, as it is printed.

use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::Engine;
use crate::engine::bills::SubscriptionView;
use crate::http::credits::OverageWord;
use crate::http::price::IntervalWord;
use crate::model::Attachment;
use crate::model::notice::EntitlementWords;

/// What a subscription is granted of a credit entitlement each cycle, and what its customer has of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditEntitlementCart)]
pub(super) struct CartBody {
    credit_entitlement_id: String,
    credit_entitlement_name: String,
    product_id: String,
    unit: String,
    credits_amount: String,
    /// What the customer can spend then, whatever handed it out; what reservations hold is in it.
    remaining_balance: String,
    /// What all of the customer's subscriptions have used beyond their credits and is not settled.
    overage_balance: String,
    overage_enabled: bool,
    overage_limit: Option<String>,
    overage_behavior: OverageWord,
    rollover_enabled: bool,
    rollover_percentage: Option<u8>,
    rollover_timeframe_count: Option<u32>,
    rollover_timeframe_interval: Option<IntervalWord>,
    max_rollover_count: Option<u32>,
    expires_after_days: Option<u32>,
    low_balance_threshold_percent: Option<u8>,
}

/// A meter of a subscription that draws on credits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterCreditEntitlementCart)]
pub(super) struct MeterCartBody {
    credit_entitlement_id: String,
    meter_id: String,
    meter_name: String,
    meter_units_per_credit: String,
    product_id: String,
}

/// What the subscription hands out.
pub(super) fn cart(view: &SubscriptionView, engine: &Engine) -> Vec<CartBody> {
    let attachments = view.subscription.credits.iter();
    let cart = attachments.filter_map(|attachment| {
        let id = engine.entitlement_id(attachment.entitlement)?;
        let mut all = view.entitlements.iter();
        let words = all.find(|words| words.index == attachment.entitlement)?;
        Some(CartBody::new(view, attachment, (id.as_str(), words)))
    });
    cart.collect()
}

/// Which of its meters draw on credits.
pub(super) fn meter_cart(view: &SubscriptionView, engine: &Engine) -> Vec<MeterCartBody> {
    let price = view.product.price_at(view.subscription.terms.version);
    let meters = price.map_or(&[][..], |price| price.meters()).iter();
    let cart = meters.filter_map(|priced| {
        let link = priced.rate.credits()?;
        let words = view.meters.iter().find(|words| words.index == priced.meter)?;
        Some(MeterCartBody {
            credit_entitlement_id: engine.entitlement_id(link.entitlement)?.as_str().to_owned(),
            meter_id: engine.meter_id(priced.meter)?.as_str().to_owned(),
            meter_name: words.name.clone(),
            meter_units_per_credit: link.units_per_credit.to_string(),
            product_id: view.product.id.as_str().to_owned(),
        })
    });
    cart.collect()
}

impl CartBody {
    fn new(
        view: &SubscriptionView,
        attachment: &Attachment,
        (id, words): (&str, &EntitlementWords),
    ) -> Self {
        let terms = &attachment.terms;
        Self {
            credit_entitlement_id: id.to_owned(),
            credit_entitlement_name: words.name.clone(),
            product_id: view.product.id.as_str().to_owned(),
            unit: words.unit.clone(),
            credits_amount: attachment.amount.to_string(),
            remaining_balance: words.balance.to_string(),
            overage_balance: words.overage.to_string(),
            overage_enabled: terms.overage.is_enabled,
            overage_limit: terms.overage.limit.map(|limit| limit.to_string()),
            overage_behavior: terms.overage.behavior.into(),
            rollover_enabled: terms.rollover.is_enabled,
            rollover_percentage: terms.rollover.percentage,
            rollover_timeframe_count: terms.rollover.timeframe.map(|frame| frame.count),
            rollover_timeframe_interval: terms.rollover.timeframe.map(|frame| frame.unit.into()),
            max_rollover_count: terms.rollover.count_max,
            expires_after_days: terms.expires_after_days,
            low_balance_threshold_percent: attachment.low_balance_percent,
        }
    }
}
