//! Charges on demand.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::input;
use crate::engine::command::billing::NewCharge;
use crate::engine::{Command, Outcome};
use crate::http::auth::Admin;
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::scalar::{JsonScalar, Members};
use crate::model::SubscriptionId;

/// What is charged.
#[derive(Deserialize, ToSchema)]
#[schema(as = SubscriptionCharge)]
struct ChargeInput<'a> {
    /// In the currency's minor unit.
    #[schema(value_type = i64)]
    product_price: Option<i64>,
    /// The currency of the price, when given.
    product_currency: Option<String>,
    product_description: Option<String>,
    /// Of the payment; the subscription's own when left out.
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
    /// There are no wallets here.
    #[serde(borrow)]
    #[schema(ignore)]
    customer_balance_config: Option<&'a RawValue>,
}

/// The payment that a charge made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionCharged)]
struct ChargedBody {
    payment_id: String,
}

/// Adds the route.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.add::<Admin>(routes!(charge_subscription))
}

/// Charge a subscription on demand
///
/// Only one that was made with `on_demand`, is active, and has no payment that waits to be marked.
#[utoipa::path(post, path = "/subscriptions/{subscription_id}/charge", tag = "subscriptions",
    params(("subscription_id" = String, Path)), request_body = ChargeInput<'static>,
    responses((status = 200, body = ChargedBody)))]
async fn charge_subscription(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let charge = body::object::<ChargeInput<'_>>(&mutation.body)?.into_charge()?;
    let command = Command::Charge(SubscriptionId::new(id), Box::new(charge));
    let changed = edge.change(command, mutation.identity).await?;
    let Outcome::Payment(payment) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    let body = ChargedBody { payment_id: payment.id.as_str().to_owned() };
    Ok(reply::json(StatusCode::OK, &body))
}

impl ChargeInput<'_> {
    fn into_charge(self) -> Result<NewCharge, ApiError> {
        body::refuse_not_offered(&[("customer_balance_config", self.customer_balance_config)])?;
        let charge = input::charge(
            "",
            self.product_price,
            self.product_currency.as_deref(),
            self.product_description,
        )?;
        let metadata = self.metadata.map(Members::into_metadata).transpose()?;
        Ok(NewCharge { metadata, ..charge })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_charge_is_refused_by_its_field() {
        for (text, field) in [
            ("{}", "product_price"),
            (r#"{"product_price":-1}"#, "product_price"),
            (r#"{"product_price":1.5}"#, "product_price"),
            (r#"{"product_price":1,"product_currency":"XXX"}"#, "product_currency"),
            (
                r#"{"product_price":1,"customer_balance_config":{"allow_customer_credits_purchase":true}}"#,
                "customer_balance_config",
            ),
        ] {
            let charge = body::object::<ChargeInput<'_>>(text.as_bytes());
            let refused = charge.and_then(ChargeInput::into_charge).unwrap_err();
            assert_eq!(refused.status(), 422, "{text}");
            assert_eq!(refused.body().field.as_deref(), Some(field), "{text}");
        }
    }
}
