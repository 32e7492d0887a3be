//! Single events, read back from the log.

use crate::engine::record::{Body, PayloadError, decode_payload};
use crate::engine::shared::Shared;
use crate::metering::filter::matches;
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::{CustomerId, Event, EventId, Lsn, Meter, MeterId, Scalar, Timestamp};
use crate::storage::{index, log};

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
    /// The id index could not be read.
    #[error("look up the event id")]
    Index(#[from] index::Error),
    /// The log holds something else than events.
    #[error("decode the log")]
    Payload(#[from] PayloadError),
}

/// The event with this id, when one was admitted and its id is still remembered.
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
    // An id of a group that is still being written is known, but not yet visible.
    let Some(lsn) = hit.map(|hit| hit.lsn).filter(|lsn| *lsn <= shared.state.applied()) else {
        return Ok(None);
    };
    let Some(frame) = shared.log.read_lsn(lsn)? else { return Ok(None) };
    let mut found = None;
    visit_back(&frame, |stored| {
        if stored.lsn == lsn {
            found = Some(stored.into_stored());
        }
        found.is_none()
    })?;
    Ok(found)
}

/// Events that match, newest first by LSN.
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
    let mut skip = query.offset;
    let mut found = Vec::new();
    if query.limit == 0 {
        return Ok(found);
    }
    for frame in shared.log.frames_back(shared.state.applied()) {
        visit_back(&frame?, |stored| {
            if is_wanted(&stored.event, query, meter) {
                if skip > 0 {
                    skip -= 1;
                } else {
                    found.push(stored.into_stored());
                }
            }
            found.len() < query.limit
        })?;
        if found.len() >= query.limit {
            break;
        }
    }
    Ok(found)
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
