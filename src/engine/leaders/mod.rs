//! The customers that use most of a meter, in this UTC month and on this UTC day.
//!
//! Nothing of it costs an event anything, nothing is written, and nobody who asks waits for it: a meter that
//! is asked about is *watched* for some minutes, and a job ([`ranker`]) goes over its accumulators again and
//! again, a piece at a time. It first gathers what stands in rows, once and whenever hours leave memory; then,
//! whenever anything was applied, what is in memory. Each round looks at every customer that has used any, so
//! that it does not matter whether counters rise or fall: the list is exact for the state between the LSN that
//! it names and the end of the round, and misses nobody.

pub mod ranker;
mod sheet;

use std::sync::Arc;

use crate::engine::shared::Shared;
use crate::engine::{Engine, UsageError};
use crate::model::{CustomerId, CustomerIndex, Lsn, MeterId, MeterIndex, Period, Quantity};
use crate::world::sync::Mutex;

/// Customers on a list.
pub const LEADERS_MAX: usize = 100;
/// Meters that are watched at once; the one that was asked about longest ago is dropped. With a million
/// customers each takes some 32 MB.
const WATCHED_MAX: usize = 4;
/// Looks of the job after which nobody asks for a meter any more: ten minutes.
const UNASKED_MAX: u32 = 6_000;

/// The meters that somebody asks about, and what was found.
#[derive(Debug, Default)]
pub struct Leaders(Mutex<Vec<Watched>>);

#[derive(Debug)]
struct Watched {
    meter: MeterIndex,
    /// Looks of the job since somebody has asked.
    unasked: u32,
    found: Option<Arc<Found>>,
}

/// What one round has found.
#[derive(Debug)]
pub(in crate::engine) struct Found {
    pub month: Ranked,
    pub day: Ranked,
    /// What was applied when the round began.
    pub as_of_lsn: Lsn,
}

/// The list of one period.
#[derive(Debug)]
pub(in crate::engine) struct Ranked {
    pub period: Period,
    /// Largest first, those that used as much in the order of their creation.
    pub customers: Vec<(CustomerIndex, Quantity)>,
    /// How many have used any at all.
    pub count: u64,
}

/// The customers that use most of a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopCustomers {
    /// In this UTC month; nothing until the first round is over.
    pub month: Option<Ranking>,
    /// On this UTC day; nothing until the first round is over.
    pub day: Option<Ranking>,
    /// The lists reflect every record up to here, and perhaps later ones.
    pub as_of_lsn: Lsn,
    /// Whether the meter has yet to count events that came before it was made.
    pub backfilling: bool,
}

/// The customers that use most in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// The period.
    pub period: Period,
    /// At most [`LEADERS_MAX`], largest first, those that used as much in the order of their creation.
    pub items: Vec<TopCustomer>,
    /// How many customers have events of the meter in the period.
    pub customers: u64,
}

/// A customer on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopCustomer {
    /// The customer.
    pub customer_id: CustomerId,
    /// The aggregation over the period.
    pub value: Quantity,
}

impl Leaders {
    /// Watches a meter from now on; what was found of it last.
    fn ask(&self, meter: MeterIndex) -> Option<Arc<Found>> {
        let mut all = self.0.lock();
        let known = all.iter().position(|watched| watched.meter == meter);
        let mut watched = match known {
            Some(place) => all.remove(place),
            None => Watched { meter, unasked: 0, found: None },
        };
        watched.unasked = 0;
        let found = watched.found.clone();
        // The one that was asked about last stands first.
        all.insert(0, watched);
        all.truncate(WATCHED_MAX);
        found
    }

    /// The watched meters, after another look of the job.
    fn look(&self) -> Vec<MeterIndex> {
        let mut all = self.0.lock();
        for watched in all.iter_mut() {
            watched.unasked += 1;
        }
        all.retain(|watched| watched.unasked <= UNASKED_MAX);
        all.iter().map(|watched| watched.meter).collect()
    }

    fn forget(&self, meter: MeterIndex) {
        self.0.lock().retain(|watched| watched.meter != meter);
    }

    fn put(&self, meter: MeterIndex, found: Found) {
        let mut all = self.0.lock();
        if let Some(watched) = all.iter_mut().find(|watched| watched.meter == meter) {
            watched.found = Some(Arc::new(found));
        }
    }
}

impl Engine {
    /// The customers that use most of a meter, as the last round has found them. Asking begins the rounds, and
    /// keeps them up for ten minutes.
    ///
    /// # Errors
    /// [`UsageError::UnknownMeter`]
    pub fn top_customers(&self, id: &MeterId) -> Result<TopCustomers, UsageError> {
        let state = &self.shared.state;
        let meter = state.catalogue().meter(id).map(|meter| meter.index);
        let meter = meter.ok_or(UsageError::UnknownMeter)?;
        let backfilling = state.with_backfills(|backfills| backfills.is_pending(meter));
        let found = self.shared.insight.leaders.ask(meter);
        Ok(TopCustomers {
            month: found.as_ref().map(|found| ranking(&self.shared, &found.month)),
            day: found.as_ref().map(|found| ranking(&self.shared, &found.day)),
            as_of_lsn: found.map_or(Lsn::ZERO, |found| found.as_of_lsn),
            backfilling,
        })
    }
}

fn ranking(shared: &Shared, ranked: &Ranked) -> Ranking {
    let items = shared.state.with_accounts(|accounts| {
        let named = ranked.customers.iter().filter_map(|(customer, value)| {
            Some(TopCustomer { customer_id: accounts.id_at(*customer)?.clone(), value: *value })
        });
        named.collect()
    });
    Ranking { period: ranked.period, items, customers: ranked.count }
}
