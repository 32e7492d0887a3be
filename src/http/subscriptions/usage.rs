//! Usage period by period, and the invoices that will come.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::{MeterUsage, Upcoming, UsageHistoryQuery, UsagePeriod};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::invoice_line::InvoiceLineBody;
use crate::http::page::{self, Items, Paging};
use crate::http::period::PeriodBody;
use crate::http::query::Parameters;
use crate::http::rate::{self, EntitlementIds, LineRateBody};
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::Instant;
use crate::model::{CustomerId, MeterId, ProductId, SubscriptionId};

/// One period of a subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsagePeriod)]
struct UsagePeriodBody {
    #[schema(value_type = String, format = DateTime)]
    start_date: Instant,
    #[schema(value_type = String, format = DateTime)]
    end_date: Instant,
    /// Whether it has ended and has no invoice yet, so that late events still count.
    closing: bool,
    meters: Vec<MeterUsageBody>,
}

/// Usage of one meter in one period, and what it costs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterUsage)]
struct MeterUsageBody {
    id: String,
    name: String,
    consumed_units: String,
    free_threshold: u64,
    chargeable_units: String,
    /// In the currency's minor unit. With `tiers` the price of the one that the last unit falls into,
    /// or of the first; with `package_size` the price of a package.
    price_per_unit: String,
    /// In the currency's minor unit, rounded once.
    total_price: i64,
    currency: String,
    #[serde(flatten)]
    rate: LineRateBody,
}

/// An invoice that will be made, as it would be now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UpcomingInvoice)]
struct UpcomingBody {
    subscription_id: String,
    currency: String,
    total: i64,
    period: PeriodBody,
    #[schema(value_type = String, format = DateTime)]
    due_at: Instant,
    /// When it will be made.
    #[schema(value_type = String, format = DateTime)]
    close_at: Instant,
    /// Whether its period has ended.
    closing: bool,
    lines: Vec<InvoiceLineBody>,
}

/// The next invoices of a customer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UpcomingInvoices)]
struct UpcomingInvoicesBody {
    items: Vec<UpcomingBody>,
    /// Every event up to here is in them.
    as_of_lsn: u64,
}

/// Adds the routes.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(usage_history)).add::<Read>(routes!(upcoming_invoice))
}

/// Usage of a subscription, period by period
///
/// The running period first, then those that are closing, then those that were billed, newest first.
#[utoipa::path(get, path = "/subscriptions/{subscription_id}/usage-history", tag = "subscriptions",
    params(("subscription_id" = String, Path),
        ("start_date" = Option<String>, Query, format = DateTime),
        ("end_date" = Option<String>, Query, format = DateTime),
        ("meter_id" = Option<String>, Query),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<UsagePeriodBody>)))]
async fn usage_history(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let query = UsageHistoryQuery {
        from: parameters.timestamp("start_date")?,
        to: parameters.timestamp("end_date")?,
        meter_id: parameters.text("meter_id")?.map(MeterId::new),
    };
    let id = SubscriptionId::new(id);
    let periods =
        edge.read(move |engine| engine.usage_history(&id, &query, paging.into())).await??;
    let ids = |index| edge.engine.entitlement_id(index);
    let items = periods.iter().map(|period| UsagePeriodBody::new(period, &ids)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// What the next invoices of a customer would be
///
/// From the counters alone. Periods that have ended come first.
#[utoipa::path(get, path = "/customers/{customer_id}/upcoming-invoice", tag = "customers",
    params(("customer_id" = String, Path)),
    responses((status = 200, body = UpcomingInvoicesBody)))]
async fn upcoming_invoice(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let upcoming = edge.engine.upcoming_invoices(&CustomerId::new(id))?;
    let product = |index| edge.engine.product_at(index).map(|product| product.id.clone());
    let ids = |index| edge.engine.entitlement_id(index);
    let items = upcoming.items.iter().map(|item| UpcomingBody::new(item, product, &ids)).collect();
    let shown = UpcomingInvoicesBody { items, as_of_lsn: upcoming.as_of_lsn.0 };
    Ok(reply::json(StatusCode::OK, &shown))
}

impl UsagePeriodBody {
    fn new(period: &UsagePeriod, ids: EntitlementIds<'_>) -> Self {
        let currency = period.currency.code();
        let meters = period.meters.iter().map(|meter| MeterUsageBody::new(meter, currency, ids));
        Self {
            start_date: Instant(period.period.start),
            end_date: Instant(period.period.end),
            closing: period.closing,
            meters: meters.collect(),
        }
    }
}

impl MeterUsageBody {
    fn new(meter: &MeterUsage, currency: &str, ids: EntitlementIds<'_>) -> Self {
        Self {
            id: meter.meter_id.as_str().to_owned(),
            name: meter.usage.name.clone(),
            consumed_units: meter.usage.consumed.to_string(),
            free_threshold: meter.usage.free_threshold,
            chargeable_units: meter.usage.chargeable.to_string(),
            price_per_unit: rate::shown_price(&meter.usage.rate, &meter.usage.shares),
            total_price: meter.total.as_minor(),
            currency: currency.to_owned(),
            rate: LineRateBody::new(&meter.usage, ids),
        }
    }
}

impl UpcomingBody {
    fn new(
        upcoming: &Upcoming,
        product: impl Fn(crate::model::ProductIndex) -> Option<ProductId>,
        ids: EntitlementIds<'_>,
    ) -> Self {
        let lines = upcoming.lines.iter().zip(&upcoming.meter_ids).map(|(line, meter)| {
            InvoiceLineBody::new(line, meter.as_ref(), product(line.product).as_ref(), ids)
        });
        Self {
            subscription_id: upcoming.subscription_id.as_str().to_owned(),
            currency: upcoming.currency.to_string(),
            total: upcoming.total.as_minor(),
            period: upcoming.period.into(),
            due_at: Instant(upcoming.due_at),
            close_at: Instant(upcoming.close_at),
            closing: upcoming.closing,
            lines: lines.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http::document::tests::usage;
    use crate::model::invoice::UsageLine;
    use crate::model::{Currency, Money, Period, Quantity, Rate, Timestamp, UnitPrice};

    use super::*;

    #[test]
    fn a_period_prints_quantities_as_decimal_texts() {
        let at = |text| Timestamp::parse(text).unwrap();
        let two = Rate::PerUnit(UnitPrice::parse("2").unwrap());
        let half = Quantity::from_units(500_000_000_000);
        let usage = usage(two, 1_000, 2_500);
        let usage = UsageLine {
            consumed: usage.consumed.checked_add(half).unwrap(),
            chargeable: usage.chargeable.checked_add(half).unwrap(),
            ..usage
        };
        let meter =
            MeterUsage { meter_id: MeterId::new("mtr_1"), usage, total: Money::from_minor(3_001) };
        let period = UsagePeriod {
            period: Period { start: at("2026-10-22T10:00:00Z"), end: at("2026-11-22T10:00:00Z") },
            closing: true,
            currency: Currency::from_code("USD").unwrap(),
            meters: vec![meter],
        };
        assert_eq!(
            serde_json::to_string(&UsagePeriodBody::new(&period, &|_| None)).unwrap(),
            r#"{"start_date":"2026-10-22T10:00:00Z","end_date":"2026-11-22T10:00:00Z","closing":true,"meters":[{"id":"mtr_1","name":"Tokens","consumed_units":"2500.5","free_threshold":1000,"chargeable_units":"1500.5","price_per_unit":"2","total_price":3001,"currency":"USD"}]}"#
        );
    }
}
