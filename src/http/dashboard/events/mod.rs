//! Events: those that are stored, what requests come to as they come, and what became of one of them.

mod list;
mod live;
mod one;
mod refused;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::answer::NotShown;
use super::pager::Pager;
use super::table::{Cell, Column, EXPORT_ROWS_MAX, Table, text};
use super::{Dashboard, tags};
use crate::engine::{EventQuery, StoredEvent};
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::http::scalar::Pairs;
use crate::model::{EventId, Lsn};

/// Events of a page.
const ROWS: usize = 50;
/// Characters of metadata that a list shows.
const METADATA_CHARS: usize = 110;

pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/events", get(list::show))
        .route("/dashboard/events/rows", get(list::rows))
        .route("/dashboard/events/live", get(live::show))
        .route("/dashboard/events/live/rows", get(live::rows))
        .route("/dashboard/events/refused", get(refused::show))
        .route("/dashboard/event", get(one::show))
}

/// Where an event's page is.
pub(super) fn path(id: &EventId) -> String {
    format!("/dashboard/event?id={}", tags::encoded(id.as_str()))
}

/// A part of the inspector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Stored,
    Live,
    Refused,
}

impl Tab {
    fn all(self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let tabs = [
            (Self::Stored, "Stored", "/dashboard/events"),
            (Self::Live, "Live", "/dashboard/events/live"),
            (Self::Refused, "Refused", "/dashboard/events/refused"),
        ];
        tabs.into_iter().map(move |(tab, name, path)| (name, path, tab == self))
    }
}

/// A page of stored events.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) table: Table,
    pub(super) pager: Pager,
}

/// Reads stored events, newest first: those behind the parameter `below`, or as many as a file may have.
/// `own` is the address of the list.
///
/// # Errors
/// As a list of events.
pub(super) async fn listed(
    dashboard: &Dashboard,
    query: EventQuery,
    parameters: &Parameters,
    own: &str,
) -> Result<Listed, NotShown> {
    let below = parameters.whole("below")?.and_then(|lsn| u64::try_from(lsn).ok()).map(Lsn);
    let wants_csv = super::answer::wants_csv(parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS };
    let query = EventQuery { below, limit: limit + 1, ..query };
    let mut found = dashboard.edge.read(move |engine| engine.events(&query)).await??;
    let goes_on = found.len() > limit;
    found.truncate(limit);
    let last = found.last().map(|event| event.lsn);
    let mut table =
        Table::new("events", "Events", columns()).exported_at(tags::with(own, "format", "csv"));
    let metadata_chars = if wants_csv { usize::MAX } else { METADATA_CHARS };
    let row = |event| row(event, metadata_chars);
    table.rows = found.into_iter().map(row).collect::<Result<_, _>>()?;
    let next = last.filter(|_| goes_on).map(|lsn| tags::with(own, "below", &lsn.0.to_string()));
    Ok(Listed { table, pager: Pager { first: below.map(|_| own.to_owned()), next } })
}

fn columns() -> Vec<Column> {
    ["Event", "Name", "Customer", "Used at", "Received", "Metadata"].map(text).into()
}

fn row(event: StoredEvent, metadata_chars: usize) -> Result<Vec<Cell>, ApiError> {
    Ok(vec![
        Cell::link(&event.id, path(&event.id)),
        Cell::code(&event.name),
        Cell::link(&event.customer_id, super::customers::path(&event.customer_id)),
        Cell::moment(event.timestamp),
        Cell::moment(event.received_at),
        match event.metadata {
            None => Cell::Nothing,
            Some(metadata) => Cell::Code(shortened(&json(&Pairs(metadata))?, metadata_chars)),
        },
    ])
}

fn json(value: &impl serde::Serialize) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|_| ApiError::internal())
}

/// A text of at most so many characters.
fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
    }
}
