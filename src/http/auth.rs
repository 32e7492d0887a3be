//! Who may use a route: every route states its scope as a type, and the check runs before anything
//! of the body is read.

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};

use crate::http::edge::Edge;
use crate::http::reply::{self, ApiError};
use crate::model::{KeyId, Scope};

/// What a route asks of a caller.
pub(crate) trait RouteScope {
    /// The scope that a key must have; nothing when no key is needed.
    const NEEDED: Option<Scope>;
}

/// Anybody may use the route.
#[derive(Debug)]
pub(crate) enum Open {}
/// The route sends events.
#[derive(Debug)]
pub(crate) enum Ingest {}
/// The route reads.
#[derive(Debug)]
pub(crate) enum Read {}
/// The route changes things, or shows keys.
#[derive(Debug)]
pub(crate) enum Admin {}

impl RouteScope for Open {
    const NEEDED: Option<Scope> = None;
}
impl RouteScope for Ingest {
    const NEEDED: Option<Scope> = Some(Scope::Ingest);
}
impl RouteScope for Read {
    const NEEDED: Option<Scope> = Some(Scope::Read);
}
impl RouteScope for Admin {
    const NEEDED: Option<Scope> = Some(Scope::Admin);
}

/// Who asks from the dashboard: a session's key, and what it may do. Only the dashboard puts this on a
/// request, and it stands for the key that other requests have in their head.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    /// The key that signed in.
    pub(crate) key: KeyId,
    /// What it may do now.
    pub(crate) scope: Scope,
}

/// The key that a request was let in with.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) KeyId);

/// Lets a request in when its key has the scope that is needed.
///
/// # Errors
/// 401 without a valid key, 403 when its scope is too weak.
pub(crate) fn authorize(
    edge: &Edge,
    headers: &HeaderMap,
    needed: Scope,
) -> Result<Caller, ApiError> {
    let text = bearer(headers).ok_or_else(ApiError::unauthorized)?;
    let (key, scope) = edge.engine.authenticate(text).ok_or_else(ApiError::unauthorized)?;
    SignedIn { key, scope }.caller(needed)
}

impl SignedIn {
    /// The caller, when the scope is strong enough.
    ///
    /// # Errors
    /// 403
    pub(crate) fn caller(self, needed: Scope) -> Result<Caller, ApiError> {
        if self.scope.allows(needed) {
            return Ok(Caller(self.key));
        }
        let message = format!("this route needs a key with the scope {}", word(needed));
        Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message))
    }
}

/// A scope's name on the wire.
pub(crate) fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::Ingest => "ingest",
        Scope::Read => "read",
        Scope::Admin => "admin",
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = reply::single(headers, AUTHORIZATION).ok().flatten()?;
    let (scheme, text) = value.split_once(' ')?;
    let text = text.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn check(values: &[&'static str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        assert_eq!(bearer(&headers), expected, "{values:?}");
    }

    #[test]
    fn only_one_bearer_header_holds_a_key() {
        check(&["Bearer quipu_a_b"], Some("quipu_a_b"));
        check(&["bearer  quipu_a_b "], Some("quipu_a_b"));
        check(&[], None);
        check(&["Bearer"], None);
        check(&["Bearer "], None);
        check(&["Basic quipu_a_b"], None);
        check(&["quipu_a_b"], None);
        check(&["Bearer a", "Bearer a"], None);
    }
}
