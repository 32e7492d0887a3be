//! What clients ask to change of subscriptions.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::input::{business_name, tax_id};
use super::words::{FeedbackWord, ReasonWord, StatusWord};
use crate::engine::command::billing::SubscriptionPatch;
use crate::http::address::AddressInput;
use crate::http::body;
use crate::http::credits::{self, OverrideInput};
use crate::http::price::{self, IntervalWord};
use crate::http::reply::ApiError;
use crate::http::scalar::{JsonScalar, Members};
use crate::http::text::{self, Nullable};
use crate::model::Timestamp;
use crate::model::subscription::{CancelReason, CancellationFeedback};

#[derive(Deserialize)]
struct NotOfferedChanges<'a> {
    #[serde(borrow)]
    pause: Option<&'a RawValue>,
    #[serde(borrow)]
    customer_name: Option<&'a RawValue>,
}

/// Refuses what cannot be changed of a subscription.
///
/// # Errors
/// 422 that names the field
pub(super) fn refuse_not_offered_changes(text: &[u8]) -> Result<(), ApiError> {
    let asked = body::object::<NotOfferedChanges<'_>>(text)?;
    if asked.pause.is_some() {
        return Err(ApiError::invalid("pause", "pause: this field is not used any more"));
    }
    body::refuse_not_offered(&[("customer_name", asked.customer_name)])
}

/// How a subscription that is charged on demand begins to renew.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = DisableOnDemand)]
struct DisableOnDemand {
    /// When it renews for the first time.
    #[schema(value_type = String, format = DateTime)]
    next_billing_date: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct SubscriptionUpdate<'a> {
    /// `cancelled` ends it now; `paused` and `active`, each alone, pause it and let it go on.
    status: Option<StatusWord>,
    cancel_at_next_billing_date: Option<bool>,
    cancel_reason: Option<ReasonWord>,
    cancellation_feedback: Option<FeedbackWord>,
    cancellation_comment: Option<String>,
    #[schema(format = DateTime)]
    next_billing_date: Option<String>,
    /// Lets a subscription renew that was charged on demand; not beside `next_billing_date`.
    disable_on_demand: Option<DisableOnDemand>,
    /// Together with the interval.
    subscription_period_count: Option<i64>,
    subscription_period_interval: Option<IntervalWord>,
    billing: Option<AddressInput>,
    /// `null` clears it.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    customer_business_name: Nullable,
    /// `null` clears it.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    tax_id: Nullable,
    /// Replaces all pairs.
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
    /// What its credits are to be from the next grant and draw on.
    credit_entitlement_cart: Option<Vec<OverrideInput>>,
}

impl SubscriptionUpdate<'_> {
    /// Whether nothing but the status is asked for.
    fn asks_status_alone(&self) -> bool {
        let Self {
            status: _,
            cancel_at_next_billing_date,
            cancel_reason,
            cancellation_feedback,
            cancellation_comment,
            next_billing_date,
            disable_on_demand,
            subscription_period_count,
            subscription_period_interval,
            billing,
            customer_business_name,
            tax_id,
            metadata,
            credit_entitlement_cart,
        } = self;
        cancel_at_next_billing_date.is_none()
            && cancel_reason.is_none()
            && cancellation_feedback.is_none()
            && cancellation_comment.is_none()
            && next_billing_date.is_none()
            && disable_on_demand.is_none()
            && subscription_period_count.is_none()
            && subscription_period_interval.is_none()
            && billing.is_none()
            && customer_business_name.is_none()
            && tax_id.is_none()
            && metadata.is_none()
            && credit_entitlement_cart.is_none()
    }

    /// The changes, every field checked that can be without the state.
    ///
    /// # Errors
    /// 422 that names the field
    pub(super) fn into_patch(self) -> Result<SubscriptionPatch, ApiError> {
        let (cancel_now, pause) = match self.status.map(wanted).transpose()? {
            None => (false, None),
            Some(Wanted::Cancelled) => (true, None),
            Some(Wanted::Paused) => (false, Some(true)),
            Some(Wanted::Active) => (false, Some(false)),
        };
        if pause.is_some() && !self.asks_status_alone() {
            let message = "status: a subscription is paused or resumed by this field alone";
            return Err(ApiError::invalid("status", message));
        }
        let ends = cancel_now || self.cancel_at_next_billing_date == Some(true);
        let needs_end = |field: &str| {
            ApiError::invalid(field, format!("{field}: this needs a cancellation beside it"))
        };
        if self.cancellation_feedback.is_some() && !ends {
            return Err(needs_end("cancellation_feedback"));
        }
        if self.cancellation_comment.is_some() && !ends {
            return Err(needs_end("cancellation_comment"));
        }
        let comment = |text| text::paragraph("cancellation_comment", text);
        let date = self.next_billing_date.as_deref().map(|text| date_of("next_billing_date", text));
        if self.disable_on_demand.is_some() && date.is_some() {
            let message = "disable_on_demand: it names the next billing date itself";
            return Err(ApiError::invalid("disable_on_demand", message));
        }
        let renews_from = self.disable_on_demand.map(|DisableOnDemand { next_billing_date }| {
            let field = "disable_on_demand.next_billing_date";
            date_of(field, &next_billing_date.ok_or_else(|| ApiError::missing(field))?)
        });
        let asks_period =
            self.subscription_period_count.is_some() || self.subscription_period_interval.is_some();
        let period = asks_period.then(|| {
            let unit = self.subscription_period_interval;
            price::interval("subscription_period", self.subscription_period_count, unit)
        });
        let named = self.customer_business_name.map(|text| text.map(business_name).transpose());
        Ok(SubscriptionPatch {
            cancel_now,
            pause,
            cancel_at_next_billing_date: self.cancel_at_next_billing_date,
            cancel_reason: self.cancel_reason.map(CancelReason::from),
            cancellation_feedback: self.cancellation_feedback.map(CancellationFeedback::from),
            cancellation_comment: self.cancellation_comment.map(comment).transpose()?,
            next_billing_date: date.transpose()?,
            renews_from: renews_from.transpose()?,
            subscription_period: period.transpose()?,
            billing: self.billing.map(AddressInput::into_address).transpose()?,
            customer_business_name: named.transpose()?,
            tax_id: self.tax_id.map(|text| text.map(tax_id).transpose()).transpose()?,
            metadata: self.metadata.map(Members::into_metadata).transpose()?,
            credits: credits::overrides(
                "credit_entitlement_cart",
                self.credit_entitlement_cart.unwrap_or_default(),
            )?,
        })
    }
}

fn date_of(field: &str, text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse(text).map_err(|error| ApiError::invalid(field, format!("{field}: {error}")))
}

/// A status that can be asked for.
enum Wanted {
    Cancelled,
    Paused,
    Active,
}

fn wanted(status: StatusWord) -> Result<Wanted, ApiError> {
    match status {
        StatusWord::Cancelled => Ok(Wanted::Cancelled),
        StatusWord::Paused => Ok(Wanted::Paused),
        StatusWord::Active => Ok(Wanted::Active),
        StatusWord::Pending
        | StatusWord::OnHold
        | StatusWord::Failed
        | StatusWord::Expired
        | StatusWord::PastDue => {
            let message = "status: it can only be set to cancelled, paused or active";
            Err(ApiError::invalid("status", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(text: &str) -> Result<SubscriptionPatch, String> {
        let patch = body::object::<SubscriptionUpdate<'_>>(text.as_bytes());
        let patch = patch.and_then(SubscriptionUpdate::into_patch);
        let checked =
            patch.and_then(|patch| refuse_not_offered_changes(text.as_bytes()).map(|()| patch));
        checked.map_err(|error| {
            assert_eq!(error.status(), 422, "{text}");
            error.body().field.clone().unwrap_or_default()
        })
    }

    #[test]
    fn a_patch_is_refused_by_its_field() {
        for (text, field) in [
            (r#"{"status":"paused","metadata":{}}"#, "status"),
            (r#"{"status":"active","tax_id":null}"#, "status"),
            (r#"{"status":"paused","cancel_at_next_billing_date":false}"#, "status"),
            (r#"{"status":"on_hold"}"#, "status"),
            (r#"{"status":"past_due"}"#, "status"),
            (r#"{"status":"gone"}"#, "status"),
            (r#"{"pause":true}"#, "pause"),
            (r#"{"pause":false}"#, "pause"),
            (r#"{"cancellation_feedback":"unused"}"#, "cancellation_feedback"),
            (r#"{"cancellation_comment":"bye"}"#, "cancellation_comment"),
            (r#"{"next_billing_date":"soon"}"#, "next_billing_date"),
            (r#"{"status":"active","disable_on_demand":{}}"#, "status"),
            (r#"{"disable_on_demand":{}}"#, "disable_on_demand.next_billing_date"),
            (
                r#"{"disable_on_demand":{"next_billing_date":"soon"}}"#,
                "disable_on_demand.next_billing_date",
            ),
            (
                r#"{"disable_on_demand":{"next_billing_date":"2026-02-01T00:00:00Z"},
                    "next_billing_date":"2026-02-01T00:00:00Z"}"#,
                "disable_on_demand",
            ),
            (r#"{"disable_on_demand":true}"#, "disable_on_demand"),
            (r#"{"subscription_period_count":3}"#, "subscription_period_interval"),
            (r#"{"subscription_period_interval":"Year"}"#, "subscription_period_count"),
            (r#"{"billing":{"city":"X"}}"#, "billing.country"),
            (r#"{"customer_name":"N"}"#, "customer_name"),
            (r#"{"status":"paused","credit_entitlement_cart":[]}"#, "status"),
            (
                r#"{"credit_entitlement_cart":[{}]}"#,
                "credit_entitlement_cart.0.credit_entitlement_id",
            ),
        ] {
            assert_eq!(patch(text).unwrap_err(), field, "{text}");
        }
        assert_eq!(patch("{}").unwrap(), SubscriptionPatch::default());
        assert_eq!(patch(r#"{"pause":null}"#).unwrap(), SubscriptionPatch::default());
        assert_eq!(patch(r#"{"status":"paused"}"#).unwrap().pause, Some(true));
        assert_eq!(patch(r#"{"status":"active"}"#).unwrap().pause, Some(false));
        let ended = patch(r#"{"status":"cancelled","cancellation_comment":"bye","tax_id":null}"#);
        let ended = ended.unwrap();
        assert!(ended.cancel_now);
        assert_eq!(ended.cancellation_comment.as_deref(), Some("bye"));
        assert_eq!(ended.tax_id, Some(None));
    }
}
