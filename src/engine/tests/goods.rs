//! Meters, products and subscriptions as tests ask for them.

use crate::engine::Command;
use crate::engine::command::NewMeter;
use crate::engine::command::billing::{
    NewMeterPrice, NewPrice, NewPriceKind, NewProduct, NewSubscription, Subscriber,
};
use crate::model::price::{Interval, Recurrence};
use crate::model::product::TaxCategory;
use crate::model::subscription::BillingAddress;
use crate::model::{Aggregation, Currency, CustomerId, Money, ProductId};

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
        credits: Vec::new(),
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
        credits: Vec::new(),
    }
}
