//! What the engine must hold, in the simplest words: lists of everything, and no shortcuts.

use std::collections::{BTreeMap, BTreeSet};

use super::rig::{Sent, Value};
use crate::engine::command::{Command, NewCustomer, NewMeter, Outcome};
use crate::engine::options::{Options, UnknownCustomers};
use crate::engine::{Ingested, StoredEvent};
use crate::metering::{Kind, Rule};
use crate::model::customer::MetadataValue;
use crate::model::{
    ApiKey, Clauses, Customer, CustomerId, CustomerIndex, CustomerOrigin, EventId, FilterValue,
    Lsn, Meter, MeterId, MeterIndex, Timestamp,
};

/// An admitted event.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub lsn: u64,
    pub received_at: Timestamp,
    pub at: Timestamp,
    pub sent: Sent,
}

/// Why an event is not counted, in the order of the engine's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    Missing,
    NotANumber,
    OutOfRange,
}

/// What one event means to one meter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub meter: usize,
    pub customer: usize,
    pub at: Timestamp,
    pub lsn: u64,
    pub units: Result<i128, Skip>,
}

/// The whole of what was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub options: Options,
    pub lsn: u64,
    pub log_time: Timestamp,
    pub events: Vec<Kept>,
    pub counted: Vec<Counted>,
    pub meters: Vec<Meter>,
    pub customers: Vec<Customer>,
    pub keys: Vec<ApiKey>,
    pub numeric_strings: bool,
    by_id: BTreeMap<String, usize>,
}

impl Model {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            lsn: 0,
            log_time: Timestamp::default(),
            events: Vec::new(),
            counted: Vec::new(),
            meters: Vec::new(),
            customers: Vec::new(),
            keys: Vec::new(),
            numeric_strings: false,
            by_id: BTreeMap::new(),
        }
    }

    pub(super) fn knows(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn event(&self, id: &str) -> Option<StoredEvent> {
        self.by_id.get(id).map(|place| self.events[*place].stored())
    }

    /// The events whose ids must still be known at `now`: those that arrived within the window.
    pub(super) fn remembered(&self, now: Timestamp) -> &[Kept] {
        let window = self.options.dedupe_window;
        let from = if window.is_zero() { Timestamp::MIN } else { now.minus(window) };
        let first = self.events.partition_point(|kept| kept.received_at < from);
        &self.events[first..]
    }

    pub(super) fn customer(&self, id: &str) -> Option<usize> {
        self.customers.iter().position(|customer| customer.id.as_str() == id)
    }

    /// Admits one request that arrived at `received_at` and is decided at `now`, or says which
    /// event breaks which rule.
    pub(super) fn ingest(
        &mut self,
        sent: &[Sent],
        received_at: Timestamp,
        now: Timestamp,
    ) -> Result<Ingested, (usize, Rule)> {
        self.refuse(sent, received_at)?;
        let known: Vec<bool> = sent.iter().map(|sent| self.knows(&sent.id)).collect();
        let conflicts = sent.iter().filter(|sent| {
            let first = self.by_id.get(&sent.id).map(|place| &self.events[*place].sent);
            first.is_some_and(|first| first != *sent)
        });
        let conflicts = u32::try_from(conflicts.count()).unwrap();
        if known.contains(&false) {
            self.log_time = self.log_time.max(now);
            self.create_customers(sent, &known);
        }
        for (sent, known) in sent.iter().zip(&known) {
            if !known {
                self.keep(sent, received_at);
            }
        }
        let duplicates = u32::try_from(known.iter().filter(|known| **known).count()).unwrap();
        let new = u32::try_from(sent.len()).unwrap() - duplicates;
        Ok(Ingested { new, duplicates, conflicts, lsn: Lsn(self.lsn) })
    }

    fn refuse(&self, sent: &[Sent], received_at: Timestamp) -> Result<(), (usize, Rule)> {
        let mut seen = BTreeSet::new();
        if let Some(place) = sent.iter().position(|sent| !seen.insert(&sent.id)) {
            return Err((place, Rule::RepeatedId));
        }
        let rules = self.options.rules;
        for (place, sent) in sent.iter().enumerate().filter(|(_, sent)| !self.knows(&sent.id)) {
            let at = sent.at.unwrap_or(received_at);
            if at < received_at.minus(rules.max_age) {
                return Err((place, Rule::TooOld));
            }
            if at > received_at.plus(rules.max_ahead) {
                return Err((place, Rule::TooFarAhead));
            }
            if self.options.unknown_customers == UnknownCustomers::Reject
                && self.customer(&sent.customer).is_none()
            {
                return Err((place, Rule::UnknownCustomer));
            }
        }
        Ok(())
    }

    /// Customers are numbered in the order in which the request first names them.
    fn create_customers(&mut self, sent: &[Sent], known: &[bool]) {
        let mut named = Vec::new();
        for sent in sent {
            if !named.contains(&sent.customer) {
                named.push(sent.customer.clone());
            }
        }
        for id in named {
            let has_new = sent.iter().zip(known).any(|(sent, known)| sent.customer == id && !known);
            if has_new && self.customer(&id).is_none() {
                let index = CustomerIndex(u32::try_from(self.customers.len()).unwrap());
                let id = CustomerId::new(id);
                self.customers.push(Customer::from_ingest(id, index, self.log_time));
            }
        }
    }

    fn keep(&mut self, sent: &Sent, received_at: Timestamp) {
        self.lsn += 1;
        let at = sent.at.unwrap_or(received_at);
        let kept = Kept { lsn: self.lsn, received_at, at, sent: sent.clone() };
        let live = self.meters.iter().filter(|meter| !meter.archived);
        let counted: Vec<_> = live.filter_map(|meter| self.count(meter, &kept)).collect();
        self.counted.extend(counted);
        self.by_id.insert(sent.id.clone(), self.events.len());
        self.events.push(kept);
    }

    /// What an event means to a meter, when it passes.
    fn count(&self, meter: &Meter, kept: &Kept) -> Option<Counted> {
        let sent = &kept.sent;
        if meter.event_name != sent.name || !passes(meter, sent) {
            return None;
        }
        let units = match meter.aggregation.key() {
            None => Ok(ONE),
            Some(key) => units(sent.metadata.iter().find(|(k, _)| k == key), self),
        };
        let customer = self.customer(&sent.customer).expect("its event created it");
        let (meter, at, lsn) = (meter.index.position(), kept.at, kept.lsn);
        Some(Counted { meter, customer, at, lsn, units })
    }

    /// So many records of backfills were logged at `now`.
    pub(super) fn backfilled(&mut self, records: u64, now: Timestamp) {
        if records > 0 {
            self.lsn += records;
            self.log_time = self.log_time.max(now);
        }
    }

    /// The settings that a start logs when they differ from the last ones.
    pub(super) fn start(&mut self, now: Timestamp) {
        if self.numeric_strings != self.options.settings.numeric_strings {
            self.numeric_strings = self.options.settings.numeric_strings;
            self.lsn += 1;
            self.log_time = self.log_time.max(now);
        }
    }

    /// Makes a change of `command` as decided at `now`, or refuses it. `generated` is the id that
    /// the engine drew.
    pub(super) fn change(
        &mut self,
        command: &Command,
        now: Timestamp,
        generated: &str,
    ) -> Option<Object> {
        let at = self.log_time.max(now);
        let object = self.object(command, at, generated)?;
        (self.lsn, self.log_time) = (self.lsn + 1, at);
        match &object {
            Object::Meter(meter) => {
                if meter.index.position() == self.meters.len() {
                    // A new meter counts every event that ever was.
                    let before = self.events.iter();
                    let before: Vec<_> =
                        before.filter_map(|kept| self.count(meter, kept)).collect();
                    self.counted.extend(before);
                }
                put(&mut self.meters, meter.index.position(), meter);
            }
            Object::Customer(customer) => {
                put(&mut self.customers, customer.index.position(), customer);
            }
            Object::Key(key) => {
                let place = self.keys.iter().position(|known| known.id == key.id);
                let place = place.unwrap_or(self.keys.len());
                put(&mut self.keys, place, key);
            }
        }
        Some(object)
    }

    fn object(&self, command: &Command, at: Timestamp, generated: &str) -> Option<Object> {
        let meter = |id: &MeterId| self.meters.iter().find(|meter| meter.id == *id).cloned();
        let archive = |id: &MeterId, archived| {
            let meter = meter(id)?;
            let updated_at = if meter.archived == archived { meter.updated_at } else { at };
            Some(Object::Meter(Meter { updated_at, archived, ..meter }))
        };
        match command {
            Command::CreateMeter(new) => Some(Object::Meter(self.new_meter(new, at, generated))),
            Command::UpdateMeter(id, patch) => {
                let mut meter = Meter { updated_at: at, ..meter(id)? };
                set(&mut meter.name, patch.name.as_ref());
                set(&mut meter.description, patch.description.as_ref());
                set(&mut meter.measurement_unit, patch.measurement_unit.as_ref());
                Some(Object::Meter(meter))
            }
            Command::ArchiveMeter(id) => archive(id, true),
            Command::UnarchiveMeter(id) => archive(id, false),
            Command::CreateCustomer(new) => self.new_customer(new, at, generated),
            Command::UpdateCustomer(id, patch) => {
                let known = self.customers[self.customer(id.as_str())?].clone();
                let mut customer = Customer { updated_at: at, ..known };
                set(&mut customer.name, patch.name.as_ref());
                set(&mut customer.email, patch.email.as_ref());
                set(&mut customer.phone_number, patch.phone_number.as_ref());
                set(&mut customer.preferred_locale, patch.preferred_locale.as_ref());
                set(&mut customer.metadata, patch.metadata.as_ref());
                Some(Object::Customer(customer))
            }
            Command::CreateKey(new) => {
                let is_known = self.keys.iter().any(|key| key.id == new.id);
                let (id, name, scope) = (new.id.clone(), new.name.clone(), new.scope);
                let (created_at, deleted_at) = (at, None);
                let key = ApiKey { id, name, scope, digest: new.digest, created_at, deleted_at };
                (!is_known).then_some(Object::Key(key))
            }
            Command::DeleteKey(id) => {
                let live = |key: &&ApiKey| key.id == *id && key.deleted_at.is_none();
                let key = self.keys.iter().find(live).cloned()?;
                Some(Object::Key(ApiKey { deleted_at: Some(at), ..key }))
            }
            Command::EnterCredits(_)
            | Command::Reserve(_)
            | Command::ReleaseReservation(_)
            | Command::CreateProduct(_)
            | Command::UpdateProduct(..)
            | Command::ArchiveProduct(_)
            | Command::UnarchiveProduct(_)
            | Command::CreateAlert(_)
            | Command::DeleteAlert(_)
            | Command::CreateEntitlement(_)
            | Command::UpdateEntitlement(..)
            | Command::DeleteEntitlement(_)
            | Command::UndeleteEntitlement(_)
            | Command::CreateSubscription(_)
            | Command::UpdateSubscription(..)
            | Command::ChangePlan(..)
            | Command::CancelScheduledChange(_)
            | Command::Charge(..)
            | Command::CreateCheckout(_)
            | Command::ConfirmCheckout(..)
            | Command::MarkPayment(..)
            | Command::RetryPayment(_) => panic!("this model bills nothing"),
            Command::Webhook(_) => panic!("this model tells nobody"),
            Command::AdvanceClock(_) | Command::ConfirmClock => {
                panic!("the clock is no object")
            }
        }
    }

    fn new_meter(&self, new: &NewMeter, at: Timestamp, generated: &str) -> Meter {
        Meter {
            id: MeterId::new(generated),
            index: MeterIndex(u32::try_from(self.meters.len()).unwrap()),
            name: new.name.clone(),
            description: new.description.clone(),
            event_name: new.event_name.clone(),
            measurement_unit: new.measurement_unit.clone(),
            aggregation: new.aggregation.clone(),
            filter: new.filter.clone(),
            created_at: at,
            updated_at: at,
            archived: false,
        }
    }

    fn new_customer(&self, new: &NewCustomer, at: Timestamp, generated: &str) -> Option<Object> {
        let id = new.id.clone().unwrap_or_else(|| CustomerId::new(generated));
        let known = self.customer(id.as_str()).map(|place| &self.customers[place]);
        if known.is_some_and(|known| known.created_by == CustomerOrigin::Api) {
            return None;
        }
        let next = CustomerIndex(u32::try_from(self.customers.len()).unwrap());
        Some(Object::Customer(Customer {
            id,
            index: known.map_or(next, |known| known.index),
            name: new.name.clone(),
            email: new.email.clone(),
            phone_number: new.phone_number.clone(),
            preferred_locale: new.preferred_locale.clone(),
            metadata: new.metadata.clone(),
            created_at: known.map_or(at, |known| known.created_at),
            updated_at: at,
            created_by: CustomerOrigin::Api,
        }))
    }
}

/// What a change leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Meter(Meter),
    Customer(Customer),
    Key(ApiKey),
}

impl Object {
    /// The object of the engine's answer.
    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Meter(meter) => Self::Meter(meter),
            Outcome::Customer(customer) => Self::Customer(customer),
            Outcome::Key(key) => Self::Key(key),
            Outcome::Product(_)
            | Outcome::Entitlement(_)
            | Outcome::Alert(_)
            | Outcome::Subscription(_)
            | Outcome::Checkout(_)
            | Outcome::LedgerEntry(_)
            | Outcome::Reservation(_)
            | Outcome::Payment(_) => {
                panic!("this model bills nothing")
            }
            Outcome::Endpoint(_) | Outcome::Queued => panic!("this model tells nobody"),
            Outcome::Clock(_) => panic!("the clock is no object"),
        }
    }

    pub(super) fn id(&self) -> &str {
        match self {
            Self::Meter(meter) => meter.id.as_str(),
            Self::Customer(customer) => customer.id.as_str(),
            Self::Key(key) => key.id.as_str(),
        }
    }
}

impl Kept {
    pub(super) fn stored(&self) -> StoredEvent {
        let Sent { id, customer, name, metadata, .. } = &self.sent;
        let pairs = metadata.iter().map(|(key, value)| {
            let value = match value {
                Value::Number(text) => MetadataValue::Number(text.clone()),
                Value::Text(text) => MetadataValue::String(text.clone()),
                Value::Flag(flag) => MetadataValue::Boolean(*flag),
            };
            (key.clone(), value)
        });
        StoredEvent {
            lsn: Lsn(self.lsn),
            received_at: self.received_at,
            id: EventId::new(id.as_str()),
            customer_id: CustomerId::new(customer.as_str()),
            name: name.clone(),
            timestamp: self.at,
            metadata: (!metadata.is_empty()).then(|| pairs.collect()),
        }
    }
}

fn put<T: Clone>(list: &mut Vec<T>, place: usize, item: &T) {
    match list.get_mut(place) {
        Some(known) => known.clone_from(item),
        None => list.push(item.clone()),
    }
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

/// 1 in units of 10^-12.
pub(super) const ONE: i128 = 1_000_000_000_000;

/// The only filters that tests use: one text must be equal.
pub(super) fn passes(meter: &Meter, sent: &Sent) -> bool {
    let Some(filter) = &meter.filter else { return true };
    let Clauses::Conditions(conditions) = &filter.clauses else { panic!("not used") };
    conditions.iter().all(|condition| {
        let FilterValue::String(wanted) = &condition.value else { panic!("not used") };
        sent.metadata.contains(&(condition.key.clone(), Value::Text(wanted.clone())))
    })
}

fn units(found: Option<&(String, Value)>, model: &Model) -> Result<i128, Skip> {
    match found {
        None => Err(Skip::Missing),
        Some((_, Value::Number(text))) => parse(text).ok_or(Skip::NotANumber),
        Some((_, Value::Text(text))) if model.numeric_strings => {
            parse(text).ok_or(Skip::NotANumber)
        }
        Some((_, Value::Text(_) | Value::Flag(_))) => Err(Skip::NotANumber),
    }
    .and_then(
        |units| if units.abs() < 1_000 * ONE * ONE { Ok(units) } else { Err(Skip::OutOfRange) },
    )
}

/// Units of a plain decimal with at most twelve fractional digits.
fn parse(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let units: i128 = format!("{whole}{fraction:0<12}").parse().ok()?;
    Some(sign * units)
}

impl Model {
    pub(super) fn kind(&self, meter: usize) -> Kind {
        Kind::from(&self.meters[meter].aggregation)
    }
}
