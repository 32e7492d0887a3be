//! The benchmark as a user runs it: that it measures, counts right and says what it found. How fast
//! this machine is does not matter here.

#![cfg(test)]

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.args([
        "bench",
        "--json",
        "--rounds",
        "1",
        "--seconds",
        "0.5",
        "--connections",
        "1",
        "--data-dir",
    ]);
    let output = command.arg(directory.path()).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The figures of `mode`, each of the shape that is promised and named in the help text.
fn figures(answer: &Value, mode: &str) -> Vec<String> {
    assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
    assert!(answer["cores"].as_u64().unwrap() > 0);
    let help = Command::new(env!("CARGO_BIN_EXE_quipu")).args(["bench", "--help"]).output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    let modes = answer["modes"].as_object().unwrap();
    assert_eq!(modes.keys().collect::<Vec<_>>(), [mode]);
    let figures = modes[mode].as_object().unwrap();
    for (name, figure) in figures {
        assert!(help.contains(name), "{name} is not in\n{help}");
        let [median, min, max] =
            ["median", "min", "max"].map(|part| figure[part].as_f64().unwrap());
        assert!(min <= median && median <= max, "{name}: {figure}");
        assert!(!figure["rounds"].as_array().unwrap().is_empty(), "{name}: {figure}");
    }
    figures.keys().cloned().collect()
}

fn check(arguments: &[&str], mode: &str, positive: &[&str]) {
    let answer = bench(&[&["--mode", mode], arguments].concat());
    let found = figures(&answer, mode);
    for name in positive {
        assert!(found.iter().any(|figure| figure == name), "{name} is not in {found:?}");
        let figure = &answer["modes"][mode][name];
        assert!(figure["median"].as_f64().unwrap() > 0.0, "{mode} {name}: {figure}");
    }
}

#[test]
fn batches_are_measured_against_both_floors() {
    let positive = [
        "discard_events_per_second",
        "parse_events_per_second",
        "daemon_events_per_second",
        "daemon_of_discard",
        "daemon_of_parse",
        "latency_p99_ms",
        "resident_mb",
        "log_bytes_per_event",
    ];
    check(&[], "batch-1000", &positive);
}

#[test]
fn duplicates_are_told_from_new_events() {
    check(&[], "duplicates", &["daemon_events_per_second"]);
}

#[test]
fn a_fixed_rate_is_kept() {
    let answer = bench(&["--mode", "latency", "--rate", "50"]);
    let found = figures(&answer, "latency");
    assert!(found.iter().any(|name| name == "latency_p99_ms"));
    let offered = &answer["modes"]["latency"]["offered_requests_per_second"]["median"];
    assert_eq!(offered.as_f64(), Some(50.0));
}

#[test]
fn usage_is_read_during_ingest() {
    check(&[], "usage", &["usage_p99_ms", "daemon_events_per_second"]);
}

#[test]
fn a_killed_daemon_comes_back_with_every_event() {
    check(&["--events", "20000"], "restart", &["ready_seconds"]);
}

#[test]
fn subscriptions_are_turned_and_closed_alone_and_beside_ingest() {
    let positive = [
        "turn_and_close_us",
        "turn_and_close_of_small",
        "ingest_before_events_per_second",
        "ingest_kept",
        "beside_close_seconds",
        "resident_growth_per_subscription_bytes",
    ];
    check(&["--subscriptions", "300"], "billing", &positive);
}

#[test]
fn questions_for_credits_are_timed_beside_ingest() {
    let positive = ["peak_events_per_second", "check_p50_ms", "check_p999_ms", "healthz_p50_ms"];
    check(&[], "credits-check", &positive);
}
