//! Ways to break a promise on purpose, so that tests can prove that they would see it broken.
//!
//! They exist in builds with the feature `sabotage` alone, and there one is chosen for a thread at run
//! time. In every other build [`is`] is a constant `false`, and nothing of them is compiled in.

/// A promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The log is not synced before it says so.
    LogSync,
    /// The name of a new segment of the log is not synced.
    NameSync,
    /// A frame's checksum is not compared.
    Checksum,
    /// A request of duplicates alone is answered before its first copies are durable.
    DuplicateWait,
    /// Event ids are not looked up.
    IdDedupe,
    /// A change that is asked for again is not recognised.
    RetryDedupe,
    /// A start does not write the end of the log anew.
    TailRewrite,
    /// A close is logged in two groups: the invoice first, what it does to its subscription then.
    CloseAtomicity,
    /// Ids are moved to disk before their events are durable.
    IndexBound,
}

/// Whether this promise is broken.
#[cfg(not(feature = "sabotage"))]
#[inline]
pub const fn is(_: Sabotage) -> bool {
    false
}

#[cfg(feature = "sabotage")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// Whether this promise is broken on this thread.
#[cfg(feature = "sabotage")]
pub fn is(sabotage: Sabotage) -> bool {
    CHOSEN.get() == Some(sabotage)
}

/// Breaks this promise on this thread from now on, or none.
#[cfg(feature = "sabotage")]
pub fn choose(sabotage: Option<Sabotage>) {
    CHOSEN.set(sabotage);
}
