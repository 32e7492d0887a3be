//! The ledger of what one customer has of one kind of credit, and changing it by hand.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::pool::{Head, Tab};
use super::words;
use crate::engine::Page;
use crate::engine::bills::{LedgerFilter, LedgerView};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::Shell;
use crate::http::dashboard::table::{Cell, Column, EXPORT_ROWS_MAX, Table, Tone, number, text};
use crate::http::dashboard::tags;
use crate::http::query::Parameters;
use crate::http::route::Segment;
use crate::model::credit::{LedgerReference, TransactionType};
use crate::model::customer::MetadataValue;
use crate::model::{LedgerEntry, LedgerEntryId};

/// Rows of a page.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "dashboard/credit_ledger.html", config = ".config/askama.toml")]
struct LedgerPage {
    shell: Shell,
    head: Head,
    /// Where entries are sent.
    api: String,
    /// Kinds of rows: name on the wire, words, whether it is chosen.
    choices: Vec<(&'static str, &'static str, bool)>,
    is_empty: bool,
    table: Table,
    pager: Pager,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let head = Head::read(&dashboard, id, &parameters, Tab::Ledger)?;
    let chosen = parameters.parsed("type", "a transaction type", |wanted| {
        words::TRANSACTIONS.iter().find(|(_, word, _)| *word == wanted).copied()
    })?;
    let below = parameters.parsed("below", "a ledger entry's id", LedgerEntryId::parse)?;
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS };
    let transaction = chosen.map(|(transaction, _, _)| transaction);
    let filter = LedgerFilter { transaction, below, ..LedgerFilter::default() };
    let (id, customer) = (head.entitlement.id.clone(), head.customer_id.clone());
    let read = dashboard
        .edge
        .read(move |engine| engine.ledger(&id, &customer, filter, Page { offset: 0, limit }));
    let found = read.await??;
    let mut table = Table::new("credit-ledger", "Ledger, newest first", columns());
    table.rows = found.iter().map(row).collect();
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    let own = match chosen {
        None => head.path(),
        Some((_, word, _)) => format!("{}&type={word}", head.path()),
    };
    let next = found.last().filter(|_| found.len() == ROWS);
    let choice = |(each, word, words): &(TransactionType, &'static str, &'static str)| {
        (*word, *words, transaction == Some(*each))
    };
    answer::show(&LedgerPage {
        shell: head.shell(&dashboard, &viewer),
        api: format!(
            "/credit-entitlements/{}/balances/{}/ledger-entries",
            tags::encoded(head.entitlement.id.as_str()),
            tags::encoded(head.customer_id.as_str())
        ),
        choices: words::TRANSACTIONS.iter().map(choice).collect(),
        is_empty: found.is_empty(),
        table: table.exported_at(format!("{own}&format=csv")),
        pager: Pager {
            first: below.map(|_| own.clone()),
            next: next.map(|last| format!("{own}&below={}", last.entry.id)),
        },
        head,
    })
}

fn columns() -> Vec<Column> {
    vec![
        text("When"),
        text("What"),
        number("Amount"),
        number("Balance after"),
        number("Overage after"),
        text("Because of"),
        text("Reason"),
        text("Grant"),
        text("Id"),
    ]
}

fn row(view: &LedgerView) -> Vec<Cell> {
    let entry = &view.entry;
    let tone = if entry.is_credit { Tone::Good } else { Tone::Plain };
    let sign = if entry.is_credit || entry.amount.is_zero() { "" } else { "-" };
    vec![
        Cell::moment(entry.created_at),
        Cell::Badge(tone, words::transaction(entry.transaction).to_owned()),
        Cell::Number(format!("{sign}{}", entry.amount)),
        Cell::number(&entry.balance_after),
        Cell::number(&entry.overage_after),
        cause(view),
        reason(entry),
        entry.grant.map_or(Cell::Nothing, |grant| Cell::code(&grant)),
        Cell::code(&entry.id),
    ]
}

fn cause(view: &LedgerView) -> Cell {
    let subscription = view.subscription_id.as_ref().map(ToString::to_string).unwrap_or_default();
    match &view.entry.reference {
        LedgerReference::Subscription(_) => Cell::text("subscription").noted(subscription),
        LedgerReference::Payment(payment) => Cell::text("purchase").noted(payment.to_string()),
        LedgerReference::Api => Cell::text("an entry by hand"),
        LedgerReference::OverageRepay(_) => Cell::text("overage paid back").noted(subscription),
    }
}

/// What somebody has said about it, and what of the usage nothing has covered.
fn reason(entry: &LedgerEntry) -> Cell {
    let pair = |(key, value): &(String, MetadataValue)| match value {
        MetadataValue::String(text) | MetadataValue::Number(text) => format!("{key}: {text}"),
        MetadataValue::Boolean(value) => format!("{key}: {value}"),
    };
    let mut notes: Vec<String> = entry.metadata.iter().map(pair).collect();
    if !entry.uncovered.is_zero() {
        notes.push(format!("not covered: {}", entry.uncovered));
    }
    let reason = Cell::text(entry.reason.clone().unwrap_or_default());
    if notes.is_empty() { reason } else { reason.noted(notes.join(", ")) }
}
