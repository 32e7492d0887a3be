//! Payments: the list, and the way from one to its invoice.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::TABS;
use crate::engine::bills::{PaymentFilter, PaymentView};
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::listing::{Address, Listing};
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Column, Table, Tone, number, text};
use crate::http::dashboard::{Dashboard, customers, subscriptions, to};
use crate::http::document::major;
use crate::http::payments;
use crate::http::query::Parameters;
use crate::http::route::Segment;
use crate::model::invoice::ChargeType;
use crate::model::{CustomerId, PaymentId, PaymentStatus, SubscriptionId};

const STATUSES: [PaymentStatus; 3] =
    [PaymentStatus::Processing, PaymentStatus::Succeeded, PaymentStatus::Failed];

#[derive(Template)]
#[template(path = "dashboard/payments.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    tabs: [(&'static str, &'static str); 2],
    customer_id: String,
    subscription_id: String,
    statuses: Vec<(&'static str, bool)>,
    table: Table,
    pager: Pager,
}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let listing = Listing::read(&parameters)?;
    let customer_id = parameters.text("customer_id")?.unwrap_or_default().to_owned();
    let subscription_id = parameters.text("subscription_id")?.unwrap_or_default().to_owned();
    let status = parameters.parsed("status", "processing, succeeded or failed", |text| {
        STATUSES.into_iter().find(|status| payments::word(*status) == text)
    })?;
    let word = status.map_or("", payments::word);
    let address = Address::new("/dashboard/payments")
        .with("status", word)
        .with("customer_id", &customer_id)
        .with("subscription_id", &subscription_id);
    let filter = PaymentFilter {
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
        subscription_id: parameters.text("subscription_id")?.map(SubscriptionId::new),
        status,
        ..PaymentFilter::default()
    };
    let page = listing.page();
    let mut found = dashboard.edge.read(move |engine| engine.payments(&filter, page)).await??;
    let pager = listing.cut(&mut found, &address);
    let mut table = Table::new("payments", "Payments, newest first", columns());
    table.rows = found.iter().map(row).collect();
    let table = table.exported_at(address.csv());
    if listing.is_csv {
        return Ok(answer::csv(&table));
    }
    let statuses = STATUSES.map(|known| (payments::word(known), status == Some(known)));
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Invoices, "Payments"),
        tabs: TABS,
        customer_id,
        subscription_id,
        statuses: statuses.into(),
        table,
        pager,
    })
}

/// To the invoice that a payment pays.
pub(in crate::http::dashboard) async fn invoice(
    State(dashboard): State<Arc<Dashboard>>,
    Segment(id): Segment,
) -> Answer {
    let id = PaymentId::new(id);
    let view = dashboard.edge.read(move |engine| engine.payment(&id)).await??;
    let view = view.ok_or_else(|| NotShown::not_found("payment"))?;
    Ok(to(&format!("/dashboard/invoices/{}", view.payment.invoice_id)))
}

/// The columns of a table of payments.
pub(in crate::http::dashboard) fn columns() -> Vec<Column> {
    vec![
        text("Payment"),
        text("Status"),
        number("Amount"),
        text("Currency"),
        text("For"),
        number("Invoice"),
        text("Customer"),
        text("Subscription"),
        number("Attempt"),
        text("Created"),
    ]
}

/// A payment as a row of one.
pub(in crate::http::dashboard) fn row(view: &PaymentView) -> Vec<Cell> {
    let payment = &view.payment;
    let invoice = format!("/dashboard/invoices/{}", payment.invoice_id);
    let customer = customers::path(&view.customer.id);
    let subscription = view.subscription_id.as_ref();
    vec![
        Cell::code(&payment.id),
        status(payment.status),
        Cell::number(&major(payment.total, payment.currency)),
        Cell::text(payment.currency.to_string()),
        Cell::text(match payment.charge_type {
            Some(ChargeType::New) => "start",
            Some(ChargeType::Renewal) => "cycle",
            Some(ChargeType::PlanChange) => "change of plan",
            Some(ChargeType::OnDemand) => "on demand",
            None => "purchase",
        }),
        Cell::link(&payment.invoice.0, invoice),
        Cell::link(&view.customer.id, customer),
        subscription.map_or(Cell::Nothing, |id| Cell::link(id, subscriptions::path(id))),
        Cell::number(&(u64::from(payment.retry_attempt) + 1)),
        Cell::moment(payment.created_at),
    ]
}

/// The badge of a status.
pub(super) fn status(status: PaymentStatus) -> Cell {
    let tone = match status {
        PaymentStatus::Succeeded => Tone::Good,
        PaymentStatus::Processing => Tone::Warning,
        PaymentStatus::Failed => Tone::Bad,
    };
    Cell::Badge(tone, payments::word(status).to_owned())
}
