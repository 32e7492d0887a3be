//! The cut: the state at one LSN, as the committer hands it over, and what a snapshot holds of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::billing::credits::Mark;
use crate::engine::alerts::{self, AlertsBase, Touched};
use crate::engine::backfill::Backfills;
use crate::engine::bill_rows::BillRow;
use crate::engine::books::routes::SegmentKey;
use crate::engine::books::segments::{PendingKey, PendingSample, SegmentAccumulator};
use crate::engine::books::shelf::Drawers;
use crate::engine::catalogue::Catalogue;
use crate::engine::long_list::LongList;
use crate::engine::outbox::{KeptEndpoint, Outbox, OutboxCut};
use crate::engine::pools::{EntryDigest, KeptPool};
use crate::engine::reservations::{Part, Reservation, Reservations};
use crate::engine::rows::Row;
use crate::engine::state::{BillingMarks, MeterTotals, State};
use crate::engine::stripes::Key;
use crate::metering::accumulator::Accumulator;
use crate::model::{
    CreditEntitlement, EndpointIndex, Hour, Lsn, Meter, Product, Settings, Subscription, Timestamp,
};
use crate::world::sync::Mutex;
use crate::world::sync::atomic::{AtomicBool, Ordering};

/// The small parts of the state at a cut, and the rows that changed since the one before.
#[derive(Debug)]
pub struct Cut {
    pub(super) base: SnapshotBase,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) subscriptions: Drawers<Subscription>,
    pub(super) pools: Drawers<KeptPool>,
    pub(super) entries: Vec<EntryDigest>,
    pub(super) reservations: Vec<Arc<Part>>,
    pub(super) fired: Vec<Arc<alerts::Part>>,
    pub(super) touched: Vec<(Touched, Timestamp)>,
    pub(super) outbox: OutboxCut,
    pub(super) rows: LongList<Row>,
    /// The payments and invoices likewise.
    pub(super) bills: LongList<BillRow>,
    pub(super) memory_from: Hour,
}

/// Where a checkpoint waits for its cut: it wants one, and the committer gives it.
#[derive(Debug, Default)]
pub struct CutSlot {
    is_wanted: AtomicBool,
    cut: Mutex<Option<Cut>>,
}

impl CutSlot {
    /// Asks for a cut.
    pub fn want(&self) {
        self.is_wanted.store(true, Ordering::Release);
    }

    /// Whether one was asked for and not given yet.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Acquire)
    }

    /// Gives what was asked for.
    pub fn give(&self, cut: Cut) {
        *self.cut.lock() = Some(cut);
        self.is_wanted.store(false, Ordering::Release);
    }

    /// Takes what was given.
    pub fn take(&self) -> Option<Cut> {
        self.cut.lock().take()
    }
}

/// The first chunk of a snapshot: what the accumulators alone do not say.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotBase {
    /// The last LSN the snapshot reflects.
    pub lsn: Lsn,
    /// The log time there.
    pub log_time: Timestamp,
    /// The meters, in the order of their indexes.
    pub meters: Vec<Meter>,
    /// The settings.
    pub settings: Settings,
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

/// A chunk of a snapshot behind its base.
#[derive(Debug, Serialize, Deserialize)]
pub enum SnapshotChunk {
    /// Accumulators of hours.
    Hours(Vec<(Key, Accumulator)>),
    /// Subscriptions, in the order of their indexes.
    Subscriptions(Vec<Arc<Subscription>>),
    /// What segments of subscriptions have counted.
    Segments(Vec<(SegmentKey, SegmentAccumulator)>),
    /// Events whose time has not come.
    Pending(Vec<(PendingKey, PendingSample)>),
    /// Pools of credits, in the order of their indexes; behind the subscriptions.
    Pools(Vec<Arc<KeptPool>>),
    /// How far usage has come that draws credits.
    Marks(Vec<(SegmentKey, Mark)>),
    /// What manual entries are recognised by.
    Entries(Vec<EntryDigest>),
    /// Reservations of credits.
    Reservations(Vec<Arc<Reservation>>),
    /// Where alerts have fired.
    Fired(alerts::Part),
    /// Whose counters have moved that some alert watches.
    Touched(Vec<(Touched, Timestamp)>),
    /// Webhook endpoints, and the index that the next one gets.
    Endpoints(Vec<KeptEndpoint>, EndpointIndex),
}

impl Cut {
    /// Takes the cut; called by the committer with nothing in flight. Hours before `memory_from` take
    /// no new events from here on.
    pub fn take(state: &State, memory_from: Hour) -> Self {
        let catalogue = state.catalogue();
        let base = SnapshotBase {
            lsn: state.applied(),
            log_time: state.log_time(),
            meters: catalogue.meters().to_vec(),
            settings: catalogue.settings(),
            totals: state.totals(),
            events: state.event_count(),
            backfills: state.with_backfills(Backfills::clone),
            products: state.with_books(|books| books.products().to_vec()),
            entitlements: state.with_books(|books| books.entitlements.all().to_vec()),
            alerts: state.with_alerts(|alerts| alerts.base()),
            marks: state.billing_marks(),
        };
        let subscriptions = state.with_books(|books| books.subscriptions().drawers());
        let (pools, entries) = state.with_pools(|pools| (pools.all().drawers(), pools.entries()));
        let reservations = state.with_reservations(Reservations::parts);
        let (fired, touched) = state.with_alerts(|alerts| alerts.parts());
        let outbox = state.with_outbox(Outbox::cut);
        let (rows, bills) = state.take_rows();
        state.stripes().striped().begin_cut();
        state.segments().counted().begin_cut();
        state.segments().pending().begin_cut();
        state.segments().marks().begin_cut();
        Self {
            base,
            catalogue,
            subscriptions,
            pools,
            entries,
            reservations,
            fired,
            touched,
            outbox,
            rows,
            bills,
            memory_from,
        }
    }
}
