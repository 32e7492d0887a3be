//! What can be read of products, subscriptions, payments and invoices.

mod balances;
mod checkouts;
mod credits;
mod grants;
mod landing;
mod ledger;
mod overage;
mod payments;
mod plans;
mod pool_rows;
mod subscriptions;
mod told;
mod usage;
mod worked;

use std::sync::Arc;

use crate::billing::Bill;
use crate::engine::bill_rows;
use crate::model::invoice::{Invoice, InvoiceLine, UsageLine};
use crate::model::notice::{EntitlementWords, MeterWords, ProductWords};
use crate::model::price::MeterPrice;
use crate::model::{
    CheckoutSession, Currency, Customer, CustomerId, Lsn, MeterId, Money, Payment, PaymentId,
    PaymentStatus, Period, Price, Product, ProductId, Subscription, SubscriptionId,
    SubscriptionStatus, Timestamp,
};
use crate::storage::{codec, rows};

pub use balances::{BalanceView, CreditUsage};
pub use grants::{GrantStatus, GrantView};
pub(in crate::engine) use landing::{Counted, landings};
pub use landing::{Landing, LandingState};
pub use ledger::{LedgerFilter, LedgerView};
pub(in crate::engine) use overage::overage;
pub(in crate::engine) use payments::payment_by_id;
pub use told::{BalanceLowView, ThresholdView, ToldView};
pub(in crate::engine) use usage::{Cost, MeterPeriod, periods_of_meter, readings};
pub use worked::{WorkedExample, WorkedPrice};

/// Which products a list asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProductFilter {
    /// Those that are sold no more, instead of the others.
    pub archived: bool,
    /// Only those that are paid each cycle, or only those that are not.
    pub recurring: Option<bool>,
}

/// Which subscriptions a list asks for; every given field must match.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionFilter {
    /// Of this customer.
    pub customer_id: Option<CustomerId>,
    /// Of this product.
    pub product_id: Option<ProductId>,
    /// That stand here.
    pub status: Option<SubscriptionStatus>,
    /// That end at their next boundary, or that do not.
    pub cancel_at_next_billing_date: Option<bool>,
    /// Created at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Created at this instant or earlier.
    pub created_to: Option<Timestamp>,
}

/// Which payments a list asks for; every given field must match.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// Of this customer.
    pub customer_id: Option<CustomerId>,
    /// Of this subscription.
    pub subscription_id: Option<SubscriptionId>,
    /// For this product.
    pub product_id: Option<ProductId>,
    /// That stand here.
    pub status: Option<PaymentStatus>,
    /// In this currency.
    pub currency: Option<Currency>,
    /// Created at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Created at this instant or earlier.
    pub created_to: Option<Timestamp>,
}

/// Which invoices a list asks for; every given field must match.
#[derive(Clone, Debug, Default)]
pub struct InvoiceFilter {
    /// Of this customer.
    pub customer_id: Option<CustomerId>,
    /// Of this subscription.
    pub subscription_id: Option<SubscriptionId>,
}

/// A subscription with what its numbers stand for.
#[derive(Clone, Debug)]
pub struct SubscriptionView {
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// Who pays.
    pub customer: Arc<Customer>,
    /// What for.
    pub product: Arc<Product>,
    /// The payment it was made with.
    pub first_payment: PaymentId,
    /// Ids of other live subscriptions of the customer that bill a meter of this one too: each bills
    /// all of the customer's usage.
    pub shares_meters_with: Vec<SubscriptionId>,
    /// The meters of its price, in the price's order.
    pub meters: Vec<MeterWords>,
    /// What it is granted, in the order of its attachments.
    pub entitlements: Vec<EntitlementWords>,
    /// What its scheduled change leads to.
    pub scheduled: Option<ProductWords>,
}

/// A payment with what its numbers stand for.
#[derive(Clone, Debug)]
pub struct PaymentView {
    /// The payment.
    pub payment: Arc<Payment>,
    /// Who pays.
    pub customer: Arc<Customer>,
    /// The subscription; a cart has none.
    pub subscription_id: Option<SubscriptionId>,
    /// The ids of the products of its cart, in the cart's order.
    pub product_ids: Vec<ProductId>,
    /// Whether no later payment of the same invoice was made.
    pub is_newest: bool,
}

/// An invoice with what its numbers stand for.
#[derive(Clone, Debug)]
pub struct InvoiceView {
    /// The invoice.
    pub invoice: Arc<Invoice>,
    /// Who pays.
    pub customer_id: CustomerId,
    /// The subscription; a cart has none.
    pub subscription_id: Option<SubscriptionId>,
    /// The ids of the meters on its lines, in the lines' order; none for a fixed price.
    pub meter_ids: Vec<Option<MeterId>>,
    /// The ids of the products on its lines.
    pub product_ids: Vec<ProductId>,
}

/// A change of plan as it would be now.
#[derive(Clone, Debug)]
pub struct ChangePreview {
    /// When it would take effect.
    pub effective_at: Timestamp,
    /// The currency of every amount.
    pub currency: Currency,
    /// What its payment would be for.
    pub bill: Bill,
    /// What the subscription would have left for later invoices.
    pub credit: Money,
    /// The usage of the segment that it would cut, as it would be billed, with the meters.
    pub usage: Vec<(InvoiceLine, MeterId)>,
    /// The subscription as it would be.
    pub after: SubscriptionView,
}

/// A checkout session as it is at an instant.
#[derive(Clone, Debug)]
pub struct CheckoutView {
    /// The instant.
    pub now: Timestamp,
    /// The session.
    pub session: Arc<CheckoutSession>,
    /// Who bought, or who is to, when that is a customer already.
    pub customer: Option<Arc<Customer>>,
    /// The newest payment of the order that was made.
    pub payment: Option<(PaymentId, PaymentStatus)>,
    /// What it would cost, while it is open.
    pub offer: Option<OfferView>,
}

/// What an order would cost.
#[derive(Clone, Debug)]
pub struct OfferView {
    /// What is paid each cycle.
    pub recurring: Option<OfferLine>,
    /// Days before the first cycle.
    pub trial_days: u32,
    /// What is bought once.
    pub once: Vec<OfferLine>,
    /// What usage costs: the names of meters with their units, and their prices.
    pub meters: Vec<(String, MeterPrice)>,
    /// What is due when it is confirmed.
    pub total: Money,
}

/// A product of an order.
#[derive(Clone, Debug)]
pub struct OfferLine {
    /// Its name.
    pub name: String,
    /// Its price.
    pub price: Price,
    /// How many.
    pub quantity: u32,
    /// What they come to, once or each cycle; at least, while the customer has not said what one costs.
    pub amount: Money,
    /// Whether the customer is still to say what one costs.
    pub is_open: bool,
}

/// Which periods of usage are asked for.
#[derive(Clone, Debug, Default)]
pub struct UsageHistoryQuery {
    /// Periods that end at this instant or later.
    pub from: Option<Timestamp>,
    /// Periods that start at this instant or earlier.
    pub to: Option<Timestamp>,
    /// This meter alone.
    pub meter_id: Option<MeterId>,
}

/// Usage of one meter in one period, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterUsage {
    /// The meter.
    pub meter_id: MeterId,
    /// The usage and its price.
    pub usage: UsageLine,
    /// What it comes to.
    pub total: Money,
}

/// One period of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsagePeriod {
    /// The period.
    pub period: Period,
    /// Whether it has ended and has no invoice yet, so that late events still count.
    pub closing: bool,
    /// The currency of the totals.
    pub currency: Currency,
    /// Its meters, in the price's order.
    pub meters: Vec<MeterUsage>,
}

/// An invoice that will be made, as it would be now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upcoming {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// The currency.
    pub currency: Currency,
    /// The period whose usage it bills.
    pub period: Period,
    /// The instant it is scheduled for.
    pub due_at: Timestamp,
    /// When it will be made.
    pub close_at: Timestamp,
    /// Whether its period has ended.
    pub closing: bool,
    /// The lines, as on an invoice.
    pub lines: Vec<InvoiceLine>,
    /// The ids of the meters on its lines; none for a fixed price.
    pub meter_ids: Vec<Option<MeterId>>,
    /// The sum.
    pub total: Money,
}

/// What the next invoices of a customer would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpcomingInvoices {
    /// Closing periods first, then running ones; each in order of their end.
    pub items: Vec<Upcoming>,
    /// They reflect every event up to here, and perhaps later ones.
    pub as_of_lsn: Lsn,
}

/// How far billing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillingStatus {
    /// The next instant at which anything is due.
    pub next_due: Option<Timestamp>,
    /// How many turns, closes, expiries and settlements of pools are due now and not done.
    pub overdue: u64,
    /// Whether they wait because the clock is in doubt.
    pub waiting_for_clock: bool,
    /// When something due was last done.
    pub last_run: Option<Timestamp>,
    /// Subscriptions whose closes have stopped because a total left 64 bits.
    pub stopped: u64,
}

/// Why something of billing cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BillsError {
    /// The thing does not exist.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// The rows on disk could not be read.
    #[error("read payments and invoices")]
    Rows(#[from] rows::Error),
    /// A row is not what was written.
    #[error("decode a payment or invoice")]
    Codec(#[from] codec::Error),
    /// A row of payments or invoices could not be read.
    #[error("read payments and invoices")]
    Bills(#[from] bill_rows::Error),
}
