//! An event's way through the edge: from a request on the socket to an answer that is durable.
//!
//! This path stands before any router. For a small body everything up to the committer's queue
//! happens on the thread that serves the socket: it takes microseconds, and a hand-over would cost
//! more. A large one takes milliseconds, and is prepared beside those threads.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{HeaderMap, Request, StatusCode};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use utoipa::openapi::OpenApi;
use utoipa::{OpenApi as _, ToSchema};

use crate::engine::command::EventRefusal;
use crate::engine::{Engine, Ingested, Prepared, Refused};
use crate::http::auth::{self, Caller, RouteScope};
use crate::http::body;
use crate::http::decode::decode_each;
use crate::http::edge::Edge;
use crate::http::refusal;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::scalar::JsonScalar;
use crate::metering::validate::validate;
use crate::world::processor::LongWork;

/// The longest body that is prepared where it was read: some 60 events, in about 0.1 ms.
pub(crate) const SMALL_BODY_BYTES_MAX: usize = 16 << 10;

/// How long a request waits for room in the queue before it is refused: a full queue is worked off in
/// about that time.
const ROOM_WAIT: Duration = Duration::from_millis(250);
/// Bytes of an event, about: room is made for so many at first.
const EVENT_BYTES_USUAL: usize = 200;

/// The path of ingest requests.
pub(crate) const PATH: &str = "/events/ingest";

/// Events of one request: a fact of the wire format.
pub(crate) const EVENTS_MAX: usize = 1_000;

/// What became of the events of an admitted request.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Ingested)]
struct IngestedBody {
    /// Events that are new.
    ingested_count: u32,
    /// Events whose id was known; they count nothing.
    duplicate_count: u32,
    /// Those duplicates whose content differs from the first copy's.
    conflict_count: u32,
    /// The log's position of the last new event, or of the whole log when none is new.
    lsn: u64,
}

/// The body of an ingest request.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what the decoder reads")]
struct IngestRequest<'a> {
    /// 1 to 1000 events; all are admitted or none.
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<EventInput<'a>>,
}

/// An event.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what the decoder reads")]
pub(crate) struct EventInput<'a> {
    /// Unique in the business; a second event of the same id counts nothing.
    event_id: String,
    /// Who used something.
    customer_id: String,
    /// What was used.
    event_name: String,
    /// When it was used, RFC 3339; the time of arrival when left out.
    #[schema(format = DateTime)]
    timestamp: Option<String>,
    /// Details: up to 50 strings, numbers and booleans.
    metadata: Option<std::collections::BTreeMap<String, JsonScalar<'a>>>,
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(ingest), components(schemas(JsonScalar<'static>)))]
struct Description;

/// The route's part of the OpenAPI document.
pub(crate) fn description() -> OpenApi {
    Description::openapi()
}

/// Send events
///
/// A 200 says that every event of the request is on stable storage. Sending it again is safe.
#[utoipa::path(
    post,
    path = "/events/ingest",
    tag = "events",
    request_body = IngestRequest<'static>,
    responses((status = 200, body = IngestedBody))
)]
pub(crate) async fn ingest(edge: &Edge, request: Request<Incoming>) -> Response {
    match admit(edge, request).await {
        Ok(ingested) => reply::json(StatusCode::OK, &IngestedBody::from(ingested)),
        Err(failure) => failure.into_response(),
    }
}

async fn admit(edge: &Edge, request: Request<Incoming>) -> Result<Ingested, Failure> {
    let (parts, incoming) = request.into_parts();
    let caller = authorize(edge, &parts.headers)?;
    body::require_json(&parts.headers, incoming.is_end_stream())?;
    let permit = byte_permit(edge, incoming.size_hint().exact()).await?;
    let options = &edge.options;
    let body = body::read(incoming, options.ingest_body_bytes_max, options.body_timeout).await?;
    let decided = decide(edge, &body, permit).await;
    if let Err(Failure::Refused(error)) = &decided {
        refusal::keep(edge, &caller, &parts.headers, (&body, error)).await;
    }
    decided
}

/// Prepares a body and has the committer decide on it.
async fn decide(
    edge: &Edge,
    body: &Bytes,
    permit: OwnedSemaphorePermit,
) -> Result<Ingested, Failure> {
    // Until the answer: due work looks whether anybody waits.
    let _arriving = edge.engine.arriving();
    let prepared = if body.len() <= SMALL_BODY_BYTES_MAX {
        prepare(&edge.engine, body)?
    } else {
        let body = body.clone();
        edge.prepare(move |engine| prepare(engine, &body)).await??
    };
    let (answer, answered) = oneshot::channel();
    edge.engine.submit(prepared, move |result| {
        // Held until here, even when the client has hung up: the bytes wait in the queue.
        drop(permit);
        drop(answer.send(result));
    });
    match answered.await {
        Ok(result) => Ok(result?),
        Err(_log_failed) => Err(Failure::NoAnswer),
    }
}

fn authorize(edge: &Edge, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let needed = auth::Ingest::NEEDED.expect("ingest needs a key");
    auth::authorize(edge, headers, needed)
}

/// Room for the body in the daemon's memory, for as long as the request is under way.
///
/// Whoever finds none waits for a moment, in the order of arrival: most clients of a daemon that has
/// too much to do get in, and those that do not are slowed down, which costs less than to turn each of
/// them away at once and again. The body stays in the socket meanwhile.
async fn byte_permit(
    edge: &Edge,
    announced: Option<u64>,
) -> Result<OwnedSemaphorePermit, ApiError> {
    let bytes_max = edge.options.ingest_body_bytes_max;
    // A chunked body may turn out as large as any.
    let bytes = announced.map_or(bytes_max, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if bytes > bytes_max {
        return Err(ApiError::too_large(bytes_max));
    }
    // A queue smaller than this body takes it alone.
    let permits = u32::try_from(bytes.min(edge.options.ingest_queue_bytes)).unwrap_or(u32::MAX);
    let found = room(&edge.ingest_bytes, permits, ROOM_WAIT).await;
    found.ok_or_else(|| ApiError::busy("the queue is full"))
}

/// So many of the permits, at the latest after `wait`.
async fn room(all: &Arc<Semaphore>, permits: u32, wait: Duration) -> Option<OwnedSemaphorePermit> {
    // Nobody is passed here: what becomes free goes to those that wait.
    if let Ok(permit) = Arc::clone(all).try_acquire_many_owned(permits) {
        return Some(permit);
    }
    let waited = timeout(wait, Arc::clone(all).acquire_many_owned(permits)).await.ok()?;
    Some(waited.expect("this semaphore is never closed"))
}

/// Decodes, validates, evaluates and encodes the events of a body, one after the other, and looks
/// them up.
fn prepare(engine: &Engine, body: &Bytes) -> Result<Prepared, Failure> {
    let received_at = engine.now();
    let rules = engine.rules();
    let mut preparation =
        engine.preparation(received_at, EVENTS_MAX.min(1 + body.len() / EVENT_BYTES_USUAL));
    let mut refused = None;
    let mut event_index = 0;
    let mut work = LongWork::default();
    let event_count = decode_each(body, EVENTS_MAX, |raw| {
        work.advance(1);
        // A body that is not well formed is refused as such, whatever its events are.
        if refused.is_none() {
            match validate(raw, received_at, &rules) {
                Ok((event, lateness)) => preparation.add(&event, lateness),
                Err(rejection) => refused = Some(EventRefusal { event_index, rejection }),
            }
        }
        event_index += 1;
    })?;
    if event_count == 0 {
        return Err(ApiError::invalid("events", "events is empty").because("no_events").into());
    }
    if let Some(refusal) = refused {
        engine.count_refused(&refusal.rejection);
        return Err(Refused::Event(refusal).into());
    }
    Ok(preparation.finish()?)
}

impl From<Ingested> for IngestedBody {
    fn from(ingested: Ingested) -> Self {
        Self {
            ingested_count: ingested.new,
            duplicate_count: ingested.duplicates,
            conflict_count: ingested.conflicts,
            lsn: ingested.lsn.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn who_finds_no_room_gets_it_in_order_or_leaves_nothing_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let all = Arc::new(Semaphore::new(10));
            let held = room(&all, 8, Duration::ZERO).await.unwrap();
            assert!(room(&all, 4, Duration::ZERO).await.is_none());
            let mut large = pin!(room(&all, 4, HOUR));
            let mut small = pin!(room(&all, 1, HOUR));
            assert!(at_once(large.as_mut()).await.is_none());
            assert!(at_once(small.as_mut()).await.is_none(), "it waits behind the large one");
            drop(held);
            let large = at_once(large).await.flatten();
            let small = at_once(small).await.flatten();
            assert_eq!(
                (large.is_some(), small.is_some(), all.available_permits()),
                (true, true, 5)
            );
            drop((large, small));
            assert_eq!(all.available_permits(), 10);
        });
    }

    /// What `future` gives, when it does at once.
    async fn at_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|ctx| match future.as_mut().poll(ctx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
