//! Whoever sends messages is woken when there may be any.

use std::fmt;

use crate::world::sync::Mutex;

/// Called to wake.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// Whoever waits for something to send.
#[derive(Default)]
pub struct Waker(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    wake: Option<Wake>,
    /// What the outbox counted when it was last woken.
    seen: u64,
}

impl Waker {
    /// Has `wake` called from now on.
    pub fn set(&self, wake: Wake) {
        self.0.lock().wake = Some(wake);
    }

    /// Wakes when the outbox counts something else than the last time.
    pub fn tell(&self, changes: u64) {
        let mut waiting = self.0.lock();
        if waiting.seen != changes {
            waiting.seen = changes;
            if let Some(wake) = &waiting.wake {
                wake();
            }
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
