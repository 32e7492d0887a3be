//! The one way in which pages change anything: a request for `/dashboard/api/meters` is handed to the API's
//! own `/meters` as a caller with the scope of the session's key, so that the same rules hold and the same
//! errors come back. The gate has checked the session, the origin and the token by then.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::Uri;
use hyper::header::{AUTHORIZATION, COOKIE};
use tower::ServiceExt;

use super::Dashboard;
use super::gate::Viewer;
use crate::http::auth::SignedIn;
use crate::http::reply::ApiError;

const PREFIX: &str = "/dashboard/api";

/// Hands a request to the API.
pub(super) async fn pass(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    request: Request,
) -> Response {
    let Some(uri) = behind_prefix(request.uri()) else {
        return ApiError::not_found("route").into_response();
    };
    let (parts, body) = request.into_parts();
    // Without the extensions of the way here: the API's router finds its own parts of the path.
    let mut inner = Request::new(body);
    *inner.method_mut() = parts.method;
    *inner.uri_mut() = uri;
    *inner.headers_mut() = parts.headers;
    inner.headers_mut().remove(COOKIE);
    inner.headers_mut().remove(AUTHORIZATION);
    inner.extensions_mut().insert(SignedIn { key: viewer.key, scope: viewer.scope });
    let Ok(response) = dashboard.api.clone().oneshot(inner).await;
    response
}

/// The API's own address, its percent-encoding as it came.
fn behind_prefix(uri: &Uri) -> Option<Uri> {
    uri.path_and_query()?.as_str().strip_prefix(PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_encoding() {
        let check = |text: &str, expected: Option<&str>| {
            let found = behind_prefix(&text.parse().unwrap());
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), expected, "{text}");
        };
        check("/dashboard/api/meters", Some("/meters"));
        check("/dashboard/api/events/a%2Fb%20c?x=%26", Some("/events/a%2Fb%20c?x=%26"));
        check("/dashboard/meters", None);
    }
}
