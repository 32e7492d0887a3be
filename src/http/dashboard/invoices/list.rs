//! The list of invoices.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::TABS;
use crate::engine::bills::{InvoiceFilter, InvoiceView};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::listing::{Address, Listing};
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::dashboard::{customers, subscriptions};
use crate::http::document::major;
use crate::http::query::Parameters;
use crate::model::invoice::InvoiceCause;
use crate::model::{CustomerId, SubscriptionId};

#[derive(Template)]
#[template(path = "dashboard/invoices.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    tabs: [(&'static str, &'static str); 2],
    customer_id: String,
    subscription_id: String,
    table: Table,
    pager: Pager,
    /// Whether nobody has ever been billed.
    is_empty: bool,
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
    let address = Address::new("/dashboard/invoices")
        .with("customer_id", &customer_id)
        .with("subscription_id", &subscription_id);
    let filter = InvoiceFilter {
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
        subscription_id: parameters.text("subscription_id")?.map(SubscriptionId::new),
    };
    let asks_all = filter.customer_id.is_none() && filter.subscription_id.is_none();
    let page = listing.page();
    let mut found = dashboard.edge.read(move |engine| engine.invoices(&filter, page)).await??;
    let pager = listing.cut(&mut found, &address);
    let table = table(&found).exported_at(address.csv());
    if listing.is_csv {
        return Ok(answer::csv(&table));
    }
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Invoices, "Invoices"),
        tabs: TABS,
        customer_id,
        subscription_id,
        is_empty: table.rows.is_empty() && asks_all && pager.first.is_none(),
        table,
        pager,
    })
}

fn table(views: &[InvoiceView]) -> Table {
    let columns = vec![
        number("Number"),
        text("What for"),
        text("Customer"),
        text("Subscription"),
        text("Due"),
        number("Lines"),
        number("Total"),
        text("Currency"),
    ];
    let mut table = Table::new("invoices", "Invoices, newest first", columns);
    table.rows = views.iter().map(row).collect();
    table
}

fn row(view: &InvoiceView) -> Vec<Cell> {
    let invoice = &view.invoice;
    let customer = customers::path(&view.customer_id);
    let subscription = view.subscription_id.as_ref();
    vec![
        Cell::link(&invoice.number.0, format!("/dashboard/invoices/{}", invoice.id)),
        Cell::text(cause(invoice.cause)),
        Cell::link(&view.customer_id, customer).noted(invoice.bill_to.name.clone()),
        subscription.map_or(Cell::Nothing, |id| Cell::link(id, subscriptions::path(id))),
        Cell::moment(invoice.due_at),
        Cell::number(&invoice.lines.len()),
        Cell::number(&major(invoice.total, invoice.currency)),
        Cell::text(invoice.currency.to_string()),
    ]
}

/// What an invoice is for.
pub(super) fn cause(cause: InvoiceCause) -> &'static str {
    match cause {
        InvoiceCause::Created => "start of a subscription",
        InvoiceCause::Closed(_) => "a cycle",
        InvoiceCause::Cart => "a purchase",
        InvoiceCause::Changed => "change of plan",
        InvoiceCause::Charged => "charge on demand",
    }
}
