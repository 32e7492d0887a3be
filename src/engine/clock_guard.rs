//! Whether the wall clock can be trusted with work that falls due.
//!
//! A wall clock that went forward by more than five minutes against the time since boot was set: by
//! a resumed machine, a first synchronisation, or by mistake. Until it has been steady for ten
//! minutes, or somebody confirms it, due work waits. It also waits while the wall clock is more than
//! five minutes behind log time.

use std::time::Duration;

use crate::engine::decide::CLOCK_BEHIND_MAX;
use crate::model::Timestamp;

/// A wall clock that goes forward by more than this was set.
pub const STEP_MAX: Duration = Duration::from_mins(5);
const STEADY_FOR: Duration = Duration::from_mins(10);

/// Watches the clocks; see the module.
#[derive(Debug, Default)]
pub struct ClockGuard {
    last: Option<(Timestamp, Duration)>,
    /// When, since boot, the last step forward was seen.
    stepped_at: Option<Duration>,
}

impl ClockGuard {
    /// Looks at both clocks; true while the wall clock is in doubt.
    pub fn observe(&mut self, wall: Timestamp, since_boot: Duration, log_time: Timestamp) -> bool {
        if let Some((last_wall, last_boot)) = self.last {
            let expected = last_wall.plus(since_boot.saturating_sub(last_boot));
            if wall.since(expected) > STEP_MAX {
                self.stepped_at = Some(since_boot);
            }
        }
        self.last = Some((wall, since_boot));
        if self.stepped_at.is_some_and(|at| since_boot.saturating_sub(at) >= STEADY_FOR) {
            self.stepped_at = None;
        }
        self.stepped_at.is_some() || log_time.since(wall) > CLOCK_BEHIND_MAX
    }

    /// Somebody says that the wall clock is right.
    pub fn confirm(&mut self) {
        self.stepped_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_nanos(minutes * 60_000_000_000)
    }

    /// Looks at the clocks at each (wall, boot) minute, with log time at the first wall time.
    fn check(observations: &[(i64, u32, bool)]) {
        let mut guard = ClockGuard::default();
        let log_time = at(observations[0].0);
        for (wall, boot, expected) in observations {
            let doubt = guard.observe(at(*wall), MINUTE * *boot, log_time);
            assert_eq!(doubt, *expected, "wall {wall} boot {boot}");
        }
    }

    #[test]
    fn a_steady_clock_is_trusted() {
        check(&[(100, 1, false), (101, 2, false), (161, 62, false), (166, 62, false)]);
    }

    #[test]
    fn a_step_forward_is_doubted_for_ten_steady_minutes() {
        check(&[(100, 1, false), (200, 2, true), (201, 3, true), (210, 12, false)]);
    }

    #[test]
    fn a_second_step_starts_the_wait_again() {
        check(&[
            (100, 1, false),
            (200, 2, true),
            (300, 9, true),
            (304, 13, true),
            (310, 19, false),
        ]);
    }

    #[test]
    fn a_clock_behind_log_time_is_doubted_until_it_has_caught_up() {
        check(&[(100, 1, false), (94, 2, true), (95, 3, false)]);
    }

    #[test]
    fn confirming_ends_the_doubt_about_a_step() {
        let mut guard = ClockGuard::default();
        assert!(!guard.observe(at(100), MINUTE, at(100)));
        assert!(guard.observe(at(200), MINUTE * 2, at(100)));
        guard.confirm();
        assert!(!guard.observe(at(201), MINUTE * 3, at(100)));
    }
}
