//! What a change of plan costs at once.
//!
//! With `f` the part of the period that is unused, exact to the nanosecond, and both prices after
//! quantity and discount: the new price less `old x f`, the part `f` of both, their difference, the new
//! price, or nothing. Each line is rounded once. What comes out below zero is a total of zero, and money
//! for the subscription's later invoices. In a trial the old price is nothing, because none was paid.

use crate::billing::close::{Bill, Overflow, Prices, fixed_line, settle, unused_line};
use crate::billing::lifecycle::change::unused;
use crate::model::subscription::Renewal;
use crate::model::{Money, Period, ProrationMode, Share, Subscription, Timestamp};

/// What a change of plan comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proration {
    /// What stands on its invoice.
    pub bill: Bill,
    /// What the subscription has left for later invoices from then on.
    pub credit: Money,
    /// The period that the new price pays for.
    pub period: Period,
    /// The part of the new price that is paid, when that is not all of it.
    pub share: Option<Share>,
}

/// What the change of `before` into `after` by `mode` at `at` costs. They are the subscription before
/// and after [`change_plan`](crate::billing::change_plan).
///
/// # Errors
/// [`Overflow`].
///
/// # Panics
/// When terms name no price.
pub fn prorate(
    before: &Subscription,
    after: &Subscription,
    mode: ProrationMode,
    at: Timestamp,
    prices: Prices<'_>,
) -> Result<Proration, Overflow> {
    let period = Period { start: at, end: after.cycle.next_billing_date };
    let new = Renewal { terms: after.terms, quantity: after.quantity, period };
    let rest = Period { start: at, end: before.cycle.next_billing_date };
    let old = Renewal { terms: before.terms, quantity: before.quantity, period: rest };
    let left = unused(before, at);
    let (paid, returned) = match mode {
        ProrationMode::ProratedImmediately => (Some(None), Some(Some(left))),
        ProrationMode::ProratedImmediatelyKeepCycle => (Some(Some(left)), Some(Some(left))),
        ProrationMode::DifferenceImmediately => (Some(None), Some(None)),
        ProrationMode::FullImmediately => (Some(None), None),
        ProrationMode::DoNotBill => (None, None),
    };
    let mut lines = Vec::new();
    if let Some(share) = paid {
        lines.push(fixed_line(&new, share, prices)?);
    }
    if let Some(share) = returned.filter(|_| !before.in_trial) {
        lines.push(unused_line(&old, share, prices)?);
    }
    let (bill, credit) = settle(lines, before, after.terms)?;
    Ok(Proration { bill, credit, period, share: paid.flatten() })
}
