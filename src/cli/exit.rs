//! How the process ends: the numbers, and the errors of the command line behind them.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ConfigErrors;

/// How the process ends; 2, a wrong command line, is given by the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed in a way that has no number of its own.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `verify` found damage, or a start was refused because of it.
    Corruption = 65,
    /// The server cannot be reached.
    Unreachable = 69,
    /// A file or disk cannot be read or written.
    Io = 74,
    /// Not now; the same call may succeed later.
    TryAgain = 75,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the command line, or a verb that only prints, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be read.
    #[error("read the configuration file {}", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The output cannot be written.
    #[error("write the output")]
    Output(#[source] io::Error),
}

impl Error {
    /// How the process should end.
    pub fn exit(&self) -> Exit {
        match self {
            Self::ReadConfig { .. } | Self::Config(_) => Exit::Config,
            Self::Output(_) => Exit::Io,
        }
    }
}
