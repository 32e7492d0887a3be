//! Meters on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::command::{MeterPatch, NewMeter};
use crate::engine::{BackfillState, BackfillStatus, Changed, Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::edge::Edge;
use crate::http::filter::{self, FilterBody};
use crate::http::identity::Mutation;
use crate::http::page::{Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::{self, Instant, Nullable};
use crate::http::{body, page};
use crate::model::{Aggregation, BusinessId, Meter, MeterId};

/// Characters of a metadata key of an event.
const KEY_CHARS_MAX: usize = 100;
/// Characters of a unit.
const UNIT_CHARS_MAX: usize = 100;

/// A meter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Meter)]
struct MeterBody<'a> {
    id: &'a str,
    business_id: &'a str,
    name: &'a str,
    description: Option<&'a str>,
    event_name: &'a str,
    measurement_unit: &'a str,
    aggregation: AggregationBody<'a>,
    filter: Option<FilterBody<'a>>,
    backfill: BackfillBody,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// How far a meter has counted the events that came before it was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterBackfill)]
struct BackfillBody {
    state: BackfillWord,
    /// Events that were read; after a restart some are read again.
    done: u64,
    /// Events to read.
    total: u64,
}

/// `pending`: its turn has not come. `running`: events are read. `done`: all are counted, or there
/// were none. `failed`: usage from before the meter is missing or incomplete.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = BackfillState)]
#[serde(rename_all = "snake_case")]
enum BackfillWord {
    Pending,
    Running,
    Done,
    Failed,
}

/// What a meter makes of its events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterAggregation)]
pub(crate) struct AggregationBody<'a> {
    #[serde(rename = "type")]
    kind: AggregationWord,
    /// The metadata key; a count has none.
    key: Option<&'a str>,
}

/// The kinds of aggregation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AggregationType)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AggregationWord {
    Count,
    Sum,
    Max,
    Last,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MeterCreate)]
pub(crate) struct MeterCreate<'a> {
    #[schema(value_type = String)]
    name: Option<String>,
    description: Option<String>,
    #[schema(value_type = String)]
    event_name: Option<String>,
    #[schema(value_type = String)]
    measurement_unit: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = AggregationBody<'a>)]
    aggregation: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(value_type = Option<FilterBody<'a>>)]
    filter: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AggregationInput {
    #[serde(rename = "type")]
    kind: Option<AggregationWord>,
    key: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MeterUpdate)]
struct MeterUpdate {
    name: Option<String>,
    /// `null` clears it.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    description: Nullable,
    measurement_unit: Option<String>,
}

/// Adds the routes of meters.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_meters))
        .add::<Admin>(routes!(create_meter))
        .add::<Read>(routes!(get_meter))
        .add::<Admin>(routes!(update_meter, archive_meter))
        .add::<Admin>(routes!(unarchive_meter))
}

/// Create a meter
///
/// It also counts every event that came before it, in the background: `backfill` says how far that
/// got, and usage says `backfilling` until it is done.
#[utoipa::path(post, path = "/meters", tag = "meters", request_body = MeterCreate<'static>,
    responses((status = 201, body = MeterBody<'static>)))]
async fn create_meter(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let meter = body::object::<MeterCreate<'_>>(&mutation.body)?.into_new()?;
    let changed = edge.change(Command::CreateMeter(meter), mutation.identity).await?;
    show(&edge, StatusCode::CREATED, changed)
}

/// List meters
///
/// Newest first; archived ones instead of live ones with `archived=true`.
#[utoipa::path(get, path = "/meters", tag = "meters",
    params(("archived" = Option<bool>, Query), ("page_size" = Option<u32>, Query),
        ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<MeterBody<'static>>)))]
async fn list_meters(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, ApiError> {
    let archived = parameters.boolean("archived")?.unwrap_or(false);
    let meters = edge.engine.meters(archived, paging.into());
    let items = meters.iter().map(|meter| MeterBody::of(&edge, meter)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// Read a meter
#[utoipa::path(get, path = "/meters/{id}", tag = "meters", params(("id" = String, Path)),
    responses((status = 200, body = MeterBody<'static>)))]
async fn get_meter(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let meter = edge.engine.meter(&MeterId::new(id)).ok_or_else(|| ApiError::not_found("meter"))?;
    Ok(reply::json(StatusCode::OK, &MeterBody::of(&edge, &meter)))
}

/// Change a meter
///
/// Event name, aggregation and filter never change.
#[utoipa::path(patch, path = "/meters/{id}", tag = "meters", params(("id" = String, Path)),
    request_body = MeterUpdate, responses((status = 200, body = MeterBody<'static>)))]
async fn update_meter(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let patch = body::object::<MeterUpdate>(&mutation.body)?.into_patch()?;
    let command = Command::UpdateMeter(MeterId::new(id), patch);
    let changed = edge.change(command, mutation.identity).await?;
    show(&edge, StatusCode::OK, changed)
}

/// Archive a meter
///
/// It counts no further events; what it counted is kept.
#[utoipa::path(delete, path = "/meters/{id}", tag = "meters", params(("id" = String, Path)),
    responses((status = 204)))]
async fn archive_meter(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<StatusCode, Failure> {
    edge.change(Command::ArchiveMeter(MeterId::new(id)), mutation.identity).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let an archived meter count again
#[utoipa::path(post, path = "/meters/{id}/unarchive", tag = "meters",
    params(("id" = String, Path)), responses((status = 200, description = "No body")))]
async fn unarchive_meter(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    edge.change(Command::UnarchiveMeter(MeterId::new(id)), mutation.identity).await?;
    Ok(reply::empty())
}

fn show(edge: &Edge, status: StatusCode, changed: Changed) -> Result<Response, Failure> {
    let Outcome::Meter(meter) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    Ok(reply::json(status, &MeterBody::of(edge, &meter)))
}

impl MeterCreate<'_> {
    pub(crate) fn into_new(self) -> Result<NewMeter, ApiError> {
        Ok(NewMeter {
            name: text::required("name", self.name, text::NAME_CHARS_MAX)?,
            description: self.description.map(description).transpose()?,
            event_name: text::id("event_name", self.event_name)?,
            measurement_unit: text::required(
                "measurement_unit",
                self.measurement_unit,
                UNIT_CHARS_MAX,
            )?,
            aggregation: aggregation(
                self.aggregation.ok_or_else(|| ApiError::missing("aggregation"))?,
            )?,
            filter: self.filter.map(filter::read).transpose()?,
        })
    }
}

impl MeterUpdate {
    fn into_patch(self) -> Result<MeterPatch, ApiError> {
        let required = |field, text: Option<String>, chars_max| {
            text.map(|text| text::required(field, Some(text), chars_max)).transpose()
        };
        Ok(MeterPatch {
            name: required("name", self.name, text::NAME_CHARS_MAX)?,
            description: self
                .description
                .map(|text| text.map(description).transpose())
                .transpose()?,
            measurement_unit: required("measurement_unit", self.measurement_unit, UNIT_CHARS_MAX)?,
        })
    }
}

fn description(text: String) -> Result<String, ApiError> {
    text::paragraph("description", text)
}

fn aggregation(raw: &RawValue) -> Result<Aggregation, ApiError> {
    let refusal = |message: String| ApiError::invalid("aggregation", message);
    if !raw.get().starts_with('{') {
        return Err(refusal("aggregation must be an object".to_owned()));
    }
    let input: AggregationInput =
        serde_json::from_str(raw.get()).map_err(|error| refusal(body::reason(&error)))?;
    let kind = input.kind.ok_or_else(|| refusal("aggregation.type is missing".to_owned()))?;
    let key = || text::required("aggregation.key", input.key, KEY_CHARS_MAX);
    Ok(match kind {
        AggregationWord::Count => Aggregation::Count,
        AggregationWord::Sum => Aggregation::Sum { key: key()? },
        AggregationWord::Max => Aggregation::Max { key: key()? },
        AggregationWord::Last => Aggregation::Last { key: key()? },
    })
}

impl<'a> MeterBody<'a> {
    fn of(edge: &'a Edge, meter: &'a Meter) -> Self {
        Self::new(meter, &edge.options.business_id, edge.engine.backfill(meter.index))
    }

    fn new(meter: &'a Meter, business_id: &'a BusinessId, backfill: BackfillStatus) -> Self {
        Self {
            id: meter.id.as_str(),
            business_id: business_id.as_str(),
            name: &meter.name,
            description: meter.description.as_deref(),
            event_name: &meter.event_name,
            measurement_unit: &meter.measurement_unit,
            aggregation: (&meter.aggregation).into(),
            filter: meter.filter.as_ref().map(FilterBody::from),
            backfill: backfill.into(),
            created_at: Instant(meter.created_at),
            updated_at: Instant(meter.updated_at),
        }
    }
}

impl From<BackfillStatus> for BackfillBody {
    fn from(status: BackfillStatus) -> Self {
        let state = match status.state {
            BackfillState::Pending => BackfillWord::Pending,
            BackfillState::Running => BackfillWord::Running,
            BackfillState::Done => BackfillWord::Done,
            BackfillState::Failed => BackfillWord::Failed,
        };
        Self { state, done: status.done, total: status.total }
    }
}

impl<'a> From<&'a Aggregation> for AggregationBody<'a> {
    fn from(aggregation: &'a Aggregation) -> Self {
        let kind = match aggregation {
            Aggregation::Count => AggregationWord::Count,
            Aggregation::Sum { .. } => AggregationWord::Sum,
            Aggregation::Max { .. } => AggregationWord::Max,
            Aggregation::Last { .. } => AggregationWord::Last,
        };
        Self { kind, key: aggregation.key() }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{MeterIndex, Timestamp};

    use super::*;

    fn create(text: &str) -> Result<NewMeter, ApiError> {
        body::object::<MeterCreate<'_>>(text.as_bytes())?.into_new()
    }

    fn with_aggregation(aggregation: &str) -> Result<Aggregation, ApiError> {
        let text = format!(
            r#"{{"name":"n","event_name":"e","measurement_unit":"u","aggregation":{aggregation}}}"#
        );
        create(&text).map(|meter| meter.aggregation)
    }

    #[test]
    fn a_key_is_needed_by_all_but_count() {
        let key = || "tokens".to_owned();
        for (text, expected) in [
            (r#"{"type":"count"}"#, Some(Aggregation::Count)),
            (r#"{"type":"count","key":"tokens"}"#, Some(Aggregation::Count)),
            (r#"{"type":"count","key":null}"#, Some(Aggregation::Count)),
            (r#"{"type":"sum","key":"tokens"}"#, Some(Aggregation::Sum { key: key() })),
            (r#"{"type":"max","key":"tokens"}"#, Some(Aggregation::Max { key: key() })),
            (r#"{"type":"last","key":"tokens"}"#, Some(Aggregation::Last { key: key() })),
            (r#"{"type":"sum"}"#, None),
            (r#"{"type":"sum","key":""}"#, None),
            (r#"{"type":"unique_count","key":"tokens"}"#, None),
            (r#"{"key":"tokens"}"#, None),
            (r#"["sum","tokens"]"#, None),
            ("null", None),
        ] {
            let found = with_aggregation(text);
            if let Err(error) = &found {
                assert_eq!(error.status(), 422, "{text}");
            }
            assert_eq!(found.ok(), expected, "{text}");
        }
    }

    #[test]
    fn bodies_that_are_no_meter_are_refused() {
        for (text, status) in [
            ("", 400),
            ("{", 400),
            ("{\"name\":}", 400),
            ("[]", 422),
            ("null", 422),
            ("{}", 422),
            (r#"{"name":5}"#, 422),
            (r#"{"name":"a","name":"b"}"#, 422),
        ] {
            assert_eq!(create(text).unwrap_err().status(), status, "{text}");
        }
    }

    #[test]
    fn a_patch_tells_null_from_left_out() {
        let patch = |text: &str| {
            body::object::<MeterUpdate>(text.as_bytes()).and_then(MeterUpdate::into_patch)
        };
        assert_eq!(patch("{}").unwrap().description, None);
        assert_eq!(patch(r#"{"description":null}"#).unwrap().description, Some(None));
        let described = patch(r#"{"description":"d","event_name":"ignored"}"#).unwrap();
        assert_eq!(described.description, Some(Some("d".to_owned())));
        assert_eq!(patch(r#"{"name":null}"#).unwrap().name, None);
        assert!(patch(r#"{"name":""}"#).is_err());
    }

    #[test]
    fn a_meter_prints_every_member_and_nulls() {
        let meter = Meter {
            id: MeterId::new("mtr_1"),
            index: MeterIndex(0),
            name: "Calls".to_owned(),
            description: None,
            event_name: "api.call".to_owned(),
            measurement_unit: "calls".to_owned(),
            aggregation: Aggregation::Count,
            filter: None,
            created_at: Timestamp::parse("2026-11-22T10:00:00.5Z").unwrap(),
            updated_at: Timestamp::parse("2026-11-22T10:00:01Z").unwrap(),
            archived: false,
        };
        let business_id = BusinessId::new("bus_1");
        let backfill = BackfillStatus { state: BackfillState::Running, done: 5, total: 9 };
        let shown = MeterBody::new(&meter, &business_id, backfill);
        let printed = serde_json::to_string(&shown).unwrap();
        assert_eq!(
            printed,
            r#"{"id":"mtr_1","business_id":"bus_1","name":"Calls","description":null,"event_name":"api.call","measurement_unit":"calls","aggregation":{"type":"count","key":null},"filter":null,"backfill":{"state":"running","done":5,"total":9},"created_at":"2026-11-22T10:00:00.5Z","updated_at":"2026-11-22T10:00:01Z"}"#
        );
    }
}
