//! The customers that use most of a meter this month, with what is free, charged and owed.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{Head, Tab, series};
use crate::engine::Engine;
use crate::engine::query::UsageItem;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::customers::{self, Period};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::Shell;
use crate::http::dashboard::table::{Cell, Column, Table, number, text};
use crate::http::dashboard::{Dashboard, tags};
use crate::http::query::Parameters;
use crate::http::reply::Failure;
use crate::http::route::Segment;
use crate::model::{CustomerId, Meter, Timestamp};

#[derive(Template)]
#[template(path = "dashboard/meter_customers.html", config = ".config/askama.toml")]
struct Customers {
    shell: Shell,
    head: Head,
    customer: String,
    /// Where the page is, to be asked for again while it is being found who uses most.
    waits: Option<String>,
    table: Table,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let (shell, head) = Head::read(&dashboard, &viewer, id, Tab::Customers)?;
    let wanted = parameters.text("customer_id")?.map(str::to_owned);
    let now = dashboard.edge.engine.now();
    let (meter, one) = (head.meter.clone(), wanted.clone().map(CustomerId::new));
    let rows = dashboard.edge.read(move |engine| rows(engine, &meter, one, now)).await??;
    let mut own = format!("{}/customers", head.path());
    if let Some(customer) = &wanted {
        own = tags::with(&own, "customer_id", customer);
    }
    let columns = columns();
    let mut table = Table::new("meter-customers", "Customers of the meter", columns)
        .exported_at(tags::with(&own, "format", "csv"));
    let waits = rows.is_none().then(|| own.clone());
    table.rows = rows.unwrap_or_default();
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&table));
    }
    answer::show(&Customers { shell, head, customer: wanted.unwrap_or_default(), waits, table })
}

fn columns() -> Vec<Column> {
    let mut columns = vec![text("Customer"), text("Subscription"), number("This month (UTC)")];
    columns.extend(customers::columns());
    columns.push(text("Last event, by hour"));
    columns
}

fn rows(
    engine: &Engine,
    meter: &Meter,
    customer: Option<CustomerId>,
    now: Timestamp,
) -> Result<Option<Vec<Vec<Cell>>>, Failure> {
    let Some(items) = series::customers(engine, meter, customer, now)? else { return Ok(None) };
    let mut rows = Vec::new();
    for item in items {
        rows.extend(of_customer(engine, meter, &item)?);
    }
    Ok(Some(rows))
}

/// A row for each subscription that bills the meter, or one when none does.
fn of_customer(
    engine: &Engine,
    meter: &Meter,
    item: &UsageItem,
) -> Result<Vec<Vec<Cell>>, Failure> {
    let customer = Cell::link(&item.customer_id, customers::path(&item.customer_id));
    let upcoming = engine.upcoming_invoices(&item.customer_id)?.items;
    let billed = upcoming.iter().flat_map(Period::all).filter(|one| *one.meter == meter.id);
    let last = item.buckets.last().map_or(Cell::Nothing, |bucket| Cell::moment(bucket.start));
    let row = |subscription: Cell, period: Vec<Cell>| {
        let mut row = vec![customer.clone(), subscription, Cell::number(&item.total)];
        row.extend(period);
        row.push(last.clone());
        row
    };
    let mut rows: Vec<Vec<Cell>> =
        billed.map(|period| row(Cell::code(period.subscription), period.cells())).collect();
    if rows.is_empty() {
        let nothing = customers::columns().iter().map(|_| Cell::Nothing).collect();
        rows.push(row(Cell::text("none bills it"), nothing));
    }
    Ok(rows)
}
