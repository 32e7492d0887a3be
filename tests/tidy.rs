//! The house rules that no compiler knows: which folder may use which, how long a file may be, what
//! stands at the top level.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each folder of `src` and the folders that its files may import.
const FOLDERS: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("metering", &["model"]),
    ("billing", &["model"]),
    ("world", &["model"]),
    ("storage", &["model", "world"]),
    ("engine", &["model", "metering", "billing", "world", "storage"]),
    ("http", &["model", "metering", "billing", "world", "engine"]),
    ("config", &["model"]),
    ("bench", &["model", "metering", "billing", "world", "storage", "engine", "http", "config"]),
    ("cli", &["model", "config", "bench"]),
    (
        "",
        &[
            "model", "metering", "billing", "world", "storage", "engine", "http", "config",
            "bench", "cli",
        ],
    ),
];

/// Lines of a file, tests included, above which it is to be split by idea.
const LINES_MAX: usize = 600;

const TOP_LEVEL: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE", "config.toml", "src", "benches", "tests"];

/// What may lie about in a working copy without being part of the tree.
const UNTRACKED: [&str; 3] = ["target", "data", "proptest-regressions"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    paths.sort();
    let relative = |path: &Path| {
        path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().replace('\\', "/")
    };
    paths.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

/// The folders that a line of code names after `crate::`.
fn folders_named(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        FOLDERS.iter().any(|(folder, _)| *folder == name).then_some(name)
    })
}

#[test]
fn lower_folders_know_nothing_of_higher_ones() {
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        let folder = path.split_once('/').map_or("", |(folder, _)| folder);
        let (_, allowed) = FOLDERS
            .iter()
            .find(|(name, _)| *name == folder)
            .unwrap_or_else(|| panic!("{folder} is not a folder of the house"));
        for (number, line) in text.lines().enumerate() {
            for named in folders_named(line) {
                if named != folder && !allowed.contains(&named) {
                    broken.push(format!("src/{path}:{}: {folder} may not use {named}", number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn imports_name_their_folder() {
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("use crate::{") || line.contains("use super::super") {
                broken.push(format!("src/{path}:{}: write `use crate::folder::…`", number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            broken.push(format!("src/{path}: {lines} lines; split it by idea"));
        }
        let says = text.starts_with("//!") || text.starts_with("#![doc");
        if !says {
            broken.push(format!("src/{path}: starts with `//!` and what it is"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_the_codec_names_the_codec_crate() {
    for (path, text) in all_sources() {
        let named = text
            .lines()
            .any(|line| line.split("//").next().unwrap_or_default().contains("bincode::"));
        assert!(!named || path == "storage/codec.rs", "src/{path} names bincode");
    }
}

#[test]
fn the_top_level_is_the_agreed_one() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = TOP_LEVEL.contains(&name.as_str()) || UNTRACKED.contains(&name.as_str());
        assert!(known || name.starts_with('.'), "{name} does not belong at the top level");
    }
}

#[test]
fn the_layer_check_sees_imports_and_paths() {
    let named = |line| folders_named(line).collect::<Vec<_>>();
    assert_eq!(named("use crate::engine::Engine; // crate::http"), ["engine"]);
    assert_eq!(named("    let x = crate::http::y(crate::model::Z);"), ["http", "model"]);
    assert_eq!(named("use crate::nothing::X;"), Vec::<&str>::new());
}
