//! Settings that change what the log means.

use serde::{Deserialize, Serialize};

use crate::model::credit::GrantOrder;

/// Settings that change what applying a record does. They are logged when they differ from the
/// last ones, so that replay sees each event under the settings it was counted under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether a string that holds a number counts as that number.
    pub numeric_strings: bool,
    /// Which grant is drawn on first.
    pub credit_order: GrantOrder,
}
