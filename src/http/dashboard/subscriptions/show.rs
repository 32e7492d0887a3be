//! One subscription: where it stands, what it pays, its credits and its payments, and what can be done.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{Tab, list, words};
use crate::engine::bills::{CreditUsage, PaymentFilter, PaymentView, SubscriptionView};
use crate::engine::{Engine, Page as Part};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::customers;
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::invoices;
use crate::http::dashboard::listing::Address;
use crate::http::dashboard::products::{show::metadata, words as prices};
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, EXPORT_ROWS_MAX, Table, Tone, number, text};
use crate::http::document::major;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::http::route::Segment;
use crate::model::{Price, Subscription, SubscriptionStatus};

/// Payments that a page shows; the list has all.
const PAYMENTS: usize = 10;

#[derive(Template)]
#[template(path = "dashboard/subscription.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    tabs: Vec<(&'static str, String, bool)>,
    id: String,
    status: Cell,
    summary: String,
    facts: Vec<(&'static str, Cell)>,
    /// What else is to be known of it.
    warnings: Vec<String>,
    actions: Vec<Action>,
    credits: Option<Table>,
    payments: Table,
    metadata: Option<Table>,
}

/// What can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    End,
    EndAtNextDate,
    TakeBack,
    Pause,
    Resume,
    DropChange,
    Charge,
}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let view = super::find(&dashboard, id)?;
    let subscription = Arc::clone(&view.subscription);
    let is_csv = answer::wants_csv(&parameters)?;
    let filter = PaymentFilter {
        subscription_id: Some(subscription.id.clone()),
        ..PaymentFilter::default()
    };
    let limit = if is_csv { EXPORT_ROWS_MAX } else { PAYMENTS };
    let page = Part { offset: 0, limit };
    let payments = dashboard.edge.read(move |engine| engine.payments(&filter, page)).await??;
    let engine = &dashboard.edge.engine;
    let own = Address::new(&super::path(&subscription.id));
    let exported = |table: Table| {
        let href = own.clone().with("table", table.name).csv();
        table.exported_at(href)
    };
    let credits = exported(credits(&engine.credit_usage_of(&subscription)));
    let payments = exported(payment_table(&payments));
    let metadata = exported(metadata(&subscription.metadata));
    if is_csv {
        let wanted = parameters.text("table")?.unwrap_or("payments");
        let mut tables = [payments, credits, metadata].into_iter();
        let table = tables.find(|table| table.name == wanted);
        return Ok(answer::csv(&table.ok_or_else(|| ApiError::not_found("table"))?));
    }
    let unless_empty = |table: Table| (!table.rows.is_empty()).then_some(table);
    let price = view.product.price_at(subscription.terms.version);
    let title = format!("{} for {}", view.product.name, view.customer.name);
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Subscriptions, &title),
        tabs: Tab::Overview.all(&subscription.id, viewer.may_change()),
        id: subscription.id.to_string(),
        status: words::status(subscription.status),
        summary: price.map(prices::summary).unwrap_or_default(),
        facts: facts(&view, price),
        warnings: warnings(&view, engine),
        actions: actions(&subscription),
        credits: unless_empty(credits),
        payments,
        metadata: unless_empty(metadata),
    })
}

fn facts(view: &SubscriptionView, price: Option<&Price>) -> Vec<(&'static str, Cell)> {
    let subscription = &view.subscription;
    let customer = customers::path(&view.customer.id);
    let product = format!("/dashboard/products/{}", view.product.id);
    let version = subscription.terms.version.0;
    let mut facts = vec![
        ("Id", Cell::code(&subscription.id)),
        ("Customer", Cell::link(&view.customer.id, customer).noted(view.customer.email.clone())),
        (
            "Product",
            Cell::link(&view.product.name, format!("{product}?version={version}"))
                .noted(format!("price {version}")),
        ),
        ("Quantity", Cell::number(&subscription.quantity)),
    ];
    if let Some(running) = subscription.running {
        facts.push(("This period since", Cell::moment(running.period.start)));
        facts.push(("It ends", Cell::moment(running.period.end)));
    }
    facts.push(("Next billing date", list::next_date(view)));
    facts.push(("Ends by itself", Cell::moment(subscription.cycle.expires_at)));
    if let (Some(price), true) = (price, subscription.credit.as_minor() != 0) {
        let credit = format!("{} {}", major(subscription.credit, price.currency), price.currency);
        facts.push(("Kept for later invoices", Cell::text(credit)));
    }
    if let Some(at) = subscription.paused_at {
        facts.push(("Paused", Cell::moment(at)));
    }
    if let Some(at) = subscription.cancellation.at {
        let comment = subscription.cancellation.comment.clone().unwrap_or_default();
        let at = Cell::moment(at);
        facts.push(("Ended", if comment.is_empty() { at } else { at.noted(comment) }));
    }
    facts.push(("Country", Cell::text(&*subscription.billing.country)));
    facts.push(("Created", Cell::moment(subscription.created_at)));
    facts
}

fn warnings(view: &SubscriptionView, engine: &Engine) -> Vec<String> {
    let subscription = &view.subscription;
    let mut warnings = Vec::new();
    if subscription.stopped {
        warnings.push("It is not billed any more: a total has left 64 bits.".to_owned());
    }
    if !subscription.unpaid.is_empty() {
        let count = subscription.unpaid.len();
        warnings.push(format!("{count} of its invoices are not paid: it bills usage alone."));
    }
    if subscription.in_trial && subscription.running.is_some() {
        warnings.push("It is in its trial.".to_owned());
    }
    if let Some(change) = &subscription.scheduled_change {
        let product = engine.product_at(change.plan.terms.product);
        let name = product.map(|product| product.name.clone()).unwrap_or_default();
        let many = change.plan.quantity;
        warnings.push(format!("At the next billing date it changes to {name} x {many}."));
    }
    if subscription.pending_change.is_some() {
        warnings.push("A change of plan waits for its payment.".to_owned());
    }
    for other in &view.shares_meters_with {
        warnings.push(format!("{other} bills a meter of this one too: both bill all its usage."));
    }
    warnings
}

/// What can be asked of it now.
fn actions(subscription: &Subscription) -> Vec<Action> {
    let (is_live, is_active) = match subscription.status {
        SubscriptionStatus::Active => (true, true),
        SubscriptionStatus::OnHold
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Pending => (true, false),
        SubscriptionStatus::Cancelled | SubscriptionStatus::Expired => (false, false),
    };
    let ends = subscription.cancel_at_next_billing_date;
    let actions = [
        (Action::End, is_live),
        (Action::EndAtNextDate, is_live && !ends && subscription.running.is_some()),
        (Action::TakeBack, is_live && ends),
        (Action::Pause, is_active),
        (Action::Resume, subscription.status == SubscriptionStatus::Paused),
        (Action::DropChange, is_live && subscription.scheduled_change.is_some()),
        (Action::Charge, is_active && !subscription.cycle.renews),
    ];
    actions.into_iter().filter(|(_, can)| *can).map(|(action, _)| action).collect()
}

fn credits(usage: &[CreditUsage]) -> Table {
    let columns = vec![
        text("Credits"),
        number("A cycle"),
        number("Balance"),
        number("Overage"),
        number("Not charged"),
        text(""),
    ];
    let mut table = Table::new("credits", "Credits", columns);
    let rows = usage.iter().map(|of| {
        let state = match (of.limit_reached, of.is_low) {
            (true, _) => Cell::Badge(Tone::Bad, "limit".to_owned()),
            (false, true) => Cell::Badge(Tone::Warning, "low".to_owned()),
            (false, false) => Cell::Nothing,
        };
        vec![
            Cell::text(&*of.entitlement.name).noted(&*of.entitlement.unit),
            Cell::number(&of.attachment.amount),
            Cell::number(&of.balance),
            Cell::number(&of.overage),
            Cell::number(&of.uncovered),
            state,
        ]
    });
    table.rows = rows.collect();
    table
}

fn payment_table(payments: &[PaymentView]) -> Table {
    let mut table = Table::new("payments", "Payments, newest first", invoices::payment_columns());
    table.rows = payments.iter().map(invoices::payment_row).collect();
    table
}
