//! Random requests and changes, as clients of all sorts would send them.

use std::time::Duration;

use super::dice::Dice;
use super::model::Model;
use super::rig::{Sent, Value};
use crate::engine::command::{Command, CustomerPatch, MeterPatch, NewCustomer, NewKey, NewMeter};
use crate::model::customer::MetadataValue;
use crate::model::{
    Aggregation, Clauses, Condition, Conjunction, CustomerId, Filter, FilterValue, KeyDigest,
    KeyId, MeterId, Operator, Scope, Timestamp,
};

/// The customers that events name; fewer are found by a draw than are known by another.
const CUSTOMERS: u64 = 7;

/// Draws what happens next.
#[derive(Debug)]
pub(super) struct Story {
    pub dice: Dice,
    seed: u64,
    ids: u64,
}

impl Story {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), seed, ids: 0 }
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        // Two stories of one history must not tell of the same event.
        format!("event-{}-{}", self.seed, self.ids)
    }

    fn customer(&self) -> String {
        format!("cus-{}", self.dice.below(CUSTOMERS))
    }

    /// One to six events; some known, some known with other content, rarely one that is refused.
    pub(super) fn request(&mut self, model: &Model, now: Timestamp) -> Vec<Sent> {
        let mut sent = Vec::new();
        let known = model.remembered(now);
        for _ in 0..=self.dice.below(6) {
            sent.push(match self.dice.below(8) {
                0 if !known.is_empty() => self.dice.pick(known).sent.clone(),
                1 if !known.is_empty() => {
                    self.dice.pick(known).sent.clone().with("changed", Value::Flag(true))
                }
                _ => self.event(model, now),
            });
        }
        // Seldom the same id twice, which is against the rules.
        if !self.dice.one_in(20) {
            sent.sort_by(|left, right| left.id.cmp(&right.id));
            sent.dedup_by(|left, right| left.id == right.id);
        }
        sent
    }

    /// A new event, stamped anywhere that is allowed, rarely just outside.
    pub(super) fn event(&mut self, model: &Model, now: Timestamp) -> Sent {
        let customer = self.customer();
        let rules = model.options.rules;
        let mut event = Sent::new(self.id(), &customer);
        if self.dice.one_in(3) {
            "store".clone_into(&mut event.name);
        }
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap();
        let (age, ahead) = (seconds(rules.max_age), seconds(rules.max_ahead));
        event.at = match self.dice.below(40) {
            0..12 => None,
            12 => Some(now.minus(rules.max_age + Duration::from_nanos(1))),
            13 => Some(now.plus(rules.max_ahead + Duration::from_nanos(1))),
            14 => Some(now.minus(rules.max_age)),
            15 => Some(now.plus(rules.max_ahead)),
            // Whole minutes, so that equal timestamps happen.
            16..26 => Some(moved(now, self.dice.within(-age / 60..ahead / 60 + 1) * 60)),
            _ => Some(moved(now, self.dice.within(-age..ahead + 1))),
        };
        if let Some(value) = self.value() {
            event = event.with("tokens", value);
        }
        if self.dice.one_in(2) {
            let kind = *self.dice.pick(&["a", "b"]);
            event = event.with("kind", Value::Text(kind.to_owned()));
        }
        event
    }

    fn value(&self) -> Option<Value> {
        let number = |text: String| Some(Value::Number(text));
        match self.dice.below(12) {
            0 => None,
            1 => Some(Value::Flag(true)),
            2 => Some(Value::Text("many".to_owned())),
            3 => Some(Value::Text("12.5".to_owned())),
            4 => number("1000000000000000".to_owned()),
            5 => number("-999999999999999.999999999999".to_owned()),
            6 => number(format!("{}.000000000001", self.dice.below(3))),
            7 => number(format!("-{}.{:03}", self.dice.below(50), self.dice.below(1_000))),
            _ => number(self.dice.below(100).to_string()),
        }
    }

    /// A change of anything; some are refused.
    pub(super) fn command(&mut self, model: &Model) -> Command {
        match self.dice.below(10) {
            0 | 1 => Command::CreateMeter(self.meter()),
            2 => Command::ArchiveMeter(self.meter_id(model)),
            3 => Command::UnarchiveMeter(self.meter_id(model)),
            4 => {
                let name = self.id();
                let description = Some(self.dice.one_in(2).then_some(name.clone()));
                let patch = MeterPatch { name: Some(name), description, measurement_unit: None };
                Command::UpdateMeter(self.meter_id(model), patch)
            }
            5 | 6 => Command::CreateCustomer(self.new_customer()),
            7 => {
                let patch = CustomerPatch {
                    name: Some(self.id()),
                    phone_number: Some(self.dice.one_in(2).then(|| "123".to_owned())),
                    ..CustomerPatch::default()
                };
                Command::UpdateCustomer(CustomerId::new(self.customer()), patch)
            }
            8 => Command::CreateKey(self.key()),
            _ if model.keys.is_empty() => Command::DeleteKey(KeyId::new("nobody")),
            _ => Command::DeleteKey(self.dice.pick(&model.keys).id.clone()),
        }
    }

    /// A change whose object's id the client chooses.
    pub(super) fn named_command(&mut self, model: &Model) -> Command {
        loop {
            let command = self.command(model);
            let is_unnamed = matches!(
                command,
                Command::CreateMeter(_) | Command::CreateCustomer(NewCustomer { id: None, .. })
            );
            if !is_unnamed {
                return command;
            }
        }
    }

    fn meter_id(&self, model: &Model) -> MeterId {
        if model.meters.is_empty() || self.dice.one_in(10) {
            return MeterId::new("mtr_unknown");
        }
        self.dice.pick(&model.meters).id.clone()
    }

    fn meter(&mut self) -> NewMeter {
        let key = "tokens".to_owned();
        let aggregation = match self.dice.below(4) {
            0 => Aggregation::Count,
            1 => Aggregation::Sum { key },
            2 => Aggregation::Max { key },
            _ => Aggregation::Last { key },
        };
        let event_name = *self.dice.pick(&["call", "call", "store"]);
        let filter = self.dice.one_in(3).then(|| equals("kind", "a"));
        NewMeter { name: self.id(), filter, ..meter_of(event_name, aggregation) }
    }

    fn new_customer(&mut self) -> NewCustomer {
        let name = self.id();
        let metadata = vec![("plan".to_owned(), MetadataValue::Number("1.50".to_owned()))];
        NewCustomer {
            id: (!self.dice.one_in(3)).then(|| CustomerId::new(self.customer())),
            email: format!("{name}@Example.org"),
            name,
            phone_number: None,
            preferred_locale: Some("de".to_owned()),
            metadata,
        }
    }

    fn key(&mut self) -> NewKey {
        // Not in the order of their creation.
        let id = KeyId::new(format!("key{:03}", self.dice.below(1_000)));
        let scope = *self.dice.pick(&[Scope::Ingest, Scope::Read, Scope::Admin]);
        NewKey { id, name: self.id(), scope, digest: KeyDigest([7; 32]) }
    }
}

fn moved(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_nanos(at.as_nanos() + seconds * 1_000_000_000)
}

/// A filter that one text must equal.
pub(super) fn equals(key: &str, text: &str) -> Filter {
    Filter {
        conjunction: Conjunction::And,
        clauses: Clauses::Conditions(vec![Condition {
            key: key.to_owned(),
            operator: Operator::Equals,
            value: FilterValue::String(text.to_owned()),
        }]),
    }
}

/// A meter without a filter.
pub(super) fn meter_of(event_name: &str, aggregation: Aggregation) -> NewMeter {
    NewMeter {
        name: "meter".to_owned(),
        description: None,
        event_name: event_name.to_owned(),
        measurement_unit: "unit".to_owned(),
        aggregation,
        filter: None,
    }
}
