//! The events that a meter's name and filter let through, newest first.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{Head, Tab};
use crate::engine::EventQuery;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::events::{self, Listed};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::Shell;
use crate::http::dashboard::table::Table;
use crate::http::query::Parameters;
use crate::http::route::Segment;

#[derive(Template)]
#[template(path = "dashboard/meter_events.html", config = ".config/askama.toml")]
struct Events {
    shell: Shell,
    head: Head,
    table: Table,
    pager: Pager,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let (shell, head) = Head::read(&dashboard, &viewer, id, Tab::Events)?;
    let query = EventQuery { meter_id: Some(head.meter.id.clone()), ..EventQuery::default() };
    let own = format!("{}/events", head.path());
    let wants_csv = answer::wants_csv(&parameters)?;
    let Listed { table, pager } = events::listed(&dashboard, query, &parameters, &own).await?;
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    answer::show(&Events { shell, head, table, pager })
}
