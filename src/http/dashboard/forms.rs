//! What forms have in common that show what they would do.

use axum::extract::Request;
use hyper::StatusCode;
use hyper::body::Body;

use super::Dashboard;
use super::gate::Viewer;
use crate::http::body;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;

/// A page that is nothing but a form is for those who may send it.
///
/// # Errors
/// 403
pub(super) fn only_who_may_change(viewer: &Viewer) -> Result<(), ApiError> {
    if viewer.may_change() {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", "this key may only look"))
}

/// What a form on the page says so far: the body that it would send, with its examples.
///
/// # Errors
/// That it is no form of ours.
pub(super) async fn said(dashboard: &Dashboard, request: Request) -> Result<String, ApiError> {
    let (parts, incoming) = request.into_parts();
    body::require_form(&parts.headers, incoming.is_end_stream())?;
    let timeout = dashboard.edge.options.body_timeout;
    let text = body::read(incoming, body::BYTES_MAX, timeout).await?;
    let form = Parameters::of_form(&text)?;
    Ok(form.text("json")?.unwrap_or_default().to_owned())
}
