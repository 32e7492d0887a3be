//! One invoice: its lines, each with how it came about and between which events, and its payment.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{list, payments};
use crate::engine::bills::{InvoiceView, PaymentView};
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::lines::number_or_words;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::dashboard::{Dashboard, customers, events, subscriptions, to};
use crate::http::document::{Row, major};
use crate::http::invoices;
use crate::http::query::Parameters;
use crate::http::route::Segment;
use crate::model::invoice::InvoiceLine;
use crate::model::{InvoiceId, Lsn, MeterId, PaymentStatus, ProductId};

#[derive(Template)]
#[template(path = "dashboard/invoice.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    id: String,
    total: String,
    currency: String,
    facts: Vec<(&'static str, Cell)>,
    lines: Table,
    payment: Option<Paid>,
}

/// Where its newest payment stands, and what can be said of it.
struct Paid {
    id: String,
    status: Cell,
    facts: Vec<(&'static str, Cell)>,
    is_open: bool,
    can_retry: bool,
}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let id = InvoiceId::new(id);
    let read = move |engine: &crate::engine::Engine| {
        let invoice = engine.invoice(&id)?;
        Ok::<_, crate::engine::bills::BillsError>((invoice, engine.payment_of(&id)?))
    };
    let (view, payment) = dashboard.edge.read(read).await??;
    let view = view.ok_or_else(|| NotShown::not_found("invoice"))?;
    let invoice = &view.invoice;
    let own = format!("/dashboard/invoices/{}", invoice.id);
    let lines = lines(&view).exported_at(format!("{own}?format=csv"));
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&lines));
    }
    let title = format!("Invoice {}", invoice.number.0);
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Invoices, &title),
        id: invoice.id.to_string(),
        total: major(invoice.total, invoice.currency),
        currency: invoice.currency.to_string(),
        facts: facts(&view),
        lines,
        payment: payment.as_ref().map(Paid::of),
    })
}

/// The invoice as a file to be kept.
pub(in crate::http::dashboard) async fn pdf(
    State(dashboard): State<Arc<Dashboard>>,
    Segment(id): Segment,
) -> Answer {
    let id = InvoiceId::new(id);
    let view = dashboard.edge.read(move |engine| engine.invoice(&id)).await??;
    Ok(invoices::as_pdf(&view.ok_or_else(|| NotShown::not_found("invoice"))?))
}

/// To the page of the event with an LSN.
pub(in crate::http::dashboard) async fn event_at(
    State(dashboard): State<Arc<Dashboard>>,
    Segment(lsn): Segment,
) -> Answer {
    let lsn = lsn.parse().map(Lsn).map_err(|_not_a_number| NotShown::not_found("event"))?;
    let event = dashboard.edge.read(move |engine| engine.event_at(lsn)).await??;
    let event = event.ok_or_else(|| NotShown::not_found("event"))?;
    Ok(to(&events::path(&event.id)))
}

fn facts(view: &InvoiceView) -> Vec<(&'static str, Cell)> {
    let invoice = &view.invoice;
    let customer = customers::path(&view.customer_id);
    let mut facts = vec![
        ("Id", Cell::code(&invoice.id)),
        ("What for", Cell::text(list::cause(invoice.cause))),
        ("Customer", Cell::link(&view.customer_id, customer)),
        ("Made out to", Cell::text(&*invoice.bill_to.name).noted(invoice.bill_to.email.clone())),
    ];
    if let Some(id) = &view.subscription_id {
        facts.push(("Subscription", Cell::link(id, subscriptions::path(id))));
    }
    if let Some(period) = invoice.period {
        facts.push(("Period from", Cell::moment(period.start)));
        facts.push(("to", Cell::moment(period.end)));
    }
    facts.push(("Due", Cell::moment(invoice.due_at)));
    facts.push(("Issued", Cell::moment(invoice.created_at)));
    facts.push(("Every event up to", Cell::number(&invoice.cut_off_lsn.0)));
    facts
}

fn lines(view: &InvoiceView) -> Table {
    let columns = vec![
        text("Line"),
        text("Product"),
        number("Consumed"),
        number("Free"),
        number("Chargeable"),
        number("Quantity"),
        number("Unit price"),
        number("Amount"),
        number("First event"),
        number("Last event"),
    ];
    let mut table = Table::new("invoice", "The lines of the invoice", columns);
    let ids = view.meter_ids.iter().zip(&view.product_ids);
    let rows = view
        .invoice
        .lines
        .iter()
        .zip(ids)
        .map(|(line, (meter, product))| row(line, meter.as_ref(), product, view));
    table.rows = rows.collect();
    table
}

fn row(
    line: &InvoiceLine,
    meter: Option<&MeterId>,
    product: &ProductId,
    view: &InvoiceView,
) -> Vec<Cell> {
    let currency = view.invoice.currency;
    let told = Row::new(line, currency);
    let usage = line.detail.usage();
    let what = match meter {
        Some(meter) => Cell::link(&told.what, format!("/dashboard/meters/{meter}")),
        None => Cell::text(told.what),
    };
    let version = line.price_version.0;
    let event = |lsn: Lsn| Cell::link(&lsn.0, format!("/dashboard/event/at/{}", lsn.0));
    let lsns = usage.and_then(|usage| usage.lsns);
    let or_nothing = |cell: Option<Cell>| cell.unwrap_or(Cell::Nothing);
    vec![
        if told.how.is_empty() { what } else { what.noted(told.how.join("; ")) },
        Cell::link(
            &format!("price {version}"),
            format!("/dashboard/products/{product}?version={version}"),
        ),
        or_nothing(usage.map(|usage| Cell::number(&usage.consumed))),
        or_nothing(usage.map(|usage| Cell::number(&usage.free_threshold))),
        or_nothing(usage.map(|usage| Cell::number(&usage.chargeable))),
        number_or_words(told.quantity),
        number_or_words(told.unit_price),
        Cell::number(&told.amount),
        or_nothing(lsns.map(|(first, _)| event(first))),
        or_nothing(lsns.map(|(_, last)| event(last))),
    ]
}

impl Paid {
    fn of(view: &PaymentView) -> Self {
        let payment = &view.payment;
        let attempt = Cell::number(&(u64::from(payment.retry_attempt) + 1));
        let mut facts = vec![("Id", Cell::code(&payment.id)), ("Attempt", attempt)];
        for (name, text) in
            [("Error", &payment.failure.code), ("It says", &payment.failure.message)]
        {
            if let Some(text) = text {
                facts.push((name, Cell::text(&**text)));
            }
        }
        facts.push(("Made", Cell::moment(payment.created_at)));
        facts.push(("Changed", Cell::moment(payment.updated_at)));
        Self {
            id: payment.id.to_string(),
            status: payments::status(payment.status),
            facts,
            is_open: payment.status == PaymentStatus::Processing,
            can_retry: view.is_newest && payment.status == PaymentStatus::Failed,
        }
    }
}
