//! API keys and what they may do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::KeyId;
use crate::model::time::Timestamp;

/// What a key may do. Admin includes everything; ingest and read do not include each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Send events.
    Ingest,
    /// Read anything but keys.
    Read,
    /// Everything.
    Admin,
}

impl Scope {
    /// Whether a key of this scope may use a route that asks for `needed`.
    pub fn allows(self, needed: Self) -> bool {
        self == Self::Admin || self == needed
    }
}

/// A keyed digest of a whole key text; the text cannot be found from it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// A key as it is kept: never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The public part, the `<id>` of `quipu_<id>_<secret>`.
    pub id: KeyId,
    /// The name people read.
    pub name: String,
    /// What the key may do.
    pub scope: Scope,
    /// The keyed digest of the whole key text.
    pub digest: KeyDigest,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// Log time of the deletion; a deleted key opens nothing.
    pub deleted_at: Option<Timestamp>,
}
