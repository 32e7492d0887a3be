//! Every setting that counts, and where it comes from.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{Section, Tabs};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, Tone, text};
use crate::http::query::Parameters;
use crate::http::{Layer, ShownSetting};

#[derive(Template)]
#[template(path = "dashboard/settings_configuration.html", config = ".config/askama.toml")]
struct ConfigurationPage {
    shell: Shell,
    tabs: Tabs,
    changed_only: bool,
    table: Table,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let changed_only = parameters.boolean("changed")?.unwrap_or(false);
    let columns = ["Setting", "Value", "From", "Where"].map(text).into();
    let table = Table::new("configuration", "Settings", columns);
    let own = "/dashboard/settings/configuration";
    let mut table = table.exported_at(format!("{own}?changed={changed_only}&format=csv"));
    let settings = dashboard.edge.options.settings.iter();
    let shown = settings.filter(|setting| !changed_only || setting.layer != Layer::Default);
    table.rows = shown.map(row).collect();
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&table));
    }
    answer::show(&ConfigurationPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Settings, "Settings"),
        tabs: Tabs::new(Section::Configuration, &viewer),
        changed_only,
        table,
    })
}

fn row(setting: &ShownSetting) -> Vec<Cell> {
    let (tone, word) = match setting.layer {
        Layer::Default => (Tone::Plain, "default"),
        Layer::File => (Tone::Good, "file"),
        Layer::Environment => (Tone::Warning, "environment"),
        Layer::Flag => (Tone::Warning, "flag"),
    };
    let place = match setting.layer {
        Layer::Default => Cell::Nothing,
        Layer::File | Layer::Environment | Layer::Flag => Cell::text(&*setting.origin),
    };
    vec![
        Cell::code(setting.name),
        Cell::code(&setting.value),
        Cell::Badge(tone, word.to_owned()),
        place,
    ]
}
