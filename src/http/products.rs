//! Products on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::ProductFilter;
use crate::engine::command::billing::{NewProduct, ProductPatch};
use crate::engine::{Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::credits::{self, AttachmentInput, MappingBody};
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::page::{Items, Paging};
use crate::http::price::{PriceBody, PriceInput};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::scalar::{JsonScalar, Members, Pairs};
use crate::http::text::{self, Instant, Nullable};
use crate::http::{body, page};
use crate::model::customer::MetadataValue;
use crate::model::product::TaxCategory;
use crate::model::{Product, ProductId};

/// Characters of a product's name.
const NAME_CHARS_MAX: usize = 100;

/// What a product is for the tax office.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = TaxCategory)]
#[serde(rename_all = "snake_case")]
enum TaxWord {
    DigitalProducts,
    Saas,
    EBook,
    Edtech,
    LiveTutoring,
}

/// A product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
struct ProductBody {
    product_id: String,
    business_id: String,
    brand_id: String,
    name: String,
    description: Option<String>,
    tax_category: TaxWord,
    is_recurring: bool,
    price: PriceBody,
    /// The number of this price: 1 is the product's first.
    price_version: u32,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    /// The credits that new purchases get.
    credit_entitlements: Vec<MappingBody>,
    /// Always empty.
    entitlements: Vec<String>,
    /// Always `false`.
    license_key_enabled: bool,
    /// The following are always `null`.
    license_key_activation_message: Option<String>,
    license_key_activations_limit: Option<u32>,
    license_key_duration: Option<String>,
    addons: Option<Vec<String>>,
    digital_product_delivery: Option<String>,
    image: Option<String>,
    pricing_mode: Option<String>,
    product_collection_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// A product in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProductListItem)]
struct ListedBody {
    product_id: String,
    business_id: String,
    name: String,
    description: Option<String>,
    tax_category: TaxWord,
    is_recurring: bool,
    currency: String,
    /// What one costs, once or each cycle, in the currency's minor unit.
    price: i64,
    price_detail: PriceBody,
    tax_inclusive: bool,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    /// Always empty.
    entitlements: Vec<String>,
    /// Always `null`.
    image: Option<String>,
    /// Always `null`.
    pricing_mode: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// What the wire format has and Quipu does not sell.
#[derive(Deserialize)]
struct NotOffered<'a> {
    #[serde(borrow)]
    addons: Option<&'a RawValue>,
    #[serde(borrow)]
    entitlements: Option<&'a RawValue>,
    #[serde(borrow)]
    digital_product_delivery: Option<&'a RawValue>,
    #[serde(borrow)]
    pricing_mode: Option<&'a RawValue>,
    #[serde(borrow)]
    license_key_enabled: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Branded {
    brand_id: Option<String>,
}

#[derive(Deserialize, ToSchema)]
struct ProductCreate<'a> {
    #[schema(value_type = String)]
    name: Option<String>,
    description: Option<String>,
    #[schema(value_type = TaxWord)]
    tax_category: Option<TaxWord>,
    #[schema(value_type = PriceInput)]
    price: Option<PriceInput>,
    /// The credits that it hands out: at most 5 entitlements, each once.
    credit_entitlements: Option<Vec<AttachmentInput>>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
}

#[derive(Deserialize, ToSchema)]
struct ProductUpdate<'a> {
    name: Option<String>,
    /// `null` clears it.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    description: Nullable,
    tax_category: Option<TaxWord>,
    /// For new purchases; its type never changes.
    price: Option<PriceInput>,
    /// Replaces all credits of new purchases; `[]` removes them.
    credit_entitlements: Option<Vec<AttachmentInput>>,
    /// Replaces all pairs.
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
}

/// Adds the routes of products.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_products))
        .add::<Admin>(routes!(create_product))
        .add::<Read>(routes!(get_product))
        .add::<Admin>(routes!(update_product, archive_product))
        .add::<Admin>(routes!(unarchive_product))
}

/// Create a product
#[utoipa::path(post, path = "/products", tag = "products", request_body = ProductCreate<'static>,
    responses((status = 200, body = ProductBody)))]
async fn create_product(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let product = body::object::<ProductCreate<'_>>(&mutation.body)?.into_new()?;
    refuse_what_is_not_offered(&mutation.body)?;
    refuse_other_brand(&mutation.body, &edge)?;
    let command = Command::CreateProduct(Box::new(product));
    let Outcome::Product(product) = edge.change(command, mutation.identity).await?.outcome else {
        return Err(ApiError::internal().into());
    };
    Ok(reply::json(StatusCode::OK, &ProductBody::new(&product, &edge)))
}

/// List products
///
/// Newest first; archived ones instead of those on sale with `archived=true`.
#[utoipa::path(get, path = "/products", tag = "products",
    params(("archived" = Option<bool>, Query), ("recurring" = Option<bool>, Query),
        ("brand_id" = Option<String>, Query), ("page_size" = Option<u32>, Query),
        ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<ListedBody>)))]
async fn list_products(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, ApiError> {
    let filter = ProductFilter {
        archived: parameters.boolean("archived")?.unwrap_or(false),
        recurring: parameters.boolean("recurring")?,
    };
    let is_ours = edge.is_our_brand(&parameters)?;
    let products = if is_ours { edge.engine.products(filter, paging.into()) } else { Vec::new() };
    let items = products.iter().map(|product| ListedBody::new(product, &edge)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// Read a product
#[utoipa::path(get, path = "/products/{id}", tag = "products", params(("id" = String, Path)),
    responses((status = 200, body = ProductBody)))]
async fn get_product(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let product = edge.engine.product(&ProductId::new(id));
    let product = product.ok_or_else(|| ApiError::not_found("product"))?;
    Ok(reply::json(StatusCode::OK, &ProductBody::new(&product, &edge)))
}

/// Change a product
///
/// A new price is for new purchases alone.
#[utoipa::path(patch, path = "/products/{id}", tag = "products", params(("id" = String, Path)),
    request_body = ProductUpdate<'static>, responses((status = 200, description = "No body")))]
async fn update_product(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let patch = body::object::<ProductUpdate<'_>>(&mutation.body)?.into_patch()?;
    refuse_what_is_not_offered(&mutation.body)?;
    refuse_other_brand(&mutation.body, &edge)?;
    let command = Command::UpdateProduct(ProductId::new(id), Box::new(patch));
    edge.change(command, mutation.identity).await?;
    Ok(reply::empty())
}

/// Archive a product
///
/// It takes no new purchases; those there are go on.
#[utoipa::path(delete, path = "/products/{id}", tag = "products", params(("id" = String, Path)),
    responses((status = 200, description = "No body")))]
async fn archive_product(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    edge.change(Command::ArchiveProduct(ProductId::new(id)), mutation.identity).await?;
    Ok(reply::empty())
}

/// Sell an archived product again
#[utoipa::path(post, path = "/products/{id}/unarchive", tag = "products",
    params(("id" = String, Path)), responses((status = 200, description = "No body")))]
async fn unarchive_product(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    edge.change(Command::UnarchiveProduct(ProductId::new(id)), mutation.identity).await?;
    Ok(reply::empty())
}

/// There is one brand, which need not be named.
fn refuse_other_brand(text: &[u8], edge: &Edge) -> Result<(), ApiError> {
    let asked = body::object::<Branded>(text)?.brand_id;
    if asked.is_none_or(|brand| brand == edge.options.brand_id.as_str()) {
        return Ok(());
    }
    Err(ApiError::invalid("brand_id", format!("brand_id: must be {}", edge.options.brand_id)))
}

fn refuse_what_is_not_offered(text: &[u8]) -> Result<(), ApiError> {
    let asked = body::object::<NotOffered<'_>>(text)?;
    body::refuse_not_offered(&[
        ("addons", asked.addons),
        ("entitlements", asked.entitlements),
        ("digital_product_delivery", asked.digital_product_delivery),
        ("pricing_mode", asked.pricing_mode),
        ("license_key_enabled", asked.license_key_enabled),
    ])
}

impl ProductCreate<'_> {
    fn into_new(self) -> Result<NewProduct, ApiError> {
        Ok(NewProduct {
            name: text::required("name", self.name, NAME_CHARS_MAX)?,
            description: self.description.map(description).transpose()?,
            tax_category: self
                .tax_category
                .ok_or_else(|| ApiError::missing("tax_category"))?
                .into(),
            metadata: self.metadata.map(Members::into_metadata).transpose()?.unwrap_or_default(),
            price: self.price.ok_or_else(|| ApiError::missing("price"))?.into_new()?,
            credits: credits::attachments(self.credit_entitlements.unwrap_or_default())?,
        })
    }
}

impl ProductUpdate<'_> {
    fn into_patch(self) -> Result<ProductPatch, ApiError> {
        let name = self.name.map(|name| text::required("name", Some(name), NAME_CHARS_MAX));
        let described = self.description.map(|text| text.map(description).transpose());
        Ok(ProductPatch {
            name: name.transpose()?,
            description: described.transpose()?,
            tax_category: self.tax_category.map(TaxCategory::from),
            metadata: self.metadata.map(Members::into_metadata).transpose()?,
            price: self.price.map(PriceInput::into_new).transpose()?,
            credits: self.credit_entitlements.map(credits::attachments).transpose()?,
        })
    }
}

fn description(text: String) -> Result<String, ApiError> {
    text::paragraph("description", text)
}

impl ProductBody {
    fn new(product: &Product, edge: &Edge) -> Self {
        Self {
            product_id: product.id.as_str().to_owned(),
            business_id: edge.options.business_id.as_str().to_owned(),
            brand_id: edge.options.brand_id.as_str().to_owned(),
            name: product.name.clone(),
            description: product.description.clone(),
            tax_category: product.tax_category.into(),
            is_recurring: product.price().recurrence().is_some(),
            price: PriceBody::new(product.price(), &edge.engine),
            price_version: product.version().0,
            metadata: Pairs(product.metadata.clone()),
            credit_entitlements: credits::mappings(product, &edge.engine),
            entitlements: Vec::new(),
            license_key_enabled: false,
            license_key_activation_message: None,
            license_key_activations_limit: None,
            license_key_duration: None,
            addons: None,
            digital_product_delivery: None,
            image: None,
            pricing_mode: None,
            product_collection_id: None,
            created_at: Instant(product.created_at),
            updated_at: Instant(product.updated_at),
        }
    }
}

impl ListedBody {
    fn new(product: &Product, edge: &Edge) -> Self {
        let price = product.price();
        Self {
            product_id: product.id.as_str().to_owned(),
            business_id: edge.options.business_id.as_str().to_owned(),
            name: product.name.clone(),
            description: product.description.clone(),
            tax_category: product.tax_category.into(),
            is_recurring: price.recurrence().is_some(),
            currency: price.currency.to_string(),
            price: price.fixed.as_minor(),
            price_detail: PriceBody::new(price, &edge.engine),
            tax_inclusive: price.tax_inclusive,
            metadata: Pairs(product.metadata.clone()),
            entitlements: Vec::new(),
            image: None,
            pricing_mode: None,
            created_at: Instant(product.created_at),
            updated_at: Instant(product.updated_at),
        }
    }
}

impl From<TaxWord> for TaxCategory {
    fn from(word: TaxWord) -> Self {
        match word {
            TaxWord::DigitalProducts => Self::DigitalProducts,
            TaxWord::Saas => Self::Saas,
            TaxWord::EBook => Self::EBook,
            TaxWord::Edtech => Self::Edtech,
            TaxWord::LiveTutoring => Self::LiveTutoring,
        }
    }
}

impl From<TaxCategory> for TaxWord {
    fn from(category: TaxCategory) -> Self {
        match category {
            TaxCategory::DigitalProducts => Self::DigitalProducts,
            TaxCategory::Saas => Self::Saas,
            TaxCategory::EBook => Self::EBook,
            TaxCategory::Edtech => Self::Edtech,
            TaxCategory::LiveTutoring => Self::LiveTutoring,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: &str = r#""price":{"type":"one_time_price","currency":"USD","price":100}"#;

    fn refused(text: &str) -> String {
        let read = body::object::<ProductCreate<'_>>(text.as_bytes());
        let read = read.and_then(ProductCreate::into_new).map(drop);
        let error = read.and_then(|()| refuse_what_is_not_offered(text.as_bytes())).unwrap_err();
        assert_eq!(error.status(), 422);
        error.body().field.clone().unwrap_or_default()
    }

    #[test]
    fn a_bad_product_is_refused_by_its_field() {
        for (text, field) in [
            (format!(r#"{{"tax_category":"saas",{PRICE}}}"#), "name"),
            (format!(r#"{{"name":"","tax_category":"saas",{PRICE}}}"#), "name"),
            (format!(r#"{{"name":"P",{PRICE}}}"#), "tax_category"),
            (format!(r#"{{"name":"P","tax_category":"food",{PRICE}}}"#), "tax_category"),
            (r#"{"name":"P","tax_category":"saas"}"#.to_owned(), "price"),
            (
                r#"{"name":"P","tax_category":"saas","price":{"type":"one_time_price","currency":"USD","price":"1"}}"#
                    .to_owned(),
                "price.price",
            ),
            (
                format!(r#"{{"name":"P","tax_category":"saas","addons":["a"],{PRICE}}}"#),
                "addons",
            ),
            (
                format!(r#"{{"name":"P","tax_category":"saas","license_key_enabled":true,{PRICE}}}"#),
                "license_key_enabled",
            ),
        ] {
            assert_eq!(refused(&text), field, "{text}");
        }
        let fine = format!(
            r#"{{"name":"P","tax_category":"e_book","addons":[],"license_key_enabled":false,"credit_entitlements":null,{PRICE}}}"#
        );
        assert!(body::object::<ProductCreate<'_>>(fine.as_bytes()).unwrap().into_new().is_ok());
        assert!(refuse_what_is_not_offered(fine.as_bytes()).is_ok());
    }

    #[test]
    fn a_patch_keeps_what_is_left_out_and_clears_what_is_null() {
        let patch = |text: &str| {
            body::object::<ProductUpdate<'_>>(text.as_bytes())
                .and_then(ProductUpdate::into_patch)
                .unwrap()
        };
        assert_eq!(patch("{}"), ProductPatch::default());
        assert_eq!(patch(r#"{"description":null}"#).description, Some(None));
        assert_eq!(patch(r#"{"name":"Q"}"#).name.as_deref(), Some("Q"));
    }
}
