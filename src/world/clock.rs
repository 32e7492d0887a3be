//! Time as it comes in from outside.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// One start of a machine, told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootId(pub u128);

/// A source of time.
pub trait Clock: Debug + Send + Sync {
    /// What the wall clock shows. It may jump either way.
    fn wall(&self) -> Timestamp;

    /// What the machine's wall clock shows, also where [`Clock::wall`] is a test's: how long somebody waits
    /// is never a matter of trying out.
    fn real(&self) -> Timestamp {
        self.wall()
    }

    /// Time since the machine started, including sleep. It never goes back; a wall clock that moved
    /// differently from this one was set.
    fn since_boot(&self) -> Duration;

    /// The start that [`Clock::since_boot`] counts from; `None` where the system does not say.
    fn boot(&self) -> Option<BootId>;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        nanos(rustix::time::ClockId::Realtime)
    }

    fn since_boot(&self) -> Duration {
        Duration::from_nanos(nanos(rustix::time::ClockId::Boottime).as_nanos().unsigned_abs())
    }

    fn boot(&self) -> Option<BootId> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        u128::from_str_radix(&text.trim().replace('-', ""), 16).ok().map(BootId)
    }
}

/// A wall clock that stands still until it is set; time since boot is the machine's. For trying out
/// months of billing in an afternoon: time-outs and retries keep real time.
#[derive(Debug)]
pub struct TestClock {
    wall_nanos: AtomicI64,
}

impl TestClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { wall_nanos: AtomicI64::new(start.as_nanos()) }
    }

    /// Moves the wall clock to `wall`.
    pub fn set(&self, wall: Timestamp) {
        self.wall_nanos.store(wall.as_nanos(), Ordering::Release);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.wall_nanos.load(Ordering::Acquire))
    }

    fn real(&self) -> Timestamp {
        SystemClock.wall()
    }

    fn since_boot(&self) -> Duration {
        SystemClock.since_boot()
    }

    fn boot(&self) -> Option<BootId> {
        SystemClock.boot()
    }
}

fn nanos(clock: rustix::time::ClockId) -> Timestamp {
    let time = rustix::time::clock_gettime(clock);
    Timestamp::from_nanos(time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_clock_stands_still_until_it_is_set() {
        let start = Timestamp::from_nanos(1_000);
        let clock = TestClock::new(start);
        assert_eq!((clock.wall(), clock.wall()), (start, start));
        clock.set(Timestamp::from_nanos(5));
        assert_eq!(clock.wall(), Timestamp::from_nanos(5));
        assert!(clock.real() >= SystemClock.wall().minus(Duration::from_mins(1)));
        let boot = clock.since_boot();
        assert!(boot > Duration::ZERO && clock.since_boot() >= boot);
    }
}
