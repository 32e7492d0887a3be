//! Webhooks: where applications are told what happens, what became of it, and thresholds to be told of.

mod alerts;
mod attempts;
mod catalogue;
mod deliveries;
mod form;
mod list;
mod message;
mod settings;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::Dashboard;
use super::answer::NotShown;
use super::gate::Viewer;
use super::shell::{Place, Shell};
use super::table::Tone;
use super::tags;
use crate::model::webhook::Disabled;
use crate::model::{Endpoint, EndpointId};

pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/webhooks", get(list::show))
        .route("/dashboard/webhooks/new", get(form::create))
        .route("/dashboard/webhooks/events", get(catalogue::show))
        .route("/dashboard/webhooks/alerts", get(alerts::show))
        .route("/dashboard/webhooks/{id}", get(deliveries::show))
        .route("/dashboard/webhooks/{id}/attempts", get(deliveries::rows))
        .route("/dashboard/webhooks/{id}/messages/{message}", get(message::show))
        .route("/dashboard/webhooks/{id}/settings", get(settings::show))
}

/// Where an endpoint's pages are.
fn path(id: &EndpointId) -> String {
    format!("/dashboard/webhooks/{}", tags::encoded(id.as_str()))
}

/// A part of this screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Endpoints,
    Catalogue,
    Alerts,
}

const SECTIONS: [(Section, &str, &str); 3] = [
    (Section::Endpoints, "Endpoints", "/dashboard/webhooks"),
    (Section::Catalogue, "Event catalogue", "/dashboard/webhooks/events"),
    (Section::Alerts, "Alerts", "/dashboard/webhooks/alerts"),
];

impl Section {
    fn tabs(self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        SECTIONS.into_iter().map(move |(each, name, path)| (name, path, each == self))
    }
}

/// A part of an endpoint's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Deliveries,
    Settings,
    /// A page of its own below them.
    Message,
}

/// What stands above every page of an endpoint.
struct Head {
    endpoint: Arc<Endpoint>,
    path: String,
    tab: Tab,
}

impl Head {
    /// The endpoint with this id, and the layout of its page.
    fn read(
        dashboard: &Dashboard,
        viewer: &Viewer,
        id: String,
        tab: Tab,
    ) -> Result<(Shell, Self), NotShown> {
        let endpoint = dashboard.edge.engine.webhook_endpoint(&EndpointId::new(id));
        let endpoint = endpoint.ok_or_else(|| NotShown::not_found("webhook endpoint"))?;
        let title = match endpoint.description.as_str() {
            "" => endpoint.url.as_str(),
            text => text.lines().next().unwrap_or_default(),
        };
        let shell = Shell::new(&dashboard.edge, viewer, Place::Webhooks, title);
        Ok((shell, Self { path: path(&endpoint.id), endpoint, tab }))
    }

    fn tabs(&self) -> [(&'static str, String, bool); 2] {
        let (path, tab) = (&self.path, self.tab);
        [
            ("Deliveries", path.clone(), tab == Tab::Deliveries),
            ("Settings", format!("{path}/settings"), tab == Tab::Settings),
        ]
    }

    fn state(&self) -> (&'static str, &'static str) {
        let (tone, words) = state(&self.endpoint);
        (tone.class(), words)
    }

    /// Whether somebody has switched it off, or the daemon.
    fn is_off(&self) -> bool {
        self.endpoint.disabled.is_some()
    }
}

/// Whether messages go there.
fn state(endpoint: &Endpoint) -> (Tone, &'static str) {
    match endpoint.disabled {
        Some(Disabled::ByRequest) => (Tone::Plain, "disabled"),
        Some(Disabled::Failing) => (Tone::Bad, "disabled: failing for days"),
        None if endpoint.failing_since.is_some() => (Tone::Warning, "failing"),
        None => (Tone::Good, "enabled"),
    }
}
