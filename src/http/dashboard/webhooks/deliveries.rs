//! What became of messages to one endpoint.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;

use super::attempts::{self, Frame};
use super::{Head, Tab};
use crate::engine::outbox::reads::Logged;
use crate::engine::outbox::settle::Next;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::Shell;
use crate::http::dashboard::table::{EXPORT_ROWS_MAX, Table};
use crate::http::dashboard::tags::{self, Moment};
use crate::http::query::Parameters;
use crate::http::reply::{ApiError, Failure};
use crate::http::route::Segment;
use crate::http::webhooks::{place, place_text};
use crate::model::{EndpointIndex, Lsn, MessageId, Timestamp};

/// Rows of a page.
const ROWS: usize = 50;
/// Attempts that the figures of a day are made of, at most.
const COUNTED_MAX: usize = 1_000;
const DAY: Duration = Duration::from_hours(24);

#[derive(Template)]
#[template(path = "dashboard/webhook.html", config = ".config/askama.toml")]
struct DeliveriesPage {
    shell: Shell,
    head: Head,
    failing_since: Option<Moment>,
    day: Day,
    /// What may be asked for of the outcome, and whether it is.
    outcomes: [(&'static str, bool); 2],
    rows: Rows,
    /// Where the rows are loaded anew; nothing on a page further down.
    live: Option<String>,
}

/// The attempts, as a part of the page.
#[derive(Template)]
#[template(path = "dashboard/webhook_rows.html", config = ".config/askama.toml")]
struct Rows {
    table: Table,
    pager: Pager,
}

// Goes through the template's escaping.
impl askama::filters::HtmlSafe for Rows {}

/// The last 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Day {
    attempts: usize,
    failed: usize,
    /// Whether there were more than were counted.
    is_more: bool,
}

/// Which attempts are asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    succeeded: Option<bool>,
    message: Option<MessageId>,
    below: Option<(Lsn, u32)>,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let (shell, head) = Head::read(&dashboard, &viewer, id, Tab::Deliveries)?;
    let wanted = Wanted::read(&parameters)?;
    if answer::wants_csv(&parameters)? {
        let frame = frame(&head, false, wanted);
        let found = read(&dashboard, head.endpoint.index, wanted, EXPORT_ROWS_MAX).await?;
        return Ok(answer::csv(&attempts::table(&found, &frame)));
    }
    let rows = rows_of(&dashboard, &viewer, &head, wanted).await?;
    let counted = Wanted::default();
    let newest = read(&dashboard, head.endpoint.index, counted, COUNTED_MAX).await?;
    // Attempts are dated by the machine's clock, also under a test clock.
    let now = dashboard.edge.engine.real_now();
    let live = wanted.below.is_none().then(|| wanted.address(&format!("{}/attempts", head.path)));
    answer::show(&DeliveriesPage {
        shell,
        failing_since: head.endpoint.failing_since.map(Moment),
        day: Day::of(&newest, now),
        outcomes: [("delivered", true), ("failed", false)]
            .map(|(word, good)| (word, wanted.succeeded == Some(good))),
        rows,
        live,
        head,
    })
}

/// The rows alone, for a page that follows them and for the page of one message.
pub(super) async fn rows(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let (_, head) = Head::read(&dashboard, &viewer, id, Tab::Deliveries)?;
    let rows = rows_of(&dashboard, &viewer, &head, Wanted::read(&parameters)?).await?;
    answer::show(&rows)
}

async fn rows_of(
    dashboard: &Dashboard,
    viewer: &Viewer,
    head: &Head,
    wanted: Wanted,
) -> Result<Rows, Failure> {
    let found = read(dashboard, head.endpoint.index, wanted, ROWS).await?;
    let mut table = attempts::table(&found, &frame(head, viewer.may_change(), wanted));
    let first = Wanted { below: None, ..wanted };
    if !found.is_empty() {
        let csv = tags::with(&first.address(&head.path), "format", "csv");
        table = table.exported_at(csv);
    }
    let next = found.last().filter(|_| found.len() == ROWS);
    let next = next.map(|last| Wanted { below: Some(last.place), ..wanted }.address(&head.path));
    let first = wanted.below.map(|_| first.address(&head.path));
    Ok(Rows { table, pager: Pager { first, next } })
}

fn frame(head: &Head, may_resend: bool, wanted: Wanted) -> Frame {
    let then = match wanted.message {
        None => wanted.address(&head.path),
        Some(message) => format!("{}/messages/{message}", head.path),
    };
    Frame {
        path: head.path.clone(),
        endpoint: tags::encoded(head.endpoint.id.as_str()),
        resend_then: may_resend.then_some(then),
    }
}

async fn read(
    dashboard: &Dashboard,
    endpoint: EndpointIndex,
    wanted: Wanted,
    limit: usize,
) -> Result<Vec<Logged>, Failure> {
    let read = dashboard.edge.read(move |engine| {
        engine.webhook_attempts(endpoint, wanted.below, limit, |attempt| {
            wanted.message.is_none_or(|message| message == attempt.message)
                && wanted.succeeded.is_none_or(|good| good == (attempt.next == Next::Delivered))
        })
    });
    Ok(read.await??)
}

impl Wanted {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let succeeded = parameters.parsed("outcome", "delivered or failed", |text| match text {
            "delivered" => Some(true),
            "failed" => Some(false),
            _ => None,
        })?;
        Ok(Self {
            succeeded,
            message: parameters.parsed("message", "a message's id", MessageId::parse)?,
            below: parameters.parsed("below", "what the page before says", place)?,
        })
    }

    fn outcome(self) -> &'static str {
        match self.succeeded {
            None => "",
            Some(true) => "delivered",
            Some(false) => "failed",
        }
    }

    /// The address of what is asked for.
    fn address(self, path: &str) -> String {
        let mut address = path.to_owned();
        if self.succeeded.is_some() {
            address = tags::with(&address, "outcome", self.outcome());
        }
        if let Some(message) = self.message {
            address = tags::with(&address, "message", &message.to_string());
        }
        if let Some(below) = self.below {
            address = tags::with(&address, "below", &place_text(below));
        }
        address
    }
}

impl Day {
    /// The figures of `newest`, newest first, in the 24 hours before `now`.
    fn of(newest: &[Logged], now: Timestamp) -> Self {
        let recent = newest.iter().take_while(|logged| now.since(logged.attempt.at) < DAY);
        let mut day = Self::default();
        for logged in recent {
            day.attempts += 1;
            day.failed += usize::from(logged.attempt.next != Next::Delivered);
        }
        day.is_more = day.attempts == COUNTED_MAX;
        day
    }

    /// Failed attempts of a hundred.
    fn percent(self) -> usize {
        (self.failed * 100).checked_div(self.attempts).unwrap_or(0)
    }
}
