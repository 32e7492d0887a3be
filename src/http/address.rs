//! Postal addresses, and who is named on objects that belong to a customer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::countries::is_country;
use crate::http::reply::ApiError;
use crate::http::scalar::{JsonScalar, Pairs};
use crate::http::text;
use crate::model::Customer;
use crate::model::customer::MetadataValue;
use crate::model::subscription::BillingAddress;

/// A postal address as it is given.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BillingAddressInput)]
pub(crate) struct AddressInput {
    /// Two capitals of ISO 3166-1.
    #[schema(value_type = String)]
    country: Option<String>,
    city: Option<String>,
    state: Option<String>,
    street: Option<String>,
    zipcode: Option<String>,
}

/// A postal address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillingAddress)]
pub(crate) struct AddressBody {
    country: String,
    city: Option<String>,
    state: Option<String>,
    street: Option<String>,
    zipcode: Option<String>,
}

/// The customer that an object belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomerLimitedDetails)]
pub(crate) struct CustomerDetails {
    customer_id: String,
    email: String,
    name: String,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    phone_number: Option<String>,
}

impl AddressInput {
    /// The address, checked.
    ///
    /// # Errors
    /// 422 that names the field
    pub(crate) fn into_address(self) -> Result<BillingAddress, ApiError> {
        self.into_address_of("billing")
    }

    /// The address, checked; `member` is where it stands in the body.
    ///
    /// # Errors
    /// 422 that names the field
    pub(crate) fn into_address_of(self, member: &str) -> Result<BillingAddress, ApiError> {
        let line = |name: &str, text: Option<String>| {
            let field = format!("{member}.{name}");
            text.map(|text| text::line(&field, text, text::NAME_CHARS_MAX)).transpose()
        };
        let field = format!("{member}.country");
        let country = self.country.ok_or_else(|| ApiError::missing(&field))?;
        if !is_country(&country) {
            let message = format!("{field}: must be a code of two capitals such as US");
            return Err(ApiError::invalid(&field, message));
        }
        Ok(BillingAddress {
            country,
            city: line("city", self.city)?,
            state: line("state", self.state)?,
            street: line("street", self.street)?,
            zipcode: line("zipcode", self.zipcode)?,
        })
    }
}

impl From<&BillingAddress> for AddressBody {
    fn from(address: &BillingAddress) -> Self {
        Self {
            country: address.country.clone(),
            city: address.city.clone(),
            state: address.state.clone(),
            street: address.street.clone(),
            zipcode: address.zipcode.clone(),
        }
    }
}

impl From<&Customer> for CustomerDetails {
    fn from(customer: &Customer) -> Self {
        Self {
            customer_id: customer.id.as_str().to_owned(),
            email: customer.email.clone(),
            name: customer.name.clone(),
            metadata: Pairs(customer.metadata.clone()),
            phone_number: customer.phone_number.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_a_code_of_the_list() {
        let country = |text: &str| {
            let input: AddressInput =
                serde_json::from_str(&format!(r#"{{"country":{text},"city":"Lima"}}"#)).unwrap();
            input.into_address().map_err(|error| error.body().field.clone())
        };
        assert_eq!(country("\"PE\"").unwrap().city.as_deref(), Some("Lima"));
        for text in ["\"pe\"", "\"XX\"", "\"PER\"", "\"\"", "null"] {
            assert_eq!(country(text), Err(Some("billing.country".to_owned())), "{text}");
        }
    }
}
