//! The gate in front of every page: who looks, and what the key that signed in may do.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{COOKIE, HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Uri};

use tokio::time::Instant;

use super::answer::{self, NotShown};
use super::session::Secret;
use super::{Dashboard, to};
use crate::http::auth::SignedIn;
use crate::http::reply::{self, ApiError};
use crate::model::{KeyId, Scope};

/// The cookie that holds a session's secret.
pub(super) const COOKIE_NAME: &str = "quipu_session";
/// The header that holds a session's token.
const TOKEN: &str = "x-quipu-token";

/// Who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    /// The key that signed in.
    pub(super) key: KeyId,
    /// What it may do now.
    pub(super) scope: Scope,
    /// The session.
    pub(super) secret: Secret,
    /// Where the daemon is, as the browser knows it: for lines of code.
    pub(super) base: String,
}

impl Viewer {
    /// Whether forms are shown.
    pub(super) fn may_change(&self) -> bool {
        self.scope.allows(Scope::Admin)
    }

    /// Nothing, where the page is for those who may change things.
    ///
    /// # Errors
    /// 403, as the API says it.
    pub(super) fn require_admin(&self) -> Result<(), ApiError> {
        SignedIn { key: self.key.clone(), scope: self.scope }.caller(Scope::Admin).map(drop)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthorized)
    }
}

/// Lets a request through that has a session, and one that changes something only from our own pages.
pub(super) async fn require_session(
    State(dashboard): State<Arc<Dashboard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(viewer) = viewer(&dashboard, request.headers()) else {
        return signed_out(&request);
    };
    if is_change(request.method())
        && let Err(refused) = of_our_page(request.headers(), &viewer.secret)
    {
        return refused.into_response();
    }
    request.extensions_mut().insert(viewer.clone());
    let is_page = is_page(&request);
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<NotShown>() {
        Some(not_shown) if is_page => answer::notice(&dashboard.edge, &viewer, &not_shown),
        Some(not_shown) => not_shown.fragment(),
        None => response,
    }
}

/// Who is signed in with this request.
pub(super) fn viewer(dashboard: &Dashboard, headers: &HeaderMap) -> Option<Viewer> {
    let secret = secret(headers)?;
    let key = dashboard.sessions.key(&secret, Instant::now())?;
    let scope = dashboard.edge.engine.scope_of(&key)?;
    let host = reply::single(headers, HOST).ok().flatten().unwrap_or_default();
    let base = format!("http://{host}");
    scope.allows(Scope::Read).then_some(Viewer { key, scope, secret, base })
}

/// The session's secret in the request's cookies.
pub(super) fn secret(headers: &HeaderMap) -> Option<Secret> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(name, _)| name.trim() == COOKIE_NAME)
        .and_then(|(_, text)| Secret::read(text.trim()))
}

/// To the sign-in page and back, or 401 for what is no page.
fn signed_out(request: &Request) -> Response {
    if !is_page(request) {
        return ApiError::unauthorized().into_response();
    }
    let mut response = to(&sign_in_path(request.uri()));
    *response.status_mut() = StatusCode::FOUND;
    response
}

fn sign_in_path(uri: &Uri) -> String {
    let wanted = uri.path_and_query().map_or("", |text| text.as_str());
    format!("/dashboard/sign-in?next={}", super::tags::encoded(wanted))
}

/// Whether a person looks at what is answered, and not a script.
fn is_page(request: &Request) -> bool {
    let headers = request.headers();
    let path = request.uri().path();
    request.method() == Method::GET
        && !headers.contains_key("hx-request")
        && !path.starts_with("/dashboard/api/")
        && path != "/dashboard/live"
}

fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Whether a request that changes something was sent by a page of ours, in this session.
///
/// # Errors
/// 403
fn of_our_page(headers: &HeaderMap, secret: &Secret) -> Result<(), ApiError> {
    let token = reply::single(headers, TOKEN).ok().flatten();
    if is_same_origin(headers) && token.is_some_and(|token| secret.is_token(token)) {
        return Ok(());
    }
    let message = "only the dashboard's own pages may send this; load the page again";
    Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message))
}

/// Whether a browser says that a page of this host has sent the request. Whatever is no browser says
/// nothing, and has no session either.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    match reply::single(headers, "sec-fetch-site") {
        Ok(Some(site)) => site == "same-origin",
        Ok(None) => {
            let text = |name| reply::single(headers, name).ok().flatten();
            let origin = text(ORIGIN).and_then(|origin| origin.split_once("://"));
            origin
                .zip(text(HOST))
                .is_some_and(|((_, origin), host)| origin.eq_ignore_ascii_case(host))
        }
        Err(()) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_a_page_of_this_host_is_of_the_same_origin() {
        let check = |pairs: &[(&'static str, &str)], expected: bool| {
            assert_eq!(is_same_origin(&headers(pairs)), expected, "{pairs:?}");
        };
        let host = ("host", "localhost:8080");
        check(&[host, ("sec-fetch-site", "same-origin")], true);
        for site in ["cross-site", "same-site", "none", ""] {
            let origin = ("origin", "http://localhost:8080");
            check(&[host, origin, ("sec-fetch-site", site)], false);
        }
        check(&[host, ("origin", "http://localhost:8080")], true);
        check(&[host, ("origin", "https://LOCALHOST:8080")], true);
        for origin in ["http://localhost", "http://localhost:8080.evil", "null", "localhost:8080"] {
            check(&[host, ("origin", origin)], false);
        }
        check(&[host], false);
        let twice = ("sec-fetch-site", "same-origin");
        check(&[host, twice, twice], false);
    }

    #[test]
    fn a_change_needs_the_token_of_its_session() {
        let (secret, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let with =
            |token: &str| headers(&[("sec-fetch-site", "same-origin"), ("x-quipu-token", token)]);
        assert!(of_our_page(&with(&secret.token()), &secret).is_ok());
        assert_eq!(of_our_page(&with(&other.token()), &secret).unwrap_err().status(), 403);
        assert!(of_our_page(&with(""), &secret).is_err());
        let without = headers(&[("sec-fetch-site", "same-origin")]);
        assert!(of_our_page(&without, &secret).is_err());
        let elsewhere =
            headers(&[("sec-fetch-site", "cross-site"), ("x-quipu-token", &secret.token())]);
        assert!(of_our_page(&elsewhere, &secret).is_err());
    }

    #[test]
    fn the_secret_is_found_among_other_cookies() {
        let text = Secret::new([5; 32]).text();
        let cookie = format!("a=b; quipu_session={text}; quipu_session_2=x");
        assert_eq!(secret(&headers(&[("cookie", &cookie)])).unwrap().text(), text);
        assert!(secret(&headers(&[("cookie", "quipu_session=short")])).is_none());
        assert!(secret(&headers(&[("cookie", &format!("my_quipu_session={text}"))])).is_none());
    }

    #[test]
    fn the_way_back_is_one_parameter() {
        let uri: Uri = "/dashboard/events?customer_id=a%26b&x=1".parse().unwrap();
        assert_eq!(
            sign_in_path(&uri),
            "/dashboard/sign-in?next=%2Fdashboard%2Fevents%3Fcustomer_id%3Da%2526b%26x%3D1"
        );
    }
}
