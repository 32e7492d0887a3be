//! What the command line understands and refuses.

use super::*;
use crate::config::Config;

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
