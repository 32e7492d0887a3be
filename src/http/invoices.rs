//! Invoices on the wire, and for people.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::header::{
    ACCEPT, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::{InvoiceFilter, InvoiceView};
use crate::http::auth::Read;
use crate::http::document::{self, Document};
use crate::http::edge::Edge;
use crate::http::invoice_line::InvoiceLineBody;
use crate::http::page::{self, Items, Paging};
use crate::http::period::PeriodBody;
use crate::http::query::Parameters;
use crate::http::rate::EntitlementIds;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::Instant;
use crate::model::{Causes, CustomerId, InvoiceId, PaymentId, SubscriptionId};

const PDF: &str = "application/pdf";

/// An invoice. It never changes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invoice)]
struct InvoiceBody {
    id: String,
    /// 1 is the first; there are no gaps.
    number: u64,
    /// `null` when nothing was subscribed to.
    subscription_id: Option<String>,
    customer_id: String,
    currency: String,
    /// In the currency's minor unit; the sum of the lines.
    total: i64,
    /// `null` when nothing was subscribed to.
    period: Option<PeriodBody>,
    /// The instant it was scheduled for.
    #[schema(value_type = String, format = DateTime)]
    due_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    lines: Vec<InvoiceLineBody>,
    /// It reflects every event up to here.
    cut_off_lsn: u64,
}

/// Adds the routes of invoices.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_invoices))
        .add::<Read>(routes!(get_invoice))
        .add::<Read>(routes!(print_invoice))
}

/// List invoices
///
/// Newest first.
#[utoipa::path(get, path = "/invoices", tag = "invoices",
    params(("customer_id" = Option<String>, Query), ("subscription_id" = Option<String>, Query),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<InvoiceBody>)))]
async fn list_invoices(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let filter = InvoiceFilter {
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
        subscription_id: parameters.text("subscription_id")?.map(SubscriptionId::new),
    };
    let found = edge.read(move |engine| engine.invoices(&filter, paging.into())).await??;
    let ids = |index| edge.engine.entitlement_id(index);
    let items = found.iter().map(|view| InvoiceBody::new(view, &ids)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// Read an invoice
#[utoipa::path(get, path = "/invoices/{id}", tag = "invoices", params(("id" = String, Path)),
    responses((status = 200, body = InvoiceBody)))]
async fn get_invoice(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let id = InvoiceId::new(id);
    let view = edge.read(move |engine| engine.invoice(&id)).await??;
    let view = view.ok_or_else(|| ApiError::not_found("invoice"))?;
    let ids = |index| edge.engine.entitlement_id(index);
    Ok(reply::json(StatusCode::OK, &InvoiceBody::new(&view, &ids)))
}

/// The invoice of a payment, for people
///
/// A page that can be printed, or a PDF for `accept: application/pdf`.
#[utoipa::path(get, path = "/invoices/payments/{payment_id}", tag = "invoices",
    params(("payment_id" = String, Path)),
    responses((status = 200, description = "The invoice",
        content((String = "text/html"), (Vec<u8> = "application/pdf")))))]
async fn print_invoice(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let id = PaymentId::new(id);
    let view = edge.read(move |engine| engine.invoice_of(&id)).await??;
    let view = view.ok_or_else(|| ApiError::not_found("payment"))?;
    if wants_pdf(&headers) { Ok(as_pdf(&view)) } else { Ok(as_page(&Document::new(&view))?) }
}

/// The invoice as a PDF.
pub(in crate::http) fn as_pdf(view: &InvoiceView) -> Response {
    let document = Document::new(view);
    let mut response = Response::new(document::pdf(&document).into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PDF));
    let name = format!("inline; filename=\"invoice-{}.pdf\"", document.number());
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    response
}

fn as_page(document: &Document) -> Result<Response, ApiError> {
    let page = document::html(document).map_err(|error| {
        tracing::error!(error = %Causes(&error), "print an invoice");
        ApiError::internal()
    })?;
    let mut response = Response::new(page.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; \
                  base-uri 'none'; form-action 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(response)
}

/// Whether a PDF is asked for by name, and not less than a page (RFC 9110, section 12.5.1).
fn wants_pdf(headers: &HeaderMap) -> bool {
    let (mut pdf, mut page) = (0, 0);
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(1_000, thousandths);
            if media_type.eq_ignore_ascii_case(PDF) {
                pdf = weight;
            } else if media_type.eq_ignore_ascii_case("text/html") {
                page = weight;
            }
        }
    }
    pdf > 0 && pdf >= page
}

/// A weight from 0 to 1 with at most three decimals, in thousandths; any other text is 0.
fn thousandths(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let padded = format!("{fraction:0<3}");
    match (whole, padded.get(..3).and_then(|digits| digits.parse().ok())) {
        ("1", _) => 1_000,
        ("0", Some(thousandths)) => thousandths,
        _ => 0,
    }
}

impl InvoiceBody {
    fn new(view: &InvoiceView, entitlements: EntitlementIds<'_>) -> Self {
        let invoice = &view.invoice;
        let ids = view.meter_ids.iter().zip(&view.product_ids);
        let lines = invoice.lines.iter().zip(ids).map(|(line, (meter, product))| {
            InvoiceLineBody::new(line, meter.as_ref(), Some(product), entitlements)
        });
        Self {
            id: invoice.id.as_str().to_owned(),
            number: invoice.number.0,
            subscription_id: view.subscription_id.as_ref().map(|id| id.as_str().to_owned()),
            customer_id: view.customer_id.as_str().to_owned(),
            currency: invoice.currency.to_string(),
            total: invoice.total.as_minor(),
            period: invoice.period.map(PeriodBody::from),
            due_at: Instant(invoice.due_at),
            created_at: Instant(invoice.created_at),
            lines: lines.collect(),
            cut_off_lsn: invoice.cut_off_lsn.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::document::tests::{purchase, sample};

    #[test]
    fn an_invoice_prints_every_member() {
        let printed =
            serde_json::to_string(&InvoiceBody::new(&sample("Ada", 0), &|_| None)).unwrap();
        assert_eq!(
            printed,
            r#"{"id":"inv_1","number":12,"subscription_id":"sub_1","customer_id":"cus_1","currency":"USD","total":7900,"period":{"start":"2026-10-22T10:00:00Z","end":"2026-11-22T10:00:00Z"},"due_at":"2026-11-22T10:00:00Z","created_at":"2026-11-22T11:10:00.25Z","lines":[{"meter_id":null,"product_id":"pdt_1","description":"Plan","quantity":1,"consumed_units":null,"free_threshold":null,"chargeable_units":null,"price_per_unit":null,"price_version":2,"amount":4900,"first_lsn":null,"last_lsn":null},{"meter_id":"mtr_1","product_id":"pdt_1","description":"Tokens (tokens)","quantity":null,"consumed_units":"2500","free_threshold":1000,"chargeable_units":"1500","price_per_unit":"2","price_version":2,"amount":3000,"first_lsn":3,"last_lsn":9}],"cut_off_lsn":9}"#
        );
    }

    #[test]
    fn an_invoice_of_a_purchase_has_no_subscription() {
        let printed = serde_json::to_value(InvoiceBody::new(&purchase(), &|_| None)).unwrap();
        assert_eq!(printed["subscription_id"], serde_json::Value::Null);
        assert_eq!(printed["period"], serde_json::Value::Null);
        assert_eq!(printed["lines"][0]["quantity"], 3);
        assert_eq!(printed["total"], 3000);
    }

    #[test]
    fn a_pdf_is_for_those_who_ask_for_it_by_name() {
        for (accept, expected) in [
            ("application/pdf", true),
            ("Application/PDF;q=0.5", true),
            ("text/html, application/pdf", true),
            ("text/html, application/pdf;q=0.9", false),
            ("text/html;q=0.8, application/pdf;q=0.85", true),
            ("application/pdf;q=0", false),
            ("*/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_pdf(&headers), expected, "{accept}");
        }
    }
}
