//! The dashboard: pages for people at `/dashboard`, one file a screen.
//!
//! Nothing is served without a session but the sign-in page and the assets: `gate.rs` stands in front of
//! everything else, unknown paths too. Pages render from the engine directly, as the API's handlers do, and
//! change nothing; whatever changes goes through `gateway.rs` to the API's own routes.

mod answer;
mod assets;
mod chart;
mod credits;
mod customers;
mod events;
mod forms;
mod gate;
mod gateway;
mod home;
mod invoices;
mod lines;
mod listing;
mod live;
mod meters;
mod pager;
mod products;
mod session;
mod settings;
mod shell;
mod sign_in;
mod snippet;
mod subscriptions;
mod table;
mod tags;
mod test_clock;
mod webhooks;

use std::sync::Arc;

use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Router, middleware};
use hyper::header::{HeaderValue, LOCATION};
use hyper::{StatusCode, Uri};

use crate::http::edge::Edge;
use answer::{Answer, NotShown};
use live::Live;
use session::{Secret, Sessions};

/// Where the dashboard is.
pub(super) const PATH: &str = "/dashboard";

/// What pages share.
#[derive(Debug)]
struct Dashboard {
    edge: Arc<Edge>,
    /// The API, as the gateway hands requests to it.
    api: Router,
    sessions: Sessions,
    live: Live,
    /// For searching customers.
    ids: customers::IdOrder,
}

/// Whether a request for this address is the dashboard's.
pub(super) fn is_ours(uri: &Uri) -> bool {
    uri.path().strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The dashboard of a daemon that serves `api`.
pub(super) fn router(edge: Arc<Edge>, api: Router) -> Router {
    let dashboard = Arc::new(Dashboard {
        edge,
        api,
        sessions: Sessions::default(),
        live: Live::default(),
        ids: customers::IdOrder::default(),
    });
    let closed = screens()
        .route("/dashboard/api/{*path}", any(gateway::pass))
        .route("/dashboard/live", get(live::stream))
        .route("/dashboard/sign-out", post(sign_in::end))
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(Arc::clone(&dashboard), gate::require_session));
    Router::new()
        .route("/dashboard/sign-in", get(sign_in::show).post(sign_in::begin))
        .route("/dashboard/assets/{name}", get(assets::serve))
        .fallback_service(closed.with_state(Arc::clone(&dashboard)))
        .layer(middleware::map_response(answer::protect))
        .with_state(dashboard)
}

/// Every screen. One that is added here is behind the gate.
fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard", get(home::show))
        .route("/dashboard/now", get(home::now))
        .merge(meters::screens())
        .merge(events::screens())
        .merge(customers::screens())
        .merge(products::screens())
        .merge(subscriptions::screens())
        .merge(invoices::screens())
        .merge(credits::screens())
        .merge(webhooks::screens())
        .merge(settings::screens())
}

async fn nothing_here() -> Answer {
    Err(NotShown::not_found("page"))
}

/// Sends the browser to another page.
fn to(path: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(path) = HeaderValue::try_from(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

impl Dashboard {
    /// A secret that nobody knows yet.
    fn secret(&self) -> Secret {
        Secret::new(self.edge.engine.secret())
    }
}
