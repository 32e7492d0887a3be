//! What became of one event: which meters looked at it, what they saw, and where it was counted and billed.
//!
//! It is told from what is there now: the event as it stands in the log, the meters, the counters. Event
//! name, aggregation and filter of a meter never change; whether it was archived for a while when the event
//! came is not known.

use std::time::Duration;

use crate::engine::bills::{BillsError, Counted, Landing, landings};
use crate::engine::inspect;
use crate::engine::query::{self, Skipped, UsageQuery};
use crate::engine::{Engine, InspectError, StoredEvent, UsageError};
use crate::metering::evaluate::measure;
use crate::metering::explain::{JudgedFilter, ValueType, judge, owned, skip_in_words};
use crate::metering::{Kind, SkipReason};
use crate::model::customer::MetadataValue;
use crate::model::{CustomerIndex, EventId, Hour, Lsn, Meter, Period, Quantity};

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The event.
    pub event: StoredEvent,
    /// Whether it is stamped ahead of log time: it is in the hours already and enters subscriptions' periods
    /// when its time comes.
    pub waiting: bool,
    /// The meters of its name, archived ones too, in the order of their creation.
    pub meters: Vec<MeterExplanation>,
    /// It reflects every record up to here, and perhaps later ones.
    pub as_of_lsn: Lsn,
}

/// What one meter makes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterExplanation {
    /// The meter. While it is archived it counts nothing new.
    pub meter: Meter,
    /// Its filter with the truth of each clause; a meter without one takes every event of the name.
    pub filter: Option<JudgedFilter>,
    /// Whether the filter lets the event through.
    pub matched: bool,
    /// What stands under the key that the meter aggregates; a count has none.
    pub found: Option<MetadataValue>,
    /// What it takes, or why it takes nothing; nothing when the event does not match.
    pub outcome: Option<Result<Quantity, SkipReason>>,
    /// Why it takes nothing from an event that matches, for people.
    pub words: Option<String>,
    /// Whether the event came before the meter, which counted it afterwards: in the hours, and in no
    /// subscription's period.
    pub backfilled: bool,
    /// Whether the meter has yet to count events from before it.
    pub backfilling: bool,
    /// The counter of the event's UTC hour, when the event matches.
    pub counter: Option<HourCounter>,
    /// Where it is billed or was, when it is counted.
    pub landings: Vec<Landing>,
}

/// What one meter has counted of one customer in one UTC hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourCounter {
    /// The hour.
    pub period: Period,
    /// The aggregation of all its events.
    pub value: Quantity,
    /// Events of it that match and are not counted.
    pub skipped: Skipped,
}

/// Why an event cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The event could not be read.
    #[error("read the event")]
    Inspect(#[from] InspectError),
    /// The counter could not be read.
    #[error("read the counter")]
    Usage(#[from] UsageError),
    /// The invoices could not be read.
    #[error("read the invoices")]
    Bills(#[from] BillsError),
}

impl Engine {
    /// What became of one event; nothing when there is none. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`ExplainError`]
    pub fn explain(&self, id: &EventId) -> Result<Option<Explanation>, ExplainError> {
        let state = &self.shared.state;
        let as_of_lsn = state.applied();
        let Some(event) = inspect::event(&self.shared, id)? else { return Ok(None) };
        let catalogue = state.catalogue();
        let customer = state.with_accounts(|accounts| accounts.index(event.customer_id.as_str()));
        let of_name = catalogue.meters().iter().filter(|meter| meter.event_name == event.name);
        let meters: Result<Vec<_>, _> =
            of_name.map(|meter| self.explain_meter(meter, &event, customer)).collect();
        let waiting = event.timestamp >= state.log_time();
        Ok(Some(Explanation { waiting, meters: meters?, event, as_of_lsn }))
    }

    fn explain_meter(
        &self,
        meter: &Meter,
        stored: &StoredEvent,
        customer: Option<CustomerIndex>,
    ) -> Result<MeterExplanation, ExplainError> {
        let state = &self.shared.state;
        let event = stored.as_event();
        let backfill = state.with_backfills(|backfills| backfills.of(meter.index).copied());
        let backfilled = backfill.filter(|backfill| stored.lsn < backfill.created);
        let settings = match backfilled {
            Some(backfill) => backfill.settings,
            None => state.catalogue().settings(),
        };
        let filter = meter.filter.as_ref().map(|filter| judge(filter, &event));
        let matched = filter.as_ref().is_none_or(|filter| filter.holds);
        let key = meter.aggregation.key();
        let found = key.and_then(|key| event.get(key)).map(owned);
        let outcome = matched.then(|| measure(key, &event, settings));
        let words = outcome.and_then(Result::err).zip(key).map(|(reason, key)| {
            let kind = Kind::from(&meter.aggregation);
            skip_in_words(reason, (kind, key), found.as_ref().map(ValueType::from))
        });
        let counter = if matched { Some(self.hour_counter(meter, stored)?) } else { None };
        let enters = matches!(outcome, Some(Ok(_))) && backfilled.is_none();
        let landings = match customer.filter(|_| enters) {
            None => Vec::new(),
            Some(customer) => {
                let (meter, at, lsn) = (meter.index, stored.timestamp, stored.lsn);
                landings(&self.shared, Counted { customer, meter, at, lsn })?
            }
        };
        Ok(MeterExplanation {
            filter,
            matched,
            found,
            outcome,
            words,
            backfilled: backfilled.is_some(),
            backfilling: backfill.is_some_and(|backfill| backfill.delivered().is_some()),
            counter,
            landings,
            meter: meter.clone(),
        })
    }

    fn hour_counter(&self, meter: &Meter, event: &StoredEvent) -> Result<HourCounter, UsageError> {
        let start = Hour::of(event.timestamp).start();
        let period = Period { start, end: start.plus(Duration::from_hours(1)) };
        let usage = query::usage(
            &self.shared,
            &UsageQuery {
                meter_id: Some(meter.id.clone()),
                customer_id: Some(event.customer_id.clone()),
                start: period.start,
                end: period.end,
                interval: None,
                offset: 0,
                limit: 1,
            },
        )?;
        let item = usage.items.into_iter().next();
        Ok(HourCounter {
            period,
            value: item.as_ref().map_or(Quantity::ZERO, |item| item.total),
            skipped: item.map(|item| item.skipped).unwrap_or_default(),
        })
    }
}
