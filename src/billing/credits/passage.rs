//! What a change of a subscription means for its credits.

use crate::billing::lifecycle::change::unused;
use crate::billing::lifecycle::has_ended;
use crate::model::subscription::{Closing, Segment};
use crate::model::{Share, Subscription, SubscriptionStatus, Timestamp};

/// What happens to the credits of a subscription when it changes. Instants are those of boundaries and
/// cuts, so that it does not matter when the change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Nothing: it is as it was, was paused, goes on, or waits for a payment.
    Nothing,
    /// It has begun.
    Begun {
        /// Its start.
        at: Timestamp,
        /// Whether with a trial.
        in_trial: bool,
    },
    /// A period has ended and another begun.
    Turned {
        /// The end of the one.
        at: Timestamp,
        /// The last segment of it.
        segment: u32,
        /// Whether credits are handed out: not while a payment is open.
        grants: bool,
        /// Whether that was the trial.
        trial_ended: bool,
    },
    /// The plan has changed and the period goes on.
    ChangedWithin {
        /// When.
        at: Timestamp,
        /// The part of the period that is left.
        share: Share,
        /// Whether it is the trial.
        in_trial: bool,
    },
    /// It was paused: its period goes on later.
    Paused {
        /// The cut.
        at: Timestamp,
        /// The segment that was cut.
        segment: u32,
    },
    /// It has ended.
    Ended {
        /// Its end.
        at: Timestamp,
        /// The last segment that is still to be closed; none when it was paused, or has no closes.
        segment: Option<u32>,
    },
}

/// What the change from `before`, which there was none of when it is new, to `after` means.
pub fn passage(before: Option<&Subscription>, after: &Subscription) -> Passage {
    let Some(before) = before.filter(|before| before.next_segment > 0) else {
        return begun(after);
    };
    let cut = before.running.and_then(|segment| closing_of(after, segment));
    match (has_ended(before), has_ended(after), after.running) {
        (false, true, _) => {
            let at = cut.map(|cut| cut.segment.period.end).or(after.cancellation.at);
            let segment = after.closing.last().map(|closing| closing.segment.number);
            Passage::Ended { at: at.unwrap_or(after.cycle.expires_at), segment }
        }
        (false, false, Some(_)) => {
            cut.map_or(Passage::Nothing, |cut| cut_short(before, after, &cut))
        }
        (false, false, None) => cut.map_or(Passage::Nothing, |cut| Passage::Paused {
            at: cut.segment.period.end,
            segment: cut.segment.number,
        }),
        (true, _, _) => Passage::Nothing,
    }
}

fn begun(after: &Subscription) -> Passage {
    match after.running {
        Some(first) => Passage::Begun { at: first.period.start, in_trial: after.in_trial },
        None => Passage::Nothing,
    }
}

/// A segment has been cut and the next one runs.
fn cut_short(before: &Subscription, after: &Subscription, cut: &Closing) -> Passage {
    if cut.ends_period {
        Passage::Turned {
            at: cut.segment.period.end,
            segment: cut.segment.number,
            grants: after.status == SubscriptionStatus::Active,
            trial_ended: before.in_trial,
        }
    } else {
        let share = unused(before, cut.due_at);
        Passage::ChangedWithin { at: cut.segment.period.end, share, in_trial: after.in_trial }
    }
}

/// The close of a segment that has been running.
fn closing_of(after: &Subscription, segment: Segment) -> Option<Closing> {
    after.closing.iter().rev().find(|closing| closing.segment.number == segment.number).copied()
}
