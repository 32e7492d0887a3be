//! How far billing is.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::BillingStatus;
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::reply;
use crate::http::route::Routes;
use crate::http::text::Instant;

/// How far billing is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillingStatus)]
struct StatusBody {
    /// The next instant at which anything is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_due: Option<Instant>,
    /// Turns, closes, expiries of credits and rows of their ledgers that are due now and not done.
    overdue: u64,
    /// Whether they wait because the clock is in doubt.
    waiting_for_clock: bool,
    /// When something due was last done.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_run: Option<Instant>,
    /// Subscriptions that are not billed any more because an amount left 64 bits.
    stopped: u64,
}

/// Adds the route.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(billing_status))
}

/// How far billing is
#[utoipa::path(get, path = "/billing/status", tag = "billing",
    responses((status = 200, body = StatusBody)))]
async fn billing_status(State(edge): State<Arc<Edge>>) -> Response {
    reply::json(StatusCode::OK, &StatusBody::from(edge.engine.billing_status()))
}

impl From<BillingStatus> for StatusBody {
    fn from(status: BillingStatus) -> Self {
        Self {
            next_due: status.next_due.map(Instant),
            overdue: status.overdue,
            waiting_for_clock: status.waiting_for_clock,
            last_run: status.last_run.map(Instant),
            stopped: status.stopped,
        }
    }
}
