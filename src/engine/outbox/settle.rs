//! What became of attempts to deliver: a record, and what it does to the outbox.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outbox, keys};
use crate::engine::rows::encoded;
use crate::model::webhook::Disabled;
use crate::model::{Endpoint, EndpointIndex, EventType, Lsn, MessageId, Timestamp};

/// How long after a failed attempt the next one is made.
const RETRY_AFTER: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];

/// An endpoint that has failed for so long is disabled.
pub const FAILING_MAX: Duration = Duration::from_hours(5 * 24);

/// What became of attempts to deliver messages to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledEntry {
    /// The endpoint.
    pub endpoint: EndpointIndex,
    /// Every message for it up to here was tried at least once, these attempts counted.
    pub through: MessageId,
    /// The attempts, in the order of their ends.
    pub attempts: Vec<Attempt>,
    /// Times to try again at which nothing is to be tried any more.
    pub dropped: Vec<(Timestamp, MessageId)>,
}

/// An attempt to deliver a message. Instants are the machine's clock's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The message.
    pub message: MessageId,
    /// What it tells.
    pub event_type: EventType,
    /// 1 for the first; anew after somebody has asked for it.
    pub number: u32,
    /// When it was due, unless it was the first ever.
    pub due: Option<Timestamp>,
    /// When it began.
    pub at: Timestamp,
    /// How many milliseconds it took.
    pub took_ms: u32,
    /// The answer's status, when there was an answer.
    pub status: Option<u16>,
    /// What has failed, when there was none.
    pub error: Option<String>,
    /// How the answer's body begins.
    pub answer: String,
    /// What follows from it.
    pub next: Next,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Nothing: it has arrived.
    Delivered,
    /// It is tried again then.
    Retry(Timestamp),
    /// Nothing: it was tried often enough.
    GivenUp,
}

/// What is known of a message that an endpoint did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// Attempts so far, since somebody has asked for it.
    pub attempts: u32,
    /// When the next is due; nothing when it was given up.
    pub due: Option<Timestamp>,
}

impl Next {
    /// What follows from the failure at `now` of the attempt of this number.
    pub fn after_failure(number: u32, now: Timestamp) -> Self {
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let wait = place.and_then(|place| RETRY_AFTER.get(place));
        wait.map_or(Self::GivenUp, |wait| Self::Retry(now.plus(*wait)))
    }
}

impl Outbox {
    /// Takes in what became of attempts, by a record of this LSN.
    pub fn settle(&mut self, lsn: Lsn, entry: &SettledEntry) {
        let index = entry.endpoint;
        // Whoever is deleted is told no more.
        let Some(kept) = self.endpoints.get_mut(&index) else { return };
        let queue = &mut kept.queue;
        queue.through = queue.through.max(entry.through);
        for attempt in &entry.attempts {
            if attempt.due.is_none() && attempt.message > queue.through {
                queue.ahead.insert(attempt.message);
            }
        }
        queue.ahead = queue.ahead.split_off(&queue.through);
        queue.ahead.remove(&queue.through);
        let wanted_before = kept.endpoint.wants();
        for attempt in &entry.attempts {
            note_health(&mut kept.endpoint, attempt);
        }
        let wants_else = kept.endpoint.wants() != wanted_before;
        for (number, attempt) in (0..).zip(&entry.attempts) {
            self.rows.put(keys::attempt(index, lsn, number), Some(encoded(attempt)));
            self.move_message(index, attempt);
        }
        for (due, message) in &entry.dropped {
            self.rows.put(keys::retry(index, *due, *message), None);
        }
        if wants_else {
            self.reckon_wanted();
        }
        self.changes += 1;
    }

    fn move_message(&mut self, index: EndpointIndex, attempt: &Attempt) {
        let (message, attempts) = (attempt.message, attempt.number);
        if let Some(due) = attempt.due {
            self.rows.put(keys::retry(index, due, message), None);
        }
        let undelivered = keys::undelivered(index, message);
        match attempt.next {
            // There is no such row unless an attempt has failed or somebody has asked.
            Next::Delivered if attempt.due.is_none() => {}
            Next::Delivered => self.rows.put(undelivered, None),
            Next::Retry(due) => {
                let known = Undelivered { attempts, due: Some(due) };
                self.rows.put(undelivered, Some(encoded(&known)));
                self.rows.put(keys::retry(index, due, message), Some(Vec::new()));
            }
            Next::GivenUp => {
                let known = Undelivered { attempts, due: None };
                self.rows.put(undelivered, Some(encoded(&known)));
            }
        }
    }

    /// Has messages tried again from `due` on, as if they never were: what an endpoint asked for.
    pub fn requeue(&mut self, index: EndpointIndex, messages: &[MessageId], due: Timestamp) {
        if !self.endpoints.contains_key(&index) {
            return;
        }
        for message in messages {
            let known = Undelivered { attempts: 0, due: Some(due) };
            self.rows.put(keys::undelivered(index, *message), Some(encoded(&known)));
            self.rows.put(keys::retry(index, due, *message), Some(Vec::new()));
        }
        self.changes += 1;
    }
}

/// Notes since when an endpoint has failed, and disables it when that was long ago.
fn note_health(endpoint: &mut Arc<Endpoint>, attempt: &Attempt) {
    match attempt.next {
        Next::Delivered if endpoint.failing_since.is_none() => {}
        Next::Delivered => Arc::make_mut(endpoint).failing_since = None,
        Next::Retry(_) | Next::GivenUp => {
            let since = endpoint.failing_since.unwrap_or(attempt.at);
            let is_too_long = attempt.at.since(since) >= FAILING_MAX;
            if endpoint.failing_since.is_none() || (is_too_long && endpoint.disabled.is_none()) {
                let endpoint = Arc::make_mut(endpoint);
                endpoint.failing_since = Some(since);
                if is_too_long {
                    endpoint.disabled = endpoint.disabled.or(Some(Disabled::Failing));
                }
            }
        }
    }
}
