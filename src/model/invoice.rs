//! Invoices and their payments.
//!
//! An invoice never changes. Each has a payment; one that failed can be tried again, which makes
//! another payment of the same invoice.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::credit::{Attachment, Credits};
use crate::model::currency::Currency;
use crate::model::customer::Metadata;
use crate::model::id::{
    CheckoutId, CustomerIndex, EntitlementIndex, InvoiceId, MeterIndex, PaymentId, PaymentIndex,
    ProductIndex, SubscriptionIndex,
};
use crate::model::lsn::Lsn;
use crate::model::money::Money;
use crate::model::number::Quantity;
use crate::model::period::{Period, Share};
use crate::model::price::UnitPrice;
use crate::model::product::PriceVersion;
use crate::model::rate::{Bound, Rate, TierShare, Used};
use crate::model::subscription::BillingAddress;
use crate::model::time::Timestamp;

/// The number of an invoice: 1 is the first; given without gaps in log order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InvoiceNumber(pub u64);

/// What an invoice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InvoiceCause {
    /// A subscription was made.
    Created,
    /// This segment of it was closed.
    Closed(u32),
    /// A cart of products that are bought once, without a subscription.
    Cart,
    /// Its plan was changed.
    Changed,
    /// It was charged on demand.
    Charged,
}

/// What a payment charges for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChargeType {
    /// The start of a subscription.
    New,
    /// A segment of one that was closed.
    Renewal,
    /// A change of plan.
    PlanChange,
    /// What was asked for on demand.
    OnDemand,
}

/// Usage of one meter on an invoice, with all that its amount was reckoned from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageLine {
    /// The meter.
    pub meter: MeterIndex,
    /// Its name then.
    pub name: String,
    /// Its unit then.
    pub measurement_unit: String,
    /// The aggregation over the segment.
    pub consumed: Quantity,
    /// What was free.
    pub free_threshold: u64,
    /// What was not; never negative.
    pub chargeable: Quantity,
    /// What units cost.
    pub rate: Rate,
    /// Units of the period that stand before the chargeable ones in tiers and packages.
    pub position: Quantity,
    /// How the tiers share the chargeable units, ascending; only of tiers.
    pub shares: Vec<TierShare>,
    /// What the period costs at least.
    pub minimum: Option<Money>,
    /// What the period costs at most.
    pub maximum: Option<Money>,
    /// Which of the two has decided the amount.
    pub bound: Option<Bound>,
    /// What earlier segments of the period had used and billed.
    pub used: Used,
    /// The first and the last event that were counted, in log order.
    pub lsns: Option<(Lsn, Lsn)>,
}

/// A fixed price on an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedLine {
    /// The product's name then.
    pub name: String,
    /// The price of one.
    pub price: Money,
    /// How many.
    pub quantity: u32,
    /// Off, in hundredths of a percent.
    pub discount_bps: u16,
    /// What is paid for; nothing when the product is bought once.
    pub period: Option<Period>,
    /// The part of the price that is paid; all of it when there is none.
    pub share: Option<Share>,
}

/// What is charged on demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeLine {
    /// The product's name then.
    pub name: String,
    /// What for, in the client's words.
    pub description: Option<String>,
}

/// Usage beyond credits on an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverageLine {
    /// The entitlement.
    pub entitlement: EntitlementIndex,
    /// Its name then.
    pub name: String,
    /// What one credit was called then.
    pub unit: String,
    /// How many; more than none.
    pub credits: Credits,
    /// What one costs.
    pub price: UnitPrice,
}

/// What a line is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineDetail {
    /// A fixed price: of a cycle in advance, or of a purchase.
    Fixed(FixedLine),
    /// What is left of a fixed price that was paid: its amount is not above zero.
    Unused(FixedLine),
    /// Usage, in arrears.
    Usage(Box<UsageLine>),
    /// Usage beyond credits, of the period that has ended.
    Overage(OverageLine),
    /// What was asked for on demand.
    Charge(ChargeLine),
    /// Money that a change of plan left: above zero what is kept for later invoices, below zero what is
    /// taken from there.
    Credit,
}

impl LineDetail {
    /// The usage of one meter, when it is that.
    pub fn usage(&self) -> Option<&UsageLine> {
        match self {
            Self::Usage(usage) => Some(usage),
            Self::Fixed(_)
            | Self::Unused(_)
            | Self::Overage(_)
            | Self::Charge(_)
            | Self::Credit => None,
        }
    }
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLine {
    /// The product.
    pub product: ProductIndex,
    /// Which of its prices.
    pub price_version: PriceVersion,
    /// What for.
    pub detail: LineDetail,
    /// What it comes to, rounded once.
    pub amount: Money,
}

/// Who an invoice is made out to, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillTo {
    /// The name.
    pub name: String,
    /// The address for mail.
    pub email: String,
    /// The company.
    pub business_name: Option<String>,
    /// The tax number.
    pub tax_id: Option<String>,
    /// The postal address.
    pub address: Arc<BillingAddress>,
}

/// An invoice. Its lines sum to its total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// The id, `inv_…`.
    pub id: InvoiceId,
    /// The number.
    pub number: InvoiceNumber,
    /// What it is for; no two of a subscription have the same.
    pub cause: InvoiceCause,
    /// The subscription; a cart has none.
    pub subscription: Option<SubscriptionIndex>,
    /// Who pays.
    pub customer: CustomerIndex,
    /// Who pays, in words.
    pub bill_to: BillTo,
    /// The currency of every amount.
    pub currency: Currency,
    /// The sum.
    pub total: Money,
    /// Of a close the segment that was closed, else what is paid for; a cart has none.
    pub period: Option<Period>,
    /// The instant it was scheduled for.
    pub due_at: Timestamp,
    /// Log time of its record.
    pub created_at: Timestamp,
    /// It reflects every event up to here.
    pub cut_off_lsn: Lsn,
    /// The lines: the fixed price first, then the meters in the price's order, then what is bought
    /// once.
    pub lines: Vec<InvoiceLine>,
}

impl Invoice {
    /// Whether any usage on it is not zero, or costs something all the same, or went beyond credits.
    pub fn includes_usage(&self) -> bool {
        self.lines.iter().any(|line| match &line.detail {
            LineDetail::Usage(usage) => {
                usage.consumed != Quantity::ZERO || line.amount != Money::ZERO
            }
            LineDetail::Overage(_) => true,
            LineDetail::Fixed(_)
            | LineDetail::Unused(_)
            | LineDetail::Charge(_)
            | LineDetail::Credit => false,
        })
    }
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PaymentStatus {
    /// It waits to be marked.
    Processing,
    /// The money is there.
    Succeeded,
    /// It is not, and this payment will not bring it.
    Failed,
}

/// Why a payment has failed, as the client says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailure {
    /// For programs.
    pub code: Option<String>,
    /// For people.
    pub message: Option<String>,
}

/// So many of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartItem {
    /// The product.
    pub product: ProductIndex,
    /// How many; at least one.
    pub quantity: u32,
    /// What one of it hands out of credits; of what is bought once alone.
    pub credits: Vec<Attachment>,
}

/// A payment of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The id, `pay_…`.
    pub id: PaymentId,
    /// Its number among all payments, from 0 in log order.
    pub index: PaymentIndex,
    /// The invoice it pays.
    pub invoice: InvoiceNumber,
    /// That invoice's id.
    pub invoice_id: InvoiceId,
    /// Who pays.
    pub customer: CustomerIndex,
    /// The subscription; a cart has none.
    pub subscription: Option<SubscriptionIndex>,
    /// The product that the subscription had, then what is bought once; never empty.
    pub cart: Vec<CartItem>,
    /// The currency.
    pub currency: Currency,
    /// The invoice's total.
    pub total: Money,
    /// What it charges a subscription for; nothing for a cart.
    pub charge_type: Option<ChargeType>,
    /// Whether any usage on the invoice is not zero.
    pub includes_usage: bool,
    /// What the fixed price pays for; none when it bills usage alone.
    pub service_period: Option<Period>,
    /// The part of the fixed price that it pays, when that is not all of it.
    pub share: Option<Share>,
    /// Where it stands.
    pub status: PaymentStatus,
    /// Why it has failed.
    pub failure: PaymentFailure,
    /// How many payments of the invoice were before it.
    pub retry_attempt: u32,
    /// Where the customer lived.
    pub billing: Arc<BillingAddress>,
    /// The free details of the subscription then, or of the purchase.
    pub metadata: Metadata,
    /// The checkout session that it was ordered with.
    pub checkout: Option<CheckoutId>,
    /// Log time of its record.
    pub created_at: Timestamp,
    /// Log time of the last change.
    pub updated_at: Timestamp,
}
