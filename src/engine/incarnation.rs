//! Who a data directory is: its id and its secrets, drawn once when it is created.
//!
//! The file `identity` holds them, readable by the owner alone. Without it no event id of the
//! directory could be recognised again, so a directory that has a log but no identity is refused.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::storage::{codec, index, rows};
use crate::world::World;
use crate::world::disk::{read_all, replace};
use crate::world::entropy::draw;

/// The file's name.
pub const FILE: &str = "identity";

/// The newest format of a data directory that this program reads and writes.
pub const FORMAT_VERSION: u32 = 20;

/// What the file holds, behind a CRC32C.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// The format of the whole directory.
    pub format_version: u32,
    /// The id that every file of the directory carries.
    pub id: [u8; 16],
    /// The secret under which event ids are hashed.
    pub id_secret: [u8; 16],
    /// The secret under which API keys are digested.
    pub key_pepper: [u8; 32],
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incarnation").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a directory's identity cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written.
    #[error("access file {FILE}")]
    Io(#[source] io::Error),
    /// The file is not what was written.
    #[error("file {FILE} is damaged")]
    Damaged,
    /// There are other files, but this one is gone.
    #[error("file {FILE} is missing from a data directory that is not empty")]
    Missing,
    /// Another version of the program wrote the directory; it was not touched.
    #[error("the data directory has format {0}, which this version of quipu does not know")]
    OtherFormat(u32),
}

/// Reads the identity of the data directory.
///
/// # Errors
/// [`Error`]
pub fn read(world: &World) -> Result<Option<Incarnation>, Error> {
    let bytes = match read_all(&*world.disk, FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::Io(error)),
    };
    let (crc, content) = bytes.split_first_chunk::<4>().ok_or(Error::Damaged)?;
    if crc32c::crc32c(content).to_le_bytes() != *crc {
        return Err(Error::Damaged);
    }
    let (format_version, _): (u32, usize) =
        codec::decode_front(content).map_err(|_| Error::Damaged)?;
    if format_version != FORMAT_VERSION {
        return Err(Error::OtherFormat(format_version));
    }
    codec::decode(content).map(Some).map_err(|_| Error::Damaged)
}

/// Reads the identity of the data directory, or draws one when the directory is new.
///
/// # Errors
/// [`Error`]
pub fn read_or_create(world: &World) -> Result<Incarnation, Error> {
    if let Some(incarnation) = read(world)? {
        return Ok(incarnation);
    }
    let names = world.disk.names().map_err(Error::Io)?;
    let is_data = |name: &String| {
        let prefixes = ["wal-", "snapshot-", "history-"];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
            || [rows::FILE, index::FILE].contains(&name.as_str())
    };
    if names.iter().any(is_data) {
        return Err(Error::Missing);
    }
    let incarnation = Incarnation {
        format_version: FORMAT_VERSION,
        id: draw(&*world.entropy),
        id_secret: draw(&*world.entropy),
        key_pepper: draw(&*world.entropy),
    };
    let mut content = Vec::new();
    codec::encode(&incarnation, &mut content);
    let mut bytes = crc32c::crc32c(&content).to_le_bytes().to_vec();
    bytes.extend_from_slice(&content);
    replace(&*world.disk, FILE, &bytes).map_err(|cause| {
        // Its name may be in doubt for ever: the next start must not find it, and take it for durable.
        let _ = world.disk.remove(FILE);
        Error::Io(cause)
    })?;
    Ok(incarnation)
}
