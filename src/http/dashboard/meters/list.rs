//! All meters, with what they counted in the last 24 hours and what is wrong with them.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::series;
use crate::engine::{BackfillState, BackfillStatus, Engine, Page, UsageError};
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::snippet::Snippets;
use crate::http::dashboard::table::{
    Cell, Column, EXPORT_ROWS_MAX, Spark, Table, Tone, number, text,
};
use crate::http::dashboard::{Dashboard, tags};
use crate::http::query::Parameters;
use crate::model::{Meter, Timestamp};

/// Meters of a page.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "dashboard/meters.html", config = ".config/askama.toml")]
struct MetersPage {
    shell: Shell,
    archived: bool,
    table: Table,
    pager: Pager,
    /// When there is no meter at all.
    empty: Option<Snippets>,
}

/// A meter with what it counted lately.
struct Row {
    meter: Meter,
    backfill: BackfillStatus,
    day: series::Day,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let archived = parameters.boolean("archived")?.unwrap_or(false);
    let offset = parameters.whole("from")?.unwrap_or(0);
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS + 1 };
    let page = Page { offset, limit };
    let now = dashboard.edge.engine.now();
    let rows = dashboard.edge.read(move |engine| rows(engine, archived, page, now)).await??;
    let own = format!("/dashboard/meters?archived={archived}");
    let mut table =
        Table::new("meters", "Meters", columns()).exported_at(format!("{own}&format=csv"));
    if wants_csv {
        table.rows = rows.iter().map(Row::cells).collect();
        return Ok(answer::csv(&table));
    }
    table.rows = rows.iter().take(ROWS).map(Row::cells).collect();
    let is_empty = rows.is_empty() && offset == 0 && !archived;
    answer::show(&MetersPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Meters, "Meters"),
        archived,
        table,
        pager: Pager {
            first: (offset > 0).then(|| own.clone()),
            next: (rows.len() > ROWS).then(|| format!("{own}&from={}", offset + ROWS)),
        },
        empty: is_empty.then(|| Snippets::create_meter(&viewer.base)),
    })
}

fn columns() -> Vec<Column> {
    vec![
        text("Meter"),
        text("Event name"),
        text("Counts"),
        text("By hour, last 24 h"),
        number("Last 24 h"),
        text("Last event, by hour"),
        text("State"),
    ]
}

fn rows(
    engine: &Engine,
    archived: bool,
    page: Page,
    now: Timestamp,
) -> Result<Vec<Row>, UsageError> {
    let meters = engine.meters(archived, page);
    let days = series::days(engine, meters.iter().map(|meter| meter.id.clone()).collect(), now)?;
    let rows = meters.into_iter().zip(days);
    let rows = rows.map(|(meter, day)| Row { backfill: engine.backfill(meter.index), meter, day });
    Ok(rows.collect())
}

impl Row {
    fn cells(&self) -> Vec<Cell> {
        let Self { meter, day, .. } = self;
        let heights: Vec<u128> = day.hours.iter().map(|value| value.magnitude()).collect();
        let total = day.total.to_string();
        let label = format!("{} {} in 24 hours", tags::grouped(&total), meter.measurement_unit);
        let rule = super::aggregation(&meter.aggregation);
        let rule = Cell::text(rule);
        vec![
            Cell::link(&meter.name, super::path(&meter.id)),
            Cell::code(&meter.event_name),
            match &meter.filter {
                None => rule,
                Some(filter) => rule.noted(format!("where {}", super::words::filter(filter))),
            },
            Cell::Spark(Spark::new(&heights, label)),
            Cell::number(&total).noted(meter.measurement_unit.clone()),
            day.last_at.map_or(Cell::Nothing, Cell::moment),
            self.state(),
        ]
    }

    /// What is to be known before the numbers are believed.
    fn state(&self) -> Cell {
        let BackfillStatus { state, done, total } = self.backfill;
        let (tone, words) = match state {
            BackfillState::Pending => (Tone::Warning, "backfill waits".to_owned()),
            BackfillState::Running => {
                let percent = done.saturating_mul(100) / total.max(1);
                (Tone::Warning, format!("backfilling, {percent} %"))
            }
            BackfillState::Failed => (Tone::Bad, "backfill failed".to_owned()),
            BackfillState::Done if self.meter.archived => (Tone::Plain, "archived".to_owned()),
            BackfillState::Done if self.day.skipped > 0 => {
                (Tone::Warning, format!("{} not counted", self.day.skipped))
            }
            BackfillState::Done if self.day.last_at.is_none() => {
                (Tone::Plain, "no events in 24 h".to_owned())
            }
            BackfillState::Done => (Tone::Good, "counting".to_owned()),
        };
        Cell::Badge(tone, words)
    }
}
