//! `GET /refused-events`: the offending event of a refused request, over a kill.

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::Launch;
use crate::common::{TEST_CLOCK, event, verdict};

fn refused(client: &mut Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/refused-events?{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

/// Sends a body as it is; the answer's status and message.
fn send(client: &mut Client, body: &[u8]) -> (u16, String) {
    let headers = [("user-agent", "test/1")];
    let answer = client.send("POST", "/events/ingest", &headers, body).unwrap();
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    (answer.status, message)
}

#[test]
fn the_offending_event_is_kept_over_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).at(TEST_CLOCK);
    let daemon = launch.start();
    let mut client = daemon.client();
    assert_eq!(refused(&mut client, ""), Vec::<Value>::new());
    let good = event("good", "acme", "llm", &Value::Null);
    let bad = r#"{ "event_id":"bad", "customer_id":"acme","event_name":"llm","timestamp":"soon" }"#;
    let body = format!(r#"{{"events":[{good},{bad},{good}]}}"#);
    let (status, message) = send(&mut client, body.as_bytes());
    assert_eq!(status, 422);
    let broken = br#"{"events":[{"event_id":"x","customer_id":"acme","metadata":{"k":01}}]}"#;
    let (status, broken_message) = send(&mut client, broken);
    assert_eq!(status, 400);
    // Decided by the committer: the id stands twice.
    let twice = event("twice", "beta", "call", &json!({ "n": 1 }));
    assert_eq!(client.ingest(&[twice.clone(), twice.clone()]).status, 422);

    let expected = json!({
        "refused_at": TEST_CLOCK, "status": 422, "code": "INVALID_REQUEST_PARAMETERS",
        "reason": "bad_timestamp", "message": message, "field": "timestamp", "event_index": 1,
        "event_id": "bad", "customer_id": "acme", "event_name": "llm", "raw": bad,
        "raw_bytes": bad.len(), "key_id": "configured", "user_agent": "test/1",
    });
    let check = |client: &mut Client| {
        let all = refused(client, "");
        let reasons: Vec<_> = all.iter().map(|one| one["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["repeated_id", "malformed", "bad_timestamp"]);
        assert_eq!(all[2], expected);
        let told = ["code", "message", "event_index", "event_id"].map(|name| all[1][name].clone());
        let malformed = json!("INVALID_REQUEST_BODY");
        assert_eq!(told, [malformed, json!(broken_message), Value::Null, Value::Null]);
        let raw = all[1]["raw"].as_str().unwrap();
        assert!(raw.starts_with(r#"{"event_id":"x","#), "{raw}");
        let raw: Value = serde_json::from_str(all[0]["raw"].as_str().unwrap()).unwrap();
        assert_eq!((raw, &all[0]["event_index"]), (twice.clone(), &json!(1)));
        for (query, places) in [
            ("customer_id=acme", vec![2]),
            ("event_name=call", vec![0]),
            ("code=INVALID_REQUEST_PARAMETERS", vec![0, 2]),
            ("code=malformed", vec![1]),
            ("code=malformed&customer_id=acme", vec![]),
            ("page_size=2&page_number=1", vec![2]),
        ] {
            let wanted: Vec<_> = places.into_iter().map(|place| all[place].clone()).collect();
            assert_eq!(refused(client, query), wanted, "{query}");
        }
    };
    check(&mut client);
    daemon.kill();
    let daemon = launch.start();
    let mut client = daemon.client();
    check(&mut client);
    // A key that is wrong and what is admitted leave nothing.
    assert_eq!(verdict(&mut client, &[good]), [1, 0, 0]);
    let mut stranger = Client::new(daemon.address, Some("quipu_x_y"));
    assert_eq!(send(&mut stranger, broken).0, 401);
    check(&mut client);
    daemon.terminate();
    let verified = launch.verify();
    assert!(verified.code == Some(0), "{verified:?}");
}

#[test]
fn a_damaged_file_harms_nobody_and_what_is_long_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).at(TEST_CLOCK);
    let daemon = launch.start();
    let mut client = daemon.client();
    let long = format!(r#"{{"event_id":"{}"}}"#, "é".repeat(10_000));
    let body = format!(r#"{{"events":[{long}]}}"#);
    assert_eq!(send(&mut client, body.as_bytes()).0, 422);
    assert_eq!(send(&mut client, br#"{"events":[]}"#).0, 422);
    let found = refused(&mut client, "");
    assert_eq!(
        (&found[0]["reason"], &found[0]["raw"]),
        (&json!("no_events"), &json!(r#"{"events":[]}"#))
    );
    assert_eq!((found[1]["raw_bytes"].as_u64().unwrap(), found.len()), (long.len() as u64, 2));
    assert!(found[1]["raw"].as_str().unwrap().len() <= 4096 + 3);
    assert_eq!(found[1]["event_id"].as_str().unwrap().chars().count(), 255);
    daemon.terminate();
    let path = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("refused-"))
        .unwrap();
    // The tail is torn.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(launch.verify().code, Some(0));
    let daemon = launch.start();
    let mut client = daemon.client();
    assert_eq!(refused(&mut client, ""), &found[1..]);
    daemon.terminate();
    std::fs::write(&path, b"nothing of ours").unwrap();
    assert_eq!(launch.verify().code, Some(0));
    let daemon = launch.start();
    let mut client = daemon.client();
    assert_eq!(refused(&mut client, ""), Vec::<Value>::new());
    assert_eq!(send(&mut client, body.as_bytes()).0, 422);
    assert_eq!(refused(&mut client, "").len(), 1);
}
