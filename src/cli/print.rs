//! The verbs that need nothing but the configuration: they print and end.

use std::io::{self, Write};

use crate::cli::{Error, Version};
use crate::config::{Config, KEYS, Settings, Sources};

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
