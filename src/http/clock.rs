//! The clock: read and moved when it is a test clock, confirmed when it is real.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::{Changed, ClockState, Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::Routes;
use crate::http::text::Instant;
use crate::model::Timestamp;

/// The clock.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Clock)]
struct ClockBody {
    /// What the clock shows.
    #[schema(value_type = String, format = DateTime)]
    now: Instant,
    /// The time of the log's last record; due work goes by it.
    #[schema(value_type = String, format = DateTime)]
    log_time: Instant,
    /// Whether it moves by request alone.
    is_test: bool,
    /// Whether due work waits because the clock has jumped.
    in_doubt: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
struct ClockAdvance {
    /// The instant to move to; not before the present one.
    #[schema(value_type = String, format = DateTime)]
    to: Option<String>,
}

/// Adds the routes of the clock; a real one cannot be moved.
pub(crate) fn routes(routes: Routes, test_clock: bool) -> Routes {
    let routes = routes.add::<Admin>(routes!(confirm_clock));
    if !test_clock {
        return routes;
    }
    routes.add::<Read>(routes!(get_clock)).add::<Admin>(routes!(advance_clock))
}

/// Read the test clock
#[utoipa::path(get, path = "/clock", tag = "clock", responses((status = 200, body = ClockBody)))]
async fn get_clock(State(edge): State<Arc<Edge>>) -> Response {
    reply::json(StatusCode::OK, &ClockBody::from(edge.engine.clock()))
}

/// Move the test clock forward
#[utoipa::path(post, path = "/clock/advance", tag = "clock", request_body = ClockAdvance,
    responses((status = 200, body = ClockBody)))]
async fn advance_clock(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let to = body::object::<ClockAdvance>(&mutation.body)?.instant()?;
    show(&edge.change(Command::AdvanceClock(to), mutation.identity).await?)
}

/// Say that the wall clock is right
///
/// Due work that waits because the clock has jumped goes on.
#[utoipa::path(post, path = "/clock/confirm", tag = "clock",
    responses((status = 200, body = ClockBody)))]
async fn confirm_clock(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    show(&edge.change(Command::ConfirmClock, mutation.identity).await?)
}

fn show(changed: &Changed) -> Result<Response, Failure> {
    let Outcome::Clock(clock) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    Ok(reply::json(StatusCode::OK, &ClockBody::from(clock)))
}

impl ClockAdvance {
    fn instant(self) -> Result<Timestamp, ApiError> {
        let text = self.to.ok_or_else(|| ApiError::missing("to"))?;
        Timestamp::parse(&text).map_err(|error| ApiError::invalid("to", error.to_string()))
    }
}

impl From<ClockState> for ClockBody {
    fn from(clock: ClockState) -> Self {
        Self {
            now: Instant(clock.now),
            log_time: Instant(clock.log_time),
            is_test: clock.is_test,
            in_doubt: clock.in_doubt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_to_an_instant_alone() {
        let read = |text: &str| {
            body::object::<ClockAdvance>(text.as_bytes()).and_then(ClockAdvance::instant)
        };
        let expected = Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
        assert_eq!(read(r#"{"to":"2026-12-01T01:00:00+01:00"}"#), Ok(expected));
        for text in ["{}", r#"{"to":null}"#, r#"{"to":"tomorrow"}"#, r#"{"to":1}"#] {
            assert_eq!(read(text).unwrap_err().status(), 422, "{text}");
        }
    }
}
