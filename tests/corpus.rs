//! The committed corpora of the fuzz targets, fed to the targets' bodies by a stable compiler: what a
//! fuzzer once found stays found.

#![cfg(test)]

#[path = "fuzz/targets/mod.rs"]
pub mod targets;

#[path = "fuzz/seeds.rs"]
mod seeds;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of all corpora together: more would weigh on every clone.
const BYTES_MAX: u64 = 400 << 10;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Feeds the inputs, each with a name, to the body of a target; the names of those it breaks on.
fn broken<'i>(
    check: fn(&[u8]),
    inputs: impl Iterator<Item = (String, Cow<'i, [u8]>)>,
) -> Vec<String> {
    let breaks = |bytes: &[u8]| std::panic::catch_unwind(|| check(bytes)).is_err();
    inputs.filter(|(_, bytes)| breaks(bytes)).map(|(name, _)| name).collect()
}

#[test]
fn every_target_holds_its_laws_on_its_corpus() {
    let mut failures = Vec::new();
    for (name, check) in targets::ALL {
        let inputs = files(&corpora().join(name));
        assert!(!inputs.is_empty(), "the corpus of {name} is empty");
        println!("{name}: {} inputs", inputs.len());
        let read = |path: PathBuf| (path.display().to_string(), fs::read(path).unwrap().into());
        failures.extend(broken(check, inputs.into_iter().map(read)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_target_holds_its_laws_on_its_seeds() {
    let mut failures = Vec::new();
    for (name, check) in targets::ALL {
        let named = |seed: Vec<u8>| (format!("{name}: {}", seed.escape_ascii()), seed.into());
        failures.extend(broken(check, seeds::of(name).into_iter().map(named)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Where a corpus begins: `QUIPU_SEEDS=<folder> cargo test --test corpus -- --ignored`.
#[test]
#[ignore = "it writes files"]
fn seeds_are_written() {
    let folder = std::env::var_os("QUIPU_SEEDS").expect("QUIPU_SEEDS names a folder");
    for (name, _) in targets::ALL {
        let folder = Path::new(&folder).join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds::of(name).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

#[test]
fn corpora_are_those_of_the_targets_and_small() {
    let found: Vec<_> = files(&corpora());
    let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names, targets::ALL.map(|(name, _)| name));
    let inputs = found.iter().flat_map(|folder| files(folder));
    let bytes: u64 = inputs.map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= BYTES_MAX, "the corpora have {bytes} bytes");
}
