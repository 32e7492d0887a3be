//! One event, and what became of it: which meters it met, what they saw in it, and where it was counted.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::engine::bills::{Landing, LandingState};
use crate::engine::explain::{Explanation, MeterExplanation};
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, Tone, text};
use crate::http::dashboard::{Dashboard, customers, meters, tags};
use crate::http::query::Parameters;
use crate::metering::explain::{JudgedClauses, JudgedFilter};
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::{Conjunction, EventId};

#[derive(Template)]
#[template(path = "dashboard/event.html", config = ".config/askama.toml")]
struct EventPage {
    shell: Shell,
    explanation: Explanation,
    metadata: Table,
    meters: Vec<Told>,
}

/// What one meter made of it, for people.
struct Told {
    path: String,
    name: String,
    unit: String,
    tone: Tone,
    verdict: String,
    clauses: Table,
    facts: Vec<(&'static str, String)>,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let id = EventId::new(parameters.text("id")?.unwrap_or_default());
    let explanation = dashboard.edge.read(move |engine| engine.explain(&id)).await??;
    let explanation = explanation.ok_or_else(|| NotShown::not_found("event"))?;
    let event = &explanation.event;
    let shell = Shell::new(&dashboard.edge, &viewer, Place::Events, event.id.as_str());
    let own = tags::with(&super::path(&event.id), "format", "csv");
    let metadata = metadata(event.metadata.as_ref()).exported_at(own);
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&metadata));
    }
    let meters = explanation.meters.iter().map(Told::new).collect();
    answer::show(&EventPage { shell, explanation, metadata, meters })
}

fn metadata(metadata: Option<&Metadata>) -> Table {
    let mut table = Table::new("metadata", "Metadata", ["Key", "Type", "Value"].map(text).into());
    let members = metadata.into_iter().flatten();
    table.rows = members
        .map(|(key, value)| {
            let kind = match value {
                MetadataValue::String(_) => "text",
                MetadataValue::Number(_) => "number",
                MetadataValue::Boolean(_) => "true or false",
            };
            vec![Cell::code(key), Cell::text(kind), Cell::code(&shown(value))]
        })
        .collect();
    table
}

fn shown(value: &MetadataValue) -> String {
    match value {
        MetadataValue::String(text) | MetadataValue::Number(text) => text.clone(),
        MetadataValue::Boolean(value) => value.to_string(),
    }
}

impl Told {
    fn new(found: &MeterExplanation) -> Self {
        let (tone, verdict) = verdict(found);
        let columns = ["Condition", "Found", "Holds", "Why not"].map(text).into();
        let mut clauses = Table::new("clauses", "The meter's filter, clause by clause", columns);
        if let Some(filter) = &found.filter {
            judged(filter, 0, &mut clauses.rows);
        }
        Self {
            path: meters::path(&found.meter.id),
            name: found.meter.name.clone(),
            unit: found.meter.measurement_unit.clone(),
            tone,
            verdict,
            clauses,
            facts: facts(found),
        }
    }
}

fn verdict(found: &MeterExplanation) -> (Tone, String) {
    match (&found.outcome, &found.words) {
        (None, _) => (Tone::Plain, "does not match".to_owned()),
        (Some(Ok(value)), _) => {
            (Tone::Good, format!("counted as {}", tags::grouped(&value.to_string())))
        }
        (Some(Err(reason)), words) => {
            let words = words.clone().unwrap_or_else(|| reason.name().to_owned());
            (Tone::Warning, format!("not counted: {words}"))
        }
    }
}

/// A row for each clause, nested ones behind their group.
fn judged(filter: &JudgedFilter, level: usize, rows: &mut Vec<Vec<Cell>>) {
    let joined = match filter.conjunction {
        Conjunction::And => "all of",
        Conjunction::Or => "any of",
    };
    let indent = "\u{2003}".repeat(level);
    let group = Cell::text(format!("{indent}{joined}"));
    rows.push(vec![group, Cell::Nothing, truth(filter.holds), Cell::Nothing]);
    match &filter.clauses {
        JudgedClauses::Filters(filters) => {
            for inner in filters {
                judged(inner, level + 1, rows);
            }
        }
        JudgedClauses::Conditions(conditions) => {
            for one in conditions {
                let why = one.mismatch.map(|mismatch| mismatch.in_words(&one.condition));
                let text = format!("{indent}\u{2003}{}", meters::condition(&one.condition));
                rows.push(vec![
                    Cell::text(text),
                    one.found.as_ref().map_or(Cell::Nothing, |value| Cell::code(&shown(value))),
                    truth(one.mismatch.is_none()),
                    Cell::text(why.unwrap_or_default()),
                ]);
            }
        }
    }
}

fn truth(holds: bool) -> Cell {
    let (tone, word) = if holds { (Tone::Good, "yes") } else { (Tone::Bad, "no") };
    Cell::Badge(tone, word.to_owned())
}

/// Which counter it went into, and who bills it.
fn facts(found: &MeterExplanation) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(counter) = &found.counter {
        let value = tags::grouped(&counter.value.to_string());
        let (value, unit) = (value, &found.meter.measurement_unit);
        facts.push((
            "Counter of its hour",
            format!("{value} {unit}, from {}", tags::in_words(counter.period.start)),
        ));
    }
    if found.backfilled {
        let words =
            "it came before the meter, which counted it afterwards, in hours and in no period";
        facts.push(("Backfilled", words.to_owned()));
    }
    if found.backfilling {
        facts.push(("Backfill", "the meter has yet to count earlier events".to_owned()));
    }
    if found.meter.archived {
        facts.push(("Archived", "the meter counts no new events".to_owned()));
    }
    facts.extend(found.landings.iter().map(|landing| ("Billed by", landed(landing))));
    facts
}

fn landed(landing: &Landing) -> String {
    let Landing { subscription_id, period, state, .. } = landing;
    let (start, end) = (tags::in_words(period.start), tags::in_words(period.end));
    let period = format!("{subscription_id}, period {start} to {end}");
    match state {
        LandingState::Open { closing: true, close_at, .. } => {
            let close_at = tags::in_words(*close_at);
            format!("{period}, which has ended; its invoice is made at {close_at}")
        }
        LandingState::Open { closing: false, .. } => format!("{period}, which runs"),
        LandingState::Invoiced { invoice_id, .. } => format!("{period}, on invoice {invoice_id}"),
    }
}
