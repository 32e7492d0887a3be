//! Alerts on the wire: thresholds that the application wants to be told of. Quipu's own.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::alerts::requests::{AlertFilter, AlertView};
use crate::engine::command::alerts::{NewAlert, NewThreshold};
use crate::engine::{Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::page::{Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::{self, Instant};
use crate::http::{body, credits, page, price};
use crate::model::alert::Threshold;
use crate::model::{AlertId, CustomerId, EntitlementId, MeterId, Money, Number, Quantity};

/// What an alert compares with its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AlertType)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlertWord {
    /// Usage of a meter in the period.
    Usage,
    /// What usage of a meter costs in the period.
    Cost,
    /// A balance of credits.
    CreditBalance,
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
struct AlertBody<'a> {
    id: &'a str,
    name: Option<&'a str>,
    #[serde(rename = "type")]
    kind: AlertWord,
    meter_id: Option<&'a str>,
    credit_entitlement_id: Option<&'a str>,
    /// `null` for every customer.
    customer_id: Option<&'a str>,
    /// In the meter's unit, in the currency's minor unit, or in credits.
    threshold: String,
    currency: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    /// For how many customers and periods it has fired.
    fired_count: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_fired_at: Option<Instant>,
}

#[derive(Deserialize, ToSchema)]
struct AlertCreate {
    /// Up to 255 characters.
    name: Option<String>,
    #[serde(rename = "type")]
    #[schema(value_type = AlertWord)]
    kind: Option<AlertWord>,
    /// Of `usage` and `cost`.
    meter_id: Option<String>,
    /// Of `credit_balance`.
    credit_entitlement_id: Option<String>,
    /// This customer alone; every one by default.
    customer_id: Option<String>,
    /// A decimal number. Usage and cost fire at it and above, a balance at it and below. Of a cost it is
    /// a whole number of the currency's minor unit.
    #[schema(value_type = String)]
    threshold: Option<String>,
    /// Of `cost`.
    currency: Option<String>,
}

/// Adds the routes of alerts.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_alerts))
        .add::<Admin>(routes!(create_alert))
        .add::<Read>(routes!(get_alert))
        .add::<Admin>(routes!(delete_alert))
}

/// Create an alert
///
/// It fires once for each customer and period: the subscription's that bills the meter or hands out the
/// credits, else the UTC month. It never changes.
#[utoipa::path(post, path = "/alerts", tag = "alerts", request_body = AlertCreate,
    responses((status = 201, body = AlertBody<'static>)))]
async fn create_alert(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let new = body::object::<AlertCreate>(&mutation.body)?.into_new()?;
    let outcome =
        edge.change(Command::CreateAlert(Box::new(new)), mutation.identity).await?.outcome;
    let Outcome::Alert(alert) = outcome else { return Err(ApiError::internal().into()) };
    let view = edge.engine.new_alert_view(alert);
    Ok(reply::json(StatusCode::CREATED, &AlertBody::from(&view)))
}

/// List alerts
///
/// Newest first.
#[utoipa::path(get, path = "/alerts", tag = "alerts",
    params(("meter_id" = Option<String>, Query), ("credit_entitlement_id" = Option<String>, Query),
        ("customer_id" = Option<String>, Query), ("page_size" = Option<u32>, Query),
        ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<AlertBody<'static>>)))]
async fn list_alerts(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, ApiError> {
    let filter = AlertFilter {
        meter_id: parameters.text("meter_id")?.map(MeterId::new),
        entitlement_id: parameters.text("credit_entitlement_id")?.map(EntitlementId::new),
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
    };
    let found = edge.engine.alerts(&filter, paging.into());
    Ok(reply::json(StatusCode::OK, &Items { items: found.iter().map(AlertBody::from).collect() }))
}

/// Read an alert
#[utoipa::path(get, path = "/alerts/{id}", tag = "alerts", params(("id" = String, Path)),
    responses((status = 200, body = AlertBody<'static>)))]
async fn get_alert(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let view = edge.engine.alert(&AlertId::new(id)).ok_or_else(|| ApiError::not_found("alert"))?;
    Ok(reply::json(StatusCode::OK, &AlertBody::from(&view)))
}

/// Delete an alert
///
/// It fires no more. What it has fired is forgotten: another alert like it fires anew.
#[utoipa::path(delete, path = "/alerts/{id}", tag = "alerts", params(("id" = String, Path)),
    responses((status = 204)))]
async fn delete_alert(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<StatusCode, Failure> {
    edge.change(Command::DeleteAlert(AlertId::new(id)), mutation.identity).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl AlertCreate {
    fn into_new(self) -> Result<NewAlert, ApiError> {
        let kind = self.kind.ok_or_else(|| ApiError::missing("type"))?;
        let threshold = self.threshold.ok_or_else(|| ApiError::missing("threshold"))?;
        let refuse = |field: &str, is_given: bool| {
            if is_given { Err(foreign(field, kind)) } else { Ok(()) }
        };
        refuse("currency", kind != AlertWord::Cost && self.currency.is_some())?;
        let threshold = match kind {
            AlertWord::Usage | AlertWord::Cost => {
                refuse("credit_entitlement_id", self.credit_entitlement_id.is_some())?;
                let meter_id = text::id("meter_id", self.meter_id).map(MeterId::new)?;
                match kind {
                    AlertWord::Cost => {
                        let code = self.currency.ok_or_else(|| ApiError::missing("currency"))?;
                        let currency = price::currency("currency", &code)?;
                        NewThreshold::Cost { meter_id, currency, at_least: money(&threshold)? }
                    }
                    AlertWord::Usage | AlertWord::CreditBalance => {
                        NewThreshold::Usage { meter_id, at_least: usage(&threshold)? }
                    }
                }
            }
            AlertWord::CreditBalance => {
                refuse("meter_id", self.meter_id.is_some())?;
                let id = text::id("credit_entitlement_id", self.credit_entitlement_id)?;
                NewThreshold::Balance {
                    entitlement_id: EntitlementId::new(id),
                    at_most: credits::amount("threshold", &threshold)?,
                }
            }
        };
        let name = self.name.map(|name| text::required("name", Some(name), text::NAME_CHARS_MAX));
        let customer_id = self.customer_id.map(|id| text::id("customer_id", Some(id)));
        Ok(NewAlert {
            name: name.transpose()?,
            threshold,
            customer_id: customer_id.transpose()?.map(CustomerId::new),
        })
    }
}

fn foreign(field: &str, kind: AlertWord) -> ApiError {
    let kind = match kind {
        AlertWord::Usage => "usage",
        AlertWord::Cost => "cost",
        AlertWord::CreditBalance => "credit_balance",
    };
    ApiError::invalid(field, format!("{field} does not belong to an alert of type {kind}"))
}

/// Usage above nothing, as large as a value may be.
fn usage(text: &str) -> Result<Quantity, ApiError> {
    let refusal = |message: &str| ApiError::invalid("threshold", format!("threshold: {message}"));
    let number = Number::new(text).ok_or_else(|| refusal("must be a decimal number"))?;
    let quantity = number.to_quantity().map_err(|_| refusal("must be less than 10^15"))?;
    if quantity <= Quantity::ZERO {
        return Err(refusal("must be more than zero"));
    }
    Ok(quantity)
}

/// Money above nothing, in the currency's minor unit.
fn money(text: &str) -> Result<Money, ApiError> {
    let minor = text.parse::<i64>().ok().filter(|minor| *minor > 0 && !text.starts_with('+'));
    let message = "threshold: must be a whole number of the currency's minor unit, more than zero";
    minor.map(Money::from_minor).ok_or_else(|| ApiError::invalid("threshold", message))
}

/// A threshold on the wire: its type, the threshold itself, and the currency of a cost.
pub(crate) fn words(threshold: &Threshold) -> (AlertWord, String, Option<String>) {
    match threshold {
        Threshold::Usage { at_least, .. } => (AlertWord::Usage, at_least.to_string(), None),
        Threshold::Cost { at_least, currency, .. } => {
            (AlertWord::Cost, at_least.as_minor().to_string(), Some(currency.to_string()))
        }
        Threshold::Balance { at_most, .. } => (AlertWord::CreditBalance, at_most.to_string(), None),
    }
}

impl<'a> From<&'a AlertView> for AlertBody<'a> {
    fn from(view: &'a AlertView) -> Self {
        let alert = &view.kept.alert;
        let (kind, threshold, currency) = words(&alert.threshold);
        Self {
            id: alert.id.as_str(),
            name: alert.name.as_deref(),
            kind,
            meter_id: view.meter_id.as_ref().map(MeterId::as_str),
            credit_entitlement_id: view.entitlement_id.as_ref().map(EntitlementId::as_str),
            customer_id: view.customer_id.as_ref().map(CustomerId::as_str),
            threshold,
            currency,
            created_at: Instant(alert.created_at),
            fired_count: view.kept.fired_count,
            last_fired_at: view.kept.last_fired_at.map(Instant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NewAlert, (u16, String)> {
        let read = body::object::<AlertCreate>(text.as_bytes()).and_then(AlertCreate::into_new);
        read.map_err(|error| (error.status().as_u16(), error.body().message.clone()))
    }

    #[test]
    fn each_type_takes_its_own_fields_and_no_others() {
        let meter_id = MeterId::new("m");
        let at_least = Number::new("10.5").unwrap().to_quantity().unwrap();
        let found = read(r#"{"type":"usage","meter_id":"m","threshold":"10.5"}"#).unwrap();
        assert_eq!(found.threshold, NewThreshold::Usage { meter_id: meter_id.clone(), at_least });
        let found = read(
            r#"{"type":"cost","meter_id":"m","threshold":"500","currency":"USD","customer_id":"c"}"#,
        );
        let found = found.unwrap();
        let currency = crate::model::Currency::from_code("USD").unwrap();
        let at_least = Money::from_minor(500);
        assert_eq!(found.threshold, NewThreshold::Cost { meter_id, currency, at_least });
        assert_eq!(found.customer_id, Some(CustomerId::new("c")));
        assert!(
            read(r#"{"type":"credit_balance","credit_entitlement_id":"e","threshold":"0"}"#)
                .is_ok()
        );
        for text in [
            r#"{"meter_id":"m","threshold":"1"}"#,
            r#"{"type":"usage","threshold":"1"}"#,
            r#"{"type":"usage","meter_id":"m"}"#,
            r#"{"type":"usage","meter_id":"m","threshold":"1","currency":"USD"}"#,
            r#"{"type":"usage","meter_id":"m","threshold":"1","credit_entitlement_id":"e"}"#,
            r#"{"type":"cost","meter_id":"m","threshold":"1"}"#,
            r#"{"type":"cost","meter_id":"m","threshold":"1","currency":"XXQ"}"#,
            r#"{"type":"credit_balance","credit_entitlement_id":"e","threshold":"1","meter_id":"m"}"#,
            r#"{"type":"credit_balance","threshold":"1"}"#,
            r#"{"type":"budget","meter_id":"m","threshold":"1"}"#,
        ] {
            assert_eq!(read(text).unwrap_err().0, 422, "{text}");
        }
    }

    #[test]
    fn thresholds_are_numbers_above_nothing() {
        for bad in ["0", "-1", "abc", "", "1e40"] {
            assert!(usage(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "1.5", "+1", "abc", "9223372036854775808"] {
            assert!(money(bad).is_err(), "{bad}");
        }
        assert_eq!(money("9223372036854775807").unwrap(), Money::from_minor(i64::MAX));
    }
}
