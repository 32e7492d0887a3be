//! What all customers together used of a meter, for charts.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::query::Interval;
use crate::engine::series::{MeterSeries, Series, SeriesQuery};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::Instant;
use crate::http::usage::{BucketBody, SkippedBody, hour, interval};
use crate::model::{Hour, MeterId, Timestamp};

/// The time of a series of hours, when none is asked for.
const HOURS_USUAL: Duration = Duration::from_hours(24);
/// The longest time of a series: its hours are read one by one.
const SPAN_MAX: Duration = Duration::from_hours(24 * 366);

/// What all customers together used of a meter. Quantities are decimal texts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterSeries)]
struct SeriesBody {
    meter_id: String,
    #[schema(value_type = String, format = DateTime)]
    start: Instant,
    #[schema(value_type = String, format = DateTime)]
    end: Instant,
    interval: IntervalWord,
    /// The aggregation over the whole time, of all events as if they were of one customer: of a `last` meter
    /// the newest value of any, of a `max` meter the largest of any.
    total: String,
    /// Events that were counted.
    events: u64,
    /// Of each interval that has events, oldest first.
    buckets: Vec<BucketBody>,
    skipped: SkippedBody,
    /// Whether the meter has yet to count events that came before it was made.
    backfilling: bool,
    /// The log position that the answer reflects.
    as_of_lsn: u64,
}

/// The width of a bucket.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = SeriesInterval)]
#[serde(rename_all = "snake_case")]
enum IntervalWord {
    Hour,
    Day,
    Month,
}

/// Adds the route.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(get_series))
}

/// Read a meter's series
///
/// What all customers together used, by hour, day or month, from `start` to before `end`, both whole UTC
/// hours and at most 366 days apart: by default of the last 24 hours, the running one included, by hour.
#[utoipa::path(get, path = "/meters/{id}/series", tag = "meters",
    params(("id" = String, Path), ("start" = Option<String>, Query, format = DateTime),
        ("end" = Option<String>, Query, format = DateTime),
        ("interval" = Option<String>, Query, description = "hour, day or month")),
    responses((status = 200, body = SeriesBody)))]
async fn get_series(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let query = series_query(MeterId::new(id), &parameters, edge.engine.now())?;
    let asked = query.clone();
    let series = edge.read(move |engine| engine.series(&query)).await??;
    let body = SeriesBody::new(&asked, series).ok_or_else(ApiError::internal)?;
    Ok(reply::json(StatusCode::OK, &body))
}

fn series_query(
    id: MeterId,
    parameters: &Parameters,
    now: Timestamp,
) -> Result<SeriesQuery, ApiError> {
    let next_hour = Hour(Hour::of(now).0.saturating_add(1)).start();
    let end = hour(parameters, "end")?.unwrap_or(next_hour);
    let start = hour(parameters, "start")?.unwrap_or_else(|| end.minus(HOURS_USUAL));
    if end <= start {
        return Err(ApiError::query("end", "end must be after start"));
    }
    if end.since(start) > SPAN_MAX {
        return Err(ApiError::query("start", "start and end must be at most 366 days apart"));
    }
    let interval = interval(parameters)?.unwrap_or(Interval::Hour);
    Ok(SeriesQuery { meter_ids: vec![id], start, end, interval })
}

impl SeriesBody {
    fn new(query: &SeriesQuery, series: Series) -> Option<Self> {
        let Series { items, as_of_lsn } = series;
        let MeterSeries { meter_id, total, events, buckets, skipped, backfilling } =
            items.into_iter().next()?;
        Some(Self {
            meter_id: meter_id.to_string(),
            start: Instant(query.start),
            end: Instant(query.end),
            interval: query.interval.into(),
            total: total.to_string(),
            events,
            buckets: buckets.iter().map(BucketBody::from).collect(),
            skipped: skipped.into(),
            backfilling,
            as_of_lsn: as_of_lsn.0,
        })
    }
}

impl From<Interval> for IntervalWord {
    fn from(interval: Interval) -> Self {
        match interval {
            Interval::Hour => Self::Hour,
            Interval::Day => Self::Day,
            Interval::Month => Self::Month,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::query;

    fn read(query: &str) -> Result<(String, String, Interval), (u16, Option<String>)> {
        let now = Timestamp::parse("2026-11-22T10:20:30Z").unwrap();
        series_query(MeterId::new("m"), &query::parameters(query), now)
            .map(|read| (read.start.to_string(), read.end.to_string(), read.interval))
            .map_err(|error| (error.status().as_u16(), error.body().field.clone()))
    }

    #[test]
    fn the_last_day_is_the_default_and_odd_parameters_are_refused_by_name() {
        let text = str::to_owned;
        let day = (text("2026-11-21T11:00:00Z"), text("2026-11-22T11:00:00Z"), Interval::Hour);
        assert_eq!(read(""), Ok(day));
        let year = (text("2026-01-01T00:00:00Z"), text("2027-01-01T00:00:00Z"), Interval::Month);
        assert_eq!(
            read("start=2026-01-01T00:00:00Z&end=2027-01-01T00:00:00Z&interval=month"),
            Ok(year)
        );
        for (query, field) in [
            ("start=2026-01-01T00:30:00Z", "start"),
            ("end=2026-01-01T00:00:00.5Z", "end"),
            ("start=2026-11-22T11:00:00Z", "end"),
            ("start=2025-11-21T10:00:00Z", "start"),
            ("interval=week", "interval"),
        ] {
            assert_eq!(read(query), Err((422, Some(text(field)))), "{query}");
        }
    }
}
