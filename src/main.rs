//! The program: reads what it is asked for, does it, and ends with a number that says how it went.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use quipu::bench;
use quipu::cli::{self, Command, Exit};
use quipu::config::{Config, KEYS, OutputFormat, Settings};
use quipu::confirm::{self, Confirmed};
use quipu::daemon::{self, End, KEY_FILE, KeySource, Orders};
use quipu::engine::incarnation::FORMAT_VERSION;
use quipu::engine::open_error::OpenError;
use quipu::engine::verify;
use quipu::model::Causes;
use quipu::world::World;
use quipu::world::clock::SystemClock;
use quipu::world::entropy::SystemEntropy;
use quipu::world::real_disk::{Directory, DirectoryError};

/// See the dependencies in `ARCHITECTURE.md`; its settings stand in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The environment variable that holds the text of the first admin key.
const KEY_VARIABLE: &str = "QUIPU_API_KEY";

fn main() -> ExitCode {
    let command = cli::parse();
    let exit = run(&command).unwrap_or_else(|error| {
        // Nobody listens any more when this cannot be written.
        writeln!(io::stderr(), "quipu: {error:#}").ok();
        exit_of(&error)
    });
    exit.into()
}

fn run(command: &Command) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    match command {
        Command::Version(version) => {
            cli::version(*version, FORMAT_VERSION, &mut out)?;
            Ok(Exit::Ok)
        }
        Command::CheckConfig(_) => {
            cli::check_config(&command.sources()?, &mut out)?;
            Ok(Exit::Ok)
        }
        Command::PrintConfig(print) => {
            cli::print_config(&command.sources()?, print.origins, &mut out)?;
            Ok(Exit::Ok)
        }
        Command::Verify(_) => verify_directory(&load(command)?, &mut out),
        Command::ConfirmClock(asked) => {
            let config = load(command)?;
            let key = client_key(asked.api_key_file.as_deref(), &config)?;
            confirm_clock(&asked.server, &key, &mut out)
        }
        Command::Bench(asked) => bench::run(asked, &mut out).map(|()| Exit::Ok),
        Command::BenchFloor(asked) => bench::run_floor(*asked, &mut out).map(|()| Exit::Ok),
        Command::BenchLoad => bench::run_load(&mut out).map(|()| Exit::Ok),
        Command::Serve(serve) => {
            drop(out);
            let settings =
                Settings::resolve(KEYS, &command.sources()?).map_err(cli::Error::from)?;
            let config = Config::from_settings(&settings).map_err(cli::Error::from)?;
            start_logging(&config);
            let key_source = key_source(&config);
            let test_clock = serve.test_clock;
            let end = daemon::serve(&Orders { config, settings, key_source, test_clock })?;
            Ok(match end {
                End::Stopped => Exit::Ok,
                End::Failed(fatal) => {
                    let error = Causes(&fatal);
                    tracing::error!(%error, "stopped: nothing was acknowledged after this");
                    // Requests under way get no answer: what became of them is told after a restart.
                    let exit = if fatal.is_damage() { Exit::Corruption } else { Exit::Io };
                    std::process::exit(exit as i32)
                }
            })
        }
    }
}

fn load(command: &Command) -> Result<Config, cli::Error> {
    Ok(Config::load(&command.sources()?)?)
}

fn key_source(config: &Config) -> KeySource {
    match (std::env::var(KEY_VARIABLE), &config.api_key_file) {
        (Ok(text), _) if !text.is_empty() => KeySource::Environment(text),
        (_, Some(path)) => KeySource::File(path.clone()),
        (_, None) => KeySource::DataDirectory,
    }
}

/// The key that a command line client sends.
fn client_key(file: Option<&Path>, config: &Config) -> anyhow::Result<String> {
    let path = match (file, key_source(config)) {
        (Some(path), _) => path.to_owned(),
        (None, KeySource::Environment(text)) => return Ok(text),
        (None, KeySource::File(path)) => path,
        (None, KeySource::DataDirectory) => config.data.directory.join(KEY_FILE),
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("read the API key in {}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn verify_directory(config: &Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let directory = Directory::open_read_only(&config.data.directory)?;
    let world = World {
        clock: Arc::new(SystemClock),
        disk: Arc::new(directory),
        entropy: Arc::new(SystemEntropy),
    };
    let report = verify::verify(&world)?;
    writeln!(
        out,
        "log: {} segments, durable up to lsn {}\nhistory: {} events\ncheckpoint: lsn {}\n\
         id index: {} runs, {} ids",
        report.segments,
        report.durable,
        report.history_events,
        report.checkpoint,
        report.runs,
        report.ids
    )?;
    for finding in &report.findings {
        writeln!(out, "DAMAGED: {finding}")?;
    }
    Ok(if report.findings.is_empty() {
        writeln!(out, "everything is as it was written")?;
        Exit::Ok
    } else {
        Exit::Corruption
    })
}

fn confirm_clock(server: &str, key: &str, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match confirm::confirm(server, key) {
        Ok(Confirmed::Yes(clock)) => {
            writeln!(out, "confirmed: {clock}")?;
            Ok(Exit::Ok)
        }
        Ok(Confirmed::Refused { status, body }) => {
            writeln!(io::stderr(), "quipu: the daemon answered {status}: {body}")?;
            Ok(Exit::Failure)
        }
        Err(error) => {
            writeln!(io::stderr(), "quipu: {error:#}")?;
            Ok(Exit::Unreachable)
        }
    }
}

/// The number for an error that ends the program.
fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(error) = error.downcast_ref::<cli::Error>() {
        return error.exit();
    }
    if error.chain().filter_map(|cause| cause.downcast_ref()).any(OpenError::is_damage) {
        return Exit::Corruption;
    }
    match error.downcast_ref::<DirectoryError>() {
        Some(DirectoryError::InUse { .. }) => Exit::TryAgain,
        Some(DirectoryError::NotADirectory { .. } | DirectoryError::Io { .. }) => Exit::Io,
        None if is_of_disk(error) => Exit::Io,
        None => Exit::Failure,
    }
}

/// Whether a file or disk has refused.
fn is_of_disk(error: &anyhow::Error) -> bool {
    let opened = error.chain().filter_map(|cause| cause.downcast_ref()).any(OpenError::is_of_disk);
    opened || error.downcast_ref::<io::Error>().is_some()
}

/// Log lines go to standard error: for people on a terminal, JSON otherwise.
fn start_logging(config: &Config) {
    let is_json = match config.output.format {
        OutputFormat::Auto => !io::stderr().is_terminal(),
        OutputFormat::Human => false,
        OutputFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt().with_max_level(config.output.level);
    let lines = lines.with_writer(io::stderr);
    if is_json {
        lines.json().init();
    } else {
        lines.with_ansi(io::stderr().is_terminal()).init();
    }
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(at, what, "panic");
    }));
}
