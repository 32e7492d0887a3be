//! Where usage of one instant is billed, or was.

use std::sync::Arc;

use super::BillsError;
use super::payments::invoice_at;
use super::usage::steady;
use crate::billing;
use crate::engine::shared::Shared;
use crate::model::invoice::InvoiceCause;
use crate::model::subscription::Segment;
use crate::model::{
    CustomerIndex, InvoiceId, InvoiceNumber, Lsn, MeterIndex, Period, ProductId, Subscription,
    SubscriptionId, SubscriptionIndex, Timestamp,
};

/// Invoices of one subscription that are looked through, newest first: a bill each day for three years.
const INVOICES_MAX: usize = 1_000;

/// A segment of a subscription that an event has entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// The product whose price bills it.
    pub product_id: ProductId,
    /// Events with a timestamp in it belong to the segment.
    pub period: Period,
    /// What has become of the segment.
    pub state: LandingState,
}

/// What has become of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LandingState {
    /// It has no invoice yet.
    Open {
        /// Whether its end has passed, so that it waits for late events alone.
        closing: bool,
        /// The instant that its invoice is scheduled for.
        due_at: Timestamp,
        /// When its invoice will be made.
        close_at: Timestamp,
    },
    /// It was billed.
    Invoiced {
        /// The invoice.
        invoice_id: InvoiceId,
        /// When it was made.
        created_at: Timestamp,
    },
}

/// An event that a meter has counted.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Counted {
    pub customer: CustomerIndex,
    pub meter: MeterIndex,
    pub at: Timestamp,
    pub lsn: Lsn,
}

/// The segments that an event has entered, one of each subscription of its customer that bills its meter,
/// in no order that means anything. Of a subscription with more than a thousand invoices behind the event the
/// one that it is on is not found.
///
/// # Errors
/// [`BillsError`]
pub(in crate::engine) fn landings(
    shared: &Shared,
    event: Counted,
) -> Result<Vec<Landing>, BillsError> {
    let own: Vec<SubscriptionIndex> = shared.state.with_books(|books| {
        books.of_customer(event.customer).map(|subscription| subscription.index).collect()
    });
    let mut found = Vec::new();
    for index in own {
        let of_one =
            steady(shared, index, |subscription, billed| match open(shared, subscription, event) {
                Some(landing) => Ok(Some(landing)),
                None => invoiced(shared, subscription, &billed, event),
            });
        found.extend(of_one.transpose()?.flatten());
    }
    Ok(found)
}

/// The segment without an invoice that an event has entered.
fn open(shared: &Shared, subscription: &Subscription, event: Counted) -> Option<Landing> {
    let grace = shared.options.grace;
    // As if a boundary that has passed had been turned: events behind it are in the next segment already.
    let turned = billing::turn(subscription, grace);
    let turned = turned.unwrap_or_else(|_| subscription.clone());
    let closing = turned.closing.iter().map(|closing| {
        let has_ended = subscription.closing.contains(closing);
        (closing.segment, has_ended, closing.due_at, closing.close_at)
    });
    let running = turned.running.iter().map(|segment| {
        let end = segment.period.end;
        (*segment, false, end, end.plus(grace))
    });
    closing.chain(running).find_map(|(segment, closing, due_at, close_at)| {
        let state = LandingState::Open { closing, due_at, close_at };
        landing(shared, subscription, &segment, state, event)
    })
}

fn landing(
    shared: &Shared,
    subscription: &Subscription,
    segment: &Segment,
    state: LandingState,
    event: Counted,
) -> Option<Landing> {
    if !segment.period.holds(event.at) {
        return None;
    }
    shared.state.with_books(|books| {
        let is_billed = books.meters(segment.terms).contains(&event.meter);
        let product = books.product(segment.terms.product).filter(|_| is_billed)?;
        Some(Landing {
            subscription_id: subscription.id.clone(),
            product_id: product.id.clone(),
            period: segment.period,
            state,
        })
    })
}

/// The invoice that an event is on.
fn invoiced(
    shared: &Shared,
    subscription: &Subscription,
    billed: &[InvoiceNumber],
    event: Counted,
) -> Result<Option<Landing>, BillsError> {
    for number in billed.iter().take(INVOICES_MAX) {
        let invoice = invoice_at(shared, *number)?;
        let Some(period) = invoice.period else { continue };
        if !matches!(invoice.cause, InvoiceCause::Closed(_)) {
            continue;
        }
        if period.end <= event.at {
            // Segments close in their order: older ones end before.
            return Ok(None);
        }
        let counts = |lsns: Option<(Lsn, Lsn)>| {
            lsns.is_some_and(|(first, last)| (first..=last).contains(&event.lsn))
        };
        let line = invoice.lines.iter().find(|line| {
            line.detail
                .usage()
                .is_some_and(|usage| usage.meter == event.meter && counts(usage.lsns))
        });
        let product = line.filter(|_| period.holds(event.at)).and_then(|line| {
            shared.state.with_books(|books| books.product(line.product).map(Arc::clone))
        });
        if let Some(product) = product {
            let (invoice_id, created_at) = (invoice.id.clone(), invoice.created_at);
            return Ok(Some(Landing {
                subscription_id: subscription.id.clone(),
                product_id: product.id.clone(),
                period,
                state: LandingState::Invoiced { invoice_id, created_at },
            }));
        }
    }
    Ok(None)
}
