//! Whether the daemon lives, and whether it can serve. Both routes need no key and tell nothing
//! else.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::Readiness;
use crate::http::auth::Open;
use crate::http::edge::Edge;
use crate::http::reply;
use crate::http::route::Routes;

/// Whether the daemon lives. `code` and `message` stand in errors alone.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    ok: bool,
    #[serde(flatten)]
    error: Option<HealthError>,
}

/// Whether the daemon can serve. `code` and `message` stand in errors alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ready)]
struct ReadyBody {
    ready: bool,
    #[serde(flatten)]
    parts: Parts,
    /// The daemon is stopping.
    stopping: bool,
    #[serde(flatten)]
    error: Option<HealthError>,
}

/// What must be well for the daemon to serve.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadyParts)]
struct Parts {
    /// Recovery has finished.
    recovered: bool,
    /// No write or sync of the log has failed.
    log_writable: bool,
    /// The disk's free space is above the reserve.
    disk_above_reserve: bool,
}

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
struct HealthError {
    #[schema(value_type = String)]
    code: &'static str,
    #[schema(value_type = String)]
    message: &'static str,
}

/// Adds the routes of health.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Open>(routes!(healthz)).add::<Open>(routes!(readyz))
}

/// Whether the daemon lives
#[utoipa::path(get, path = "/healthz", tag = "daemon",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
async fn healthz(State(edge): State<Arc<Edge>>) -> Response {
    let (status, health) = health(edge.engine.readiness());
    reply::json(status, &health)
}

/// Whether the daemon can serve
#[utoipa::path(get, path = "/readyz", tag = "daemon",
    responses((status = 200, body = ReadyBody), (status = 503, body = ReadyBody)))]
async fn readyz(State(edge): State<Arc<Edge>>) -> Response {
    let (status, ready) = ready(edge.engine.readiness(), edge.is_draining());
    reply::json(status, &ready)
}

fn health(readiness: Readiness) -> (StatusCode, Health) {
    if readiness.log_writable {
        return (StatusCode::OK, Health { ok: true, error: None });
    }
    let error = HealthError { code: "LOG_FAILED", message: "a write of the log has failed" };
    (StatusCode::SERVICE_UNAVAILABLE, Health { ok: false, error: Some(error) })
}

fn ready(readiness: Readiness, stopping: bool) -> (StatusCode, ReadyBody) {
    let is_ready = readiness.is_ready() && !stopping;
    let error = HealthError { code: "NOT_READY", message: "the daemon cannot serve now" };
    let Readiness { recovered, log_writable, disk_above_reserve } = readiness;
    let ready = ReadyBody {
        ready: is_ready,
        parts: Parts { recovered, log_writable, disk_above_reserve },
        stopping,
        error: (!is_ready).then_some(error),
    };
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Readiness =
        Readiness { recovered: true, log_writable: true, disk_above_reserve: true };

    #[test]
    fn a_failed_log_is_neither_alive_nor_ready() {
        let broken = Readiness { log_writable: false, ..GOOD };
        assert_eq!(health(broken).0, 503);
        assert_eq!(ready(broken, false).0, 503);
        let printed = serde_json::to_string(&health(broken).1).unwrap();
        assert_eq!(
            printed,
            r#"{"ok":false,"code":"LOG_FAILED","message":"a write of the log has failed"}"#
        );
        assert_eq!(serde_json::to_string(&health(GOOD).1).unwrap(), r#"{"ok":true}"#);
    }

    #[test]
    fn every_part_must_be_well_to_be_ready() {
        assert_eq!(ready(GOOD, false).0, 200);
        assert_eq!(ready(GOOD, true).0, 503);
        assert_eq!(ready(Readiness { recovered: false, ..GOOD }, false).0, 503);
        assert_eq!(ready(Readiness { disk_above_reserve: false, ..GOOD }, false).0, 503);
        assert_eq!(health(Readiness { disk_above_reserve: false, ..GOOD }).0, 200);
        let printed = serde_json::to_string(&ready(GOOD, false).1).unwrap();
        assert_eq!(
            printed,
            r#"{"ready":true,"recovered":true,"log_writable":true,"disk_above_reserve":true,"stopping":false}"#
        );
    }
}
