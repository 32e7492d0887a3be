//! The list of products.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde_json::json;

use super::words;
use crate::engine::bills::ProductFilter;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::listing::{Address, Listing};
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::snippet::Snippets;
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::query::Parameters;
use crate::model::Product;

#[derive(Template)]
#[template(path = "dashboard/products.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    archived: bool,
    recurring: &'static str,
    table: Table,
    pager: Pager,
    /// How the first product is made.
    empty: Option<Snippets>,
}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let listing = Listing::read(&parameters)?;
    let archived = parameters.boolean("archived")?.unwrap_or(false);
    let filter = ProductFilter { archived, recurring: parameters.boolean("recurring")? };
    let recurring = match filter.recurring {
        None => "",
        Some(true) => "true",
        Some(false) => "false",
    };
    let address = Address::new("/dashboard/products")
        .with("archived", if archived { "true" } else { "" })
        .with("recurring", recurring);
    let mut found = dashboard.edge.engine.products(filter, listing.page());
    let pager = listing.cut(&mut found, &address);
    let table = table(&found).exported_at(address.csv());
    if listing.is_csv {
        return Ok(answer::csv(&table));
    }
    let asks_all = filter.recurring.is_none() && !archived && pager.first.is_none();
    let is_empty = table.rows.is_empty() && asks_all;
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Products, "Products"),
        archived,
        recurring,
        table,
        pager,
        empty: is_empty.then(|| create(&viewer.base)),
    })
}

fn table(products: &[Arc<Product>]) -> Table {
    let columns = vec![
        text("Name"),
        text("Price"),
        text("Kind"),
        number("Meters"),
        number("Version"),
        text("Created"),
    ];
    let mut table = Table::new("products", "Products", columns);
    table.rows = products.iter().map(|product| row(product)).collect();
    table
}

fn row(product: &Product) -> Vec<Cell> {
    let price = product.price();
    let href = format!("/dashboard/products/{}", product.id);
    vec![
        Cell::link(&product.name, href).noted(product.id.to_string()),
        Cell::text(words::summary(price)),
        Cell::text(words::kind(price)),
        Cell::number(&price.meters().len()),
        Cell::number(&product.version().0),
        Cell::moment(product.created_at),
    ]
}

/// How a product is made.
fn create(base: &str) -> Snippets {
    let price = json!({ "type": "usage_based_price", "currency": "USD", "fixed_price": 4900,
        "payment_frequency_count": 1, "payment_frequency_interval": "Month",
        "subscription_period_count": 10, "subscription_period_interval": "Year",
        "meters": [{ "meter_id": "mtr_…", "price_per_unit": "2", "free_threshold": 1000 }] });
    let product = json!({ "name": "Plan", "tax_category": "saas", "price": price });
    Snippets::of(base, "/products", "products.create", &product)
}
