//! How meters fare with recent events, on the wire; and how one would that is not there yet.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::diagnosis::{MeterDiagnosis, MeterPreview, RECENT_EVENTS_MAX};
use crate::http::auth::Read;
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::filter::ConditionBody;
use crate::http::identity::Mutation;
use crate::http::meters::MeterCreate;
use crate::http::period::PeriodBody;
use crate::http::reply::{self, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::Instant;
use crate::metering::diagnose::{Cause, Finding};
use crate::metering::explain::ValueType;
use crate::model::{EventId, MeterId};

/// How a meter fares with recent events of its name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterDiagnosis)]
struct DiagnosisBody<'a> {
    /// Events that were looked at: the newest of the name, at most `limit`.
    looked_at: u64,
    /// 500.
    limit: usize,
    /// Events of an earlier timestamp are not recent: 30 days ago.
    #[schema(value_type = String, format = DateTime)]
    since: Instant,
    /// Whether there are no other recent events of the name.
    is_all: bool,
    /// Those that the filter lets through.
    matched: u64,
    /// Those of them that are counted.
    counted: u64,
    /// What keeps the others away, by how many it concerns, most first.
    findings: Vec<FindingBody<'a>>,
    /// When no event matches, or some match and are not counted: that, and the main reason, for people.
    warning: Option<String>,
}

/// One thing that keeps events away.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterDiagnosisFinding)]
struct FindingBody<'a> {
    /// `missing`: the key is not there. `wrong_type`: the filter compares another type. `other_value`: the
    /// value is another one. `not_counted`: the filter lets the event through, and its value is none.
    reason: &'static str,
    /// For people.
    because: &'a str,
    /// Events that it concerns; some may be kept away by other things, too.
    events: u64,
    /// The newest of them, at most 3.
    event_ids: Vec<&'a str>,
    /// The condition that does not hold; of `not_counted` there is none.
    condition: Option<ConditionBody<'a>>,
    /// Where it stands in the filter, for example `filter.clauses[0].clauses[2]`.
    place: Option<String>,
    /// The type of what stands under the key, when that is the reason.
    found_type: Option<&'static str>,
    /// Of `not_counted`: `missing`, `not_a_number` or `out_of_range`.
    skipped: Option<&'static str>,
}

/// How a meter would fare that is not there yet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterPreview)]
struct PreviewBody<'a> {
    #[serde(flatten)]
    diagnosis: DiagnosisBody<'a>,
    /// The newest events that match, at most 50.
    matching_event_ids: Vec<&'a str>,
    /// The newest that do not, at most 50.
    other_event_ids: Vec<&'a str>,
    last_day: LastDayBody,
}

/// What a meter would have counted in the last 24 hours.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterPreviewLastDay)]
struct LastDayBody {
    period: PeriodBody,
    /// The aggregation over all customers together, of the events that were looked at; a decimal text.
    value: String,
    /// Events that it counts there.
    counted: u64,
}

/// Adds the routes.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(diagnose_meter)).add::<Read>(routes!(preview_meter))
}

/// Diagnose a meter
///
/// How many of the last 500 events of its name it lets through and counts, and what keeps the others away.
#[utoipa::path(get, path = "/meters/{id}/diagnosis", tag = "meters",
    params(("id" = String, Path)),
    responses((status = 200, body = DiagnosisBody<'static>)))]
async fn diagnose_meter(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let id = MeterId::new(id);
    let found = edge.read(move |engine| engine.diagnosis(&id)).await??;
    Ok(reply::json(StatusCode::OK, &DiagnosisBody::from(&found)))
}

/// Preview a meter
///
/// The body is that of `POST /meters`, and is refused for the same reasons; nothing is made. The answer says
/// what such a meter makes of the last 500 events of its name.
#[utoipa::path(post, path = "/meters/preview", tag = "meters", request_body = MeterCreate<'static>,
    responses((status = 200, body = PreviewBody<'static>)))]
async fn preview_meter(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let new = body::object::<MeterCreate<'_>>(&mutation.body)?.into_new()?;
    let preview = edge.read(move |engine| engine.preview_meter(&new)).await??;
    Ok(reply::json(StatusCode::OK, &PreviewBody::from(&preview)))
}

impl<'a> From<&'a MeterDiagnosis> for DiagnosisBody<'a> {
    fn from(found: &'a MeterDiagnosis) -> Self {
        let diagnosis = &found.diagnosis;
        Self {
            looked_at: diagnosis.looked_at,
            limit: RECENT_EVENTS_MAX,
            since: Instant(found.since),
            is_all: found.is_all,
            matched: diagnosis.matched,
            counted: diagnosis.counted,
            findings: diagnosis.findings.iter().map(FindingBody::from).collect(),
            warning: diagnosis.warning(),
        }
    }
}

impl<'a> From<&'a Finding> for FindingBody<'a> {
    fn from(finding: &'a Finding) -> Self {
        let mut body = Self {
            reason: "not_counted",
            because: &finding.words,
            events: finding.events,
            event_ids: ids(&finding.examples),
            condition: None,
            place: None,
            found_type: None,
            skipped: None,
        };
        match &finding.cause {
            Cause::Condition { place, condition, mismatch } => {
                let steps = place.iter().map(|at| format!(".clauses[{at}]"));
                body.reason = mismatch.name();
                body.condition = Some(condition.into());
                body.place = Some(format!("filter{}", steps.collect::<String>()));
                body.found_type = mismatch.wrong_type().map(ValueType::name);
            }
            Cause::Value { reason, found } => {
                body.skipped = Some(reason.name());
                body.found_type = found.map(ValueType::name);
            }
        }
        body
    }
}

impl<'a> From<&'a MeterPreview> for PreviewBody<'a> {
    fn from(preview: &'a MeterPreview) -> Self {
        Self {
            diagnosis: (&preview.found).into(),
            matching_event_ids: ids(&preview.matching),
            other_event_ids: ids(&preview.others),
            last_day: LastDayBody {
                period: preview.valued.into(),
                value: preview.value.to_string(),
                counted: preview.valued_events,
            },
        }
    }
}

fn ids(ids: &[EventId]) -> Vec<&str> {
    ids.iter().map(EventId::as_str).collect()
}
