//! The command line: what can be asked for, and the verbs that need nothing but the configuration.
//!
//! It parses and gathers the sources of the configuration. It does not serve, verify or talk to a
//! daemon; `main` does that with the [`Command`] it gets. Exit codes stand here, once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::bench::arguments::{Bench, BenchFloor};
use crate::config::layers::ConfigFile;
use crate::config::{Config, ConfigErrors, Flag, KEYS, Settings, Sources};
use crate::model::Timestamp;
use crate::model::time::TimestampError;

/// Read when it is in the working directory and no other file is named.
const DEFAULT_CONFIG_PATH: &str = "config.toml";
const DEFAULT_SERVER: &str = "http://127.0.0.1:4646";

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

/// Why a verb of this file failed.
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

/// Says that the configuration is good.
///
/// # Errors
/// Everything that is wrong with it, or that the answer cannot be written.
pub fn check_config(sources: &Sources, out: &mut dyn Write) -> Result<(), Error> {
    Config::load(sources)?;
    let place = match &sources.file {
        Some(file) => file.path.display().to_string(),
        None => "no configuration file, defaults".to_owned(),
    };
    writeln!(out, "the configuration is good ({place})").map_err(Error::Output)
}

/// Prints every setting that counts, as a configuration file that means the same.
///
/// # Errors
/// Everything that is wrong with the configuration, or that the output cannot be written.
pub fn print_config(
    sources: &Sources,
    with_origins: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let settings = Settings::resolve(KEYS, sources)?;
    Config::from_settings(&settings)?;
    settings.write_toml(with_origins, out).map_err(Error::Output)
}

/// Prints the version of the program and of the files it writes.
///
/// # Errors
/// What the output's writer says.
pub fn version(version: Version, format_version: u32, out: &mut dyn Write) -> io::Result<()> {
    let program = env!("CARGO_PKG_VERSION");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    if version.json {
        let answer = serde_json::json!({
            "version": program,
            "target": target,
            "format_version": format_version,
        });
        writeln!(out, "{answer}")
    } else {
        writeln!(out, "quipu {program} ({target}, on-disk format {format_version})")
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
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        parse_from(line.split_whitespace()).unwrap()
    }

    fn usage_error(line: &str) -> clap::Error {
        parse_from(line.split_whitespace()).unwrap_err()
    }

    fn serve() -> Serve {
        Serve { config: None, listen: None, data_dir: None, test_clock: None }
    }

    #[test]
    fn no_verb_means_serve_with_the_same_flags() {
        assert_eq!(command("quipu"), Command::Serve(serve()));
        let given = Serve {
            config: Some("c.toml".into()),
            listen: Some("127.0.0.1:0".to_owned()),
            data_dir: Some("d".to_owned()),
            test_clock: Some(Timestamp::parse("2026-01-31T00:00:00Z").unwrap()),
        };
        let flags = "--config c.toml --listen 127.0.0.1:0 --data-dir d \
                     --test-clock 2026-01-31T00:00:00Z";
        assert_eq!(command(&format!("quipu {flags}")), Command::Serve(given.clone()));
        assert_eq!(command(&format!("quipu serve {flags}")), Command::Serve(given));
    }

    #[test]
    fn every_verb_is_understood() {
        let config = Some(PathBuf::from("c"));
        assert_eq!(
            command("quipu check-config --config c"),
            Command::CheckConfig(CheckConfig { config: config.clone() })
        );
        assert_eq!(
            command("quipu config print --origins"),
            Command::PrintConfig(PrintConfig { origins: true, config: None })
        );
        assert_eq!(
            command("quipu verify --config c --data-dir d"),
            Command::Verify(Verify { config, data_dir: Some("d".to_owned()) })
        );
        let confirm = ConfirmClock {
            server: "http://10.0.0.1:1".to_owned(),
            api_key_file: Some("k".into()),
            config: None,
            data_dir: None,
        };
        assert_eq!(
            command("quipu clock confirm --server http://10.0.0.1:1/ --api-key-file k"),
            Command::ConfirmClock(confirm.clone())
        );
        let server = DEFAULT_SERVER.to_owned();
        assert_eq!(
            command("quipu clock confirm"),
            Command::ConfirmClock(ConfirmClock { server, api_key_file: None, ..confirm })
        );
        assert_eq!(command("quipu version --json"), Command::Version(Version { json: true }));
    }

    #[test]
    fn a_wrong_command_line_ends_with_the_usage_code() {
        for line in [
            "quipu fly",
            "quipu --lsten 127.0.0.1:1",
            "quipu --listen 127.0.0.1:1 version",
            "quipu --test-clock yesterday",
            "quipu config",
            "quipu clock confirm --server 127.0.0.1:1",
        ] {
            assert_eq!(usage_error(line).exit_code(), Exit::Usage as i32, "{line}");
        }
        assert_eq!(usage_error("quipu --help").exit_code(), Exit::Ok as i32);
    }

    #[test]
    fn flags_become_settings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(&path, "data.directory = \"file\"").unwrap();
        let line = format!("quipu --config {} --listen 127.0.0.1:7", path.display());
        let sources = command(&line).sources().unwrap();
        let sources = Sources { environment: BTreeMap::new(), ..sources };
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.listen.address.port(), 7);
        assert_eq!(config.data.directory, Path::new("file"));
        let sources = command(&format!("{line} --data-dir flag")).sources().unwrap();
        let sources = Sources { environment: BTreeMap::new(), ..sources };
        assert_eq!(Config::load(&sources).unwrap().data.directory, Path::new("flag"));
    }

    #[test]
    fn a_named_file_that_is_missing_is_a_configuration_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none.toml");
        let error = command(&format!("quipu verify --config {}", path.display())).sources();
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::ReadConfig { path: named, .. } if *named == path));
        assert_eq!(error.exit(), Exit::Config);
    }

    fn file(text: &str) -> Sources {
        let file = ConfigFile { path: "quipu.toml".into(), text: text.to_owned() };
        Sources { file: Some(file), ..Sources::default() }
    }

    #[test]
    fn a_wrong_configuration_is_neither_good_nor_printed() {
        let mut out = Vec::new();
        for wrong in ["listen.adress = \"x\"", "billing.grace = \"1m\""] {
            for result in
                [check_config(&file(wrong), &mut out), print_config(&file(wrong), false, &mut out)]
            {
                assert_eq!(result.unwrap_err().exit(), Exit::Config);
            }
        }
        assert_eq!(out, b"");
        print_config(&file(""), false, &mut out).unwrap();
        assert!(out.starts_with(b"[listen]\naddress = \"127.0.0.1:4646\"\n"));
        out.clear();
        check_config(&file(""), &mut out).unwrap();
        assert_eq!(out, b"the configuration is good (quipu.toml)\n");
    }

    #[test]
    fn the_version_names_program_and_format() {
        let mut out = Vec::new();
        version(Version { json: true }, 3, &mut out).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(answer["format_version"], 3);
        out.clear();
        version(Version { json: false }, 3, &mut out).unwrap();
        assert!(out.ends_with(b"on-disk format 3)\n"));
    }
}
