//! How many requests to an endpoint may begin: its limit, and less while none gets through.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// An endpoint at which so many requests in a row have failed is asked less often, until one succeeds: a request
/// that nobody answers costs as much as another, and a million of them would take processor time from ingest.
const FAILING: u32 = 100;
/// Requests a second to it.
const FAILING_PER_SECOND: usize = 20;
const SECOND: Duration = Duration::from_secs(1);

/// What the pace of an endpoint's requests follows from.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When requests of the last second began.
    recent: VecDeque<Instant>,
    /// How many have failed since one has succeeded.
    failed: u32,
}

impl Pace {
    /// How many requests may begin now by the endpoint's limit, and when one more may.
    pub(super) fn allowed(&mut self, limit: Option<u32>, now: Instant) -> (usize, Option<Instant>) {
        while self.recent.front().is_some_and(|began| *began + SECOND <= now) {
            self.recent.pop_front();
        }
        let own = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let failing = (self.failed >= FAILING).then_some(FAILING_PER_SECOND);
        let Some(limit) = own.into_iter().chain(failing).min() else { return (usize::MAX, None) };
        let more_at = self.recent.front().map(|began| *began + SECOND);
        (limit.saturating_sub(self.recent.len()), more_at)
    }

    /// A request begins.
    pub(super) fn begins(&mut self, now: Instant) {
        self.recent.push_back(now);
    }

    /// A request has ended.
    pub(super) fn ended(&mut self, has_succeeded: bool) {
        self.failed = if has_succeeded { 0 } else { self.failed.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take_all(pace: &mut Pace, limit: Option<u32>, now: Instant, most: usize) -> usize {
        let (allowed, _) = pace.allowed(limit, now);
        let taken = allowed.min(most);
        (0..taken).for_each(|_| pace.begins(now));
        taken
    }

    #[test]
    fn an_endpoint_that_fails_is_asked_seldom_until_it_succeeds() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for _ in 1..FAILING {
            pace.ended(false);
        }
        assert_eq!(take_all(&mut pace, None, start, 500), 500);
        pace.ended(false);
        let mut asked = 0;
        for tick in 1..=100 {
            asked += take_all(&mut pace, None, start + SECOND * 2 + SECOND / 10 * tick, 16);
        }
        assert_eq!(asked, FAILING_PER_SECOND * 10);
        pace.ended(true);
        assert_eq!(take_all(&mut pace, None, start + SECOND * 20, 16), 16);
        assert_eq!(pace.allowed(None, start + SECOND * 20), (usize::MAX, None));
    }

    proptest! {
        /// In no second more begin than the limit says, and whoever waits as long as is said may go on.
        #[test]
        fn no_second_has_more_than_the_limit(
            limit in 1_u32..9,
            failed in prop_oneof![Just(0), Just(FAILING)],
            waits in prop::collection::vec((0_u32..900, 1_usize..5), 1..60),
        ) {
            let mut pace = Pace { failed, ..Pace::default() };
            let (mut now, mut began) = (Instant::now(), Vec::new());
            for (wait, most) in waits {
                now += Duration::from_millis(wait.into());
                let taken = take_all(&mut pace, Some(limit), now, most);
                began.extend(std::iter::repeat_n(now, taken));
                let limit = usize::try_from(limit).unwrap();
                let recent = began.iter().filter(|at| **at + SECOND > now).count();
                prop_assert!(recent <= limit);
                let (allowed, more_at) = pace.allowed(Some(u32::try_from(limit).unwrap()), now);
                prop_assert_eq!(allowed, limit - recent);
                if allowed == 0 {
                    now = more_at.unwrap();
                    prop_assert!(pace.allowed(Some(u32::try_from(limit).unwrap()), now).0 > 0);
                }
            }
        }
    }
}
