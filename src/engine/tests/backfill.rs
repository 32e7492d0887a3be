//! A new meter counts every event that came before it, once, whatever happens meanwhile.

use std::time::Duration;

use super::compare::{assert_answers, assert_same, usage_of};
use super::goods::{new_product, new_subscription, usage_price};
use super::rig::{Crash, Rig, Sent, tiny};
use super::story::meter_of;
use super::trial::{End, Trial};
use crate::engine::backfill::{Limits, Step};
use crate::engine::command::billing::{NewMeterPrice, NewRate};
use crate::engine::command::{Command, Outcome, Refused};
use crate::engine::commit::Submission;
use crate::engine::options::Options;
use crate::engine::record::BackfilledEntry;
use crate::engine::state::MeterTotals;
use crate::engine::{BackfillState, BackfillStatus};
use crate::metering::{Rule, Rules};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{Aggregation, Hour, MeterId, MeterIndex, Quantity, Rate, UnitPrice};
use crate::world::Clock;
use crate::world::clock::SystemClock;

const HOUR: Duration = Duration::from_hours(1);

fn sum() -> Aggregation {
    Aggregation::Sum { key: "tokens".to_owned() }
}

fn create(rig: &mut Rig, aggregation: Aggregation) -> (MeterId, MeterIndex) {
    let changed = rig.change(Command::CreateMeter(meter_of("call", aggregation))).unwrap();
    let Outcome::Meter(meter) = changed.outcome else { panic!("a meter was made") };
    (meter.id, meter.index)
}

fn total(rig: &Rig, meter: &MeterId) -> String {
    let usage = rig.engine.usage(&usage_of(Some(meter), None)).unwrap();
    usage.items.first().map_or("none".to_owned(), |item| item.total.to_string())
}

fn line(rig: &Rig) -> Hour {
    rig.machine.shared.state.memory_from()
}

/// Events of `hours` hours, one of 10 tokens in each, and a checkpoint at the end.
fn with_past(options: Options, hours: u32) -> Rig {
    let mut rig = Rig::new(options);
    for hour in 0..hours {
        let event = Sent::new(format!("past-{hour}"), "cus-0").with_tokens("10");
        assert_eq!(rig.ingest(&[event]).unwrap().new, 1);
        rig.advance(HOUR);
    }
    rig.machine.checkpoint().unwrap();
    rig
}

#[test]
fn a_meter_made_before_any_event_needs_no_backfill() {
    let mut rig = Rig::new(tiny());
    let (_, index) = create(&mut rig, sum());
    let done = BackfillStatus { state: BackfillState::Done, done: 0, total: 0 };
    assert_eq!(rig.engine.backfill(index), done);
    rig.ingest(&[Sent::new("1", "cus-0").with_tokens("1")]).unwrap();
    assert_eq!(rig.machine.backfill.step(100), Step::Idle);
}

#[test]
fn progress_only_grows_and_the_line_stands_still_until_the_meter_is_complete() {
    let mut rig = with_past(tiny(), 60);
    let (meter, index) = create(&mut rig, sum());
    let before = line(&rig);
    assert!(before > Hour::of(rig.engine.now()).plus(-10));
    let mut last = rig.engine.backfill(index);
    assert_eq!(last, BackfillStatus { state: BackfillState::Pending, done: 0, total: 60 });
    let mut live = 0;
    while rig.machine.backfill.step(7) != Step::Idle {
        let now = rig.engine.backfill(index);
        assert!(now.done >= last.done && now.done <= 60 && now.total == 60, "{last:?} {now:?}");
        last = now;
        if last.state != BackfillState::Done {
            let item = rig.engine.usage(&usage_of(Some(&meter), None)).unwrap();
            assert!(item.items.iter().all(|item| item.backfilling));
            assert_eq!(line(&rig), before);
            live += 1;
            rig.ingest(&[Sent::new(format!("live-{live}"), "cus-0").with_tokens("1")]).unwrap();
            rig.advance(Duration::from_mins(5));
        }
        rig.settle().unwrap();
        if rig.machine.checkpointer.is_due() || live % 10 == 0 {
            rig.machine.checkpoint().unwrap();
        }
        rig.machine.checkpointer.step().unwrap();
    }
    assert_eq!(last.done, 60);
    assert_eq!(rig.engine.backfill(index).state, BackfillState::Done);
    assert_eq!(total(&rig, &meter), (600 + live).to_string());
    let usage = rig.engine.usage(&usage_of(Some(&meter), None)).unwrap();
    assert!(!usage.items[0].backfilling);
    rig.machine.checkpoint().unwrap();
    rig.ingest(&[Sent::new("more", "cus-0")]).unwrap();
    rig.machine.checkpoint().unwrap();
    assert!(line(&rig) > before, "the line moves again");
    assert_eq!(total(&rig, &meter), (600 + live).to_string());
}

#[test]
fn an_archived_meter_counts_what_came_before_it_and_settings_are_those_of_its_creation() {
    let mut rig = with_past(tiny(), 5);
    let text = super::rig::Value::Text("7".to_owned());
    rig.ingest(&[Sent::new("text", "cus-0").with("tokens", text)]).unwrap();
    let (meter, _) = create(&mut rig, sum());
    rig.change(Command::ArchiveMeter(meter.clone())).unwrap();
    rig.ingest(&[Sent::new("archived", "cus-0").with_tokens("1")]).unwrap();
    let mut place = rig.place.after(Crash::DropsAll);
    place.options.settings.numeric_strings = true;
    let mut rig = place.open();
    rig.finish_backfills();
    assert_eq!(total(&rig, &meter), "50");
    let usage = rig.engine.usage(&usage_of(Some(&meter), None)).unwrap();
    assert_eq!(usage.items[0].skipped.not_a_number, 1);
}

#[test]
fn sums_that_could_leave_128_bits_end_a_backfill_and_those_that_fit_bind_live_events() {
    let mut rig = with_past(tiny(), 3);
    let (failing, first) = create(&mut rig, sum());
    let (full, second) = create(&mut rig, sum());
    let announce = |rig: &mut Rig, meter, magnitude| {
        let totals = Some(MeterTotals { magnitude, ..MeterTotals::default() });
        let entry = BackfilledEntry { meter, totals, entries: Vec::new(), end: None };
        rig.machine.shared.submit(Submission::Backfilled(Box::new(entry)));
        rig.settle().unwrap();
    };
    let most = i128::MAX.unsigned_abs();
    announce(&mut rig, first, most + 1);
    assert_eq!(rig.engine.backfill(first).state, BackfillState::Failed);
    let event = |id: &str| [Sent::new(id, "cus-0").with_tokens("1")];
    rig.ingest(&event("fits")).unwrap();
    announce(&mut rig, second, most - 2_000_000_000_000);
    for mut rig in [rig.place.after(Crash::DropsAll).open(), rig] {
        rig.ingest(&event("fits still")).unwrap();
        let Err(Refused::Event(refusal)) = rig.ingest(&event("too much")) else {
            panic!("the sum would leave 128 bits")
        };
        assert_eq!(refusal.rejection.rule, Rule::Overflow);
        rig.finish_backfills();
        assert_eq!((total(&rig, &failing), total(&rig, &full)), ("2".into(), "32".into()));
        assert_eq!(rig.engine.backfill(first).state, BackfillState::Failed);
        assert_eq!(rig.engine.backfill(second).state, BackfillState::Done);
    }
}

/// A history in which meters are made all the time and their backfills are cut short.
fn run(seed: u64, options: &Options) {
    let mut trial = Trial::new(options, seed).with_meters();
    for _ in 0..120 {
        match trial.story.dice.below(100) {
            0..40 => {
                trial.send_any();
                trial.settle().unwrap();
            }
            40..55 => trial.advance(HOUR * u32::try_from(trial.story.dice.below(9)).unwrap()),
            55..60 if trial.model.meters.len() < 14 => trial = trial.with_meters(),
            60..80 => drop(trial.backfill(1 + trial.story.dice.below(30)).unwrap()),
            80..88 => trial.rig.machine.checkpoint().unwrap(),
            88..92 => {
                let command = trial.story.named_command(&trial.model);
                trial.propose(command);
                trial.settle().unwrap();
            }
            92..96 => assert_answers(&trial.rig, &trial.model, &trial.story.dice, 3),
            _ => {
                // What was submitted and not decided is lost, and is done again.
                trial.rig.machine.backfill.step(50);
                let seed = trial.story.dice.below(1_000);
                let crashes = [Crash::Killed, Crash::DropsAll, Crash::Random(seed)];
                let crash = *trial.story.dice.pick(&crashes);
                trial = trial.restarted(End::Crashes(crash), |_| ());
                assert_same(&trial.rig, &trial.model);
            }
        }
    }
    trial.finish_backfills();
    assert_same(&trial.rig, &trial.model);
    let mut trial = trial.restarted(End::Crashes(Crash::DropsAll), |_| ());
    assert_same(&trial.rig, &trial.model);
    trial.advance(100 * HOUR);
    trial.send_any();
    trial.settle().unwrap();
    trial.rig.machine.checkpoint().unwrap();
    assert_same(&trial.rig, &trial.model);
    assert_answers(&trial.rig, &trial.model, &trial.story.dice, 20);
}

#[test]
fn new_meters_agree_with_a_recount_of_all_events_through_crashes() {
    let rules = Rules { max_age: 30 * HOUR, max_ahead: Duration::from_mins(30) };
    for seed in 0..16 {
        let backfill = match seed % 4 {
            0 => Limits::default(),
            1 => Limits { entries_in_memory: 1, rows_at_once: 1, entries_of_record: 1 },
            _ => tiny().backfill,
        };
        let (rules, grace) = match seed % 3 {
            0 => (rules, 31 * HOUR),
            _ => (tiny().rules, tiny().grace),
        };
        run(seed, &Options { rules, grace, backfill, ..tiny() });
    }
}

/// Sends `count` events of an API's usage, in requests of 1000, over some days.
fn send_many(rig: &mut Rig, count: u64) {
    for request in 0..count / 1_000 {
        let event = |number: u64| {
            Sent::new(format!("request-{request}-{number}"), &format!("cus-{}", number % 200))
                .with_tokens(&(number * 7).to_string())
                .with("model", super::rig::Value::Text("large-2".to_owned()))
                .with("region", super::rig::Value::Text("eu-west-1".to_owned()))
                .with("cached", super::rig::Value::Flag(number.is_multiple_of(2)))
        };
        let sent: Vec<_> = (0..1_000).map(event).collect();
        assert_eq!(rig.ingest(&sent).unwrap().new, 1_000);
        rig.advance(Duration::from_mins(2));
    }
    rig.machine.checkpoint().unwrap();
}

#[test]
#[ignore = "a measurement: cargo test --profile quick --lib speed_of -- --ignored --nocapture"]
fn speed_of_a_backfill() {
    const EVENTS: u64 = 2_000_000;
    let (generation_ids, backfill) = (1_500_000, Limits::default());
    let mut rig = Rig::new(Options { generation_ids, backfill, segment_bytes: 64 << 20, ..tiny() });
    send_many(&mut rig, EVENTS);
    let (_, index) = create(&mut rig, sum());
    rig.machine.checkpoint().unwrap();
    let started = SystemClock.since_boot();
    let mut read = Duration::ZERO;
    while rig.machine.backfill.step(16 * 1024) != Step::Idle {
        let status = rig.engine.backfill(index);
        if read.is_zero() && status.done == status.total {
            read = SystemClock.since_boot().saturating_sub(started);
        }
        rig.settle().unwrap();
        rig.machine.checkpointer.step().unwrap();
    }
    let took = SystemClock.since_boot().saturating_sub(started);
    assert_eq!(rig.engine.backfill(index).state, BackfillState::Done);
    let per_second = u128::from(EVENTS) * 1_000_000 / took.as_micros();
    println!("{EVENTS} events in {took:?}, {read:?} of them to read: {per_second} events/s");
}
#[test]
fn a_log_that_cannot_be_read_ends_a_backfill_and_nothing_else() {
    let mut rig = with_past(tiny(), 3);
    let (meter, index) = create(&mut rig, sum());
    let live = rig.machine.shared.log.segments().last().expect("one is written").number;
    let name = format!("wal-{live:010}");
    let image = rig.place.disk.image(&name);
    let is_frame = |block: &usize| image[block * 512..].starts_with(b"KNOT");
    for frame in (0..image.len() / 512).filter(is_frame) {
        rig.place.disk.flip_bit(&name, frame as u64 * 512 + 8, 0);
    }
    rig.finish_backfills();
    assert_eq!(rig.engine.backfill(index).state, BackfillState::Failed);
    rig.ingest(&[Sent::new("live", "cus-0").with_tokens("1")]).unwrap();
    assert_eq!(total(&rig, &meter), "1");
}

/// After a restart the line between memory and disk began where a period had been closed, though a
/// meter was waiting: hours that it had counted since moved to disk, and the backfill then replaced
/// their days.
#[test]
fn the_line_stands_still_over_a_restart_although_a_period_was_closed() {
    let options = Options { dedupe_window: Duration::ZERO, ..tiny() };
    let mut rig = Rig::new(options);
    let (priced, _) = create(&mut rig, Aggregation::Count);
    rig.ingest(&[Sent::new("before", "c1")]).unwrap();
    let price = NewMeterPrice {
        meter_id: priced,
        rate: NewRate::Money(Rate::PerUnit(UnitPrice::parse("2").unwrap())),
        free_threshold: 0,
        minimum: None,
        maximum: None,
    };
    let daily = Interval { count: 1, unit: IntervalUnit::Day };
    let product = new_product(usage_price(vec![price], daily, 100));
    let Outcome::Product(product) = rig.change(product).unwrap().outcome else {
        panic!("a product")
    };
    let new = Box::new(new_subscription("c1", &product.id));
    rig.change(Command::CreateSubscription(new)).unwrap();
    let (late, _) = create(&mut rig, Aggregation::Count);
    // Another hour of the same day.
    rig.advance(Duration::from_hours(2));
    rig.ingest(&[Sent::new("after", "c1")]).unwrap();
    rig.advance(Duration::from_hours(30));
    rig.settle().unwrap();
    assert_eq!(rig.engine.stats().invoices, 2, "the first day is closed");

    let mut rig = rig.place.after(Crash::Killed).open();
    rig.machine.checkpoint().unwrap();
    rig.finish_backfills();
    for hours in [1, 30] {
        rig.advance(Duration::from_hours(hours));
        rig.ingest(&[Sent::new(format!("later-{hours}"), "c2")]).unwrap();
        rig.machine.checkpoint().unwrap();
        let usage = rig.engine.usage(&usage_of(Some(&late), None)).unwrap();
        let of_first = usage.items.iter().find(|item| item.customer_id.as_str() == "c1").unwrap();
        assert_eq!(of_first.total, Quantity::from_count(2));
    }
}
