//! The form of an endpoint, new or known.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::catalogue;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::model::{Endpoint, EventType};

/// Which types an endpoint may ask for.
#[derive(Template)]
#[template(path = "dashboard/webhook_types.html", config = ".config/askama.toml")]
pub(super) struct Types {
    /// Those that occur here, and those that are but names.
    groups: [(&'static str, Vec<Choice>); 2],
}

/// A type that may be chosen.
struct Choice {
    name: &'static str,
    /// When it happens; empty for what is but a name.
    when: &'static str,
    is_chosen: bool,
}

// Goes through the template's escaping.
impl askama::filters::HtmlSafe for Types {}

#[derive(Template)]
#[template(path = "dashboard/webhook_new.html", config = ".config/askama.toml")]
struct NewPage {
    shell: Shell,
    types: Types,
    allow_loopback: bool,
}

/// A new one.
pub(super) async fn create(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer) -> Answer {
    viewer.require_admin()?;
    answer::show(&NewPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Webhooks, "New endpoint"),
        types: Types::of(None),
        allow_loopback: dashboard.edge.options.webhooks_allow_loopback,
    })
}

impl Types {
    /// The types with those chosen that `endpoint` asks for.
    pub(super) fn of(endpoint: Option<&Endpoint>) -> Self {
        let chosen = endpoint.and_then(|endpoint| endpoint.filter.as_deref()).unwrap_or_default();
        let choice = |each: &EventType| Choice {
            name: each.name(),
            when: catalogue::when(*each).unwrap_or_default(),
            is_chosen: chosen.contains(each),
        };
        let (here, names) =
            EventType::ALL.iter().map(choice).partition(|each| !each.when.is_empty());
        let groups = [("Occur here", here), ("Names of the wire format only", names)];
        Self { groups }
    }
}
