//! What this daemon is: its version and its data directory, what it was told, and the keys that open it.

mod configuration;
mod daemon;
mod keys;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::Dashboard;
use super::gate::Viewer;

pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/settings", get(daemon::show))
        .route("/dashboard/settings/configuration", get(configuration::show))
        .route("/dashboard/settings/keys", get(keys::show))
}

/// A part of this screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Daemon,
    Configuration,
    Keys,
}

/// The parts that somebody sees.
#[derive(Clone, Copy, Debug)]
struct Tabs {
    here: Section,
    /// Only those who may make keys see them.
    with_keys: bool,
}

const SECTIONS: [(Section, &str, &str); 3] = [
    (Section::Daemon, "This daemon", "/dashboard/settings"),
    (Section::Configuration, "Configuration", "/dashboard/settings/configuration"),
    (Section::Keys, "API keys", "/dashboard/settings/keys"),
];

impl Tabs {
    fn new(here: Section, viewer: &Viewer) -> Self {
        Self { here, with_keys: viewer.may_change() }
    }

    fn all(self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let seen = SECTIONS
            .into_iter()
            .filter(move |(each, _, _)| *each != Section::Keys || self.with_keys);
        seen.map(move |(each, name, path)| (name, path, each == self.here))
    }
}
