//! Alerts: whom they watch, where they have fired, and whose counters have moved since anybody looked.
//!
//! Applying a record notes who is *touched*: the pairs of customer and meter, and the pools, that some
//! alert watches, unless what is known of their [`headroom`] says that nothing can fire. A job compares
//! the touched with the thresholds ([`evaluate`]), from the counters, and the committer logs what fires
//! ([`watch`]). So an event costs a subtraction, and only where an alert watches; nobody ever looks at
//! all customers.

pub mod evaluate;
pub mod headroom;
pub mod requests;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::headroom::{Headroom, Headrooms};
use crate::engine::pools::PoolKey;
use crate::engine::stripes::Delta;
use crate::model::alert::{Alert, Crossing, CrossingKey, Watched};
use crate::model::notice::ThresholdTold;
use crate::model::{AlertId, AlertIndex, CustomerIndex, EntitlementIndex, MeterIndex, Timestamp};

/// Where alerts have fired lies in so many parts: a cut copies a pointer for each, and a crossing behind it
/// one part.
const PARTS: usize = 256;

/// Whose counters have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Touched {
    /// Usage of a meter.
    Usage(CustomerIndex, MeterIndex),
    /// A pool.
    Pool(PoolKey),
}

impl Touched {
    /// What an alert on it watches, and the customer.
    pub fn watched(self) -> (Watched, CustomerIndex) {
        match self {
            Self::Usage(customer, meter) => (Watched::Meter(meter), customer),
            Self::Pool(PoolKey { entitlement, customer }) => {
                (Watched::Entitlement(entitlement), customer)
            }
        }
    }
}

/// An alert, and how often it has fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAlert {
    /// The alert.
    pub alert: Arc<Alert>,
    /// For so many customers and periods.
    pub fired_count: u64,
    /// Log time of the last one.
    pub last_fired_at: Option<Timestamp>,
}

/// Alerts fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiredEntry {
    /// Each once.
    pub crossings: Vec<Crossing>,
    /// How long after the end of its period a crossing is remembered.
    pub kept_for: Duration,
}

/// Where alerts have fired, and until when that is remembered.
pub type Part = BTreeMap<CrossingKey, Timestamp>;

/// Whose counters have moved, each with the earliest instant that what has moved it is stamped with.
pub type Round = HashMap<Touched, Timestamp>;

/// The alerts of a snapshot's base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertsBase {
    /// In the order of their indexes; deleted ones are gone.
    pub all: Vec<KeptAlert>,
    /// The number that the next one gets.
    pub next: u32,
}

/// All alerts; see the module.
#[derive(Debug)]
pub struct Alerts {
    all: BTreeMap<AlertIndex, KeptAlert>,
    places: HashMap<AlertId, AlertIndex>,
    /// Those on one thing, of one customer or of all.
    of: HashMap<(Watched, Option<CustomerIndex>), BTreeSet<AlertIndex>>,
    /// How many there are on each thing.
    watched: HashMap<Watched, usize>,
    next: AlertIndex,
    fired: Vec<Arc<Part>>,
    /// The part that is swept next.
    sweep: usize,
    touched: Round,
    /// What was touched and is being looked at: a cut that is taken meanwhile must not lose it.
    looked_at: Arc<Round>,
    headrooms: Headrooms,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            places: HashMap::new(),
            of: HashMap::new(),
            watched: HashMap::new(),
            next: AlertIndex(0),
            fired: vec![Arc::default(); PARTS],
            sweep: 0,
            touched: Round::new(),
            looked_at: Arc::default(),
            headrooms: Headrooms::default(),
        }
    }
}

impl Alerts {
    /// The alerts of a snapshot; where they have fired, and who was touched, is loaded into them.
    pub fn at_checkpoint(base: AlertsBase) -> Self {
        let mut alerts = Self { next: AlertIndex(base.next), ..Self::default() };
        base.all.into_iter().for_each(|kept| alerts.insert(kept));
        alerts
    }

    /// The number that the next alert gets.
    pub fn next(&self) -> AlertIndex {
        self.next
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The alert with this id.
    pub fn by_id(&self, id: &AlertId) -> Option<&KeptAlert> {
        self.all.get(self.places.get(id)?)
    }

    /// Every alert, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &KeptAlert> {
        self.all.values()
    }

    /// How many alerts there are on one thing, of one customer or of all.
    pub fn count_on(&self, watched: Watched, customer: Option<CustomerIndex>) -> usize {
        self.of.get(&(watched, customer)).map_or(0, BTreeSet::len)
    }

    /// Those that watch one thing for a customer, oldest first.
    pub fn on(&self, watched: Watched, customer: CustomerIndex) -> Vec<Arc<Alert>> {
        let of_all = self.of.get(&(watched, None)).into_iter().flatten();
        let own = self.of.get(&(watched, Some(customer))).into_iter().flatten();
        let found = of_all.chain(own).filter_map(|index| self.all.get(index));
        found.map(|kept| Arc::clone(&kept.alert)).collect()
    }

    /// Whether any alert watches this for anybody.
    pub fn is_watched(&self, watched: Watched) -> bool {
        self.watched.contains_key(&watched)
    }

    /// The entitlements whose balances are watched.
    pub fn watched_entitlements(&self) -> HashSet<EntitlementIndex> {
        let entitlements = self.watched.keys().filter_map(|watched| match watched {
            Watched::Entitlement(entitlement) => Some(*entitlement),
            Watched::Meter(_) => None,
        });
        entitlements.collect()
    }

    /// Adds a new alert, or forgets one that was deleted.
    pub fn put(&mut self, alert: &Arc<Alert>) {
        if alert.deleted {
            self.forget(alert);
            return;
        }
        self.next = self.next.max(AlertIndex(alert.index.0 + 1));
        self.insert(KeptAlert { alert: Arc::clone(alert), fired_count: 0, last_fired_at: None });
    }

    fn insert(&mut self, kept: KeptAlert) {
        let alert = &kept.alert;
        let watched = alert.threshold.watched();
        self.places.insert(alert.id.clone(), alert.index);
        self.of.entry((watched, alert.customer)).or_default().insert(alert.index);
        *self.watched.entry(watched).or_default() += 1;
        if let Watched::Meter(meter) = watched {
            self.headrooms.watch(meter);
        }
        self.all.insert(alert.index, kept);
    }

    fn forget(&mut self, alert: &Alert) {
        if self.all.remove(&alert.index).is_none() {
            return;
        }
        self.places.remove(&alert.id);
        let watched = alert.threshold.watched();
        if let Some(of) = self.of.get_mut(&(watched, alert.customer)) {
            of.remove(&alert.index);
            if of.is_empty() {
                self.of.remove(&(watched, alert.customer));
            }
        }
        if let Some(count) = self.watched.get_mut(&watched) {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(&watched);
                if let Watched::Meter(meter) = watched {
                    self.headrooms.unwatch(meter);
                }
            }
        }
        for part in &mut self.fired {
            if part.keys().any(|key| key.alert == alert.index) {
                Arc::make_mut(part).retain(|key, _| key.alert != alert.index);
            }
        }
    }

    /// Whether an alert has fired for a customer in a period, as far as that is remembered.
    pub fn has_fired(&self, key: &CrossingKey) -> bool {
        self.fired.get(place(key.customer)).is_some_and(|part| part.contains_key(key))
    }

    /// Whether a crossing is news: its alert is there and has not fired for it.
    pub fn is_news(&self, crossing: &Crossing) -> bool {
        self.all.contains_key(&crossing.alert) && !self.has_fired(&crossing.key())
    }

    /// Alerts have fired: those for which that is news, with what was found. What nobody can ask for any more
    /// is forgotten now and then.
    pub fn fire(&mut self, entry: &FiredEntry, log_time: Timestamp) -> Vec<ThresholdTold> {
        let mut told = Vec::new();
        for crossing in &entry.crossings {
            if !self.is_news(crossing) {
                continue;
            }
            self.load_fired(crossing.key(), crossing.period.end.plus(entry.kept_for));
            if let Some(kept) = self.all.get_mut(&crossing.alert) {
                kept.fired_count += 1;
                kept.last_fired_at = Some(log_time);
                told.push(ThresholdTold { alert: Arc::clone(&kept.alert), crossing: *crossing });
            }
        }
        self.sweep = (self.sweep + 1) % PARTS;
        if let Some(part) = self.fired.get_mut(self.sweep)
            && part.values().any(|until| *until <= log_time)
        {
            Arc::make_mut(part).retain(|_, until| *until > log_time);
        }
        told
    }

    /// Loads where an alert has fired.
    pub fn load_fired(&mut self, key: CrossingKey, until: Timestamp) {
        if let Some(part) = self.fired.get_mut(place(key.customer)) {
            Arc::make_mut(part).insert(key, until);
        }
    }

    /// Counters have moved that some alert watches, by what is stamped with this instant. Whoever is touched has
    /// no headroom, so that whatever comes until somebody has looked touches again.
    pub fn touch(&mut self, touched: Touched, at: Timestamp) {
        if let Touched::Usage(customer, meter) = touched {
            self.headrooms.forget((customer, meter));
        }
        let known = self.touched.entry(touched).or_insert(at);
        *known = at.min(*known);
    }

    /// An event has been counted: it touches its customer when it may let an alert fire.
    pub fn count(&mut self, delta: &Delta) {
        if let Some(at) = self.headrooms.spend(delta) {
            self.touch(Touched::Usage(delta.key.customer, delta.key.meter), at);
        }
    }

    /// What is known of headroom on a meter does not hold any more.
    pub fn forget_headroom_on(&mut self, meter: MeterIndex) {
        self.headrooms.forget_meter(meter);
    }

    /// What is known of a customer's headroom does not hold any more.
    pub fn forget_headroom_of(&mut self, customer: CustomerIndex) {
        self.headrooms.forget_customer(customer);
    }

    /// All whose counters have moved: they are being looked at from now on. The round before is over.
    pub fn begin_round(&mut self) -> Arc<Round> {
        self.headrooms.begin_round();
        self.looked_at = Arc::new(std::mem::take(&mut self.touched));
        Arc::clone(&self.looked_at)
    }

    /// A customer's usage of a meter has been looked at, and this is how much may come. It says nothing when
    /// something has come since the round began.
    pub fn leave_headroom(&mut self, of: (CustomerIndex, MeterIndex), headroom: Headroom) {
        if !self.touched.contains_key(&Touched::Usage(of.0, of.1)) {
            self.headrooms.leave(of, headroom);
        }
    }

    /// Everybody of the round has been looked at: whatever fires by it is in the log.
    pub fn end_round(&mut self) {
        self.looked_at = Arc::default();
    }

    /// Who was taken could not all be looked at.
    pub fn put_back(&mut self) {
        let back = std::mem::take(&mut self.looked_at);
        back.iter().for_each(|(touched, since)| self.touch(*touched, *since));
    }

    /// Since when somebody has to be looked at, when that is so.
    pub fn touched_since(&self, touched: &Touched) -> Option<Timestamp> {
        let found = [self.touched.get(touched), self.looked_at.get(touched)];
        found.into_iter().flatten().min().copied()
    }

    /// Whether nobody has.
    pub fn is_settled(&self) -> bool {
        self.touched.is_empty() && self.looked_at.is_empty()
    }

    /// For a checkpoint: the alerts.
    pub fn base(&self) -> AlertsBase {
        AlertsBase { all: self.all.values().cloned().collect(), next: self.next.0 }
    }

    /// For a checkpoint: where they have fired, and who was touched.
    pub fn parts(&self) -> (Vec<Arc<Part>>, Vec<(Touched, Timestamp)>) {
        let fired = self.fired.iter().filter(|part| !part.is_empty()).map(Arc::clone);
        let touched = self.touched.iter().chain(self.looked_at.iter());
        (fired.collect(), touched.map(|(touched, since)| (*touched, *since)).collect())
    }
}

fn place(customer: CustomerIndex) -> usize {
    customer.position() % PARTS
}
