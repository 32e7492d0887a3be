//! Webhook endpoints on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::input::{EndpointCreate, EndpointUpdate, HeadersUpdate};
use crate::engine::command::webhooks::WebhookCommand;
use crate::engine::{Command, Outcome, RequestIdentity};
use crate::http::auth::{Admin, Read};
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::scalar::Texts;
use crate::http::text::Instant;
use crate::model::webhook::{Disabled, WebhookSecret};
use crate::model::{Endpoint, EndpointId, EndpointIndex};

/// Entries of a page when the client does not say.
const LIMIT_DEFAULT: usize = 50;
/// Entries of a page at most.
const LIMIT_MAX: usize = 250;

/// A webhook endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookDetails)]
pub(super) struct EndpointBody {
    id: String,
    url: String,
    description: String,
    /// Whether nothing is sent there.
    disabled: bool,
    /// Why not: somebody said so, or no attempt has succeeded for five days.
    disabled_reason: Option<DisabledWord>,
    /// The first attempt that failed since the last that succeeded.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Instant>,
    /// `null` for all.
    filter_types: Option<Vec<&'static str>>,
    #[schema(value_type = BTreeMap<String, String>)]
    metadata: Texts,
    rate_limit: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = WebhookDisabledReason)]
#[serde(rename_all = "snake_case")]
enum DisabledWord {
    Request,
    Failing,
}

/// A page of a list. `done` says that it is the last one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cursor<T> {
    /// The entries.
    pub(super) data: Vec<T>,
    /// What the next page is asked for with; empty when there is none.
    pub(super) iterator: String,
    pub(super) done: bool,
}

/// A secret that messages are signed with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookSecret)]
struct SecretBody {
    /// `whsec_` and base64.
    secret: String,
}

/// Headers that every request to an endpoint gets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookHeaders)]
struct HeadersBody {
    #[schema(value_type = BTreeMap<String, String>)]
    headers: Texts,
    /// Always empty: whoever may read headers reads them all.
    sensitive: Vec<String>,
}

/// Adds the routes of endpoints.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_webhooks))
        .add::<Admin>(routes!(create_webhook))
        .add::<Read>(routes!(get_webhook))
        .add::<Admin>(routes!(update_webhook, delete_webhook))
        .add::<Admin>(routes!(get_webhook_secret))
        .add::<Admin>(routes!(rotate_webhook_secret))
        .add::<Admin>(routes!(get_webhook_headers, update_webhook_headers))
}

/// Create a webhook endpoint
///
/// What happens from now on is sent there. At most 50 at once.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = EndpointCreate<'static>,
    responses((status = 200, body = EndpointBody)))]
async fn create_webhook(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let create = body::object::<EndpointCreate<'_>>(&mutation.body)?;
    let identity = match &create.idempotency_key {
        Some(key) => mutation.keyed(key)?,
        None => mutation.identity,
    };
    let new = create.into_new(edge.options.webhooks_allow_loopback)?;
    let endpoint = change(&edge, WebhookCommand::Create(new), identity).await?;
    Ok(reply::json(StatusCode::OK, &EndpointBody::from(&*endpoint)))
}

/// List webhook endpoints
///
/// Oldest first. `limit` is 1 to 250, 50 by default.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks",
    params(("limit" = Option<u32>, Query), ("iterator" = Option<String>, Query)),
    responses((status = 200, body = Cursor<EndpointBody>)))]
async fn list_webhooks(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = page_limit(&parameters)?;
    let wish = "what the page before says";
    let last = parameters.parsed("iterator", wish, |text| text.parse().ok().map(EndpointIndex))?;
    // One more tells whether there is another page.
    let mut found = edge.engine.webhook_endpoints(last, limit + 1);
    let has_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more);
    let iterator = last.map(|last| last.index.0.to_string()).unwrap_or_default();
    let data = found.iter().map(|endpoint| EndpointBody::from(&**endpoint)).collect();
    Ok(reply::json(StatusCode::OK, &Cursor { data, iterator, done: !has_more }))
}

/// Read a webhook endpoint
#[utoipa::path(get, path = "/webhooks/{webhook_id}", tag = "webhooks",
    params(("webhook_id" = String, Path)), responses((status = 200, body = EndpointBody)))]
async fn get_webhook(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    Ok(reply::json(StatusCode::OK, &EndpointBody::from(&*find(&edge, id)?)))
}

/// Change a webhook endpoint
///
/// What is left out stays. Enabling it, or giving it another URL, begins a new count of failures.
#[utoipa::path(patch, path = "/webhooks/{webhook_id}", tag = "webhooks",
    params(("webhook_id" = String, Path)), request_body = EndpointUpdate<'static>,
    responses((status = 200, body = EndpointBody)))]
async fn update_webhook(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let update = body::object::<EndpointUpdate<'_>>(&mutation.body)?;
    let patch = update.into_patch(edge.options.webhooks_allow_loopback)?;
    let command = WebhookCommand::Update(EndpointId::new(id), patch);
    let endpoint = change(&edge, command, mutation.identity).await?;
    Ok(reply::json(StatusCode::OK, &EndpointBody::from(&*endpoint)))
}

/// Delete a webhook endpoint
#[utoipa::path(delete, path = "/webhooks/{webhook_id}", tag = "webhooks",
    params(("webhook_id" = String, Path)), responses((status = 200, description = "No body")))]
async fn delete_webhook(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    change(&edge, WebhookCommand::Delete(EndpointId::new(id)), mutation.identity).await?;
    Ok(reply::empty())
}

/// Read the secret of a webhook endpoint
#[utoipa::path(get, path = "/webhooks/{webhook_id}/secret", tag = "webhooks",
    params(("webhook_id" = String, Path)), responses((status = 200, body = SecretBody)))]
async fn get_webhook_secret(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let secret = find(&edge, id)?.secret;
    Ok(reply::json(StatusCode::OK, &SecretBody::from(secret)))
}

/// Give a webhook endpoint a new secret
///
/// For a day messages are signed with both the old one and the new one.
#[utoipa::path(post, path = "/webhooks/{webhook_id}/secret/rotate", tag = "webhooks",
    params(("webhook_id" = String, Path)), responses((status = 200, body = SecretBody)))]
async fn rotate_webhook_secret(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let command = WebhookCommand::RotateSecret(EndpointId::new(id));
    let secret = change(&edge, command, mutation.identity).await?.secret;
    Ok(reply::json(StatusCode::OK, &SecretBody::from(secret)))
}

/// Read the headers of a webhook endpoint
#[utoipa::path(get, path = "/webhooks/{webhook_id}/headers", tag = "webhooks",
    params(("webhook_id" = String, Path)), responses((status = 200, body = HeadersBody)))]
async fn get_webhook_headers(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let headers = Texts(find(&edge, id)?.headers.clone());
    Ok(reply::json(StatusCode::OK, &HeadersBody { headers, sensitive: Vec::new() }))
}

/// Change the headers of a webhook endpoint
///
/// Others stay; `null` takes one out. Names in lower case; those that the daemon sets are refused.
#[utoipa::path(patch, path = "/webhooks/{webhook_id}/headers", tag = "webhooks",
    params(("webhook_id" = String, Path)), request_body = HeadersUpdate<'static>,
    responses((status = 200, description = "No body")))]
async fn update_webhook_headers(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let changes = body::object::<HeadersUpdate<'_>>(&mutation.body)?.into_changes()?;
    let command = WebhookCommand::SetHeaders(EndpointId::new(id), changes);
    change(&edge, command, mutation.identity).await?;
    Ok(reply::empty())
}

pub(super) fn find(edge: &Edge, id: String) -> Result<Arc<Endpoint>, ApiError> {
    let found = edge.engine.webhook_endpoint(&EndpointId::new(id));
    found.ok_or_else(|| ApiError::not_found("webhook endpoint"))
}

/// Entries of the page that a request asks for.
pub(super) fn page_limit(parameters: &Parameters) -> Result<usize, ApiError> {
    let limit = parameters.whole("limit")?.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::query("limit", format!("limit must be from 1 to {LIMIT_MAX}")));
    }
    Ok(limit)
}

async fn change(
    edge: &Edge,
    command: WebhookCommand,
    identity: Option<RequestIdentity>,
) -> Result<Arc<Endpoint>, Failure> {
    match edge.change(Command::Webhook(Box::new(command)), identity).await?.outcome {
        Outcome::Endpoint(endpoint) => Ok(endpoint),
        Outcome::Meter(_)
        | Outcome::Customer(_)
        | Outcome::Key(_)
        | Outcome::Product(_)
        | Outcome::Entitlement(_)
        | Outcome::Subscription(_)
        | Outcome::Checkout(_)
        | Outcome::Payment(_)
        | Outcome::LedgerEntry(_)
        | Outcome::Alert(_)
        | Outcome::Reservation(_)
        | Outcome::Queued
        | Outcome::Clock(_) => Err(ApiError::internal().into()),
    }
}

/// A secret as receivers know it.
fn text_of(secret: WebhookSecret) -> String {
    format!("whsec_{}", STANDARD.encode(secret.0))
}

impl From<WebhookSecret> for SecretBody {
    fn from(secret: WebhookSecret) -> Self {
        Self { secret: text_of(secret) }
    }
}

impl From<&Endpoint> for EndpointBody {
    fn from(endpoint: &Endpoint) -> Self {
        let names = |types: &Vec<crate::model::EventType>| {
            types.iter().map(|event_type| event_type.name()).collect()
        };
        Self {
            id: endpoint.id.as_str().to_owned(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            disabled: endpoint.disabled.is_some(),
            disabled_reason: endpoint.disabled.map(|disabled| match disabled {
                Disabled::ByRequest => DisabledWord::Request,
                Disabled::Failing => DisabledWord::Failing,
            }),
            failing_since: endpoint.failing_since.map(Instant),
            filter_types: endpoint.filter.as_ref().map(names),
            metadata: Texts(endpoint.metadata.clone()),
            rate_limit: endpoint.rate_limit,
            created_at: Instant(endpoint.created_at),
            updated_at: Instant(endpoint.updated_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::webhook::SECRET_BYTES;

    #[test]
    fn a_secret_is_written_as_receivers_know_it() {
        assert_eq!(text_of(WebhookSecret([0; SECRET_BYTES])), format!("whsec_{}", "A".repeat(32)));
    }
}
