//! Changes of plan on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::preview::PreviewBody;
use crate::engine::command::billing::{Effective, PlanChange};
use crate::engine::{Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::body;
use crate::http::cart;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::scalar::{JsonScalar, Members};
use crate::http::text;
use crate::model::{ProductId, ProrationMode, SubscriptionId};

/// What a change costs at once, and whether the cycle starts anew.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[schema(as = ProrationBillingMode)]
#[serde(rename_all = "snake_case")]
enum ModeWord {
    ProratedImmediately,
    FullImmediately,
    DifferenceImmediately,
    DoNotBill,
    ProratedImmediatelyKeepCycle,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[schema(as = PlanChangeEffectiveAt)]
#[serde(rename_all = "snake_case")]
enum EffectiveWord {
    Immediately,
    NextBillingDate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = OnPaymentFailure)]
#[serde(rename_all = "snake_case")]
enum FailureWord {
    PreventChange,
    ApplyChange,
}

/// Another plan for a subscription.
#[derive(Deserialize, ToSchema)]
#[schema(as = SubscriptionChangePlan)]
struct ChangeInput<'a> {
    #[schema(value_type = String)]
    product_id: Option<String>,
    #[schema(value_type = i64)]
    quantity: Option<i64>,
    #[schema(value_type = ModeWord)]
    proration_billing_mode: Option<ModeWord>,
    /// `immediately` when left out.
    effective_at: Option<EffectiveWord>,
    /// With manual collection: whether the change waits for its payment. `apply_change` when left out.
    on_payment_failure: Option<FailureWord>,
    /// Lets a change that is scheduled give way.
    cancel_scheduled_change_plan: Option<bool>,
    /// Replaces all pairs of the subscription.
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
    #[serde(borrow)]
    #[schema(ignore)]
    addons: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(ignore)]
    discount_code: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(ignore)]
    discount_codes: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(ignore)]
    collect_via_payment_link: Option<&'a RawValue>,
}

/// What a change of plan was paid with.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = SubscriptionPlanChanged)]
struct ChangedBody {
    /// `null` when the change is scheduled.
    payment_id: Option<String>,
    /// The following are always `null`.
    payment_link: Option<String>,
    client_secret: Option<String>,
    expires_on: Option<String>,
}

/// Adds the routes.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Admin>(routes!(change_plan))
        .add::<Read>(routes!(preview_change_plan))
        .add::<Admin>(routes!(cancel_scheduled_change))
}

/// Change the plan of a subscription
///
/// At once: the running period is cut, its usage is billed at the old price after the grace, and a payment
/// of the fixed prices is made. `prorated_immediately` costs the new price less the unused part of the
/// old, `difference_immediately` the difference, `full_immediately` the new price, each with a new cycle;
/// `prorated_immediately_keep_cycle` the unused part of the difference and `do_not_bill` nothing, both in
/// the running cycle. Less than nothing is kept for later invoices. At the next billing date: the old
/// usage is billed at the old price, the next period at the new one.
#[utoipa::path(post, path = "/subscriptions/{subscription_id}/change-plan", tag = "subscriptions",
    params(("subscription_id" = String, Path)), request_body = ChangeInput<'static>,
    responses((status = 200, body = ChangedBody)))]
async fn change_plan(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let change = change(&mutation.body)?;
    let command = Command::ChangePlan(SubscriptionId::new(id), Box::new(change));
    let changed = edge.change(command, mutation.identity).await?;
    let payment_id = match changed.outcome {
        Outcome::Payment(payment) => Some(payment.id.as_str().to_owned()),
        Outcome::Subscription(_) => None,
        Outcome::Meter(_)
        | Outcome::Customer(_)
        | Outcome::Key(_)
        | Outcome::Product(_)
        | Outcome::Entitlement(_)
        | Outcome::Alert(_)
        | Outcome::Checkout(_)
        | Outcome::LedgerEntry(_)
        | Outcome::Reservation(_)
        | Outcome::Endpoint(_)
        | Outcome::Queued
        | Outcome::Clock(_) => return Err(ApiError::internal().into()),
    };
    Ok(reply::json(StatusCode::OK, &ChangedBody { payment_id, ..ChangedBody::default() }))
}

/// What a change of plan would come to now
///
/// The lines of its payment, and those of the usage so far, which is billed by itself after the grace and
/// is no part of the total. Nothing is changed.
#[utoipa::path(post, path = "/subscriptions/{subscription_id}/change-plan/preview",
    tag = "subscriptions", params(("subscription_id" = String, Path)),
    request_body = ChangeInput<'static>, responses((status = 200, body = PreviewBody)))]
async fn preview_change_plan(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let change = change(&mutation.body)?;
    let preview = edge.engine.preview_change(&SubscriptionId::new(id), &change)?;
    Ok(reply::json(StatusCode::OK, &PreviewBody::new(&preview, &edge)))
}

/// Let a subscription keep its plan at its next billing date
#[utoipa::path(delete, path = "/subscriptions/{subscription_id}/change-plan/scheduled",
    tag = "subscriptions", params(("subscription_id" = String, Path)),
    responses((status = 204, description = "The scheduled change is dropped")))]
async fn cancel_scheduled_change(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let command = Command::CancelScheduledChange(SubscriptionId::new(id));
    edge.change(command, mutation.identity).await?;
    Ok(reply::empty())
}

/// The change of plan that a body asks for.
///
/// # Errors
/// 422 that names the field
pub(in crate::http) fn change(text: &[u8]) -> Result<PlanChange, ApiError> {
    body::object::<ChangeInput<'_>>(text)?.into_change()
}

impl ChangeInput<'_> {
    /// The change, every field checked that can be without the state.
    fn into_change(self) -> Result<PlanChange, ApiError> {
        body::refuse_not_offered(&[
            ("addons", self.addons),
            ("discount_code", self.discount_code),
            ("discount_codes", self.discount_codes),
            ("collect_via_payment_link", self.collect_via_payment_link),
        ])?;
        let mode = self.proration_billing_mode;
        let mode = mode.ok_or_else(|| ApiError::missing("proration_billing_mode"))?;
        let waits = self.on_payment_failure == Some(FailureWord::PreventChange);
        let effective = match self.effective_at {
            Some(EffectiveWord::NextBillingDate) => Effective::NextBillingDate,
            Some(EffectiveWord::Immediately) | None if waits => Effective::WhenPaid,
            Some(EffectiveWord::Immediately) | None => Effective::Now,
        };
        Ok(PlanChange {
            product_id: ProductId::new(text::id("product_id", self.product_id)?),
            quantity: cart::quantity("quantity", self.quantity)?,
            mode: mode.into(),
            effective,
            replaces_scheduled: self.cancel_scheduled_change_plan.unwrap_or(false),
            metadata: self.metadata.map(Members::into_metadata).transpose()?,
        })
    }
}

impl From<ModeWord> for ProrationMode {
    fn from(word: ModeWord) -> Self {
        match word {
            ModeWord::ProratedImmediately => Self::ProratedImmediately,
            ModeWord::FullImmediately => Self::FullImmediately,
            ModeWord::DifferenceImmediately => Self::DifferenceImmediately,
            ModeWord::DoNotBill => Self::DoNotBill,
            ModeWord::ProratedImmediatelyKeepCycle => Self::ProratedImmediatelyKeepCycle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> Result<PlanChange, String> {
        let change = body::object::<ChangeInput<'_>>(text.as_bytes());
        change.and_then(ChangeInput::into_change).map_err(|error| {
            assert_eq!(error.status(), 422, "{text}");
            error.body().field.clone().unwrap_or_default()
        })
    }

    #[test]
    fn a_bad_change_of_plan_is_refused_by_its_field() {
        let mode = r#""proration_billing_mode":"full_immediately""#;
        for (text, field) in [
            (format!(r#"{{"quantity":1,{mode}}}"#), "product_id"),
            (format!(r#"{{"product_id":"p",{mode}}}"#), "quantity"),
            (format!(r#"{{"product_id":"p","quantity":0,{mode}}}"#), "quantity"),
            (r#"{"product_id":"p","quantity":1}"#.to_owned(), "proration_billing_mode"),
            (
                r#"{"product_id":"p","quantity":1,"proration_billing_mode":"half"}"#.to_owned(),
                "proration_billing_mode",
            ),
            (
                format!(r#"{{"product_id":"p","quantity":1,{mode},"effective_at":"soon"}}"#),
                "effective_at",
            ),
            (
                format!(r#"{{"product_id":"p","quantity":1,{mode},"discount_code":"HALF"}}"#),
                "discount_code",
            ),
            (
                format!(
                    r#"{{"product_id":"p","quantity":1,{mode},"addons":[{{"addon_id":"a"}}]}}"#
                ),
                "addons",
            ),
        ] {
            assert_eq!(change(&text).unwrap_err(), field, "{text}");
        }
    }

    #[test]
    fn a_change_takes_effect_at_once_unless_it_waits() {
        let of = |rest: &str| {
            let head = r#""product_id":"p","quantity":2,"proration_billing_mode":"do_not_bill""#;
            let change = change(&format!("{{{head}{rest}}}")).unwrap();
            (change.effective, change.replaces_scheduled)
        };
        assert_eq!(of(""), (Effective::Now, false));
        assert_eq!(of(r#","on_payment_failure":"apply_change""#), (Effective::Now, false));
        assert_eq!(of(r#","on_payment_failure":"prevent_change""#), (Effective::WhenPaid, false));
        let later = r#","effective_at":"next_billing_date","cancel_scheduled_change_plan":true"#;
        assert_eq!(of(later), (Effective::NextBillingDate, true));
    }
}
