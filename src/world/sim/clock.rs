//! A clock that moves only when told.

use std::time::Duration;

use parking_lot::Mutex;

use crate::model::Timestamp;
use crate::world::{BootId, Clock};

/// A wall clock and a time since boot, both standing still until told otherwise.
#[derive(Debug)]
pub struct SimClock {
    hands: Mutex<Hands>,
}

#[derive(Clone, Copy, Debug)]
struct Hands {
    wall: Timestamp,
    since_boot: Duration,
    boots: u128,
}

impl SimClock {
    /// A clock at `wall`, on a machine that has just started.
    pub fn new(wall: Timestamp) -> Self {
        Self { hands: Mutex::new(Hands { wall, since_boot: Duration::ZERO, boots: 1 }) }
    }

    /// Another clock that shows the same, of the same machine.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { hands: Mutex::new(*self.hands.lock()) }
    }

    /// Lets time pass: the wall clock and the time since boot move on together.
    pub fn advance(&self, duration: Duration) {
        let mut hands = self.hands.lock();
        hands.wall = hands.wall.plus(duration);
        hands.since_boot = hands.since_boot.saturating_add(duration);
    }

    /// Sets the wall clock, either way, as an operator or a time server would: no time passes.
    pub fn set_wall(&self, wall: Timestamp) {
        self.hands.lock().wall = wall;
    }

    /// Starts the machine anew, in no time.
    pub fn reboot(&self) {
        let mut hands = self.hands.lock();
        hands.since_boot = Duration::ZERO;
        hands.boots += 1;
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        self.hands.lock().wall
    }

    fn since_boot(&self) -> Duration {
        self.hands.lock().since_boot
    }

    fn boot(&self) -> Option<BootId> {
        Some(BootId(self.hands.lock().boots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_time_moves_both_hands_and_setting_moves_one() {
        let clock = SimClock::new(Timestamp::from_nanos(100));
        clock.advance(Duration::from_nanos(5));
        assert_eq!(clock.wall().as_nanos(), 105);
        assert_eq!(clock.since_boot(), Duration::from_nanos(5));
        clock.set_wall(Timestamp::from_nanos(1));
        assert_eq!(clock.since_boot(), Duration::from_nanos(5));
        let (boot, fork) = (clock.boot(), clock.fork());
        clock.reboot();
        assert_eq!(clock.wall().as_nanos(), 1);
        assert_eq!(clock.since_boot(), Duration::ZERO);
        assert_ne!(clock.boot(), boot);
        assert_eq!((fork.since_boot(), fork.boot()), (Duration::from_nanos(5), boot));
    }
}
