//! Bytes that survive: the log, history, the checkpoint and the index of event ids.
//!
//! Nothing here knows a meter or money: what is stored is bytes, and in history events. Every file is
//! reached through [`crate::world::Disk`], carries a checksum and a format version, and every
//! background job is a synchronous step that its caller paces. What was acknowledged is never
//! guessed away.

pub mod bundle;
pub mod codec;
pub mod history;
pub mod index;
pub mod log;
pub mod pages;
pub mod redb_disk;
pub mod ring;
pub mod rows;
pub mod snapshot;
