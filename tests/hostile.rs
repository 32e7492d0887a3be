//! Bodies that are meant to hurt: each is refused with the right status and code, or admitted when
//! it is only odd, and the daemon goes on with the counts that it had.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, KEY, Launch};
use crate::common::{event, make_count, make_meter, total, verdict};

/// Enough to exhaust the stack of any parser that recurses.
const LEVELS: usize = 100_000;

/// A daemon that has counted three events, and what must still be true after each attack.
struct Victim {
    _directory: tempfile::TempDir,
    daemon: Daemon,
    client: Client,
    count: String,
    sum: String,
    events: Value,
}

impl Victim {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let daemon = Launch::new(directory.path()).start();
        let mut client = daemon.client();
        let count = make_count(&mut client, "call");
        let aggregation = json!({ "type": "sum", "key": "n" });
        let sum = make_meter(&mut client, "call", &aggregation, &Value::Null);
        let events: Vec<Value> = (0..3)
            .map(|id| event(&format!("good {id}"), "acme", "call", &json!({ "n": 2 })))
            .collect();
        assert_eq!(verdict(&mut client, &events), [3, 0, 0]);
        let events = client.get("/events").json();
        Self { _directory: directory, daemon, client, count, sum, events }
    }

    fn attack(&mut self, path: &str, body: &[u8]) -> Answer {
        self.client.send("POST", path, &[], body).unwrap()
    }

    /// Sends a body to ingest that must be refused in this way.
    fn refuses(&mut self, what: &str, body: &[u8], status: u16, code: &str) -> Answer {
        let answer = self.attack("/events/ingest", body);
        assert_eq!(answer.error(), (status, code.to_owned()), "{what}");
        assert!(answer.body.len() < 1_000, "{what}: the answer repeats the attack");
        answer
    }

    fn refuses_as_malformed(&mut self, what: &str, body: &[u8]) {
        let answer = self.refuses(what, body, 400, "INVALID_REQUEST_BODY");
        assert!(answer.json()["message"].as_str().unwrap().contains(" at byte "), "{answer:?}");
    }

    fn refuses_the_event(&mut self, what: &str, event: &str, field: &str) {
        let body = format!(r#"{{"events":[{},{event}]}}"#, plain("sound"));
        let answer = self.refuses(what, body.as_bytes(), 422, "INVALID_REQUEST_PARAMETERS");
        let body = answer.json();
        assert_eq!((&body["event_index"], &body["field"]), (&json!(1), &json!(field)), "{what}");
    }

    /// Nothing has changed, and nothing has panicked.
    fn proves_unharmed(mut self) {
        assert_eq!(self.client.get("/healthz").status, 200);
        assert_eq!(self.client.get("/events").json(), self.events);
        assert_eq!(total(&mut self.client, &self.count, "acme").as_deref(), Some("3"));
        assert_eq!(total(&mut self.client, &self.sum, "acme").as_deref(), Some("6"));
        let more = event("good 3", "acme", "call", &json!({ "n": 1 }));
        assert_eq!(verdict(&mut self.client, &[more]), [1, 0, 0]);
        assert_eq!(total(&mut self.client, &self.sum, "acme").as_deref(), Some("7"));
        let ended = self.daemon.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for word in ["panic", "ERROR"] {
            assert!(!ended.stderr.contains(word), "{}", ended.stderr);
        }
    }
}

/// An event without metadata, as text.
fn plain(id: &str) -> String {
    with_metadata(id, "null")
}

fn with_metadata(id: &str, metadata: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","customer_id":"acme","event_name":"call","metadata":{metadata}}}"#
    )
}

fn of(event: &str) -> Vec<u8> {
    format!(r#"{{"events":[{event}]}}"#).into_bytes()
}

fn nested(open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(LEVELS), close.repeat(LEVELS))
}

#[test]
fn brackets_without_end_do_not_reach_the_stack() {
    let mut victim = Victim::new();
    for deep in
        [nested("[", "]"), nested(r#"{"a":"#, "}"), nested(r#"[{"a":"#, "}]"), "[".repeat(LEVELS)]
    {
        for body in [
            deep.clone(),
            format!(r#"{{"events":{deep}}}"#),
            format!(r#"{{"events":[{deep}]}}"#),
            format!(r#"{{"other":{deep},"events":[{}]}}"#, plain("e")),
            format!(r#"{{"events":[{}],"other":{deep}}}"#, plain("e")),
            format!(r#"{{"events":[{{"event_id":{deep}}}]}}"#),
            format!(r#"{{"events":[{{"timestamp":{deep}}}]}}"#),
            format!(r#"{{"events":[{{"unknown":{deep}}}]}}"#),
            format!(r#"{{"events":[{}]}}"#, with_metadata("e", &deep)),
            format!(r#"{{"events":[{}]}}"#, with_metadata("e", &format!(r#"{{"k":{deep}}}"#))),
        ] {
            let start: String = body.chars().take(60).collect();
            victim.refuses_as_malformed(&start, body.as_bytes());
        }
        for path in ["/meters", "/customers", "/keys"] {
            for body in [
                deep.clone(),
                format!(r#"{{"name":{deep}}}"#),
                format!(r#"{{"name":"n","filter":{deep}}}"#),
                format!(r#"{{"name":"n","aggregation":{deep}}}"#),
                format!(r#"{{"name":"n","metadata":{deep}}}"#),
                format!(r#"{{"name":"n","metadata":{{"k":{deep}}}}}"#),
            ] {
                let answer = victim.attack(path, body.as_bytes());
                assert!([400, 413, 422].contains(&answer.status), "{path}: {answer:?}");
                answer.code();
            }
        }
    }
    victim.proves_unharmed();
}

#[test]
fn a_filter_that_nests_without_end_is_refused() {
    let mut victim = Victim::new();
    let clause = r#"{"conjunction":"and","clauses":["#;
    let condition = r#"{"key":"k","operator":"equals","value":1}"#;
    for levels in [5, 100, 2_000] {
        let filter = format!("{}{condition}{}", clause.repeat(levels), "]}".repeat(levels));
        let meter = format!(
            r#"{{"name":"n","event_name":"e","measurement_unit":"u","aggregation":{{"type":"count"}},"filter":{filter}}}"#
        );
        let answer = victim.attack("/meters", meter.as_bytes());
        assert!([400, 413, 422].contains(&answer.status), "{levels}: {answer:?}");
        answer.code();
    }
    victim.proves_unharmed();
}

#[test]
fn texts_that_are_no_json_are_malformed() {
    let mut victim = Victim::new();
    let number = |text: &str| of(&with_metadata("e", &format!(r#"{{"n":{text}}}"#)));
    for text in [
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "01",
        "1.",
        ".5",
        "1e",
        "0x10",
        "1_000",
        "--1",
        "nul",
        "True",
    ] {
        victim.refuses_as_malformed(text, &number(text));
    }
    let id = |bytes: &[u8]| {
        [br#"{"events":[{"event_id":""#, bytes, br#"","customer_id":"c","event_name":"call"}]}"#]
            .concat()
    };
    for bytes in [
        &b"\xff"[..],
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"a\xe2\x82",
        b"a\0b",
        b"a\nb",
        br"\ud800",
        br"\udc00\ud800",
        br"\u12",
        br"\x41",
        br"\u00zz",
    ] {
        victim.refuses_as_malformed(&String::from_utf8_lossy(bytes), &id(bytes));
    }
    // Whatever is wrong with the events before.
    victim.refuses_as_malformed("behind a refused event", br#"{"events":[{"event_id":7},{nul}]}"#);
    victim.proves_unharmed();
}

#[test]
fn bodies_of_another_shape_are_malformed() {
    let mut victim = Victim::new();
    let event = plain("e");
    for body in [
        "",
        " ",
        "{",
        "}",
        "null",
        "7",
        "\"events\"",
        "[]",
        "{}",
        r#"{"events":[]"#,
        r#"{"events":7}"#,
        r#"{"events":{}}"#,
        r#"{"events":null}"#,
        r#"{"events":[7]}"#,
        r#"{"events":[null]}"#,
        r#"{"Events":[]}"#,
        r#"{"events":[{}],}"#,
        r#"{"events":[{},]}"#,
        "\u{feff}{\"events\":[]}",
        "{'events':[]}",
    ] {
        victim.refuses_as_malformed(body, body.as_bytes());
    }
    for body in [
        format!(r#"{{"events":[{event}]}} x"#),
        format!(r#"{{"events":[{event}]}}{{}}"#),
        format!(r#"{{"events":[{event}],"events":[{event}]}}"#),
        format!(r#"{{"events":[{}]}}"#, event.replacen('{', r#"{"event_id":"other","#, 1)),
        format!(r#"{{"events":[{}]}}"#, event.replacen('{', r#"{"event_\u0069d":"other","#, 1)),
        format!(r#"{{"events":[{}]}}"#, event.replacen('{', r#"{"metadata":null,"#, 1)),
        format!(r#"{{"events":[{}]}}"#, with_metadata("e", r#"{"n":1,"m":2,"n":1}"#)),
        format!(r#"{{"events":[{}]}}"#, with_metadata("e", r#"{"n":1,"\u006e":2}"#)),
    ] {
        victim.refuses_as_malformed(&body, body.as_bytes());
    }
    victim.proves_unharmed();
}

#[test]
fn limits_of_a_request_and_its_events_are_kept() {
    let mut victim = Victim::new();
    victim.refuses("no event", br#"{"events":[]}"#, 422, "INVALID_REQUEST_PARAMETERS");
    let many: Vec<String> = (0..1_001).map(|id| plain(&format!("many {id}"))).collect();
    let body = of(&many.join(","));
    victim.refuses("1001 events", &body, 422, "INVALID_REQUEST_PARAMETERS");
    let pairs = |count: usize| {
        let pairs: Vec<String> = (0..count).map(|key| format!(r#""k{key}":1"#)).collect();
        format!("{{{}}}", pairs.join(","))
    };
    let (key, value) = (|length: usize| "k".repeat(length), |length: usize| "é".repeat(length));
    let number = |length: usize| format!(r#"{{"k":1{}}}"#, "0".repeat(length - 1));
    for (what, metadata, field) in [
        ("51 pairs", pairs(51), "metadata".to_owned()),
        ("999 pairs", pairs(999), "metadata".to_owned()),
        ("a value of 501", format!(r#"{{"k":"{}"}}"#, value(501)), "metadata.k".to_owned()),
        ("a number of 501", number(501), "metadata.k".to_owned()),
        ("an empty key", r#"{"":1}"#.to_owned(), "metadata.".to_owned()),
        ("an object", r#"{"k":{}}"#.to_owned(), "metadata.k".to_owned()),
        ("an array", r#"{"k":[1]}"#.to_owned(), "metadata.k".to_owned()),
        ("null", r#"{"k":null}"#.to_owned(), "metadata.k".to_owned()),
        ("a list", "[]".to_owned(), "metadata".to_owned()),
        ("a text", r#""k""#.to_owned(), "metadata".to_owned()),
    ] {
        victim.refuses_the_event(what, &with_metadata("e", &metadata), &field);
    }
    let long_key = of(&with_metadata("e", &format!(r#"{{"{}":1}}"#, key(101))));
    let refused = victim.refuses("a key of 101", &long_key, 422, "INVALID_REQUEST_PARAMETERS");
    assert!(refused.json()["field"].as_str().unwrap().starts_with("metadata.k"));
    victim.refuses_as_malformed("1001 pairs", &of(&with_metadata("e", &pairs(1_001))));
    for (what, id) in
        [("NUL", r"a\u0000b"), ("a line", r"a\nb"), ("delete", r"a\u007fb"), ("nothing", "")]
    {
        victim.refuses_the_event(what, &plain(id), "event_id");
        let customer = plain("e").replace("acme", id);
        victim.refuses_the_event(what, &customer, "customer_id");
        let name = plain("e").replace("call", id);
        victim.refuses_the_event(what, &name, "event_name");
    }
    victim.refuses_the_event("an id of 256", &plain(&value(256)), "event_id");
    victim.proves_unharmed();

    // What stands exactly at the limits is admitted.
    let mut victim = Victim::new();
    let id = value(255);
    let at_limits = [
        plain(&id),
        with_metadata("a", &pairs(50)),
        with_metadata("b", &format!(r#"{{"{}":"{}"}}"#, key(100), value(500))),
        with_metadata("c", &number(500)),
    ];
    let answer = victim.attack("/events/ingest", &of(&at_limits.join(",")));
    assert_eq!(
        (answer.status, answer.json()["ingested_count"].as_u64()),
        (200, Some(4)),
        "{answer:?}"
    );
    let path: Vec<String> = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(victim.client.get(&format!("/events/{}", path.concat())).json()["event_id"], id);
    let answer = victim.attack("/events/ingest", &of(&many[..1_000].join(",")));
    assert_eq!(answer.json()["ingested_count"].as_u64(), Some(1_000), "{answer:?}");
}

#[test]
fn numbers_of_any_size_are_read_and_only_sensible_ones_counted() {
    let mut victim = Victim::new();
    let digits = "9".repeat(400);
    let tiny = format!("0.{}1", "0".repeat(390));
    let given = [
        "1e308",
        "-1e308",
        "1e400",
        "1e-400",
        "1e999999999999",
        "-0",
        "0e5",
        &digits,
        &tiny,
        "0.1e1",
    ];
    for (place, text) in given.iter().enumerate() {
        let body = of(&with_metadata(&format!("n{place}"), &format!(r#"{{"n":{text}}}"#)));
        let answer = victim.attack("/events/ingest", &body);
        assert_eq!(answer.status, 200, "{text}: {answer:?}");
        let stored = victim.client.get(&format!("/events/n{place}")).text();
        assert!(stored.contains(&format!(r#""n":{text}"#)), "{text}: {stored}");
    }
    assert_eq!(total(&mut victim.client, &victim.count, "acme").as_deref(), Some("13"));
    assert_eq!(total(&mut victim.client, &victim.sum, "acme").as_deref(), Some("7"));
    let query = format!("meter_id={}&customer_id=acme", victim.sum);
    let found = common::usage(&mut victim.client, &query);
    let skipped = json!({ "missing": 0, "not_a_number": 0, "out_of_range": 5 });
    assert_eq!(found["items"][0]["skipped"], skipped);
    let ended = victim.daemon.terminate();
    assert!(ended.code == Some(0) && !ended.stderr.contains("panic"), "{ended:?}");
}

#[test]
fn a_body_above_the_limit_is_too_large_however_it_comes() {
    let mut victim = Victim::new();
    let large = of(&with_metadata("e", &format!(r#"{{"k":"{}"}}"#, "x".repeat(10 << 20))));
    let answer = victim.attack("/events/ingest", &large);
    assert_eq!(answer.error(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
    for path in ["/meters", "/customers", "/keys", "/clock/confirm"] {
        let answer = victim.daemon.client().send("POST", path, &[], &large).unwrap();
        assert_eq!(answer.status, 413, "{path}: {answer:?}");
    }
    // In pieces, without saying how much will come.
    let head = format!(
        "POST /events/ingest HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {KEY}\r\ncontent-type: \
         application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        victim.daemon.address
    );
    let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let mut request = head.clone().into_bytes();
    for _ in 0..6 {
        request.extend_from_slice(&chunk);
    }
    let answer = victim.daemon.client().exchange(&request).unwrap();
    assert_eq!(answer.error(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
    // Broken off in the middle: nobody reads an answer, and nothing is stored.
    let half = format!("{head}{:x}\r\n{}", 1_000, r#"{"events":[{"event_id":"half""#);
    let mut stream = victim.daemon.client().begin(half.as_bytes());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let bad_chunk = format!("{head}zz\r\n");
    let mut stream = victim.daemon.client().begin(bad_chunk.as_bytes());
    stream.flush().unwrap();
    stream.read_to_end(&mut answer).unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    victim.proves_unharmed();
}
