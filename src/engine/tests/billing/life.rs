//! A random life of subscriptions, with a model that keeps every event.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::checkpoint::Progress;
use crate::engine::command::billing::{
    Effective, NewMeterPrice, NewRate, PlanChange, SubscriptionPatch,
};
use crate::engine::options::Options;
use crate::engine::tests::dice::Dice;
use crate::engine::tests::goods::{new_meter, new_product, new_subscription, usage_price};
use crate::engine::tests::oracle::{Oracle, Sample};
use crate::engine::tests::rig::{Crash, Rig, Sent, tiny};
use crate::engine::{Command, Outcome, Refused};
use crate::metering::accumulator::Kind;
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Aggregation, Lsn, MeterId, Number, ProductId, ProrationMode, Quantity, Rate, SubscriptionId,
    UnitPrice,
};

pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const MINUTE: Duration = Duration::from_mins(1);
const CUSTOMERS: u64 = 4;

pub(super) struct Life {
    pub(super) rig: Rig,
    pub(super) dice: Dice,
    pub(super) oracle: Oracle,
    pub(super) meters: Vec<(MeterId, Kind)>,
    pub(super) products: Vec<ProductId>,
    pub(super) subscriptions: Vec<SubscriptionId>,
    pub(super) sent: Vec<Sent>,
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        let mut life = Self {
            // Ids are remembered for ever: an event that is sent again months later is a duplicate.
            rig: Rig::new(Options { dedupe_window: Duration::ZERO, ..tiny() }),
            dice: Dice::new(seed),
            oracle: Oracle::default(),
            meters: Vec::new(),
            products: Vec::new(),
            subscriptions: Vec::new(),
            sent: Vec::new(),
        };
        // Every cut of a period is noted.
        life.oracle.cuts = Some(BTreeSet::new());
        let key = || "tokens".to_owned();
        let aggregations = [
            (Aggregation::Count, Kind::Count),
            (Aggregation::Sum { key: key() }, Kind::Sum),
            (Aggregation::Max { key: key() }, Kind::Max),
            (Aggregation::Last { key: key() }, Kind::Last),
        ];
        for (aggregation, kind) in aggregations {
            let command = Command::CreateMeter(new_meter(aggregation));
            let Outcome::Meter(meter) = life.rig.change(command).unwrap().outcome else {
                panic!("a meter")
            };
            life.oracle.add_meter(meter.id.clone(), kind);
            life.meters.push((meter.id, kind));
        }
        for customer in 0..CUSTOMERS {
            let mut sent = Sent::new(format!("first-{customer}"), &format!("c{customer}"));
            sent.name = "hello".to_owned();
            life.rig.ingest(&[sent]).unwrap();
        }
        for unit in [IntervalUnit::Day, IntervalUnit::Week, IntervalUnit::Month] {
            life.make_product(Interval { count: 1, unit });
        }
        life
    }

    pub(super) fn make_product(&mut self, interval: Interval) {
        let prices = ["2", "0.5", "0.000225", "1.5"];
        let meters: Vec<(MeterId, &str)> =
            self.meters.iter().map(|(id, _)| id.clone()).zip(prices).collect();
        let meters = meters.into_iter().map(|(meter_id, price)| NewMeterPrice {
            meter_id,
            rate: NewRate::Money(Rate::PerUnit(UnitPrice::parse(price).unwrap())),
            free_threshold: self.dice.below(4),
            minimum: None,
            maximum: None,
        });
        let price = usage_price(meters.collect(), interval, self.dice.within(0..5_000));
        let Outcome::Product(product) = self.rig.change(new_product(price)).unwrap().outcome else {
            panic!("a product")
        };
        self.products.push(product.id.clone());
    }

    pub(super) fn send(&mut self) {
        let now = self.rig.engine.now();
        let count = 1 + self.dice.below(4);
        let fresh = self.sent.len();
        let events: Vec<Sent> = (0..count)
            .map(|n| {
                if self.dice.one_in(12) && !self.sent.is_empty() {
                    return self.dice.pick(&self.sent).clone();
                }
                let customer = format!("c{}", self.dice.below(CUSTOMERS));
                let mut sent = Sent::new(format!("e{fresh}-{n}"), &customer);
                if !self.dice.one_in(4) {
                    let minutes = self.dice.within(-59..5);
                    let late = MINUTE * u32::try_from(minutes.unsigned_abs()).unwrap();
                    sent.at = Some(if minutes < 0 { now.minus(late) } else { now.plus(late) });
                }
                match self.dice.below(5) {
                    0 => sent,
                    1 => sent.with_tokens("-1.25"),
                    _ => sent.with_tokens(&format!("{}.5", self.dice.below(1_000))),
                }
            })
            .collect();
        let mut seen = std::collections::HashSet::new();
        let events: Vec<Sent> =
            events.into_iter().filter(|sent| seen.insert(sent.id.clone())).collect();
        let is_new: Vec<bool> =
            events.iter().map(|sent| !self.sent.iter().any(|known| known.id == sent.id)).collect();
        match self.rig.ingest(&events) {
            Ok(ingested) => {
                let mut lsn = Lsn(ingested.lsn.0 + 1 - u64::from(ingested.new));
                for (sent, is_new) in events.into_iter().zip(is_new) {
                    if is_new {
                        self.acknowledge(&sent, lsn);
                        self.sent.push(sent);
                        lsn = lsn.next();
                    }
                }
            }
            Err(Refused::Event(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    pub(super) fn acknowledge(&mut self, sent: &Sent, lsn: Lsn) {
        let tokens = sent.metadata.iter().map(|(_, value)| match value {
            crate::engine::tests::rig::Value::Number(text) => {
                Number::new(text).unwrap().to_quantity().unwrap()
            }
            crate::engine::tests::rig::Value::Text(_)
            | crate::engine::tests::rig::Value::Flag(_) => {
                panic!("not sent here")
            }
        });
        let tokens = tokens.clone().next_back();
        let at = sent.at.unwrap_or_else(|| self.rig.engine.now());
        for (meter, kind) in &self.meters {
            let value = if *kind == Kind::Count { Some(Quantity::ZERO) } else { tokens };
            if let Some(value) = value {
                self.oracle.count(meter, &sent.customer, Sample { at, lsn, value });
            }
        }
    }

    pub(super) fn subscribe(&mut self) {
        let customer = format!("c{}", self.dice.below(CUSTOMERS));
        let mut new = new_subscription(&customer, self.dice.pick(&self.products));
        new.quantity = 1 + self.dice.few(3);
        if self.dice.one_in(3) {
            new.trial_days = Some(self.dice.few(20));
        }
        let made = self.rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
        let Outcome::Subscription(subscription) = made.outcome else { panic!("a subscription") };
        self.subscriptions.push(subscription.id.clone());
    }

    pub(super) fn patch(&mut self) {
        if self.subscriptions.is_empty() {
            return;
        }
        let id = self.dice.pick(&self.subscriptions).clone();
        let now = self.rig.engine.now();
        let mut patch = SubscriptionPatch::default();
        match self.dice.below(9) {
            0 => patch.cancel_now = true,
            6..9 => {
                let pauses = self.dice.one_in(3);
                patch.pause = Some(pauses);
                self.oracle.pause(id.clone());
            }
            1 | 2 => patch.cancel_at_next_billing_date = Some(self.dice.one_in(2)),
            3 | 4 => {
                let later = HOUR * self.dice.few(400);
                patch.next_billing_date = Some(now.plus(later));
            }
            _ => {
                let count = 30 + self.dice.few(60);
                patch.subscription_period = Some(Interval { count, unit: IntervalUnit::Day });
            }
        }
        let running = self.running(&id);
        let pauses = patch.pause == Some(true);
        match self.rig.change(Command::UpdateSubscription(id.clone(), Box::new(patch))) {
            Ok(_) => {
                if let Some(segment) = running.filter(|_| pauses) {
                    self.cut(id, segment);
                }
            }
            Err(Refused::Conflict(_) | Refused::Invalid { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// The number of the running segment of a subscription.
    pub(super) fn running(&self, id: &SubscriptionId) -> Option<u32> {
        self.rig.engine.subscription(id)?.subscription.running.map(|running| running.number)
    }

    /// A segment was cut, and its period goes on in the next one.
    pub(super) fn cut(&mut self, id: SubscriptionId, segment: u32) {
        self.oracle.cuts.get_or_insert_default().insert((id, segment));
    }

    pub(super) fn change_plan(&mut self) {
        if self.subscriptions.is_empty() {
            return;
        }
        let id = self.dice.pick(&self.subscriptions).clone();
        if self.dice.one_in(8) {
            match self.rig.change(Command::CancelScheduledChange(id)) {
                Ok(_) | Err(Refused::NotFound(_) | Refused::Conflict(_)) => return,
                Err(other) => panic!("{other}"),
            }
        }
        let modes = [
            ProrationMode::ProratedImmediately,
            ProrationMode::ProratedImmediatelyKeepCycle,
            ProrationMode::DifferenceImmediately,
            ProrationMode::FullImmediately,
            ProrationMode::DoNotBill,
        ];
        let change = PlanChange {
            product_id: self.dice.pick(&self.products).clone(),
            quantity: 1 + self.dice.few(3),
            mode: *self.dice.pick(&modes),
            effective: *self.dice.pick(&[Effective::Now, Effective::NextBillingDate]),
            replaces_scheduled: self.dice.one_in(2),
            metadata: None,
        };
        let previewed = self.rig.engine.preview_change(&id, &change);
        let before = self.rig.engine.subscription(&id).unwrap().subscription;
        let mode = change.mode;
        match self.rig.change(Command::ChangePlan(id.clone(), Box::new(change))) {
            Ok(changed) => {
                let preview = previewed.expect("what can be done can be previewed");
                if let Outcome::Payment(payment) = changed.outcome {
                    assert_eq!(payment.total, preview.bill.total);
                    let is_in_trial = before.in_trial && mode != ProrationMode::DoNotBill;
                    if mode.keeps_cycle() && !is_in_trial {
                        self.cut(id, before.running.unwrap().number);
                    }
                }
            }
            Err(Refused::Conflict(_) | Refused::Invalid { .. }) => {
                previewed.expect_err("what is refused is refused in a preview");
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Everything that the engine says is what the events come to.
    pub(super) fn check(&self) {
        let invoices = self.oracle.check(&self.rig.engine, &self.subscriptions).unwrap();
        for id in &self.subscriptions {
            let subscription = self.rig.engine.subscription(id).unwrap().subscription;
            let own = invoices.iter().filter(|view| view.subscription_id.as_ref() == Some(id));
            crate::engine::tests::oracle::check_credit(&subscription, &own.collect::<Vec<_>>());
        }
    }

    pub(super) fn pass_time(&mut self) {
        let step = match self.dice.below(8) {
            0 => HOUR * 24 * (1 + self.dice.few(40)),
            1..4 => HOUR * (1 + self.dice.few(60)),
            _ => Duration::from_secs(1 + self.dice.below(5_000)),
        };
        self.rig.advance(step);
        self.rig.settle().unwrap();
    }

    pub(super) fn restart(self) -> Self {
        let seed = self.dice.below(1_000);
        let crash = *self.dice.pick(&[Crash::Killed, Crash::DropsAll, Crash::Random(seed)]);
        let place = self.rig.place.after(crash);
        // While it was down, boundaries may have passed.
        if self.dice.one_in(3) {
            let hours = self.dice.few(24 * 50);
            place.clock.advance(HOUR * hours);
        }
        Self { rig: place.open(), ..self }
    }

    pub(super) fn checkpoint(&mut self) {
        let machine = &mut self.rig.machine;
        if self.dice.one_in(2) {
            machine.checkpoint().unwrap();
            return;
        }
        machine.checkpointer.begin();
        machine.settle().unwrap();
        for _ in 0..self.dice.below(2_000) {
            if machine.checkpointer.step().unwrap() != Progress::Working {
                break;
            }
        }
    }

    pub(super) fn step(mut self) -> Self {
        match self.dice.below(41) {
            0..22 => self.send(),
            22..30 => self.pass_time(),
            30..33 => self.subscribe(),
            33..36 => self.patch(),
            36 | 37 => self.change_plan(),
            38 => self.checkpoint(),
            39 => self.check(),
            _ => return self.restart(),
        }
        self
    }
}
