//! The page on which a person confirms an order.
//!
//! Whoever knows a session's id may see and confirm it: no key is asked for, nothing else can be done
//! with the id, and no other page can make a browser send one that it does not know. The pages have no
//! script, load one style sheet, and are neither stored nor framed.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use utoipa_axum::routes;

use super::order::{self, Field, Order, Row};
use super::view;
use crate::engine::Command;
use crate::engine::bills::{CheckoutView, InvoiceView};
use crate::http::auth::Open;
use crate::http::countries::COUNTRIES;
use crate::http::document::Document;
use crate::http::edge::Edge;
use crate::http::link::Link;
use crate::http::query::Parameters;
use crate::http::reply::{ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::{body, payments};
use crate::model::checkout::{CheckoutState, Confirmation};
use crate::model::{Causes, CheckoutId, PaymentStatus, SubscriptionId};

const STYLE: &str = include_str!("../templates/checkout.css");

/// Bytes of a filled-in form: seven fields of 255 characters of at most 4 bytes, each escaped with three.
const FORM_BYTES_MAX: usize = 32 * 1024;

/// The form.
#[derive(Template)]
#[template(path = "checkout_order.html", config = ".config/askama.toml")]
struct OrderPage<'p> {
    order: &'p Order,
    fields: &'p [Field],
    countries: &'p [(&'p str, &'p str)],
    problem: Option<String>,
}

/// What was bought.
#[derive(Template)]
#[template(path = "checkout_receipt.html", config = ".config/askama.toml")]
struct ReceiptPage<'p> {
    status: &'p str,
    rows: &'p [Row],
    total: &'p str,
    facts: &'p [(&'static str, String)],
    next: Option<&'p str>,
}

/// Why there is nothing to confirm.
#[derive(Template)]
#[template(path = "checkout_notice.html", config = ".config/askama.toml")]
struct NoticePage<'p> {
    title: &'p str,
    text: &'p str,
}

/// Adds the pages.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Open>(routes!(show_order))
        .add::<Open>(routes!(confirm_order))
        .add::<Open>(routes!(style))
}

/// The page of a checkout session, for people
///
/// It shows the order, asks for what is not known of the buyer, and has a button that confirms.
#[utoipa::path(get, path = "/checkout/{session_id}", tag = "checkouts",
    params(("session_id" = String, Path)),
    responses((status = 200, description = "The order", content_type = "text/html", body = String),
        (status = 404, description = "There is no such session", content_type = "text/html",
            body = String),
        (status = 410, description = "It was not confirmed in time", content_type = "text/html",
            body = String)))]
async fn show_order(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let Some(view) = view(&edge, CheckoutId::new(id)).await? else { return Ok(unknown()?) };
    match &view.session.state {
        CheckoutState::Confirmed(confirmation) => receipt(&edge, &view, confirmation).await,
        CheckoutState::Open(_) | CheckoutState::Ended => {
            Ok(form(&view, StatusCode::OK, None, |_| None)?)
        }
    }
}

/// Confirm an order, by a form
///
/// The answer sends the browser to the session's `return_url`, or to the page of the session. An order
/// that was confirmed already stays as it is, and the answer is the same.
#[utoipa::path(post, path = "/checkout/{session_id}", tag = "checkouts",
    params(("session_id" = String, Path)),
    request_body(content_type = "application/x-www-form-urlencoded", content = String,
        description = "`email`, `name`, `country`, `street`, `city`, `state`, `zipcode`, and `amount_0` and \
            so on for what the person chooses to pay"),
    responses((status = 303, description = "The order is made"),
        (status = 410, description = "It was not confirmed in time", content_type = "text/html",
            body = String),
        (status = 422, description = "The form, with what is wrong", content_type = "text/html",
            body = String)))]
async fn confirm_order(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Failure> {
    let written = read_form(&edge, request).await?;
    let id = CheckoutId::new(id);
    let Some(before) = view(&edge, id.clone()).await? else { return Ok(unknown()?) };
    if let CheckoutState::Confirmed(confirmation) = &before.session.state {
        return Ok(confirmed(&before, confirmation));
    }
    let Some(offer) = before.session.offer(before.now) else { return Ok(ended()?) };
    // What is not written is empty: nobody has seen what was proposed.
    let of = |name: &str| Some(written.text(name).ok().flatten().unwrap_or_default().to_owned());
    let mut fields = order::fields(&before, offer, of);
    let Some(by) = order::confirmed_by(&mut fields) else {
        let problem = "Something is missing or cannot be taken: see below.".to_owned();
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(order_page(&before, &fields, status, Some(problem))?);
    };
    let command = Command::ConfirmCheckout(id.clone(), Box::new(by));
    match edge.change(command, None).await {
        Ok(_confirmed) => {}
        Err(Failure::Refused(error)) if error.status() == StatusCode::GONE => return Ok(ended()?),
        Err(Failure::Refused(error)) => {
            let problem = format!("The order was not made: {}.", error.body().message);
            return Ok(order_page(&before, &fields, error.status(), Some(problem))?);
        }
        Err(Failure::NoAnswer) => return Err(Failure::NoAnswer),
    }
    let after = view(&edge, id).await?.ok_or_else(|| ApiError::not_found("checkout session"))?;
    match &after.session.state {
        CheckoutState::Confirmed(confirmation) => Ok(confirmed(&after, confirmation)),
        CheckoutState::Open(_) | CheckoutState::Ended => Err(ApiError::internal().into()),
    }
}

/// The style of the pages of checkout sessions
#[utoipa::path(get, path = "/checkout.css", tag = "checkouts",
    responses((status = 200, description = "A style sheet", content_type = "text/css",
        body = String)))]
async fn style() -> Response {
    let mut response = Response::new(STYLE.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn read_form(edge: &Edge, request: Request) -> Result<Parameters, ApiError> {
    let (parts, incoming) = request.into_parts();
    body::require_form(&parts.headers, incoming.is_end_stream())?;
    let text: Bytes = body::read(incoming, FORM_BYTES_MAX, edge.options.body_timeout).await?;
    Parameters::of_form(&text)
}

/// Sends the browser on: to where the client wants it, or to the receipt.
fn confirmed(view: &CheckoutView, confirmation: &Confirmation) -> Response {
    let page = format!("/checkout/{}", view.session.id);
    let next = next(view, confirmation).unwrap_or(page);
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    // An address is checked when a session takes it.
    if let Ok(next) = HeaderValue::try_from(next) {
        headers.insert(LOCATION, next);
    }
    protect(&mut response, None);
    response
}

/// The `return_url` with what was made of the order.
fn next(view: &CheckoutView, confirmation: &Confirmation) -> Option<String> {
    let link = Link::read(view.session.return_url.as_deref()?)?;
    let status = view.payment.as_ref().map(|(_, status)| payments::word(*status));
    let parameters = [
        ("payment_id", Some(confirmation.payment.as_str())),
        ("subscription_id", confirmation.subscription.as_ref().map(SubscriptionId::as_str)),
        ("status", status),
    ];
    let parameters: Vec<(&str, &str)> =
        parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Some(link.with(&parameters))
}

/// The form, or that it is too late for it.
fn form(
    view: &CheckoutView,
    status: StatusCode,
    problem: Option<String>,
    written: impl Fn(&str) -> Option<String>,
) -> Result<Response, ApiError> {
    let Some(offer) = view.session.offer(view.now) else { return ended() };
    order_page(view, &order::fields(view, offer, written), status, problem)
}

fn order_page(
    view: &CheckoutView,
    fields: &[Field],
    status: StatusCode,
    problem: Option<String>,
) -> Result<Response, ApiError> {
    let (Some(offer), Some(priced)) = (view.session.offer(view.now), &view.offer) else {
        return ended();
    };
    let order = Order::new(view, offer, priced);
    let page = OrderPage { order: &order, fields, countries: &COUNTRIES, problem };
    let next = view.session.return_url.as_deref().and_then(Link::read);
    answer(status, &page, next)
}

async fn receipt(
    edge: &Edge,
    view: &CheckoutView,
    confirmation: &Confirmation,
) -> Result<Response, Failure> {
    let id = confirmation.payment.clone();
    let invoice: Option<InvoiceView> = edge.read(move |engine| engine.invoice_of(&id)).await??;
    let invoice = invoice.ok_or_else(|| ApiError::not_found("invoice"))?;
    let document = Document::new(&invoice);
    let rows = document.rows().map(|[what, how, amount]| Row { what, how, amount });
    let rows: Vec<Row> = rows.collect();
    let payment = view.payment.as_ref();
    let facts = [
        ("Payment", payment.map(|(id, _)| id.to_string())),
        ("Subscription", confirmation.subscription.as_ref().map(ToString::to_string)),
        ("Invoice", Some(document.number().to_string())),
    ];
    let facts: Vec<(&str, String)> =
        facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let next = next(view, confirmation);
    let page = ReceiptPage {
        status: match payment.map(|(_, status)| *status) {
            Some(PaymentStatus::Succeeded) => "It is paid. Thank you.",
            Some(PaymentStatus::Processing) | None => "Thank you. Its payment is under way.",
            Some(PaymentStatus::Failed) => "Its payment has failed, and can be tried again.",
        },
        rows: &rows,
        total: document.total(),
        facts: &facts,
        next: next.as_deref(),
    };
    Ok(answer(StatusCode::OK, &page, None)?)
}

fn unknown() -> Result<Response, ApiError> {
    let text = "There is no order under this address. Ask whoever gave it to you for another.";
    notice(StatusCode::NOT_FOUND, "There is no such order", text)
}

fn ended() -> Result<Response, ApiError> {
    let text = "It was not confirmed in time, and nothing was bought. Start the order again where \
                you came from.";
    notice(StatusCode::GONE, "This order has ended", text)
}

fn notice(status: StatusCode, title: &str, text: &str) -> Result<Response, ApiError> {
    answer(status, &NoticePage { title, text }, None)
}

fn answer(
    status: StatusCode,
    page: &impl Template,
    next: Option<Link<'_>>,
) -> Result<Response, ApiError> {
    let text = page.render().map_err(|error| {
        tracing::error!(error = %Causes(&error), "print a checkout page");
        ApiError::internal()
    })?;
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    protect(&mut response, next);
    Ok(response)
}

/// What a page may do: load our style, and send its form here, from where the answer may lead to `next`.
fn protect(response: &mut Response, next: Option<Link<'_>>) {
    let next = next.map_or_else(String::new, |next| format!(" {}", next.source()));
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self'{next}; frame-ancestors 'none'; \
         base-uri 'none'"
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
