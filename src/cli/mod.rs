//! The command line: what can be asked for.
//!
//! It parses and gathers the sources of the configuration. It does not serve, verify or talk to a
//! daemon; `main` does that with the [`Command`] it gets. The verbs that only print stand in `print`,
//! the exit codes, once, in `exit`.

mod exit;
mod print;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::bench::arguments::{Bench, BenchFloor};
use crate::config::layers::ConfigFile;
use crate::config::{Flag, Sources};
use crate::model::Timestamp;
use crate::model::time::TimestampError;

pub use exit::{Error, Exit};
pub use print::{check_config, print_config, version};

/// Read when it is in the working directory and no other file is named.
const DEFAULT_CONFIG_PATH: &str = "config.toml";
const DEFAULT_SERVER: &str = "http://127.0.0.1:4646";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the daemon.
    Serve(Serve),
    /// Say what is wrong with the configuration.
    CheckConfig(CheckConfig),
    /// Print the configuration.
    PrintConfig(PrintConfig),
    /// Check every byte of a data directory.
    Verify(Verify),
    /// Tell a running daemon that the wall clock is right.
    ConfirmClock(ConfirmClock),
    /// Print the version.
    Version(Version),
    /// Measure the daemon.
    Bench(Bench),
    /// Serve a floor of the benchmark.
    BenchFloor(BenchFloor),
    /// Be the benchmark's load generator.
    BenchLoad,
}

/// Usage metering: events in over HTTP, counted exactly once, live usage out.
#[derive(Debug, Parser)]
#[command(name = "quipu", args_conflicts_with_subcommands = true, disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon; what happens without a verb
    Serve(Serve),
    /// Say what is wrong with the configuration
    CheckConfig(CheckConfig),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Check every byte of a data directory that no daemon uses
    Verify(Verify),
    /// Tend a running daemon's clock
    #[command(subcommand)]
    Clock(ClockVerb),
    /// Measure the daemon on this machine, in a directory of its own
    Bench(Bench),
    /// Print the version
    Version(Version),
    /// Serve a floor of the benchmark
    #[command(hide = true)]
    BenchFloor(BenchFloor),
    /// Be the benchmark's load generator: a plan on standard input, its outcome on standard output
    #[command(hide = true)]
    BenchLoad,
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Print every setting that counts, as a configuration file
    Print(PrintConfig),
}

#[derive(Debug, Subcommand)]
enum ClockVerb {
    /// Say that the wall clock is right, so that due work goes on
    Confirm(ConfirmClock),
}

/// Run the daemon.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The configuration file; without it config.toml in the working directory, if there is one
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The address and port to listen on; wins over listen.address
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// The data directory; wins over data.directory
    #[arg(long, value_name = "PATH")]
    pub data_dir: Option<String>,
    /// Run under a test clock that starts here and moves only when told
    #[arg(long, value_name = "RFC 3339", value_parser = timestamp)]
    pub test_clock: Option<Timestamp>,
}

/// Say what is wrong with the configuration.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// The configuration file; without it config.toml in the working directory, if there is one
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// Print the configuration.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct PrintConfig {
    /// Say behind each setting where it comes from
    #[arg(long)]
    pub origins: bool,
    /// The configuration file; without it config.toml in the working directory, if there is one
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// Check every byte of a data directory.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// The configuration file; without it config.toml in the working directory, if there is one
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The data directory; wins over data.directory
    #[arg(long, value_name = "PATH")]
    pub data_dir: Option<String>,
}

/// Tell a running daemon that the wall clock is right.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ConfirmClock {
    /// The daemon
    #[arg(long, value_name = "URL", default_value = DEFAULT_SERVER, value_parser = server)]
    pub server: String,
    /// A file that holds an admin key; without it `QUIPU_API_KEY`, or the data directory's key
    #[arg(long, value_name = "PATH")]
    pub api_key_file: Option<PathBuf>,
    /// The configuration file; without it config.toml in the working directory, if there is one
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The data directory; wins over data.directory
    #[arg(long, value_name = "PATH")]
    pub data_dir: Option<String>,
}

/// Print the version.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What this process was asked for. A wrong command line, or a call for help, is answered here and
/// ends the process.
pub fn parse() -> Command {
    Arguments::parse().into()
}

/// What `arguments`, the program's name first, ask for.
///
/// # Errors
/// What is wrong with them, or the help that they call for.
pub fn parse_from<I>(arguments: I) -> Result<Command, clap::Error>
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    Arguments::try_parse_from(arguments).map(Command::from)
}

impl From<Arguments> for Command {
    fn from(arguments: Arguments) -> Self {
        match arguments.verb {
            None => Self::Serve(arguments.serve),
            Some(Verb::Serve(serve)) => Self::Serve(serve),
            Some(Verb::CheckConfig(check)) => Self::CheckConfig(check),
            Some(Verb::Config(ConfigVerb::Print(print))) => Self::PrintConfig(print),
            Some(Verb::Verify(verify)) => Self::Verify(verify),
            Some(Verb::Clock(ClockVerb::Confirm(confirm))) => Self::ConfirmClock(confirm),
            Some(Verb::Version(version)) => Self::Version(version),
            Some(Verb::Bench(bench)) => Self::Bench(bench),
            Some(Verb::BenchFloor(floor)) => Self::BenchFloor(floor),
            Some(Verb::BenchLoad) => Self::BenchLoad,
        }
    }
}

impl Command {
    /// Reads what this command's configuration is made of: the file, the process environment and
    /// the command's own flags.
    ///
    /// # Errors
    /// [`Error::ReadConfig`] when the file that was named, or the one in the working directory,
    /// cannot be read.
    pub fn sources(&self) -> Result<Sources, Error> {
        let (config, listen, data_dir) = match self {
            Self::Serve(Serve { config, listen, data_dir, .. }) => (config, listen, data_dir),
            Self::CheckConfig(CheckConfig { config })
            | Self::PrintConfig(PrintConfig { config, .. }) => (config, &None, &None),
            Self::Verify(Verify { config, data_dir })
            | Self::ConfirmClock(ConfirmClock { config, data_dir, .. }) => {
                (config, &None, data_dir)
            }
            Self::Version(_) | Self::Bench(_) | Self::BenchFloor(_) | Self::BenchLoad => {
                (&None, &None, &None)
            }
        };
        let flags =
            [("--listen", "listen.address", listen), ("--data-dir", "data.directory", data_dir)];
        let flags = flags
            .into_iter()
            .filter_map(|(flag, key, value)| value.clone().map(|value| Flag { flag, key, value }));
        Ok(Sources {
            file: read_config(config.as_deref())?,
            environment: environment(),
            flags: flags.collect(),
        })
    }
}

fn read_config(named: Option<&Path>) -> Result<Option<ConfigFile>, Error> {
    let path = named.unwrap_or(Path::new(DEFAULT_CONFIG_PATH));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(ConfigFile { path: path.to_owned(), text })),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::ReadConfig { path: path.to_owned(), source }),
    }
}

/// The process environment; bytes that are no text are replaced, and so refused as a value.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .collect()
}

fn timestamp(text: &str) -> Result<Timestamp, TimestampError> {
    Timestamp::parse(text)
}

fn server(text: &str) -> Result<String, String> {
    match text.strip_prefix("http://") {
        Some(authority) if !authority.is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        Some(_) | None => Err(format!("expected a URL such as {DEFAULT_SERVER}")),
    }
}

#[cfg(test)]
mod tests;
