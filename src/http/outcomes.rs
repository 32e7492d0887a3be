//! What became of events a moment ago, on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::outcomes::{Became, EventOutcome};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::page::Paging;
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError};
use crate::http::route::Routes;
use crate::http::text::Instant;

/// The newest outcomes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventOutcomes)]
struct TailBody<'a> {
    /// Newest first.
    items: Vec<OutcomeBody<'a>>,
    /// What to give as `after` the next time.
    last: u64,
    /// How many were left out of the sample since the start, while somebody watched.
    left_out: u64,
}

/// What became of one event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventOutcome)]
struct OutcomeBody<'a> {
    /// Higher than that of every earlier one since the start of the daemon.
    number: u64,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    outcome: OutcomeWord,
    event_id: Option<&'a str>,
    customer_id: Option<&'a str>,
    event_name: Option<&'a str>,
    /// The log position of an accepted one.
    lsn: Option<u64>,
    /// The log position of the first copy of a duplicate or conflicting one, which has the same id.
    first_lsn: Option<u64>,
    /// Of a refused one.
    code: Option<&'a str>,
    /// Of a refused one: the rule that it breaks.
    reason: Option<&'a str>,
    /// Of a refused one.
    message: Option<&'a str>,
}

/// `accepted`: it is new. `duplicate`: the same event was there. `conflicting`: another event of the same id
/// was there. `refused`: its request was refused for it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = EventOutcomeType)]
#[serde(rename_all = "snake_case")]
enum OutcomeWord {
    Accepted,
    Duplicate,
    Conflicting,
    Refused,
}

/// Adds the route.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(list_outcomes))
}

/// List what became of recent events
///
/// A sample for watching: at most fifty a second of each kind, the last thousand, in memory alone. It begins
/// with the first question and goes on for ten seconds after the last; who watches asks again, with `last` as
/// `after`.
#[utoipa::path(get, path = "/event-outcomes", tag = "events",
    params(("after" = Option<u64>, Query), ("page_size" = Option<u32>, Query)),
    responses((status = 200, body = TailBody<'static>)))]
async fn list_outcomes(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, ApiError> {
    let after = parameters.whole("after")?.and_then(|after| u64::try_from(after).ok());
    let tail = edge.engine.outcomes(after.unwrap_or(0), paging.limit);
    let items = tail.items.iter().map(|outcome| OutcomeBody::from(&**outcome)).collect();
    let body = TailBody { items, last: tail.last, left_out: tail.left_out };
    Ok(reply::json(StatusCode::OK, &body))
}

impl<'a> From<&'a EventOutcome> for OutcomeBody<'a> {
    fn from(outcome: &'a EventOutcome) -> Self {
        let mut body = Self {
            number: outcome.number,
            at: Instant(outcome.at),
            outcome: OutcomeWord::Accepted,
            event_id: outcome.event_id.as_deref(),
            customer_id: outcome.customer_id.as_deref(),
            event_name: outcome.event_name.as_deref(),
            lsn: None,
            first_lsn: None,
            code: None,
            reason: None,
            message: None,
        };
        match &outcome.became {
            Became::Accepted { lsn } => body.lsn = Some(lsn.0),
            Became::Duplicate { first_lsn } => {
                body.outcome = OutcomeWord::Duplicate;
                body.first_lsn = Some(first_lsn.0);
            }
            Became::Conflicting { first_lsn } => {
                body.outcome = OutcomeWord::Conflicting;
                body.first_lsn = Some(first_lsn.0);
            }
            Became::Refused { code, reason, message } => {
                body.outcome = OutcomeWord::Refused;
                body.code = Some(code);
                body.reason = Some(reason);
                body.message = Some(message);
            }
        }
        body
    }
}
