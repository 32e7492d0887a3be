//! One product: its price, what usage costs, the credits it hands out, and the prices it had.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::words;
use crate::engine::Engine;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::listing::Address;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::document::{major, unit_price};
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::http::route::Segment;
use crate::model::credit::{CreditProration, CreditTerms, OverageBehavior};
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::price::MeterPrice;
use crate::model::{Attachment, Currency, Money, Price, PriceVersion, Product, ProductId};

#[derive(Template)]
#[template(path = "dashboard/product.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    id: String,
    archived: bool,
    version: u32,
    /// Whether it is not the price of new purchases.
    is_old: bool,
    summary: String,
    facts: Vec<(&'static str, Cell)>,
    meters: Option<Table>,
    credits: Option<Table>,
    versions: Table,
    metadata: Option<Table>,
    /// What the example asks for: a place, a meter's name and its unit.
    examples: Vec<(usize, String, String)>,
}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let engine = &dashboard.edge.engine;
    let product = engine.product(&ProductId::new(id));
    let product = product.ok_or_else(|| NotShown::not_found("product"))?;
    let version = match parameters.whole("version")? {
        Some(number) => PriceVersion(u32::try_from(number).unwrap_or(u32::MAX)),
        None => product.version(),
    };
    let price = product.price_at(version).ok_or_else(|| NotShown::not_found("price"))?;
    let own = format!("/dashboard/products/{}", product.id);
    let address = Address::new(&own).with("version", &version.0.to_string());
    let exported = |table: Table| {
        let href = address.clone().with("table", table.name).csv();
        table.exported_at(href)
    };
    let meters = exported(meters(price, engine));
    let credits = exported(credits(price, engine));
    let versions = exported(versions(&product, &own));
    let metadata = exported(metadata(&product.metadata));
    if answer::wants_csv(&parameters)? {
        let wanted = parameters.text("table")?.unwrap_or("meter-prices");
        let mut tables = [meters, credits, versions, metadata].into_iter();
        let table = tables.find(|table| table.name == wanted);
        return Ok(answer::csv(&table.ok_or_else(|| ApiError::not_found("table"))?));
    }
    let unless_empty = |table: Table| (!table.rows.is_empty()).then_some(table);
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Products, &product.name),
        id: product.id.to_string(),
        archived: product.archived,
        version: version.0,
        is_old: version != product.version(),
        summary: words::summary(price),
        facts: facts(&product, price),
        examples: examples(price, engine),
        meters: unless_empty(meters),
        credits: unless_empty(credits),
        versions,
        metadata: unless_empty(metadata),
    })
}

fn facts(product: &Product, price: &Price) -> Vec<(&'static str, Cell)> {
    let yes = |is: bool| Cell::text(if is { "yes" } else { "no" });
    let mut facts = vec![
        ("Id", Cell::code(&product.id)),
        ("Description", Cell::text(product.description.clone().unwrap_or_default())),
        ("Tax category", Cell::text(words::tax(product.tax_category))),
        ("Taxes are in it", yes(price.tax_inclusive)),
    ];
    if let Some(recurrence) = price.recurrence() {
        facts.push(("A cycle lasts", Cell::text(words::length(recurrence.payment_frequency))));
        let term = words::length(recurrence.subscription_period);
        facts.push(("A subscription lasts", Cell::text(term)));
        if recurrence.trial_days > 0 {
            facts.push(("Trial", Cell::text(format!("{} days", recurrence.trial_days))));
        }
    }
    if let Some(suggested) = price.pay_what_you_want().and_then(|choice| choice.suggested) {
        let suggested = format!("{} {}", major(suggested, price.currency), price.currency);
        facts.push(("Suggested price", Cell::text(suggested)));
    }
    facts.push(("Created", Cell::moment(product.created_at)));
    facts.push(("Changed", Cell::moment(product.updated_at)));
    facts
}

fn meters(price: &Price, engine: &Engine) -> Table {
    let columns =
        vec![text("Meter"), number("Free"), text("Price"), number("At least"), number("At most")];
    let mut table = Table::new("meter-prices", "What usage costs", columns);
    let rows = price.meters().iter().filter_map(|of| meter_row(of, price.currency, engine));
    table.rows = rows.collect();
    table
}

fn meter_row(price: &MeterPrice, currency: Currency, engine: &Engine) -> Option<Vec<Cell>> {
    let meter = engine.meter_at(price.meter)?;
    let (rate, more) = words::rate(&price.rate, &meter.measurement_unit, currency);
    let rate = Cell::text(rate);
    let amount = |amount: Option<Money>| {
        amount.map_or(Cell::Nothing, |amount| Cell::number(&major(amount, currency)))
    };
    Some(vec![
        Cell::link(&meter.name, format!("/dashboard/meters/{}", meter.id))
            .noted(meter.measurement_unit),
        Cell::number(&price.free_threshold),
        if more.is_empty() { rate } else { rate.noted(more) },
        amount(price.minimum),
        amount(price.maximum),
    ])
}

fn examples(price: &Price, engine: &Engine) -> Vec<(usize, String, String)> {
    let meters = price.meters().iter().enumerate().filter_map(|(place, of)| {
        let meter = engine.meter_at(of.meter)?;
        Some((place, meter.name, meter.measurement_unit))
    });
    meters.collect()
}

fn credits(price: &Price, engine: &Engine) -> Table {
    let columns = vec![
        text("Entitlement"),
        number("A cycle"),
        number("Trial"),
        number("Low below"),
        text("What is left"),
        text("Beyond them"),
        text("Change of plan"),
    ];
    let mut table = Table::new("credits", "Credits that it hands out", columns);
    let rows = price.credits.iter().filter_map(|of| {
        let entitlement = engine.entitlement_at(of.entitlement)?;
        let name = Cell::text(&*entitlement.name).noted(&*entitlement.unit);
        Some(credit_row(name, of, price.currency))
    });
    table.rows = rows.collect();
    table
}

fn credit_row(name: Cell, of: &Attachment, currency: Currency) -> Vec<Cell> {
    let trial = of.trial_amount.unwrap_or(of.amount);
    let trial = Cell::number(&trial);
    vec![
        name,
        Cell::number(&of.amount),
        if of.trial_expires { trial.noted("ends with the trial") } else { trial },
        of.low_balance_percent.map_or(Cell::Nothing, |percent| Cell::text(format!("{percent} %"))),
        rest(&of.terms),
        beyond(&of.terms, currency),
        Cell::text(match of.proration {
            CreditProration::Prorate => "hands out a share",
            CreditProration::NoProrate => "hands out nothing",
        }),
    ]
}

/// What becomes of credits that are left.
fn rest(terms: &CreditTerms) -> Cell {
    let rollover = &terms.rollover;
    let days = terms.expires_after_days;
    let life = days.map_or_else(String::new, |days| format!(", {days} days at most"));
    if !rollover.is_enabled {
        return Cell::text(format!("ends with the cycle{life}"));
    }
    let part = rollover.percentage.map_or_else(|| "all".to_owned(), |part| format!("{part} %"));
    let time = rollover.timeframe.map(|time| format!(", for a {}", words::length(time)));
    let count = rollover.count_max.map(|count| format!(", {count} times at most"));
    let more: String = time.into_iter().chain(count).collect();
    Cell::text(format!("{part} rolls over{more}{life}"))
}

/// What becomes of usage beyond them.
fn beyond(terms: &CreditTerms, currency: Currency) -> Cell {
    let overage = &terms.overage;
    if !overage.is_enabled {
        return Cell::text("is not charged");
    }
    let limit = overage.limit.map_or_else(String::new, |limit| format!("up to {limit}, "));
    let fate = match overage.behavior {
        OverageBehavior::ForgiveAtReset => "forgiven at a turn".to_owned(),
        OverageBehavior::InvoiceAtBilling => {
            format!("invoiced at {} {currency}", unit_price(overage.price, currency))
        }
        OverageBehavior::CarryDeficit => "kept".to_owned(),
        OverageBehavior::CarryDeficitAutoRepay => "repaid by new credits".to_owned(),
    };
    Cell::text(format!("{limit}{fate}"))
}

fn versions(product: &Product, own: &str) -> Table {
    let columns = vec![number("Version"), text("Price"), number("Meters"), number("Credits")];
    let mut table = Table::new("prices", "Prices that it had, newest first", columns);
    let numbered = (1_u32..).zip(&product.prices).collect::<Vec<_>>();
    let rows = numbered.into_iter().rev().map(|(number, price)| {
        vec![
            Cell::link(&number, format!("{own}?version={number}")),
            Cell::text(words::summary(price)),
            Cell::number(&price.meters().len()),
            Cell::number(&price.credits.len()),
        ]
    });
    table.rows = rows.collect();
    table
}

/// Free details as a table.
pub(in crate::http::dashboard) fn metadata(metadata: &Metadata) -> Table {
    let mut table = Table::new("metadata", "Metadata", vec![text("Key"), text("Value")]);
    let rows = metadata.iter().map(|(key, value)| {
        let value = match value {
            MetadataValue::String(text) => text.clone(),
            MetadataValue::Number(number) => number.clone(),
            MetadataValue::Boolean(value) => value.to_string(),
        };
        vec![Cell::code(&**key), Cell::text(value)]
    });
    table.rows = rows.collect();
    table
}
