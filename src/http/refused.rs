//! Refused events on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::refused::{RefusedEvent, RefusedQuery};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::page::{self, Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::Routes;
use crate::http::text::Instant;

/// An event that a request was refused for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefusedEvent)]
struct RefusedBody<'a> {
    /// When the request was refused.
    #[schema(value_type = String, format = DateTime)]
    refused_at: Instant,
    /// The answer's status.
    status: u16,
    /// The answer's code.
    code: &'a str,
    /// The rule that the event breaks, as `quipu_events_refused` counts it; of a whole body `malformed`,
    /// `too_many_events` or `no_events`.
    reason: &'a str,
    /// The answer's message.
    message: &'a str,
    /// The offending field.
    field: Option<&'a str>,
    /// The event's place in the request, from 0.
    event_index: Option<u64>,
    /// As the event says, when that is a text; cut after 255 characters, like the next two.
    event_id: Option<&'a str>,
    customer_id: Option<&'a str>,
    event_name: Option<&'a str>,
    /// The event as it came, cut after 4096 bytes; of a malformed body the part that is wrong.
    raw: &'a str,
    /// How many bytes it had.
    raw_bytes: u64,
    /// The key that the request came with.
    key_id: &'a str,
    /// What the client said that it is.
    user_agent: Option<&'a str>,
}

/// Adds the route.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(list_refused_events))
}

/// List refused events
///
/// Of the last 7 days, newest first: of each ingest request that was refused for what stands in it the event
/// that it was refused for. Best effort: they are kept in 16 MiB, and when many are refused at once some are
/// not kept. `code` is a code or a reason.
#[utoipa::path(get, path = "/refused-events", tag = "events",
    params(("customer_id" = Option<String>, Query), ("event_name" = Option<String>, Query),
        ("code" = Option<String>, Query),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<RefusedBody<'static>>)))]
async fn list_refused_events(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let query = refused_query(&parameters, paging)?;
    let found = edge.read(move |engine| engine.refused_events(&query)).await??;
    let items = found.iter().map(RefusedBody::from).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

fn refused_query(parameters: &Parameters, paging: Paging) -> Result<RefusedQuery, ApiError> {
    Ok(RefusedQuery {
        customer_id: parameters.text("customer_id")?.map(str::to_owned),
        event_name: parameters.text("event_name")?.map(str::to_owned),
        code: parameters.text("code")?.map(str::to_owned),
        offset: paging.offset,
        limit: paging.limit,
    })
}

impl<'a> From<&'a RefusedEvent> for RefusedBody<'a> {
    fn from(refused: &'a RefusedEvent) -> Self {
        Self {
            refused_at: Instant(refused.at),
            status: refused.status,
            code: &refused.code,
            reason: &refused.reason,
            message: &refused.message,
            field: refused.field.as_deref(),
            event_index: refused.event_index,
            event_id: refused.event_id.as_deref(),
            customer_id: refused.customer_id.as_deref(),
            event_name: refused.event_name.as_deref(),
            raw: &refused.raw,
            raw_bytes: refused.raw_bytes,
            key_id: &refused.key_id,
            user_agent: refused.user_agent.as_deref(),
        }
    }
}
