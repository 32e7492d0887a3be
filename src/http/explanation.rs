//! What became of one event, on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::{Landing, LandingState};
use crate::engine::explain::{Explanation, HourCounter, MeterExplanation};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::events::EventBody;
use crate::http::filter::{ConjunctionWord, OperatorWord};
use crate::http::meters::AggregationBody;
use crate::http::period::PeriodBody;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::scalar::JsonScalar;
use crate::http::text::Instant;
use crate::http::usage::SkippedBody;
use crate::metering::SkipReason;
use crate::metering::explain::{JudgedClauses, JudgedCondition, JudgedFilter, Mismatch, ValueType};
use crate::model::customer::MetadataValue;
use crate::model::{BusinessId, EventId};

/// What became of one event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventExplanation)]
struct ExplanationBody<'a> {
    event: EventBody<'a>,
    /// Whether it is stamped ahead of the log's time: hours have it already, and periods of subscriptions
    /// when its time comes.
    waiting: bool,
    /// The meters of its name, archived ones too, oldest first.
    meters: Vec<MeterBody<'a>>,
    /// The log position that the answer reflects, or an earlier one.
    as_of_lsn: u64,
}

/// What one meter makes of an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventExplanationMeter)]
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own")]
struct MeterBody<'a> {
    meter_id: &'a str,
    name: &'a str,
    measurement_unit: &'a str,
    aggregation: AggregationBody<'a>,
    /// An archived meter counts nothing new; whether it was archived when the event came is not known.
    archived: bool,
    /// Whether the filter lets the event through.
    matched: bool,
    /// The filter with the truth of each clause; `null` when the meter takes every event of the name.
    filter: Option<JudgedBody<'a>>,
    /// What stands under the key that is aggregated.
    #[schema(value_type = Option<JsonScalar<'static>>)]
    found: Option<JsonScalar<'a>>,
    /// What the meter takes from the event, a decimal text; `null` when it takes nothing.
    quantity: Option<String>,
    /// Why it takes nothing from an event that matches: `missing`, `not_a_number` or `out_of_range`.
    skipped: Option<&'static str>,
    /// The same for people.
    skipped_because: Option<&'a str>,
    /// Whether the event came before the meter, which counted it afterwards: in the hours, and in no
    /// subscription's period.
    backfilled: bool,
    /// Whether the meter has yet to count events from before it.
    backfilling: bool,
    /// What the meter has counted of the customer in the event's UTC hour; `null` when it does not match.
    counter: Option<CounterBody>,
    /// Where it is billed, one entry a subscription; empty when nobody pays for it.
    billed: Vec<LandingBody<'a>>,
}

/// A filter that was asked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JudgedFilter)]
struct JudgedBody<'a> {
    conjunction: ConjunctionWord,
    /// Whether the event passes.
    holds: bool,
    /// Conditions or filters, never both in one list.
    clauses: Vec<JudgedClauseBody<'a>>,
}

/// A condition or a nested filter that was asked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JudgedFilterClause)]
#[serde(untagged)]
enum JudgedClauseBody<'a> {
    Condition(JudgedConditionBody<'a>),
    #[schema(no_recursion)]
    Filter(JudgedBody<'a>),
}

/// A comparison, and how it came out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JudgedFilterCondition)]
struct JudgedConditionBody<'a> {
    key: &'a str,
    operator: OperatorWord,
    value: JsonScalar<'a>,
    holds: bool,
    /// What the event has under the key; `null` when there is nothing.
    #[schema(value_type = Option<JsonScalar<'static>>)]
    found: Option<JsonScalar<'a>>,
    /// `string`, `number` or `boolean`.
    found_type: Option<&'static str>,
    /// Why it does not hold: `missing`, `wrong_type` or `other_value`.
    reason: Option<&'static str>,
    /// The same for people.
    because: Option<String>,
}

/// What was counted in one hour.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HourCounter)]
struct CounterBody {
    /// The UTC hour.
    period: PeriodBody,
    /// The aggregation of all events of the customer in it, a decimal text.
    value: String,
    skipped: SkippedBody,
}

/// Where an event is billed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventBilled)]
struct LandingBody<'a> {
    subscription_id: &'a str,
    product_id: &'a str,
    /// Of the subscription; usage in it is on one invoice.
    period: PeriodBody,
    state: LandingWord,
    /// The instant that the invoice is scheduled for, until there is one.
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Instant>,
    /// When the invoice will be made.
    #[schema(value_type = Option<String>, format = DateTime)]
    close_at: Option<Instant>,
    invoice_id: Option<&'a str>,
    /// When the invoice was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    invoiced_at: Option<Instant>,
}

/// `running`: the period goes on. `closing`: it has ended and waits for late events. `invoiced`.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = EventBilledState)]
#[serde(rename_all = "snake_case")]
enum LandingWord {
    Running,
    Closing,
    Invoiced,
}

/// Adds the route.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(explain_event))
}

/// Explain an event
///
/// What each meter of its name makes of it: each clause of the filter, the value that was taken, the counter
/// that it went into, and the subscription's period or the invoice that it is on.
#[utoipa::path(get, path = "/events/{event_id}/explanation", tag = "events",
    params(("event_id" = String, Path)),
    responses((status = 200, body = ExplanationBody<'static>)))]
async fn explain_event(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let id = EventId::new(id);
    let explanation = edge.read(move |engine| engine.explain(&id)).await??;
    let explanation = explanation.ok_or_else(|| ApiError::not_found("event"))?;
    let body = ExplanationBody::new(&explanation, &edge.options.business_id);
    Ok(reply::json(StatusCode::OK, &body))
}

impl<'a> ExplanationBody<'a> {
    fn new(explanation: &'a Explanation, business_id: &'a BusinessId) -> Self {
        Self {
            event: EventBody::new(explanation.event.clone(), business_id),
            waiting: explanation.waiting,
            meters: explanation.meters.iter().map(MeterBody::from).collect(),
            as_of_lsn: explanation.as_of_lsn.0,
        }
    }
}

impl<'a> From<&'a MeterExplanation> for MeterBody<'a> {
    fn from(explained: &'a MeterExplanation) -> Self {
        let meter = &explained.meter;
        let outcome = explained.outcome;
        Self {
            meter_id: meter.id.as_str(),
            name: &meter.name,
            measurement_unit: &meter.measurement_unit,
            aggregation: (&meter.aggregation).into(),
            archived: meter.archived,
            matched: explained.matched,
            filter: explained.filter.as_ref().map(JudgedBody::from),
            found: explained.found.as_ref().map(JsonScalar::from),
            quantity: outcome.and_then(Result::ok).map(|quantity| quantity.to_string()),
            skipped: outcome.and_then(Result::err).map(SkipReason::name),
            skipped_because: explained.words.as_deref(),
            backfilled: explained.backfilled,
            backfilling: explained.backfilling,
            counter: explained.counter.as_ref().map(CounterBody::from),
            billed: explained.landings.iter().map(LandingBody::from).collect(),
        }
    }
}

impl<'a> From<&'a JudgedFilter> for JudgedBody<'a> {
    fn from(judged: &'a JudgedFilter) -> Self {
        let clauses = match &judged.clauses {
            JudgedClauses::Conditions(list) => {
                list.iter().map(|one| JudgedClauseBody::Condition(one.into())).collect()
            }
            JudgedClauses::Filters(list) => {
                list.iter().map(|one| JudgedClauseBody::Filter(one.into())).collect()
            }
        };
        Self { conjunction: judged.conjunction.into(), holds: judged.holds, clauses }
    }
}

impl<'a> From<&'a JudgedCondition> for JudgedConditionBody<'a> {
    fn from(judged: &'a JudgedCondition) -> Self {
        let JudgedCondition { condition, found, mismatch } = judged;
        Self {
            key: &condition.key,
            operator: condition.operator.into(),
            value: (&condition.value).into(),
            holds: mismatch.is_none(),
            found: found.as_ref().map(JsonScalar::from),
            found_type: found.as_ref().map(|found: &MetadataValue| ValueType::from(found).name()),
            reason: mismatch.map(Mismatch::name),
            because: mismatch.map(|mismatch| mismatch.in_words(condition)),
        }
    }
}

impl From<&HourCounter> for CounterBody {
    fn from(counter: &HourCounter) -> Self {
        Self {
            period: counter.period.into(),
            value: counter.value.to_string(),
            skipped: counter.skipped.into(),
        }
    }
}

impl<'a> From<&'a Landing> for LandingBody<'a> {
    fn from(landing: &'a Landing) -> Self {
        let (state, due_at, close_at, invoice_id, invoiced_at) = match &landing.state {
            LandingState::Open { closing, due_at, close_at } => {
                let state = if *closing { LandingWord::Closing } else { LandingWord::Running };
                (state, Some(Instant(*due_at)), Some(Instant(*close_at)), None, None)
            }
            LandingState::Invoiced { invoice_id, created_at } => {
                let (id, at) = (invoice_id.as_str(), Instant(*created_at));
                (LandingWord::Invoiced, None, None, Some(id), Some(at))
            }
        };
        Self {
            subscription_id: landing.subscription_id.as_str(),
            product_id: landing.product_id.as_str(),
            period: landing.period.into(),
            state,
            due_at,
            close_at,
            invoice_id,
            invoiced_at,
        }
    }
}
