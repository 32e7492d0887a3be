//! The job that looks at whom records have touched, and hands to the committer what fires.

use std::sync::Arc;
use std::time::Duration;

use super::evaluate::crossings;
use super::{Alerts, FiredEntry, Touched};
use crate::engine::commit::Submission;
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
        Self { shared, firing: Vec::new(), is_sent: false }
    }

    /// Does the next bounded piece of work.
    pub fn step(&mut self) -> Step {
        let state = &self.shared.state;
        if self.firing.is_empty() {
            let touched = state.with_alerts(|alerts| alerts.take_touched(AT_ONCE));
            if touched.is_empty() {
                return Step::Idle;
            }
            match self.look(&touched) {
                Ok(firing) => self.firing = firing,
                Err(error) => {
                    tracing::error!(error = %Causes(&error), "read usage for alerts");
                    state.with_alerts(Alerts::put_back);
                    return Step::Waiting;
                }
            }
        }
        let before = self.firing.len();
        state.with_alerts(|alerts| {
            self.firing.retain(|crossing| alerts.is_news(crossing));
            if self.firing.is_empty() {
                alerts.end_look();
            }
        });
        if self.firing.len() != before {
            // What was sent stands in the log.
            self.is_sent = false;
        }
        if self.firing.is_empty() {
            return Step::Working;
        }
        if !self.is_sent {
            let next = self.firing.iter().take(CROSSINGS_MAX).copied().collect();
            let entry = fired_entry(&self.shared, next);
            self.is_sent = self.shared.try_submit(Submission::Fired(Box::new(entry)));
        }
        Step::Waiting
    }

    fn look(
        &self,
        touched: &[(Touched, Timestamp)],
    ) -> Result<Vec<Crossing>, crate::engine::UsageError> {
        self.shared.counters.looked(touched.len() as u64);
        let mut firing = Vec::new();
        for (each, since) in touched {
            firing.extend(crossings(&self.shared, *each, *since)?);
        }
        Ok(firing)
    }
}
