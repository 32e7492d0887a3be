//! Alerts: thresholds that applications are told of.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::Section;
use crate::engine::alerts::requests::{AlertFilter, AlertView};
use crate::engine::{Engine, Page};
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Action, Cell, Column, EXPORT_ROWS_MAX, Table, number, text};
use crate::http::dashboard::{Dashboard, tags};
use crate::http::document::major;
use crate::http::query::Parameters;
use crate::model::alert::Threshold;

/// Rows of a page.
const ROWS: usize = 50;
/// Meters and kinds of credit that the form offers.
const OFFERED_MAX: usize = 500;

#[derive(Template)]
#[template(path = "dashboard/alerts.html", config = ".config/askama.toml")]
struct AlertsPage {
    shell: Shell,
    section: Section,
    is_empty: bool,
    table: Table,
    /// Where the API is.
    base: String,
    pager: Pager,
    /// Ids and names that an alert may be on.
    meters: Vec<(String, String)>,
    credits: Vec<(String, String)>,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let engine = &dashboard.edge.engine;
    let offset = parameters.whole("from")?.unwrap_or(0);
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS + 1 };
    let mut found = engine.alerts(&AlertFilter::default(), Page { offset, limit });
    let has_more = !wants_csv && found.len() > ROWS;
    if has_more {
        found.truncate(ROWS);
    }
    let deletes = viewer.may_change() && !wants_csv;
    let table = Table::new("alerts", "Alerts", columns(deletes));
    let own = "/dashboard/webhooks/alerts";
    let mut table = table.exported_at(format!("{own}?format=csv"));
    table.rows = found.iter().map(|view| row(view, engine, deletes)).collect();
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    let all = Page { offset: 0, limit: OFFERED_MAX };
    let meters = engine.meters(false, all).into_iter();
    let credits = engine.entitlements(false, all).into_iter();
    answer::show(&AlertsPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Webhooks, "Webhooks"),
        section: Section::Alerts,
        is_empty: found.is_empty() && offset == 0,
        base: viewer.base.clone(),
        table,
        pager: Pager {
            first: (offset > 0).then(|| own.to_owned()),
            next: has_more.then(|| format!("{own}?from={}", offset + ROWS)),
        },
        meters: meters.map(|meter| (meter.id.to_string(), meter.name)).collect(),
        credits: credits.map(|each| (each.id.to_string(), each.name.clone())).collect(),
    })
}

fn columns(deletes: bool) -> Vec<Column> {
    let mut columns = vec![
        text("Name"),
        text("Fires when"),
        text("On"),
        text("Customer"),
        number("Fired"),
        text("Last fired"),
        text("Created"),
        text("Id"),
    ];
    if deletes {
        columns.push(text("Action"));
    }
    columns
}

fn row(view: &AlertView, engine: &Engine, deletes: bool) -> Vec<Cell> {
    let alert = &view.kept.alert;
    let (when, on) = match &alert.threshold {
        Threshold::Usage { at_least, .. } => {
            (format!("usage reaches {}", tags::grouped(&at_least.to_string())), "meter")
        }
        Threshold::Cost { at_least, currency, .. } => {
            (format!("cost reaches {} {currency}", major(*at_least, *currency)), "meter")
        }
        Threshold::Balance { at_most, .. } => {
            (format!("balance falls to {}", tags::grouped(&at_most.to_string())), "credit")
        }
    };
    let meter = view.meter_id.as_ref().and_then(|id| engine.meter(id)).map(|meter| {
        Cell::link(&meter.name, format!("/dashboard/meters/{}", tags::encoded(meter.id.as_str())))
    });
    let credit = view.entitlement_id.as_ref().and_then(|id| engine.entitlement(id)).map(|each| {
        Cell::link(&each.name, format!("/dashboard/credits/{}", tags::encoded(each.id.as_str())))
    });
    let on = meter.or(credit).unwrap_or(Cell::Nothing).noted(on);
    let mut cells = vec![
        Cell::text(alert.name.clone().unwrap_or_default()),
        Cell::text(when),
        on,
        match &view.customer_id {
            None => Cell::text("every customer"),
            Some(id) => {
                Cell::link(id, format!("/dashboard/customer?id={}", tags::encoded(id.as_str())))
            }
        },
        Cell::number(&view.kept.fired_count),
        view.kept.last_fired_at.map_or(Cell::Nothing, Cell::moment),
        Cell::moment(alert.created_at),
        Cell::code(&alert.id),
    ];
    if deletes {
        cells.push(Cell::Action(Action {
            label: "Delete",
            api: format!("DELETE /alerts/{}", tags::encoded(alert.id.as_str())),
            then: "/dashboard/webhooks/alerts".to_owned(),
            confirm: Some("Delete this alert? It fires no more.".to_owned()),
        }));
    }
    cells
}
