//! What this daemon is, and the keys that open it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::Dashboard;
use super::answer::{self, Answer};
use super::gate::Viewer;
use super::shell::{Place, Shell};
use super::table::{Cell, Table, Tone, text};
use crate::http::auth;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::model::{ApiKey, Scope};

#[derive(Template)]
#[template(path = "dashboard/settings.html", config = ".config/askama.toml")]
struct Settings {
    shell: Shell,
    version: &'static str,
    business: String,
    /// Only those who may make keys see them.
    keys: Option<Table>,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let edge = &dashboard.edge;
    let keys = viewer.may_change().then(|| keys(&edge.engine.keys()));
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&keys.ok_or_else(|| ApiError::not_found("table"))?));
    }
    answer::show(&Settings {
        shell: Shell::new(edge, &viewer, Place::Settings, "Settings"),
        version: env!("CARGO_PKG_VERSION"),
        business: edge.options.business_id.to_string(),
        keys,
    })
}

fn keys(keys: &[ApiKey]) -> Table {
    let columns = ["Name", "Id", "Scope", "Created"].map(text);
    let mut table = Table::new("keys", "API keys", columns.into());
    table.rows = keys.iter().map(row).collect();
    table.exported_at("/dashboard/settings?format=csv")
}

fn row(key: &ApiKey) -> Vec<Cell> {
    let tone = match key.scope {
        Scope::Ingest => Tone::Plain,
        Scope::Read => Tone::Good,
        Scope::Admin => Tone::Warning,
    };
    vec![
        Cell::text(&*key.name),
        Cell::code(&key.id),
        Cell::Badge(tone, auth::word(key.scope).to_owned()),
        Cell::moment(key.created_at),
    ]
}
