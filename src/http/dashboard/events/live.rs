//! What requests come to, as they come: new events, duplicates, conflicts, refusals. A sample, when more
//! comes than anybody could read.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::engine::outcomes::{Became, EventOutcome};
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, EXPORT_ROWS_MAX, Table, Tone, text};
use crate::http::dashboard::{Dashboard, customers, tags};
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::model::{CustomerId, EventId};

const PATH: &str = "/dashboard/events/live";
/// Outcomes of a page.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "dashboard/events_live.html", config = ".config/askama.toml")]
struct LivePage {
    shell: Shell,
    tab: super::Tab,
    wanted: Wanted,
    live: String,
    table: Table,
}

/// What is looked for; what is empty does not matter.
struct Wanted {
    event_id: String,
    customer_id: String,
    event_name: String,
    outcome: Option<Outcome>,
}

/// What becomes of an event, as the form names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Duplicate,
    Conflicting,
    Refused,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let wanted = Wanted::read(&parameters)?;
    let own = wanted.address(PATH);
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&table(&dashboard, &wanted, EXPORT_ROWS_MAX)));
    }
    answer::show(&LivePage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Events, "Events"),
        tab: super::Tab::Live,
        live: wanted.address("/dashboard/events/live/rows"),
        table: table(&dashboard, &wanted, ROWS).exported_at(tags::with(&own, "format", "csv")),
        wanted,
    })
}

/// The newest, as a part of the page.
pub(super) async fn rows(
    State(dashboard): State<Arc<Dashboard>>,
    parameters: Parameters,
) -> Answer {
    let wanted = Wanted::read(&parameters)?;
    let csv = tags::with(&wanted.address(PATH), "format", "csv");
    answer::show(&table(&dashboard, &wanted, ROWS).exported_at(csv))
}

fn table(dashboard: &Dashboard, wanted: &Wanted, limit: usize) -> Table {
    let columns = ["When", "Outcome", "Event", "Name", "Customer", "Why"].map(text).into();
    let mut table = Table::new("outcomes", "What events came to, newest first", columns);
    let tail = dashboard.edge.engine.outcomes(0, usize::MAX).items;
    let found = tail.iter().filter(|outcome| wanted.matches(outcome)).take(limit);
    table.rows = found.map(|outcome| row(outcome)).collect();
    table
}

fn row(found: &EventOutcome) -> Vec<Cell> {
    let outcome = Outcome::of(&found.became);
    let id = found.event_id.as_deref().unwrap_or_default();
    let is_stored = outcome != Outcome::Refused;
    let (why, first) = match &found.became {
        Became::Accepted { .. } => (String::new(), None),
        Became::Duplicate { first_lsn } => {
            ("the same event came before".to_owned(), Some(first_lsn))
        }
        Became::Conflicting { first_lsn } => (
            "another event with this id came before; this one counts nothing".to_owned(),
            Some(first_lsn),
        ),
        Became::Refused { message, .. } => (message.clone(), None),
    };
    let why = Cell::text(why);
    vec![
        Cell::moment(found.at),
        Cell::Badge(outcome.tone(), outcome.word().to_owned()),
        if is_stored {
            Cell::link(id, super::path(&EventId::new(id)))
        } else {
            Cell::Code(id.to_owned())
        },
        Cell::Code(found.event_name.clone().unwrap_or_default()),
        match &found.customer_id {
            Some(customer) if is_stored => {
                Cell::link(customer, customers::path(&CustomerId::new(customer.as_str())))
            }
            Some(customer) => Cell::Code(customer.clone()),
            None => Cell::Nothing,
        },
        match first {
            Some(lsn) => why.noted(format!("the first one is at {} in the log", lsn.0)),
            None => why,
        },
    ]
}

impl Wanted {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let text = |name| -> Result<String, ApiError> {
            Ok(parameters.text(name)?.unwrap_or_default().to_owned())
        };
        let outcome = |text: &str| Outcome::ALL.into_iter().find(|one| one.word() == text);
        let words = "accepted, duplicate, conflicting or refused";
        Ok(Self {
            event_id: text("event_id")?,
            customer_id: text("customer_id")?,
            event_name: text("event_name")?,
            outcome: parameters.parsed("outcome", words, outcome)?,
        })
    }

    fn matches(&self, found: &EventOutcome) -> bool {
        let is = |wanted: &str, found: Option<&String>| {
            wanted.is_empty() || found.is_some_and(|found| found == wanted)
        };
        let id = found.event_id.as_deref().unwrap_or_default();
        id.starts_with(&self.event_id)
            && is(&self.customer_id, found.customer_id.as_ref())
            && is(&self.event_name, found.event_name.as_ref())
            && self.outcome.is_none_or(|outcome| outcome == Outcome::of(&found.became))
    }

    fn address(&self, path: &str) -> String {
        let outcome = self.outcome.map_or("", Outcome::word);
        [
            ("event_id", self.event_id.as_str()),
            ("customer_id", &self.customer_id),
            ("event_name", &self.event_name),
            ("outcome", outcome),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .fold(path.to_owned(), |address, (name, value)| tags::with(&address, name, value))
    }
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Accepted, Self::Duplicate, Self::Conflicting, Self::Refused];

    fn of(became: &Became) -> Self {
        match became {
            Became::Accepted { .. } => Self::Accepted,
            Became::Duplicate { .. } => Self::Duplicate,
            Became::Conflicting { .. } => Self::Conflicting,
            Became::Refused { .. } => Self::Refused,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflicting => "conflicting",
            Self::Refused => "refused",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Accepted => Tone::Good,
            Self::Duplicate => Tone::Plain,
            Self::Conflicting => Tone::Warning,
            Self::Refused => Tone::Bad,
        }
    }
}
