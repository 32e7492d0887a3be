//! What makes two mutating requests the same one, and the body of a request that changes something.
//!
//! A client that repeats a request says so with the same `Idempotency-Key`, or, as the Stainless
//! SDKs do by themselves, with a retry count above zero and the same body. The engine keeps the
//! digests made here with the change, and answers a repetition with the first one's outcome.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use hyper::body::Body as _;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use crate::engine::RequestIdentity;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::reply::{self, ApiError};
use crate::model::KeyId;

/// Characters of an `Idempotency-Key`.
const KEY_CHARS_MAX: usize = 255;

/// A request that changes something.
#[derive(Debug)]
pub(crate) struct Mutation {
    /// The body.
    pub(crate) body: Bytes,
    /// What makes a repetition of it known; only a POST can be repeated by mistake.
    pub(crate) identity: Option<RequestIdentity>,
    /// Who asks, and for what.
    caller: Option<(KeyId, String)>,
}

impl Mutation {
    /// What makes a repetition known of a request whose body holds a key for that. The header counts when
    /// both are given.
    ///
    /// # Errors
    /// 422 when the key has no or too many characters.
    pub(crate) fn keyed(&self, text: &str) -> Result<Option<RequestIdentity>, ApiError> {
        if !(1..=KEY_CHARS_MAX).contains(&text.chars().count()) {
            let message = format!("idempotency_key must have 1 to {KEY_CHARS_MAX} characters");
            return Err(ApiError::invalid("idempotency_key", message));
        }
        let Some((identity, (key, route))) = self.identity.zip(self.caller.as_ref()) else {
            return Ok(self.identity);
        };
        let own = || digest("explicit", [key.as_str(), route], text.as_bytes());
        Ok(Some(RequestIdentity {
            explicit: identity.explicit.or_else(|| Some(own())),
            ..identity
        }))
    }
}

impl FromRequest<Arc<Edge>> for Mutation {
    type Rejection = ApiError;

    async fn from_request(request: Request, edge: &Arc<Edge>) -> Result<Self, ApiError> {
        let (parts, incoming) = request.into_parts();
        body::require_json(&parts.headers, incoming.is_end_stream())?;
        let body = body::read(incoming, body::BYTES_MAX, edge.options.body_timeout).await?;
        let caller =
            parts.extensions.get::<Caller>().map(|Caller(key)| (key.clone(), route(&parts)));
        let identity = match &caller {
            Some((key, _)) if parts.method == Method::POST => Some(identity(key, &parts, &body)?),
            Some(_) | None => None,
        };
        Ok(Self { body, identity, caller })
    }
}

fn identity(key: &KeyId, parts: &Parts, body: &[u8]) -> Result<RequestIdentity, ApiError> {
    let route = route(parts);
    let explicit = idempotency_key(&parts.headers)?;
    Ok(RequestIdentity {
        explicit: explicit.map(|text| digest("explicit", [key.as_str(), &route], text.as_bytes())),
        content: digest("content", [key.as_str(), &route], body),
        is_retry: retry_count(&parts.headers) >= 1,
    })
}

fn route(parts: &Parts) -> String {
    format!("{} {}", parts.method, parts.uri.path())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let text = reply::single(headers, "idempotency-key");
    match text {
        Ok(None) => Ok(None),
        // A header's text is ASCII here, so that bytes are characters.
        Ok(Some(text)) if (1..=KEY_CHARS_MAX).contains(&text.len()) => Ok(Some(text)),
        Ok(Some(_)) | Err(()) => {
            let message =
                format!("Idempotency-Key must stand once and have 1 to {KEY_CHARS_MAX} characters");
            Err(ApiError::invalid("Idempotency-Key", message))
        }
    }
}

fn retry_count(headers: &HeaderMap) -> u32 {
    let text = reply::single(headers, "x-stainless-retry-count").ok().flatten();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A digest of all parts; no other way to cut the same bytes into parts has the same one.
fn digest(kind: &str, [key, route]: [&str; 2], content: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [kind.as_bytes(), key.as_bytes(), route.as_bytes(), content] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn of(
        key: &str,
        request: (&str, &str),
        headers: &[(&str, &str)],
        body: &str,
    ) -> RequestIdentity {
        let builder = Request::builder().method(request.0).uri(request.1);
        let builder =
            headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        identity(&KeyId::new(key), &parts, body.as_bytes()).unwrap()
    }

    const METERS: (&str, &str) = ("POST", "/meters");

    #[test]
    fn equal_requests_have_equal_digests_and_any_difference_shows() {
        let key = [("idempotency-key", "a")];
        let first = of("k1", METERS, &key, "{}");
        assert_eq!(first, of("k1", METERS, &key, "{}"));
        assert_ne!(first.content, of("k2", METERS, &key, "{}").content);
        assert_ne!(first.content, of("k1", ("POST", "/customers"), &key, "{}").content);
        assert_ne!(first.content, of("k1", METERS, &key, "{ }").content);
        assert_ne!(first.explicit, of("k2", METERS, &key, "{}").explicit);
        assert_ne!(first.explicit, of("k1", ("POST", "/customers"), &key, "{}").explicit);
        assert_ne!(first.explicit, of("k1", METERS, &[("idempotency-key", "b")], "{}").explicit);
        assert_eq!(first.explicit, of("k1", METERS, &key, "{ }").explicit);
    }

    #[test]
    fn a_key_text_and_the_same_body_do_not_meet() {
        let identity = of("k", METERS, &[("idempotency-key", "{}")], "{}");
        assert_ne!(identity.explicit, Some(identity.content));
    }

    #[test]
    fn only_a_retry_count_above_zero_is_a_retry() {
        for (text, expected) in
            [("0", false), ("1", true), ("2", true), ("x", false), ("-1", false)]
        {
            let identity = of("k", METERS, &[("x-stainless-retry-count", text)], "");
            assert_eq!(identity.is_retry, expected, "{text}");
            assert_eq!(identity.explicit, None);
        }
        assert!(!of("k", METERS, &[], "").is_retry);
    }

    #[test]
    fn an_idempotency_key_has_1_to_255_characters() {
        let check = |values: &[&str], expected: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("idempotency-key", value.parse().unwrap());
            }
            assert_eq!(idempotency_key(&headers).is_ok(), expected, "{values:?}");
        };
        check(&[], true);
        check(&["a"], true);
        check(&[&"k".repeat(255)], true);
        check(&[""], false);
        check(&[&"k".repeat(256)], false);
        check(&["a", "a"], false);
        check(&["é"], false);
    }
}
