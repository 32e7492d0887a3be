//! The job that looks at whom records have touched, and hands to the committer what fires.

use std::sync::Arc;
use std::time::Duration;

use super::evaluate::look_at;
use super::{Alerts, FiredEntry, Round, Touched};
use crate::engine::commit::Submission;
use crate::engine::query::UsageError;
use crate::engine::shared::Shared;
use crate::model::alert::Crossing;
use crate::model::{Causes, Timestamp};

/// Customers and meters that one step looks at: some ten milliseconds.
const AT_ONCE: usize = 1_024;
/// Crossings of one record: applied in about a millisecond.
const CROSSINGS_MAX: usize = 512;
/// A crossing is remembered so long beyond the time in which its period is closed, which may be late.
/// Afterwards nobody looks at that period any more.
const KEPT_FOR: Duration = Duration::from_hours(35 * 24);

/// The job; see the module.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    /// Who is left of the round.
    round: Vec<(Touched, Timestamp)>,
    /// What fires by those that are being looked at, until it is in the log.
    firing: Vec<Crossing>,
    /// Whether the committer has the first of it.
    is_sent: bool,
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do at once.
    Working,
    /// The committer must log something first.
    Waiting,
    /// Everybody was looked at who had been touched when the round began. Others may have been since, and can
    /// wait: whoever is touched again and again is looked at once a round.
    RoundOver,
    /// Nobody was touched.
    Idle,
}

/// What the log says of crossings.
pub fn fired_entry(shared: &Shared, crossings: Vec<Crossing>) -> FiredEntry {
    FiredEntry { crossings, kept_for: kept_for(shared) }
}

/// How long after the end of its period a crossing is remembered.
pub fn kept_for(shared: &Shared) -> Duration {
    shared.options.grace.saturating_add(KEPT_FOR)
}

impl Watcher {
    /// A job that has looked at nobody.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, round: Vec::new(), firing: Vec::new(), is_sent: false }
    }

    /// Does the next bounded piece of work.
    pub fn step(&mut self) -> Step {
        if self.firing.is_empty() {
            if self.round.is_empty() && !self.begin_round() {
                return Step::Idle;
            }
            let next = self.round.split_off(self.round.len().saturating_sub(AT_ONCE));
            if let Err(error) = self.look(&next) {
                tracing::error!(error = %Causes(&error), "read usage for alerts");
                self.round.clear();
                self.shared.state.with_alerts(Alerts::put_back);
                return Step::Waiting;
            }
        }
        self.log_firing()
    }

    /// Takes whoever was touched: whether anybody was.
    fn begin_round(&mut self) -> bool {
        let round: Arc<Round> = self.shared.state.with_alerts(Alerts::begin_round);
        self.round = round.iter().map(|(touched, since)| (*touched, *since)).collect();
        // In an order that does not depend on the map's.
        self.round.sort_unstable();
        !self.round.is_empty()
    }

    fn look(&mut self, touched: &[(Touched, Timestamp)]) -> Result<(), UsageError> {
        self.shared.counters.looked(touched.len() as u64);
        let mut headrooms = Vec::new();
        for (each, since) in touched {
            let look = look_at(&self.shared, *each, *since)?;
            self.firing.extend(look.crossings);
            headrooms.extend(look.headroom);
        }
        self.shared.state.with_alerts(|alerts| {
            for (of, headroom) in headrooms {
                alerts.leave_headroom(of, headroom);
            }
        });
        Ok(())
    }

    /// Hands what fires to the committer, until all of it is in the log.
    fn log_firing(&mut self) -> Step {
        let state = &self.shared.state;
        let before = self.firing.len();
        state.with_alerts(|alerts| {
            self.firing.retain(|crossing| alerts.is_news(crossing));
            if self.firing.is_empty() && self.round.is_empty() {
                alerts.end_round();
            }
        });
        if self.firing.len() != before {
            // What was sent stands in the log.
            self.is_sent = false;
        }
        if self.firing.is_empty() {
            return if self.round.is_empty() { Step::RoundOver } else { Step::Working };
        }
        if !self.is_sent {
            let next = self.firing.iter().take(CROSSINGS_MAX).copied().collect();
            let entry = fired_entry(&self.shared, next);
            self.is_sent = self.shared.try_submit(Submission::Fired(Box::new(entry)));
        }
        Step::Waiting
    }
}
