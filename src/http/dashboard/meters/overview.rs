//! What a meter has counted over time, of everybody and of those who use most.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::range::Range;
use super::series::{self, Series};
use super::{Head, Tab};
use crate::engine::{BackfillState, BackfillStatus, Engine, UsageError};
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::chart::{Chart, Shape};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::Shell;
use crate::http::dashboard::snippet::Snippets;
use crate::http::dashboard::{Dashboard, tags};
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::http::route::Segment;
use crate::metering::Kind;
use crate::model::{Meter, Quantity, Timestamp};

/// How a chart is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Nothing,
    Customers,
}

#[derive(Template)]
#[template(path = "dashboard/meter_overview.html", config = ".config/askama.toml")]
struct Overview {
    shell: Shell,
    head: Head,
    tiles: Vec<(&'static str, String)>,
    range: Range,
    split: Split,
    chart: Chart,
    backfill: Option<String>,
    /// When nothing was counted this month.
    empty: Option<Snippets>,
}

/// What is counted for the page.
struct Found {
    month: Quantity,
    ever: Quantity,
    day: Option<series::Day>,
    series: Vec<Series>,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let (shell, head) = Head::read(&dashboard, &viewer, id, Tab::Overview)?;
    let (range, split) = (Range::read(&parameters)?, Split::read(&parameters)?);
    let now = dashboard.edge.engine.now();
    let meter = head.meter.clone();
    let found =
        dashboard.edge.read(move |engine| found(engine, &meter, (range, split), now)).await??;
    let Found { month, ever, day, series } = found;
    let day = day.ok_or_else(|| NotShown::not_found("meter"))?;
    let tiles = vec![
        ("this month (UTC)", tags::grouped(&month.to_string())),
        ("all time", tags::grouped(&ever.to_string())),
        ("last 24 hours", tags::grouped(&day.total.to_string())),
        ("not counted, last 24 hours", tags::grouped(&day.skipped.to_string())),
    ];
    let backfill = backfill(dashboard.edge.engine.backfill(head.meter.index));
    let is_empty = month == Quantity::ZERO && day.last_at.is_none() && !head.meter.archived;
    answer::show(&Overview {
        shell,
        tiles,
        range,
        split,
        chart: drawn(&head.meter, (range, split), now, &series),
        backfill,
        empty: is_empty.then(|| Snippets::ingest_for(&viewer.base, &head.meter)),
        head,
    })
}

/// The chart's table, to be drawn anew; or as CSV.
pub(super) async fn chart(
    State(dashboard): State<Arc<Dashboard>>,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let meter = dashboard.edge.engine.meter(&crate::model::MeterId::new(id));
    let meter = meter.ok_or_else(|| NotShown::not_found("meter"))?;
    let wanted = (Range::read(&parameters)?, Split::read(&parameters)?);
    let now = dashboard.edge.engine.now();
    let read = meter.clone();
    let series = dashboard.edge.read(move |engine| series_of(engine, &read, wanted, now)).await??;
    let chart = drawn(&meter, wanted, now, &series);
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(chart.table()));
    }
    answer::show(chart.table())
}

fn found(
    engine: &Engine,
    meter: &Meter,
    wanted: (Range, Split),
    now: Timestamp,
) -> Result<Found, UsageError> {
    let (month, ever) = series::month_and_ever(engine, meter, now)?;
    Ok(Found {
        month,
        ever,
        day: series::days(engine, vec![meter.id.clone()], now)?.pop(),
        series: series_of(engine, meter, wanted, now)?,
    })
}

fn series_of(
    engine: &Engine,
    meter: &Meter,
    (range, split): (Range, Split),
    now: Timestamp,
) -> Result<Vec<Series>, UsageError> {
    match split {
        Split::Nothing => series::whole(engine, meter, range, now),
        Split::Customers => series::by_customer(engine, meter, range, now),
    }
}

fn drawn(
    meter: &Meter,
    (range, split): (Range, Split),
    now: Timestamp,
    series: &[Series],
) -> Chart {
    let names: Vec<String> = series.iter().map(|series| series.name.clone()).collect();
    let point = |(place, at)| {
        let value = |series: &Series| -> Option<Quantity> { series.values.get(place).copied()? };
        let values = series.iter().map(|series| value(series).map(|value| value.to_string()));
        (at, values.collect())
    };
    let points = range.starts(now).into_iter().enumerate().map(point).collect();
    let label = format!("{}, {}", meter.name, range.name());
    let adds_up = matches!(Kind::from(&meter.aggregation), Kind::Count | Kind::Sum);
    let shape = match split {
        Split::Nothing => Shape::Bars,
        Split::Customers if adds_up => Shape::Stacked,
        Split::Customers => Shape::Lines,
    };
    let own =
        format!("{}/chart?range={}&split={}", super::path(&meter.id), range.word(), split.word());
    Chart::new("usage", &label, &names, points)
        .shaped(shape)
        .exported_at(format!("{own}&format=csv"))
        .live_at(own)
}

/// What is missing while events from before the meter are not all counted.
fn backfill(BackfillStatus { state, done, total }: BackfillStatus) -> Option<String> {
    match state {
        BackfillState::Done => None,
        BackfillState::Pending => Some(format!(
            "{total} earlier events wait to be counted; numbers are too low until then."
        )),
        BackfillState::Running => Some(format!(
            "{done} of {total} earlier events are counted; numbers are too low until then."
        )),
        BackfillState::Failed => Some(
            "Events from before this meter could not be counted; the daemon's log says why."
                .to_owned(),
        ),
    }
}

impl Split {
    const ALL: [Self; 2] = [Self::Nothing, Self::Customers];

    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let read = |text: &str| Self::ALL.into_iter().find(|split| split.word() == text);
        Ok(parameters.parsed("split", "none or customers", read)?.unwrap_or(Self::Nothing))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Customers => "customers",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "everybody together",
            Self::Customers => "the largest customers",
        }
    }
}
