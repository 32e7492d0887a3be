//! All kinds of credit, those that are offered or those that are deleted.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde_json::json;

use super::words;
use crate::engine::{Engine, Page};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::snippet::Snippets;
use crate::http::dashboard::table::{Cell, EXPORT_ROWS_MAX, Table, number, text};
use crate::http::query::Parameters;
use crate::model::CreditEntitlement;

/// Rows of a page.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "dashboard/credits.html", config = ".config/askama.toml")]
struct CreditsPage {
    shell: Shell,
    deleted: bool,
    empty: Option<Snippets>,
    table: Table,
    pager: Pager,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let engine = &dashboard.edge.engine;
    let deleted = parameters.boolean("deleted")?.unwrap_or(false);
    let offset = parameters.whole("from")?.unwrap_or(0);
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS + 1 };
    let mut found = engine.entitlements(deleted, Page { offset, limit });
    let own = format!("/dashboard/credits?deleted={deleted}");
    let has_more = !wants_csv && found.len() > ROWS;
    if has_more {
        found.truncate(ROWS);
    }
    let columns = vec![
        text("Name"),
        text("Unit"),
        text("Expires"),
        text("Rolls over"),
        text("Overage"),
        number("Customers"),
        text("Created"),
        text("Id"),
    ];
    let mut table = Table::new("credit-entitlements", "Kinds of credit", columns);
    table.rows = found.iter().map(|entitlement| row(entitlement, engine)).collect();
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    answer::show(&CreditsPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Credits, "Credits"),
        deleted,
        empty: (found.is_empty() && offset == 0).then(|| snippets(&viewer.base)),
        table: table.exported_at(format!("{own}&format=csv")),
        pager: Pager {
            first: (offset > 0).then(|| own.clone()),
            next: has_more.then(|| format!("{own}&from={}", offset + ROWS)),
        },
    })
}

/// How a kind of credit is made.
fn snippets(base: &str) -> Snippets {
    let credit = json!({ "name": "AI credits", "unit": "credit", "precision": 0,
        "overage_enabled": false, "rollover_enabled": false, "expires_after_days": 30 });
    Snippets::of(base, "/credit-entitlements", "creditEntitlements.create", &credit)
}

fn row(entitlement: &CreditEntitlement, engine: &Engine) -> Vec<Cell> {
    let terms = &entitlement.terms;
    let name = Cell::link(&entitlement.name, super::path(&entitlement.id));
    vec![
        match &entitlement.description {
            Some(text) if !text.is_empty() => name.noted(text.clone()),
            Some(_) | None => name,
        },
        Cell::text(&*entitlement.unit),
        Cell::text(words::expiry(terms)),
        Cell::text(words::rollover(&terms.rollover)),
        Cell::text(words::overage(&terms.overage)),
        Cell::number(&engine.balance_count(entitlement.index)),
        Cell::moment(entitlement.created_at),
        Cell::code(&entitlement.id),
    ]
}
