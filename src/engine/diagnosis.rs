//! How meters fare with the events that came last, and how one would that is not there yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::command::{NewMeter, Refused};
use crate::engine::decide;
use crate::engine::inspect;
use crate::engine::{Engine, EventQuery, InspectError, StoredEvent};
use crate::metering::diagnose::{Diagnoser, Diagnosis, Verdict};
use crate::metering::{Accumulator, Kind, Sample};
use crate::model::{EventId, MeterId, Period, Quantity, Timestamp};

/// Events that are looked at: the newest of the name by LSN.
pub const RECENT_EVENTS_MAX: usize = 500;
/// Events of a timestamp before this are not recent. It bounds how far back a name is searched for of which
/// there are few events, or none.
pub const RECENT: Duration = Duration::from_hours(30 * 24);
/// Events that a preview names of those that match, and of the others.
pub const PREVIEW_IDS_MAX: usize = 50;
/// The time of which a preview shows the value.
const VALUED: Duration = Duration::from_hours(24);

/// How a meter fares with the recent events of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterDiagnosis {
    /// What it makes of them.
    pub diagnosis: Diagnosis,
    /// Events of an earlier timestamp were not looked at.
    pub since: Timestamp,
    /// Whether there are no other recent events of the name than those that were looked at.
    pub is_all: bool,
}

/// How a meter that is not there yet would fare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterPreview {
    /// How it would fare with the recent events of its name.
    pub found: MeterDiagnosis,
    /// The newest events that its filter lets through, at most [`PREVIEW_IDS_MAX`].
    pub matching: Vec<EventId>,
    /// The newest that it does not, at most [`PREVIEW_IDS_MAX`].
    pub others: Vec<EventId>,
    /// The last 24 hours.
    pub valued: Period,
    /// What it makes of the events in them that were looked at, of all customers together.
    pub value: Quantity,
    /// How many those are that it counts.
    pub valued_events: u64,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// Such a meter cannot be made.
    #[error("make the meter")]
    Refused(#[from] Refused),
    /// Events could not be read.
    #[error("read recent events")]
    Inspect(#[from] InspectError),
}

/// The events that came last of a name.
struct Recent {
    events: Vec<StoredEvent>,
    since: Timestamp,
}

impl Recent {
    fn diagnosed(&self, diagnosis: Diagnosis) -> MeterDiagnosis {
        let is_all = self.events.len() < RECENT_EVENTS_MAX;
        MeterDiagnosis { diagnosis, since: self.since, is_all }
    }
}

impl Engine {
    /// How a meter fares with the recent events of its name. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`InspectError`]
    pub fn diagnosis(&self, id: &MeterId) -> Result<MeterDiagnosis, InspectError> {
        let mut of_one = self.diagnoses(std::slice::from_ref(id))?;
        of_one.pop().ok_or(InspectError::UnknownMeter)
    }

    /// How several meters fare, in their order; the events of a name are read once. Reads the disk: call it
    /// off the reactor.
    ///
    /// # Errors
    /// [`InspectError`]
    pub fn diagnoses(&self, ids: &[MeterId]) -> Result<Vec<MeterDiagnosis>, InspectError> {
        let catalogue = self.shared.state.catalogue();
        let mut of_name: BTreeMap<&str, Recent> = BTreeMap::new();
        let mut found = Vec::new();
        for id in ids {
            let meter = catalogue.meter(id).ok_or(InspectError::UnknownMeter)?;
            let name = meter.event_name.as_str();
            if !of_name.contains_key(name) {
                of_name.insert(name, self.recent(name)?);
            }
            let Some(recent) = of_name.get(name) else { continue };
            let (filter, settings) = (meter.filter.as_ref(), catalogue.settings());
            let mut diagnoser = Diagnoser::new(&meter.aggregation, filter, settings);
            for event in &recent.events {
                diagnoser.add(&event.as_event());
            }
            found.push(recent.diagnosed(diagnoser.finish()));
        }
        Ok(found)
    }

    /// How a meter would fare that is not there yet; nothing is made. Reads the disk: call it off the
    /// reactor.
    ///
    /// # Errors
    /// [`PreviewError`]
    pub fn preview_meter(&self, new: &NewMeter) -> Result<MeterPreview, PreviewError> {
        let now = self.now();
        decide::meters::create_meter(new, &self.shared.state, "".into(), now)?;
        let recent = self.recent(&new.event_name)?;
        let settings = self.shared.state.catalogue().settings();
        let mut diagnoser = Diagnoser::new(&new.aggregation, new.filter.as_ref(), settings);
        let valued = Period { start: now.minus(VALUED), end: self.shared.seen_from(now) };
        let kind = Kind::from(&new.aggregation);
        let mut accumulator = Accumulator::default();
        let (mut matching, mut others) = (Vec::new(), Vec::new());
        for event in &recent.events {
            let ids = match diagnoser.add(&event.as_event()) {
                Verdict::Stopped => &mut others,
                Verdict::Passed(outcome) => {
                    if let (Ok(value), true) = (outcome, valued.holds(event.timestamp)) {
                        let sample = Sample { value, at: event.timestamp, lsn: event.lsn };
                        accumulator.add(kind, sample);
                    }
                    &mut matching
                }
            };
            if ids.len() < PREVIEW_IDS_MAX {
                ids.push(event.id.clone());
            }
        }
        Ok(MeterPreview {
            found: recent.diagnosed(diagnoser.finish()),
            matching,
            others,
            valued,
            value: accumulator.value(kind),
            valued_events: accumulator.count(),
        })
    }

    fn recent(&self, event_name: &str) -> Result<Recent, InspectError> {
        let since = self.now().minus(RECENT);
        let query = EventQuery {
            event_name: Some(event_name.to_owned()),
            start: Some(since),
            limit: RECENT_EVENTS_MAX,
            ..EventQuery::default()
        };
        Ok(Recent { events: inspect::events(&self.shared, &query)?, since })
    }
}
