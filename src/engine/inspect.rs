//! Single events, read back from the log and from history.

use std::iter;
use std::ops::{ControlFlow, RangeInclusive};

use crate::engine::forgotten::remembered_from;
use crate::engine::record::PayloadError;
use crate::engine::shared::Shared;
use crate::engine::skim::{Found, FoundEvent, Sought};
use crate::metering::explain;
use crate::metering::filter::matches;
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::{CustomerId, Event, EventId, Lsn, Meter, MeterId, Number, Scalar, Timestamp};
use crate::storage::index::{Hit, IdHash};
use crate::storage::{history, index, log};

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

impl StoredEvent {
    /// The event as it was admitted, but for whether the client gave the timestamp.
    pub fn as_event(&self) -> Event<'_> {
        let members = self.metadata.as_ref().map(|members| {
            let scalars = members.iter().filter_map(|(key, value)| {
                let value = match value {
                    MetadataValue::String(text) => Scalar::String(text.into()),
                    MetadataValue::Number(text) => Scalar::Number(Number::new(text)?),
                    MetadataValue::Boolean(value) => Scalar::Boolean(*value),
                };
                Some((key.into(), value))
            });
            scalars.collect()
        });
        Event {
            id: self.id.as_str().into(),
            customer_id: self.customer_id.as_str().into(),
            name: self.name.as_str().into(),
            timestamp: self.timestamp,
            timestamp_given: true,
            metadata: members,
        }
    }
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
    /// Of a smaller LSN than this: where the page before has ended.
    pub below: Option<Lsn>,
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
    let found = find(shared, id)?;
    shared.counters.read_back(u64::from(found.is_some()));
    Ok(found)
}

fn find(shared: &Shared, id: &EventId) -> Result<Option<StoredEvent>, InspectError> {
    let hash = shared.hasher.hash(id.as_str());
    let recent = shared.generations.lock().find(hash);
    let hit = match recent {
        Some(hit) => Some(hit),
        None => shared.index.view().look_up(&[hash])?.into_iter().next().flatten(),
    };
    let Some(Hit { lsn, .. }) = hit else {
        // Beyond the window the id may come again, but its event is kept longer.
        return match forgotten_in_log(shared, hash, id)? {
            Some(found) => Ok(Some(found)),
            None => Ok(shared.history.find(hash, id.as_str(), owned_of_history)?),
        };
    };
    // An id of a group that is still being written is known, but not yet visible.
    if lsn > shared.state.applied() {
        return Ok(None);
    }
    at(shared, lsn)
}

/// The event with this LSN, when it is one and is still kept.
///
/// # Errors
/// [`InspectError`]
pub(in crate::engine) fn event_at(
    shared: &Shared,
    lsn: Lsn,
) -> Result<Option<StoredEvent>, InspectError> {
    if lsn == Lsn::ZERO || lsn > shared.state.applied() {
        return Ok(None);
    }
    let found = at(shared, lsn)?;
    shared.counters.read_back(u64::from(found.is_some()));
    Ok(found)
}

fn at(shared: &Shared, lsn: Lsn) -> Result<Option<StoredEvent>, InspectError> {
    if lsn <= shared.history.last_lsn() {
        return Ok(shared.history.at(lsn, owned_of_history)?);
    }
    let Some(frame) = shared.log.read_lsn(lsn)? else {
        // It went into history meanwhile.
        return Ok(shared.history.at(lsn, owned_of_history)?);
    };
    let sought = Sought { lsns: lsn..=lsn, ..Sought::default() };
    newest(&frame.payload, frame.first_lsn, &sought)
}

/// The newest event of a payload that is looked for.
fn newest(
    payload: &[u8],
    first_lsn: Lsn,
    sought: &Sought<'_>,
) -> Result<Option<StoredEvent>, InspectError> {
    let mut newest = None;
    Found::in_payload(payload, first_lsn, sought)?.visit_back(|found| {
        newest = Some(owned_of_log(&found));
        false
    })?;
    Ok(newest)
}

/// The newest event with this id in the part of the log that the index has forgotten.
///
/// # Errors
/// [`InspectError`]
pub(in crate::engine) fn forgotten_in_log(
    shared: &Shared,
    hash: IdHash,
    id: &EventId,
) -> Result<Option<StoredEvent>, InspectError> {
    let Some(remembered_from) = remembered_from(shared) else { return Ok(None) };
    let first = shared.history.last_lsn().next();
    let (candidates, unknown) = shared.forgotten.candidates(hash, first);
    let newest_first = iter::once(unknown..=shared.state.applied()).chain(candidates);
    for lsns in newest_first {
        let found = newest_in_log(shared, lsns, remembered_from, id)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The newest event with this id in a range of the log, as far as log time has not come to an instant.
fn newest_in_log(
    shared: &Shared,
    lsns: RangeInclusive<Lsn>,
    before: Timestamp,
    id: &EventId,
) -> Result<Option<StoredEvent>, InspectError> {
    let sought = Sought { lsns: lsns.clone(), id: Some(id.as_str()), ..Sought::default() };
    let mut found = None;
    let visited = shared.log.visit(lsns, |frame| {
        if frame.log_time >= before {
            return Err(Ended::Remembered);
        }
        let in_frame = newest(frame.payload, frame.first_lsn, &sought).map_err(Ended::Failed)?;
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
    let event_name = meter.map(|meter| &meter.event_name).or(query.event_name.as_ref());
    let wanted = history::Query {
        customer_id: query.customer_id.as_ref().map(CustomerId::as_str),
        event_name: event_name.map(|name| &**name),
        start: query.start,
        end: query.end,
    };
    let mut page = Page {
        meter,
        below: query.below,
        skip: query.offset,
        limit: query.limit,
        found: Vec::new(),
        read: 0,
    };
    page.fill(shared, &wanted)?;
    shared.counters.read_back(page.read);
    Ok(page.found)
}

/// The part of a list that was asked for, as it fills.
struct Page<'m> {
    /// Whose filter must match; everything else was looked at before.
    meter: Option<&'m Meter>,
    below: Option<Lsn>,
    skip: usize,
    limit: usize,
    found: Vec<StoredEvent>,
    /// How many events were looked at.
    read: u64,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    fn fill(&mut self, shared: &Shared, wanted: &history::Query<'_>) -> Result<(), InspectError> {
        if self.is_full() {
            return Ok(());
        }
        let below = self.fill_from_log(shared, wanted)?;
        if self.is_full() {
            return Ok(());
        }
        // Where the log ended, history goes on: a segment leaves the log only after it is there.
        shared.history.scan_back(wanted, below, |stored| {
            self.put(&stored.event, || owned_of_history(stored));
            if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(())
    }

    fn put(&mut self, event: &Event<'_>, stored: impl FnOnce() -> StoredEvent) {
        self.read += 1;
        let filter = self.meter.and_then(|meter| meter.filter.as_ref());
        if filter.is_some_and(|filter| !matches(filter, event)) {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
        } else {
            self.found.push(stored());
        }
    }

    /// Takes what is wanted from the log, newest first, and returns the LSN below which nothing was
    /// looked at. Only frames that can have some of it are read.
    fn fill_from_log(
        &mut self,
        shared: &Shared,
        wanted: &history::Query<'_>,
    ) -> Result<Lsn, InspectError> {
        let history::Query { customer_id, event_name, start, end } = *wanted;
        let mut sought = Sought { customer_id, event_name, start, end, ..Sought::default() };
        let from = shared.history.last_lsn().next();
        let behind = shared.state.applied().next();
        let mut below = self.below.map_or(behind, |below| below.min(behind));
        while from < below && !self.is_full() {
            let lsns = shared.outline.newest_below(below, &shared.outline.wanted(&sought));
            let first = from.max(*lsns.start());
            sought.lsns = first..=*lsns.end();
            let reached = shared.log.visit_back(sought.lsns.clone(), |frame| {
                self.take_from(&frame, &sought)?;
                let is_full = self.is_full();
                Ok::<_, InspectError>(if is_full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })?;
            if first < reached {
                // The rest went into history meanwhile.
                return Ok(reached);
            }
            below = first;
        }
        Ok(below)
    }

    fn take_from(
        &mut self,
        frame: &log::Frame<'_>,
        sought: &Sought<'_>,
    ) -> Result<(), InspectError> {
        let found = Found::in_payload(frame.payload, frame.first_lsn, sought)?;
        found.visit_back(|found| {
            self.put(&found.event, || owned_of_log(&found));
            !self.is_full()
        })?;
        Ok(())
    }
}

fn owned_of_history(stored: &history::Stored<'_>) -> StoredEvent {
    owned(stored.lsn, stored.received_at, &stored.event)
}

fn owned_of_log(found: &FoundEvent<'_>) -> StoredEvent {
    owned(found.lsn, found.received_at, &found.event)
}

fn owned(lsn: Lsn, received_at: Timestamp, event: &Event<'_>) -> StoredEvent {
    StoredEvent {
        lsn,
        received_at,
        id: EventId::new(&*event.id),
        customer_id: CustomerId::new(&*event.customer_id),
        name: event.name.clone().into_owned(),
        timestamp: event.timestamp,
        metadata: event.metadata.as_ref().map(|members| {
            members
                .iter()
                .map(|(key, value)| (key.clone().into_owned(), explain::owned(value)))
                .collect()
        }),
    }
}
