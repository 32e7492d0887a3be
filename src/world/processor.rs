//! The processors, which are shared: long work lets short work pass.
//!
//! A scheduler lets whoever runs go on for some milliseconds before it looks at who has waked up. With
//! fewer processors than busy threads that is what a read of one counter would wait for, once a
//! thread that it passes through.

/// Events after which long work lets others pass: some tenth of a millisecond.
const STRIDE: usize = 128;

/// Lets others run, if any wait.
pub fn give_way() {
    std::thread::yield_now();
}

/// Lets others run once in so many events, `done` of which are behind the caller.
pub fn give_way_after(done: usize) {
    if done % STRIDE == STRIDE - 1 {
        give_way();
    }
}
