//! Whether the wall clock can be trusted with work that falls due.
//!
//! A wall clock that went forward by more than five minutes against the time since boot was set: by
//! a resumed machine, a first synchronisation, or by mistake. Until it has been steady for ten
//! minutes, or somebody confirms it, due work waits. It also waits while the wall clock is more than
//! five minutes behind log time.
//!
//! A doubt must not end with its process: somebody who sees the alarm may well restart the daemon, and
//! periods that are closed by a wrong clock cannot be opened again. So what the clocks showed when they
//! were last trusted, a [`Witness`], is kept in the data directory (`clock_file.rs`), and the next guard
//! begins with comparing the clocks that it finds with that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::decide::CLOCK_BEHIND_MAX;
use crate::model::Timestamp;
use crate::world::BootId;

/// A wall clock that goes forward by more than this was set.
pub const STEP_MAX: Duration = Duration::from_mins(5);
const STEADY_FOR: Duration = Duration::from_mins(10);

/// What the clocks showed when they were last trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The start of the machine that `since_boot` counts from.
    pub boot: BootId,
    /// What the wall clock showed.
    pub wall: Timestamp,
    /// And the time since boot.
    pub since_boot: Duration,
    /// The wall clock has stepped forward after that.
    pub is_in_doubt: bool,
}

impl Witness {
    /// How far the clocks went apart between this and another moment of the same boot.
    pub fn drift(&self, other: &Self) -> Duration {
        // A wall clock that was set back has drifted, too.
        let expected = self.wall.plus(other.since_boot.saturating_sub(self.since_boot));
        other.wall.since(expected).max(expected.since(other.wall))
    }
}

/// What an earlier process has left of what it knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing: there was none.
    Nothing,
    /// When it last trusted the clocks.
    Trusted(Witness),
    /// Something that cannot be read.
    Damaged,
}

/// Watches the clocks; see the module.
#[derive(Debug, Default)]
pub struct ClockGuard {
    last: Option<(Timestamp, Duration)>,
    /// The last look at which nothing spoke against the wall clock.
    trusted: Option<(Timestamp, Duration)>,
    /// When, since boot, the last step forward was seen.
    stepped_at: Option<Duration>,
}

impl ClockGuard {
    /// A guard that knows what an earlier process did, `since_boot` after the machine's start `boot`.
    ///
    /// After another start of the machine nobody can tell for how long it was off: then the wall clock is
    /// doubted only if it was.
    pub fn after(earlier: Earlier, boot: Option<BootId>, since_boot: Duration) -> Self {
        let in_doubt = Self { stepped_at: Some(since_boot), ..Self::default() };
        match earlier {
            Earlier::Trusted(witness) if Some(witness.boot) == boot => {
                let seen = Some((witness.wall, witness.since_boot));
                Self { last: seen, trusted: seen, stepped_at: None }
            }
            Earlier::Trusted(witness) if witness.is_in_doubt => in_doubt,
            Earlier::Damaged => in_doubt,
            Earlier::Nothing | Earlier::Trusted(_) => Self::default(),
        }
    }

    /// What the next process must know, if the clocks were ever trusted since `boot`.
    pub fn witness(&self, boot: Option<BootId>) -> Option<Witness> {
        let (boot, (wall, since_boot)) = (boot?, self.trusted?);
        Some(Witness { boot, wall, since_boot, is_in_doubt: self.stepped_at.is_some() })
    }

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
        if self.stepped_at.is_none() {
            self.trusted = self.last;
        }
        self.stepped_at.is_some() || log_time.since(wall) > CLOCK_BEHIND_MAX
    }

    /// Somebody says that the wall clock is right.
    pub fn confirm(&mut self) {
        self.stepped_at = None;
        self.trusted = self.last;
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

    /// What was written down stayed when the clock was set back by a few minutes, so that a later step ahead
    /// was measured from too late.
    #[test]
    fn clocks_drift_apart_in_both_directions() {
        let witness = |wall, boot| Witness {
            boot: BootId(1),
            wall: at(wall),
            since_boot: MINUTE * boot,
            is_in_doubt: false,
        };
        for (wall, boot, drift) in [(103, 8, 0), (107, 8, 4), (99, 8, 4), (96, 5, 4), (100, 9, 4)] {
            assert_eq!(witness(100, 5).drift(&witness(wall, boot)), MINUTE * drift, "{wall}");
        }
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

    const BOOT: Option<BootId> = Some(BootId(1));
    const NEXT_BOOT: Option<BootId> = Some(BootId(2));

    /// A guard of the first boot that looked at each (wall, boot) minute, as its next process finds it.
    fn left_by(observations: &[(i64, u32)]) -> Earlier {
        let mut guard = ClockGuard::default();
        for (wall, since_boot) in observations {
            guard.observe(at(*wall), MINUTE * *since_boot, at(0));
        }
        guard.witness(BOOT).map_or(Earlier::Nothing, Earlier::Trusted)
    }

    /// Whether the next process, which starts at this (wall, boot) minute, doubts.
    fn is_doubted_by_next(earlier: Earlier, boot: Option<BootId>, (wall, up): (i64, u32)) -> bool {
        let mut guard = ClockGuard::after(earlier, boot, MINUTE * up);
        guard.observe(at(wall), MINUTE * up, at(0))
    }

    #[test]
    fn a_doubt_outlives_its_process() {
        let stepped = left_by(&[(100, 1), (200, 2)]);
        assert!(is_doubted_by_next(stepped, BOOT, (203, 5)));
        assert!(is_doubted_by_next(stepped, NEXT_BOOT, (203, 1)));
        assert!(!is_doubted_by_next(stepped, BOOT, (104, 5)), "the step was taken back");
        let waited = left_by(&[(100, 1), (200, 2), (210, 12)]);
        assert!(!is_doubted_by_next(waited, BOOT, (213, 15)));
    }

    #[test]
    fn a_step_between_two_processes_is_seen_unless_the_machine_was_off() {
        let steady = left_by(&[(100, 1), (101, 2)]);
        assert!(!is_doubted_by_next(steady, BOOT, (500, 401)));
        assert!(is_doubted_by_next(steady, BOOT, (510, 401)));
        assert!(!is_doubted_by_next(steady, NEXT_BOOT, (500, 1)));
        assert!(!is_doubted_by_next(steady, None, (510, 401)));
    }

    #[test]
    fn what_cannot_be_read_is_a_doubt_of_ten_minutes() {
        let mut guard = ClockGuard::after(Earlier::Damaged, BOOT, MINUTE);
        assert!(guard.observe(at(100), MINUTE, at(0)));
        assert_eq!(guard.witness(BOOT), None, "nothing is vouched for");
        assert!(!guard.observe(at(110), MINUTE * 11, at(0)));
        assert!(guard.witness(BOOT).is_some());
        assert!(!ClockGuard::after(Earlier::Nothing, BOOT, MINUTE).observe(at(9), MINUTE, at(0)));
    }
}
