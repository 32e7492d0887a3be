//! What of a subscription is due, and when.
//!
//! Work is done by instant. At one instant the time to pay of a subscription ends before it turns, and
//! it turns before anything of it closes.

use crate::model::{Subscription, Timestamp};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The time to pay is over.
    PastDueEnd,
    /// The running segment ends.
    Turn,
    /// An ended segment becomes an invoice.
    Close {
        /// Its number.
        segment: u32,
    },
}

/// Something to be done at an instant; ordered by it, then by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// What.
    pub step: Step,
}

/// Everything that is due of a subscription as it stands, in no order: the end of its time to pay, the
/// turn of its running segment, and the close of each that has ended. One that is stopped turns and does
/// not close.
pub fn due(subscription: &Subscription) -> Vec<Due> {
    each_due(subscription).collect()
}

/// The same one after the other.
pub fn each_due(subscription: &Subscription) -> impl Iterator<Item = Due> {
    let turn = subscription.running.iter().map(|segment| {
        let at = segment.period.end;
        Due { at, step: Step::Turn }
    });
    let past_due = subscription.past_due_until.map(|at| Due { at, step: Step::PastDueEnd });
    let closing = if subscription.stopped { &[][..] } else { &subscription.closing };
    let closes = closing.iter().map(|closing| {
        let step = Step::Close { segment: closing.segment.number };
        Due { at: closing.close_at, step }
    });
    past_due.into_iter().chain(turn).chain(closes)
}
