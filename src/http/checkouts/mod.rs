//! Checkout sessions on the wire, and the page on which a person confirms one.

mod input;
mod order;
mod page;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::header::HOST;
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::CheckoutView;
use crate::engine::{Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::payments::StatusWord;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::Instant;
use crate::model::checkout::{Buyer, CheckoutState};
use crate::model::{CheckoutId, CheckoutSession};

use input::CheckoutCreate;

/// A new session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckoutSession)]
struct SessionBody {
    session_id: String,
    /// Where a person confirms; `null` once the order is made.
    checkout_url: Option<String>,
    /// Of an order that is made.
    payment_id: Option<String>,
    /// The following are always `null`.
    client_secret: Option<String>,
    publishable_key: Option<String>,
}

/// Where a session stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckoutSessionStatus)]
struct StatusBody {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    customer_email: Option<String>,
    customer_name: Option<String>,
    /// The newest payment of the order; `null` until it is made.
    payment_id: Option<String>,
    payment_status: Option<StatusWord>,
}

/// Adds the routes of checkout sessions.
pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes.add::<Admin>(routes!(create_checkout)).add::<Read>(routes!(get_checkout));
    page::routes(routes)
}

/// Create a checkout session
///
/// With `confirm` the order is made at once, as `POST /subscriptions` does when the cart holds a product
/// that is paid each cycle. Otherwise a person confirms it at `checkout_url`, within 24 hours; the prices
/// are those of now.
#[utoipa::path(post, path = "/checkouts", tag = "checkouts",
    request_body = CheckoutCreate<'static>, responses((status = 200, body = SessionBody)))]
async fn create_checkout(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let new = body::object::<CheckoutCreate<'_>>(&mutation.body)?.into_new()?;
    input::refuse_not_offered(&mutation.body)?;
    let command = Command::CreateCheckout(Box::new(new));
    let changed = edge.change(command, mutation.identity).await?;
    let Outcome::Checkout(session) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    // The name was looked at before anything else of the request.
    let host = reply::single(&headers, HOST).ok().flatten().unwrap_or_default();
    Ok(reply::json(StatusCode::OK, &SessionBody::new(&session, host)))
}

/// Read a checkout session
///
/// It is known for 30 days.
#[utoipa::path(get, path = "/checkouts/{id}", tag = "checkouts", params(("id" = String, Path)),
    responses((status = 200, body = StatusBody)))]
async fn get_checkout(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let found = view(&edge, CheckoutId::new(id)).await?;
    let found = found.ok_or_else(|| ApiError::not_found("checkout session"))?;
    Ok(reply::json(StatusCode::OK, &StatusBody::new(&found)))
}

async fn view(edge: &Edge, id: CheckoutId) -> Result<Option<CheckoutView>, Failure> {
    Ok(edge.read(move |engine| engine.checkout(&id)).await??)
}

impl SessionBody {
    fn new(session: &CheckoutSession, host: &str) -> Self {
        let (checkout_url, payment_id) = match &session.state {
            CheckoutState::Confirmed(confirmation) => {
                (None, Some(confirmation.payment.as_str().to_owned()))
            }
            CheckoutState::Open(_) | CheckoutState::Ended => {
                (Some(format!("http://{host}/checkout/{}", session.id)), None)
            }
        };
        Self {
            session_id: session.id.as_str().to_owned(),
            checkout_url,
            payment_id,
            client_secret: None,
            publishable_key: None,
        }
    }
}

impl StatusBody {
    fn new(view: &CheckoutView) -> Self {
        let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let known = view.customer.as_ref();
        let (mut email, mut name) = (
            known.and_then(|customer| filled(&customer.email)),
            known.and_then(|customer| filled(&customer.name)),
        );
        if let CheckoutState::Open(offer) = &view.session.state
            && let Some(Buyer::Addressed { email: given, name: called, .. }) = &offer.buyer
        {
            (email, name) = (filled(given), called.as_deref().and_then(filled));
        }
        let (payment_id, status) = view
            .payment
            .as_ref()
            .map(|(id, status)| (id.as_str().to_owned(), StatusWord::from(*status)))
            .unzip();
        Self {
            id: view.session.id.as_str().to_owned(),
            created_at: Instant(view.session.created_at),
            customer_email: email,
            customer_name: name,
            payment_id,
            payment_status: status,
        }
    }
}
