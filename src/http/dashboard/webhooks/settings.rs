//! What one endpoint is told, and how: its settings, its headers and its secret.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::form::Types;
use super::{Head, Tab};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::Shell;
use crate::http::dashboard::tags::Moment;
use crate::http::route::Segment;

#[derive(Template)]
#[template(path = "dashboard/webhook_settings.html", config = ".config/askama.toml")]
struct SettingsPage {
    shell: Shell,
    head: Head,
    /// What it is told of, in words.
    filter: String,
    types: Types,
    rate_limit: String,
    /// Lines of `name: value`; only for those who may see them.
    headers: String,
    metadata: String,
    created: Moment,
    changed: Moment,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
) -> Answer {
    let (shell, head) = Head::read(&dashboard, &viewer, id, Tab::Settings)?;
    let endpoint = &head.endpoint;
    let filter = endpoint.filter.as_ref().map(|types| {
        let names: Vec<&str> = types.iter().map(|each| each.name()).collect();
        names.join(", ")
    });
    answer::show(&SettingsPage {
        shell,
        filter: filter.unwrap_or_else(|| "everything".to_owned()),
        types: Types::of(Some(endpoint)),
        rate_limit: endpoint.rate_limit.map(|rate| rate.to_string()).unwrap_or_default(),
        headers: if viewer.may_change() { lines(&endpoint.headers) } else { String::new() },
        metadata: lines(&endpoint.metadata),
        created: Moment(endpoint.created_at),
        changed: Moment(endpoint.updated_at),
        head,
    })
}

fn lines(pairs: &[(String, String)]) -> String {
    let lines: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    lines.join("\n")
}
