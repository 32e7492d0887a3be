//! What clients ask new subscriptions to be.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::engine::command::billing::{NewCharge, NewSubscription, OnDemand, Subscriber};
use crate::http::address::AddressInput;
use crate::http::body;
use crate::http::cart::{self, CartItemInput};
use crate::http::credits::{self, OverrideInput};
use crate::http::price;
use crate::http::reply::ApiError;
use crate::http::scalar::{JsonScalar, Members};
use crate::http::text;
use crate::model::{CustomerId, Money, ProductId};

/// Characters of a phone number.
const PHONE_CHARS_MAX: usize = 32;

/// An existing customer by id, or one by address, which is made when there is none.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SubscriptionCustomer)]
pub(in crate::http) struct CustomerInput {
    customer_id: Option<String>,
    email: Option<String>,
    name: Option<String>,
    phone_number: Option<String>,
}

/// How a subscription is charged on demand.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OnDemandSubscription)]
struct OnDemandInput {
    /// Whether nothing is charged yet.
    #[schema(value_type = bool)]
    mandate_only: Option<bool>,
    /// What is charged first, in the currency's minor unit; needed unless nothing is.
    product_price: Option<i64>,
    /// The currency of the price, when given.
    product_currency: Option<String>,
    product_description: Option<String>,
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
    /// It is charged on demand alone, and never by itself.
    on_demand: Option<OnDemandInput>,
    customer_business_name: Option<String>,
    tax_id: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
    /// What is bought once with the first payment: at most 20 products, each once.
    #[serde(borrow)]
    #[schema(value_type = Option<Vec<CartItemInput<'static>>>)]
    one_time_product_cart: Option<Vec<CartItemInput<'a>>>,
    /// What its credits are otherwise than the product says.
    credit_entitlement_cart: Option<Vec<OverrideInput>>,
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
        ("payment_method_id", asked.payment_method_id),
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
            customer: self
                .customer
                .ok_or_else(|| ApiError::missing("customer"))?
                .into_subscriber()?,
            product_id: ProductId::new(text::id("product_id", self.product_id)?),
            quantity: cart::quantity("quantity", self.quantity)?,
            trial_days: price::trial_days("trial_period_days", self.trial_period_days)?,
            on_demand: self.on_demand.map(OnDemandInput::into_on_demand).transpose()?,
            billing_currency: currency.transpose()?,
            billing: self.billing.ok_or_else(|| ApiError::missing("billing"))?.into_address()?,
            customer_business_name: self.customer_business_name.map(business_name).transpose()?,
            tax_id: self.tax_id.map(tax_id).transpose()?,
            metadata: self.metadata.map(Members::into_metadata).transpose()?.unwrap_or_default(),
            once: cart::purchases(
                "one_time_product_cart",
                self.one_time_product_cart.unwrap_or_default(),
            )?,
            credits: credits::overrides(
                "credit_entitlement_cart",
                self.credit_entitlement_cart.unwrap_or_default(),
            )?,
        })
    }
}

impl OnDemandInput {
    fn into_on_demand(self) -> Result<OnDemand, ApiError> {
        let mandate_only =
            self.mandate_only.ok_or_else(|| ApiError::missing("on_demand.mandate_only"))?;
        if mandate_only {
            if self.product_price.is_some_and(|price| price != 0) {
                let field = "on_demand.product_price";
                let message = format!("{field}: a mandate alone charges nothing");
                return Err(ApiError::invalid(field, message));
            }
            return Ok(OnDemand { first: None });
        }
        let first = charge(
            "on_demand.",
            self.product_price,
            self.product_currency.as_deref(),
            self.product_description,
        )?;
        Ok(OnDemand { first: Some(first) })
    }
}

/// A charge on demand, from the fields with this prefix.
///
/// # Errors
/// 422 that names the field
pub(super) fn charge(
    prefix: &str,
    price: Option<i64>,
    currency: Option<&str>,
    description: Option<String>,
) -> Result<NewCharge, ApiError> {
    let field = |name: &str| format!("{prefix}{name}");
    let price_field = field("product_price");
    let amount = price.ok_or_else(|| ApiError::missing(&price_field))?;
    if amount < 0 {
        let message = format!("{price_field}: must not be below zero");
        return Err(ApiError::invalid(&price_field, message));
    }
    let currency = currency.map(|code| price::currency(&field("product_currency"), code));
    let description = description.map(|text| text::paragraph(&field("product_description"), text));
    Ok(NewCharge {
        amount: Money::from_minor(amount),
        currency: currency.transpose()?,
        description: description.transpose()?,
        metadata: None,
    })
}

impl CustomerInput {
    pub(in crate::http) fn into_subscriber(self) -> Result<Subscriber, ApiError> {
        if let Some(id) = self.customer_id {
            let id = text::id("customer.customer_id", Some(id))?;
            return Ok(Subscriber::Existing(CustomerId::new(id)));
        }
        let email = text::required("customer.email", self.email, text::EMAIL_CHARS_MAX)?;
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

pub(in crate::http) fn business_name(text: String) -> Result<String, ApiError> {
    text::line("customer_business_name", text, text::NAME_CHARS_MAX)
}

pub(in crate::http) fn tax_id(text: String) -> Result<String, ApiError> {
    text::line("tax_id", text, text::NAME_CHARS_MAX)
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
            (r#""on_demand":{}"#, "on_demand.mandate_only"),
            (r#""on_demand":{"mandate_only":false}"#, "on_demand.product_price"),
            (r#""on_demand":{"mandate_only":false,"product_price":-1}"#, "on_demand.product_price"),
            (r#""on_demand":{"mandate_only":true,"product_price":1}"#, "on_demand.product_price"),
            (
                r#""on_demand":{"mandate_only":false,"product_price":1,"product_currency":"X"}"#,
                "on_demand.product_currency",
            ),
            (r#""one_time_product_cart":[{"quantity":1}]"#, "one_time_product_cart.0.product_id"),
        ] {
            let text = format!("{{{head},{REST},{extra}}}");
            assert_eq!(create(&text).unwrap_err(), field, "{extra}");
        }
        let fine =
            r#""addons":[],"discount_code":null,"payment_link":true,"return_url":"https://x""#;
        assert!(create(&format!("{{{head},{REST},{fine}}}")).is_ok());
    }
}
