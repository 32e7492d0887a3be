//! Changes of products, subscriptions and payments that a client asks for.
//!
//! Whoever makes one of these has checked forms, lengths and ranges; what depends on the state is
//! checked by the committer.

use crate::engine::command::credits::{CreditOverride, NewAttachment};
use crate::model::customer::Metadata;
use crate::model::price::{Interval, PayWhatYouWant, Recurrence};
use crate::model::product::TaxCategory;
use crate::model::subscription::{BillingAddress, CancelReason, CancellationFeedback};
use crate::model::{
    Currency, CustomerId, EntitlementId, MeterId, Money, ProductId, ProrationMode, Rate, Timestamp,
    UnitsPerCredit,
};

/// What one meter's usage is to cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMeterPrice {
    /// The meter.
    pub meter_id: MeterId,
    /// What units are to cost.
    pub rate: NewRate,
    /// Whole units of each period that cost nothing.
    pub free_threshold: u64,
    /// What a period costs at least, not negative; of credits nothing.
    pub minimum: Option<Money>,
    /// What a period costs at most, not less than the minimum; of credits nothing.
    pub maximum: Option<Money>,
}

/// What units are to cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewRate {
    /// Money; no [`Rate::Credits`].
    Money(Rate),
    /// Credits of an entitlement that the product hands out.
    Credits {
        /// The entitlement.
        entitlement_id: EntitlementId,
        /// Units that one credit covers.
        units_per_credit: UnitsPerCredit,
    },
}

/// When a price is to be due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPriceKind {
    /// A purchase, perhaps for as much as the customer wants.
    OneTime(Option<PayWhatYouWant>),
    /// Each cycle.
    Recurring(Recurrence),
    /// Each cycle, with usage.
    UsageBased {
        /// The cycle.
        recurrence: Recurrence,
        /// The meters: at most [`crate::model::price::METERS_MAX`], each once.
        meters: Vec<NewMeterPrice>,
    },
}

/// A price to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPrice {
    /// The currency of all its amounts.
    pub currency: Currency,
    /// What one costs, once or each cycle; not negative.
    pub fixed: Money,
    /// Off the fixed price, in hundredths of a percent; at most 10,000.
    pub discount_bps: u16,
    /// As the client says.
    pub tax_inclusive: bool,
    /// As the client says.
    pub purchasing_power_parity: bool,
    /// When it is due.
    pub kind: NewPriceKind,
}

/// A product to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProduct {
    /// The name people read.
    pub name: String,
    /// A longer text.
    pub description: Option<String>,
    /// What it is for the tax office.
    pub tax_category: TaxCategory,
    /// Free details.
    pub metadata: Metadata,
    /// Its first price.
    pub price: NewPrice,
    /// The credits that it hands out, each entitlement once; at most
    /// [`crate::model::credit::ATTACHMENTS_MAX`].
    pub credits: Vec<NewAttachment>,
}

/// Changes of a product; `None` keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductPatch {
    /// The name.
    pub name: Option<String>,
    /// The longer text; `Some(None)` clears it.
    pub description: Option<Option<String>>,
    /// What it is for the tax office.
    pub tax_category: Option<TaxCategory>,
    /// Free details.
    pub metadata: Option<Metadata>,
    /// The price of new purchases; of the kind that the product's prices have.
    pub price: Option<NewPrice>,
    /// The credits of new purchases, in place of all that it handed out.
    pub credits: Option<Vec<NewAttachment>>,
}

/// Who subscribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscriber {
    /// The customer with this id.
    Existing(CustomerId),
    /// The customer with this address, made when there is none.
    Addressed {
        /// The address; not empty.
        email: String,
        /// The name of a new customer.
        name: Option<String>,
        /// The phone number of a new customer.
        phone_number: Option<String>,
    },
}

/// A subscription that is charged on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDemand {
    /// What its first payment charges; nothing for a mandate alone.
    pub first: Option<NewCharge>,
}

/// What is to be charged on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCharge {
    /// How much; not below zero.
    pub amount: Money,
    /// The currency that the client expects.
    pub currency: Option<Currency>,
    /// What for, in words.
    pub description: Option<String>,
    /// Free details of the payment; the subscription's own when there are none.
    pub metadata: Option<Metadata>,
}

/// A change of plan that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanChange {
    /// The product.
    pub product_id: ProductId,
    /// How many; at least one.
    pub quantity: u32,
    /// What it costs at once.
    pub mode: ProrationMode,
    /// When it takes effect.
    pub effective: Effective,
    /// Whether a change that is scheduled gives way.
    pub replaces_scheduled: bool,
    /// Free details of the subscription from then on; `None` keeps.
    pub metadata: Option<Metadata>,
}

/// When a change of plan takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effective {
    /// At once, whatever becomes of its payment.
    Now,
    /// Once its payment has succeeded.
    WhenPaid,
    /// At the next boundary.
    NextBillingDate,
}

/// A subscription to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubscription {
    /// Who pays.
    pub customer: Subscriber,
    /// What for.
    pub product_id: ProductId,
    /// How many; at least one.
    pub quantity: u32,
    /// Days before the first cycle; those of the price when it is `None`.
    pub trial_days: Option<u32>,
    /// Whether it is charged on demand.
    pub on_demand: Option<OnDemand>,
    /// The currency that the client expects.
    pub billing_currency: Option<Currency>,
    /// Where the customer lives.
    pub billing: BillingAddress,
    /// The customer's company.
    pub customer_business_name: Option<String>,
    /// The customer's tax number.
    pub tax_id: Option<String>,
    /// Free details.
    pub metadata: Metadata,
    /// What is bought once with the first payment, each product once.
    pub once: Vec<NewPurchase>,
    /// What its credits are otherwise than the price says, each entitlement once.
    pub credits: Vec<CreditOverride>,
}

/// So many of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPurchase {
    /// The product.
    pub product_id: ProductId,
    /// How many; at least one.
    pub quantity: u32,
    /// What its credits are otherwise than the price says, each entitlement once.
    pub credits: Vec<CreditOverride>,
    /// What one is to cost, where the customer says so; not negative.
    pub amount: Option<Money>,
}

/// A checkout session to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCheckout {
    /// What is bought, each product once; never empty.
    pub cart: Vec<NewPurchase>,
    /// Who buys; needed when it is confirmed.
    pub customer: Option<Subscriber>,
    /// Where the customer lives; needed when it is confirmed.
    pub billing: Option<BillingAddress>,
    /// The currency that the client expects.
    pub billing_currency: Option<Currency>,
    /// Whether the order is made at once.
    pub confirm: bool,
    /// Days before the first cycle; those of the price when it is `None`.
    pub trial_days: Option<u32>,
    /// Whether no more of the address is asked for than the country and the postal code.
    pub minimal_address: bool,
    /// The customer's company.
    pub customer_business_name: Option<String>,
    /// The customer's tax number.
    pub tax_id: Option<String>,
    /// Free details.
    pub metadata: Metadata,
    /// Where a person goes once the order is made: `http` or `https`.
    pub return_url: Option<String>,
    /// Where a person goes who does not want to buy: `http` or `https`.
    pub cancel_url: Option<String>,
}

/// What a person says who confirms an order; what the session knows already is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfirmedBy {
    /// The address; not empty.
    pub email: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// Where the person lives.
    pub billing: Option<BillingAddress>,
    /// What one costs of each product whose amount is still to be said, in the cart's order.
    pub amounts: Vec<Money>,
}

/// Changes of a subscription; `None` keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionPatch {
    /// Pause it, or let it go on.
    pub pause: Option<bool>,
    /// End it now.
    pub cancel_now: bool,
    /// End it at the next boundary, or do not.
    pub cancel_at_next_billing_date: Option<bool>,
    /// Who or what ends it.
    pub cancel_reason: Option<CancelReason>,
    /// Why.
    pub cancellation_feedback: Option<CancellationFeedback>,
    /// Why, in words.
    pub cancellation_comment: Option<String>,
    /// The next boundary; the cycle is anchored there.
    pub next_billing_date: Option<Timestamp>,
    /// Let it renew, for the first time then, instead of being charged on demand.
    pub renews_from: Option<Timestamp>,
    /// How long it lasts.
    pub subscription_period: Option<Interval>,
    /// Where the customer lives.
    pub billing: Option<BillingAddress>,
    /// The customer's company; `Some(None)` clears it.
    pub customer_business_name: Option<Option<String>>,
    /// The customer's tax number; `Some(None)` clears it.
    pub tax_id: Option<Option<String>>,
    /// What its credits are to be from now on, each entitlement once.
    pub credits: Vec<CreditOverride>,
    /// Free details.
    pub metadata: Option<Metadata>,
}

/// What became of a payment that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The money is there.
    Succeeded,
    /// It is not.
    Failed {
        /// For programs.
        code: Option<String>,
        /// For people.
        message: Option<String>,
    },
}
