//! Customers on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::command::{CustomerPatch, NewCustomer};
use crate::engine::{Changed, Command, CustomerFilter, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::page::{Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::scalar::{JsonScalar, Members, Pairs};
use crate::http::text::{self, Instant, Nullable};
use crate::http::{body, page};
use crate::model::customer::MetadataValue;
use crate::model::{BusinessId, Customer, CustomerId, CustomerOrigin};

/// Characters of an address: the longest that mail can be sent to.
const EMAIL_CHARS_MAX: usize = 254;
/// Characters of a phone number.
const PHONE_CHARS_MAX: usize = 32;
/// Language codes of the wire format.
const LOCALES: [&str; 22] = [
    "ar", "ca", "zh", "nl", "en", "fr", "de", "he", "id", "it", "ja", "ka", "ko", "ms", "pl", "pt",
    "ro", "ru", "es", "sv", "th", "tr",
];

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Customer)]
struct CustomerBody<'a> {
    customer_id: &'a str,
    business_id: &'a str,
    name: &'a str,
    email: &'a str,
    phone_number: Option<&'a str>,
    preferred_locale: Option<&'a str>,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    /// Always `null`.
    blocked_at: Option<&'a str>,
    /// Always `null`.
    blocklist_entry_id: Option<&'a str>,
    created_by: OriginWord,
}

/// How a customer came to be: by an event that named it, or by a request.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = CustomerOrigin)]
#[serde(rename_all = "snake_case")]
enum OriginWord {
    Ingest,
    Api,
}

#[derive(Deserialize, ToSchema)]
struct CustomerCreate<'a> {
    /// Made up when left out. Completes the customer that an event of this id has made.
    customer_id: Option<String>,
    #[schema(value_type = String)]
    email: Option<String>,
    #[schema(value_type = String)]
    name: Option<String>,
    phone_number: Option<String>,
    preferred_locale: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
}

#[derive(Deserialize, ToSchema)]
struct CustomerUpdate<'a> {
    email: Option<String>,
    name: Option<String>,
    /// `null` clears it.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    phone_number: Nullable,
    /// `null` clears it.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    preferred_locale: Nullable,
    /// Replaces all pairs.
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
}

/// Adds the routes of customers.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_customers))
        .add::<Admin>(routes!(create_customer))
        .add::<Read>(routes!(get_customer))
        .add::<Admin>(routes!(update_customer))
}

/// Create a customer, or complete one that an event made
#[utoipa::path(post, path = "/customers", tag = "customers",
    request_body = CustomerCreate<'static>,
    responses((status = 200, body = CustomerBody<'static>)))]
async fn create_customer(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let customer = body::object::<CustomerCreate<'_>>(&mutation.body)?.into_new()?;
    let changed = edge.change(Command::CreateCustomer(customer), mutation.identity).await?;
    show(&edge, changed)
}

/// List customers
///
/// Newest first. `email` matches whole addresses and `name` parts of names, both without regard to
/// case.
#[utoipa::path(get, path = "/customers", tag = "customers",
    params(("email" = Option<String>, Query), ("name" = Option<String>, Query),
        ("created_at_gte" = Option<String>, Query, format = DateTime),
        ("created_at_lte" = Option<String>, Query, format = DateTime),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<CustomerBody<'static>>)))]
async fn list_customers(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let filter = CustomerFilter {
        email: parameters.text("email")?.map(str::to_owned),
        name: parameters.text("name")?.map(str::to_owned),
        created_from: parameters.timestamp("created_at_gte")?,
        created_to: parameters.timestamp("created_at_lte")?,
    };
    // With a filter every customer is looked at.
    let customers = edge.read(move |engine| engine.customers(&filter, paging.into())).await?;
    let business_id = &edge.options.business_id;
    let items = customers.iter().map(|customer| CustomerBody::new(customer, business_id)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// Read a customer
#[utoipa::path(get, path = "/customers/{customer_id}", tag = "customers",
    params(("customer_id" = String, Path)),
    responses((status = 200, body = CustomerBody<'static>)))]
async fn get_customer(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let customer = edge.engine.customer(&CustomerId::new(id));
    let customer = customer.ok_or_else(|| ApiError::not_found("customer"))?;
    let shown = CustomerBody::new(&customer, &edge.options.business_id);
    Ok(reply::json(StatusCode::OK, &shown))
}

/// Change a customer
#[utoipa::path(patch, path = "/customers/{customer_id}", tag = "customers",
    params(("customer_id" = String, Path)), request_body = CustomerUpdate<'static>,
    responses((status = 200, body = CustomerBody<'static>)))]
async fn update_customer(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let patch = body::object::<CustomerUpdate<'_>>(&mutation.body)?.into_patch()?;
    let command = Command::UpdateCustomer(CustomerId::new(id), patch);
    let changed = edge.change(command, mutation.identity).await?;
    show(&edge, changed)
}

fn show(edge: &Edge, changed: Changed) -> Result<Response, Failure> {
    let Outcome::Customer(customer) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    let shown = CustomerBody::new(&customer, &edge.options.business_id);
    Ok(reply::json(StatusCode::OK, &shown))
}

impl CustomerCreate<'_> {
    fn into_new(self) -> Result<NewCustomer, ApiError> {
        let id = |text| text::id("customer_id", Some(text));
        Ok(NewCustomer {
            id: self.customer_id.map(id).transpose()?.map(CustomerId::new),
            name: name(self.name)?,
            email: email(self.email)?,
            phone_number: self.phone_number.map(phone_number).transpose()?,
            preferred_locale: self.preferred_locale.map(locale).transpose()?,
            metadata: self.metadata.map(Members::into_metadata).transpose()?.unwrap_or_default(),
        })
    }
}

impl CustomerUpdate<'_> {
    fn into_patch(self) -> Result<CustomerPatch, ApiError> {
        Ok(CustomerPatch {
            name: self.name.map(|text| name(Some(text))).transpose()?,
            email: self.email.map(|text| email(Some(text))).transpose()?,
            phone_number: self
                .phone_number
                .map(|text| text.map(phone_number).transpose())
                .transpose()?,
            preferred_locale: self
                .preferred_locale
                .map(|text| text.map(locale).transpose())
                .transpose()?,
            metadata: self.metadata.map(Members::into_metadata).transpose()?,
        })
    }
}

fn name(text: Option<String>) -> Result<String, ApiError> {
    text::required("name", text, text::NAME_CHARS_MAX)
}

fn email(text: Option<String>) -> Result<String, ApiError> {
    let text = text.ok_or_else(|| ApiError::missing("email"))?;
    let text = text::line("email", text, EMAIL_CHARS_MAX)?;
    if text.is_empty() || text.contains('@') {
        return Ok(text);
    }
    Err(ApiError::invalid("email", "email has no @"))
}

fn phone_number(text: String) -> Result<String, ApiError> {
    text::line("phone_number", text, PHONE_CHARS_MAX)
}

fn locale(text: String) -> Result<String, ApiError> {
    if LOCALES.contains(&text.as_str()) {
        return Ok(text);
    }
    let message = format!("preferred_locale must be one of {}", LOCALES.join(", "));
    Err(ApiError::invalid("preferred_locale", message))
}

impl<'a> CustomerBody<'a> {
    fn new(customer: &'a Customer, business_id: &'a BusinessId) -> Self {
        Self {
            customer_id: customer.id.as_str(),
            business_id: business_id.as_str(),
            name: &customer.name,
            email: &customer.email,
            phone_number: customer.phone_number.as_deref(),
            preferred_locale: customer.preferred_locale.as_deref(),
            metadata: Pairs(customer.metadata.clone()),
            created_at: Instant(customer.created_at),
            blocked_at: None,
            blocklist_entry_id: None,
            created_by: match customer.created_by {
                CustomerOrigin::Ingest => OriginWord::Ingest,
                CustomerOrigin::Api => OriginWord::Api,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{CustomerIndex, Timestamp};

    use super::*;

    fn create(text: &str) -> Result<NewCustomer, Option<String>> {
        let read = body::object::<CustomerCreate<'_>>(text.as_bytes());
        read.and_then(CustomerCreate::into_new).map_err(|error| {
            assert_eq!(error.status(), 422, "{text}");
            error.body().field.clone()
        })
    }

    #[test]
    fn name_and_email_are_needed_and_an_email_may_be_empty() {
        assert_eq!(create(r#"{"email":"a@b"}"#).unwrap_err().as_deref(), Some("name"));
        assert_eq!(create(r#"{"name":"A"}"#).unwrap_err().as_deref(), Some("email"));
        assert_eq!(create(r#"{"name":"A","email":"ab"}"#).unwrap_err().as_deref(), Some("email"));
        assert_eq!(create(r#"{"name":"A","email":""}"#).unwrap().email, "");
        let created = create(r#"{"name":"A","email":"a@b","customer_id":"c 1","extra":[{}]}"#);
        assert_eq!(created.unwrap().id, Some(CustomerId::new("c 1")));
    }

    #[test]
    fn a_locale_outside_the_wire_formats_list_is_refused() {
        let of = |locale: &str| {
            create(&format!(r#"{{"name":"A","email":"","preferred_locale":"{locale}"}}"#))
        };
        assert_eq!(of("de").unwrap().preferred_locale.as_deref(), Some("de"));
        assert_eq!(of("xx").unwrap_err().as_deref(), Some("preferred_locale"));
    }

    #[test]
    fn a_patch_keeps_what_is_left_out_and_clears_what_is_null() {
        let text = r#"{"phone_number":null,"metadata":{"a":1.0}}"#;
        let patch = body::object::<CustomerUpdate<'_>>(text.as_bytes()).unwrap();
        let patch = patch.into_patch().unwrap();
        assert_eq!(patch.phone_number, Some(None));
        assert_eq!(patch.preferred_locale, None);
        assert_eq!(patch.name, None);
        let number = MetadataValue::Number("1.0".to_owned());
        assert_eq!(patch.metadata, Some(vec![("a".to_owned(), number)]));
    }

    #[test]
    fn a_customer_prints_every_member_and_nulls() {
        let created_at = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let mut customer =
            Customer::from_ingest(CustomerId::new("cus_1"), CustomerIndex(0), created_at);
        customer.metadata = vec![("n".to_owned(), MetadataValue::Number("1.0".to_owned()))];
        let business_id = BusinessId::new("bus_1");
        let printed = serde_json::to_string(&CustomerBody::new(&customer, &business_id)).unwrap();
        assert_eq!(
            printed,
            r#"{"customer_id":"cus_1","business_id":"bus_1","name":"","email":"","phone_number":null,"preferred_locale":null,"metadata":{"n":1.0},"created_at":"2026-11-22T10:00:00Z","blocked_at":null,"blocklist_entry_id":null,"created_by":"ingest"}"#
        );
    }
}
