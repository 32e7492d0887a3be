//! Meters: all of them, a new one, and what one of them has counted.

mod code;
mod create;
mod customers;
mod events;
mod list;
mod overview;
mod range;
mod series;
mod warnings;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::Dashboard;
use super::answer::NotShown;
use super::gate::Viewer;
use super::shell::{Place, Shell};
use crate::model::{Meter, MeterId};

pub(super) use words::{aggregation, condition};

pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/meters", get(list::show))
        .route("/dashboard/meters/new", get(create::show))
        .route("/dashboard/meters/preview", post(create::preview))
        .route("/dashboard/meters/warnings", get(warnings::all))
        .route("/dashboard/meters/{id}", get(overview::show))
        .route("/dashboard/meters/{id}/chart", get(overview::chart))
        .route("/dashboard/meters/{id}/warnings", get(warnings::of_one))
        .route("/dashboard/meters/{id}/events", get(events::show))
        .route("/dashboard/meters/{id}/customers", get(customers::show))
        .route("/dashboard/meters/{id}/code", get(code::show))
}

/// Where a meter's page is.
pub(super) fn path(id: &MeterId) -> String {
    format!("/dashboard/meters/{id}")
}

/// A part of a meter's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Overview,
    Events,
    Customers,
    Code,
}

/// What stands above every part of a meter's pages.
#[derive(Debug)]
struct Head {
    tab: Tab,
    meter: Meter,
    aggregation: String,
}

const TABS: [(Tab, &str, &str); 4] = [
    (Tab::Overview, "Overview", ""),
    (Tab::Events, "Events", "/events"),
    (Tab::Customers, "Customers", "/customers"),
    (Tab::Code, "API", "/code"),
];

impl Head {
    /// The meter with this id, and the layout of its page.
    fn read(
        dashboard: &Dashboard,
        viewer: &Viewer,
        id: String,
        tab: Tab,
    ) -> Result<(Shell, Self), NotShown> {
        let meter = dashboard.edge.engine.meter(&MeterId::new(id));
        let meter = meter.ok_or_else(|| NotShown::not_found("meter"))?;
        let shell = Shell::new(&dashboard.edge, viewer, Place::Meters, &meter.name);
        let aggregation = aggregation(&meter.aggregation);
        Ok((shell, Self { tab, meter, aggregation }))
    }

    fn filter(&self) -> Option<String> {
        self.meter.filter.as_ref().map(words::filter)
    }

    fn description(&self) -> &str {
        self.meter.description.as_deref().unwrap_or_default()
    }

    fn path(&self) -> String {
        path(&self.meter.id)
    }

    fn tabs(&self) -> impl Iterator<Item = (&'static str, String, bool)> {
        let (path, here) = (self.path(), self.tab);
        TABS.into_iter().map(move |(tab, name, end)| (name, format!("{path}{end}"), tab == here))
    }
}
