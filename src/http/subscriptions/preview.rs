//! What a change of plan would come to, as it is printed.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::output::SubscriptionBody;
use crate::engine::bills::ChangePreview;
use crate::http::edge::Edge;
use crate::http::invoice_line::description;
use crate::http::rate;
use crate::http::text::Instant;
use crate::model::invoice::{FixedLine, InvoiceLine, LineDetail};
use crate::model::{MeterId, Share};

/// A change of plan as it would be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangePlanPreview)]
pub(super) struct PreviewBody {
    immediate_charge: ChargeBody,
    /// The subscription as the change would leave it.
    new_plan: SubscriptionBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImmediateCharge)]
struct ChargeBody {
    #[schema(value_type = String, format = DateTime)]
    effective_at: Instant,
    line_items: Vec<LineBody>,
    summary: SummaryBody,
}

/// A line: a fixed price, or the usage of a meter so far.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImmediateChargeLineItem)]
#[serde(tag = "type", rename_all = "snake_case")]
enum LineBody {
    Subscription(FixedBody),
    Meter(MeterBody),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImmediateChargeSubscription)]
struct FixedBody {
    id: String,
    product_id: String,
    name: String,
    description: Option<String>,
    currency: String,
    quantity: u32,
    /// In the currency's minor unit; below zero for what comes back.
    unit_price: i64,
    /// From 0 to 1.
    #[schema(value_type = f64)]
    proration_factor: Box<RawValue>,
    /// What it comes to, in the currency's minor unit.
    amount: i64,
    tax: i64,
    tax_rate: u32,
    tax_inclusive: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImmediateChargeMeter)]
struct MeterBody {
    id: String,
    name: String,
    description: Option<String>,
    currency: String,
    units_consumed: String,
    free_threshold: u64,
    chargeable_units: String,
    price_per_unit: String,
    /// What it comes to so far, in the currency's minor unit.
    subtotal: i64,
    tax: i64,
    tax_rate: u32,
    tax_inclusive: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImmediateChargeSummary)]
struct SummaryBody {
    currency: String,
    /// What is to be paid at once, without usage.
    total_amount: i64,
    settlement_amount: i64,
    settlement_currency: String,
    /// What the subscription has left for later invoices from then on.
    customer_credits: i64,
    customer_credits_currency: String,
    tax: i64,
    settlement_tax: i64,
}

impl PreviewBody {
    pub(super) fn new(preview: &ChangePreview, edge: &Edge) -> Self {
        let currency = preview.currency.to_string();
        let fixed = preview
            .bill
            .lines
            .iter()
            .filter_map(|line| FixedBody::new(line, preview, edge).map(LineBody::Subscription));
        let usage = preview
            .usage
            .iter()
            .filter_map(|(line, meter)| MeterBody::new(line, meter, preview).map(LineBody::Meter));
        let total = preview.bill.total.as_minor();
        Self {
            immediate_charge: ChargeBody {
                effective_at: Instant(preview.effective_at),
                line_items: fixed.chain(usage).collect(),
                summary: SummaryBody {
                    total_amount: total,
                    settlement_amount: total,
                    settlement_currency: currency.clone(),
                    customer_credits: preview.credit.as_minor(),
                    customer_credits_currency: currency.clone(),
                    currency,
                    tax: 0,
                    settlement_tax: 0,
                },
            },
            new_plan: SubscriptionBody::new(&preview.after, edge),
        }
    }
}

impl FixedBody {
    fn new(line: &InvoiceLine, preview: &ChangePreview, edge: &Edge) -> Option<Self> {
        let (fixed, sign): (&FixedLine, i64) = match &line.detail {
            LineDetail::Fixed(fixed) => (fixed, 1),
            LineDetail::Unused(fixed) => (fixed, -1),
            // Money that is kept or taken stands in the summary.
            LineDetail::Usage(_)
            | LineDetail::Overage(_)
            | LineDetail::Charge(_)
            | LineDetail::Credit => return None,
        };
        let product = edge.engine.product_at(line.product)?;
        let factor = fixed.share.map_or_else(|| "1".to_owned(), Share::to_decimal);
        Some(Self {
            id: product.id.as_str().to_owned(),
            product_id: product.id.as_str().to_owned(),
            name: fixed.name.clone(),
            description: Some(description(line)),
            currency: preview.currency.to_string(),
            quantity: fixed.quantity,
            // Fits: a fixed price is not below zero.
            unit_price: sign * fixed.price.as_minor(),
            proration_factor: RawValue::from_string(factor).ok()?,
            amount: line.amount.as_minor(),
            tax: 0,
            tax_rate: 0,
            tax_inclusive: false,
        })
    }
}

impl MeterBody {
    fn new(line: &InvoiceLine, meter: &MeterId, preview: &ChangePreview) -> Option<Self> {
        let usage = line.detail.usage()?;
        Some(Self {
            id: meter.as_str().to_owned(),
            name: usage.name.clone(),
            description: Some(description(line)),
            currency: preview.currency.to_string(),
            units_consumed: usage.consumed.to_string(),
            free_threshold: usage.free_threshold,
            chargeable_units: usage.chargeable.to_string(),
            price_per_unit: rate::shown_price(&usage.rate, &usage.shares),
            subtotal: line.amount.as_minor(),
            tax: 0,
            tax_rate: 0,
            tax_inclusive: false,
        })
    }
}
