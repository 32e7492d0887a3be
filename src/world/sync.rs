//! Locks and atomics of what threads share.
//!
//! In the build with the feature `shuttle` they are that tool's, whose scheduler decides at each of them
//! which thread goes on, so that `tests/interleavings.rs` can try orders that no machine would show. In
//! every other build they are the ordinary ones. Whatever redb calls back uses ordinary locks always:
//! redb holds locks of its own meanwhile, which no scheduler sees.

#[cfg(not(feature = "shuttle"))]
pub use parking_lot::{MappedMutexGuard, Mutex, MutexGuard, RwLock};
#[cfg(not(feature = "shuttle"))]
pub use std::sync::atomic;

#[cfg(feature = "shuttle")]
pub use shuttle::sync::atomic;
#[cfg(feature = "shuttle")]
pub use shuttle_parking_lot_impl::{MappedMutexGuard, Mutex, MutexGuard, RwLock};
