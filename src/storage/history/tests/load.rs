//! How large events are on disk and how long reading takes, with events like those of the bench.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::{Draw, OWNER, hash, hasher, nanos, owned, push};
use crate::model::{Event, Lsn, Number, Scalar};
use crate::storage::history::{Error, History, Progress, Query, Reader, Stored};
use crate::world::clock::SystemClock;
use crate::world::sim::SimDisk;
use crate::world::{Clock, Directory, Disk};

/// 2026-11-22T10:00:00Z
const START: i64 = 1_795_341_600_000_000_000;
const CUSTOMERS: u64 = 100_000;

/// Texts of an event like the bench's: about 240 bytes of JSON.
struct Texts {
    id: String,
    customer_id: String,
    tokens: String,
    request: String,
}

impl Texts {
    fn new(draw: &mut Draw, lsn: u64) -> Self {
        Self {
            id: format!("evt_{:016}{:02x}", lsn, draw.below(256)),
            customer_id: format!("cus_{:08}", draw.below(CUSTOMERS)),
            tokens: draw.below(10_000).to_string(),
            request: format!("{:016x}", draw.below(u64::MAX)),
        }
    }

    fn stored<'t>(&'t self, draw: &mut Draw, lsn: u64) -> Stored<'t> {
        let model = ["large-3", "small-3", "large-2", "embed-1"];
        let region = ["eu-west-1", "us-east-1", "ap-south-1"];
        let mut choose = |texts: &[&'static str]| {
            let place = usize::try_from(draw.below(texts.len() as u64)).unwrap();
            Scalar::String(texts[place].into())
        };
        let metadata = vec![
            ("model".into(), choose(&model)),
            ("tokens".into(), Scalar::Number(Number::new(&self.tokens).unwrap())),
            ("region".into(), choose(&region)),
            ("cached".into(), Scalar::Boolean(draw.below(4) == 0)),
            ("request".into(), Scalar::String(self.request.as_str().into())),
        ];
        // Batches of a thousand that arrive each millisecond; used at any microsecond of the second
        // before.
        let received_at = START + (lsn / 1000).cast_signed() * 1_000_000 + 12_345;
        let timestamp = received_at / 1000 * 1000 - draw.below(1_000_000).cast_signed() * 1000;
        Stored {
            lsn: Lsn(lsn),
            received_at: nanos(received_at),
            event: Event {
                id: self.id.as_str().into(),
                customer_id: self.customer_id.as_str().into(),
                name: "api.request".into(),
                timestamp: nanos(timestamp),
                timestamp_given: true,
                metadata: Some(metadata),
            },
        }
    }
}

fn fill(history: &History, draw: &mut Draw, count: u64) -> Result<(), Error> {
    let first = history.last_lsn().next();
    let mut writer = history.writer(first)?;
    for lsn in first.0..first.0 + count {
        let texts = Texts::new(draw, lsn);
        let stored = texts.stored(draw, lsn);
        writer.event(&stored, hash(&texts.id))?;
    }
    while writer.finish_step()? == Progress::Working {}
    Ok(())
}

#[test]
fn a_bench_event_takes_at_most_70_bytes() {
    let disk = SimDisk::new();
    let history = History::open(Arc::new(disk), OWNER, hasher()).unwrap();
    fill(&history, &mut Draw(1), 200_000).unwrap();
    let file = &history.files()[0];
    let bytes_per_event = file.bytes / 200_000;
    let tables = &history.snapshot()[0].footer;
    let blocks = tables.ids.offset / 200_000;
    println!("{bytes_per_event} bytes an event, of which {blocks} are its content");
    assert!(bytes_per_event <= 70, "{bytes_per_event}");
}

#[test]
fn events_with_random_ids_take_at_most_70_bytes_too() {
    let disk = SimDisk::new();
    let history = History::open(Arc::new(disk), OWNER, hasher()).unwrap();
    let mut draw = Draw(2);
    let mut writer = history.writer(Lsn(1)).unwrap();
    for lsn in 1..=100_000 {
        let mut texts = Texts::new(&mut draw, lsn);
        texts.id = format!("{:016x}{:016x}", draw.below(u64::MAX), draw.below(u64::MAX));
        push(&mut writer, &super::Item::Event(owned(&texts.stored(&mut draw, lsn)))).unwrap();
    }
    while writer.finish_step().unwrap() == Progress::Working {}
    let bytes_per_event = history.files()[0].bytes / 100_000;
    println!("{bytes_per_event} bytes an event with a random id of 128 bits");
    assert!(bytes_per_event <= 70, "{bytes_per_event}");
}

/// Does `work` and prints how long it took.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let start = SystemClock.since_boot();
    let done = work();
    let took = SystemClock.since_boot().saturating_sub(start);
    println!("{what}: {took:?}");
    (done, took)
}

fn page(history: &History, query: &Query<'_>) -> usize {
    let mut found = 0;
    let visit = |_: &Stored<'_>| {
        found += 1;
        if found < 100 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    history.scan_back(query, Lsn(u64::MAX), visit).unwrap();
    found
}

/// The question: are a page of a customer within 100 ms, an id within 5 ms and 3 M events/s of a
/// scan there over 20 million events on a real disk? Writes 1.1 GB; run it optimised and alone:
/// `cargo test --profile quick --lib twenty_million -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute and 0.6 GB of disk, and times mean nothing beside other tests"]
fn twenty_million_events_are_listed_and_found_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(directory.path()).unwrap());
    let history = History::open(Arc::clone(&disk), OWNER, hasher()).unwrap();
    let mut draw = Draw(3);
    timed("write 20 M events in 40 files", || {
        for _ in 0..40 {
            fill(&history, &mut draw, 500_000).unwrap();
        }
    });
    let bytes: u64 = history.files().iter().map(|file| file.bytes).sum();
    println!("{} bytes an event", bytes / 20_000_000);

    let (history, _) = timed("open", || History::open(disk, OWNER, hasher()).unwrap());
    let customer = Query { customer_id: Some("cus_00012345"), ..Query::default() };
    let nobody = Query { customer_id: Some("cus_nobody"), ..Query::default() };
    let name = Query { event_name: Some("api.request"), ..Query::default() };
    let other_name = Query { event_name: Some("other"), ..Query::default() };
    let old = Query { end: Some(nanos(START)), ..customer };
    for (what, query, count, ms_max) in [
        ("first page of a customer, files just opened", &customer, 100, 100),
        ("first page of a customer", &customer, 100, 100),
        ("a customer without events", &nobody, 0, 100),
        ("first page of a name", &name, 100, 100),
        ("a name without events", &other_name, 0, 100),
        ("a customer before a time", &old, 1, 100),
    ] {
        let (found, took) = timed(what, || page(&history, query));
        assert!(found >= count || query == &old, "{what}: {found}");
        assert!(took < Duration::from_millis(ms_max), "{what}: {took:?}");
    }
    let mut draw = Draw(3);
    let oldest: Vec<_> = (1..=20).map(|lsn| Texts::new_then_skip(&mut draw, lsn)).collect();
    let ((), took) = timed("find the 20 oldest ids", || {
        for id in &oldest {
            assert!(history.find(hash(id), id, |_| ()).unwrap().is_some());
        }
    });
    assert!(took < Duration::from_millis(5 * 20), "{took:?}");
    timed("find 1000 ids that are not there", || {
        for number in 0..1000 {
            let id = format!("none_{number}");
            assert!(history.find(hash(&id), &id, |_| ()).unwrap().is_none());
        }
    });
    let (sum, took) = timed("scan all of it forward on one core", || {
        let mut reader = Reader::new();
        let mut sum = 0;
        for part in history.scan_forward(Lsn(1)..=Lsn(20_000_000)).unwrap() {
            let count = |stored: Stored<'_>| {
                sum += stored.event.metadata.as_ref().map_or(0, Vec::len);
                Ok(())
            };
            part.unwrap().events::<Error>(&mut reader, count).unwrap();
        }
        sum
    });
    assert_eq!(sum, 100_000_000);
    println!("{} events/s", 20_000_000_000 / took.as_millis());
}

impl Texts {
    /// The id of an event as [`fill`] made it, with the draws of its other parts behind it.
    fn new_then_skip(draw: &mut Draw, lsn: u64) -> String {
        let texts = Self::new(draw, lsn);
        texts.stored(draw, lsn);
        texts.id
    }
}
