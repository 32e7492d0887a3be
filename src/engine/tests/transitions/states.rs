//! How a subscription comes into each state of the tables.

use std::time::Duration;

use super::operations::{Operation, Until};
use super::payments;
use crate::billing::PastDueEnd;
use crate::engine::command::billing::{
    Mark, NewMeterPrice, NewPrice, NewPriceKind, NewRate, NewSubscription, OnDemand,
};
use crate::engine::options::{Collection, Options, PastDue};
use crate::engine::tests::goods::{new_meter, new_product, new_subscription, usage_price};
use crate::engine::tests::rig::{Place, Rig, Sent, tiny};
use crate::engine::{Command, Outcome};
use crate::model::invoice::PaymentStatus;
use crate::model::price::{Interval, IntervalUnit, Recurrence};
use crate::model::{
    Aggregation, Currency, ProductId, ProductIndex, Rate, Subscription, SubscriptionId, UnitPrice,
};

pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);
const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };
const YEAR: Interval = Interval { count: 1, unit: IntervalUnit::Year };
/// The one customer.
pub(super) const CUSTOMER: &str = "c1";

/// A subscription, and what can be bought.
pub(super) struct Known {
    pub id: SubscriptionId,
    /// $30 a month and usage.
    plan: ProductId,
    /// $80 a month and usage.
    pub other: ProductId,
    /// The same for one month alone.
    brief: ProductId,
    /// Paid each month, without usage.
    flat: ProductId,
    pub once: ProductId,
    pub archived: ProductId,
    pub in_euro: ProductId,
}

impl Known {
    pub(super) fn other_plan(&self, rig: &Rig) -> Option<ProductIndex> {
        rig.engine.product(&self.other).map(|product| product.index)
    }

    /// An engine with products, and no subscription yet.
    fn new(past_due: Option<PastDue>) -> (Rig, Self) {
        let options = Options {
            collection: Collection::Manual,
            past_due,
            dedupe_window: Duration::ZERO,
            ..tiny()
        };
        let mut rig = Place::new(options).open();
        rig.ingest(&[Sent::new("hello", CUSTOMER)]).unwrap();
        let sum = Aggregation::Sum { key: "tokens".to_owned() };
        let command = Command::CreateMeter(new_meter(sum));
        let Outcome::Meter(meter) = rig.change(command).unwrap().outcome else { panic!("a meter") };
        let usage = |cents| {
            let meter_id = meter.id.clone();
            let rate = NewRate::Money(Rate::PerUnit(UnitPrice::parse("2").unwrap()));
            let price =
                NewMeterPrice { meter_id, rate, free_threshold: 0, minimum: None, maximum: None };
            usage_price(vec![price], MONTH, cents)
        };
        let without_usage = |kind| NewPrice { kind, ..usage(4_000) };
        let recurrence =
            Recurrence { payment_frequency: MONTH, subscription_period: YEAR, trial_days: 0 };
        let mut brief = usage(3_000);
        if let NewPriceKind::UsageBased { recurrence, .. } = &mut brief.kind {
            recurrence.subscription_period = MONTH;
        }
        let euro = NewPrice { currency: Currency::from_code("EUR").unwrap(), ..usage(3_000) };
        let mut make = |price| {
            let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
                panic!("a product")
            };
            product.id.clone()
        };
        let (plan, other, archived) = (make(usage(3_000)), make(usage(8_000)), make(usage(1)));
        let flat = make(without_usage(NewPriceKind::Recurring(recurrence)));
        let once = make(without_usage(NewPriceKind::OneTime(None)));
        let brief = make(brief);
        let in_euro = make(euro);
        rig.change(Command::ArchiveProduct(archived.clone())).unwrap();
        let id = SubscriptionId::new("none yet");
        (rig, Self { id, plan, other, brief, flat, once, archived, in_euro })
    }

    pub(super) fn subscription(&self, rig: &Rig) -> Subscription {
        Subscription::clone(&rig.engine.subscription(&self.id).unwrap().subscription)
    }
}

/// A subscription on its way to a state.
struct Way {
    rig: Rig,
    known: Known,
}

impl Way {
    fn new(past_due: Option<PastDue>) -> Self {
        let (rig, known) = Known::new(past_due);
        Self { rig, known }
    }

    fn subscribe(mut self, change: impl FnOnce(&mut NewSubscription)) -> Self {
        let mut new = new_subscription(CUSTOMER, &self.known.plan);
        change(&mut new);
        let command = Command::CreateSubscription(Box::new(new));
        let Outcome::Subscription(made) = self.rig.change(command).unwrap().outcome else {
            panic!("a subscription")
        };
        self.known.id = made.id.clone();
        self
    }

    fn act(mut self, operation: Operation) -> Self {
        operation.perform(&mut self.rig, &self.known).unwrap();
        self
    }

    /// Some time passes in which something is used.
    fn live(mut self) -> Self {
        self.rig.advance(HOUR);
        self = self.act(Operation::Use);
        self.rig.advance(HOUR);
        self.rig.settle().unwrap();
        self
    }

    /// The bill of what was cut is made.
    fn settle(mut self) -> Self {
        self.rig.advance(self.rig.place.options.grace);
        self.rig.settle().unwrap();
        self
    }

    /// The oldest open payment fails.
    fn fail_oldest(mut self) -> Self {
        let open = payments(&self.rig).into_iter().rev();
        let mut open = open.filter(|payment| payment.status == PaymentStatus::Processing);
        let failed = Mark::Failed { code: None, message: None };
        let oldest = open.next().unwrap().id;
        self.rig.change(Command::MarkPayment(oldest, failed)).unwrap();
        self
    }

    /// A subscription that runs and has used something.
    fn running() -> Self {
        Self::new(None).subscribe(|_| {}).act(Operation::Pay).live()
    }

    /// The second period runs, and its renewal waits to be paid.
    fn renewed(past_due: Option<PastDue>) -> Self {
        let begun = Self::new(past_due).subscribe(|_| {}).act(Operation::Pay).live();
        begun.act(Operation::Wait(Until::Close)).live()
    }

    fn on_demand() -> Self {
        let way = Self::new(None);
        let flat = way.known.flat.clone();
        let begun = way.subscribe(|new| {
            new.product_id = flat;
            new.on_demand = Some(OnDemand { first: None });
        });
        begun.live()
    }

    /// A subscription in its last period.
    fn last_period() -> Self {
        let way = Self::new(None);
        let brief = way.known.brief.clone();
        way.subscribe(|new| new.product_id = brief).act(Operation::Pay).live()
    }
}

/// Leads to the state that a column is about.
pub(super) fn reach(column: &str) -> (Rig, Known) {
    use Operation::{
        Cancel, CancelLater, ChangeWhenPaid, Charge, Pause, Pay, Retry, Schedule, Wait,
    };
    let time_to_pay = Some(PastDue { grace: DAY * 33, end: PastDueEnd::Hold });
    let first = || Way::new(None).subscribe(|_| {});
    let way = match column {
        "first open" => first(),
        "first failed" => first().fail_oldest(),
        "first again" => first().fail_oldest().act(Retry),
        "running" => Way::running(),
        "in trial" => Way::new(None).subscribe(|new| new.trial_days = Some(10)).live(),
        "ending" => Way::running().act(CancelLater),
        "last period" => Way::last_period(),
        "scheduled" => Way::running().act(Schedule),
        "waiting" => Way::running().act(ChangeWhenPaid),
        "on hold" => Way::renewed(None).fail_oldest(),
        "retried" => Way::renewed(None).fail_oldest().act(Retry),
        "past due" => Way::renewed(time_to_pay).fail_oldest(),
        "waits on hold" => Way::renewed(None).act(ChangeWhenPaid).fail_oldest(),
        "waits late" => Way::renewed(time_to_pay).act(ChangeWhenPaid).fail_oldest(),
        "paused" => Way::running().act(Pause).settle().act(Pay),
        "pause unpaid" => Way::running().act(Pause).settle().fail_oldest(),
        "cancelled" => Way::running().act(Cancel).settle().act(Pay),
        "cancelled open" => Way::running().act(Cancel).settle(),
        "cancelled waiting" => {
            // What was used is paid: the change's payment alone is open.
            Way::running().act(Wait(Until::Close)).act(Pay).act(ChangeWhenPaid).act(Cancel).settle()
        }
        "expired" => Way::last_period().act(Wait(Until::Close)).act(Pay),
        "on demand" => Way::on_demand(),
        "charged" => Way::on_demand().act(Charge),
        "charge failed" => Way::on_demand().act(Charge).fail_oldest(),
        "charge again" => Way::on_demand().act(Charge).fail_oldest().act(Retry),
        "demand paused" => Way::on_demand().act(Pause),
        other => panic!("no way leads to {other}"),
    };
    (way.rig, way.known)
}
