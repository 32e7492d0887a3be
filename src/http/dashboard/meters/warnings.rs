//! What is wrong with meters, as the newest events of their names show: loaded behind the page, because
//! it reads events.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::engine::diagnosis::MeterDiagnosis;
use crate::engine::{Engine, InspectError, Page};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::events;
use crate::http::route::Segment;
use crate::model::{EventId, MeterId};

/// Meters that are looked at for a list.
const METERS_MAX: usize = 100;

#[derive(Template)]
#[template(path = "dashboard/warnings.html", config = ".config/askama.toml")]
struct Warnings {
    warnings: Vec<Warning>,
    /// Whether they stand on the page of their meter.
    of_one: bool,
}

/// A meter, what is wrong, and events that show it.
struct Warning {
    id: MeterId,
    name: String,
    text: String,
    examples: Vec<EventId>,
}

/// Of all live meters.
pub(super) async fn all(State(dashboard): State<Arc<Dashboard>>) -> Answer {
    let read = |engine: &Engine| {
        let meters = engine.meters(false, Page { offset: 0, limit: METERS_MAX });
        warnings(engine, meters.iter().map(|meter| meter.id.clone()).collect())
    };
    let warnings = dashboard.edge.read(read).await??;
    answer::show(&Warnings { warnings, of_one: false })
}

/// Of one meter.
pub(super) async fn of_one(
    State(dashboard): State<Arc<Dashboard>>,
    Segment(id): Segment,
) -> Answer {
    let id = MeterId::new(id);
    let warnings = dashboard.edge.read(move |engine| warnings(engine, vec![id])).await??;
    answer::show(&Warnings { warnings, of_one: true })
}

fn warnings(engine: &Engine, ids: Vec<MeterId>) -> Result<Vec<Warning>, InspectError> {
    let found = engine.diagnoses(&ids)?;
    let warnings = ids.into_iter().zip(found).filter_map(|(id, found)| warning(engine, id, found));
    Ok(warnings.collect())
}

fn warning(engine: &Engine, id: MeterId, found: MeterDiagnosis) -> Option<Warning> {
    let text = found.diagnosis.warning()?;
    let examples = found.diagnosis.findings.into_iter().next().map(|finding| finding.examples);
    let name = engine.meter(&id)?.name;
    Some(Warning { id, name, text, examples: examples.unwrap_or_default() })
}
