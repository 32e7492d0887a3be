//! The list of subscriptions.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde_json::json;

use super::words::{self, STATUSES};
use crate::engine::bills::{SubscriptionFilter, SubscriptionView};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::customers;
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::listing::{Address, Listing};
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::snippet::Snippets;
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::query::Parameters;
use crate::model::{CustomerId, ProductId, SubscriptionStatus};

#[derive(Template)]
#[template(path = "dashboard/subscriptions.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    /// What the form asks for.
    customer_id: String,
    product_id: String,
    /// Each status, and whether it is asked for.
    statuses: Vec<(&'static str, bool)>,
    table: Table,
    pager: Pager,
    empty: Option<Snippets>,
}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let listing = Listing::read(&parameters)?;
    let wish = "a status of subscriptions";
    let status = parameters
        .parsed("status", wish, |text| STATUSES.iter().find(|(_, word)| *word == text).copied())?;
    let customer_id = parameters.text("customer_id")?.unwrap_or_default().to_owned();
    let product_id = parameters.text("product_id")?.unwrap_or_default().to_owned();
    let word = status.map_or("", |(_, word)| word);
    let address = Address::new("/dashboard/subscriptions")
        .with("status", word)
        .with("customer_id", &customer_id)
        .with("product_id", &product_id);
    let filter = SubscriptionFilter {
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
        product_id: parameters.text("product_id")?.map(ProductId::new),
        status: status.map(|(status, _)| status),
        ..SubscriptionFilter::default()
    };
    let asks_all = word.is_empty() && customer_id.is_empty() && product_id.is_empty();
    // With a filter every subscription is looked at.
    let page = listing.page();
    let mut found = dashboard.edge.read(move |engine| engine.subscriptions(&filter, page)).await?;
    let pager = listing.cut(&mut found, &address);
    let table = table(&found).exported_at(address.csv());
    if listing.is_csv {
        return Ok(answer::csv(&table));
    }
    let is_empty = table.rows.is_empty() && asks_all && pager.first.is_none();
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Subscriptions, "Subscriptions"),
        customer_id,
        product_id,
        statuses: STATUSES.iter().map(|(_, known)| (*known, *known == word)).collect(),
        table,
        pager,
        empty: is_empty.then(|| create(&viewer.base)),
    })
}

fn table(views: &[SubscriptionView]) -> Table {
    let columns = vec![
        text("Subscription"),
        text("Customer"),
        text("Product"),
        number("Quantity"),
        text("Status"),
        text("Next billing date"),
        text("Created"),
    ];
    let mut table = Table::new("subscriptions", "Subscriptions, newest first", columns);
    table.rows = views.iter().map(row).collect();
    table
}

fn row(view: &SubscriptionView) -> Vec<Cell> {
    let subscription = &view.subscription;
    let customer = customers::path(&view.customer.id);
    vec![
        Cell::link(&subscription.id, super::path(&subscription.id)),
        Cell::link(&view.customer.id, customer).noted(view.customer.name.clone()),
        Cell::link(&view.product.name, format!("/dashboard/products/{}", view.product.id)),
        Cell::number(&subscription.quantity),
        words::status(subscription.status),
        next_date(view),
        Cell::moment(subscription.created_at),
    ]
}

/// When it is billed next; nothing of one that has ended, or stands still.
pub(super) fn next_date(view: &SubscriptionView) -> Cell {
    let subscription = &view.subscription;
    match subscription.status {
        SubscriptionStatus::Active
        | SubscriptionStatus::OnHold
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Pending => {
            let date = Cell::moment(subscription.cycle.next_billing_date);
            if subscription.cancel_at_next_billing_date { date.noted("ends then") } else { date }
        }
        SubscriptionStatus::Paused
        | SubscriptionStatus::Cancelled
        | SubscriptionStatus::Expired => Cell::Nothing,
    }
}

/// How a subscription is made.
fn create(base: &str) -> Snippets {
    let subscription = json!({ "customer": { "customer_id": "cus_1" }, "product_id": "pdt_…",
        "quantity": 1, "billing": { "country": "US" } });
    Snippets::of(base, "/subscriptions", "subscriptions.create", &subscription)
}
