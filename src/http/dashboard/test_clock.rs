//! The bar of the test clock, which stands on top of every page where there is one: what it shows, and where
//! it can be moved to.

use super::tags::Moment;
use crate::engine::Engine;
use crate::model::Timestamp;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The test clock as a page shows it.
#[derive(Debug)]
pub(super) struct TestClock {
    pub(super) now: Moment,
    /// Where it can be moved to with one press.
    pub(super) steps: Vec<Step>,
}

/// A move of the clock.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    /// The instant, as the API reads it.
    pub(super) to: String,
}

impl TestClock {
    pub(super) fn of(engine: &Engine) -> Self {
        let now = engine.clock().now;
        Self { now: Moment(now), steps: steps(now, engine.billing_status().next_due) }
    }

    /// What it shows, as the API reads it.
    pub(super) fn exact(&self) -> String {
        self.now.0.to_string()
    }
}

fn steps(now: Timestamp, next_due: Option<Timestamp>) -> Vec<Step> {
    let to = |name, at: Timestamp| Step { name, to: at.to_string() };
    let due = next_due.filter(|due| *due > now).map(|due| to("To what is due next", due));
    [to("1 hour on", now.plus(HOUR)), to("1 day on", now.plus(DAY))]
        .into_iter()
        .chain(due)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward_alone() {
        let at = |text| Timestamp::parse(text).unwrap();
        let now = at("2026-11-30T23:30:00Z");
        let names = |due| steps(now, due).into_iter().map(|step| step.name).collect::<Vec<_>>();
        let found = steps(now, Some(at("2026-12-05T00:00:00Z")));
        let expected = ["2026-12-01T00:30:00Z", "2026-12-01T23:30:00Z", "2026-12-05T00:00:00Z"];
        assert_eq!(found.iter().map(|step| &*step.to).collect::<Vec<_>>(), expected);
        assert_eq!(names(Some(now)), ["1 hour on", "1 day on"]);
        assert_eq!(names(None), ["1 hour on", "1 day on"]);
    }
}
