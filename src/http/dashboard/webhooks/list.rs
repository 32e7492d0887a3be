//! All endpoints.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde_json::json;

use super::Section;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::snippet::Snippets;
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::query::Parameters;
use crate::model::Endpoint;

/// As many as there may be, and more.
const ENDPOINTS: usize = 250;

#[derive(Template)]
#[template(path = "dashboard/webhooks.html", config = ".config/askama.toml")]
struct WebhooksPage {
    shell: Shell,
    section: Section,
    empty: Snippets,
    table: Table,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let found = dashboard.edge.engine.webhook_endpoints(None, ENDPOINTS);
    let columns = vec![
        text("Address"),
        text("State"),
        text("Is told of"),
        text("Failing since"),
        number("Messages a second"),
        text("Created"),
        text("Id"),
    ];
    let table = Table::new("webhooks", "Webhook endpoints", columns);
    let mut table = table.exported_at("/dashboard/webhooks?format=csv");
    table.rows = found.iter().map(|endpoint| row(endpoint)).collect();
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&table));
    }
    answer::show(&WebhooksPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Webhooks, "Webhooks"),
        section: Section::Endpoints,
        empty: snippets(&viewer.base),
        table,
    })
}

/// How an endpoint is made.
fn snippets(base: &str) -> Snippets {
    let endpoint = json!({ "url": "https://example.com/hooks",
        "filter_types": ["payment.succeeded", "credit.balance_low"] });
    Snippets::of(base, "/webhooks", "webhooks.create", &endpoint)
}

fn row(endpoint: &Endpoint) -> Vec<Cell> {
    let (tone, words) = super::state(endpoint);
    let address = Cell::link(&endpoint.url, super::path(&endpoint.id));
    vec![
        match endpoint.description.as_str() {
            "" => address,
            text => address.noted(text),
        },
        Cell::Badge(tone, words.to_owned()),
        Cell::text(match &endpoint.filter {
            None => "everything".to_owned(),
            Some(types) if types.len() > 3 => format!("{} types", types.len()),
            Some(types) => types.iter().map(|each| each.name()).collect::<Vec<_>>().join(", "),
        }),
        endpoint.failing_since.map_or(Cell::Nothing, Cell::moment),
        endpoint.rate_limit.map_or(Cell::Nothing, |rate| Cell::number(&rate)),
        Cell::moment(endpoint.created_at),
        Cell::code(&endpoint.id),
    ]
}
