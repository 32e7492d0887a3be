//! The worked total: what a price comes to with an example of usage, by the code that closes cycles.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use serde::Deserialize;

use crate::billing::example::WorkedCredits;
use crate::engine::bills::{WorkedExample, WorkedPrice};
use crate::http::credits::{self, AttachmentInput};
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::dashboard::{Dashboard, forms, lines};
use crate::http::document::major;
use crate::http::price::PriceInput;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::http::route::Segment;
use crate::http::{body, cart};
use crate::model::price::METERS_MAX;
use crate::model::{Number, ProductId, Quantity};

/// What a form says, with its examples.
#[derive(Deserialize)]
struct Asked {
    name: Option<String>,
    quantity: Option<i64>,
    price: Option<PriceInput>,
    credit_entitlements: Option<Vec<AttachmentInput>>,
}

/// The examples beside the prices of meters.
#[derive(Deserialize)]
struct Examples {
    price: Option<ExamplePrice>,
}

#[derive(Deserialize)]
struct ExamplePrice {
    meters: Option<Vec<ExampleMeter>>,
}

#[derive(Deserialize)]
struct ExampleMeter {
    example: Option<String>,
}

/// What it comes to, or what is missing for it.
#[derive(Template)]
#[template(path = "dashboard/product_total.html", config = ".config/askama.toml")]
struct Part {
    worked: Result<Shown, String>,
}

struct Shown {
    total: String,
    currency: String,
    lines: Table,
    credits: Option<Table>,
}

/// What the price in a form comes to.
pub(in crate::http::dashboard) async fn of_form(
    State(dashboard): State<Arc<Dashboard>>,
    request: Request,
) -> Answer {
    let said = forms::said(&dashboard, request).await?;
    show(work_out(&dashboard, said.as_bytes()))
}

/// What the price of a product comes to.
pub(in crate::http::dashboard) async fn of_product(
    State(dashboard): State<Arc<Dashboard>>,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let engine = &dashboard.edge.engine;
    let product = engine.product(&ProductId::new(id));
    let product = product.ok_or_else(|| NotShown::not_found("product"))?;
    let quantity = parameters.whole("quantity")?.unwrap_or(1);
    let worked = || {
        let usage = (0..METERS_MAX).map(|place| {
            let name = format!("used.{place}");
            quantity_of(&name, parameters.text(&name)?)
        });
        let usage = usage.collect::<Result<Vec<_>, ApiError>>()?;
        let quantity = cart::quantity("quantity", i64::try_from(quantity).ok())?;
        let price = WorkedPrice::Of(&product);
        Ok(engine.work_out(price, &product.name, quantity, &usage)?)
    };
    show(worked())
}

fn work_out(dashboard: &Dashboard, json: &[u8]) -> Result<WorkedExample, ApiError> {
    let asked = body::object::<Asked>(json)?;
    let examples = body::object::<Examples>(json)?.price.and_then(|price| price.meters);
    let price = asked.price.ok_or_else(|| ApiError::missing("price"))?.into_new()?;
    let credits = credits::attachments(asked.credit_entitlements.unwrap_or_default())?;
    let usage = examples.unwrap_or_default().into_iter().enumerate().map(|(place, meter)| {
        quantity_of(&format!("price.meters.{place}.example"), meter.example.as_deref())
    });
    let usage = usage.collect::<Result<Vec<_>, ApiError>>()?;
    let quantity = cart::quantity("quantity", Some(asked.quantity.unwrap_or(1)))?;
    let name = asked.name.filter(|name| !name.is_empty()).unwrap_or_else(|| "Product".to_owned());
    let price = WorkedPrice::New { price: &price, credits: &credits };
    Ok(dashboard.edge.engine.work_out(price, &name, quantity, &usage)?)
}

fn quantity_of(field: &str, text: Option<&str>) -> Result<Quantity, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Quantity::ZERO) };
    let refusal = |why: &str| ApiError::invalid(field, format!("{field}: {why}"));
    let number = Number::new(text).ok_or_else(|| refusal("not a number such as 2500"))?;
    number.to_quantity().map_err(|_| refusal("too large"))
}

/// A form that is not complete yet is no failure: the part says what is missing.
fn show(worked: Result<WorkedExample, ApiError>) -> Answer {
    let worked = worked.map(Shown::new).map_err(|error| error.body().message.clone());
    answer::show(&Part { worked })
}

impl Shown {
    fn new(WorkedExample { currency, worked }: WorkedExample) -> Self {
        let has_credits = !worked.credits.is_empty();
        Self {
            total: major(worked.bill.total, currency),
            currency: currency.to_string(),
            lines: lines::table("example", "The lines of the bill", &worked.bill.lines, currency),
            credits: has_credits.then(|| credit_table(&worked.credits)),
        }
    }
}

fn credit_table(credits: &[WorkedCredits]) -> Table {
    let columns = ["Granted", "Drawn", "Overage", "Not charged"].map(number);
    let columns = std::iter::once(text("Credits")).chain(columns).collect();
    let mut table = Table::new("example-credits", "Credits of the cycle", columns);
    let rows = credits.iter().map(|of| {
        vec![
            Cell::text(&*of.entitlement.name).noted(&*of.entitlement.unit),
            Cell::number(&of.granted),
            Cell::number(&of.drawn),
            Cell::number(&of.overage),
            Cell::number(&of.uncovered),
        ]
    });
    table.rows = rows.collect();
    table
}
