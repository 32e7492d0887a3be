//! A change of plan, and what it would come to.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};

use super::Tab;
use crate::engine::Page as Part;
use crate::engine::bills::{ChangePreview, ProductFilter};
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::products::words as prices;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::Table;
use crate::http::dashboard::tags::Moment;
use crate::http::dashboard::{Dashboard, forms, lines};
use crate::http::document::major;
use crate::http::route::Segment;
use crate::http::subscriptions::plan_change;
use crate::model::invoice::InvoiceLine;
use crate::model::{Currency, SubscriptionId};

/// Products to choose from, at most.
pub(super) const PRODUCTS_MAX: usize = 1_000;

#[derive(Template)]
#[template(path = "dashboard/subscription_plan.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    rows_js: &'static str,
    tabs: Vec<(&'static str, String, bool)>,
    id: String,
    quantity: u32,
    /// Ids, names and prices.
    products: Vec<(String, String, String)>,
    has_scheduled: bool,
}

/// What a change would come to, or what is missing.
#[derive(Template)]
#[template(path = "dashboard/subscription_preview.html", config = ".config/askama.toml")]
struct Preview {
    shown: Result<Shown, String>,
}

struct Shown {
    effective_at: Moment,
    currency: String,
    total: String,
    lines: Option<Table>,
    usage: Option<Table>,
    /// What is kept for later invoices, unless it is nothing.
    kept: Option<String>,
    next_billing_date: Moment,
}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
) -> Answer {
    let view = super::find(&dashboard, id)?;
    forms::only_who_may_change(&viewer)?;
    let title = format!("{} for {}", view.product.name, view.customer.name);
    let shell = Shell::new(&dashboard.edge, &viewer, Place::Subscriptions, &title);
    answer::show(&Page {
        rows_js: &shell.assets.rows_js,
        shell,
        tabs: Tab::Plan.all(&view.subscription.id, true),
        id: view.subscription.id.to_string(),
        quantity: view.subscription.quantity,
        products: products(&dashboard, Some(true)),
        has_scheduled: view.subscription.scheduled_change.is_some(),
    })
}

/// Products on sale: ids, names and prices.
pub(super) fn products(
    dashboard: &Dashboard,
    recurring: Option<bool>,
) -> Vec<(String, String, String)> {
    let filter = ProductFilter { archived: false, recurring };
    let page = Part { offset: 0, limit: PRODUCTS_MAX };
    let found = dashboard.edge.engine.products(filter, page);
    let shown = |product: &Arc<crate::model::Product>| {
        (product.id.to_string(), product.name.clone(), prices::summary(product.price()))
    };
    found.iter().map(shown).collect()
}

/// What the change in the form would come to now.
pub(in crate::http::dashboard) async fn preview(
    State(dashboard): State<Arc<Dashboard>>,
    Segment(id): Segment,
    request: Request,
) -> Answer {
    let said = forms::said(&dashboard, request).await?;
    let found = plan_change(said.as_bytes()).and_then(|change| {
        Ok(dashboard.edge.engine.preview_change(&SubscriptionId::new(id), &change)?)
    });
    // A form that is not complete yet is no failure: the part says what is missing.
    let shown = found.map(Shown::new).map_err(|error| error.body().message.clone());
    answer::show(&Preview { shown })
}

impl Shown {
    fn new(preview: ChangePreview) -> Self {
        let currency = preview.currency;
        let usage: Vec<_> = preview.usage.into_iter().map(|(line, _)| line).collect();
        let kept = preview.credit.as_minor() != 0;
        Self {
            effective_at: Moment(preview.effective_at),
            currency: currency.to_string(),
            total: major(preview.bill.total, currency),
            lines: table("change", "What is paid at once", &preview.bill.lines, currency),
            usage: table("cut-usage", "Usage so far, billed after the grace", &usage, currency),
            kept: kept.then(|| major(preview.credit, currency)),
            next_billing_date: Moment(preview.after.subscription.cycle.next_billing_date),
        }
    }
}

fn table(
    name: &'static str,
    caption: &str,
    bill: &[InvoiceLine],
    currency: Currency,
) -> Option<Table> {
    (!bill.is_empty()).then(|| lines::table(name, caption, bill, currency))
}
