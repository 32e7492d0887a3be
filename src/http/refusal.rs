//! A copy of the event that an ingest request was refused for, for `GET /refused-events`.
//!
//! Only what a client can mend is kept: a request that has to wait, or whose key is wrong, has no offending
//! event.

use bytes::Bytes;
use hyper::header::USER_AGENT;
use hyper::{HeaderMap, StatusCode};

use crate::engine::Engine;
use crate::engine::outcomes::{Became, EventOutcome};
use crate::engine::refused::{RAW_BYTES_MAX, RefusedEvent};
use crate::http::auth::Caller;
use crate::http::decode::{Located, locate};
use crate::http::edge::Edge;
use crate::http::ingest::SMALL_BODY_BYTES_MAX;
use crate::http::reply::{self, ApiError};
use crate::model::RawValue;

/// Characters that are kept of a text that the client chose.
const TEXT_CHARS_MAX: usize = 255;

/// Keeps a copy of what was refused with `error`, when there is room for one.
pub(crate) async fn keep(
    edge: &Edge,
    Caller(key_id): &Caller,
    headers: &HeaderMap,
    (body, error): (&Bytes, &ApiError),
) {
    let is_mendable = matches!(
        error.status(),
        StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT
            | StatusCode::UNPROCESSABLE_ENTITY
    );
    if !is_mendable || !edge.engine.refused().has_room() {
        return;
    }
    let said = error.body();
    let user_agent = reply::single(headers, USER_AGENT).ok().flatten().map(cut);
    let refused = RefusedEvent {
        at: edge.engine.now(),
        status: error.status().as_u16(),
        code: said.code.to_owned(),
        reason: error.reason().unwrap_or(said.code).to_owned(),
        message: said.message.clone(),
        field: said.field.clone(),
        event_index: said.event_index.and_then(|place| u64::try_from(place).ok()),
        event_id: None,
        customer_id: None,
        event_name: None,
        raw: String::new(),
        raw_bytes: 0,
        key_id: key_id.as_str().to_owned(),
        user_agent,
    };
    let place = said.event_index;
    if body.len() <= SMALL_BODY_BYTES_MAX {
        keep_with_event(&edge.engine, refused, body, place);
        return;
    }
    let body = body.clone();
    let kept = edge.prepare(move |engine| {
        keep_with_event(engine, refused, &body, place);
    });
    // When the daemon stops meanwhile there is no copy.
    drop(kept.await);
}

fn keep_with_event(engine: &Engine, refused: RefusedEvent, body: &[u8], place: Option<usize>) {
    let refused = with_event(refused, body, place);
    engine.note_refused(|| EventOutcome {
        number: 0,
        at: refused.at,
        event_id: refused.event_id.clone(),
        customer_id: refused.customer_id.clone(),
        event_name: refused.event_name.clone(),
        became: Became::Refused {
            code: refused.code.clone(),
            reason: refused.reason.clone(),
            message: refused.message.clone(),
        },
    });
    engine.refused().keep(refused);
}

fn with_event(refused: RefusedEvent, body: &[u8], place: Option<usize>) -> RefusedEvent {
    let Some(Located { range, event }) = locate(body, place) else { return refused };
    let part = body.get(range).unwrap_or_default();
    let shown = part.get(..RAW_BYTES_MAX).unwrap_or(part);
    let event = event.unwrap_or_default();
    RefusedEvent {
        event_id: text(event.event_id),
        customer_id: text(event.customer_id),
        event_name: text(event.event_name),
        raw: String::from_utf8_lossy(shown).into_owned(),
        raw_bytes: part.len() as u64,
        ..refused
    }
}

fn text(value: Option<RawValue<'_>>) -> Option<String> {
    match value {
        Some(RawValue::String(text)) => Some(cut(&text)),
        Some(
            RawValue::Null
            | RawValue::Boolean(_)
            | RawValue::Number(_)
            | RawValue::Array
            | RawValue::Object,
        )
        | None => None,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
