//! The daemon's version, and what its data directory holds.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{Section, Tabs};
use crate::engine::directory::{DirectoryFigures, Part};
use crate::engine::{Engine, Stats};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, number, text};
use crate::http::dashboard::tags::{self, Moment};
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::model::Causes;

#[derive(Template)]
#[template(path = "dashboard/settings.html", config = ".config/askama.toml")]
struct DaemonPage {
    shell: Shell,
    tabs: Tabs,
    version: &'static str,
    target: String,
    format_version: u32,
    business: String,
    brand: String,
    directory: String,
    free: String,
    reserve: String,
    is_full: bool,
    last_lsn: u64,
    checkpoint_lsn: u64,
    checkpoint_at: Option<Moment>,
    table: Table,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let edge = &dashboard.edge;
    let read = |engine: &Engine| (engine.directory(), engine.stats());
    let (figures, stats) = edge.read(read).await?;
    let figures = figures.map_err(|error| {
        tracing::error!(error = %Causes(&error), "read the data directory");
        ApiError::internal()
    })?;
    let table = table(&figures);
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&table));
    }
    let Stats { last_lsn, checkpoint_lsn, checkpoint_at, .. } = stats;
    let setting = |name: &str| edge.options.settings.iter().find(|setting| setting.name == name);
    answer::show(&DaemonPage {
        shell: Shell::new(edge, &viewer, Place::Settings, "Settings"),
        tabs: Tabs::new(Section::Daemon, &viewer),
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        format_version: figures.format_version,
        business: edge.options.business_id.to_string(),
        brand: edge.options.brand_id.to_string(),
        directory: setting("data.directory")
            .map(|found| found.value.trim_matches('"').to_owned())
            .unwrap_or_default(),
        free: size(figures.free_bytes),
        reserve: size(figures.reserve_bytes),
        is_full: figures.free_bytes < figures.reserve_bytes,
        last_lsn: last_lsn.0,
        checkpoint_lsn: checkpoint_lsn.0,
        checkpoint_at: checkpoint_at.map(Moment),
        table,
    })
}

fn table(figures: &DirectoryFigures) -> Table {
    let columns = vec![text("Part"), number("Files"), number("Bytes"), text("Size")];
    let table = Table::new("data-directory", "What the data directory holds", columns);
    let mut table = table.exported_at("/dashboard/settings?format=csv");
    let row = |name: &str, files: u64, bytes: u64| {
        vec![Cell::text(name), Cell::number(&files), Cell::number(&bytes), Cell::text(size(bytes))]
    };
    table.rows =
        figures.parts.iter().map(|each| row(name(each.part), each.files, each.bytes)).collect();
    let files = figures.parts.iter().map(|each| each.files).sum();
    let bytes = figures.parts.iter().map(|each| each.bytes).sum();
    table.rows.push(row("Together", files, bytes));
    table
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Log => "Log",
        Part::History => "History of events",
        Part::Index => "Index of event ids",
        Part::Rows => "Customers, invoices, ledgers, messages",
        Part::Checkpoint => "Checkpoints",
        Part::Other => "Other",
    }
}

const SIZES: [(u64, &str); 4] =
    [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// Bytes as people say them, with one digit behind the point, rounded down.
fn size(bytes: u64) -> String {
    let unit = SIZES.into_iter().find(|(unit, _)| bytes >= *unit);
    match unit {
        None => format!("{bytes}\u{a0}bytes"),
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{}\u{a0}{name}", tags::grouped(&(tenths / 10).to_string()), tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_the_largest_unit_that_fits() {
        for (bytes, said) in [
            (0, "0\u{a0}bytes"),
            (1_023, "1023\u{a0}bytes"),
            (1_024, "1.0\u{a0}KiB"),
            (1_600_000, "1.5\u{a0}MiB"),
            (64 << 20, "64.0\u{a0}MiB"),
            (u64::MAX, "16\u{202f}777\u{202f}215.9\u{a0}TiB"),
        ] {
            assert_eq!(size(bytes), said);
        }
    }
}
