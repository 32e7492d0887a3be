//! How pages are answered: templates become HTML, failures become a page that says so, and everything has
//! the headers that keep other sites out.

use askama::Template;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::gate::Viewer;
use super::shell::{Place, Shell};
use super::table::Table;
use crate::http::edge::Edge;
use crate::http::query::Parameters;
use crate::http::reply::{ApiError, Failure};
use crate::model::Causes;

/// What a page may do: load our own scripts and styles, and talk to this daemon.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
);

/// What a screen's handler gives.
pub(super) type Answer = Result<Response, NotShown>;

/// Why a page is not shown. The gate makes a page of it, or a line for a part of a page.
#[derive(Clone, Debug)]
pub(super) struct NotShown(ApiError);

#[derive(Template)]
#[template(path = "dashboard/notice.html", config = ".config/askama.toml")]
struct Notice<'p> {
    shell: Shell,
    text: &'p str,
}

#[derive(Template)]
#[template(
    source = r#"<p class="wrong" role="alert">{{ text }}</p>"#,
    ext = "html",
    config = ".config/askama.toml"
)]
struct Line<'p> {
    text: &'p str,
}

impl NotShown {
    /// There is nothing of this kind under the address.
    pub(super) fn not_found(what: &str) -> Self {
        Self(ApiError::not_found(what))
    }

    /// One line of HTML.
    pub(super) fn fragment(&self) -> Response {
        html(self.0.status(), &Line { text: &self.0.body().message }).unwrap_or_default()
    }
}

/// Any failure of a handler; one that may not be answered closes the connection as it does in the API.
impl<E: Into<Failure>> From<E> for NotShown {
    fn from(error: E) -> Self {
        match error.into() {
            Failure::Refused(error) => Self(error),
            // Pages change nothing, so that nobody has to guess what became of it.
            Failure::NoAnswer => Self(ApiError::busy("the daemon stops")),
        }
    }
}

impl IntoResponse for NotShown {
    fn into_response(self) -> Response {
        let mut response = self.fragment();
        response.extensions_mut().insert(self);
        response
    }
}

/// A page that says why there is no other.
pub(super) fn notice(edge: &Edge, viewer: &Viewer, why: &NotShown) -> Response {
    let title = match why.0.status() {
        StatusCode::NOT_FOUND => "Not found",
        status if status.is_server_error() => "Something is wrong",
        _ => "This cannot be shown",
    };
    let shell = Shell::new(edge, viewer, Place::Nowhere, title);
    let page = Notice { shell, text: &why.0.body().message };
    html(why.0.status(), &page).unwrap_or_default()
}

/// A page, or a part of one.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Answer {
    let text = page.render().map_err(|error| {
        tracing::error!(error = %Causes(&error), "print a page of the dashboard");
        ApiError::internal()
    })?;
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    Ok(response)
}

/// 200 with a page, or a part of one.
pub(super) fn show(page: &impl Template) -> Answer {
    html(StatusCode::OK, page)
}

/// Whether `?format=csv` asks for a table as a file.
pub(super) fn wants_csv(parameters: &Parameters) -> Result<bool, ApiError> {
    Ok(parameters.parsed("format", "csv", |text| (text == "csv").then_some(()))?.is_some())
}

/// A table as a file.
pub(super) fn csv(table: &Table) -> Response {
    let mut response = Response::new(table.csv().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let name = format!("attachment; filename=\"quipu-{}.csv\"", table.name);
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    response
}

/// The headers of everything under `/dashboard`.
pub(super) async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    // A printed invoice, which the gateway hands on, has a policy of its own: it may do less.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
