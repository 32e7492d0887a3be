//! What can be wrong with the configuration, said so that a person can put it right.
//!
//! Every problem names its place: file, line and column, variable, or flag. It does not find
//! problems; it words them.

use std::fmt;

use crate::config::layers::Origin;

/// Longer values are cut in messages.
const QUOTED_CHARS_MAX: usize = 60;
/// Below this share of equal letters a suggestion would puzzle more than help.
const SUGGESTION_LIKENESS_MIN: f64 = 0.6;

/// One thing that is wrong with the configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// What.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file is not TOML.
    #[error("{0}")]
    Syntax(String),
    /// There is no such setting.
    #[error("there is no setting {name}{}", did_you_mean(suggestion.as_deref()))]
    Unknown {
        /// The name as it was given.
        name: String,
        /// The nearest name there is.
        suggestion: Option<String>,
    },
    /// The value is of another kind, or outside what the setting takes.
    #[error("{key}: expected {expected}, found {found}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The value does not go with another setting.
    #[error("{key}: {conflict}")]
    Conflict {
        /// The setting.
        key: &'static str,
        /// What is wrong, and what to do.
        conflict: String,
    },
}

/// Everything that is wrong with the configuration; prints one problem a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{error}")?;
        }
        Ok(())
    }
}

/// A text in quotes, cut when it is long.
pub(crate) fn quoted(text: &str) -> String {
    shortened(&format!("{text:?}"))
}

/// A text, cut when it is long.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// The name whose part after the dot is most like that of `given`; between several of them the one
/// that is most like it as a whole.
pub(crate) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = strsim::normalized_damerau_levenshtein;
    names
        .map(|name| (likeness(&last(given), &last(name)), likeness(given, name), name))
        .filter(|(last_part, _, _)| *last_part >= SUGGESTION_LIKENESS_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1)))
        .map(|(_, _, name)| name)
}
