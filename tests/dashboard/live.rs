//! The stream of what happens.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::Daemon;
use crate::viewer::{OWN_PAGE, Viewer, daemon};

/// A stream that is open.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(daemon: &Daemon, viewer: &Viewer) -> Self {
        let head = format!(
            "GET /dashboard/live HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n\r\n",
            daemon.address, viewer.cookie
        );
        let stream = Client::new(daemon.address, None).begin(head.as_bytes());
        let mut stream = BufReader::new(stream);
        let mut status = String::new();
        stream.read_line(&mut status).unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        Self(stream)
    }

    /// The next event; nothing when the stream has ended.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        while self.0.read_line(&mut line).unwrap() > 0 {
            if let Some(text) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(text).unwrap());
            }
            // The chunk that ends an answer.
            if line == "0\r\n" {
                return None;
            }
            line.clear();
        }
        None
    }
}

fn event(id: &str) -> Value {
    json!({ "event_id": id, "customer_id": "c", "event_name": "call" })
}

#[test]
fn a_stream_tells_of_every_event() {
    let (_directory, daemon) = daemon();
    let viewer = Viewer::admin(&daemon);
    let mut stream = Stream::open(&daemon, &viewer);
    let first = stream.next().unwrap();
    assert_eq!((&first["accepted"], &first["duplicate"]), (&json!(0), &json!(0)));
    let mut client = daemon.client();
    assert_eq!(client.ingest(&[event("a"), event("b")]).status, 200);
    assert_eq!(client.ingest(&[event("a")]).status, 200);
    let mut seen = stream.next().unwrap();
    while seen["duplicate"] != 1 {
        seen = stream.next().unwrap();
    }
    assert_eq!(seen["accepted"], 2);
    assert!(seen["lsn"].as_u64() > first["lsn"].as_u64());
}

#[test]
fn a_stream_ends_with_its_session() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let mut stream = Stream::open(&daemon, &viewer);
    assert!(stream.next().is_some());
    let token = viewer.token();
    viewer.send("POST", "/dashboard/sign-out", &[OWN_PAGE, ("x-quipu-token", &token)], "");
    while stream.next().is_some() {}
}

#[test]
fn a_daemon_that_stops_does_not_wait_for_who_only_looks() {
    let (_directory, daemon) = daemon();
    let viewer = Viewer::admin(&daemon);
    let mut stream = Stream::open(&daemon, &viewer);
    assert!(stream.next().is_some());
    let ended = daemon.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("still under way"), "{}", ended.stderr);
    while stream.next().is_some() {}
}
