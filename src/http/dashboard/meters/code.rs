//! How events are sent that a meter counts, and how its usage is read.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{Head, Tab};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::Shell;
use crate::http::dashboard::snippet::Snippets;
use crate::http::route::Segment;

#[derive(Template)]
#[template(path = "dashboard/meter_code.html", config = ".config/askama.toml")]
struct Code {
    shell: Shell,
    head: Head,
    base: String,
    ingest: Snippets,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
) -> Answer {
    let (shell, head) = Head::read(&dashboard, &viewer, id, Tab::Code)?;
    let ingest = Snippets::ingest_for(&viewer.base, &head.meter);
    answer::show(&Code { shell, base: viewer.base, ingest, head })
}
