//! What became of messages, and asking for them again.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::endpoints::{Cursor, find, page_limit};
use crate::engine::Command;
use crate::engine::command::webhooks::WebhookCommand;
use crate::engine::outbox::reads::Logged;
use crate::engine::outbox::settle::Next;
use crate::http::auth::{Admin, Read};
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment, Segments};
use crate::http::text::Instant;
use crate::model::{EndpointId, Lsn, MessageId, Timestamp};

/// Messages that are asked for again by one record.
const ASKED_AT_ONCE: usize = 1_000;

/// An attempt to deliver a message. Instants are the machine's clock's, under a test clock too.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookAttempt)]
struct AttemptBody {
    message_id: String,
    event_type: &'static str,
    /// 1 for the first; anew when the message was asked for again.
    attempt: u32,
    outcome: OutcomeWord,
    #[schema(value_type = String, format = DateTime)]
    attempted_at: Instant,
    duration_ms: u32,
    /// The answer's status; `null` when there was no answer.
    status: Option<u16>,
    /// Why there was none.
    error: Option<String>,
    /// The first 512 bytes of the answer.
    response: String,
    /// When it is tried again; `null` when it arrived or was given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = WebhookAttemptOutcome)]
#[serde(rename_all = "snake_case")]
enum OutcomeWord {
    Succeeded,
    Failed,
    /// It has failed, and is not tried again.
    GivenUp,
}

/// A message that is on its way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookMessage)]
struct MessageBody {
    message_id: String,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = WebhookRecover)]
struct Recover {
    /// RFC 3339
    #[schema(value_type = String, format = DateTime)]
    since: Option<String>,
}

/// How many messages are on their way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookRecovered)]
struct RecoveredBody {
    message_count: usize,
}

/// Adds the routes of attempts.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_webhook_attempts))
        .add::<Admin>(routes!(resend_webhook_message))
        .add::<Admin>(routes!(recover_webhook))
        .add::<Admin>(routes!(test_webhook))
}

/// List attempts to deliver messages to an endpoint
///
/// Newest first. `outcome` is `succeeded` or `failed`, which covers `given_up`.
#[utoipa::path(get, path = "/webhooks/{webhook_id}/attempts", tag = "webhooks",
    params(("webhook_id" = String, Path), ("message_id" = Option<String>, Query),
        ("outcome" = Option<String>, Query), ("limit" = Option<u32>, Query),
        ("iterator" = Option<String>, Query)),
    responses((status = 200, body = Cursor<AttemptBody>)))]
async fn list_webhook_attempts(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let endpoint = find(&edge, id)?.index;
    let limit = page_limit(&parameters)?;
    let below = parameters.parsed("iterator", "what the page before says", place)?;
    let message = parameters.parsed("message_id", "a message's id", MessageId::parse)?;
    let succeeded = parameters.parsed("outcome", "succeeded or failed", |text| match text {
        "succeeded" => Some(true),
        "failed" => Some(false),
        _ => None,
    })?;
    // One more tells whether there is another page.
    let found = edge.read(move |engine| {
        engine.webhook_attempts(endpoint, below, limit + 1, |attempt| {
            message.is_none_or(|wanted| wanted == attempt.message)
                && succeeded.is_none_or(|wanted| wanted == (attempt.next == Next::Delivered))
        })
    });
    let mut found = found.await??;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more);
    let iterator = last.map(|last| text_of(last.place)).unwrap_or_default();
    let data = found.into_iter().map(AttemptBody::from).collect();
    Ok(reply::json(StatusCode::OK, &Cursor { data, iterator, done: !has_more }))
}

/// Send a message again
///
/// At once, and as often as a new one: whether it has arrived before or was given up.
#[utoipa::path(post, path = "/webhooks/{webhook_id}/messages/{message_id}/resend", tag = "webhooks",
    params(("webhook_id" = String, Path), ("message_id" = String, Path)),
    responses((status = 200, body = MessageBody)))]
async fn resend_webhook_message(
    State(edge): State<Arc<Edge>>,
    Segments(id, message): Segments,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let endpoint = find(&edge, id)?;
    let unknown = || ApiError::not_found("webhook message");
    let message = MessageId::parse(&message).ok_or_else(unknown)?;
    let notice = edge.read(move |engine| engine.notice(message)).await??;
    notice.filter(|notice| notice.to.contains(&endpoint.index)).ok_or_else(unknown)?;
    let command = WebhookCommand::Requeue(endpoint.id.clone(), vec![message]);
    edge.change(Command::Webhook(Box::new(command)), mutation.identity).await?;
    Ok(reply::json(StatusCode::OK, &MessageBody { message_id: message.to_string() }))
}

/// Send again what an endpoint did not get
///
/// All messages that tell of something at `since` or later and have not arrived: those that were given up,
/// and those that wait for another attempt.
#[utoipa::path(post, path = "/webhooks/{webhook_id}/recover", tag = "webhooks",
    params(("webhook_id" = String, Path)), request_body = Recover,
    responses((status = 200, body = RecoveredBody)))]
async fn recover_webhook(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let endpoint = find(&edge, id)?;
    let since = body::object::<Recover>(&mutation.body)?.since;
    let since = since.ok_or_else(|| ApiError::missing("since"))?;
    let since = Timestamp::parse(&since).map_err(|_| {
        ApiError::invalid(
            "since",
            "since must be an RFC 3339 date-time such as 2026-01-31T00:00:00Z",
        )
    })?;
    let (mut count, mut below) = (0, None);
    loop {
        let index = endpoint.index;
        let found =
            edge.read(move |engine| engine.undelivered_since(index, since, below, ASKED_AT_ONCE));
        let found = found.await??;
        let Some(last) = found.last().copied() else { break };
        (count, below) = (count + found.len(), Some(last));
        requeue(&edge, &endpoint.id, found).await?;
    }
    if count == 0 {
        // Whoever may not be sent to is refused all the same.
        requeue(&edge, &endpoint.id, Vec::new()).await?;
    }
    Ok(reply::json(StatusCode::OK, &RecoveredBody { message_count: count }))
}

async fn requeue(
    edge: &Edge,
    endpoint: &EndpointId,
    messages: Vec<MessageId>,
) -> Result<(), Failure> {
    let command = WebhookCommand::Requeue(endpoint.clone(), messages);
    edge.change(Command::Webhook(Box::new(command)), None).await.map(drop)
}

/// Try whether messages arrive at an endpoint
///
/// Sends it a message of the type `webhook.test`, whatever it asks for.
#[utoipa::path(post, path = "/webhooks/{webhook_id}/test", tag = "webhooks",
    params(("webhook_id" = String, Path)), responses((status = 200, body = MessageBody)))]
async fn test_webhook(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let command = Command::Webhook(Box::new(WebhookCommand::Test(EndpointId::new(id))));
    let lsn = edge.change(command, mutation.identity).await?.lsn;
    let message_id = MessageId { lsn, number: 0 }.to_string();
    Ok(reply::json(StatusCode::OK, &MessageBody { message_id }))
}

/// The place that an iterator names.
pub(in crate::http) fn place(text: &str) -> Option<(Lsn, u32)> {
    let (lsn, number) = text.split_once('-')?;
    Some((Lsn(lsn.parse().ok()?), number.parse().ok()?))
}

/// The iterator that names a place.
pub(in crate::http) fn text_of((lsn, number): (Lsn, u32)) -> String {
    format!("{}-{number}", lsn.0)
}

impl From<Logged> for AttemptBody {
    fn from(logged: Logged) -> Self {
        let attempt = logged.attempt;
        let (outcome, next) = match attempt.next {
            Next::Delivered => (OutcomeWord::Succeeded, None),
            Next::Retry(at) => (OutcomeWord::Failed, Some(at)),
            Next::GivenUp => (OutcomeWord::GivenUp, None),
        };
        Self {
            message_id: attempt.message.to_string(),
            event_type: attempt.event_type.name(),
            attempt: attempt.number,
            outcome,
            attempted_at: Instant(attempt.at),
            duration_ms: attempt.took_ms,
            status: attempt.status,
            error: attempt.error,
            response: attempt.answer,
            next_attempt_at: next.map(Instant),
        }
    }
}
