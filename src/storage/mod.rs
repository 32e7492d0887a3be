//! Bytes that survive: the log, the checkpoint and the index of event ids.
//!
//! Nothing here knows an event, a meter or money: what is stored is bytes. Every file is reached
//! through [`crate::world::Disk`], carries a checksum and a format version, and every background job
//! is a synchronous step that its caller paces. What was acknowledged is never guessed away.

pub mod codec;
pub mod index;
pub mod log;
pub mod redb_disk;
pub mod rows;
pub mod snapshot;
