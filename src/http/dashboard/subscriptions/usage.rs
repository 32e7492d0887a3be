//! The usage history of a subscription: each period and meter, the running period first.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::Tab;
use crate::engine::bills::{MeterUsage, SubscriptionView, UsageHistoryQuery, UsagePeriod};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::listing::{Address, Listing};
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, Tone, number, text};
use crate::http::document::{Row, major};
use crate::http::query::Parameters;
use crate::http::route::Segment;
use crate::model::invoice::{InvoiceLine, LineDetail};
use crate::model::{Period, SubscriptionId, Terms};

#[derive(Template)]
#[template(path = "dashboard/subscription_usage.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    tabs: Vec<(&'static str, String, bool)>,
    rows: Rows,
    /// Where the rows are, to be loaded anew.
    live: Option<String>,
}

/// The table and where it goes on: a part of the page that follows events.
#[derive(Template)]
#[template(source = "{{ table }}{{ pager }}", ext = "html", config = ".config/askama.toml")]
struct Rows {
    table: Table,
    pager: Pager,
}

impl askama::filters::HtmlSafe for Rows {}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let listing = Listing::read(&parameters)?;
    let view = super::find(&dashboard, id)?;
    let rows = read(&dashboard, &view, listing).await?;
    if listing.is_csv {
        return Ok(answer::csv(&rows.table));
    }
    let id = &view.subscription.id;
    let title = format!("{} for {}", view.product.name, view.customer.name);
    let is_first = rows.pager.first.is_none();
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Subscriptions, &title),
        tabs: Tab::Usage.all(id, viewer.may_change()),
        live: is_first.then(|| format!("{}/usage/rows", super::path(id))),
        rows,
    })
}

/// The first rows anew.
pub(in crate::http::dashboard) async fn rows(
    State(dashboard): State<Arc<Dashboard>>,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let listing = Listing::read(&parameters)?;
    let view = super::find(&dashboard, id)?;
    answer::show(&read(&dashboard, &view, listing).await?)
}

async fn read(
    dashboard: &Dashboard,
    view: &SubscriptionView,
    listing: Listing,
) -> Result<Rows, NotShown> {
    let id: SubscriptionId = view.subscription.id.clone();
    let address = Address::new(&format!("{}/usage", super::path(&id)));
    let page = listing.page();
    let history = move |engine: &crate::engine::Engine| {
        engine.usage_history(&id, &UsageHistoryQuery::default(), page)
    };
    let mut periods = dashboard.edge.read(history).await??;
    let pager = listing.cut(&mut periods, &address);
    let running = view.subscription.running.map(|running| running.period);
    let mut table = Table::new("usage", "Usage by period and meter, newest first", columns());
    let terms = view.subscription.terms;
    table.rows = periods.iter().flat_map(|period| period_rows(period, running, terms)).collect();
    Ok(Rows { table: table.exported_at(address.csv()), pager })
}

fn columns() -> Vec<crate::http::dashboard::table::Column> {
    vec![
        text("Period from"),
        text("to"),
        text("State"),
        text("Meter"),
        number("Consumed"),
        number("Free"),
        number("Chargeable"),
        text("Price"),
        number("Amount"),
    ]
}

fn period_rows(period: &UsagePeriod, running: Option<Period>, terms: Terms) -> Vec<Vec<Cell>> {
    let state = if period.closing {
        Cell::Badge(Tone::Warning, "closing".to_owned())
    } else if running == Some(period.period) {
        Cell::Badge(Tone::Good, "running".to_owned())
    } else {
        Cell::Badge(Tone::Plain, "billed".to_owned())
    };
    let rows = period.meters.iter().map(|meter| row(period, &state, meter, terms));
    rows.collect()
}

fn row(period: &UsagePeriod, state: &Cell, meter: &MeterUsage, terms: Terms) -> Vec<Cell> {
    let usage = &meter.usage;
    // How it came about is told as on an invoice; which price it is does not stand there.
    let line = InvoiceLine {
        product: terms.product,
        price_version: terms.version,
        detail: LineDetail::Usage(Box::new(usage.clone())),
        amount: meter.total,
    };
    let told = Row::new(&line, period.currency);
    let more: Vec<String> = told.how.into_iter().skip(1).collect();
    let price = Cell::text(told.unit_price);
    let amount = Cell::number(&major(meter.total, period.currency));
    vec![
        Cell::moment(period.period.start),
        Cell::moment(period.period.end),
        state.clone(),
        Cell::link(&usage.name, format!("/dashboard/meters/{}", meter.meter_id))
            .noted(usage.measurement_unit.clone()),
        Cell::number(&usage.consumed),
        Cell::number(&usage.free_threshold),
        Cell::number(&usage.chargeable),
        if more.is_empty() { price } else { price.noted(more.join("; ")) },
        amount.noted(period.currency.to_string()),
    ]
}
