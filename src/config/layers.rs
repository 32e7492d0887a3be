//! Where each setting comes from: flag, environment, file or default, the first that has it.
//!
//! It knows a table of keys, each with a default that also fixes its kind, and nothing of what the
//! values mean. A key that is not in the table is an error wherever it stands. All problems are
//! found before anything is reported. It reads nothing itself: the sources are handed in.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use crate::config::problem::{ConfigError, ConfigErrors, Problem, nearest, quoted, shortened};

/// Variables that start so and hold a double underscore later on are settings.
const VARIABLE_PREFIX: &str = "QUIPU_";
const SEPARATOR: &str = "__";

/// One setting that there is.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name, `section.key`.
    pub name: &'static str,
    /// Its default, which is also the kind of value that it takes.
    pub default: DefaultValue,
}

/// A default value.
#[derive(Clone, Copy, Debug)]
pub enum DefaultValue {
    /// A text.
    Text(&'static str),
    /// A whole number from 0.
    Integer(u64),
    /// Yes or no.
    Boolean(bool),
    /// A list of texts, empty by default.
    EmptyList,
}

/// A setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number from 0.
    Integer(u64),
    /// Yes or no.
    Boolean(bool),
    /// A list of texts; in the environment it is separated by commas.
    List(Vec<String>),
}

/// Everything that settings are read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file, if there is one.
    pub file: Option<ConfigFile>,
    /// Environment variables; others than settings are ignored.
    pub environment: BTreeMap<String, String>,
    /// Flags of the command line that stand for a setting.
    pub flags: Vec<Flag>,
}

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// Its text, TOML.
    pub text: String,
}

/// A flag that was given.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, for messages, for example `--listen`.
    pub flag: &'static str,
    /// The setting that it stands for.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// Where a value was found; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In an environment variable of this name.
    Environment(String),
    /// On the command line, by this flag.
    Flag(&'static str),
}

/// A setting with its value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// The value that counts.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Every setting there is, in the order of the table of keys.
#[derive(Clone, Debug)]
pub struct Settings(Vec<Setting>);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

impl fmt::Display for Value {
    /// As TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => toml::Value::from(text.as_str()).fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(is_set) => is_set.fmt(f),
            Self::List(texts) => toml::Value::from(texts.clone()).fmt(f),
        }
    }
}

impl DefaultValue {
    /// The value that a setting has when no source names it.
    pub fn value(self) -> Value {
        match self {
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::Integer(number) => Value::Integer(number),
            Self::Boolean(is_set) => Value::Boolean(is_set),
            Self::EmptyList => Value::List(Vec::new()),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number from 0",
            Self::Boolean(_) => "true or false",
            Self::EmptyList => "a list of texts",
        }
    }

    /// A value of this kind from an environment variable or flag.
    fn read_text(self, text: &str) -> Option<Value> {
        match self {
            Self::Text(_) => Some(Value::Text(text.to_owned())),
            Self::Integer(_) => text.parse().ok().map(Value::Integer),
            Self::Boolean(_) => text.parse().ok().map(Value::Boolean),
            Self::EmptyList => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(Value::List(parts.map(str::to_owned).collect()))
            }
        }
    }

    /// A value of this kind from a file.
    fn read_toml(self, value: &DeValue<'_>) -> Option<Value> {
        match self {
            Self::Text(_) => value.as_str().map(|text| Value::Text(text.to_owned())),
            Self::Integer(_) => {
                let integer = value.as_integer()?;
                u64::from_str_radix(integer.as_str(), integer.radix()).ok().map(Value::Integer)
            }
            Self::Boolean(_) => value.as_bool().map(Value::Boolean),
            Self::EmptyList => {
                let parts = value.as_array()?.iter();
                let texts = parts.map(|part| part.get_ref().as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map(Value::List)
            }
        }
    }
}

impl Settings {
    /// Finds every key's value in `sources`.
    ///
    /// # Errors
    /// Every unknown key and every value of the wrong kind, in the order file, environment, flags.
    pub fn resolve(keys: &'static [Key], sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut found = Layers { keys, values: BTreeMap::new(), errors: Vec::new() };
        if let Some(file) = &sources.file {
            found.add_file(file);
        }
        found.add_environment(&sources.environment);
        for flag in &sources.flags {
            found.add_text(flag.key, &flag.value, Origin::Flag(flag.flag));
        }
        if !found.errors.is_empty() {
            return Err(ConfigErrors(found.errors));
        }
        let settings = keys.iter().map(|key| {
            let (value, origin) = found
                .values
                .remove(key.name)
                .unwrap_or_else(|| (key.default.value(), Origin::Default));
            Setting { key, value, origin }
        });
        Ok(Self(settings.collect()))
    }

    /// The setting of this name.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.key.name == name)
    }

    /// All settings, in the order of the table of keys.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// Writes all settings as a configuration file that means the same; `with_origins` says behind
    /// each where it comes from.
    ///
    /// # Errors
    /// What the writer says.
    ///
    /// # Panics
    /// When the table of keys has one without a section.
    pub fn write_toml(&self, with_origins: bool, out: &mut dyn Write) -> io::Result<()> {
        let mut section_before = None;
        for Setting { key, value, origin } in &self.0 {
            let (section, name) =
                key.name.split_once('.').expect("every key has a section and a name");
            if section_before != Some(section) {
                let gap = if section_before.is_none() { "" } else { "\n" };
                writeln!(out, "{gap}[{section}]")?;
                section_before = Some(section);
            }
            write!(out, "{name} = {value}")?;
            if with_origins {
                // A path may hold anything; a comment may not hold a line break.
                write!(out, " # {}", origin.to_string().escape_debug())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Values found so far; a later layer replaces what an earlier one said.
struct Layers {
    keys: &'static [Key],
    values: BTreeMap<&'static str, (Value, Origin)>,
    errors: Vec<ConfigError>,
}

impl Layers {
    fn add_file(&mut self, file: &ConfigFile) {
        let at = |span: Range<usize>| position(file, span.start);
        let document = match DeTable::parse(&file.text) {
            Ok(document) => document.into_inner(),
            Err(error) => {
                let origin = at(error.span().unwrap_or_default());
                let problem = Problem::Syntax(error.message().to_owned());
                self.errors.push(ConfigError { origin, problem });
                return;
            }
        };
        for (section, content) in &document {
            let Some(known) = self.section(section.get_ref()) else {
                self.unknown(section.get_ref(), at(section.span()));
                continue;
            };
            let Some(table) = content.get_ref().as_table() else {
                let found = file.text.get(content.span()).unwrap_or_default();
                self.refuse(known, "a section", found, at(content.span()));
                continue;
            };
            for (name, value) in table {
                let name_in_full = format!("{known}.{}", name.get_ref());
                let Some(key) = self.key(&name_in_full) else {
                    self.unknown(&name_in_full, at(name.span()));
                    continue;
                };
                let found = file.text.get(value.span()).unwrap_or_default();
                self.add(key, key.default.read_toml(value.get_ref()), found, at(value.span()));
            }
        }
    }

    fn add_environment(&mut self, environment: &BTreeMap<String, String>) {
        for (variable, text) in environment {
            let Some(name) = setting_name(variable) else { continue };
            let origin = Origin::Environment(variable.clone());
            if let Some(key) = self.keys.iter().find(|key| variable_name(key.name) == *variable) {
                self.add_text(key.name, text, origin);
            } else {
                let suggestion = nearest(&name, self.keys.iter().map(|key| key.name));
                let suggestion = suggestion.map(variable_name);
                let problem = Problem::Unknown { name: variable.clone(), suggestion };
                self.errors.push(ConfigError { origin, problem });
            }
        }
    }

    fn add_text(&mut self, name: &str, text: &str, origin: Origin) {
        match self.key(name) {
            Some(key) => self.add(key, key.default.read_text(text), &quoted(text), origin),
            None => self.unknown(name, origin),
        }
    }

    fn add(&mut self, key: &'static Key, value: Option<Value>, found: &str, origin: Origin) {
        match value {
            Some(value) => {
                self.values.insert(key.name, (value, origin));
            }
            None => self.refuse(key.name, key.default.expected(), found, origin),
        }
    }

    fn refuse(&mut self, key: &'static str, expected: &str, found: &str, origin: Origin) {
        let problem =
            Problem::Value { key, expected: expected.to_owned(), found: shortened(found) };
        self.errors.push(ConfigError { origin, problem });
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    fn sections(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().filter_map(|key| key.name.split('.').next())
    }

    fn section(&self, name: &str) -> Option<&'static str> {
        self.sections().find(|section| *section == name)
    }

    fn unknown(&mut self, name: &str, origin: Origin) {
        let names = self.keys.iter().map(|key| key.name).chain(self.sections());
        let suggestion = nearest(name, names).map(str::to_owned);
        let problem = Problem::Unknown { name: name.to_owned(), suggestion };
        self.errors.push(ConfigError { origin, problem });
    }
}

/// The environment variable that stands for a key.
pub fn variable_name(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', SEPARATOR))
}

/// The setting that a variable seems to stand for; none when it is none of ours.
fn setting_name(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(VARIABLE_PREFIX)?;
    rest.contains(SEPARATOR).then(|| rest.to_lowercase().replace(SEPARATOR, "."))
}

fn position(file: &ConfigFile, offset: usize) -> Origin {
    let before = file.text.get(..offset).unwrap_or(&file.text);
    let line_start = before.rfind('\n').map_or(0, |line_end| line_end + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    let line = before.matches('\n').count() + 1;
    Origin::File { path: file.path.clone(), line, column }
}
