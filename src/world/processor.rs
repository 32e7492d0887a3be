//! The processors, which are shared: long work lets short work pass.
//!
//! A scheduler lets whoever runs go on for some milliseconds before it looks at who has waked up. With
//! fewer processors than busy threads that is what a read of one counter would wait for, once a
//! thread that it passes through.

/// Events after which long work lets others pass: some tenth of a millisecond.
const STRIDE: u64 = 128;

/// Lets others run, if any wait.
pub fn pass() {
    std::thread::yield_now();
}

/// Long work, counted in events.
#[derive(Debug, Default)]
pub struct LongWork {
    since: u64,
}

impl LongWork {
    /// Says that so many events more are done, and now and then lets others run, if any wait.
    pub fn advance(&mut self, events: u64) {
        self.since += events;
        if self.since >= STRIDE {
            self.since = 0;
            pass();
        }
    }
}
