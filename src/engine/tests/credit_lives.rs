//! Random lives of customers with credits: whatever happens, pools have moved what the usage of each period
//! is worth, reads are exact without a record, and neither a kill nor a checkpoint changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::credit_holds::Held;
use super::dice::Dice;
use super::goods::{new_meter, new_product, new_subscription, usage_price};
use super::rig::{Crash, Rig, Sent, Value, tiny};
use crate::billing::credits::Pool;
use crate::engine::bills::InvoiceFilter;
use crate::engine::checkpoint::Progress;
use crate::engine::command::billing::{
    Effective, NewMeterPrice, NewProduct, NewRate, PlanChange, SubscriptionPatch,
};
use crate::engine::command::credits::{CreditTermsPatch, NewAttachment, NewEntitlement};
use crate::engine::command::entries::{NewEntry, NewEntryKind};
use crate::engine::options::Options;
use crate::engine::pools::{KeptPool, PoolKey, view};
use crate::engine::{Command, Outcome, Page, Refused};
use crate::model::credit::{CreditProration, OverageBehavior};
use crate::model::invoice::LineDetail;
use crate::model::price::{Interval, IntervalUnit};
use crate::model::subscription::Segment;
use crate::model::{
    Aggregation, Credits, Currency, CustomerId, CustomerIndex, EntitlementId, MeterId, MeterIndex,
    ProductId, ProrationMode, Quantity, SubscriptionId, SubscriptionIndex, Timestamp, UnitPrice,
    UnitsPerCredit,
};

pub(super) const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
pub(super) const CUSTOMERS: u64 = 2;
pub(super) const ONE: i128 = 1_000_000_000_000;

/// An event that was admitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub customer: u64,
    pub at: Timestamp,
    pub tokens: i128,
}

/// How a product's meter draws: the naive model looks it up here, not in the engine.
#[derive(Clone, Copy, Debug)]
struct Draws {
    meter: MeterIndex,
    ratio: i128,
    free: i128,
}

pub(super) struct Life {
    pub rig: Rig,
    pub dice: Dice,
    entitlements: Vec<EntitlementId>,
    pub meters: Vec<MeterId>,
    products: Vec<(ProductId, Vec<Draws>)>,
    pub subscriptions: Vec<SubscriptionId>,
    pub events: Vec<Counted>,
    /// Reservations, until they are forgotten.
    pub held: Vec<Held>,
    /// Every segment that was ever seen, as it was seen last.
    segments: BTreeMap<(SubscriptionIndex, u32), Segment>,
    pub sent: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let rig = Rig::new(Options { dedupe_window: Duration::ZERO, ..tiny() });
        let mut life = Self {
            rig,
            dice: Dice::new(seed),
            entitlements: Vec::new(),
            meters: Vec::new(),
            products: Vec::new(),
            subscriptions: Vec::new(),
            events: Vec::new(),
            held: Vec::new(),
            segments: BTreeMap::new(),
            sent: 0,
        };
        let sum = Aggregation::Sum { key: "tokens".to_owned() };
        for aggregation in [Aggregation::Count, sum] {
            let made = life.rig.change(Command::CreateMeter(new_meter(aggregation))).unwrap();
            let Outcome::Meter(meter) = made.outcome else { panic!("a meter") };
            life.meters.push(meter.id);
        }
        for customer in 0..CUSTOMERS {
            let mut sent = Sent::new(format!("first-{customer}"), &format!("c{customer}"));
            sent.name = "hello".to_owned();
            life.rig.ingest(&[sent]).unwrap();
        }
        for _ in 0..2 {
            life.make_entitlement();
        }
        for _ in 0..4 {
            life.make_product();
        }
        life
    }

    fn terms(&mut self) -> CreditTermsPatch {
        let behaviors = [
            OverageBehavior::ForgiveAtReset,
            OverageBehavior::InvoiceAtBilling,
            OverageBehavior::CarryDeficit,
            OverageBehavior::CarryDeficitAutoRepay,
        ];
        let rolls = self.dice.one_in(2);
        CreditTermsPatch {
            overage_enabled: Some(!self.dice.one_in(4)),
            overage_limit: Some(self.dice.one_in(2).then(|| whole(i128::from(self.dice.few(9))))),
            overage_behavior: Some(Some(*self.dice.pick(&behaviors))),
            price_per_unit: Some(Some(UnitPrice::parse("2.5").unwrap())),
            currency: Some(Currency::from_code("USD")),
            rollover_enabled: Some(rolls),
            rollover_percentage: Some(rolls.then_some(50)),
            rollover_count_max: Some(self.dice.one_in(2).then(|| self.dice.few(2))),
            expires_after_days: Some(self.dice.one_in(3).then(|| 1 + self.dice.few(6))),
            ..CreditTermsPatch::default()
        }
    }

    fn make_entitlement(&mut self) {
        let new = NewEntitlement {
            name: "Tokens".to_owned(),
            description: None,
            unit: "token".to_owned(),
            precision: u8::try_from(self.dice.below(3)).unwrap(),
            terms: self.terms(),
        };
        let made = self.rig.change(Command::CreateEntitlement(Box::new(new))).unwrap();
        let Outcome::Entitlement(entitlement) = made.outcome else { panic!("an entitlement") };
        self.entitlements.push(entitlement.id.clone());
    }

    fn make_product(&mut self) {
        let mut draws = Vec::new();
        let mut prices = Vec::new();
        for (place, meter_id) in self.meters.clone().into_iter().enumerate() {
            let meter = MeterIndex(u32::try_from(place).unwrap());
            let ratio = *self.dice.pick(&[ONE, 3 * ONE, ONE / 2, 7 * ONE / 10]);
            let free_threshold = self.dice.below(4);
            draws.push(Draws { meter, ratio, free: i128::from(free_threshold) * ONE });
            let entitlement_id = self.dice.pick(&self.entitlements).clone();
            let units_per_credit = UnitsPerCredit::new(Quantity::from_units(ratio)).unwrap();
            let rate = NewRate::Credits { entitlement_id, units_per_credit };
            let (minimum, maximum) = (None, None);
            prices.push(NewMeterPrice { meter_id, rate, free_threshold, minimum, maximum });
        }
        let unit = *self.dice.pick(&[IntervalUnit::Day, IntervalUnit::Week]);
        let price = usage_price(prices, Interval { count: 1, unit }, 100);
        let Command::CreateProduct(plain) = new_product(price) else { panic!("a product") };
        let credits = self.entitlements.clone().into_iter().map(|entitlement_id| NewAttachment {
            entitlement_id,
            amount: whole(i128::from(1 + self.dice.few(30))),
            trial_amount: None,
            trial_expires: self.dice.one_in(2),
            low_balance_percent: Some(20),
            proration: CreditProration::NoProrate,
            terms: self.terms(),
        });
        let product = NewProduct { credits: credits.collect(), ..*plain };
        let made = self.rig.change(Command::CreateProduct(Box::new(product))).unwrap();
        let Outcome::Product(product) = made.outcome else { panic!("a product") };
        self.products.push((product.id.clone(), draws));
    }

    pub(super) fn send(&mut self) {
        let now = self.rig.engine.now();
        let mut sent = Vec::new();
        for _ in 0..=self.dice.below(4) {
            self.sent += 1;
            let customer = self.dice.below(CUSTOMERS);
            let minutes = self.dice.within(-59..5);
            let at = if self.dice.one_in(3) {
                now
            } else if minutes < 0 {
                now.minus(MINUTE * u32::try_from(-minutes).unwrap())
            } else {
                now.plus(MINUTE * u32::try_from(minutes).unwrap())
            };
            let tokens = self.dice.within(0..9);
            let value = Value::Number(tokens.to_string());
            let event = Sent::new(format!("e{}", self.sent), &format!("c{customer}")).at(at);
            sent.push(event.with("tokens", value));
            self.events.push(Counted { customer, at, tokens: i128::from(tokens) * ONE });
        }
        match self.rig.ingest(&sent) {
            Ok(_) => {}
            // It came too late for a period that is closed.
            Err(Refused::Event(_)) => self.events.truncate(self.events.len() - sent.len()),
            Err(other) => panic!("{other}"),
        }
    }

    fn change(&mut self) {
        let id = self.dice.pick(&self.subscriptions).clone();
        let mut patch = SubscriptionPatch::default();
        match self.dice.below(8) {
            0 => patch.cancel_now = true,
            1 => patch.cancel_at_next_billing_date = Some(true),
            2 | 3 => patch.pause = Some(self.dice.one_in(2)),
            4 => {
                let later = HOUR * self.dice.few(60);
                patch.next_billing_date = Some(self.rig.engine.now().plus(later));
            }
            _ => {
                let change = PlanChange {
                    product_id: self.dice.pick(&self.products).0.clone(),
                    quantity: 1,
                    // Another cycle: within one the terms would change.
                    mode: ProrationMode::FullImmediately,
                    effective: Effective::Now,
                    replaces_scheduled: true,
                    metadata: None,
                };
                drop(self.rig.change(Command::ChangePlan(id, Box::new(change))));
                return;
            }
        }
        drop(self.rig.change(Command::UpdateSubscription(id, Box::new(patch))));
    }

    fn subscribe(&mut self) {
        let customer = format!("c{}", self.dice.below(CUSTOMERS));
        let mut new = new_subscription(&customer, &self.dice.pick(&self.products).0);
        if self.dice.one_in(3) {
            new.trial_days = Some(self.dice.few(5));
        }
        let made = self.rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
        let Outcome::Subscription(subscription) = made.outcome else { panic!("a subscription") };
        self.subscriptions.push(subscription.id.clone());
    }

    fn enter(&mut self) {
        let expires_at = self.rig.engine.now().plus(HOUR * (1 + self.dice.few(100)));
        let expires_at = self.dice.one_in(2).then_some(expires_at);
        let gives = self.dice.one_in(2);
        let entry = NewEntry {
            entitlement_id: self.dice.pick(&self.entitlements).clone(),
            customer_id: CustomerId::new(format!("c{}", self.dice.below(CUSTOMERS))),
            kind: if gives { NewEntryKind::Credit { expires_at } } else { NewEntryKind::Debit },
            amount: whole(i128::from(self.dice.few(20))),
            idempotency_key: None,
            reason: None,
            metadata: Vec::new(),
        };
        match self.rig.change(Command::EnterCredits(Box::new(entry))) {
            Ok(_) => {}
            Err(Refused::Insufficient) => assert!(!gives),
            Err(other) => panic!("{other}"),
        }
    }

    fn step(&mut self) {
        match self.dice.below(21) {
            0..6 => self.send_beside_holds(),
            6..9 => self.rig.advance(MINUTE * self.dice.few(90)),
            9 => self.rig.advance(HOUR * self.dice.few(60)),
            10 if self.subscriptions.len() < 5 => self.subscribe(),
            10..12 if !self.subscriptions.is_empty() => self.change(),
            12 => self.enter(),
            13 => self.checkpoint(),
            14 => self.kill(),
            // A restart finds that time has passed.
            15 => {
                self.rig.advance(MINUTE * self.dice.few(90));
                self.kill();
            }
            16..18 => self.reserve(),
            18..20 => self.commit(),
            20 => self.release(),
            _ => self.rig.advance(Duration::from_secs(self.dice.below(100))),
        }
        self.rig.settle().unwrap();
    }

    fn checkpoint(&mut self) {
        self.rig.machine.checkpointer.begin();
        for _ in 0..10_000 {
            self.rig.settle().unwrap();
            match self.rig.machine.checkpointer.step().unwrap() {
                Progress::Finished | Progress::Idle => return,
                Progress::Working | Progress::Waiting => {}
            }
        }
        panic!("a checkpoint does not end");
    }

    pub(super) fn pools(&self) -> Vec<KeptPool> {
        self.rig
            .machine
            .shared
            .state
            .with_pools(|pools| pools.all().iter().map(|kept| KeptPool::clone(kept)).collect())
    }

    /// Kills the process: the next one comes to what this one would have.
    fn kill(&mut self) {
        let place = self.rig.place.after(Crash::Killed);
        self.rig.settle().unwrap();
        let before = self.pools();
        self.rig = place.open();
        self.rig.settle().unwrap();
        assert_eq!(self.pools(), before, "a start comes to the same pools");
    }

    /// Notes the segments as they are now.
    fn look(&mut self) {
        let state = &self.rig.machine.shared.state;
        let seen: Vec<(SubscriptionIndex, Segment)> = state.with_books(|books| {
            let all = books.subscriptions().iter();
            let segments = all.flat_map(|subscription| {
                let closing = subscription.closing.iter().map(|closing| closing.segment);
                let index = subscription.index;
                closing.chain(subscription.running).map(move |segment| (index, segment))
            });
            segments.collect()
        });
        for (index, segment) in seen {
            self.segments.insert((index, segment.number), segment);
        }
    }

    /// What reads say at this instant is what a record at this instant leaves.
    fn check_reads(&mut self) {
        let now = self.rig.engine.now();
        let shared = Arc::clone(&self.rig.machine.shared);
        let keys: Vec<PoolKey> = shared.state.with_pools(|pools| {
            let key = |kept: &Arc<KeptPool>| PoolKey {
                entitlement: kept.pool.entitlement(),
                customer: kept.pool.customer(),
            };
            pools.all().iter().map(key).collect()
        });
        let read: Vec<(Credits, Credits)> = keys
            .iter()
            .map(|key| {
                let kept = view::as_of(&shared.state, &[*key], now).pools.remove(0).unwrap();
                (kept.pool.balance_at(now), kept.pool.overage())
            })
            .collect();
        // Any record does.
        let mut hello = Sent::new(format!("hello-{}", self.sent), "c0");
        self.sent += 1;
        hello.name = "hello".to_owned();
        self.rig.ingest(&[hello]).unwrap();
        let found: Vec<(Credits, Credits)> = keys
            .iter()
            .map(|key| {
                let kept = shared.state.with_pools(|pools| Arc::clone(pools.by_key(key).unwrap()));
                (kept.pool.balance_at(now), kept.pool.overage())
            })
            .collect();
        assert_eq!(found, read);
    }

    /// What all pools have moved for usage is what the usage of each period is worth.
    fn check_worth(&self) {
        let moved = |pool: &Pool| {
            let totals = pool.totals();
            Credits::sum([totals.consumed, totals.overage_made, totals.uncovered])
        };
        let moved = Credits::sum(self.pools().iter().map(|kept| moved(&kept.pool)));
        let state = &self.rig.machine.shared.state;
        let log_time = state.log_time();
        let mut worth = Credits::ZERO;
        let periods: BTreeSet<(SubscriptionIndex, u32)> =
            self.segments.iter().map(|((index, _), of)| (*index, of.opened_by)).collect();
        for (index, opened_by) in periods {
            let of_period: Vec<&Segment> = self
                .segments
                .range((index, 0)..=(index, u32::MAX))
                .map(|(_, segment)| segment)
                .filter(|segment| segment.opened_by == opened_by)
                .collect();
            let (customer, draws, attached) = state.with_books(|books| {
                let subscription = books.subscription(index).unwrap();
                let terms = of_period[0].terms;
                let product = books.product(terms.product).unwrap();
                let (_, draws) =
                    self.products.iter().find(|(id, _)| *id == product.id).unwrap().clone();
                let price = product.price_at(terms.version).unwrap();
                let attached: Vec<u8> = price
                    .meters()
                    .iter()
                    .map(|meter| {
                        let link = meter.rate.credits().unwrap();
                        books.entitlements.get(link.entitlement).unwrap().precision
                    })
                    .collect();
                (subscription.customer, draws, attached)
            });
            let counts = |event: &&Counted| {
                customer == CustomerIndex(u32::try_from(event.customer).unwrap())
                    && event.at < log_time
                    && of_period.iter().any(|segment| segment.period.holds(event.at))
            };
            for (draw, precision) in draws.iter().zip(attached) {
                let units = self.events.iter().filter(counts).map(|event| match draw.meter {
                    MeterIndex(0) => ONE,
                    _ => event.tokens,
                });
                let units: i128 = units.sum();
                let beyond = (units - draw.free).max(0);
                let credits = Credits::from_units(beyond * ONE / draw.ratio);
                worth = worth.plus(credits.rounded_down(precision));
            }
        }
        assert_eq!(moved, worth);
    }

    fn check(&mut self) {
        self.look();
        for kept in self.pools() {
            assert!(kept.pool.conserves(), "{kept:?}");
        }
        self.check_held();
        self.check_reads();
        self.check_worth();
    }

    /// What was invoiced beyond credits is what the pools have charged, once every close is done.
    fn check_invoices(&mut self) {
        for id in self.subscriptions.clone() {
            let patch = SubscriptionPatch { cancel_now: true, ..SubscriptionPatch::default() };
            drop(self.rig.change(Command::UpdateSubscription(id, Box::new(patch))));
        }
        self.rig.advance(HOUR * 3);
        self.rig.settle().unwrap();
        let everything = Page { offset: 0, limit: usize::MAX };
        let invoices = self.rig.engine.invoices(&InvoiceFilter::default(), everything).unwrap();
        let lines = invoices.iter().flat_map(|view| &view.invoice.lines);
        let billed = Credits::sum(lines.filter_map(|line| match &line.detail {
            LineDetail::Overage(overage) => Some(overage.credits),
            LineDetail::Fixed(_)
            | LineDetail::Unused(_)
            | LineDetail::Usage(_)
            | LineDetail::Charge(_)
            | LineDetail::Credit => None,
        }));
        let charged = self.pools().into_iter().map(|kept| kept.pool.totals().overage_charged);
        assert_eq!(billed, Credits::sum(charged));
    }
}

fn whole(credits: i128) -> Credits {
    Credits::from_units(credits * ONE)
}

#[test]
fn pools_move_what_usage_is_worth_over_any_history() {
    let lives = std::env::var("QUIPU_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    for seed in 0..lives {
        let mut life = Life::new(seed);
        life.subscribe();
        for step in 0..120 {
            life.step();
            life.check();
            if std::env::var_os("QUIPU_SEED").is_some() {
                eprintln!("seed {seed} step {step}");
            }
        }
        life.check_invoices();
    }
}
