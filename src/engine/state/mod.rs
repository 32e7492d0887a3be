//! The state: what the log's records fold into.
//!
//! [`State::apply`] is the same function live and at recovery. It reads no clock, disk, randomness
//! or configuration, and cannot fail. One thread applies, in LSN order; any number read. Each part
//! has its own lock, held for a copy or a change. Of the parts' locks no two are held at once, but
//! those of the books, then of segments, then of the pools.

mod alerts;
mod billing;
pub mod credits;
mod outbox;
mod reservations;
mod totals;

use std::sync::Arc;

use crate::billing::credits::Ids;
use crate::engine::accounts::Accounts;
use crate::engine::alerts::{Alerts, AlertsBase, FiredEntry};
use crate::engine::backfill::{Backfill, Backfills};
use crate::engine::bill_rows::BillRow;
use crate::engine::books::Books;
use crate::engine::books::segments::Segments;
use crate::engine::catalogue::Catalogue;
use crate::engine::checkouts::Checkouts;
use crate::engine::everybody;
use crate::engine::long_list::LongList;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::settle::SettledEntry;
use crate::engine::packed::PackedBill;
use crate::engine::pools::Pools;
use crate::engine::record::{
    BackfilledEntry, Change, ChangeEntry, ClosedEntry, CreditsEntry, Identity, MarkedEntry,
};
use crate::engine::replies::{KeptAnswer, Replies, Reply};
use crate::engine::reservations::Reservations;
use crate::engine::rows::Row;
use crate::engine::stripes::{Delta, Stripes};
use crate::engine::waiting::Waiting;
use crate::model::{
    ApiKey, CreditEntitlement, Customer, CustomerId, CustomerIndex, Hour, Lsn, Product,
    Subscription, Timestamp,
};
use crate::world::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::world::sync::{Mutex, RwLock};

use totals::total_of;

pub use billing::BillingMarks;
pub use totals::MeterTotals;

/// A record in the form that is applied.
#[derive(Debug)]
pub enum Record {
    /// Admitted events.
    Events(Admitted),
    /// A catalogue object as it is from now on.
    Change(Box<ChangeEntry>),
    /// Log time moves to the record's own.
    ClockSet(Option<Identity>),
    /// A part of what a meter counts of the events before its creation.
    Backfilled(Box<BackfilledEntry>),
    /// A boundary has passed.
    PeriodTurned(Arc<Subscription>),
    /// A payment was made.
    CycleClosed(Box<ClosedEntry>, Option<PackedBill>),
    /// What became of a payment that waited.
    PaymentMarked(Box<MarkedEntry>),
    /// Credits were moved.
    CreditsMoved(Box<CreditsEntry>),
    /// Alerts fire.
    AlertsFired(Box<FiredEntry>),
    /// What became of attempts to deliver messages.
    WebhookSettled(Box<SettledEntry>),
}

/// A record that is being applied.
#[derive(Debug)]
struct Applying {
    lsn: Lsn,
    log_time: Timestamp,
    /// The ids of what it makes.
    ids: Ids,
}

/// What the admitted events of one request do, or of several in a row.
#[derive(Debug, Default)]
pub struct Admitted {
    /// How many there are; each takes one LSN.
    pub event_count: u64,
    /// Customers that did not exist, in the order of their indexes.
    pub created: Vec<(CustomerId, CustomerIndex)>,
    /// What they add to accumulators.
    pub deltas: Vec<Delta>,
    /// The requests, in order: each enters at its own log time, as it would by itself.
    pub requests: Vec<AdmittedRequest>,
}

/// A request among those that are applied together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmittedRequest {
    /// Its first LSN.
    pub lsn: Lsn,
    /// Its log time.
    pub log_time: Timestamp,
    /// Where its deltas end among those of all.
    pub deltas_end: usize,
}

/// What everything in memory comes to; see the module.
#[derive(Debug, Default)]
pub struct State {
    stripes: Stripes,
    accounts: RwLock<Accounts>,
    catalogue: RwLock<Arc<Catalogue>>,
    keys: RwLock<Vec<ApiKey>>,
    replies: Mutex<Replies>,
    totals: Mutex<Vec<MeterTotals>>,
    backfills: RwLock<Backfills>,
    books: RwLock<Books>,
    checkouts: RwLock<Checkouts>,
    segments: Segments,
    pools: Mutex<Pools>,
    reservations: Mutex<Reservations>,
    alerts: Mutex<Alerts>,
    outbox: Mutex<Outbox>,
    /// What the outbox wants to be told, which is asked several times a record.
    wanted: AtomicU64,
    marks: Mutex<BillingMarks>,
    /// Events that were ever admitted.
    events: AtomicU64,
    /// Rows that changed since the last cut, in order.
    rows: Mutex<Waiting>,
    /// Hours before this one are on disk and no longer in memory.
    memory_from: RwLock<Hour>,
    applied: AtomicU64,
    log_time: AtomicI64,
}

impl State {
    /// Applies the record whose first LSN is `lsn`.
    pub fn apply(&self, lsn: Lsn, log_time: Timestamp, record: &Record) {
        let mut now = Applying { lsn, log_time, ids: Ids::of(lsn) };
        self.end_checkouts(log_time);
        let mut last = lsn;
        match record {
            Record::Events(admitted) => {
                last = lsn.plus(admitted.event_count).previous();
                self.apply_events(last, &mut now, admitted);
            }
            Record::Change(entry) => {
                self.enter_due(&mut now);
                // An endpoint that is made or changed now wanted nothing of that, or something else.
                self.tell_credits();
                self.apply_change(&mut now, &entry.change);
                let answer = || KeptAnswer::Change(entry.change.clone());
                self.keep_reply(lsn, log_time, entry.identity, answer);
            }
            Record::ClockSet(identity) => {
                self.enter_due(&mut now);
                self.keep_reply(lsn, log_time, *identity, || KeptAnswer::Clock);
            }
            Record::Backfilled(entry) => {
                self.enter_due(&mut now);
                self.apply_backfilled(lsn, entry);
            }
            Record::PeriodTurned(subscription) => {
                self.enter_due(&mut now);
                self.apply_turned(&mut now, subscription);
            }
            Record::CycleClosed(entry, bill) => {
                self.enter_due(&mut now);
                self.apply_closed(&mut now, entry, bill.as_ref());
            }
            Record::PaymentMarked(entry) => {
                self.enter_due(&mut now);
                self.apply_marked(&mut now, entry);
            }
            Record::CreditsMoved(entry) => {
                self.enter_due(&mut now);
                self.apply_credits(&mut now, entry);
            }
            Record::AlertsFired(entry) => {
                self.enter_due(&mut now);
                self.apply_fired(&now, entry);
            }
            Record::WebhookSettled(entry) => {
                self.enter_due(&mut now);
                self.apply_settled(&now, entry);
            }
        }
        self.pass_on_pools(log_time);
        self.log_time.store(log_time.as_nanos(), Ordering::Release);
        self.applied.store(last.0, Ordering::Release);
    }

    fn apply_events(&self, last: Lsn, now: &mut Applying, admitted: &Admitted) {
        for (id, index) in &admitted.created {
            let customer = Customer::from_ingest(id.clone(), *index, now.log_time);
            self.rows.lock().push(Row::customer(&customer));
            self.accounts.write().put(customer);
        }
        let parts = everybody::parts(&admitted.deltas);
        let mut totals = self.totals.lock();
        for part in &parts {
            total_of(&mut totals, part.meter).merge(&MeterTotals::of(part));
        }
        drop(totals);
        self.stripes.apply(last, &admitted.deltas, &parts, *self.memory_from.read());
        self.enter(now, admitted);
        self.touch_usage(admitted);
        self.events.fetch_add(admitted.event_count, Ordering::AcqRel);
    }

    /// The hours are merged before the meter counts as complete, which readers look at first.
    fn apply_backfilled(&self, lsn: Lsn, entry: &BackfilledEntry) {
        if let Some(kind) = self.catalogue().kind(entry.meter) {
            if let Some(totals) = &entry.totals {
                total_of(&mut self.totals.lock(), entry.meter).merge(totals);
            }
            let from = *self.memory_from.read();
            self.stripes.merge(lsn, (entry.meter, kind), &entry.entries, from);
            self.alerts.lock().forget_headroom_on(entry.meter);
        }
        self.backfills.write().apply(entry);
    }

    fn apply_change(&self, now: &mut Applying, change: &Change) {
        match change {
            Change::Meter(meter) => {
                let catalogue = self.catalogue();
                let events = self.events.load(Ordering::Acquire);
                let is_created = catalogue.kind(meter.index).is_none();
                if is_created && events > 0 {
                    let settings = catalogue.settings();
                    let backfill = Backfill::pending(meter.index, now.lsn, events, settings);
                    self.backfills.write().begin(backfill);
                }
                let next = catalogue.with_meter(meter.clone());
                *self.catalogue.write() = Arc::new(next);
            }
            Change::Settings(settings) => {
                let next = self.catalogue().with_settings(*settings);
                *self.catalogue.write() = Arc::new(next);
            }
            Change::Customer(customer) => {
                self.rows.lock().push(Row::customer(customer));
                self.accounts.write().put(customer.clone());
            }
            Change::Key(key) => {
                let place = self.put_key(key.clone());
                self.rows.lock().push(Row::key(place, key));
            }
            Change::Product(product) => self.books.write().put_product(Arc::clone(product)),
            Change::Subscription(subscription) => {
                self.put_subscription(now, subscription);
            }
            Change::Checkout(session) => self.put_checkout(session),
            Change::Entitlement(entitlement) => {
                self.books.write().entitlements.put(Arc::clone(entitlement));
            }
            Change::Alert(alert) => self.put_alert(alert),
            Change::Endpoint(endpoint) => self.put_endpoint(now, endpoint),
            Change::Webhook(change) => self.apply_webhook(now, change),
        }
    }

    fn keep_reply(
        &self,
        lsn: Lsn,
        log_time: Timestamp,
        identity: Option<Identity>,
        answer: impl FnOnce() -> KeptAnswer,
    ) {
        if let Some(identity) = identity {
            let reply = Reply { identity, log_time, answer: answer() };
            self.rows.lock().push(Row::reply(lsn, &reply));
            self.replies.lock().put(lsn, reply);
        }
    }

    /// Puts a key in its place in the order of creation, and says which that is.
    fn put_key(&self, key: ApiKey) -> usize {
        let mut keys = self.keys.write();
        let place = keys.iter().position(|known| known.id == key.id).unwrap_or(keys.len());
        match keys.get_mut(place) {
            Some(known) => *known = key,
            None => keys.push(key),
        }
        place
    }

    /// The last LSN that reads reflect.
    pub fn applied(&self) -> Lsn {
        Lsn(self.applied.load(Ordering::Acquire))
    }

    /// The log time of the last record.
    pub fn log_time(&self) -> Timestamp {
        Timestamp::from_nanos(self.log_time.load(Ordering::Acquire))
    }

    /// The accumulators in memory.
    pub fn stripes(&self) -> &Stripes {
        &self.stripes
    }

    /// The meters and settings.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read())
    }

    /// Looks at the customers; nothing is applied meanwhile, so `look` only copies.
    pub fn with_accounts<T>(&self, look: impl FnOnce(&Accounts) -> T) -> T {
        look(&self.accounts.read())
    }

    /// Looks at the kept answers.
    pub fn with_replies<T>(&self, look: impl FnOnce(&mut Replies) -> T) -> T {
        look(&mut self.replies.lock())
    }

    /// Forgets kept answers and ended reservations that are too old at `now`, of each at most so many.
    pub fn forget_old(&self, now: Timestamp, at_most: usize) {
        let old = self.replies.lock().forget_old(now, at_most);
        self.rows.lock().extend(old.into_iter().map(Row::no_reply));
        self.reservations.lock().forget_old(now, at_most);
    }

    /// The key with this id, deleted or not.
    pub fn key(&self, id: &str) -> Option<ApiKey> {
        self.keys.read().iter().find(|key| key.id.as_str() == id).cloned()
    }

    /// Every key, deleted ones too, oldest first.
    pub fn keys(&self) -> Vec<ApiKey> {
        self.keys.read().clone()
    }

    /// What each meter has seen, in the order of their indexes; trailing zeros may be missing.
    pub fn totals(&self) -> Vec<MeterTotals> {
        self.totals.lock().clone()
    }

    /// Looks at the backfills; `look` only copies.
    pub fn with_backfills<T>(&self, look: impl FnOnce(&Backfills) -> T) -> T {
        look(&self.backfills.read())
    }

    /// Events that were ever admitted.
    pub fn event_count(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// Reads accumulators while the line between memory and disk stands still; `read` gets the first
    /// hour in memory and only copies.
    pub fn with_memory<T>(&self, read: impl FnOnce(Hour, &Stripes) -> T) -> T {
        let from = self.memory_from.read();
        read(*from, &self.stripes)
    }

    /// Hours before this one are on disk, complete, and no longer in memory.
    pub fn memory_from(&self) -> Hour {
        *self.memory_from.read()
    }

    /// Moves the line: hours before `hour` are on disk from now on.
    pub fn move_memory_from(&self, hour: Hour) {
        *self.memory_from.write() = hour;
    }

    /// About how many bytes of memory the rows take that wait for a checkpoint, but those of ledgers and
    /// messages.
    pub fn waiting_bytes(&self) -> usize {
        self.rows.lock().bytes()
    }

    /// Takes the rows, and the payments and invoices, that changed since the last call.
    pub fn take_rows(&self) -> (LongList<Row>, LongList<BillRow>) {
        let (mut rows, bills) = self.rows.lock().take();
        rows.extend(self.pools.lock().take_rows());
        rows.extend(self.outbox.lock().take_rows());
        (rows, bills)
    }

    /// A state that stands at a checkpoint; accumulators, customers, keys and answers are loaded
    /// into it afterwards.
    pub fn at_checkpoint(base: CheckpointBase) -> Self {
        let mut books = Books::default();
        base.entitlements.into_iter().for_each(|entitlement| books.entitlements.put(entitlement));
        base.products.into_iter().for_each(|product| books.put_product(product));
        let alerts = Alerts::at_checkpoint(base.alerts);
        let mut pools = Pools::default();
        pools.watch(alerts.watched_entitlements());
        Self {
            books: RwLock::new(books),
            pools: Mutex::new(pools),
            alerts: Mutex::new(alerts),
            marks: Mutex::new(base.marks),
            catalogue: RwLock::new(Arc::new(base.catalogue)),
            totals: Mutex::new(base.totals),
            backfills: RwLock::new(base.backfills),
            events: AtomicU64::new(base.events),
            memory_from: RwLock::new(base.memory_from),
            applied: AtomicU64::new(base.lsn.0),
            log_time: AtomicI64::new(base.log_time.as_nanos()),
            ..Self::default()
        }
    }

    /// Loads a customer row.
    pub fn load_customer(&self, customer: Customer) {
        self.accounts.write().put(customer);
    }

    /// Loads a key row.
    pub fn load_key(&self, key: ApiKey) {
        self.put_key(key);
    }

    /// Loads a kept answer.
    pub fn load_reply(&self, lsn: Lsn, reply: Reply) {
        self.replies.lock().put(lsn, reply);
    }
}

/// The small parts of a checkpoint.
#[derive(Debug)]
pub struct CheckpointBase {
    /// The last LSN it reflects.
    pub lsn: Lsn,
    /// The log time there.
    pub log_time: Timestamp,
    /// The first hour in memory.
    pub memory_from: Hour,
    /// Meters and settings.
    pub catalogue: Catalogue,
    /// What each meter has seen.
    pub totals: Vec<MeterTotals>,
    /// Events that were ever admitted.
    pub events: u64,
    /// What became of the events before each meter.
    pub backfills: Backfills,
    /// The products, in the order of their indexes.
    pub products: Vec<Arc<Product>>,
    /// The credit entitlements, in the order of their indexes.
    pub entitlements: Vec<Arc<CreditEntitlement>>,
    /// The alerts.
    pub alerts: AlertsBase,
    /// How far billing has come.
    pub marks: BillingMarks,
}
