//! Alerts: whatever happens in between, each fires for exactly the customers and periods whose counters
//! come to its threshold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::credits::{Shop, credits, overage};
use super::goods::{new_meter, new_product, new_subscription, usage_price};
use super::rig::{Crash, Rig, Sent, tiny};
use crate::billing::boundary;
use crate::engine::alerts::watch::Step;
use crate::engine::command::alerts::{NewAlert, NewThreshold};
use crate::engine::command::billing::{NewMeterPrice, NewRate};
use crate::engine::{Command, Outcome, Refused};
use crate::model::credit::OverageBehavior;
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Aggregation, AlertId, Currency, CustomerId, MeterId, Money, Quantity, Rate, Timestamp,
    UnitPrice,
};

/// Alerts that nobody has looked at for longer may miss what has ended.
const UNWATCHED_MAX: Duration = Duration::from_hours(30 * 24);
const MINUTE: Duration = Duration::from_mins(1);
const WEEK: Interval = Interval { count: 1, unit: IntervalUnit::Week };
/// Cents a call, behind so many that are free.
const PRICE: i64 = 2;
const FREE: i64 = 3;
/// The first two of them have subscriptions.
const CUSTOMERS: u64 = 3;
const SUBSCRIBERS: u64 = 2;

impl Rig {
    /// Lets alerts look at everybody whose counters have moved.
    pub(super) fn watch(&mut self) {
        for _ in 0..10_000 {
            if self.machine.watcher.step() == Step::Idle {
                return;
            }
            self.settle().unwrap();
        }
        panic!("alerts are never done");
    }

    pub(super) fn alert(&mut self, new: NewAlert) -> Result<AlertId, Refused> {
        let changed = self.change(Command::CreateAlert(Box::new(new)))?;
        let Outcome::Alert(alert) = changed.outcome else { panic!() };
        Ok(alert.id.clone())
    }

    fn fired(&self, id: &AlertId) -> u64 {
        self.engine.alert(id).unwrap().kept.fired_count
    }
}

/// What happens between two looks.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// A customer calls, stamped so many minutes before or behind the present.
    Call {
        customer: u64,
        minutes: i64,
    },
    Pass(Duration),
    /// The job takes so many steps; what it has submitted may be decided later.
    Watch(u8),
    Checkpoint,
    Crash(Crash),
}

fn any_deed() -> impl Strategy<Value = Deed> {
    let crash = prop_oneof![
        Just(Crash::Killed),
        Just(Crash::DropsAll),
        any::<u64>().prop_map(Crash::Random),
    ];
    prop_oneof![
        20 => (0..CUSTOMERS, -50_i64..5).prop_map(|(customer, minutes)| Deed::Call { customer, minutes }),
        3 => (1_u64..90).prop_map(|minutes| Deed::Pass(MINUTE * u32::try_from(minutes).unwrap())),
        2 => (1_u64..20).prop_map(|days| Deed::Pass(Duration::from_hours(24 * days))),
        4 => (1_u8..4).prop_map(Deed::Watch),
        2 => Just(Deed::Checkpoint),
        2 => crash.prop_map(Deed::Crash),
    ]
}

/// A plain shop, and all calls that were ever acknowledged.
struct Life {
    rig: Rig,
    alerts: Vec<(AlertId, Threshold)>,
    anchors: Vec<Timestamp>,
    calls: Vec<(u64, Timestamp)>,
    /// How long nobody has looked at all that was touched.
    unwatched: Duration,
}

/// What an alert of the life waits for.
#[derive(Clone, Copy, Debug)]
enum Threshold {
    Calls(i64),
    CallsOf(u64, i64),
    Cents(i64),
}

fn usage(meter_id: &MeterId, at_least: i64) -> NewThreshold {
    let at_least = Quantity::from_count(at_least.unsigned_abs());
    NewThreshold::Usage { meter_id: meter_id.clone(), at_least }
}

impl Life {
    fn new() -> Self {
        let mut rig = Rig::new(tiny());
        let meter = rig.change(Command::CreateMeter(new_meter(Aggregation::Count))).unwrap();
        let Outcome::Meter(meter) = meter.outcome else { panic!() };
        let price = usage_price(
            vec![NewMeterPrice {
                meter_id: meter.id.clone(),
                rate: NewRate::Money(Rate::PerUnit(UnitPrice::parse(&PRICE.to_string()).unwrap())),
                free_threshold: FREE.unsigned_abs(),
                minimum: None,
                maximum: None,
            }],
            WEEK,
            100,
        );
        let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
            panic!()
        };
        let mut anchors = Vec::new();
        for customer in 0..CUSTOMERS {
            let id = format!("c{customer}");
            let other = Sent { name: "hello".to_owned(), ..Sent::new(format!("h{customer}"), &id) };
            rig.ingest(&[other]).unwrap();
            if customer < SUBSCRIBERS {
                let new = new_subscription(&id, &product.id);
                let made = rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
                let Outcome::Subscription(made) = made.outcome else { panic!() };
                anchors.push(made.cycle.anchor);
            }
        }
        let mut life =
            Self { rig, alerts: Vec::new(), anchors, calls: Vec::new(), unwatched: Duration::ZERO };
        for threshold in [
            Threshold::Calls(2),
            Threshold::Calls(7),
            Threshold::CallsOf(1, 4),
            Threshold::Cents(5),
            Threshold::Cents(PRICE),
        ] {
            life.watch_for(&meter.id, threshold);
        }
        life
    }

    fn watch_for(&mut self, meter_id: &MeterId, threshold: Threshold) {
        let currency = Currency::from_code("USD").unwrap();
        let (wanted, customer) = match threshold {
            Threshold::Calls(calls) => (usage(meter_id, calls), None),
            Threshold::CallsOf(customer, calls) => (usage(meter_id, calls), Some(customer)),
            Threshold::Cents(cents) => {
                let (meter_id, at_least) = (meter_id.clone(), Money::from_minor(cents));
                (NewThreshold::Cost { meter_id, currency, at_least }, None)
            }
        };
        let customer_id = customer.map(|customer| CustomerId::new(format!("c{customer}")));
        let new = NewAlert { name: None, threshold: wanted, customer_id };
        let id = self.rig.alert(new).unwrap();
        self.alerts.push((id, threshold));
    }

    fn do_deed(&mut self, deed: Deed) {
        match deed {
            Deed::Call { customer, minutes } => {
                let now = self.rig.engine.now();
                let distance = MINUTE * u32::try_from(minutes.unsigned_abs()).unwrap();
                let at = if minutes < 0 { now.minus(distance) } else { now.plus(distance) };
                let id = format!("e{}", self.calls.len());
                self.rig.ingest(&[Sent::new(id, &format!("c{customer}")).at(at)]).unwrap();
                self.calls.push((customer, at));
            }
            Deed::Pass(time) => {
                self.unwatched += time;
                if self.unwatched > UNWATCHED_MAX {
                    self.rig.settle().unwrap();
                    self.rig.watch();
                    self.unwatched = time;
                }
                self.rig.advance(time);
                self.rig.settle().unwrap();
            }
            Deed::Watch(steps) => {
                for _ in 0..steps {
                    self.rig.machine.watcher.step();
                }
            }
            Deed::Checkpoint => self.rig.machine.checkpoint().unwrap(),
            Deed::Crash(crash) => self.rig = self.rig.place.after(crash).open(),
        }
    }

    /// The period of a customer that an instant lies in: nothing before the subscription.
    fn span(&self, customer: u64, at: Timestamp) -> Option<Timestamp> {
        let Some(anchor) = self.anchors.get(usize::try_from(customer).unwrap()) else {
            return Some(at.month_start());
        };
        let starts = (0..).map(|number| boundary(*anchor, WEEK, number).unwrap());
        starts.take_while(|start| *start <= at).last()
    }

    /// For how many customers and periods an alert must have fired.
    fn expected(&self, threshold: Threshold) -> u64 {
        let mut calls: BTreeMap<(u64, Timestamp), i64> = BTreeMap::new();
        for (customer, at) in &self.calls {
            if let Some(span) = self.span(*customer, *at) {
                *calls.entry((*customer, span)).or_default() += 1;
            }
        }
        let crossed = calls.iter().filter(|((customer, _), calls)| match threshold {
            Threshold::Calls(least) => **calls >= least,
            Threshold::CallsOf(own, least) => *customer == own && **calls >= least,
            Threshold::Cents(least) => {
                *customer < SUBSCRIBERS && (**calls - FREE).max(0) * PRICE >= least
            }
        });
        crossed.count() as u64
    }

    fn check(&mut self) {
        self.rig.settle().unwrap();
        self.rig.watch();
        for (id, threshold) in &self.alerts {
            assert_eq!(self.rig.fired(id), self.expected(*threshold), "{threshold:?}");
        }
        let state = &self.rig.machine.shared.state;
        assert!(state.with_alerts(|alerts| alerts.is_settled()));
    }
}

proptest! {
    #![proptest_config(Config { cases: 24, ..Config::default() })]

    #[test]
    fn each_alert_fires_once_for_each_customer_and_period(
        deeds in prop::collection::vec(any_deed(), 60..120),
    ) {
        let mut life = Life::new();
        for deed in deeds {
            life.do_deed(deed);
        }
        life.check();
        // Nobody who asks again is told again.
        life.do_deed(Deed::Crash(Crash::Killed));
        life.check();
        life.do_deed(Deed::Checkpoint);
        life.do_deed(Deed::Crash(Crash::DropsAll));
        life.check();
    }
}

#[test]
fn a_balance_that_comes_down_fires_once_in_a_period() {
    let mut shop = Shop::new(overage(OverageBehavior::ForgiveAtReset, None));
    shop.subscribe();
    let threshold =
        NewThreshold::Balance { entitlement_id: shop.entitlement.clone(), at_most: credits(90) };
    let id = shop.rig.alert(NewAlert { name: None, threshold, customer_id: None }).unwrap();
    shop.call(0, 99);
    shop.rig.watch();
    assert_eq!(shop.rig.fired(&id), 0, "90.1 credits are left");
    shop.call(0, 1);
    shop.rig.watch();
    assert_eq!(shop.rig.fired(&id), 1);
    shop.call(0, 10);
    shop.rig.watch();
    let mut shop = shop.killed();
    shop.rig.watch();
    assert_eq!(shop.rig.fired(&id), 1);
    shop.pass(Duration::from_hours(32 * 24));
    shop.rig.watch();
    assert_eq!(shop.rig.fired(&id), 1, "a hundred were granted");
    let counted = |shop: &Shop| {
        let stats = shop.rig.engine.stats();
        (stats.alerts, stats.alerts_fired)
    };
    assert_eq!(counted(&shop), (1, 0), "a process counts its own");
    shop.call(0, 200);
    shop.rig.watch();
    assert_eq!(shop.rig.fired(&id), 2);
    assert_eq!(counted(&shop), (1, 1));
}

#[test]
fn a_deleted_alert_is_gone_and_what_it_needs_must_be_there() {
    let mut life = Life::new();
    let (id, _) = life.alerts[0].clone();
    let meter_id = life.rig.engine.alert(&id).unwrap().meter_id.unwrap();
    life.rig.change(Command::DeleteAlert(id.clone())).unwrap();
    assert_eq!(life.rig.engine.alert(&id), None);
    let again = life.rig.change(Command::DeleteAlert(id.clone()));
    assert_eq!(again.unwrap_err(), Refused::NotFound("alert"));
    (0..9).for_each(|_| life.do_deed(Deed::Call { customer: 0, minutes: 0 }));
    let next = life.rig.alert(NewAlert {
        name: Some("again".to_owned()),
        threshold: usage(&meter_id, 2),
        customer_id: None,
    });
    let next = next.unwrap();
    life.rig.watch();
    let ids: BTreeSet<_> = [&id, &next].into_iter().collect();
    assert_eq!(ids.len(), 2);
    // Who was beyond it before is told with the next event.
    life.do_deed(Deed::Call { customer: 0, minutes: 0 });
    life.rig.watch();
    assert_eq!(life.rig.fired(&next), 1);
    let unknown = |threshold, customer_id| NewAlert { name: None, threshold, customer_id };
    for (new, field) in [
        (unknown(usage(&MeterId::new("nowhere"), 1), None), "meter_id"),
        (unknown(usage(&meter_id, 1), Some(CustomerId::new("nobody"))), "customer_id"),
    ] {
        let refused = life.rig.alert(new).unwrap_err();
        assert!(matches!(&refused, Refused::Invalid { field: found, .. } if found == field));
    }
    life.rig.change(Command::ArchiveMeter(meter_id.clone())).unwrap();
    let refused = life.rig.alert(unknown(usage(&meter_id, 1), None)).unwrap_err();
    assert!(matches!(refused, Refused::Invalid { .. }), "{refused:?}");
}

#[test]
fn usage_ahead_of_the_clock_fires_in_its_own_month() {
    let mut life = Life::new();
    let meter_id = life.rig.engine.alert(&life.alerts[0].0).unwrap().meter_id.unwrap();
    // A customer without a subscription, a minute before a month ends.
    let end = life.rig.engine.now().next_month_start();
    life.rig.advance(end.minus(MINUTE).since(life.rig.engine.now()));
    life.rig.settle().unwrap();
    let name = Some("ahead".to_owned());
    let new = NewAlert { name, threshold: usage(&meter_id, 2), customer_id: None };
    let id = life.rig.alert(new).unwrap();
    life.do_deed(Deed::Call { customer: 2, minutes: 0 });
    (0..2).for_each(|_| life.do_deed(Deed::Call { customer: 2, minutes: 2 }));
    life.rig.watch();
    assert_eq!(life.rig.fired(&id), 1, "one of the two months has two calls");
}
