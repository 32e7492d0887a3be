//! Events for which a request was refused: why, and as they came.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::ROWS;
use crate::engine::refused::{RefusedEvent, RefusedQuery};
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, EXPORT_ROWS_MAX, Table, text};
use crate::http::dashboard::{Dashboard, tags};
use crate::http::query::Parameters;

const PATH: &str = "/dashboard/events/refused";

#[derive(Template)]
#[template(path = "dashboard/refused.html", config = ".config/askama.toml")]
struct RefusedPage {
    shell: Shell,
    tab: super::Tab,
    choices: [String; 3],
    events: Vec<RefusedEvent>,
    csv: String,
    pager: Pager,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let names = ["customer_id", "event_name", "code"];
    let [customer_id, event_name, code] = names.map(|name| parameters.text(name));
    let (customer_id, event_name, code) = (customer_id?, event_name?, code?);
    let mut own = PATH.to_owned();
    for (name, value) in names.into_iter().zip([customer_id, event_name, code]) {
        if let Some(value) = value {
            own = tags::with(&own, name, value);
        }
    }
    let offset = parameters.whole("from")?.unwrap_or(0);
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let query = RefusedQuery {
        customer_id: owned(customer_id),
        event_name: owned(event_name),
        code: owned(code),
        offset,
        limit: limit + 1,
    };
    let mut events = dashboard.edge.read(move |engine| engine.refused_events(&query)).await??;
    let goes_on = events.len() > limit;
    events.truncate(limit);
    if wants_csv {
        return Ok(answer::csv(&table(&events)));
    }
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    answer::show(&RefusedPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Events, "Events"),
        tab: super::Tab::Refused,
        choices: [text(customer_id), text(event_name), text(code)],
        events,
        csv: tags::with(&own, "format", "csv"),
        pager: Pager {
            next: goes_on.then(|| tags::with(&own, "from", &(offset + limit).to_string())),
            first: (offset > 0).then_some(own),
        },
    })
}

/// All that is known of them.
fn table(events: &[RefusedEvent]) -> Table {
    let names = [
        "At",
        "Status",
        "Code",
        "Reason",
        "Message",
        "Field",
        "Event id",
        "Customer",
        "Event name",
        "Key",
        "Client",
        "Raw",
    ];
    let mut table = Table::new("refused-events", "Refused events", names.map(text).into());
    let optional = |text: &Option<String>| Cell::text(text.clone().unwrap_or_default());
    for event in events {
        table.rows.push(vec![
            Cell::moment(event.at),
            Cell::number(&event.status),
            Cell::code(&event.code),
            Cell::code(&event.reason),
            Cell::text(&*event.message),
            optional(&event.field),
            optional(&event.event_id),
            optional(&event.customer_id),
            optional(&event.event_name),
            Cell::code(&event.key_id),
            optional(&event.user_agent),
            Cell::code(&event.raw),
        ]);
    }
    table
}
