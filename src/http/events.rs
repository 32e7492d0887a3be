//! Single events, read back from the log.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::{EventQuery, StoredEvent};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::page::{self, Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::scalar::{JsonScalar, Pairs};
use crate::http::text::Instant;
use crate::model::customer::MetadataValue;
use crate::model::{BusinessId, CustomerId, EventId, MeterId};

/// Matching events that a list skips at most: they are all read.
const OFFSET_MAX: usize = 100_000;

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventBody<'a> {
    event_id: String,
    business_id: &'a str,
    customer_id: String,
    event_name: String,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Instant,
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Pairs<String, MetadataValue>>,
    /// When it arrived.
    #[schema(value_type = String, format = DateTime)]
    received_at: Instant,
    /// Its position in the log.
    lsn: u64,
}

/// Adds the routes of events.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(list_events)).add::<Read>(routes!(get_event))
}

/// List events
///
/// Newest first in the order of the log. `start` is inclusive and `end` is not.
#[utoipa::path(get, path = "/events", tag = "events",
    params(("customer_id" = Option<String>, Query), ("event_name" = Option<String>, Query),
        ("meter_id" = Option<String>, Query),
        ("start" = Option<String>, Query, format = DateTime),
        ("end" = Option<String>, Query, format = DateTime),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<EventBody<'static>>)))]
async fn list_events(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let query = event_query(&parameters, paging)?;
    let events = edge.read(move |engine| engine.events(&query)).await??;
    let business_id = &edge.options.business_id;
    let items = events.into_iter().map(|event| EventBody::new(event, business_id)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// Read an event
#[utoipa::path(get, path = "/events/{event_id}", tag = "events",
    params(("event_id" = String, Path)),
    responses((status = 200, body = EventBody<'static>)))]
async fn get_event(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let id = EventId::new(id);
    let event = edge.read(move |engine| engine.event(&id)).await??;
    let event = event.ok_or_else(|| ApiError::not_found("event"))?;
    Ok(reply::json(StatusCode::OK, &EventBody::new(event, &edge.options.business_id)))
}

fn event_query(parameters: &Parameters, paging: Paging) -> Result<EventQuery, ApiError> {
    if paging.offset > OFFSET_MAX {
        let message = format!("only the first {OFFSET_MAX} matching events can be skipped");
        return Err(ApiError::query("page_number", message));
    }
    Ok(EventQuery {
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
        event_name: parameters.text("event_name")?.map(str::to_owned),
        meter_id: parameters.text("meter_id")?.map(MeterId::new),
        start: parameters.timestamp("start")?,
        end: parameters.timestamp("end")?,
        below: None,
        offset: paging.offset,
        limit: paging.limit,
    })
}

impl<'a> EventBody<'a> {
    pub(crate) fn new(stored: StoredEvent, business_id: &'a BusinessId) -> Self {
        Self {
            event_id: stored.id.as_str().to_owned(),
            business_id: business_id.as_str(),
            customer_id: stored.customer_id.as_str().to_owned(),
            event_name: stored.name,
            timestamp: Instant(stored.timestamp),
            metadata: stored.metadata.map(Pairs),
            received_at: Instant(stored.received_at),
            lsn: stored.lsn.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http::query;
    use crate::model::{Lsn, Timestamp};

    use super::*;

    #[test]
    fn an_event_prints_the_texts_of_its_numbers() {
        let at = Timestamp::parse("2026-11-22T10:00:00.123Z").unwrap();
        let stored = StoredEvent {
            lsn: Lsn(7),
            received_at: at,
            id: EventId::new("req-1"),
            customer_id: CustomerId::new("cus_A"),
            name: "llm.tokens".to_owned(),
            timestamp: at,
            metadata: Some(vec![
                ("tokens".to_owned(), MetadataValue::Number("1500.0".to_owned())),
                ("model".to_owned(), MetadataValue::String("m1".to_owned())),
                ("cached".to_owned(), MetadataValue::Boolean(false)),
            ]),
        };
        let business_id = BusinessId::new("bus_1");
        let printed = serde_json::to_string(&EventBody::new(stored, &business_id)).unwrap();
        assert_eq!(
            printed,
            r#"{"event_id":"req-1","business_id":"bus_1","customer_id":"cus_A","event_name":"llm.tokens","timestamp":"2026-11-22T10:00:00.123Z","metadata":{"tokens":1500.0,"model":"m1","cached":false},"received_at":"2026-11-22T10:00:00.123Z","lsn":7}"#
        );
    }

    #[test]
    fn an_offset_above_the_limit_is_refused() {
        let parameters = query::parameters("");
        let of = |offset| event_query(&parameters, Paging { offset, limit: 10 });
        assert!(of(100_000).is_ok());
        assert_eq!(of(100_001).unwrap_err().status(), 422);
    }
}
