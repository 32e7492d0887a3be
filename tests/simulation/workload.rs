//! Random requests and changes, as clients of all sorts would send them.

use std::sync::Arc;
use std::time::Duration;

use quipu::engine::Command;
use quipu::engine::command::billing::{
    Effective, Mark, NewCharge, NewMeterPrice, NewPrice, NewPriceKind, NewProduct, NewRate,
    NewSubscription, OnDemand, PlanChange, ProductPatch, Subscriber, SubscriptionPatch,
};
use quipu::engine::command::credits::NewAttachment;
use quipu::engine::command::{CustomerPatch, MeterPatch, NewCustomer, NewKey, NewMeter};
use quipu::model::customer::MetadataValue;
use quipu::model::price::{Interval, IntervalUnit, Recurrence};
use quipu::model::product::TaxCategory;
use quipu::model::rate::{Tier, TierMode};
use quipu::model::subscription::BillingAddress;
use quipu::model::{
    Aggregation, Clauses, Condition, Conjunction, Currency, CustomerId, Filter, FilterValue,
    KeyDigest, KeyId, Money, Operator, PaymentStatus, Product, ProrationMode, Quantity, Rate,
    Scope, SubscriptionId, Timestamp, UnitPrice,
};

use crate::dice::Dice;
use crate::event::{Sent, Value};
use crate::model::Model;
use crate::orders::{bought_once, one_time};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
/// The customers that events name; more than are drawn in a short history.
const CUSTOMERS: u64 = 6;
/// Meters of these places are in prices, and are made before the first event.
pub(crate) const PRICED: usize = 4;
/// The metadata key under which a subscription's last change is told from earlier ones.
pub(crate) const TAG: &str = "tag";

/// Draws what happens next; every name that it gives is given once.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) dice: Dice,
    names: u64,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), names: 0 }
    }

    pub(crate) fn name(&mut self) -> String {
        self.names += 1;
        format!("name-{}", self.names)
    }

    /// A number that is given once.
    pub(crate) fn number(&mut self) -> u32 {
        self.names += 1;
        u32::try_from(self.names).expect("few")
    }

    pub(crate) fn customer(&self) -> String {
        format!("cus-{}", self.dice.below(CUSTOMERS))
    }

    /// One to five events; some known, some known with other content, rarely one that is refused.
    /// `waiting` are events whose answer has not come.
    pub(crate) fn request(&mut self, model: &Model, waiting: &[Sent], now: Timestamp) -> Vec<Sent> {
        let mut sent = Vec::new();
        let known = model.remembered();
        for _ in 0..=self.dice.below(5) {
            sent.push(match self.dice.below(10) {
                0 | 1 if !known.is_empty() => self.dice.pick(known).sent.clone(),
                2 if !known.is_empty() => {
                    let mut other = self.dice.pick(known).sent.clone();
                    other.metadata.push(("changed", Value::Flag(true)));
                    other
                }
                // The client's timer ran out before the answer came.
                3 | 4 if !waiting.is_empty() => self.dice.pick(waiting).clone(),
                _ => self.event(model, now),
            });
        }
        // Seldom the same id twice, which is against the rules.
        if !self.dice.one_in(30) {
            sent.sort_by(|left, right| left.id.cmp(&right.id));
            sent.dedup_by(|left, right| left.id == right.id);
        }
        sent
    }

    /// A new event, stamped anywhere that is allowed, rarely just outside.
    fn event(&mut self, model: &Model, now: Timestamp) -> Sent {
        let rules = model.options.rules;
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).expect("short");
        let (age, ahead) = (seconds(rules.max_age), seconds(rules.max_ahead));
        let moved = |seconds: i64| Timestamp::from_nanos(now.as_nanos() + seconds * 1_000_000_000);
        let at = match self.dice.below(60) {
            0..20 => None,
            20 => Some(now.minus(rules.max_age + Duration::from_nanos(1))),
            21 => Some(now.plus(rules.max_ahead + Duration::from_nanos(1))),
            22 => Some(now.minus(rules.max_age)),
            23 => Some(now.plus(rules.max_ahead)),
            // Whole minutes, so that equal timestamps happen.
            24..40 => Some(moved(self.dice.within(-age / 60..ahead / 60 + 1) * 60)),
            _ => Some(moved(self.dice.within(-age..ahead + 1))),
        };
        let name = *self.dice.pick(&["call", "call", "store"]);
        let mut metadata = Vec::new();
        if let Some(value) = self.value(name) {
            metadata.push(("tokens", value));
        }
        if self.dice.one_in(2) {
            metadata.push(("kind", Value::Text(self.dice.pick::<&'static str>(&["a", "b"]))));
        }
        Sent { id: self.name(), customer: self.customer(), name, at, metadata }
    }

    /// Only events that no price looks at have values that no price could bear.
    fn value(&self, event_name: &str) -> Option<Value> {
        let number = |text: String| Some(Value::Number(text));
        match self.dice.below(12) {
            0 => None,
            1 => Some(Value::Flag(true)),
            2 => Some(Value::Text("12.5")),
            3 if event_name == "store" => number("1000000000000000".to_owned()),
            4 if event_name == "store" => number("-999999999999999.999999999999".to_owned()),
            5 => number(format!("{}.000000000001", self.dice.below(3))),
            6 => number(format!("-{}.{:03}", self.dice.below(50), self.dice.below(1_000))),
            _ => number(self.dice.below(100).to_string()),
        }
    }

    /// A change of anything; some are refused.
    pub(crate) fn command(&mut self, model: &Model, makes_meters: bool) -> Command {
        match self.dice.below(39) {
            0 | 37 if makes_meters => Command::CreateMeter(self.meter()),
            1 => Command::ArchiveMeter(self.dice.pick(&model.meters).id.clone()),
            2 | 3 => Command::UnarchiveMeter(self.dice.pick(&model.meters).id.clone()),
            4 => {
                let patch = MeterPatch { name: Some(self.name()), ..MeterPatch::default() };
                Command::UpdateMeter(self.dice.pick(&model.meters).id.clone(), patch)
            }
            5 | 6 => Command::CreateCustomer(self.new_customer()),
            7 => {
                let patch = CustomerPatch { name: Some(self.name()), ..CustomerPatch::default() };
                Command::UpdateCustomer(CustomerId::new(self.customer()), patch)
            }
            8 if !model.keys.is_empty() && self.dice.one_in(3) => {
                let known: Vec<_> = model.keys.values().collect();
                Command::DeleteKey(self.dice.pick(&known).id.clone())
            }
            8 => {
                let id = KeyId::new(format!("key{:03}", self.dice.below(1_000)));
                let scope = *self.dice.pick(&[Scope::Ingest, Scope::Read, Scope::Admin]);
                let digest = KeyDigest([7; 32]);
                Command::CreateKey(NewKey { id, name: self.name(), scope, digest })
            }
            9 if self.dice.one_in(2) => self.product(model, None),
            9 => self.change_of_product(model),
            10..14 if !model.products.is_empty() => self.subscribe(model),
            14..17 if !model.subscriptions.is_empty() => self.patch(model),
            17..20 => self.payment(model),
            20..23 if !model.subscriptions.is_empty() => self.change_plan(model),
            23 if !model.subscriptions.is_empty() => {
                Command::CancelScheduledChange(self.dice.pick(&model.subscriptions).id.clone())
            }
            24 if !model.subscriptions.is_empty() => {
                let id = self.dice.pick(&model.subscriptions).id.clone();
                Command::Charge(id, Box::new(self.charge()))
            }
            25..28 => {
                let confirm = self.dice.one_in(3);
                self.checkout(model, confirm)
            }
            28..31 if !model.orders.is_empty() => self.confirmation(model),
            31..37 => self.change_of_credits(model),
            _ => Command::ConfirmClock,
        }
    }

    pub(crate) fn new_customer(&mut self) -> NewCustomer {
        let name = self.name();
        NewCustomer {
            id: (!self.dice.one_in(3)).then(|| CustomerId::new(self.customer())),
            email: format!("{name}@example.org"),
            name,
            phone_number: None,
            preferred_locale: None,
            metadata: vec![("plan".to_owned(), MetadataValue::Number("1.50".to_owned()))],
        }
    }

    fn meter(&mut self) -> NewMeter {
        let aggregation = self.dice.pick(&aggregations()).clone();
        let event_name = *self.dice.pick(&["call", "store"]);
        let filter = self.dice.one_in(3).then(|| equals("kind", "a"));
        NewMeter { filter, ..new_meter(self.name(), event_name, aggregation) }
    }

    /// A product of this price, or of one that is drawn.
    pub(crate) fn product(&mut self, model: &Model, price: Option<NewPrice>) -> Command {
        let credits = self.attachments(model);
        let price = price.unwrap_or_else(|| self.price(model, &credits));
        self.product_of(price, credits)
    }

    pub(crate) fn product_of(&mut self, price: NewPrice, credits: Vec<NewAttachment>) -> Command {
        Command::CreateProduct(Box::new(NewProduct {
            name: self.name(),
            description: None,
            tax_category: TaxCategory::Saas,
            metadata: Vec::new(),
            price,
            credits,
        }))
    }

    pub(crate) fn price(&self, model: &Model, credits: &[NewAttachment]) -> NewPrice {
        let unit = *self.dice.pick(&[IntervalUnit::Day, IntervalUnit::Week, IntervalUnit::Month]);
        let priced = model.meters.iter().take(PRICED).zip(rates());
        let meters = priced.map(|(meter, (rate, minimum, maximum))| NewMeterPrice {
            meter_id: meter.id.clone(),
            rate: NewRate::Money(rate),
            free_threshold: self.dice.below(4),
            minimum,
            maximum,
        });
        let meters = meters.filter(|_| !self.dice.one_in(4));
        let meters = meters.map(|price| self.linked(price, credits)).collect();
        let recurrence = Recurrence {
            payment_frequency: Interval { count: 1, unit },
            subscription_period: Interval { count: 1 + self.dice.few(40), unit },
            trial_days: 0,
        };
        let fixed = self.dice.within(0..5_000);
        if self.dice.one_in(8) && !model.products.is_empty() {
            // The first product of all is paid each cycle.
            let is_chosen = self.dice.one_in(2);
            return one_time(fixed, if is_chosen { 0 } else { 1_250 }, is_chosen);
        }
        NewPrice {
            currency: Currency::from_code("USD").unwrap(),
            fixed: Money::from_minor(fixed),
            discount_bps: *self.dice.pick(&[0, 0, 1_250]),
            tax_inclusive: false,
            purchasing_power_parity: false,
            kind: match self.dice.below(8) {
                0 | 1 => NewPriceKind::Recurring(recurrence),
                _ => NewPriceKind::UsageBased { recurrence, meters },
            },
        }
    }

    /// Another name, a price for those who come later, or whether it is sold at all.
    fn change_of_product(&mut self, model: &Model) -> Command {
        let id = self.dice.pick(&model.products).id.clone();
        match self.dice.below(5) {
            0 => Command::ArchiveProduct(id),
            1 | 2 => Command::UnarchiveProduct(id),
            3 => {
                let name = Some(self.name());
                Command::UpdateProduct(id, Box::new(ProductPatch { name, ..Default::default() }))
            }
            _ => {
                let (name, credits) = (Some(self.name()), self.attachments(model));
                let (price, credits) = (Some(self.price(model, &credits)), Some(credits));
                let patch = ProductPatch { name, price, credits, ..Default::default() };
                Command::UpdateProduct(id, Box::new(patch))
            }
        }
    }

    /// A product that is paid each cycle; seldom one that is not, which is refused.
    fn renewed(&self, model: &Model) -> Arc<Product> {
        let is_wanted = |product: &&Arc<Product>| product.price().recurrence().is_some();
        let renewed: Vec<_> = model.products.iter().filter(is_wanted).cloned().collect();
        let choice = if self.dice.one_in(20) { &model.products } else { &renewed };
        Arc::clone(self.dice.pick::<Arc<Product>>(choice))
    }

    pub(crate) fn subscribe(&mut self, model: &Model) -> Command {
        let product = self.renewed(model);
        let can_be_charged = product.price().meters().is_empty();
        let on_demand = (can_be_charged && self.dice.one_in(2))
            .then(|| OnDemand { first: self.dice.one_in(2).then(|| self.charge()) });
        let trial_days = self.dice.one_in(3).then(|| self.dice.few(20));
        let has_more = self.dice.one_in(4) && on_demand.is_none();
        let once = has_more.then(|| {
            let bought_once = bought_once(model);
            self.purchase(self.dice.pick::<Arc<Product>>(&bought_once), true)
        });
        let once = once.into_iter().collect();
        Command::CreateSubscription(Box::new(NewSubscription {
            customer: Subscriber::Existing(CustomerId::new(self.customer())),
            product_id: product.id.clone(),
            quantity: 1 + self.dice.few(3),
            trial_days: trial_days.filter(|_| on_demand.is_none()),
            on_demand,
            billing_currency: None,
            billing: address(),
            customer_business_name: None,
            tax_id: None,
            metadata: self.tag(),
            once,
            credits: self.overrides(model),
        }))
    }

    /// What tells this change of a subscription from every other.
    pub(crate) fn tag(&mut self) -> Vec<(String, MetadataValue)> {
        vec![(TAG.to_owned(), MetadataValue::String(self.name()))]
    }

    fn charge(&mut self) -> NewCharge {
        NewCharge {
            amount: Money::from_minor(self.dice.within(0..5_000)),
            currency: None,
            description: None,
            metadata: Some(self.tag()),
        }
    }

    fn change_plan(&mut self, model: &Model) -> Command {
        let id = self.dice.pick(&model.subscriptions).id.clone();
        let ways = [
            ProrationMode::ProratedImmediately,
            ProrationMode::ProratedImmediatelyKeepCycle,
            ProrationMode::DifferenceImmediately,
            ProrationMode::FullImmediately,
            ProrationMode::DoNotBill,
        ];
        let effective = [Effective::Now, Effective::WhenPaid, Effective::NextBillingDate];
        let change = PlanChange {
            product_id: self.renewed(model).id.clone(),
            quantity: 1 + self.dice.few(3),
            mode: *self.dice.pick(&ways),
            effective: *self.dice.pick(&effective),
            replaces_scheduled: self.dice.one_in(2),
            metadata: Some(self.tag()),
        };
        Command::ChangePlan(id, Box::new(change))
    }

    fn patch(&mut self, model: &Model) -> Command {
        let on_demand = model.subscriptions.iter().find(|known| !known.cycle.renews);
        if let Some(known) = on_demand.filter(|_| self.dice.one_in(2)) {
            let later = HOUR * self.dice.few(100);
            let renews_from = Some(model.latest.plus(later));
            let metadata = Some(self.tag());
            let patch = SubscriptionPatch { renews_from, metadata, ..Default::default() };
            return Command::UpdateSubscription(known.id.clone(), Box::new(patch));
        }
        let id: SubscriptionId = self.dice.pick(&model.subscriptions).id.clone();
        let mut patch = SubscriptionPatch { metadata: Some(self.tag()), ..Default::default() };
        match self.dice.below(10) {
            9 => patch.credits = self.overrides(model),
            6..9 => patch.pause = Some(self.dice.one_in(3)),
            0 => patch.cancel_now = true,
            1 | 2 => patch.cancel_at_next_billing_date = Some(self.dice.one_in(2)),
            3 => {
                let later = HOUR * self.dice.few(400);
                patch.next_billing_date = Some(model.latest.plus(later));
            }
            4 => {
                let count = 30 + self.dice.few(60);
                patch.subscription_period = Some(Interval { count, unit: IntervalUnit::Day });
            }
            _ => {}
        }
        Command::UpdateSubscription(id, Box::new(patch))
    }

    fn payment(&self, model: &Model) -> Command {
        let open = model.payments.values().filter(|payment| match payment.status {
            PaymentStatus::Processing | PaymentStatus::Failed => true,
            PaymentStatus::Succeeded => false,
        });
        let open: Vec<_> = open.collect();
        if open.is_empty() {
            return Command::ConfirmClock;
        }
        let payment = self.dice.pick(&open);
        match (payment.status, self.dice.below(4)) {
            (PaymentStatus::Processing, 0) => {
                let mark = Mark::Failed { code: Some("declined".to_owned()), message: None };
                Command::MarkPayment(payment.id.clone(), mark)
            }
            (PaymentStatus::Processing, _) => {
                Command::MarkPayment(payment.id.clone(), Mark::Succeeded)
            }
            (PaymentStatus::Failed | PaymentStatus::Succeeded, _) => {
                Command::RetryPayment(payment.id.clone())
            }
        }
    }

    /// How much time passes in one step: mostly minutes, sometimes days.
    pub(crate) fn time(&self) -> Duration {
        match self.dice.below(16) {
            0 | 1 => HOUR * 24 * (1 + self.dice.few(9)),
            2..6 => HOUR * (1 + self.dice.few(40)),
            _ => Duration::from_secs(1 + self.dice.below(3_600)),
        }
    }

    /// How far a clock is set wrong.
    pub(crate) fn jump(&self) -> Duration {
        match self.dice.below(3) {
            0 => MINUTE * (1 + self.dice.few(10)),
            1 => HOUR * (1 + self.dice.few(10)),
            _ => HOUR * 24 * (1 + self.dice.few(40)),
        }
    }
}

/// Where everybody lives.
pub(crate) fn address() -> BillingAddress {
    BillingAddress {
        country: "PE".to_owned(),
        city: None,
        state: None,
        street: None,
        zipcode: None,
    }
}

/// One of each.
pub(crate) fn aggregations() -> [Aggregation; PRICED] {
    let key = || "tokens".to_owned();
    [
        Aggregation::Count,
        Aggregation::Sum { key: key() },
        Aggregation::Max { key: key() },
        Aggregation::Last { key: key() },
    ]
}

/// A meter without a filter.
pub(crate) fn new_meter(name: String, event_name: &str, aggregation: Aggregation) -> NewMeter {
    NewMeter {
        name,
        description: None,
        event_name: event_name.to_owned(),
        measurement_unit: "unit".to_owned(),
        aggregation,
        filter: None,
    }
}

fn equals(key: &str, text: &str) -> Filter {
    Filter {
        conjunction: Conjunction::And,
        clauses: Clauses::Conditions(vec![Condition {
            key: key.to_owned(),
            operator: Operator::Equals,
            value: FilterValue::String(text.to_owned()),
        }]),
    }
}

/// What the meters of a product cost: one price of each form, with its bounds.
fn rates() -> [(Rate, Option<Money>, Option<Money>); 4] {
    let price = |text| UnitPrice::parse(text).unwrap();
    let tier = |end: Option<u64>, price_per_unit, flat_fee| Tier {
        up_to: end.map(Quantity::from_count),
        price_per_unit,
        flat_fee: Money::from_minor(flat_fee),
    };
    let tiers = vec![
        tier(Some(3), None, 7),
        tier(Some(40), Some(price("0.5")), 0),
        tier(None, Some(price("0.000225")), 30),
    ];
    let tiered = |mode| Rate::Tiered { mode, tiers: tiers.clone() };
    let money = |units| Some(Money::from_minor(units));
    [
        (Rate::PerUnit(price("2")), money(5), money(90)),
        (tiered(TierMode::Graduated), None, None),
        (Rate::Package { size: 3, price: price("1.5") }, None, money(60)),
        (tiered(TierMode::Volume), money(2), None),
    ]
}
