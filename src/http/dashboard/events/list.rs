//! Stored events, and new ones as they come.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::Listed;
use crate::engine::EventQuery;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::snippet::Snippets;
use crate::http::dashboard::table::Table;
use crate::http::dashboard::{Dashboard, tags, to};
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::model::{CustomerId, EventId, MeterId};

const PATH: &str = "/dashboard/events";
/// What a list is chosen by, as the form names it.
const CHOICES: [&str; 5] = ["customer_id", "event_name", "meter_id", "start", "end"];

#[derive(Template)]
#[template(path = "dashboard/events.html", config = ".config/askama.toml")]
struct EventsPage {
    shell: Shell,
    tab: super::Tab,
    choices: Choices,
    table: Table,
    pager: Pager,
    /// Where the newest are; nothing on later pages, which do not move.
    live: Option<String>,
    empty: Option<Snippets>,
}

/// What the form has in it.
struct Choices {
    customer_id: String,
    event_name: String,
    start: String,
    end: String,
    meter_id: String,
    /// Ids and names of meters to choose from.
    meters: Vec<(String, String)>,
}

/// The page. An id leads to that event.
pub(in super::super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    if let Some(id) = parameters.text("event_id")? {
        return Ok(to(&super::path(&EventId::new(id))));
    }
    let own = own(&parameters)?;
    let wants_csv = answer::wants_csv(&parameters)?;
    let Listed { table, pager } =
        super::listed(&dashboard, query(&parameters)?, &parameters, &own).await?;
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    let is_first = pager.first.is_none();
    let is_empty = table.rows.is_empty() && own == PATH;
    answer::show(&EventsPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Events, "Events"),
        tab: super::Tab::Stored,
        choices: Choices::read(&dashboard, &parameters)?,
        table,
        pager,
        live: is_first.then(|| own.replacen(PATH, "/dashboard/events/rows", 1)),
        empty: is_empty.then(|| Snippets::ingest(&viewer.base)),
    })
}

/// The newest events, as a part of the page.
pub(in super::super) async fn rows(
    State(dashboard): State<Arc<Dashboard>>,
    parameters: Parameters,
) -> Answer {
    let own = own(&parameters)?;
    let Listed { table, .. } =
        super::listed(&dashboard, query(&parameters)?, &parameters, &own).await?;
    answer::show(&table)
}

/// The address of the list that is chosen.
fn own(parameters: &Parameters) -> Result<String, ApiError> {
    let mut own = PATH.to_owned();
    for name in CHOICES {
        if let Some(value) = parameters.text(name)? {
            own = tags::with(&own, name, value);
        }
    }
    Ok(own)
}

fn query(parameters: &Parameters) -> Result<EventQuery, ApiError> {
    Ok(EventQuery {
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
        event_name: parameters.text("event_name")?.map(str::to_owned),
        meter_id: parameters.text("meter_id")?.map(MeterId::new),
        start: parameters.timestamp("start")?,
        end: parameters.timestamp("end")?,
        ..EventQuery::default()
    })
}

impl Choices {
    fn read(dashboard: &Dashboard, parameters: &Parameters) -> Result<Self, ApiError> {
        let text = |name| -> Result<String, ApiError> {
            Ok(parameters.text(name)?.unwrap_or_default().to_owned())
        };
        let all = crate::engine::Page { offset: 0, limit: 1_000 };
        let meters = dashboard.edge.engine.meters(false, all).into_iter();
        Ok(Self {
            customer_id: text("customer_id")?,
            event_name: text("event_name")?,
            start: text("start")?,
            end: text("end")?,
            meter_id: text("meter_id")?,
            meters: meters.map(|meter| (meter.id.to_string(), meter.name)).collect(),
        })
    }
}
