//! A world made of memory: for tests, and for the simulator.
//!
//! Everything in it is a function of its seeds and of what it was told: the clock moves when told,
//! the disk fails when told and forgets at a power cut what was not synced. It is safe to share
//! between threads; with one thread it is deterministic.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod fault;

mod inode;
mod journal;
mod names;
#[cfg(test)]
mod tests;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use entropy::SimEntropy;
pub use fault::{FaultKind, Operation, Repeat};
pub use journal::Losses;
