//! About how many bytes due work takes in the log: its groups are bounded while they are decided, and the
//! log's thread encodes them later.

use crate::engine::invoicing::DraftInvoice;
use crate::engine::pools::moves::CreditsMove;
use crate::engine::record::{Body, Change};
use crate::engine::reservations::ReservationMove;
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::invoice::{InvoiceLine, LineDetail};
use crate::model::subscription::BillingAddress;
use crate::model::{Customer, Subscription};

/// A subscription without its texts and lists.
const SUBSCRIPTION: usize = 150;
/// A segment that is closing.
const CLOSING: usize = 80;
/// What a meter has used, an invoice that is not paid, a plan that is to come.
const ITEM: usize = 60;
/// What an attachment of credits says.
const ATTACHMENT: usize = 60;
/// The number of a pool.
const POOL: usize = 4;
/// A payment without its texts.
const PAYMENT: usize = 125;
/// An invoice without its texts and lines.
const INVOICE: usize = 90;
/// A line of an invoice without its texts.
const LINE: usize = 50;
/// An entry of metadata without its texts.
const ENTRY: usize = 3;

/// About how many bytes the encoding of a piece of due work takes that is no close. Of other records it knows
/// nothing.
pub fn bytes_about(body: &Body<'_>) -> usize {
    match body {
        Body::PeriodTurned(subscription) => of_subscription(subscription),
        Body::Change(entry) => match &entry.change {
            Change::Subscription(subscription) => of_subscription(subscription),
            Change::Meter(_)
            | Change::Customer(_)
            | Change::Key(_)
            | Change::Settings(_)
            | Change::Product(_)
            | Change::Checkout(_)
            | Change::Entitlement(_)
            | Change::Alert(_)
            | Change::Endpoint(_)
            | Change::Webhook(_) => 0,
        },
        Body::CreditsMoved(entry) => match &entry.moved {
            CreditsMove::Settled(pools) | CreditsMove::Expired { pools, .. } => {
                ITEM + pools.len() * POOL
            }
            CreditsMove::Reservation(ReservationMove::TimedOut(all)) => {
                ITEM + all.iter().map(|id| 1 + id.as_str().len()).sum::<usize>()
            }
            CreditsMove::Reservation(
                ReservationMove::Reserved(_)
                | ReservationMove::Committed(..)
                | ReservationMove::Released(_),
            )
            | CreditsMove::Entered(_) => 0,
        },
        Body::AlertsFired(entry) => entry.crossings.len() * ITEM,
        Body::Events(_)
        | Body::ClockSet(_)
        | Body::Backfilled(_)
        | Body::CycleClosed(_)
        | Body::PaymentMarked(_)
        | Body::WebhookSettled(_) => 0,
    }
}

/// About how many bytes the record of a close takes.
pub fn of_draft(draft: &DraftInvoice) -> usize {
    let DraftInvoice { subscription, billed, .. } = draft;
    let Customer { name, email, .. } = &*billed.customer;
    of_close(subscription, [name, email], &billed.bill.lines)
}

/// The same of its parts; `names` are the customer's. The address stands there three times, the metadata twice.
pub fn of_close(subscription: &Subscription, names: [&str; 2], lines: &[InvoiceLine]) -> usize {
    let texts = of_texts(&[&subscription.customer_business_name, &subscription.tax_id]);
    of_subscription(subscription)
        + PAYMENT
        + INVOICE
        + 2 * of_address(&subscription.billing)
        + of_metadata(&subscription.metadata)
        + names.map(str::len).iter().sum::<usize>()
        + texts
        + lines.iter().map(of_line).sum::<usize>()
}

fn of_subscription(subscription: &Subscription) -> usize {
    let scheduled = subscription.scheduled_change.is_some();
    let pending = subscription.pending_change.is_some();
    let plans = usize::from(scheduled) + usize::from(pending);
    let items = subscription.used.len() + subscription.unpaid.len() + plans;
    SUBSCRIPTION
        + subscription.closing.len() * CLOSING
        + items * ITEM
        + subscription.credits.len() * ATTACHMENT
        + of_address(&subscription.billing)
        + of_texts(&[&subscription.customer_business_name, &subscription.tax_id])
        + of_texts(&[&subscription.cancellation.comment])
        + of_metadata(&subscription.metadata)
}

fn of_line(line: &InvoiceLine) -> usize {
    let texts = match &line.detail {
        LineDetail::Fixed(line) | LineDetail::Unused(line) => line.name.len(),
        LineDetail::Usage(line) => {
            line.name.len() + line.measurement_unit.len() + line.shares.len() * ITEM
        }
        LineDetail::Overage(line) => line.name.len() + line.unit.len(),
        LineDetail::Charge(line) => line.name.len() + of_texts(&[&line.description]),
        LineDetail::Credit => 0,
    };
    LINE + texts
}

fn of_address(address: &BillingAddress) -> usize {
    let BillingAddress { country, city, state, street, zipcode } = address;
    country.len() + of_texts(&[city, state, street, zipcode])
}

fn of_texts(texts: &[&Option<String>]) -> usize {
    texts.iter().map(|text| 1 + text.as_ref().map_or(0, String::len)).sum()
}

fn of_metadata(metadata: &Metadata) -> usize {
    let entries = metadata.iter().map(|(key, value)| {
        let value = match value {
            MetadataValue::String(text) | MetadataValue::Number(text) => text.len(),
            MetadataValue::Boolean(_) => 1,
        };
        ENTRY + key.len() + value
    });
    entries.sum()
}
