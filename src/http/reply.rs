//! Answers: JSON bodies, `{code, message}` errors, and the one place where an engine's refusal
//! becomes a status code.
//!
//! A [`Failure`] is either an error that the client gets to read, or no answer at all: when the log
//! has failed, nobody can say whether the request is applied, and the connection closes instead.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::bills::BillsError;
use crate::engine::command::EventRefusal;
use crate::engine::diagnosis::PreviewError;
use crate::engine::explain::ExplainError;
use crate::engine::refused::RefusedError;
use crate::engine::{InspectError, Refused, UsageError};
use crate::http::decode::DecodeError;
use crate::metering::Rule;
use crate::model::Causes;

/// How long a client should wait when a queue is full: a few commit groups.
const BUSY_RETRY_MS: u32 = 100;
/// How long a client should wait when too many reservations are open: their time runs out.
const RESERVATIONS_RETRY_MS: u32 = 1_000;
/// How long a client should wait for disk space: somebody has to free it.
const STORAGE_RETRY_MS: u32 = 5_000;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An error's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    /// What went wrong, for programs.
    #[schema(value_type = String)]
    pub(crate) code: &'static str,
    /// What went wrong, for people.
    pub(crate) message: String,
    /// The place of the offending event in the request, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event_index: Option<usize>,
    /// The offending field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
}

/// Whether the client should send the same request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// As its status says.
    ByStatus,
    /// After this many milliseconds.
    AfterMs(u32),
    /// Never: it cannot succeed.
    Never,
}

/// An error that the client gets to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    retry: Retry,
    /// Of events and their bodies what is wrong, more closely than the code says; not sent.
    reason: Option<&'static str>,
}

/// What becomes of a request that is not answered as its route promises.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client reads why.
    Refused(ApiError),
    /// The connection closes without an answer: the request may or may not be applied.
    NoAnswer,
}

/// Marks a response that must not be sent; see [`Failure::NoAnswer`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the log has failed before the request was answered")]
pub(crate) struct NoAnswer;

impl ApiError {
    /// An error of this status; `code` is for programs and `message` for people.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let body = ErrorBody { code, message: message.into(), event_index: None, field: None };
        Self { status, body, retry: Retry::ByStatus, reason: None }
    }

    /// No or a wrong key.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "a valid API key is needed")
    }

    /// The thing does not exist.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("{what} does not exist"))
    }

    /// The body is not well-formed JSON.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST_BODY", message)
    }

    /// A field of the body has a value it may not have.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::parameters(message).in_field(field)
    }

    /// A field of the body is not there that has to be.
    pub(crate) fn missing(field: &str) -> Self {
        Self::invalid(field, format!("{field} is missing"))
    }

    /// The body is well-formed and means nothing that can be done.
    pub(crate) fn parameters(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_REQUEST_PARAMETERS", message)
    }

    /// A query parameter has a value it may not have.
    pub(crate) fn query(parameter: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_QUERY_PARAMS", message)
            .in_field(parameter)
    }

    /// More metadata pairs than a general object may have.
    pub(crate) fn too_many_keys(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "MAXIMUM_KEYS_REACHED", message)
            .in_field("metadata")
    }

    /// The body is larger than `bytes_max`.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!("the body is larger than {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
    }

    /// Too much is going on; nothing was applied.
    pub(crate) fn busy(message: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message)
            .retried(Retry::AfterMs(BUSY_RETRY_MS))
    }

    /// The state forbids the request, and will.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", message).retried(Retry::Never)
    }

    /// The daemon is at fault.
    pub(crate) fn internal() -> Self {
        let message = "the request failed inside the daemon; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", message)
    }

    /// A request head that the parser refused with `status`.
    pub(crate) fn head(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                ("REQUEST_HEADER_FIELDS_TOO_LARGE", "the request's head is too large")
            }
            StatusCode::URI_TOO_LONG => ("URI_TOO_LONG", "the request's URI is too long"),
            _ => ("INVALID_REQUEST", "the request's head is malformed"),
        };
        Self::new(status, code, message)
    }

    /// The same, naming the offending field.
    pub(crate) fn in_field(mut self, field: impl Into<String>) -> Self {
        self.body.field = Some(field.into());
        self
    }

    /// The same, with what is wrong more closely.
    pub(crate) fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// What is wrong more closely than the code says: of an event the name of the rule that it breaks.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    fn retried(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body.
    pub(crate) fn body(&self) -> &ErrorBody {
        &self.body
    }
}

impl From<EventRefusal> for ApiError {
    fn from(refusal: EventRefusal) -> Self {
        let EventRefusal { event_index, rejection } = refusal;
        let message = format!("event {event_index}: {rejection}");
        let error = match rejection.rule {
            Rule::UnknownCustomer => Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message),
            Rule::Missing
            | Rule::WrongType
            | Rule::BadText
            | Rule::BadTimestamp
            | Rule::TooManyMetadata
            | Rule::TooOld
            | Rule::TooFarAhead
            | Rule::RepeatedId
            | Rule::Overflow => Self::parameters(message),
        };
        let mut error = error.in_field(rejection.field).because(rejection.rule.name());
        error.body.event_index = Some(event_index);
        error
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Event(refusal) => refusal.into(),
            Refused::NotFound(what) => Self::not_found(what),
            Refused::Conflict(message) => Self::conflict(message),
            Refused::Insufficient => {
                Self::new(StatusCode::BAD_REQUEST, "INSUFFICIENT_BALANCE", refused.to_string())
            }
            Refused::NotCovered => {
                Self::new(StatusCode::PAYMENT_REQUIRED, "INSUFFICIENT_BALANCE", refused.to_string())
                    .retried(Retry::Never)
            }
            Refused::TooManyReservations => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOO_MANY_RESERVATIONS",
                refused.to_string(),
            )
            .retried(Retry::AfterMs(RESERVATIONS_RETRY_MS)),
            Refused::Gone(message) => Self::new(StatusCode::GONE, "GONE", message),
            Refused::Invalid { field, message } => Self::invalid(&field, message),
            Refused::IdempotencyKeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "IDEMPOTENCY_KEY_REUSED",
                refused.to_string(),
            ),
            Refused::StorageFull => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage_full", refused.to_string())
                    .retried(Retry::AfterMs(STORAGE_RETRY_MS))
            }
            Refused::Busy => Self::busy("the daemon is busy"),
        }
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed { offset, message } => {
                Self::malformed(format!("malformed body at byte {offset}: {message}"))
                    .because("malformed")
            }
            DecodeError::TooManyEvents => {
                Self::invalid("events", "too many events").because("too_many_events")
            }
        }
    }
}

impl From<UsageError> for ApiError {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::UnknownMeter => Self::not_found("meter"),
            UsageError::UnknownCustomer => Self::not_found("customer"),
            UsageError::Storage(source) => storage("read usage", &source),
        }
    }
}

impl From<InspectError> for ApiError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::UnknownMeter => Self::not_found("meter"),
            InspectError::NameDiffersFromMeter => Self::new(
                StatusCode::BAD_REQUEST,
                "INVALID_QUERY_PARAMS",
                InspectError::NameDiffersFromMeter.to_string(),
            )
            .in_field("event_name"),
            error @ (InspectError::Log(_)
            | InspectError::History(_)
            | InspectError::Index(_)
            | InspectError::Payload(_)) => storage("read events", &error),
        }
    }
}

impl From<ExplainError> for ApiError {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Inspect(error) => error.into(),
            ExplainError::Usage(error) => error.into(),
            ExplainError::Bills(error) => error.into(),
        }
    }
}

impl From<PreviewError> for ApiError {
    fn from(error: PreviewError) -> Self {
        match error {
            PreviewError::Refused(refused) => refused.into(),
            PreviewError::Inspect(error) => error.into(),
        }
    }
}

impl From<RefusedError> for ApiError {
    fn from(error: RefusedError) -> Self {
        storage("read refused events", &error)
    }
}

impl From<BillsError> for ApiError {
    fn from(error: BillsError) -> Self {
        match error {
            BillsError::NotFound(what) => Self::not_found(what),
            error @ (BillsError::Rows(_) | BillsError::Codec(_) | BillsError::Bills(_)) => {
                storage("read bills", &error)
            }
        }
    }
}

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.body);
        let headers = response.headers_mut();
        match self.retry {
            Retry::ByStatus => {}
            Retry::AfterMs(wait) => {
                headers.insert(RETRY_AFTER_MS, wait.into());
            }
            Retry::Never => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(error) => error.into_response(),
            Self::NoAnswer => {
                let mut response = Response::new(Body::empty());
                response.extensions_mut().insert(NoAnswer);
                response
            }
        }
    }
}

/// A response with `value` as its JSON body.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("texts, integers and lists of them are JSON");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_JSON);
    response
}

/// 200 with no body, in the one form that every client library reads as such.
pub(crate) fn empty() -> Response {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// The value of a header that may stand once: `Ok(None)` when it is absent.
///
/// # Errors
/// When it stands more than once or is not text.
pub(crate) fn single(
    headers: &HeaderMap,
    name: impl hyper::header::AsHeaderName,
) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

fn storage(attempt: &str, source: &(dyn std::error::Error + 'static)) -> ApiError {
    tracing::error!(error = %Causes(source), "{attempt}");
    ApiError::internal()
}

#[cfg(test)]
mod tests {
    use crate::metering::Rejection;

    use super::*;

    fn check(error: ApiError, status: u16, body: &str) -> Response {
        assert_eq!(serde_json::to_string(&error.body).unwrap(), body);
        let response = error.into_response();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        response
    }

    fn event_refusal(rule: Rule) -> ApiError {
        let rejection =
            Rejection { rule, field: "metadata.tokens".into(), message: "is an array".into() };
        Refused::Event(EventRefusal { event_index: 3, rejection }).into()
    }

    #[test]
    fn a_broken_rule_names_the_event_and_the_field() {
        check(
            event_refusal(Rule::WrongType),
            422,
            r#"{"code":"INVALID_REQUEST_PARAMETERS","message":"event 3: metadata.tokens: is an array","event_index":3,"field":"metadata.tokens"}"#,
        );
        check(
            event_refusal(Rule::UnknownCustomer),
            404,
            r#"{"code":"NOT_FOUND","message":"event 3: metadata.tokens: is an array","event_index":3,"field":"metadata.tokens"}"#,
        );
    }

    #[test]
    fn a_conflict_is_not_worth_a_retry_and_a_full_queue_is() {
        let conflict = check(
            Refused::Conflict("customer exists".into()).into(),
            409,
            r#"{"code":"CONFLICT","message":"customer exists"}"#,
        );
        assert_eq!(conflict.headers()["x-should-retry"], "false");
        let busy = check(
            Refused::Busy.into(),
            503,
            r#"{"code":"SERVICE_UNAVAILABLE","message":"the daemon is busy"}"#,
        );
        assert_eq!(busy.headers()["retry-after-ms"], "100");
        let full = check(
            Refused::StorageFull.into(),
            503,
            r#"{"code":"storage_full","message":"the disk is nearly full"}"#,
        );
        assert_eq!(full.headers()["retry-after-ms"], "5000");
    }

    #[test]
    fn malformed_json_is_told_with_its_offset() {
        check(
            DecodeError::Malformed { offset: 17, message: "expected a value" }.into(),
            400,
            r#"{"code":"INVALID_REQUEST_BODY","message":"malformed body at byte 17: expected a value"}"#,
        );
    }

    #[test]
    fn a_missing_key_asks_for_a_bearer() {
        let response = ApiError::unauthorized().into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn a_request_without_an_answer_is_marked() {
        let response = Failure::NoAnswer.into_response();
        assert!(response.extensions().get::<NoAnswer>().is_some());
    }
}
