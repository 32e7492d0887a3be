//! Cycles: boundaries turned and segments closed, from what is due to what is applied.
//!
//! Question: what does a subscription with one line of usage cost at the end of its cycle, when nobody
//! sends anything: a turn, and a close with its invoice and payment, decided, written and applied? And with a
//! webhook endpoint that is told of it, by some three messages?
//! Bound: a million in ten seconds on two cores, of which one writes: 10 us of the committer's.

use std::time::Duration;

use quipu::engine::Outcome;
use quipu::engine::command::Command;
use quipu::engine::command::billing::{
    NewMeterPrice, NewPrice, NewPriceKind, NewProduct, NewRate, NewSubscription, Subscriber,
};
use quipu::engine::command::webhooks::{NewEndpoint, WebhookCommand};
use quipu::model::price::{Interval, IntervalUnit, Recurrence};
use quipu::model::product::TaxCategory;
use quipu::model::subscription::BillingAddress;
use quipu::model::{Currency, CustomerId, MeterId, Money, ProductId, Rate, UnitPrice};
use tempfile::TempDir;

use crate::body::REQUEST_EVENTS;
use crate::rig::{Rig, directory};
use crate::{Scale, Stage};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

struct Cycles {
    rig: Rig,
    subscriptions: u64,
    _directory: TempDir,
}

pub(crate) fn new(scale: Scale) -> Box<dyn Stage> {
    cycles(scale, false)
}

/// The same with a webhook endpoint that is told of everything.
pub(crate) fn told(scale: Scale) -> Box<dyn Stage> {
    cycles(scale, true)
}

fn cycles(scale: Scale, is_told: bool) -> Box<dyn Stage> {
    let subscriptions = match scale {
        Scale::Timed => 20_000,
        Scale::Counted => 2_000,
    };
    let place = directory();
    let mut rig = Rig::new(place.path(), subscriptions);
    // Makes nearly all customers.
    (0..subscriptions * 4 / REQUEST_EVENTS).for_each(|_| rig.ingest());
    let meter = rig.meter();
    let product = product(&mut rig, meter);
    for number in 0..subscriptions {
        let customer = CustomerId::new(format!("cus_{number:08}"));
        rig.change_if_possible(subscription(customer, product.clone()));
    }
    if is_told {
        let endpoint = NewEndpoint {
            url: "https://example.org/".to_owned(),
            description: String::new(),
            disabled: false,
            filter: None,
            headers: Vec::new(),
            metadata: Vec::new(),
            rate_limit: None,
        };
        let command = Command::Webhook(Box::new(WebhookCommand::Create(endpoint)));
        rig.change_if_possible(command).expect("an endpoint");
    }
    // Behind the time that ends every period's grace.
    rig.pass(HOUR * 2);
    Box::new(Cycles { rig, subscriptions, _directory: place })
}

pub(crate) fn product(rig: &mut Rig, meter_id: MeterId) -> ProductId {
    let interval = |count| Interval { count, unit: IntervalUnit::Day };
    let price = UnitPrice::parse("0.02").expect("a price");
    let price = NewPrice {
        currency: Currency::from_code("USD").expect("a currency"),
        fixed: Money::from_minor(4_900),
        discount_bps: 0,
        tax_inclusive: false,
        purchasing_power_parity: false,
        kind: NewPriceKind::UsageBased {
            recurrence: Recurrence {
                payment_frequency: interval(1),
                subscription_period: interval(10_000),
                trial_days: 0,
            },
            meters: vec![NewMeterPrice {
                meter_id,
                rate: NewRate::Money(Rate::PerUnit(price)),
                free_threshold: 0,
                minimum: None,
                maximum: None,
            }],
        },
    };
    let product = NewProduct {
        name: "Plan".to_owned(),
        description: None,
        tax_category: TaxCategory::Saas,
        metadata: Vec::new(),
        price,
        credits: Vec::new(),
    };
    match rig.change_if_possible(Command::CreateProduct(Box::new(product))) {
        Some(Outcome::Product(product)) => product.id.clone(),
        other => unreachable!("a product was asked for: {other:?}"),
    }
}

pub(crate) fn subscription(customer: CustomerId, product_id: ProductId) -> Command {
    let address = BillingAddress {
        country: "PE".to_owned(),
        city: None,
        state: None,
        street: None,
        zipcode: None,
    };
    Command::CreateSubscription(Box::new(NewSubscription {
        customer: Subscriber::Existing(customer),
        product_id,
        quantity: 1,
        trial_days: None,
        on_demand: None,
        billing_currency: None,
        billing: address,
        customer_business_name: None,
        tax_id: None,
        metadata: Vec::new(),
        once: Vec::new(),
        credits: Vec::new(),
    }))
}

impl Stage for Cycles {
    fn items(&self) -> u64 {
        let shared = &self.rig.recovered.machine.shared;
        shared.state.with_books(|books| books.subscriptions().len() as u64)
    }

    /// Usage of the running period; and a checkpoint, as one comes every two million records.
    fn prepare(&mut self) {
        (0..self.subscriptions / REQUEST_EVENTS).for_each(|_| self.rig.ingest());
        self.rig.recovered.machine.checkpoint().expect("the disk takes a checkpoint");
    }

    fn run(&mut self) {
        self.rig.pass(DAY);
    }
}
