//! Random lives of subscriptions: whatever happens, every invoice says what the events come to.

use std::collections::BTreeSet;
use std::time::Duration;

use super::dice::Dice;
use super::oracle::{Oracle, Sample};
use super::rig::{Crash, Rig, Sent, tiny};
use crate::engine::bills::{PaymentFilter, UsageHistoryQuery};
use crate::engine::checkpoint::Progress;
use crate::engine::command::NewMeter;
use crate::engine::command::billing::{
    Effective, Mark, NewMeterPrice, NewPrice, NewPriceKind, NewProduct, NewSubscription,
    PlanChange, Subscriber, SubscriptionPatch,
};
use crate::engine::options::{Collection, Options};
use crate::engine::{Command, Outcome, Refused};
use crate::metering::accumulator::Kind;
use crate::model::price::{Interval, IntervalUnit, Recurrence};
use crate::model::product::TaxCategory;
use crate::model::subscription::BillingAddress;
use crate::model::{
    Aggregation, Currency, CustomerId, Lsn, MeterId, Money, Number, PaymentId, ProductId,
    ProrationMode, Quantity, Rate, SubscriptionId, UnitPrice,
};
use crate::world::Disk;

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
const CUSTOMERS: u64 = 4;

struct Life {
    rig: Rig,
    dice: Dice,
    oracle: Oracle,
    meters: Vec<(MeterId, Kind)>,
    products: Vec<ProductId>,
    subscriptions: Vec<SubscriptionId>,
    sent: Vec<Sent>,
}

pub(super) fn new_meter(aggregation: Aggregation) -> NewMeter {
    NewMeter {
        name: "Tokens".to_owned(),
        description: None,
        event_name: "call".to_owned(),
        measurement_unit: "tokens".to_owned(),
        aggregation,
        filter: None,
    }
}

pub(super) fn usage_price(meters: Vec<NewMeterPrice>, interval: Interval, fixed: i64) -> NewPrice {
    NewPrice {
        currency: Currency::from_code("USD").unwrap(),
        fixed: Money::from_minor(fixed),
        discount_bps: 0,
        tax_inclusive: false,
        purchasing_power_parity: false,
        kind: NewPriceKind::UsageBased {
            recurrence: Recurrence {
                payment_frequency: interval,
                subscription_period: Interval { count: 40, unit: interval.unit },
                trial_days: 0,
            },
            meters,
        },
    }
}

pub(super) fn new_product(price: NewPrice) -> Command {
    Command::CreateProduct(Box::new(NewProduct {
        name: "Plan".to_owned(),
        description: None,
        tax_category: TaxCategory::Saas,
        metadata: Vec::new(),
        price,
    }))
}

pub(super) fn new_subscription(customer: &str, product_id: &ProductId) -> NewSubscription {
    NewSubscription {
        customer: Subscriber::Existing(CustomerId::new(customer)),
        product_id: product_id.clone(),
        quantity: 1,
        trial_days: None,
        on_demand: None,
        billing_currency: None,
        billing: BillingAddress {
            country: "PE".to_owned(),
            city: None,
            state: None,
            street: None,
            zipcode: None,
        },
        customer_business_name: None,
        tax_id: None,
        metadata: Vec::new(),
        once: Vec::new(),
    }
}

impl Life {
    fn new(seed: u64) -> Self {
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

    fn make_product(&mut self, interval: Interval) {
        let prices = ["2", "0.5", "0.000225", "1.5"];
        let meters: Vec<(MeterId, &str)> =
            self.meters.iter().map(|(id, _)| id.clone()).zip(prices).collect();
        let meters = meters.into_iter().map(|(meter_id, price)| NewMeterPrice {
            meter_id,
            rate: Rate::PerUnit(UnitPrice::parse(price).unwrap()),
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

    fn send(&mut self) {
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

    fn acknowledge(&mut self, sent: &Sent, lsn: Lsn) {
        let tokens = sent.metadata.iter().map(|(_, value)| match value {
            super::rig::Value::Number(text) => Number::new(text).unwrap().to_quantity().unwrap(),
            super::rig::Value::Text(_) | super::rig::Value::Flag(_) => panic!("not sent here"),
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

    fn subscribe(&mut self) {
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

    fn patch(&mut self) {
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
    fn running(&self, id: &SubscriptionId) -> Option<u32> {
        self.rig.engine.subscription(id)?.subscription.running.map(|running| running.number)
    }

    /// A segment was cut, and its period goes on in the next one.
    fn cut(&mut self, id: SubscriptionId, segment: u32) {
        self.oracle.cuts.get_or_insert_default().insert((id, segment));
    }

    fn change_plan(&mut self) {
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
    fn check(&self) {
        let invoices = self.oracle.check(&self.rig.engine, &self.subscriptions).unwrap();
        for id in &self.subscriptions {
            let subscription = self.rig.engine.subscription(id).unwrap().subscription;
            let own = invoices.iter().filter(|view| view.subscription_id.as_ref() == Some(id));
            super::oracle::check_credit(&subscription, &own.collect::<Vec<_>>());
        }
    }

    fn pass_time(&mut self) {
        let step = match self.dice.below(8) {
            0 => HOUR * 24 * (1 + self.dice.few(40)),
            1..4 => HOUR * (1 + self.dice.few(60)),
            _ => Duration::from_secs(1 + self.dice.below(5_000)),
        };
        self.rig.advance(step);
        self.rig.settle().unwrap();
    }

    fn restart(self) -> Self {
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

    fn checkpoint(&mut self) {
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

    fn step(mut self) -> Self {
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

#[test]
fn without_the_newest_snapshot_billing_goes_on_from_the_one_before() {
    for seed in 100..106 {
        let mut life = Life::new(seed);
        for _ in 0..3 {
            for _ in 0..50 {
                life = life.step();
            }
            life.rig.machine.checkpoint().unwrap();
        }
        let place = life.rig.place.after(Crash::DropsAll);
        let is_snapshot = |name: &String| name.starts_with("snapshot-");
        let newest = place.disk.names().unwrap().into_iter().filter(is_snapshot).max().unwrap();
        place.disk.flip_bit(&newest, 40, 0);
        let mut life = Life { rig: place.open(), ..life };
        assert!(life.rig.replayed > 0, "it replays from the older one");
        life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
        for _ in 0..50 {
            life = life.step();
        }
        life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
    }
}

#[test]
fn turns_and_closes_wait_while_the_clock_is_in_doubt() {
    let mut life = Life::new(7);
    life.subscribe();
    let id = life.subscriptions[0].clone();
    let before = life.rig.engine.subscription(&id).unwrap().subscription;
    let end = before.cycle.next_billing_date;
    life.rig.place.clock.set_wall(end.plus(HOUR * 5));
    life.rig.settle().unwrap();
    life.send();
    let status = life.rig.engine.billing_status();
    assert!(status.waiting_for_clock && status.overdue > 0, "{status:?}");
    let waiting = life.rig.engine.subscription(&id).unwrap().subscription;
    assert_eq!(waiting, before, "nothing has turned, and events are admitted");
    let patch = SubscriptionPatch { cancel_now: true, ..SubscriptionPatch::default() };
    let patch = Command::UpdateSubscription(id.clone(), Box::new(patch));
    assert!(matches!(life.rig.change(patch), Err(Refused::Conflict(_))));
    life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
    // Ten steady minutes later the clock is trusted.
    life.rig.advance(MINUTE * 11);
    life.rig.settle().unwrap();
    assert_eq!(life.rig.engine.billing_status().overdue, 0);
    let turned = life.rig.engine.subscription(&id).unwrap().subscription;
    assert_eq!(turned.cycle.previous_billing_date, end);
    life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
}

/// While samples entered their segment, a reader found some both there and among those that wait.
#[test]
fn usage_that_is_read_while_samples_enter_counts_each_once() {
    const SAMPLES: usize = 1_000;
    let mut life = Life::new(3);
    let new = new_subscription("c1", &life.products[2]);
    let made = life.rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
    let Outcome::Subscription(subscription) = made.outcome else { panic!("a subscription") };
    for round in 1..=10 {
        let ahead = life.rig.engine.now().plus(MINUTE);
        let sent = |n| Sent::new(format!("ahead-{round}-{n}"), "c1").at(ahead);
        for first in (0..SAMPLES).step_by(20) {
            let events: Vec<Sent> = (first..first + 20).map(sent).collect();
            life.rig.ingest(&events).unwrap();
            life.rig.flush_all();
        }
        life.rig.advance(MINUTE * 2);
        let (engine, id) = (life.rig.engine.clone(), subscription.id.clone());
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Acquire) {
                    let page = crate::engine::Page { offset: 0, limit: 1 };
                    let history =
                        engine.usage_history(&id, &UsageHistoryQuery::default(), page).unwrap();
                    let consumed = history[0].meters[0].usage.consumed;
                    assert_eq!(consumed, Quantity::from_count(round * SAMPLES as u64));
                }
            });
            life.rig.ingest(&[Sent::new(format!("now-{round}"), "c2")]).unwrap();
            is_over.store(true, std::sync::atomic::Ordering::Release);
        });
        assert_eq!(life.rig.engine.stats().pending_samples, 1, "the newest is not before log time");
    }
}

#[test]
fn a_payment_is_not_marked_while_a_turn_waits_for_the_clock() {
    let mut life = Life::new(11);
    let place = super::rig::Place::new(Options {
        collection: Collection::Manual,
        dedupe_window: Duration::ZERO,
        ..tiny()
    });
    let mut rig = place.open();
    rig.ingest(&[Sent::new("first", "c1")]).unwrap();
    let price = usage_price(Vec::new(), Interval { count: 1, unit: IntervalUnit::Month }, 100);
    let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
        panic!("a product")
    };
    let new = Box::new(new_subscription("c1", &product.id));
    let Outcome::Subscription(made) = rig.change(Command::CreateSubscription(new)).unwrap().outcome
    else {
        panic!("a subscription")
    };
    let paid = |id: &PaymentId| Command::MarkPayment(id.clone(), Mark::Succeeded);
    rig.change(paid(&made.first_payment)).unwrap();
    rig.advance(HOUR * 24 * 32);
    rig.settle().unwrap();
    let page = crate::engine::Page { offset: 0, limit: 1 };
    let renewal =
        rig.engine.payments(&PaymentFilter::default(), page).unwrap()[0].payment.id.clone();
    assert_ne!(renewal, made.first_payment);
    let end = rig.engine.subscription(&made.id).unwrap().subscription.cycle.next_billing_date;
    rig.place.clock.set_wall(end.plus(HOUR));
    assert!(matches!(rig.change(paid(&renewal)), Err(Refused::Conflict(_))));
    rig.advance(MINUTE * 11);
    rig.change(paid(&renewal)).unwrap();
    life.rig = rig;
    life.oracle.check(&life.rig.engine, std::slice::from_ref(&made.id)).unwrap();
}

#[test]
fn a_boundary_that_the_clock_once_stood_behind_is_not_moved() {
    let mut life = Life::new(13);
    life.subscribe();
    let id = life.subscriptions[0].clone();
    let end = life.rig.engine.subscription(&id).unwrap().subscription.cycle.next_billing_date;
    let right = life.rig.engine.now();
    life.rig.place.clock.set_wall(end.plus(HOUR));
    (0..20).for_each(|_| life.send());
    life.rig.place.clock.set_wall(right);
    life.rig.change(Command::ConfirmClock).unwrap();
    let moved = |to| {
        let patch = SubscriptionPatch { next_billing_date: Some(to), ..Default::default() };
        Command::UpdateSubscription(id.clone(), Box::new(patch))
    };
    let refused = life.rig.change(moved(end.plus(HOUR * 5)));
    assert!(matches!(refused, Err(Refused::Conflict(_))), "{refused:?}");
    life.rig.advance(end.since(right) + HOUR * 2);
    life.rig.settle().unwrap();
    life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
    let now = life.rig.engine.now();
    life.rig.change(moved(now.plus(HOUR * 5))).unwrap();
    life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
}

/// The limit was held against the time of the last record: once it was reached, and time had passed,
/// nothing was ever admitted again.
#[test]
fn too_many_events_ahead_of_the_clock_are_refused_until_their_time_comes() {
    let mut rig = Rig::new(Options { pending_max: 3, ..tiny() });
    rig.change(Command::CreateMeter(new_meter(Aggregation::Count))).unwrap();
    let start = rig.engine.now();
    let early = |id: &str| Sent::new(id, "c").at(start.minus(MINUTE));
    let ahead = |id: &str| Sent::new(id, "c").at(start.plus(MINUTE));
    for id in ["a", "b", "c"] {
        rig.ingest(&[ahead(id)]).unwrap();
    }
    assert_eq!(rig.ingest(&[early("d"), ahead("e")]), Err(Refused::Busy));
    assert_eq!(rig.ingest(&[early("d")]).unwrap().new, 1);
    rig.advance(MINUTE * 2);
    assert_eq!(rig.ingest(&[ahead("f")]).unwrap().new, 1, "it is not ahead any more");
    let stats = rig.engine.stats();
    assert_eq!(stats.pending_samples, 0);
    let later = Sent::new("g", "c").at(start.plus(MINUTE * 3));
    assert_eq!(rig.ingest(&[later]).unwrap().new, 1);
}

#[test]
fn invoices_say_what_the_events_come_to_over_any_history() {
    let mut invoices = 0;
    for seed in 0..60 {
        eprintln!("seed {seed}");
        let mut life = Life::new(seed);
        for _ in 0..150 {
            life = life.step();
        }
        life.check();
        life = life.restart();
        life.rig.advance(HOUR * 24 * 400);
        life.rig.settle().unwrap();
        life.check();
        invoices += life.rig.engine.stats().invoices;
    }
    assert!(invoices > 10_000, "only {invoices} invoices were looked at");
}
