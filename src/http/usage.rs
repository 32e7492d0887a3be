//! Live usage: what meters counted for customers, by whole hours.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::query::{Bucket, Interval, Skipped, UsageItem};
use crate::engine::{Usage, UsageQuery};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::page::Paging;
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::Routes;
use crate::http::text::Instant;
use crate::model::{CustomerId, Hour, MeterId, Timestamp};

/// The longest time of which one counter is read where the request was: a month.
const SHORT: Duration = Duration::from_hours(31 * 24);

/// Usage.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
struct UsageBody {
    items: Vec<ItemBody>,
    /// The aggregation, when both a meter and a customer were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<String>,
    /// The log position that the answer reflects; with several items some may reflect later ones.
    as_of_lsn: u64,
}

/// Usage of one meter by one customer. Quantities are decimal texts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageItem)]
struct ItemBody {
    meter_id: String,
    customer_id: String,
    total: String,
    /// Of each interval that has events, oldest first; empty when no interval was asked for.
    buckets: Vec<BucketBody>,
    skipped: SkippedBody,
    /// True while the meter has yet to count events that came before it was made; else left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    backfilling: bool,
}

/// Usage in one interval.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageBucket)]
pub(crate) struct BucketBody {
    #[schema(value_type = String, format = DateTime)]
    start: Instant,
    value: String,
}

/// Events of the meter's name and filter that were not counted, by reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageSkipped)]
pub(crate) struct SkippedBody {
    missing: u64,
    not_a_number: u64,
    out_of_range: u64,
}

/// Adds the route of usage.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(get_usage))
}

/// Read usage
///
/// Of one meter its customers, largest first; of one customer every meter; of both, one item. From
/// `start` to before `end`, both whole UTC hours; by default the current UTC month.
#[utoipa::path(get, path = "/usage", tag = "usage",
    params(("meter_id" = Option<String>, Query), ("customer_id" = Option<String>, Query),
        ("start" = Option<String>, Query, format = DateTime),
        ("end" = Option<String>, Query, format = DateTime),
        ("interval" = Option<String>, Query, description = "hour, day or month"),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = UsageBody)))]
async fn get_usage(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let query = usage_query(&parameters, paging, edge.engine.now())?;
    let usage = if is_short(&query) {
        edge.engine.usage(&query)?
    } else {
        edge.read(move |engine| engine.usage(&query)).await??
    };
    Ok(reply::json(StatusCode::OK, &UsageBody::from(usage)))
}

/// Whether the answer is one counter and at most some 80 rows: microseconds, and at worst one or two
/// pages of the disk. A hand-over to another thread takes longer, on a busy machine a thousand times.
fn is_short(query: &UsageQuery) -> bool {
    query.meter_id.is_some()
        && query.customer_id.is_some()
        && query.interval != Some(Interval::Hour)
        && query.end.since(query.start) <= SHORT
}

fn usage_query(
    parameters: &Parameters,
    paging: Paging,
    now: Timestamp,
) -> Result<UsageQuery, ApiError> {
    let meter_id = parameters.text("meter_id")?.map(MeterId::new);
    let customer_id = parameters.text("customer_id")?.map(CustomerId::new);
    if meter_id.is_none() && customer_id.is_none() {
        return Err(ApiError::query("meter_id", "meter_id or customer_id is needed"));
    }
    let start = hour(parameters, "start")?.unwrap_or_else(|| now.month_start());
    let end = hour(parameters, "end")?.unwrap_or_else(|| now.next_month_start());
    if end <= start {
        return Err(ApiError::query("end", "end must be after start"));
    }
    let interval = interval(parameters)?;
    let Paging { offset, limit } = paging;
    Ok(UsageQuery { meter_id, customer_id, start, end, interval, offset, limit })
}

/// The width of buckets.
pub(crate) fn interval(parameters: &Parameters) -> Result<Option<Interval>, ApiError> {
    parameters.parsed("interval", "hour, day or month", |text| match text {
        "hour" => Some(Interval::Hour),
        "day" => Some(Interval::Day),
        "month" => Some(Interval::Month),
        _ => None,
    })
}

/// An instant that must be a whole hour.
pub(crate) fn hour(parameters: &Parameters, name: &str) -> Result<Option<Timestamp>, ApiError> {
    match parameters.timestamp(name)? {
        Some(instant) if !Hour::is_boundary(instant) => {
            Err(ApiError::query(name, format!("{name} must be a whole UTC hour")))
        }
        given => Ok(given),
    }
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        Self {
            items: usage.items.into_iter().map(ItemBody::from).collect(),
            total: usage.total.map(|total| total.to_string()),
            as_of_lsn: usage.as_of_lsn.0,
        }
    }
}

impl From<&Bucket> for BucketBody {
    fn from(bucket: &Bucket) -> Self {
        Self { start: Instant(bucket.start), value: bucket.value.to_string() }
    }
}

impl From<Skipped> for SkippedBody {
    fn from(skipped: Skipped) -> Self {
        let Skipped { missing, not_a_number, out_of_range } = skipped;
        Self { missing, not_a_number, out_of_range }
    }
}

impl From<UsageItem> for ItemBody {
    fn from(item: UsageItem) -> Self {
        Self {
            meter_id: item.meter_id.to_string(),
            customer_id: item.customer_id.to_string(),
            total: item.total.to_string(),
            buckets: item.buckets.iter().map(BucketBody::from).collect(),
            skipped: item.skipped.into(),
            backfilling: item.backfilling,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http::query;
    use crate::model::{Lsn, Number, Quantity};

    use super::*;

    const PAGING: Paging = Paging { offset: 0, limit: 10 };

    fn read(query: &str) -> Result<UsageQuery, (u16, Option<String>)> {
        let now = Timestamp::parse("2026-11-22T10:20:30Z").unwrap();
        usage_query(&query::parameters(query), PAGING, now)
            .map_err(|error| (error.status().as_u16(), error.body().field.clone()))
    }

    #[test]
    fn the_current_month_is_the_default() {
        let query = read("meter_id=m").unwrap();
        assert_eq!(query.start.to_string(), "2026-11-01T00:00:00Z");
        assert_eq!(query.end.to_string(), "2026-12-01T00:00:00Z");
        assert_eq!(query.interval, None);
        let query = read("customer_id=c&start=2026-11-22T12:00:00%2B02:00&interval=day").unwrap();
        assert_eq!(query.start.to_string(), "2026-11-22T10:00:00Z");
        assert_eq!(query.interval, Some(Interval::Day));
    }

    #[test]
    fn odd_parameters_are_refused_by_name() {
        let check = |text: &str, field: &str| {
            assert_eq!(read(text).unwrap_err(), (422, Some(field.to_owned())), "{text}");
        };
        check("", "meter_id");
        check("meter_id=&customer_id=", "meter_id");
        check("meter_id=m&start=2026-11-01T00:30:00Z", "start");
        check("meter_id=m&end=2026-11-01T00:00:00.000000001Z", "end");
        check("meter_id=m&start=2026-11-02T00:00:00Z&end=2026-11-02T00:00:00Z", "end");
        check("meter_id=m&interval=week", "interval");
    }

    #[test]
    fn quantities_print_as_texts() {
        let quantity = |text| Number::new(text).unwrap().to_quantity().unwrap();
        let total: Quantity = quantity("12.500");
        let mut usage = Usage {
            items: vec![UsageItem {
                meter_id: MeterId::new("m"),
                customer_id: CustomerId::new("c"),
                total,
                buckets: vec![Bucket { start: Hour(0).start(), value: total }],
                skipped: Skipped { missing: 1, not_a_number: 2, out_of_range: 3 },
                backfilling: false,
            }],
            total: Some(total),
            as_of_lsn: Lsn(9),
        };
        assert_eq!(
            serde_json::to_string(&UsageBody::from(usage.clone())).unwrap(),
            r#"{"items":[{"meter_id":"m","customer_id":"c","total":"12.5","buckets":[{"start":"1970-01-01T00:00:00Z","value":"12.5"}],"skipped":{"missing":1,"not_a_number":2,"out_of_range":3}}],"total":"12.5","as_of_lsn":9}"#
        );
        usage.items[0].backfilling = true;
        let printed = serde_json::to_string(&UsageBody::from(usage)).unwrap();
        assert!(printed.contains(r#""out_of_range":3},"backfilling":true}]"#), "{printed}");
        let empty = Usage { items: Vec::new(), total: None, as_of_lsn: Lsn(0) };
        assert_eq!(
            serde_json::to_string(&UsageBody::from(empty)).unwrap(),
            r#"{"items":[],"as_of_lsn":0}"#
        );
    }
}
