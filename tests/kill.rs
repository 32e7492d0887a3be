//! The real binary is killed with -9 at random instants inside ingest, 20 times on one directory, and
//! what it counted is compared with an oracle that shares no code with it.
//!
//! - An acknowledged event is counted exactly once, however often it is sent again.
//! - A request without an answer is applied whole or not at all; sent again, it counts exactly once.
//!
//! Checkpoints, flushes and the moving of hours to disk happen all the time, so that kills hit them.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, Launch};
use crate::common::oracle::{self, CLOCK_START, Kind, METERS, Oracle, Source, hour_text};
use crate::common::random::{Random, seed};
use crate::common::{make_meter, pass, usage};

const ROUNDS: u64 = 20;
/// Events that are acknowledged in each round before the kill.
const ACKNOWLEDGED_MIN: u64 = 10_000;
const CONNECTIONS: u64 = 4;
/// Hours that the test clock moves between two rounds.
const HOURS_PER_ROUND: u64 = 3;

/// Some events of the source, and ids that were acknowledged before: what one request holds.
#[derive(Clone, Debug)]
struct Batch {
    new: std::ops::Range<u64>,
    /// Numbers of known events, with the round that made them and whether their content differs.
    again: Vec<(u64, u64, bool)>,
}

/// What a connection knows when the daemon is gone.
#[derive(Debug, Default)]
struct Sent {
    acknowledged: Vec<std::ops::Range<u64>>,
    duplicates: u64,
    conflicts: u64,
    /// Sent, and never answered.
    unknown: Vec<Batch>,
}

/// What all connections of a round share.
#[derive(Debug)]
struct Round {
    number: u64,
    source: Source,
    /// The number of the next event that nobody has sent.
    next: AtomicU64,
    /// Events that were acknowledged in earlier rounds: first, last and round.
    earlier: Vec<(std::ops::Range<u64>, u64)>,
}

impl Round {
    fn batch(&self, random: &mut Random, own: &[std::ops::Range<u64>]) -> Batch {
        let size_max = [5, 60, 400, 900][random.place(4)];
        let size = 1 + random.below(size_max);
        let start = self.next.fetch_add(size, Ordering::Relaxed);
        let mut again = Vec::new();
        for _ in 0..=size / 10 {
            let (range, round) = match (own.is_empty(), self.earlier.is_empty()) {
                (true, true) => break,
                (false, is_first) if is_first || random.once_in(2) => {
                    (&own[random.place(own.len())], self.number)
                }
                _ => {
                    let (range, round) = &self.earlier[random.place(self.earlier.len())];
                    (range, *round)
                }
            };
            let number = range.start + random.below(range.end - range.start);
            if again.iter().all(|(known, _, _)| *known != number) {
                again.push((number, round, random.once_in(8)));
            }
        }
        Batch { new: start..start + size, again }
    }

    /// The request's body, in an order of its own.
    fn body(&self, batch: &Batch, random: &mut Random) -> String {
        let new =
            batch.new.clone().map(|number| self.source.event(number, self.number).json(false));
        let again = batch
            .again
            .iter()
            .map(|(number, round, differs)| self.source.event(*number, *round).json(*differs));
        let mut events: Vec<String> = new.chain(again).collect();
        random.shuffle(&mut events);
        format!("{{\"events\":[{}]}}", events.join(","))
    }
}

fn ingest(client: &mut Client, body: &str) -> std::io::Result<[u64; 3]> {
    let answer: Answer = client.send("POST", "/events/ingest", &[], body.as_bytes())?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let counts = answer.json();
    let names = ["ingested_count", "duplicate_count", "conflict_count"];
    Ok(names.map(|name| counts[name].as_u64().unwrap()))
}

/// Sends until the daemon is gone, and tells how many events were acknowledged each time.
fn send(round: &Round, mut client: Client, mut random: Random, told: &Sender<u64>) -> Sent {
    let mut sent = Sent::default();
    loop {
        let batch = round.batch(&mut random, &sent.acknowledged);
        let body = round.body(&batch, &mut random);
        let Ok([new, duplicates, conflicts]) = ingest(&mut client, &body) else {
            sent.unknown.push(batch);
            return sent;
        };
        let size = batch.new.end - batch.new.start;
        let differing = batch.again.iter().filter(|(_, _, differs)| *differs).count() as u64;
        assert_eq!([new, duplicates, conflicts], [size, batch.again.len() as u64, differing]);
        sent.duplicates += duplicates;
        sent.conflicts += conflicts;
        sent.acknowledged.push(batch.new);
        // Nobody listens any more once the kill is on its way.
        let _ = told.send(size);
    }
}

fn launch(directory: &std::path::Path) -> Launch {
    Launch::new(directory)
        .at(CLOCK_START)
        .with("QUIPU_CHECKPOINT__INTERVAL", "200ms")
        .with("QUIPU_DEDUPE__GENERATION_IDS", "6000")
}

fn start_senders(
    daemon: &Daemon,
    round: &Arc<Round>,
    random: &mut Random,
) -> (Vec<JoinHandle<Sent>>, Receiver<u64>) {
    let (told, heard) = channel();
    let senders = (0..CONNECTIONS).map(|_| {
        let (round, told) = (Arc::clone(round), told.clone());
        let (client, random) = (daemon.client(), Random(random.next()));
        std::thread::spawn(move || send(&round, client, random, &told))
    });
    (senders.collect(), heard)
}

/// Sends the requests again whose outcome nobody knows, twice: 0 or all of them were stored.
fn resolve(daemon: &Daemon, round: &Round, unknown: &[Batch], random: &mut Random) -> u64 {
    let mut client = daemon.client();
    let mut stored = 0;
    for batch in unknown {
        let size = batch.new.end - batch.new.start;
        let [new, _, _] = ingest(&mut client, &round.body(batch, random)).unwrap();
        assert!(new == 0 || new == size, "{new} of {size} were new: a request was torn");
        stored += u64::from(new == 0);
        let [new, duplicates, _] = ingest(&mut client, &round.body(batch, random)).unwrap();
        assert_eq!([new, duplicates], [0, size + batch.again.len() as u64]);
    }
    stored
}

/// The oracle's numbers are the daemon's: each meter, each customer, and in hours when asked.
fn compare(client: &mut Client, meters: &[String], oracle: &Oracle, in_hours: bool) {
    let (start, end) = (hour_text(-24), hour_text(24 * 20));
    let interval = if in_hours { "&interval=hour" } else { "" };
    for (meter, id) in meters.iter().enumerate() {
        let query = format!("meter_id={id}&start={start}&end={end}&page_size=100{interval}");
        let mut found: Vec<_> = usage(client, &query)["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let buckets = item["buckets"].as_array().unwrap().iter();
                let buckets = buckets.map(|bucket| {
                    let text = |name: &str| bucket[name].as_str().unwrap().to_owned();
                    (text("start"), text("value"))
                });
                oracle::Usage {
                    customer: item["customer_id"].as_str().unwrap().to_owned(),
                    total: item["total"].as_str().unwrap().to_owned(),
                    missing: item["skipped"]["missing"].as_u64().unwrap(),
                    hours: buckets.collect(),
                }
            })
            .collect();
        found.sort_unstable_by(|left, right| left.customer.cmp(&right.customer));
        assert_eq!(found, oracle.usage(meter, in_hours), "{:?}", METERS[meter]);
    }
}

fn make_meters(client: &mut Client) -> Vec<String> {
    let make = |(event_name, kind, key, filter): &(&str, Kind, &str, Option<(&str, &str)>)| {
        let aggregation = match kind {
            Kind::Count => json!({ "type": "count" }),
            Kind::Sum => json!({ "type": "sum", "key": key }),
            Kind::Max => json!({ "type": "max", "key": key }),
            Kind::Last => json!({ "type": "last", "key": key }),
        };
        let filter = filter.map_or(Value::Null, |(key, value)| {
            let clause = json!({ "key": key, "operator": "equals", "value": value });
            json!({ "conjunction": "and", "clauses": [clause] })
        });
        make_meter(client, event_name, &aggregation, &filter)
    };
    METERS.iter().map(make).collect()
}

/// Waits until enough is acknowledged, and then for a random instant.
fn wait_for_the_instant(heard: &Receiver<u64>, random: &mut Random) {
    let enough = ACKNOWLEDGED_MIN + random.below(2_000);
    let mut acknowledged = 0;
    while acknowledged < enough {
        acknowledged += heard.recv_timeout(Duration::from_mins(1)).unwrap();
    }
    pass(Duration::from_micros(random.below(30_000)));
}

#[test]
fn acknowledged_events_count_exactly_once_through_twenty_kills() {
    let directory = tempfile::tempdir().unwrap();
    let launch = launch(directory.path());
    let seed = seed("kill");
    let mut random = Random(seed);
    let mut oracle = Oracle::default();
    let mut daemon = launch.start();
    let meters = make_meters(&mut daemon.client());
    let mut next = 0;
    let mut earlier = Vec::new();
    for number in 0..ROUNDS {
        let now = hour_text(1 + i64::try_from(number * HOURS_PER_ROUND).unwrap());
        assert_eq!(daemon.client().post("/clock/advance", &json!({ "to": now })).status, 200);
        let source = Source { seed, hours_per_round: HOURS_PER_ROUND };
        let round = Arc::new(Round { number, source, next: next.into(), earlier });
        let (senders, heard) = start_senders(&daemon, &round, &mut random);
        wait_for_the_instant(&heard, &mut random);
        daemon.kill();
        let sent: Vec<Sent> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        if number % 7 == 3 {
            let verified = launch.verify();
            assert_eq!(verified.code, Some(0), "{verified:?}");
        }
        daemon = launch.start();
        let unknown: Vec<Batch> = sent.iter().flat_map(|sent| sent.unknown.clone()).collect();
        let stored = resolve(&daemon, &round, &unknown, &mut random);
        let acknowledged = sent.iter().flat_map(|sent| sent.acknowledged.clone());
        let resolved = unknown.iter().map(|batch| batch.new.clone());
        let round = Arc::into_inner(round).unwrap();
        earlier = round.earlier;
        let acknowledged_count: u64 =
            acknowledged.clone().map(|range| range.end - range.start).sum();
        assert!(acknowledged_count >= ACKNOWLEDGED_MIN);
        for range in acknowledged.chain(resolved) {
            range.clone().for_each(|event| oracle.count(&round.source.event(event, number)));
            earlier.push((range, number));
        }
        next = round.next.into_inner();
        println!(
            "round {number}: {acknowledged_count} events acknowledged, {} sent again, {} of them with other content; {} \
             requests without an answer, {stored} of them stored",
            sent.iter().map(|sent| sent.duplicates).sum::<u64>(),
            sent.iter().map(|sent| sent.conflicts).sum::<u64>(),
            unknown.len(),
        );
        let mut client = daemon.client();
        assert_eq!(client.get("/clock").json()["now"], now.as_str());
        compare(&mut client, &meters, &oracle, number + 1 == ROUNDS);
    }
    let ended = daemon.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let verified = launch.verify();
    assert_eq!(verified.code, Some(0), "{verified:?}");
    compare(&mut launch.start().client(), &meters, &oracle, true);
    println!("{} events in all; {}", oracle.events, verified.stdout.trim().replace('\n', "; "));
}
