//! One attempt: the request, and what became of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout};

use super::connect::Connector;
use super::sign;
use crate::engine::outbox::pump::Delivery;
use crate::engine::outbox::settle::{Attempt, Next};
use crate::model::{Causes, Endpoint, Timestamp};

/// From the first look-up to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer that are kept.
const KEPT_BYTES_MAX: usize = 512;
/// Characters of what has failed that are kept.
const ERROR_CHARS_MAX: usize = 500;
/// How long a connection that nobody uses stays open.
const IDLE: Duration = Duration::from_secs(20);
/// Such connections to a receiver.
const IDLE_MAX: usize = 4;

/// Sends requests to receivers.
pub(super) struct Poster {
    allow_loopback: bool,
    plain: Client<Connector, Full<Bytes>>,
    /// Nothing when this machine knows no authority whose certificates it could trust.
    secure: Option<Client<HttpsConnector<Connector>, Full<Bytes>>>,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster")
            .field("allow_loopback", &self.allow_loopback)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Slow,
    #[error("the URL or a header cannot be sent")]
    Unsendable(#[source] hyper::http::Error),
    #[error("this machine knows no authority whose certificates it could trust")]
    NoAuthorities,
    #[error("http:// needs webhooks.allow_loopback")]
    Plain,
    #[error("send the request")]
    Broken(#[source] hyper_util::client::legacy::Error),
}

impl Poster {
    /// Trusts the authorities that this machine trusts.
    pub(super) fn new(allow_loopback: bool) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX);
        let connector = Connector { allow_loopback };
        let secure = match HttpsConnectorBuilder::new().with_native_roots() {
            Ok(roots) => {
                Some(builder.build(roots.https_only().enable_http1().wrap_connector(connector)))
            }
            Err(error) => {
                let error = Causes(&error);
                tracing::warn!(%error, "no webhook can be sent to https://: read the authorities");
                None
            }
        };
        Self { allow_loopback, plain: builder.build(connector), secure }
    }

    /// Makes an attempt; `now` tells the machine's time.
    pub(super) async fn attempt(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        body: Option<Vec<u8>>,
        now: impl Fn() -> Timestamp,
    ) -> Attempt {
        let (at, began) = (now(), Instant::now());
        let sent = match body {
            Some(body) => self.send(endpoint, delivery, body.into(), at).await,
            None => Err("the message cannot be written".to_owned()),
        };
        let (status, error, answer) = match sent {
            Ok((status, answer)) => (Some(status), None, answer),
            Err(error) => (None, Some(error), String::new()),
        };
        let next = match status {
            Some(200..=299) => Next::Delivered,
            Some(_) | None => Next::after_failure(delivery.number, now()),
        };
        Attempt {
            message: delivery.id,
            event_type: delivery.notice.event_type,
            number: delivery.number,
            due: delivery.due,
            at,
            took_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            status,
            error,
            answer,
            next,
        }
    }

    /// Sends the request, and gives the answer's status and how it begins, or what has failed.
    async fn send(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        body: Bytes,
        at: Timestamp,
    ) -> Result<(u16, String), String> {
        let ends = Instant::now() + TIMEOUT;
        let left = || ends.saturating_duration_since(Instant::now());
        let answered = timeout(left(), self.request(endpoint, delivery, body, at)).await;
        let response = answered.unwrap_or(Err(NoAnswer::Slow)).map_err(|error| {
            Causes(&error).to_string().chars().take(ERROR_CHARS_MAX).collect::<String>()
        })?;
        let status = response.status().as_u16();
        let mut kept = Vec::new();
        // What the status says counts, however the body ends.
        let _ = timeout(left(), read(response.into_body(), &mut kept)).await;
        Ok((status, String::from_utf8_lossy(&kept).into_owned()))
    }

    async fn request(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        body: Bytes,
        at: Timestamp,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let request = request(endpoint, delivery, body, at).map_err(NoAnswer::Unsendable)?;
        let is_plain = request.uri().scheme_str() == Some("http");
        let answer = match &self.secure {
            // The setting may have changed since the endpoint was made.
            _ if is_plain && !self.allow_loopback => return Err(NoAnswer::Plain),
            _ if is_plain => self.plain.request(request).await,
            Some(secure) => secure.request(request).await,
            None => return Err(NoAnswer::NoAuthorities),
        };
        answer.map_err(NoAnswer::Broken)
    }
}

/// The request of an attempt: the time and the signatures are its own, all else is the message's.
fn request(
    endpoint: &Endpoint,
    delivery: &Delivery,
    body: Bytes,
    at: Timestamp,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let id = delivery.id.to_string();
    let seconds = at.as_nanos().div_euclid(1_000_000_000);
    let signatures = sign::signatures(endpoint.secrets(at), (&id, seconds), &body);
    let uri: Uri = endpoint.url.parse()?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(USER_AGENT, concat!("quipu/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", signatures)
        .body(Full::new(body))?;
    for (name, value) in &endpoint.headers {
        let (name, value): (HeaderName, HeaderValue) = (name.parse()?, value.parse()?);
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// Reads an answer as far as anybody cares, and keeps how it begins.
async fn read(mut body: Incoming, kept: &mut Vec<u8>) {
    let mut read = 0;
    while read < ANSWER_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        let Ok(data) = frame.into_data() else { continue };
        read += data.len();
        let room = KEPT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(data.get(..room).unwrap_or(&data));
    }
}
