//! What clients ask for of checkout sessions.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::engine::command::billing::NewCheckout;
use crate::http::address::AddressInput;
use crate::http::cart::{self, CartItemInput};
use crate::http::link::link;
use crate::http::reply::ApiError;
use crate::http::scalar::{JsonScalar, Members};
use crate::http::subscriptions::{CustomerInput, business_name, tax_id};
use crate::http::{body, price};

/// What is said of the subscription in a cart.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CheckoutSubscriptionData)]
struct SubscriptionData<'a> {
    /// Wins over the price's own.
    trial_period_days: Option<i64>,
    #[serde(borrow)]
    #[schema(ignore)]
    on_demand: Option<&'a RawValue>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = CheckoutSessionCreate)]
pub(super) struct CheckoutCreate<'a> {
    /// 1 to 20 products, each once, all of one currency; one of them at most is paid each cycle.
    #[serde(borrow)]
    #[schema(value_type = Vec<CartItemInput<'static>>)]
    product_cart: Option<Vec<CartItemInput<'a>>>,
    /// Needed with `confirm`.
    customer: Option<CustomerInput>,
    /// Needed with `confirm`.
    billing_address: Option<AddressInput>,
    /// The currency of the prices, when given.
    billing_currency: Option<String>,
    /// Makes the order at once; otherwise a person does, at `checkout_url`.
    confirm: Option<bool>,
    /// Where the person goes then, with `payment_id`, `subscription_id` and `status` as parameters.
    return_url: Option<String>,
    /// Where the person goes who does not want to.
    cancel_url: Option<String>,
    /// Whether no more of an address is asked for than the country and the postal code.
    minimal_address: Option<bool>,
    #[serde(borrow)]
    subscription_data: Option<SubscriptionData<'a>>,
    customer_business_name: Option<String>,
    tax_id: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
}

/// What the wire format has and Quipu does not sell. What only changes how a page looks, or how a card
/// is charged, is ignored.
#[derive(Deserialize)]
struct NotOffered<'a> {
    #[serde(borrow)]
    discount_code: Option<&'a RawValue>,
    #[serde(borrow)]
    discount_codes: Option<&'a RawValue>,
    #[serde(borrow)]
    payment_method_id: Option<&'a RawValue>,
    #[serde(borrow)]
    product_collection_id: Option<&'a RawValue>,
    #[serde(borrow)]
    custom_fields: Option<&'a RawValue>,
    #[serde(borrow)]
    mandate_min_amount_inr_paise: Option<&'a RawValue>,
}

/// Refuses what an order cannot have.
///
/// # Errors
/// 422 that names the field
pub(super) fn refuse_not_offered(text: &[u8]) -> Result<(), ApiError> {
    let asked = body::object::<NotOffered<'_>>(text)?;
    body::refuse_not_offered(&[
        ("discount_code", asked.discount_code),
        ("discount_codes", asked.discount_codes),
        ("payment_method_id", asked.payment_method_id),
        ("product_collection_id", asked.product_collection_id),
        ("custom_fields", asked.custom_fields),
        ("mandate_min_amount_inr_paise", asked.mandate_min_amount_inr_paise),
    ])
}

impl CheckoutCreate<'_> {
    /// The session, every field checked that can be without the state.
    ///
    /// # Errors
    /// 422 that names the field
    pub(super) fn into_new(self) -> Result<NewCheckout, ApiError> {
        let cart = self.product_cart.ok_or_else(|| ApiError::missing("product_cart"))?;
        if cart.is_empty() {
            return Err(ApiError::invalid("product_cart", "product_cart is empty"));
        }
        let cart = cart::purchases("product_cart", cart)?;
        let trial_days = match self.subscription_data {
            None => None,
            Some(data) => {
                body::refuse_not_offered(&[("subscription_data.on_demand", data.on_demand)])?;
                price::trial_days("subscription_data.trial_period_days", data.trial_period_days)?
            }
        };
        let currency = self.billing_currency.as_deref();
        let currency = currency.map(|code| price::currency("billing_currency", code));
        let billing = self.billing_address;
        let billing = billing.map(|input| input.into_address_of("billing_address"));
        let new = NewCheckout {
            cart,
            customer: self.customer.map(CustomerInput::into_subscriber).transpose()?,
            billing: billing.transpose()?,
            billing_currency: currency.transpose()?,
            confirm: self.confirm.unwrap_or(false),
            trial_days,
            minimal_address: self.minimal_address.unwrap_or(false),
            customer_business_name: self.customer_business_name.map(business_name).transpose()?,
            tax_id: self.tax_id.map(tax_id).transpose()?,
            metadata: self.metadata.map(Members::into_metadata).transpose()?.unwrap_or_default(),
            return_url: self.return_url.map(|text| link("return_url", text)).transpose()?,
            cancel_url: self.cancel_url.map(|text| link("cancel_url", text)).transpose()?,
        };
        if new.confirm && new.customer.is_none() {
            return Err(ApiError::missing("customer"));
        }
        if new.confirm && new.billing.is_none() {
            return Err(ApiError::missing("billing_address"));
        }
        Ok(new)
    }
}
