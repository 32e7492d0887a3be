//! Attempts to deliver, as a table.

use crate::engine::outbox::reads::Logged;
use crate::engine::outbox::settle::{Attempt, Next};
use crate::http::dashboard::table::{Action, Cell, Column, Table, Tone, number, text};

/// Characters of an answer in a table; the whole of what is kept stands on the message's page.
const ANSWER_CHARS: usize = 120;

/// How a table of attempts is shown.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Where the endpoint's pages are.
    pub(super) path: String,
    /// The endpoint's id.
    pub(super) endpoint: String,
    /// Where the browser goes after a resend; nothing where nobody may resend.
    pub(super) resend_then: Option<String>,
}

/// The table, without rows to look at when there are none.
pub(super) fn table(found: &[Logged], frame: &Frame) -> Table {
    let mut table = Table::new("webhook-attempts", "Attempts to deliver", columns(frame));
    table.rows = found.iter().map(|logged| row(&logged.attempt, frame)).collect();
    table
}

fn columns(frame: &Frame) -> Vec<Column> {
    let mut columns = vec![
        text("When"),
        text("Event"),
        text("Outcome"),
        text("Answer"),
        number("Milliseconds"),
        number("Attempt"),
        text("Next attempt"),
        text("Message"),
    ];
    if frame.resend_then.is_some() {
        columns.push(text("Action"));
    }
    columns
}

fn row(attempt: &Attempt, frame: &Frame) -> Vec<Cell> {
    let message = attempt.message.to_string();
    let (tone, word) = outcome(attempt.next);
    let next = match attempt.next {
        Next::Retry(at) => Cell::moment(at),
        Next::Delivered | Next::GivenUp => Cell::Nothing,
    };
    let mut cells = vec![
        Cell::moment(attempt.at),
        Cell::link(attempt.event_type.name(), format!("{}/messages/{message}", frame.path)),
        Cell::Badge(tone, word.to_owned()),
        answer(attempt),
        Cell::number(&attempt.took_ms),
        Cell::number(&attempt.number),
        next,
        Cell::code(&message),
    ];
    cells.extend(frame.resend_then.as_ref().map(|then| {
        Cell::Action(Action {
            label: "Resend",
            api: format!("POST /webhooks/{}/messages/{message}/resend", frame.endpoint),
            then: then.clone(),
            confirm: None,
        })
    }));
    cells
}

fn outcome(next: Next) -> (Tone, &'static str) {
    match next {
        Next::Delivered => (Tone::Good, "delivered"),
        Next::Retry(_) => (Tone::Warning, "failed"),
        Next::GivenUp => (Tone::Bad, "given up"),
    }
}

/// The status, and how the answer began; or why there was none.
fn answer(attempt: &Attempt) -> Cell {
    let status = match (attempt.status, &attempt.error) {
        (Some(status), _) => Cell::text(status.to_string()),
        (None, Some(error)) => Cell::text(&**error),
        (None, None) => Cell::Nothing,
    };
    let mut shown: String = attempt.answer.chars().take(ANSWER_CHARS).collect();
    if shown.len() < attempt.answer.len() {
        shown.push('…');
    }
    if shown.is_empty() { status } else { status.noted(shown) }
}
