//! Signing in with an API key, and out again.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::{HeaderValue, ORIGIN, SET_COOKIE};
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::gate::{self, COOKIE_NAME, Viewer};
use super::{Dashboard, assets, session, to};
use crate::http::body;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::model::Scope;

/// Bytes of the form: a key and an address.
const FORM_BYTES_MAX: usize = 16 * 1024;

#[derive(Template)]
#[template(path = "dashboard/sign_in.html", config = ".config/askama.toml")]
struct SignIn<'p> {
    /// What was wrong.
    problem: Option<&'p str>,
    /// Where to go afterwards.
    next: &'p str,
    assets: &'static assets::Paths,
}

/// The form.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    parameters: Parameters,
    request: Request,
) -> Answer {
    let next = next(&parameters)?;
    if gate::viewer(&dashboard, request.headers()).is_some() {
        return Ok(to(&next));
    }
    form(StatusCode::OK, None, &next)
}

/// Begins a session when the key may read.
pub(super) async fn begin(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Answer {
    let (parts, incoming) = request.into_parts();
    body::require_form(&parts.headers, incoming.is_end_stream())?;
    let text = body::read(incoming, FORM_BYTES_MAX, dashboard.edge.options.body_timeout).await?;
    let written = Parameters::of_form(&text)?;
    let next = next(&written)?;
    if !gate::is_same_origin(&parts.headers) {
        let problem = "This form was sent by another site. Send it from here.";
        return form(StatusCode::FORBIDDEN, Some(problem), &next);
    }
    let now = Instant::now();
    if !dashboard.sessions.may_try(now) {
        let problem = "Too many wrong keys. Wait a minute and try again.";
        return form(StatusCode::TOO_MANY_REQUESTS, Some(problem), &next);
    }
    let key = written.text("key")?.unwrap_or_default().trim();
    let Some((key, scope)) = dashboard.edge.engine.authenticate(key) else {
        dashboard.sessions.failed(now);
        let problem =
            "No key has this text. It begins with quipu_, and is shown once when it is made.";
        return form(StatusCode::UNAUTHORIZED, Some(problem), &next);
    };
    if !scope.allows(Scope::Read) {
        let problem =
            "This key may only send events. Sign in with one whose scope is read or admin.";
        return form(StatusCode::FORBIDDEN, Some(problem), &next);
    }
    let secret = dashboard.secret();
    dashboard.sessions.begin(&secret, key, now);
    let origin = parts.headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_secure = origin.is_some_and(|origin| origin.starts_with("https://"));
    let mut response = to(&next);
    set_cookie(&mut response, &secret.text(), session::LIFETIME.as_secs(), is_secure)?;
    Ok(response)
}

/// Ends the session.
pub(super) async fn end(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer) -> Answer {
    dashboard.sessions.end(&viewer.secret);
    let mut response = to("/dashboard/sign-in");
    set_cookie(&mut response, "", 0, false)?;
    Ok(response)
}

fn form(status: StatusCode, problem: Option<&str>, next: &str) -> Answer {
    answer::html(status, &SignIn { problem, next, assets: assets::paths() })
}

/// Where to go when signed in: a page of the dashboard and nowhere else.
fn next(parameters: &Parameters) -> Result<String, ApiError> {
    let wanted = parameters.text("next")?.filter(|path| is_page(path));
    Ok(wanted.unwrap_or(super::PATH).to_owned())
}

fn is_page(path: &str) -> bool {
    let rest = path.strip_prefix(super::PATH);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !path.starts_with("/dashboard/sign-")
}

fn set_cookie(
    response: &mut Response,
    value: &str,
    seconds: u64,
    is_secure: bool,
) -> Result<(), ApiError> {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE_NAME}={value}; HttpOnly; SameSite=Strict; Path=/dashboard; Max-Age={seconds}{secure}"
    );
    let cookie = HeaderValue::try_from(cookie).map_err(|_| ApiError::internal())?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_leads_to_a_page_of_the_dashboard_alone() {
        for path in ["/dashboard", "/dashboard/meters", "/dashboard?x=1", "/dashboard/a%20b?c=d"] {
            assert!(is_page(path), "{path}");
        }
        let elsewhere = [
            "",
            "/",
            "/meters",
            "//evil",
            "https://evil/dashboard",
            "/dashboards",
            "/dashboard\\evil",
            "/dashboard/\r\nset-cookie: a",
            "/dashboard/sign-in",
            "/dashboard/sign-out",
        ];
        for path in elsewhere {
            assert!(!is_page(path), "{path}");
        }
    }
}
