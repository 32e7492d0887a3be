//! One customer: what it uses against what is free, what that costs so far, what it has of credits, and
//! the invoices that will come.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::usage;
use crate::engine::bills::{BalanceView, Upcoming};
use crate::engine::{Engine, EventQuery, UsageQuery};
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::events::{self, Listed};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::dashboard::tags::{self, Moment};
use crate::http::dashboard::{Dashboard, customers, meters};
use crate::http::document::{Row, major};
use crate::http::query::Parameters;
use crate::http::reply::{ApiError, Failure};
use crate::http::scalar::Pairs;
use crate::model::{Customer, CustomerId, CustomerOrigin, Timestamp};

/// Meters of which usage is shown.
const METERS_MAX: usize = 200;

#[derive(Template)]
#[template(path = "dashboard/customer.html", config = ".config/askama.toml")]
struct CustomerPage {
    shell: Shell,
    customer: Customer,
    metadata: String,
    live_path: String,
    live: Live,
    events: Table,
    events_path: String,
}

/// What moves with every event.
#[derive(Template)]
#[template(path = "dashboard/customer_live.html", config = ".config/askama.toml")]
struct Live {
    /// What the periods cost so far, by currency.
    costs: Vec<String>,
    usage: Table,
    /// Usage of this month by meter, whether anybody bills it or not.
    month: Table,
    balances: Table,
    upcoming: Vec<Invoice>,
}

impl askama::filters::HtmlSafe for Live {}

/// An invoice that will come.
struct Invoice {
    subscription: String,
    due_at: Moment,
    close_at: Moment,
    closing: bool,
    lines: Table,
    total: String,
}

/// The page.
pub(in super::super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let customer = read(&dashboard, &parameters)?;
    let id = customer.id.clone();
    let live = live_of(&dashboard, id.clone()).await?;
    let wanted = parameters.parsed("format", "csv", |text| (text == "csv").then_some(()))?;
    if wanted.is_some() {
        let table = match parameters.text("table")? {
            Some("month") => live.month,
            Some("balances") => live.balances,
            Some(_) | None => live.usage,
        };
        return Ok(answer::csv(&table));
    }
    let events_path = tags::with("/dashboard/events", "customer_id", id.as_str());
    let query = EventQuery { customer_id: Some(id.clone()), ..EventQuery::default() };
    let newest = Parameters::default();
    let Listed { mut table, .. } = events::listed(&dashboard, query, &newest, &events_path).await?;
    table.rows.truncate(10);
    let title = if customer.name.is_empty() { id.as_str() } else { customer.name.as_str() };
    let metadata = serde_json::to_string_pretty(&Pairs(customer.metadata.clone()));
    answer::show(&CustomerPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Customers, title),
        metadata: metadata.map_err(|_| ApiError::internal())?,
        live_path: super::path(&id).replacen("/customer?", "/customer/live?", 1),
        live,
        events: table,
        events_path,
        customer,
    })
}

/// What moves with every event, as a part of the page.
pub(in super::super) async fn live(
    State(dashboard): State<Arc<Dashboard>>,
    parameters: Parameters,
) -> Answer {
    let customer = read(&dashboard, &parameters)?;
    answer::show(&live_of(&dashboard, customer.id).await?)
}

fn read(dashboard: &Dashboard, parameters: &Parameters) -> Result<Customer, NotShown> {
    let id = parameters.text("id")?.unwrap_or_default();
    let customer = dashboard.edge.engine.customer(&CustomerId::new(id));
    customer.ok_or_else(|| NotShown::not_found("customer"))
}

async fn live_of(dashboard: &Dashboard, id: CustomerId) -> Result<Live, Failure> {
    let now = dashboard.edge.engine.now();
    dashboard.edge.read(move |engine| Live::read(engine, &id, now)).await?
}

impl CustomerPage {
    /// How the record came to be, for people.
    fn origin(&self) -> &'static str {
        match self.customer.created_by {
            CustomerOrigin::Ingest => "an event that named it",
            CustomerOrigin::Api => "the API",
        }
    }
}

impl Live {
    fn read(engine: &Engine, id: &CustomerId, now: Timestamp) -> Result<Self, Failure> {
        let upcoming = engine.upcoming_invoices(id)?.items;
        let own = tags::with(&super::path(id), "format", "csv");
        Ok(Self {
            costs: costs(&upcoming),
            usage: usage::table(&upcoming, &own),
            month: month(engine, id, now, &tags::with(&own, "table", "month"))?,
            balances: balances(
                &engine.balances_of_customer(id)?,
                &tags::with(&own, "table", "balances"),
            ),
            upcoming: upcoming.iter().map(Invoice::new).collect(),
        })
    }
}

/// The totals of all upcoming invoices, by currency.
fn costs(upcoming: &[Upcoming]) -> Vec<String> {
    let mut totals: BTreeMap<String, (i64, &Upcoming)> = BTreeMap::new();
    for one in upcoming {
        let total = totals.entry(one.currency.to_string()).or_insert((0, one));
        total.0 = total.0.saturating_add(one.total.as_minor());
    }
    let shown = totals.into_iter().map(|(code, (total, one))| {
        format!("{} {code}", major(crate::model::Money::from_minor(total), one.currency))
    });
    shown.collect()
}

fn month(engine: &Engine, id: &CustomerId, now: Timestamp, href: &str) -> Result<Table, ApiError> {
    let query = UsageQuery {
        meter_id: None,
        customer_id: Some(id.clone()),
        start: now.month_start(),
        end: now.next_month_start(),
        interval: None,
        offset: 0,
        limit: METERS_MAX,
    };
    let columns = vec![text("Meter"), number("This month (UTC)"), number("Not counted")];
    let mut table = Table::new("month", "Usage of this month", columns).exported_at(href);
    for item in engine.usage(&query)?.items {
        let Some(meter) = engine.meter(&item.meter_id) else { continue };
        let skipped = item.skipped;
        let skipped = skipped.missing + skipped.not_a_number + skipped.out_of_range;
        table.rows.push(vec![
            Cell::link(&meter.name, meters::path(&meter.id)),
            Cell::number(&item.total).noted(meter.measurement_unit),
            Cell::number(&skipped),
        ]);
    }
    Ok(table)
}

fn balances(balances: &[BalanceView], href: &str) -> Table {
    let columns = vec![text("Credits"), number("Balance"), number("Spendable"), number("Overage")];
    let mut table = Table::new("balances", "Balances of credits", columns).exported_at(href);
    table.rows = balances.iter().map(balance).collect();
    table
}

fn balance(view: &BalanceView) -> Vec<Cell> {
    let pool = &view.kept.pool;
    vec![
        Cell::text(&*view.entitlement.name).noted(view.entitlement.unit.clone()),
        Cell::number(&view.balance()),
        Cell::number(&pool.spendable_at(view.at)),
        Cell::number(&pool.overage()),
    ]
}

impl Invoice {
    fn new(upcoming: &Upcoming) -> Self {
        let columns =
            vec![text("Description"), number("Quantity"), number("Price of one"), number("Amount")];
        let mut lines = Table::new("lines", "Lines of the upcoming invoice", columns);
        lines.rows =
            upcoming.lines.iter().map(|line| cells(Row::new(line, upcoming.currency))).collect();
        Self {
            subscription: upcoming.subscription_id.to_string(),
            due_at: Moment(upcoming.due_at),
            close_at: Moment(upcoming.close_at),
            closing: upcoming.closing,
            lines,
            total: format!("{} {}", major(upcoming.total, upcoming.currency), upcoming.currency),
        }
    }
}

fn cells(row: Row) -> Vec<Cell> {
    let what = Cell::text(row.what);
    vec![
        if row.how.is_empty() { what } else { what.noted(row.how.join("; ")) },
        Cell::text(row.quantity),
        Cell::text(row.unit_price),
        Cell::text(row.amount),
    ]
}
