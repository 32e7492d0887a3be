//! The form of a product, whose worked total follows the typing.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde_json::{Value, json};

use super::filled::Filled;
use super::rows::{Choices, CreditRow, MeterRow};
use super::words;
use crate::http::credits;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::forms::only_who_may_change;
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::price::PriceBody;
use crate::http::reply::ApiError;
use crate::http::route::Segment;
use crate::http::scalar::Pairs;
use crate::model::{Currency, Product, ProductId};

const CURRENCY: &str = "USD";
const TAX: [&str; 5] = ["saas", "digital_products", "e_book", "edtech", "live_tutoring"];

/// What a form says of what is sold.
struct Details {
    name: String,
    description: String,
    tax: &'static str,
    /// As an object.
    metadata: String,
}

/// What a form says of its price.
struct Pricing {
    price: Filled,
    /// Codes and the digits of their minor units.
    currencies: Vec<(&'static str, u32)>,
    meters: Vec<MeterRow>,
    blank_meter: MeterRow,
    credits: Vec<CreditRow>,
    blank_credit: CreditRow,
    has_meters: bool,
    has_entitlements: bool,
}

#[derive(Template)]
#[template(path = "dashboard/product_form.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    rows_js: &'static str,
    /// The product that is changed.
    id: Option<String>,
    details: Details,
    pricing: Pricing,
}

/// The form of a new product.
pub(in crate::http::dashboard) async fn create(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
) -> Answer {
    only_who_may_change(&viewer)?;
    let details = Details {
        name: String::new(),
        description: String::new(),
        tax: TAX[0],
        metadata: String::new(),
    };
    let price = json!({ "type": "usage_based_price", "currency": CURRENCY, "meters": [{}] });
    let pricing = Pricing::new(&dashboard, Filled::new(price, 2), Vec::new());
    let shell = Shell::new(&dashboard.edge, &viewer, Place::Products, "New product");
    let rows_js = &shell.assets.rows_js;
    answer::show(&Page { rows_js, shell, id: None, details, pricing })
}

/// The form of a product that is there.
pub(in crate::http::dashboard) async fn edit(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
) -> Answer {
    only_who_may_change(&viewer)?;
    let product = dashboard.edge.engine.product(&ProductId::new(id));
    let product = product.ok_or_else(|| NotShown::not_found("product"))?;
    let title = format!("Change {}", product.name);
    let shell = Shell::new(&dashboard.edge, &viewer, Place::Products, &title);
    answer::show(&Page {
        rows_js: &shell.assets.rows_js,
        shell,
        id: Some(product.id.to_string()),
        details: Details::of(&product)?,
        pricing: Pricing::of(&dashboard, &product)?,
    })
}

/// What the API prints, as a value.
fn printed(body: &impl serde::Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(body).map_err(|_not_json| ApiError::internal())
}

impl Details {
    fn of(product: &Product) -> Result<Self, ApiError> {
        let metadata = printed(&Pairs(product.metadata.clone()))?;
        let is_empty = metadata.as_object().is_none_or(serde_json::Map::is_empty);
        Ok(Self {
            name: product.name.clone(),
            description: product.description.clone().unwrap_or_default(),
            tax: words::tax(product.tax_category),
            metadata: if is_empty { String::new() } else { format!("{metadata:#}") },
        })
    }

    /// Every tax category, and whether it is chosen.
    fn taxes(&self) -> [(&'static str, bool); 5] {
        TAX.map(|word| (word, word == self.tax))
    }
}

impl Pricing {
    fn of(dashboard: &Dashboard, product: &Product) -> Result<Self, ApiError> {
        let engine = &dashboard.edge.engine;
        let digits = product.price().currency.minor_digits();
        let price = printed(&PriceBody::new(product.price(), engine))?;
        let handed_out = credits::mappings(product, engine);
        let handed_out = handed_out.iter().map(|of| Ok(Filled::new(printed(of)?, digits)));
        let handed_out = handed_out.collect::<Result<_, ApiError>>()?;
        Ok(Self::new(dashboard, Filled::new(price, digits), handed_out))
    }

    fn new(dashboard: &Dashboard, price: Filled, handed_out: Vec<Filled>) -> Self {
        let choices = Choices::of(&dashboard.edge.engine);
        Self {
            currencies: Currency::all().map(|(code, of)| (code, of.minor_digits())).collect(),
            meters: MeterRow::all(&price, &choices),
            blank_meter: MeterRow::blank(&choices),
            credits: CreditRow::all(handed_out, &choices),
            blank_credit: CreditRow::blank(&choices),
            has_meters: !choices.meters.is_empty(),
            has_entitlements: !choices.entitlements.is_empty(),
            price,
        }
    }

    /// The units of the calendar, each with whether it is that of this member.
    fn intervals(&self, name: &str, otherwise: &str) -> [(&'static str, bool); 4] {
        let chosen = self.price.or(name, otherwise);
        ["Day", "Week", "Month", "Year"].map(|unit| (unit, unit == chosen))
    }
}
