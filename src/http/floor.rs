//! Servers that do less than the daemon, to measure it against: the same accept loop, limits and
//! body read, and nothing after them.
//!
//! They check neither host nor key, count nothing and promise nothing. `quipu bench` runs them.

use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::net::TcpListener;

use crate::http::body;
use crate::http::decode::decode_each;
use crate::http::edge::EdgeOptions;
use crate::http::ingest::EVENTS_MAX;
use crate::http::reply::{self, ApiError};
use crate::http::server::{Limits, accept};

/// How much of an ingest request is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// The body is read and dropped.
    Discard,
    /// The body is read and taken apart into events, and these are dropped.
    Parse,
}

/// Answers every request on `listener` after the work of `floor`, until the process ends.
pub async fn serve_floor(listener: TcpListener, floor: Floor, options: &EdgeOptions) {
    let bytes_max = options.ingest_body_bytes_max;
    let deadline = options.body_timeout;
    let answer = move |request: Request<Incoming>| async move {
        let read = body::read(request.into_body(), bytes_max, deadline).await;
        Ok(read.and_then(|body| work(floor, &body)).into_response())
    };
    accept(listener, Limits::from(options), answer, std::future::pending()).await;
}

fn work(floor: Floor, body: &[u8]) -> Result<Response, ApiError> {
    let event_count = match floor {
        Floor::Discard => 0,
        Floor::Parse => decode_each(body, EVENTS_MAX, drop)?,
    };
    // As long as the daemon's own answer.
    let answer = serde_json::json!({
        "ingested_count": event_count, "duplicate_count": 0, "conflict_count": 0, "lsn": 0,
    });
    Ok(reply::json(StatusCode::OK, &answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_parsing_floor_looks_into_the_body() {
        let check = |floor, body: &str, expected: Result<StatusCode, u16>| {
            let done = work(floor, body.as_bytes());
            let done = done.map(|response| response.status());
            assert_eq!(done.map_err(|error| error.status().as_u16()), expected);
        };
        let body = r#"{"events":[{"event_id":"a"}]}"#;
        check(Floor::Discard, body, Ok(StatusCode::OK));
        check(Floor::Parse, body, Ok(StatusCode::OK));
        check(Floor::Discard, "{", Ok(StatusCode::OK));
        check(Floor::Parse, "{", Err(400));
    }
}
