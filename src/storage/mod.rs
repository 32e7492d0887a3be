//! Bytes that survive. Nothing here knows an event or a meter.

pub mod codec;
pub mod index;
pub mod log;
pub mod redb_disk;
