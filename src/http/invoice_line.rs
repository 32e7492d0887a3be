//! A line of an invoice on the wire.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::rate::{self, EntitlementIds, LineRateBody};
use crate::model::invoice::{FixedLine, InvoiceLine, LineDetail};
use crate::model::{MeterId, Money, ProductId, Share};

/// A line of an invoice: a fixed price, or the usage of one meter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvoiceLine)]
pub(crate) struct InvoiceLineBody {
    /// Of usage.
    meter_id: Option<String>,
    product_id: Option<String>,
    description: String,
    /// Of a fixed price.
    quantity: Option<u32>,
    /// Of a part of a fixed price: a decimal number from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    proration_factor: Option<String>,
    /// Of usage: the meter's aggregation over the period.
    consumed_units: Option<String>,
    free_threshold: Option<u64>,
    chargeable_units: Option<String>,
    /// Credits beyond the balance, on a line that bills them.
    #[serde(skip_serializing_if = "Option::is_none")]
    overage_credits: Option<String>,
    /// Of usage, in the currency's minor unit. With `tiers` the price of the one that the last unit
    /// falls into, or of the first; with `package_size` the price of a package.
    price_per_unit: Option<String>,
    /// Which of the product's prices.
    price_version: u32,
    /// In the currency's minor unit, rounded once.
    amount: i64,
    /// The first and the last event that were counted, by position in the log.
    first_lsn: Option<u64>,
    last_lsn: Option<u64>,
    #[serde(flatten)]
    rate: Option<LineRateBody>,
}

impl InvoiceLineBody {
    /// The line as it is printed.
    pub(crate) fn new(
        line: &InvoiceLine,
        meter_id: Option<&MeterId>,
        product_id: Option<&ProductId>,
        ids: EntitlementIds<'_>,
    ) -> Self {
        let (fixed, usage) = match &line.detail {
            LineDetail::Fixed(fixed) | LineDetail::Unused(fixed) => (Some(fixed), None),
            LineDetail::Usage(usage) => (None, Some(usage)),
            LineDetail::Overage(_) | LineDetail::Charge(_) | LineDetail::Credit => (None, None),
        };
        let overage = match &line.detail {
            LineDetail::Overage(overage) => Some(overage),
            LineDetail::Fixed(_)
            | LineDetail::Unused(_)
            | LineDetail::Usage(_)
            | LineDetail::Charge(_)
            | LineDetail::Credit => None,
        };
        let share = fixed.and_then(|fixed| fixed.share);
        let lsns = usage.and_then(|usage| usage.lsns);
        Self {
            meter_id: meter_id.map(|id| id.as_str().to_owned()),
            product_id: product_id.map(|id| id.as_str().to_owned()),
            description: description(line),
            quantity: fixed.map(|fixed| fixed.quantity),
            proration_factor: share.map(Share::to_decimal),
            consumed_units: usage.map(|usage| usage.consumed.to_string()),
            free_threshold: usage.map(|usage| usage.free_threshold),
            chargeable_units: usage.map(|usage| usage.chargeable.to_string()),
            overage_credits: overage.map(|overage| overage.credits.to_string()),
            price_per_unit: usage
                .map(|usage| rate::shown_price(&usage.rate, &usage.shares))
                .or_else(|| overage.map(|overage| overage.price.to_string())),
            price_version: line.price_version.0,
            amount: line.amount.as_minor(),
            first_lsn: lsns.map(|(first, _)| first.0),
            last_lsn: lsns.map(|(_, last)| last.0),
            rate: usage.map(|usage| LineRateBody::new(usage, ids)),
        }
    }
}

/// What a line is for, in words.
pub(crate) fn description(line: &InvoiceLine) -> String {
    let several = |fixed: &FixedLine| match fixed.quantity {
        1 => fixed.name.clone(),
        quantity => format!("{} x {quantity}", fixed.name),
    };
    match &line.detail {
        LineDetail::Fixed(fixed) => several(fixed),
        LineDetail::Unused(fixed) => format!("Unused time of {}", several(fixed)),
        LineDetail::Usage(usage) => format!("{} ({})", usage.name, usage.measurement_unit),
        LineDetail::Overage(overage) => {
            format!("{} beyond the balance ({})", overage.name, overage.unit)
        }
        LineDetail::Charge(charge) => charge.name.clone(),
        LineDetail::Credit if line.amount > Money::ZERO => "Kept for later invoices".to_owned(),
        LineDetail::Credit => "Paid from what earlier changes of plan left".to_owned(),
    }
}
