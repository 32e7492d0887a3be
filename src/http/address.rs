//! Postal addresses, and who is named on objects that belong to a customer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::reply::ApiError;
use crate::http::scalar::{JsonScalar, Pairs};
use crate::http::text;
use crate::model::Customer;
use crate::model::customer::MetadataValue;
use crate::model::subscription::BillingAddress;

/// The two-letter codes of ISO 3166-1.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI \
    BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY \
    CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN \
    GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH \
    KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL \
    PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV \
    SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN \
    VU WF WS YE YT ZA ZM ZW";

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
        let line = |field: &str, text: Option<String>| {
            text.map(|text| text::line(field, text, text::NAME_CHARS_MAX)).transpose()
        };
        let field = "billing.country";
        let country =
            self.country.ok_or_else(|| ApiError::invalid(field, format!("{field} is missing")))?;
        if !COUNTRIES.split_whitespace().any(|known| known == country) {
            let message = format!("{field}: must be a code of two capitals such as US");
            return Err(ApiError::invalid(field, message));
        }
        Ok(BillingAddress {
            country,
            city: line("billing.city", self.city)?,
            state: line("billing.state", self.state)?,
            street: line("billing.street", self.street)?,
            zipcode: line("billing.zipcode", self.zipcode)?,
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
        assert_eq!(COUNTRIES.split_whitespace().count(), 249);
    }
}
