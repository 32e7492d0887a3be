//! How due work and ingest share the committer.

use std::time::Duration;

use super::Committer;

/// Pools of a group of due work while ingest is on its way: settled in some 30 ms.
const POOLS_BESIDE_INGEST: usize = 16 * 1024;
/// How many times as long as a group of due work took ingest has the committer after it.
const INGEST_SHARE: u32 = 6;
/// The same after one of pools alone: what a minute has changed of a million is settled well within the next.
const INGEST_SHARE_OF_POOLS: u32 = 1;
/// But at least so long. Draws become due one after the other: without a pause each group would hold the few of
/// the last millisecond, and every group waits until nothing is in flight.
const PAUSE_OF_POOLS: Duration = Duration::from_millis(25);
/// A client that sends one request after the other has the next one under way within this time.
const INGEST_PAUSE: Duration = Duration::from_millis(5);

impl Committer {
    /// Whether ingest is on its way and has not had its share since the last group of due work. A change
    /// that waits takes that share.
    pub(super) fn is_ingest_first(&self) -> bool {
        self.parked.is_empty()
            && self.advancing.is_none()
            && self.shared.world.clock.since_boot() < self.ingest_until
            && self.is_ingest_on_its_way()
    }

    /// Whether a request with events is under way, or one was until just now.
    pub(super) fn is_ingest_on_its_way(&self) -> bool {
        let now = self.shared.world.clock.since_boot();
        let is_recent = |at: Duration| now.saturating_sub(at) < INGEST_PAUSE;
        self.shared.is_ingest_on_its_way() || self.answered_at.is_some_and(is_recent)
    }

    /// A group of due work was finished that took the committer so long: how long ingest may go first.
    pub(super) fn let_ingest_go(&mut self, took: Duration, is_of_pools: bool) {
        let now = self.shared.world.clock.since_boot();
        // Where the clock stands still nobody waits for it.
        let share = if is_of_pools && !took.is_zero() {
            took.saturating_mul(INGEST_SHARE_OF_POOLS).max(PAUSE_OF_POOLS)
        } else {
            took.saturating_mul(INGEST_SHARE)
        };
        self.ingest_until = now.saturating_add(share);
    }

    /// Bytes of one group of due work, about: half of what it may be while ingest is on its way, which waits for
    /// it to be decided, written and applied.
    pub(super) fn due_bytes_at_once(&self) -> usize {
        let bytes = self.shared.options.due_bytes;
        if self.is_ingest_on_its_way() { bytes / 2 } else { bytes }
    }

    /// Pools of one group of due work at most.
    pub(super) fn pools_at_once(&self) -> usize {
        if self.is_ingest_on_its_way() { POOLS_BESIDE_INGEST } else { usize::MAX }
    }

    /// After how long due work that has let ingest go first wants to be looked at again.
    pub fn wakes_in(&self) -> Option<Duration> {
        if !self.is_work_due || !self.is_idle() {
            return None;
        }
        let now = self.shared.world.clock.since_boot();
        Some(self.ingest_until.saturating_sub(now).max(Duration::from_micros(100)))
    }
}
