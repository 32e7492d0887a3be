//! Payments on the wire.

mod output;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::{PaymentFilter, PaymentView};
use crate::engine::command::billing::Mark;
use crate::engine::{Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::page::{self, Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::{body, price, text};
use crate::model::{CustomerId, Payment, PaymentId, PaymentStatus, ProductId, SubscriptionId};

use output::{LineItemsBody, ListedBody, PaymentBody};

/// Characters of what a client says about a failure.
const ERROR_CHARS_MAX: usize = 500;

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PaymentStatus)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum StatusWord {
    Succeeded,
    Failed,
    Cancelled,
    Processing,
    RequiresCustomerAction,
    RequiresMerchantAction,
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresCapture,
    PartiallyCaptured,
    PartiallyCapturedAndCapturable,
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[schema(as = PaymentMarkStatus)]
#[serde(rename_all = "snake_case")]
enum MarkWord {
    Succeeded,
    Failed,
}

#[derive(Deserialize, ToSchema)]
struct PaymentMark {
    #[schema(value_type = MarkWord)]
    status: Option<MarkWord>,
    /// Why it has failed, for programs.
    error_code: Option<String>,
    /// Why it has failed, for people.
    error_message: Option<String>,
}

/// Another attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ManualRetry)]
struct RetryBody {
    payment_id: String,
    status: StatusWord,
    retry_attempt: u32,
}

/// Whether a payment can be tried again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ManualRetryState)]
struct RetryStateBody {
    payment_id: String,
    can_retry: bool,
    status: StatusWord,
    retry_attempt: u32,
}

/// Adds the routes of payments.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_payments))
        .add::<Read>(routes!(get_payment))
        .add::<Read>(routes!(get_line_items))
        .add::<Read>(routes!(get_retry_state))
        .add::<Admin>(routes!(retry_payment))
        .add::<Admin>(routes!(mark_payment))
}

/// List payments
///
/// Newest first.
#[utoipa::path(get, path = "/payments", tag = "payments",
    params(("customer_id" = Option<String>, Query), ("subscription_id" = Option<String>, Query),
        ("product_id" = Option<String>, Query), ("status" = Option<StatusWord>, Query),
        ("currency" = Option<String>, Query), ("brand_id" = Option<String>, Query),
        ("created_at_gte" = Option<String>, Query, format = DateTime),
        ("created_at_lte" = Option<String>, Query, format = DateTime),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<ListedBody>)))]
async fn list_payments(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let found = match filter(&parameters)? {
        Some(filter) if edge.is_our_brand(&parameters)? => {
            edge.read(move |engine| engine.payments(&filter, paging.into())).await??
        }
        Some(_) | None => Vec::new(),
    };
    let items = found.iter().map(|view| ListedBody::new(view, &edge)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// What a list asks for; nothing when no payment can be so.
fn filter(parameters: &Parameters) -> Result<Option<PaymentFilter>, ApiError> {
    let status = parameters.parsed("status", "a payment's status", |word| {
        serde_json::from_value::<StatusWord>(serde_json::Value::from(word)).ok()
    })?;
    let currency = parameters.text("currency")?.map(|code| price::currency("currency", code));
    let filter = PaymentFilter {
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
        subscription_id: parameters.text("subscription_id")?.map(SubscriptionId::new),
        product_id: parameters.text("product_id")?.map(ProductId::new),
        status: status.and_then(StatusWord::status),
        currency: currency.transpose()?,
        created_from: parameters.timestamp("created_at_gte")?,
        created_to: parameters.timestamp("created_at_lte")?,
    };
    let can_be = status.is_none_or(|word| word.status().is_some());
    Ok(can_be.then_some(filter))
}

/// Read a payment
#[utoipa::path(get, path = "/payments/{payment_id}", tag = "payments",
    params(("payment_id" = String, Path)), responses((status = 200, body = PaymentBody)))]
async fn get_payment(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let view = read(&edge, PaymentId::new(id)).await?;
    Ok(reply::json(StatusCode::OK, &PaymentBody::new(&view, &edge)))
}

/// What a payment pays, line by line
#[utoipa::path(get, path = "/payments/{payment_id}/line-items", tag = "payments",
    params(("payment_id" = String, Path)), responses((status = 200, body = LineItemsBody)))]
async fn get_line_items(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let id = PaymentId::new(id);
    let invoice = edge.read(move |engine| engine.invoice_of(&id)).await??;
    let invoice = invoice.ok_or_else(|| ApiError::not_found("payment"))?;
    Ok(reply::json(StatusCode::OK, &LineItemsBody::new(&invoice)))
}

/// Whether a payment can be tried again
#[utoipa::path(get, path = "/payments/{payment_id}/retry", tag = "payments",
    params(("payment_id" = String, Path)), responses((status = 200, body = RetryStateBody)))]
async fn get_retry_state(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, Failure> {
    let PaymentView { payment, is_newest, .. } = read(&edge, PaymentId::new(id)).await?;
    let state = RetryStateBody {
        payment_id: payment.id.as_str().to_owned(),
        can_retry: is_newest && payment.status == PaymentStatus::Failed,
        status: payment.status.into(),
        retry_attempt: payment.retry_attempt,
    };
    Ok(reply::json(StatusCode::OK, &state))
}

/// Try a payment that has failed again
///
/// This makes another payment of the same invoice.
#[utoipa::path(post, path = "/payments/{payment_id}/retry", tag = "payments",
    params(("payment_id" = String, Path)), responses((status = 200, body = RetryBody)))]
async fn retry_payment(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let payment = changed(&edge, Command::RetryPayment(PaymentId::new(id)), mutation).await?;
    let retry = RetryBody {
        payment_id: payment.id.as_str().to_owned(),
        status: payment.status.into(),
        retry_attempt: payment.retry_attempt,
    };
    Ok(reply::json(StatusCode::OK, &retry))
}

/// Say what became of a payment
///
/// With manual collection payments wait for this. A first payment that has succeeded begins its
/// subscription; one that has failed puts the subscription on hold until another attempt succeeds.
#[utoipa::path(post, path = "/payments/{payment_id}/mark", tag = "payments",
    params(("payment_id" = String, Path)), request_body = PaymentMark,
    responses((status = 200, body = PaymentBody)))]
async fn mark_payment(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let mark = body::object::<PaymentMark>(&mutation.body)?.into_mark()?;
    let payment = changed(&edge, Command::MarkPayment(PaymentId::new(id), mark), mutation).await?;
    let view = read(&edge, payment.id.clone()).await?;
    Ok(reply::json(StatusCode::OK, &PaymentBody::new(&PaymentView { payment, ..view }, &edge)))
}

async fn changed(
    edge: &Edge,
    command: Command,
    mutation: Mutation,
) -> Result<Arc<Payment>, Failure> {
    let Outcome::Payment(payment) = edge.change(command, mutation.identity).await?.outcome else {
        return Err(ApiError::internal().into());
    };
    Ok(payment)
}

async fn read(edge: &Edge, id: PaymentId) -> Result<PaymentView, Failure> {
    let view = edge.read(move |engine| engine.payment(&id)).await??;
    Ok(view.ok_or_else(|| ApiError::not_found("payment"))?)
}

impl PaymentMark {
    fn into_mark(self) -> Result<Mark, ApiError> {
        let word = self.status.ok_or_else(|| ApiError::missing("status"))?;
        let line = |field: &str, text: Option<String>| {
            text.map(|text| text::line(field, text, ERROR_CHARS_MAX)).transpose()
        };
        let code = line("error_code", self.error_code)?;
        let message = line("error_message", self.error_message)?;
        match word {
            MarkWord::Failed => Ok(Mark::Failed { code, message }),
            MarkWord::Succeeded if code.is_none() && message.is_none() => Ok(Mark::Succeeded),
            MarkWord::Succeeded => {
                let field = if code.is_some() { "error_code" } else { "error_message" };
                let message = format!("{field}: a payment that has succeeded has none");
                Err(ApiError::invalid(field, message))
            }
        }
    }
}

impl StatusWord {
    /// The status; nothing for one that no payment has.
    fn status(self) -> Option<PaymentStatus> {
        match self {
            Self::Succeeded => Some(PaymentStatus::Succeeded),
            Self::Failed => Some(PaymentStatus::Failed),
            Self::Processing => Some(PaymentStatus::Processing),
            Self::Cancelled
            | Self::RequiresCustomerAction
            | Self::RequiresMerchantAction
            | Self::RequiresPaymentMethod
            | Self::RequiresConfirmation
            | Self::RequiresCapture
            | Self::PartiallyCaptured
            | Self::PartiallyCapturedAndCapturable => None,
        }
    }
}

impl From<PaymentStatus> for StatusWord {
    fn from(status: PaymentStatus) -> Self {
        match status {
            PaymentStatus::Succeeded => Self::Succeeded,
            PaymentStatus::Failed => Self::Failed,
            PaymentStatus::Processing => Self::Processing,
        }
    }
}

/// A payment as it is printed.
pub(in crate::http) fn shown(view: &PaymentView, edge: &Edge) -> impl Serialize + use<> {
    PaymentBody::new(view, edge)
}

/// A status on the wire.
pub(in crate::http) fn word(status: PaymentStatus) -> &'static str {
    match status {
        PaymentStatus::Succeeded => "succeeded",
        PaymentStatus::Failed => "failed",
        PaymentStatus::Processing => "processing",
    }
}

#[cfg(test)]
mod tests {
    use crate::http::query;

    use super::*;

    #[test]
    fn only_a_failure_has_an_error() {
        let mark = |text: &str| {
            let mark = body::object::<PaymentMark>(text.as_bytes());
            let mark = mark.and_then(PaymentMark::into_mark);
            mark.map_err(|error| error.body().field.clone().unwrap_or_default())
        };
        assert_eq!(mark(r#"{"status":"succeeded"}"#), Ok(Mark::Succeeded));
        let code = Some("card_declined".to_owned());
        let failed = Mark::Failed { code, message: None };
        assert_eq!(mark(r#"{"status":"failed","error_code":"card_declined"}"#), Ok(failed));
        let with_error = r#"{"status":"succeeded","error_message":"x"}"#;
        assert_eq!(mark(with_error), Err("error_message".to_owned()));
        assert_eq!(mark("{}"), Err("status".to_owned()));
        assert_eq!(mark(r#"{"status":"processing"}"#), Err("status".to_owned()));
    }

    #[test]
    fn every_status_of_the_wire_format_can_be_asked_for() {
        let of = |word: &str| filter(&query::parameters(&format!("status={word}")));
        assert_eq!(of("processing").unwrap().unwrap().status, Some(PaymentStatus::Processing));
        assert!(of("requires_capture").unwrap().is_none());
        assert_eq!(of("paid").unwrap_err().status(), 422);
        assert_eq!(filter(&query::parameters("currency=usd")).unwrap_err().status(), 422);
    }
}
