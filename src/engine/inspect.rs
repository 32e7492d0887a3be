//! Single events, read back from the log and from history.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::engine::record::{Body, PayloadError, decode_payload};
use crate::engine::shared::Shared;
use crate::metering::filter::matches;
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::{CustomerId, Event, EventId, Lsn, Meter, MeterId, Scalar, Timestamp};
use crate::storage::index::Hit;
use crate::storage::{history, index, log};

/// A request is decided at most this long after it arrived.
const DECIDED_WITHIN: Duration = Duration::from_hours(1);

/// An event as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its LSN.
    pub lsn: Lsn,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Its id.
    pub id: EventId,
    /// The customer.
    pub customer_id: CustomerId,
    /// The event name.
    pub name: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The metadata as it came.
    pub metadata: Option<Metadata>,
}

/// Which events are asked for; every given field must match.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Of this customer.
    pub customer_id: Option<CustomerId>,
    /// Of this name.
    pub event_name: Option<String>,
    /// Of this meter's name and filter.
    pub meter_id: Option<MeterId>,
    /// Used at this instant or later.
    pub start: Option<Timestamp>,
    /// Used before this instant.
    pub end: Option<Timestamp>,
    /// Matching events to skip.
    pub offset: usize,
    /// Events to return at most.
    pub limit: usize,
}

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No such meter.
    #[error("meter does not exist")]
    UnknownMeter,
    /// `event_name` is not the name that the meter looks at.
    #[error("event_name differs from the meter's event name")]
    NameDiffersFromMeter,
    /// The log could not be read.
    #[error("read the log")]
    Log(#[from] log::ReadError),
    /// History could not be read.
    #[error("read history")]
    History(#[from] history::Error),
    /// The id index could not be read.
    #[error("look up the event id")]
    Index(#[from] index::Error),
    /// The log holds something else than events.
    #[error("decode the log")]
    Payload(#[from] PayloadError),
}

/// The event with this id, when one was admitted and is still kept.
///
/// # Errors
/// [`InspectError`]
pub(in crate::engine) fn event(
    shared: &Shared,
    id: &EventId,
) -> Result<Option<StoredEvent>, InspectError> {
    let hash = shared.hasher.hash(id.as_str());
    let recent = shared.generations.lock().find(hash);
    let hit = match recent {
        Some(hit) => Some(hit),
        None => shared.index.view().look_up(&[hash])?.into_iter().next().flatten(),
    };
    let Some(Hit { lsn, .. }) = hit else {
        // Beyond the window the id may come again, but its event is kept longer.
        return match forgotten_in_log(shared, id)? {
            Some(found) => Ok(Some(found)),
            None => Ok(shared.history.find(hash, id.as_str(), owned_of_history)?),
        };
    };
    // An id of a group that is still being written is known, but not yet visible.
    if lsn > shared.state.applied() {
        return Ok(None);
    }
    if lsn <= shared.history.last_lsn() {
        return Ok(shared.history.at(lsn, owned_of_history)?);
    }
    let Some(frame) = shared.log.read_lsn(lsn)? else {
        // It went into history meanwhile.
        return Ok(shared.history.at(lsn, owned_of_history)?);
    };
    let mut found = None;
    visit_back(&frame, |stored| {
        if stored.lsn == lsn {
            found = Some(stored.into_stored());
        }
        found.is_none()
    })?;
    Ok(found)
}

/// The newest event with this id in the part of the log that the index has forgotten. That is nothing
/// unless so little comes that a segment takes longer to fill than an id is remembered.
fn forgotten_in_log(shared: &Shared, id: &EventId) -> Result<Option<StoredEvent>, InspectError> {
    let window = shared.options.dedupe_window;
    if window.is_zero() {
        return Ok(None);
    }
    let remembered_from = shared.state.log_time().minus(window).plus(DECIDED_WITHIN);
    let from = shared.history.last_lsn().next();
    let mut found = None;
    let visited = shared.log.visit(from..=shared.state.applied(), |frame| {
        if frame.log_time >= remembered_from {
            return Err(Ended::Remembered);
        }
        let mut in_frame = None;
        visit_back(&frame.to_owned(), |stored| {
            if stored.event.id == id.as_str() {
                in_frame = Some(stored.into_stored());
            }
            in_frame.is_none()
        })
        .map_err(Ended::Failed)?;
        found = in_frame.or(found.take());
        Ok(())
    });
    match visited {
        Ok(()) | Err(Ended::Remembered) => Ok(found),
        Err(Ended::Failed(error)) => Err(error),
    }
}

/// How a visit of the log ends early.
enum Ended {
    /// What follows is in the index.
    Remembered,
    Failed(InspectError),
}

impl From<log::ReadError> for Ended {
    fn from(error: log::ReadError) -> Self {
        match error {
            // It went into history meanwhile.
            log::ReadError::Gone { .. } => Self::Remembered,
            error @ (log::ReadError::Damaged(_) | log::ReadError::Io { .. }) => {
                Self::Failed(error.into())
            }
        }
    }
}

/// Events that match, newest first by LSN. What is in history is read there: of what an older
/// process wanted to remove from the log, a crash may have left a part.
///
/// # Errors
/// [`InspectError`]
pub(in crate::engine) fn events(
    shared: &Shared,
    query: &EventQuery,
) -> Result<Vec<StoredEvent>, InspectError> {
    let catalogue = shared.state.catalogue();
    let meter = match &query.meter_id {
        None => None,
        Some(id) => Some(catalogue.meter(id).ok_or(InspectError::UnknownMeter)?),
    };
    if let (Some(meter), Some(name)) = (meter, &query.event_name)
        && meter.event_name != *name
    {
        return Err(InspectError::NameDiffersFromMeter);
    }
    let mut page = Page { skip: query.offset, limit: query.limit, found: Vec::new() };
    if page.is_full() {
        return Ok(page.found);
    }
    let in_history = shared.history.last_lsn();
    let mut below = shared.state.applied().next();
    for frame in shared.log.frames_back(in_history.next()..=shared.state.applied()) {
        let frame = frame?;
        below = frame.first_lsn;
        visit_back(&frame, |stored| {
            if is_wanted(&stored.event, query, meter) {
                page.put(|| stored.into_stored());
            }
            !page.is_full()
        })?;
        if page.is_full() {
            return Ok(page.found);
        }
    }
    // Where the log ended, history goes on: a segment leaves the log only after it is there.
    let wanted = history::Query {
        customer_id: query.customer_id.as_ref().map(CustomerId::as_str),
        event_name: meter
            .map(|meter| &meter.event_name)
            .or(query.event_name.as_ref())
            .map(|it| &**it),
        start: query.start,
        end: query.end,
    };
    shared.history.scan_back(&wanted, below, |stored| {
        if is_wanted(&stored.event, query, meter) {
            page.put(|| owned_of_history(stored));
        }
        if page.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(page.found)
}

/// The part of a list that was asked for, as it fills.
struct Page {
    skip: usize,
    limit: usize,
    found: Vec<StoredEvent>,
}

impl Page {
    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    fn put(&mut self, event: impl FnOnce() -> StoredEvent) {
        if self.skip > 0 {
            self.skip -= 1;
        } else {
            self.found.push(event());
        }
    }
}

fn owned_of_history(stored: &history::Stored<'_>) -> StoredEvent {
    let history::Stored { lsn, received_at, event } = stored;
    Seen { lsn: *lsn, received_at: *received_at, event: event.clone() }.into_stored()
}

fn is_wanted(event: &Event<'_>, query: &EventQuery, meter: Option<&Meter>) -> bool {
    query.customer_id.as_ref().is_none_or(|id| event.customer_id == id.as_str())
        && query.event_name.as_ref().is_none_or(|name| event.name == name.as_str())
        && query.start.is_none_or(|start| event.timestamp >= start)
        && query.end.is_none_or(|end| event.timestamp < end)
        && meter.is_none_or(|meter| {
            event.name == meter.event_name.as_str()
                && meter.filter.as_ref().is_none_or(|filter| matches(filter, event))
        })
}

/// An event that still borrows from its frame.
struct Seen<'a> {
    lsn: Lsn,
    received_at: Timestamp,
    event: Event<'a>,
}

impl Seen<'_> {
    fn into_stored(self) -> StoredEvent {
        let Self { lsn, received_at, event } = self;
        StoredEvent {
            lsn,
            received_at,
            id: EventId::new(&*event.id),
            customer_id: CustomerId::new(&*event.customer_id),
            name: event.name.into_owned(),
            timestamp: event.timestamp,
            metadata: event.metadata.map(|members| {
                members.into_iter().map(|(key, value)| (key.into_owned(), owned(value))).collect()
            }),
        }
    }
}

fn owned(value: Scalar<'_>) -> MetadataValue {
    match value {
        Scalar::String(text) => MetadataValue::String(text.into_owned()),
        Scalar::Number(number) => MetadataValue::Number(number.as_str().to_owned()),
        Scalar::Boolean(value) => MetadataValue::Boolean(value),
    }
}

/// Shows the events of a frame to `visit`, newest first, until it says `false`.
fn visit_back(
    frame: &log::OwnedFrame,
    mut visit: impl FnMut(Seen<'_>) -> bool,
) -> Result<(), InspectError> {
    let entries = decode_payload(&frame.payload)?;
    let mut end = frame.first_lsn.plus(frame.count.into());
    for entry in entries.iter().rev() {
        let Body::Events(events) = &entry.body else {
            end = Lsn(end.0 - entry.body.lsn_count());
            continue;
        };
        for encoded in events.events.iter().rev() {
            end = end.previous();
            let event = events.event(encoded)?;
            if !visit(Seen { lsn: end, received_at: events.received_at, event }) {
                return Ok(());
            }
        }
    }
    Ok(())
}
