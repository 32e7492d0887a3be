//! The straight lines of the daemon, one verb a file, over one log and one folded state.
//!
//! [`recover::open`] makes a [`machine::Machine`] out of a data directory; [`threads::Threads`] runs
//! it, or a test steps it; [`Engine`] is what requests see of it.

pub mod accounts;
pub mod alerts;
pub mod backfill;
pub mod bill_rows;
pub mod bills;
pub mod books;
pub mod catalogue;
pub mod checkouts;
pub mod checkpoint;
pub mod clock_file;
pub mod clock_guard;
pub mod command;
pub mod commit;
pub mod counters;
pub mod decide;
pub mod diagnosis;
pub mod directory;
pub mod encoder;
pub mod everybody;
pub mod explain;
pub mod flush;
pub mod forgotten;
pub mod health;
pub mod incarnation;
pub mod inspect;
pub mod invoicing;
pub mod key;
pub mod leaders;
pub mod long_list;
pub mod machine;
pub mod open_error;
pub mod options;
pub mod outbox;
pub mod outcomes;
pub mod outline;
pub mod packed;
pub mod places;
pub mod pools;
pub mod prepare;
pub mod query;
pub mod record;
pub mod recover;
pub mod refused;
pub mod replay;
pub mod replies;
pub mod reservations;
pub mod rows;
pub mod seal;
pub mod series;
pub mod shared;
pub mod skim;
pub mod source;
pub mod state;
pub mod striped;
pub mod stripes;
pub mod threads;
pub mod usage_rows;
pub mod verify;
pub mod waiting;
pub mod weight;
pub mod wide;
pub mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::engine::commit::Submission;
use crate::engine::decide::Proposal;
use crate::engine::reservations::Reservations;
use crate::engine::shared::{Arriving, Shared};
use crate::metering::{Rejection, Rules};
use crate::model::{
    ApiKey, Customer, CustomerId, CustomerIndex, EventId, KeyId, Lsn, Meter, MeterId, MeterIndex,
    Scope, Timestamp,
};
use crate::world::entropy;
use crate::world::sync::atomic::Ordering;

pub use backfill::{BackfillState, BackfillStatus};
pub use command::{Changed, Command, Outcome, Refused, RequestIdentity};
pub use health::{Pulse, Readiness, Recovery, Resources, Stats};
pub use inspect::{EventQuery, InspectError, StoredEvent};
pub use prepare::{Preparation, Prepared};
pub use query::{Usage, UsageError, UsageQuery};

/// A running engine as requests see it; clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What became of an ingest request that was admitted; every number is durable when it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// Events that were new.
    pub new: u32,
    /// Events whose id was known.
    pub duplicates: u32,
    /// Those duplicates whose content differs from the first copy's.
    pub conflicts: u32,
    /// The LSN of the request's last new event, or the last LSN at the time when there is none.
    pub lsn: Lsn,
}

/// What customers a list asks for; every given field must match.
#[derive(Clone, Debug, Default)]
pub struct CustomerFilter {
    /// The whole address, without regard to case. An empty one matches nobody.
    pub email: Option<String>,
    /// A part of the name, without regard to case.
    pub name: Option<String>,
    /// Created at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Created at this instant or earlier.
    pub created_to: Option<Timestamp>,
}

/// One page of a list: skip `offset` entries, take at most `limit`.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Entries to skip.
    pub offset: usize,
    /// Entries to return at most.
    pub limit: usize,
}

/// The clock as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// What the wall clock (or the test clock) shows.
    pub now: Timestamp,
    /// The log time.
    pub log_time: Timestamp,
    /// Whether it is a test clock.
    pub is_test: bool,
    /// Whether work that is due waits because the clock is in doubt.
    pub in_doubt: bool,
}

/// The id that a configured key is known by in digests of requests.
const CONFIGURED_KEY: &str = "configured";

impl Engine {
    /// The view of requests on what an engine's parts share.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The wall clock, or the test clock: the `received_at` of a request that arrives now.
    pub fn now(&self) -> Timestamp {
        self.shared.world.clock.wall()
    }

    /// The rules that events are validated under.
    pub fn rules(&self) -> Rules {
        self.shared.options.rules
    }

    /// Begins to prepare a request of about `events` events that arrived at `received_at`, off the
    /// committer.
    pub fn preparation<'a>(&self, received_at: Timestamp, events: usize) -> Preparation<'_, 'a> {
        Preparation::new(&self.shared, received_at, events)
    }

    /// Hands a prepared request to the committer. `reply` is called once, after the request's
    /// events are durable or the request was refused; it is dropped uncalled when the log fails.
    pub fn submit(
        &self,
        prepared: Prepared,
        reply: impl FnOnce(Result<Ingested, Refused>) + Send + 'static,
    ) {
        if self.shared.storage_full.load(Ordering::Acquire) {
            reply(Err(Refused::StorageFull));
            return;
        }
        self.shared.submit_events(prepared, Box::new(reply));
    }

    /// Hands a change to the committer; `reply` as for [`Engine::submit`].
    pub fn change(
        &self,
        command: Command,
        identity: Option<RequestIdentity>,
        reply: impl FnOnce(Result<Changed, Refused>) + Send + 'static,
    ) {
        let proposal = Box::new(Proposal { command, identity });
        self.shared.submit(Submission::Change(proposal, Box::new(reply)));
    }

    /// Notes that a request with events has arrived, until what this gives is dropped.
    pub fn arriving(&self) -> Arriving {
        Arriving::new(Arc::clone(&self.shared))
    }

    /// Counts an event that was refused before it reached the engine.
    pub fn count_refused(&self, rejection: &Rejection) {
        self.shared.counters.rule_broken(rejection.rule.name());
    }

    /// The key with this text, when there is one and it is not deleted.
    pub fn authenticate(&self, text: &str) -> Option<(KeyId, Scope)> {
        let digest = key::digest(&self.shared.incarnation.key_pepper, text);
        let stored = key::key_id(text).and_then(|id| self.shared.state.key(id));
        if let Some(stored) = stored.filter(|stored| stored.deleted_at.is_none())
            && key::matches(&stored.digest, &digest)
        {
            return Some((stored.id, stored.scope));
        }
        let mut configured = self.shared.configured_keys.iter();
        configured
            .any(|known| key::matches(known, &digest))
            .then(|| (KeyId::new(CONFIGURED_KEY), Scope::Admin))
    }

    /// What the key with this id may do now; nothing once it is deleted.
    pub fn scope_of(&self, key: &KeyId) -> Option<Scope> {
        if key.as_str() == CONFIGURED_KEY {
            // It stands in the configuration for as long as this process runs.
            return Some(Scope::Admin);
        }
        let stored = self.shared.state.key(key.as_str());
        stored.filter(|stored| stored.deleted_at.is_none()).map(|stored| stored.scope)
    }

    /// 32 random bytes that nobody else has.
    pub fn secret(&self) -> [u8; 32] {
        entropy::draw(&*self.shared.world.entropy)
    }

    /// The digest under which the engine keeps a key with this text.
    pub fn key_digest(&self, text: &str) -> crate::model::KeyDigest {
        key::digest(&self.shared.incarnation.key_pepper, text)
    }

    /// Live or archived meters, newest first.
    pub fn meters(&self, archived: bool, page: Page) -> Vec<Meter> {
        let catalogue = self.shared.state.catalogue();
        let newest_first = catalogue.meters().iter().rev();
        let wanted = newest_first.filter(|meter| meter.archived == archived);
        wanted.skip(page.offset).take(page.limit).cloned().collect()
    }

    /// One meter.
    pub fn meter(&self, id: &MeterId) -> Option<Meter> {
        self.shared.state.catalogue().meter(id).cloned()
    }

    /// How far a meter has counted the events before its creation.
    pub fn backfill(&self, meter: MeterIndex) -> BackfillStatus {
        backfill::status(&self.shared, meter)
    }

    /// Customers that match, newest first.
    pub fn customers(&self, filter: &CustomerFilter, page: Page) -> Vec<Customer> {
        self.shared.state.with_accounts(|accounts| accounts.list(filter, page))
    }

    /// The newest customers, or those before one of them, newest first: no others are looked at.
    pub fn customers_before(
        &self,
        below: Option<CustomerIndex>,
        limit: usize,
    ) -> Vec<Arc<Customer>> {
        self.shared.state.with_accounts(|accounts| accounts.before(below, limit))
    }

    /// The ids of customers in the order of their creation, from an index on.
    pub fn customer_ids(&self, from: CustomerIndex, limit: usize) -> Vec<CustomerId> {
        self.shared.state.with_accounts(|accounts| accounts.ids(from, limit))
    }

    /// Customers whose address begins so, without regard to case, in the order of addresses.
    pub fn customers_addressed(&self, prefix: &str, limit: usize) -> Vec<Arc<Customer>> {
        self.shared.state.with_accounts(|accounts| accounts.addressed_like(prefix, limit))
    }

    /// One customer.
    pub fn customer(&self, id: &CustomerId) -> Option<Customer> {
        let found = self.shared.state.with_accounts(|accounts| accounts.get(id.as_str()));
        found.map(Arc::unwrap_or_clone)
    }

    /// Keys that are not deleted, newest first.
    pub fn keys(&self) -> Vec<ApiKey> {
        let keys = self.shared.state.keys();
        keys.into_iter().rev().filter(|key| key.deleted_at.is_none()).collect()
    }

    /// Usage of meters and customers over whole hours. May read the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`UsageError`]
    pub fn usage(&self, query: &UsageQuery) -> Result<Usage, UsageError> {
        query::usage(&self.shared, query)
    }

    /// One event. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`InspectError`]
    pub fn event(&self, id: &EventId) -> Result<Option<StoredEvent>, InspectError> {
        inspect::event(&self.shared, id)
    }

    /// The event with this LSN, when it is one and is still kept. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`InspectError`]
    pub fn event_at(&self, lsn: Lsn) -> Result<Option<StoredEvent>, InspectError> {
        inspect::event_at(&self.shared, lsn)
    }

    /// Events, newest first by LSN. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`InspectError`]
    pub fn events(&self, query: &EventQuery) -> Result<Vec<StoredEvent>, InspectError> {
        inspect::events(&self.shared, query)
    }

    /// The clock.
    pub fn clock(&self) -> ClockState {
        let now = self.now();
        let is_empty = self.shared.state.applied() == Lsn::ZERO;
        ClockState {
            now,
            // Before the first record nothing holds log time back.
            log_time: if is_empty { now } else { self.shared.state.log_time() },
            is_test: self.shared.is_test_clock(),
            in_doubt: self.shared.clock_in_doubt(),
        }
    }

    /// Whether the daemon can serve, and what is wrong when it cannot.
    pub fn readiness(&self) -> Readiness {
        Readiness {
            // Requests see an engine only once it has recovered.
            recovered: true,
            log_writable: !self.shared.poisoned.load(Ordering::Acquire),
            disk_above_reserve: !self.shared.storage_full.load(Ordering::Acquire),
        }
    }

    /// What the daemon has of the machine. Asks the disk: call it off the reactor.
    pub fn resources(&self) -> Resources {
        Resources {
            free_bytes: self.shared.world.disk.free_bytes().ok(),
            reserve_bytes: self.shared.options.reserve_bytes,
            resident_bytes: crate::world::memory::resident_bytes(),
        }
    }

    /// What the last start had to do.
    pub fn recovery(&self) -> Recovery {
        self.shared.counters.recovery()
    }

    /// What has happened since the start: cheap enough to be asked for all the time.
    pub fn pulse(&self) -> Pulse {
        self.shared.counters.pulse(self.shared.state.applied())
    }

    /// Numbers for the metrics page.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.shared.counters.read(&mut stats);
        self.shared.read_storage_stats(&mut stats);
        stats.queue_bytes = self.shared.queue_bytes.load(Ordering::Relaxed);
        let segments = self.shared.state.segments();
        let accumulators = self.shared.state.stripes().striped().len() + segments.counted().len();
        stats.accumulators = accumulators as u64;
        stats.pending_samples = segments.pending_count() as u64;
        let billing = self.billing_status();
        (stats.billing_overdue, stats.subscriptions_stopped) = (billing.overdue, billing.stopped);
        self.shared.state.with_books(|books| {
            stats.subscriptions = books.subscriptions().len() as u64;
            stats.invoices = books.payments.invoice_count();
            stats.credit_entitlements = books.entitlements.all().len() as u64;
        });
        self.shared.state.with_pools(|pools| {
            stats.credit_pools = pools.all().len() as u64;
            stats.credit_pools_unsettled = pools.unsettled_count() as u64;
            stats.credit_ledger_rows = pools.rows_made();
        });
        stats.credit_reservations_open =
            self.shared.state.with_reservations(Reservations::open_count) as u64;
        stats.alerts = self.shared.state.with_alerts(|alerts| alerts.len()) as u64;
        for endpoint in self.webhook_endpoints(None, usize::MAX) {
            stats.webhook_endpoints += 1;
            stats.webhook_endpoints_disabled += u64::from(endpoint.disabled.is_some());
            stats.webhook_endpoints_failing += u64::from(endpoint.failing_since.is_some());
        }
        (stats.refused_kept, stats.refused_dropped) = self.shared.insight.refused.counts();
        stats.last_lsn = self.shared.state.applied();
        stats
    }
}
