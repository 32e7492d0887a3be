//! What clients ask for of subscriptions.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::engine::command::billing::{NewSubscription, Subscriber, SubscriptionPatch};
use crate::http::address::AddressInput;
use crate::http::body;
use crate::http::price::{self, IntervalWord};
use crate::http::reply::ApiError;
use crate::http::scalar::{JsonScalar, Members};
use crate::http::text::{self, Nullable};
use crate::model::subscription::{CancelReason, CancellationFeedback};
use crate::model::{CustomerId, ProductId, SubscriptionStatus, Timestamp};

/// Of one product.
const QUANTITY_MAX: i64 = 1_000_000_000;
/// Characters of an address that mail can be sent to.
const EMAIL_CHARS_MAX: usize = 254;
/// Characters of a phone number.
const PHONE_CHARS_MAX: usize = 32;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SubscriptionStatus)]
#[serde(rename_all = "snake_case")]
pub(super) enum StatusWord {
    Pending,
    Active,
    OnHold,
    Paused,
    Cancelled,
    Failed,
    Expired,
    PastDue,
}

impl StatusWord {
    pub(super) fn read(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(word)).ok()
    }

    /// The status; nothing for one that no subscription has.
    pub(super) fn status(self) -> Option<SubscriptionStatus> {
        match self {
            Self::Pending => Some(SubscriptionStatus::Pending),
            Self::Active => Some(SubscriptionStatus::Active),
            Self::OnHold => Some(SubscriptionStatus::OnHold),
            Self::Cancelled => Some(SubscriptionStatus::Cancelled),
            Self::Expired => Some(SubscriptionStatus::Expired),
            Self::Paused | Self::Failed | Self::PastDue => None,
        }
    }
}

impl From<SubscriptionStatus> for StatusWord {
    fn from(status: SubscriptionStatus) -> Self {
        match status {
            SubscriptionStatus::Pending => Self::Pending,
            SubscriptionStatus::Active => Self::Active,
            SubscriptionStatus::OnHold => Self::OnHold,
            SubscriptionStatus::Cancelled => Self::Cancelled,
            SubscriptionStatus::Expired => Self::Expired,
        }
    }
}

/// Why a customer leaves.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = CancellationFeedback)]
#[serde(rename_all = "snake_case")]
pub(super) enum FeedbackWord {
    TooExpensive,
    MissingFeatures,
    SwitchedService,
    Unused,
    CustomerService,
    LowQuality,
    TooComplex,
    Other,
}

/// Who or what ends a subscription.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[schema(as = CancelReason)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReasonWord {
    CancelledByCustomer,
    CancelledByMerchant,
    CancelledByMerchantSendDunning,
    CancelledByMerchantGracePeriodExpired,
    DodoTeam,
}

/// An existing customer by id, or one by address, which is made when there is none.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SubscriptionCustomer)]
struct CustomerInput {
    customer_id: Option<String>,
    email: Option<String>,
    name: Option<String>,
    phone_number: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct SubscriptionCreate<'a> {
    #[schema(value_type = CustomerInput)]
    customer: Option<CustomerInput>,
    #[schema(value_type = String)]
    product_id: Option<String>,
    #[schema(value_type = i64)]
    quantity: Option<i64>,
    #[schema(value_type = AddressInput)]
    billing: Option<AddressInput>,
    /// The currency of the price, when given.
    billing_currency: Option<String>,
    /// Wins over the price's own.
    trial_period_days: Option<i64>,
    customer_business_name: Option<String>,
    tax_id: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
}

#[derive(Deserialize)]
struct NotOffered<'a> {
    #[serde(borrow)]
    addons: Option<&'a RawValue>,
    #[serde(borrow)]
    discount_code: Option<&'a RawValue>,
    #[serde(borrow)]
    discount_codes: Option<&'a RawValue>,
    #[serde(borrow)]
    on_demand: Option<&'a RawValue>,
    #[serde(borrow)]
    one_time_product_cart: Option<&'a RawValue>,
    #[serde(borrow)]
    payment_method_id: Option<&'a RawValue>,
}

/// Refuses what a new subscription cannot have.
///
/// # Errors
/// 422 that names the field
pub(super) fn refuse_not_offered(text: &[u8]) -> Result<(), ApiError> {
    let asked = body::object::<NotOffered<'_>>(text)?;
    body::refuse_not_offered(&[
        ("addons", asked.addons),
        ("discount_code", asked.discount_code),
        ("discount_codes", asked.discount_codes),
        ("on_demand", asked.on_demand),
        ("one_time_product_cart", asked.one_time_product_cart),
        ("payment_method_id", asked.payment_method_id),
    ])
}

#[derive(Deserialize)]
struct NotOfferedChanges<'a> {
    #[serde(borrow)]
    pause: Option<&'a RawValue>,
    #[serde(borrow)]
    credit_entitlement_cart: Option<&'a RawValue>,
    #[serde(borrow)]
    disable_on_demand: Option<&'a RawValue>,
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
    body::refuse_not_offered(&[
        ("credit_entitlement_cart", asked.credit_entitlement_cart),
        ("disable_on_demand", asked.disable_on_demand),
        ("customer_name", asked.customer_name),
    ])
}

impl SubscriptionCreate<'_> {
    /// The subscription, every field checked that can be without the state.
    ///
    /// # Errors
    /// 422 that names the field
    pub(super) fn into_new(self) -> Result<NewSubscription, ApiError> {
        let currency = self.billing_currency.as_deref();
        let currency = currency.map(|code| price::currency("billing_currency", code));
        Ok(NewSubscription {
            customer: self.customer.ok_or_else(|| missing("customer"))?.into_subscriber()?,
            product_id: ProductId::new(text::id("product_id", self.product_id)?),
            quantity: quantity(self.quantity)?,
            trial_days: price::trial_days("trial_period_days", self.trial_period_days)?,
            billing_currency: currency.transpose()?,
            billing: self.billing.ok_or_else(|| missing("billing"))?.into_address()?,
            customer_business_name: self.customer_business_name.map(business_name).transpose()?,
            tax_id: self.tax_id.map(tax_id).transpose()?,
            metadata: self.metadata.map(Members::into_metadata).transpose()?.unwrap_or_default(),
        })
    }
}

impl CustomerInput {
    fn into_subscriber(self) -> Result<Subscriber, ApiError> {
        if let Some(id) = self.customer_id {
            let id = text::id("customer.customer_id", Some(id))?;
            return Ok(Subscriber::Existing(CustomerId::new(id)));
        }
        let email = text::required("customer.email", self.email, EMAIL_CHARS_MAX)?;
        if !email.contains('@') {
            return Err(ApiError::invalid("customer.email", "customer.email has no @"));
        }
        let line = |field: &str, text: Option<String>, chars_max| {
            text.map(|text| text::line(field, text, chars_max)).transpose()
        };
        Ok(Subscriber::Addressed {
            email,
            name: line("customer.name", self.name, text::NAME_CHARS_MAX)?,
            phone_number: line("customer.phone_number", self.phone_number, PHONE_CHARS_MAX)?,
        })
    }
}

#[derive(Deserialize, ToSchema)]
pub(super) struct SubscriptionUpdate<'a> {
    /// `cancelled` ends it now.
    status: Option<StatusWord>,
    cancel_at_next_billing_date: Option<bool>,
    cancel_reason: Option<ReasonWord>,
    cancellation_feedback: Option<FeedbackWord>,
    cancellation_comment: Option<String>,
    #[schema(format = DateTime)]
    next_billing_date: Option<String>,
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
}

impl SubscriptionUpdate<'_> {
    /// The changes, every field checked that can be without the state.
    ///
    /// # Errors
    /// 422 that names the field
    pub(super) fn into_patch(self) -> Result<SubscriptionPatch, ApiError> {
        let cancel_now = cancels(self.status)?;
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
        let date = self.next_billing_date.as_deref().map(|text| {
            let field = "next_billing_date";
            Timestamp::parse(text)
                .map_err(|error| ApiError::invalid(field, format!("{field}: {error}")))
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
            cancel_at_next_billing_date: self.cancel_at_next_billing_date,
            cancel_reason: self.cancel_reason.map(CancelReason::from),
            cancellation_feedback: self.cancellation_feedback.map(CancellationFeedback::from),
            cancellation_comment: self.cancellation_comment.map(comment).transpose()?,
            next_billing_date: date.transpose()?,
            subscription_period: period.transpose()?,
            billing: self.billing.map(AddressInput::into_address).transpose()?,
            customer_business_name: named.transpose()?,
            tax_id: self.tax_id.map(|text| text.map(tax_id).transpose()).transpose()?,
            metadata: self.metadata.map(Members::into_metadata).transpose()?,
        })
    }
}

/// Whether a status is asked for that ends the subscription now; no other can be asked for.
fn cancels(status: Option<StatusWord>) -> Result<bool, ApiError> {
    match status {
        None => Ok(false),
        Some(StatusWord::Cancelled) => Ok(true),
        Some(
            StatusWord::Pending
            | StatusWord::Active
            | StatusWord::OnHold
            | StatusWord::Paused
            | StatusWord::Failed
            | StatusWord::Expired
            | StatusWord::PastDue,
        ) => Err(ApiError::invalid("status", "status: it can only be set to cancelled")),
    }
}

fn quantity(quantity: Option<i64>) -> Result<u32, ApiError> {
    let quantity = quantity.ok_or_else(|| missing("quantity"))?;
    if !(1..=QUANTITY_MAX).contains(&quantity) {
        let message = format!("quantity: must be from 1 to {QUANTITY_MAX}");
        return Err(ApiError::invalid("quantity", message));
    }
    // Fits: it is at most a thousand million.
    Ok(u32::try_from(quantity).unwrap_or(1))
}

fn business_name(text: String) -> Result<String, ApiError> {
    text::line("customer_business_name", text, text::NAME_CHARS_MAX)
}

fn tax_id(text: String) -> Result<String, ApiError> {
    text::line("tax_id", text, text::NAME_CHARS_MAX)
}

fn missing(field: &str) -> ApiError {
    ApiError::invalid(field, format!("{field} is missing"))
}

impl From<FeedbackWord> for CancellationFeedback {
    fn from(word: FeedbackWord) -> Self {
        match word {
            FeedbackWord::TooExpensive => Self::TooExpensive,
            FeedbackWord::MissingFeatures => Self::MissingFeatures,
            FeedbackWord::SwitchedService => Self::SwitchedService,
            FeedbackWord::Unused => Self::Unused,
            FeedbackWord::CustomerService => Self::CustomerService,
            FeedbackWord::LowQuality => Self::LowQuality,
            FeedbackWord::TooComplex => Self::TooComplex,
            FeedbackWord::Other => Self::Other,
        }
    }
}

impl From<CancellationFeedback> for FeedbackWord {
    fn from(feedback: CancellationFeedback) -> Self {
        match feedback {
            CancellationFeedback::TooExpensive => Self::TooExpensive,
            CancellationFeedback::MissingFeatures => Self::MissingFeatures,
            CancellationFeedback::SwitchedService => Self::SwitchedService,
            CancellationFeedback::Unused => Self::Unused,
            CancellationFeedback::CustomerService => Self::CustomerService,
            CancellationFeedback::LowQuality => Self::LowQuality,
            CancellationFeedback::TooComplex => Self::TooComplex,
            CancellationFeedback::Other => Self::Other,
        }
    }
}

impl From<ReasonWord> for CancelReason {
    fn from(word: ReasonWord) -> Self {
        match word {
            ReasonWord::CancelledByCustomer => Self::CancelledByCustomer,
            ReasonWord::CancelledByMerchant => Self::CancelledByMerchant,
            ReasonWord::CancelledByMerchantSendDunning => Self::CancelledByMerchantSendDunning,
            ReasonWord::CancelledByMerchantGracePeriodExpired => {
                Self::CancelledByMerchantGracePeriodExpired
            }
            ReasonWord::DodoTeam => Self::DodoTeam,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = r#""product_id":"pdt_1","quantity":1,"billing":{"country":"US"}"#;

    fn create(text: &str) -> Result<NewSubscription, String> {
        let new = body::object::<SubscriptionCreate<'_>>(text.as_bytes());
        let new = new.and_then(SubscriptionCreate::into_new);
        let checked = new.and_then(|new| refuse_not_offered(text.as_bytes()).map(|()| new));
        checked.map_err(|error| {
            assert_eq!(error.status(), 422, "{text}");
            error.body().field.clone().unwrap_or_default()
        })
    }

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
    fn a_customer_is_named_by_id_or_by_address() {
        let of = |customer: &str| create(&format!(r#"{{"customer":{customer},{REST}}}"#));
        let existing = Subscriber::Existing(CustomerId::new("cus_1"));
        assert_eq!(of(r#"{"customer_id":"cus_1"}"#).unwrap().customer, existing);
        let addressed = Subscriber::Addressed {
            email: "a@b".to_owned(),
            name: Some("A".to_owned()),
            phone_number: None,
        };
        assert_eq!(of(r#"{"email":"a@b","name":"A"}"#).unwrap().customer, addressed);
        assert_eq!(of(r#"{"name":"A"}"#).unwrap_err(), "customer.email");
        assert_eq!(of(r#"{"email":"nobody"}"#).unwrap_err(), "customer.email");
        assert_eq!(of("null").unwrap_err(), "customer");
    }

    #[test]
    fn a_bad_subscription_is_refused_by_its_field() {
        let head = r#""customer":{"customer_id":"c"}"#;
        for (rest, field) in [
            (r#""quantity":1,"billing":{"country":"US"}"#, "product_id"),
            (r#""product_id":"p","billing":{"country":"US"}"#, "quantity"),
            (r#""product_id":"p","quantity":0,"billing":{"country":"US"}"#, "quantity"),
            (r#""product_id":"p","quantity":1.5,"billing":{"country":"US"}"#, "quantity"),
            (r#""product_id":"p","quantity":1"#, "billing"),
            (r#""product_id":"p","quantity":1,"billing":{}"#, "billing.country"),
        ] {
            assert_eq!(create(&format!("{{{head},{rest}}}")).unwrap_err(), field, "{rest}");
        }
        for (extra, field) in [
            (r#""billing_currency":"XXX""#, "billing_currency"),
            (r#""trial_period_days":-1"#, "trial_period_days"),
            (r#""discount_code":"HALF""#, "discount_code"),
            (r#""discount_codes":["HALF"]"#, "discount_codes"),
            (r#""addons":[{"addon_id":"a","quantity":1}]"#, "addons"),
            (r#""on_demand":{"mandate_only":true}"#, "on_demand"),
            (
                r#""one_time_product_cart":[{"product_id":"p","quantity":1}]"#,
                "one_time_product_cart",
            ),
        ] {
            let text = format!("{{{head},{REST},{extra}}}");
            assert_eq!(create(&text).unwrap_err(), field, "{extra}");
        }
        let fine =
            r#""addons":[],"discount_code":null,"payment_link":true,"return_url":"https://x""#;
        assert!(create(&format!("{{{head},{REST},{fine}}}")).is_ok());
    }

    #[test]
    fn a_patch_is_refused_by_its_field() {
        for (text, field) in [
            (r#"{"status":"paused"}"#, "status"),
            (r#"{"status":"active"}"#, "status"),
            (r#"{"status":"gone"}"#, "status"),
            (r#"{"pause":true}"#, "pause"),
            (r#"{"pause":false}"#, "pause"),
            (r#"{"cancellation_feedback":"unused"}"#, "cancellation_feedback"),
            (r#"{"cancellation_comment":"bye"}"#, "cancellation_comment"),
            (r#"{"next_billing_date":"soon"}"#, "next_billing_date"),
            (r#"{"subscription_period_count":3}"#, "subscription_period_interval"),
            (r#"{"subscription_period_interval":"Year"}"#, "subscription_period_count"),
            (r#"{"billing":{"city":"X"}}"#, "billing.country"),
            (r#"{"customer_name":"N"}"#, "customer_name"),
        ] {
            assert_eq!(patch(text).unwrap_err(), field, "{text}");
        }
        assert_eq!(patch("{}").unwrap(), SubscriptionPatch::default());
        assert_eq!(patch(r#"{"pause":null}"#).unwrap(), SubscriptionPatch::default());
        let ended = patch(r#"{"status":"cancelled","cancellation_comment":"bye","tax_id":null}"#);
        let ended = ended.unwrap();
        assert!(ended.cancel_now);
        assert_eq!(ended.cancellation_comment.as_deref(), Some("bye"));
        assert_eq!(ended.tax_id, Some(None));
    }

    #[test]
    fn status_words_are_those_of_the_wire_format() {
        for word in ["pending", "active", "on_hold", "cancelled", "expired"] {
            let status = StatusWord::read(word).and_then(StatusWord::status).unwrap();
            let printed = serde_json::to_string(&StatusWord::from(status)).unwrap();
            assert_eq!(printed, format!("\"{word}\""));
        }
        for word in ["paused", "failed", "past_due"] {
            assert_eq!(StatusWord::read(word).unwrap().status(), None);
        }
        assert_eq!(StatusWord::read("Active"), None);
    }
}
