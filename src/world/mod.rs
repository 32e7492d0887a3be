//! What is injected: time, files and randomness. Everything else is a pure function of these.
//!
//! The real ones stand beside [`sim`], whose clock only moves when told, whose disk forgets what was
//! not synced and fails when told, and whose randomness comes from a seed.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod memory;
pub mod open_files;
pub mod processor;
pub mod real_disk;
pub mod sabotage;
pub mod sim;
pub mod sync;

use std::sync::Arc;

pub use clock::{BootId, Clock};
pub use disk::{Disk, DiskFile};
pub use entropy::Entropy;
pub use real_disk::{Directory, DirectoryError};

/// The world one engine lives in.
#[derive(Clone, Debug)]
pub struct World {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The data directory.
    pub disk: Arc<dyn Disk>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}
