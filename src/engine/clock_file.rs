//! The file `clock`: what the clocks showed when they were last trusted, for the next process.
//!
//! It is written when a process starts and when the doubt begins or ends, a few times in the life of a
//! daemon. A start that cannot write it fails, as it does for every other file; later nothing depends on
//! it at once, so that it is tried again. Under a test clock there is none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::clock_guard::{Earlier, Witness};
use crate::engine::shared::Shared;
use crate::storage::codec;
use crate::world::World;
use crate::world::disk::{read_all, replace};

/// The file's name.
pub const FILE: &str = "clock";

/// Clocks that go apart by less than this are not worth a write: a fifth of what is doubted.
const DRIFT_MAX: Duration = Duration::from_mins(1);

/// Reads what the last process has left.
///
/// # Errors
/// The disk's.
pub fn read(world: &World) -> io::Result<Earlier> {
    let bytes = match read_all(&*world.disk, FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Earlier::Nothing),
        Err(error) => return Err(error),
    };
    Ok(decode(&bytes).map_or(Earlier::Damaged, Earlier::Trusted))
}

fn decode(bytes: &[u8]) -> Option<Witness> {
    let (crc, content) = bytes.split_first_chunk::<4>()?;
    let is_whole = crc32c::crc32c(content).to_le_bytes() == *crc;
    codec::decode(content).ok().filter(|_| is_whole)
}

fn encode(witness: &Witness) -> Vec<u8> {
    let mut content = Vec::new();
    codec::encode(witness, &mut content);
    let mut bytes = crc32c::crc32c(&content).to_le_bytes().to_vec();
    bytes.append(&mut content);
    bytes
}

/// The job that keeps the file.
#[derive(Debug)]
pub struct ClockFile {
    shared: Arc<Shared>,
    written: Option<Witness>,
}

impl ClockFile {
    /// A job that has yet to write.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, written: None }
    }

    /// Writes what is known now, when that differs from what stands in the file.
    ///
    /// # Errors
    /// The disk's; the file is as it was, and the next step tries again.
    pub fn step(&mut self) -> io::Result<()> {
        let Some(known) = *self.shared.clock_witness.lock() else { return Ok(()) };
        let is_told = self.written.is_some_and(|written| {
            written.is_in_doubt == known.is_in_doubt && written.drift(&known) <= DRIFT_MAX
        });
        if !is_told {
            replace(&*self.shared.world.disk, FILE, &encode(&known))?;
            self.written = Some(known);
        }
        Ok(())
    }
}
