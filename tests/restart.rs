//! The contract as far as files and processes show it: what a restart keeps, who may have the
//! directory, what damage does, where the key is.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::{Daemon, Ended, KEY, Launch};
use crate::common::{TEST_CLOCK, event, make_count, total, verdict, wait_until};

/// Where the first frame of a segment begins, and what each frame begins at a multiple of.
const FRAMES_AT: usize = 4096;
const BLOCK: usize = 512;
const FRAME_MAGIC: &[u8] = b"KNOT";

fn calls(ids: std::ops::Range<u32>) -> Vec<Value> {
    ids.map(|id| event(&format!("call-{id}"), "acme", "call", &Value::Null)).collect()
}

/// The log's files, oldest first.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_segment =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("wal-");
    let mut segments: Vec<_> = entries.filter(is_segment).collect();
    segments.sort_unstable();
    segments
}

/// A daemon that has acknowledged calls 0 to 9, one request each, and their meter.
fn ten_calls(launch: &Launch) -> (Daemon, String) {
    let daemon = launch.start();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "call");
    for id in 0..10 {
        assert_eq!(verdict(&mut client, &calls(id..id + 1)), [1, 0, 0]);
    }
    (daemon, meter)
}

fn ended_in_order(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "one line says where everything is: {ended:?}");
    assert!(!ended.stderr.contains("panic"), "{ended:?}");
}

/// Everything that a client can ask for, and the usage of the whole month.
fn everything(client: &mut Client, meter: &str) -> Vec<Value> {
    let usage = format!("/usage?meter_id={meter}&interval=hour");
    ["/keys", "/meters", "/meters?archived=true", "/customers", "/events?page_size=100", &usage]
        .map(|path| client.get(path).json())
        .to_vec()
}

#[test]
fn a_restart_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).at(TEST_CLOCK);
    let (daemon, meter) = ten_calls(&launch);
    let mut client = daemon.client();
    let archived = make_count(&mut client, "old");
    assert_eq!(client.delete(&format!("/meters/{archived}")).status, 204);
    let customer = json!({ "customer_id": "c", "name": "C", "email": "c@example.com", "metadata": { "n": 1.50 } });
    assert_eq!(client.post("/customers", &customer).status, 200);
    let key = client.post("/keys", &json!({ "name": "reader", "scope": "read" })).json();
    let archived = format!("/meters/{archived}");
    wait_until("the meter has counted what came before it", || {
        (client.get(&archived).json()["backfill"]["state"] == "done").then_some(())
    });
    let before = everything(&mut client, &meter);
    ended_in_order(&daemon.terminate());
    for _ in 0..3 {
        let daemon = launch.start();
        assert_eq!(everything(&mut daemon.client(), &meter), before);
        let mut reader = Client::new(daemon.address, key["key"].as_str());
        assert_eq!(reader.get("/meters").status, 200);
        assert_eq!(verdict(&mut daemon.client(), &calls(0..10)), [0, 10, 0]);
        daemon.kill();
    }
    let daemon = launch.start();
    let id = key["id"].as_str().unwrap();
    assert_eq!(daemon.client().delete(&format!("/keys/{id}")).status, 204);
    daemon.kill();
    let daemon = launch.start();
    assert_eq!(Client::new(daemon.address, key["key"].as_str()).get("/meters").status, 401);
}

#[test]
fn an_answer_with_an_idempotency_key_outlives_kills_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).at(TEST_CLOCK);
    let body = json!({
        "name": "Calls", "event_name": "call", "measurement_unit": "calls",
        "aggregation": { "type": "count" },
    });
    let header = [("idempotency-key", "only once")];
    let mut daemon = launch.start();
    let first = daemon.client().post_with("/meters", &header, &body);
    assert_eq!(first.status, 201);
    for is_killed in [true, false, true] {
        let ended = if is_killed { daemon.kill() } else { daemon.terminate() };
        assert_eq!(ended.code, (!is_killed).then_some(0));
        daemon = launch.start();
        let mut client = daemon.client();
        let again = client.post_with("/meters", &header, &body);
        assert_eq!((again.status, again.text()), (201, first.text()));
        let mut other = body.clone();
        other["name"] = "Others".into();
        let reused = client.post_with("/meters", &header, &other);
        assert_eq!(reused.error(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
        assert_eq!(client.get("/meters").json()["items"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_second_process_on_the_directory_ends_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path());
    let (daemon, meter) = ten_calls(&launch);
    for ended in [launch.refused(), launch.verify()] {
        assert_eq!(ended.code, Some(75), "{ended:?}");
        let says = format!("{} is in use by another process", directory.path().display());
        assert!(ended.stderr.contains(&says), "{ended:?}");
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(verdict(&mut daemon.client(), &calls(5..20)), [10, 5, 0]);
    ended_in_order(&daemon.terminate());
    assert_eq!(launch.verify().code, Some(0));
    let daemon = launch.start();
    assert_eq!(total(&mut daemon.client(), &meter, "acme").as_deref(), Some("20"));
}

/// The segment that holds this text, where the frame that does begins, and where the text is.
fn frame_with(directory: &Path, text: &[u8]) -> (PathBuf, usize, usize) {
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        let text_at = bytes.windows(text.len()).position(|window| window == text)?;
        let mut frames = (FRAMES_AT..text_at).step_by(BLOCK).rev();
        let frame_at = frames.find(|at| bytes[*at..].starts_with(FRAME_MAGIC))?;
        Some((path.clone(), frame_at, text_at))
    };
    segments(directory).iter().find_map(holds).unwrap()
}

#[test]
fn damage_of_an_acknowledged_frame_stops_the_start_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path());
    let (daemon, meter) = ten_calls(&launch);
    let lsn = |client: &mut Client, id: u32| {
        client.get(&format!("/events/call-{id}")).json()["lsn"].as_u64().unwrap()
    };
    let lsns = [4, 9].map(|id| lsn(&mut daemon.client(), id));
    ended_in_order(&daemon.terminate());
    assert_eq!(launch.verify().code, Some(0));
    for (id, lsn) in [4, 9].into_iter().zip(lsns) {
        let (file, frame_at, text_at) =
            frame_with(directory.path(), format!("call-{id}").as_bytes());
        let good = fs::read(&file).unwrap();
        for flipped_at in [frame_at, frame_at + 8, frame_at + 36, text_at] {
            let mut bad = good.clone();
            bad[flipped_at] ^= 1;
            fs::write(&file, &bad).unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            let says = format!("{name} is damaged at byte {frame_at}: lsn {lsn} to ");
            let refused = launch.refused();
            assert_eq!(refused.code, Some(65), "{refused:?}");
            assert!(refused.stderr.contains(&says), "{says}: {refused:?}");
            assert_eq!(refused.stdout, "");
            assert_eq!(fs::read(&file).unwrap(), bad, "the files stay as they are");
            let verified = launch.verify();
            assert_eq!(verified.code, Some(65), "{verified:?}");
            assert!(verified.stdout.contains(&says), "{says}: {verified:?}");
        }
        fs::write(&file, &good).unwrap();
    }
    let daemon = launch.start();
    assert_eq!(total(&mut daemon.client(), &meter, "acme").as_deref(), Some("10"));
}

#[test]
fn a_torn_tail_that_was_never_acknowledged_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path());
    let (daemon, meter) = ten_calls(&launch);
    daemon.kill();
    let (file, ..) = frame_with(directory.path(), b"call-9");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let tail_at = (last + 1).next_multiple_of(BLOCK);
    bytes[tail_at..tail_at + 4].copy_from_slice(FRAME_MAGIC);
    bytes[tail_at + 4..tail_at + 3 * BLOCK].fill(0x5a);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(launch.verify().code, Some(0));
    let daemon = launch.start();
    assert_eq!(total(&mut daemon.client(), &meter, "acme").as_deref(), Some("10"));
    assert_eq!(verdict(&mut daemon.client(), &calls(5..15)), [5, 5, 0]);
    daemon.kill();
    let daemon = launch.start();
    assert_eq!(total(&mut daemon.client(), &meter, "acme").as_deref(), Some("15"));
    ended_in_order(&daemon.terminate());
    assert_eq!(launch.verify().code, Some(0));
}

#[test]
fn a_kill_under_interval_durability_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path())
        .with("QUIPU_LOG__DURABILITY", "interval")
        .with("QUIPU_LOG__INTERVAL", "10s");
    let mut daemon = launch.start();
    let meter = make_count(&mut daemon.client(), "call");
    for round in 1..=4 {
        let mut client = daemon.client();
        for batch in round * 10..round * 10 + 10 {
            assert_eq!(verdict(&mut client, &calls(batch * 20..batch * 20 + 20)), [20, 0, 0]);
        }
        daemon.kill();
        daemon = launch.start();
        let counted = total(&mut daemon.client(), &meter, "acme");
        assert_eq!(counted, Some((round * 200).to_string()));
    }
    ended_in_order(&daemon.terminate());
    assert_eq!(launch.verify().code, Some(0));
}

#[test]
fn the_first_key_is_drawn_into_a_file_of_the_owner_and_shown_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).without_key();
    let daemon = launch.start();
    let path = directory.path().join("api-key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let key = text.trim_end();
    assert!(key.starts_with("quipu_") && key.len() >= 32, "{key}");
    assert!(daemon.line.contains(path.to_str().unwrap()), "{}", daemon.line);
    let mut client = Client::new(daemon.address, Some(key));
    assert_eq!(client.get("/keys").json(), json!({ "items": [] }));
    let made = client.post("/keys", &json!({ "name": "second", "scope": "admin" })).json();
    let second = made["key"].as_str().unwrap().to_owned();
    let ended = daemon.terminate();
    let daemon = launch.start();
    assert_eq!(Client::new(daemon.address, Some(key)).get("/keys").status, 200);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let secrets = [key, &second].map(|key| key.rsplit('_').next().unwrap().to_owned());
    for output in [&ended.stdout, &ended.stderr, &daemon.line, &daemon.log()] {
        assert!(secrets.iter().all(|secret| !output.contains(secret)), "{output}");
    }
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for (secret, is_allowed) in secrets.iter().zip([path.ends_with("api-key"), false]) {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found || is_allowed, "{}", path.display());
        }
    }
}

#[test]
fn a_key_from_outside_is_written_nowhere_and_goes_with_its_setting() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path());
    let daemon = launch.start();
    assert_eq!(daemon.client().get("/keys").status, 200);
    let ended = daemon.terminate();
    assert!(!ended.stdout.contains(KEY) && !ended.stderr.contains(KEY));
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        assert!(!found, "{}", path.display());
    }
    let file = directory.path().join("other-key");
    fs::write(&file, "any text will do\n").unwrap();
    let launch = launch.without_key().with("QUIPU_AUTH__API_KEY_FILE", file.to_str().unwrap());
    let daemon = launch.start();
    assert_eq!(daemon.client().get("/keys").status, 401);
    let mut client = Client::new(daemon.address, Some("any text will do"));
    assert_eq!(client.get("/keys").status, 200);
}

#[test]
fn sigterm_lets_a_request_finish_and_ends_with_zero() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path());
    let (daemon, meter) = ten_calls(&launch);
    let body = json!({ "events": calls(10..15) }).to_string();
    let mut under_way = daemon.client().begin_ingest(body.len());
    daemon.ask_to_stop();
    wait_until("no connection is taken", || {
        std::net::TcpStream::connect(daemon.address).is_err().then_some(())
    });
    under_way.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    ended_in_order(&daemon.stopped());
    // A checkpoint stands at the end of the log.
    let verified = launch.verify().stdout;
    let lsn = |before: &str| {
        let rest = verified.split_once(before).unwrap().1;
        rest.split('\n').next().unwrap().to_owned()
    };
    assert_eq!(lsn("durable up to lsn "), lsn("checkpoint: lsn "), "{verified}");
    let daemon = launch.start();
    assert_eq!(total(&mut daemon.client(), &meter, "acme").as_deref(), Some("15"));
}

/// The checkpoint was told as missing after a restart, until the next one was made.
#[test]
fn metrics_tell_the_checkpoint_that_a_restart_began_from() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).at(TEST_CLOCK);
    let (daemon, _) = ten_calls(&launch);
    ended_in_order(&daemon.terminate());
    let daemon = launch.start();
    let metrics = daemon.client().get("/metrics").text();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {metrics}")).rsplit_once(' ').unwrap().1
    };
    assert_eq!(value("quipu_checkpoint_lsn "), value("quipu_last_lsn "));
    assert_eq!(value("quipu_checkpoint_age_seconds "), "0.0");
}

#[test]
fn a_full_disk_refuses_events_and_answers_reads() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path());
    let (daemon, meter) = ten_calls(&launch);
    ended_in_order(&daemon.terminate());
    let daemon = launch.clone().with("QUIPU_DATA__RESERVE_BYTES", "9000000000000000000").start();
    let mut client = daemon.client();
    let refused = client.ingest(&calls(10..12));
    assert_eq!(refused.error(), (503, "storage_full".to_owned()));
    assert!(refused.header("retry-after-ms").is_some());
    let ready = client.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["disk_above_reserve"], false, "{ready:?}");
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(total(&mut client, &meter, "acme").as_deref(), Some("10"));
    ended_in_order(&daemon.terminate());
    let daemon = launch.start();
    assert_eq!(verdict(&mut daemon.client(), &calls(10..12)), [2, 0, 0]);
}
