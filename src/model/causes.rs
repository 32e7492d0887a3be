//! An error with everything that it was caused by, as one line.

use std::error::Error;
use std::fmt;

/// Prints an error and its causes, each behind a colon: what a log line shows in any format.
#[derive(Clone, Copy, Debug)]
pub struct Causes<'a>(pub &'a dyn Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_cause_is_told() {
        let inner = std::io::Error::other("page 7 is not as it was written");
        assert_eq!(Causes(&Outer(inner)).to_string(), "outer: page 7 is not as it was written");
    }
}
