//! The keys that open this daemon.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{Section, Tabs};
use crate::http::auth;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Action, Cell, Table, Tone, text};
use crate::http::dashboard::tags;
use crate::http::query::Parameters;
use crate::model::{ApiKey, KeyId, Scope};

#[derive(Template)]
#[template(path = "dashboard/settings_keys.html", config = ".config/askama.toml")]
struct KeysPage {
    shell: Shell,
    tabs: Tabs,
    table: Table,
    /// Where the API is.
    base: String,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    viewer.require_admin()?;
    let found = dashboard.edge.engine.keys();
    let wants_csv = answer::wants_csv(&parameters)?;
    let mut columns = Vec::from(["Name", "Scope", "Created", "Id"].map(text));
    if !wants_csv {
        columns.push(text("Action"));
    }
    let table = Table::new("keys", "API keys", columns);
    let mut table = table.exported_at("/dashboard/settings/keys?format=csv");
    table.rows = found.iter().map(|key| row(key, &viewer.key, !wants_csv)).collect();
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    answer::show(&KeysPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Settings, "Settings"),
        tabs: Tabs::new(Section::Keys, &viewer),
        base: viewer.base.clone(),
        table,
    })
}

fn row(key: &ApiKey, own: &KeyId, revokes: bool) -> Vec<Cell> {
    let tone = match key.scope {
        Scope::Ingest => Tone::Plain,
        Scope::Read => Tone::Good,
        Scope::Admin => Tone::Warning,
    };
    let is_own = key.id == *own;
    let name = Cell::text(&*key.name);
    let mut cells = vec![
        if is_own { name.noted("you are signed in with it") } else { name },
        Cell::Badge(tone, auth::word(key.scope).to_owned()),
        Cell::moment(key.created_at),
        Cell::code(&key.id),
    ];
    if revokes {
        let question = if is_own {
            "Revoke the key that you are signed in with? This session ends with it."
        } else {
            "Revoke this key? It opens nothing from then on."
        };
        cells.push(Cell::Action(Action {
            label: "Revoke",
            api: format!("DELETE /keys/{}", tags::encoded(key.id.as_str())),
            then: "/dashboard/settings/keys".to_owned(),
            confirm: Some(question.to_owned()),
        }));
    }
    cells
}
