//! Runs of billing: cut at any operation, fed in any pieces, asked for by everybody at once, they make
//! every invoice once and with the same amounts.

use std::collections::BTreeMap;
use std::time::Duration;

use crossbeam::channel::{bounded, never};

use super::dice::Dice;
use super::goods::{new_meter, new_product, new_subscription, usage_price};
use super::rig::{Crash, Place, Rig, Sent, chain, tiny};
use crate::engine::bills::InvoiceFilter;
use crate::engine::command::billing::{NewMeterPrice, NewRate, SubscriptionPatch};
use crate::engine::commit::{Group, Submission};
use crate::engine::machine::Fatal;
use crate::engine::options::Options;
use crate::engine::threads::Threads;
use crate::engine::{Command, Engine, Ingested, Outcome, Page, Refused};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{Aggregation, MeterId, ProductId, Rate, SubscriptionId, Timestamp, UnitPrice};
use crate::world::Clock;
use crate::world::sim::SimClock;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const ALL: Page = Page { offset: 0, limit: 100_000 };

/// What an invoice says, without the ids that are drawn anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    number: u64,
    subscription: SubscriptionId,
    period: Option<(Timestamp, Timestamp)>,
    due_at: Timestamp,
    amounts: Vec<i64>,
    consumed: Vec<String>,
    total: i64,
}

/// Every invoice, oldest first. Numbers have no gaps, lines sum to totals, each has one payment.
pub(super) fn said(engine: &Engine) -> Vec<Said> {
    let mut views = engine.invoices(&InvoiceFilter::default(), ALL).unwrap();
    views.reverse();
    let payments = engine.payments(&crate::engine::bills::PaymentFilter::default(), ALL).unwrap();
    assert_eq!(payments.len(), views.len(), "one payment an invoice");
    let said = views.iter().zip(1..).map(|(view, number)| {
        let invoice = &view.invoice;
        assert_eq!(invoice.number.0, number, "numbers have no gaps");
        let amounts: Vec<i64> = invoice.lines.iter().map(|line| line.amount.as_minor()).collect();
        assert_eq!(amounts.iter().sum::<i64>(), invoice.total.as_minor());
        let usage = invoice.lines.iter().filter_map(|line| line.detail.usage());
        let consumed = usage.map(|usage| usage.consumed.to_string());
        Said {
            number,
            subscription: view.subscription_id.clone().expect("a subscription's"),
            period: invoice.period.map(|period| (period.start, period.end)),
            due_at: invoice.due_at,
            amounts,
            consumed: consumed.collect(),
            total: invoice.total.as_minor(),
        }
    });
    said.collect()
}

pub(super) fn make_meter(rig: &mut Rig, aggregation: Aggregation) -> MeterId {
    let Outcome::Meter(meter) =
        rig.change(Command::CreateMeter(new_meter(aggregation))).unwrap().outcome
    else {
        panic!("a meter")
    };
    meter.id
}

/// A product of these meters, at half a cent a unit, two units of each free.
pub(super) fn make_product(rig: &mut Rig, meters: &[MeterId], interval: Interval) -> ProductId {
    let meters = meters.iter().map(|meter| NewMeterPrice {
        meter_id: meter.clone(),
        rate: NewRate::Money(Rate::PerUnit(UnitPrice::parse("0.5").unwrap())),
        minimum: None,
        maximum: None,
        free_threshold: 2,
    });
    let price = usage_price(meters.collect(), interval, 4_900);
    let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
        panic!("a product")
    };
    product.id.clone()
}

pub(super) fn subscribe(rig: &mut Rig, customer: &str, product: &ProductId) -> SubscriptionId {
    let new = Box::new(new_subscription(customer, product));
    let Outcome::Subscription(made) = rig.change(Command::CreateSubscription(new)).unwrap().outcome
    else {
        panic!("a subscription")
    };
    made.id.clone()
}

/// Makes customers known.
pub(super) fn greet(rig: &mut Rig, customers: usize) {
    let hello = |n| {
        let mut sent = Sent::new(format!("hello-{n}"), &format!("c{n}"));
        "hello".clone_into(&mut sent.name);
        sent
    };
    let sent: Vec<Sent> = (0..customers).map(hello).collect();
    for sent in sent.chunks(1_000) {
        rig.ingest(sent).unwrap();
    }
}

pub(super) fn sum() -> Aggregation {
    Aggregation::Sum { key: "tokens".to_owned() }
}

/// Moves the clock to an instant, unless it is there; both hands, as time passes.
fn pass_until(clock: &SimClock, at: Timestamp) {
    clock.advance(at.since(clock.wall()));
}

const THOUSAND: usize = 1_000;
/// Every so manieth step of a run is tried; every one with `QUIPU_EVERY_STEP=1`.
const STRIDE: usize = 9;

/// A thousand customers with a subscription and some usage each, and when their cycle ends.
fn thousand() -> (Place, Timestamp) {
    let options = Options {
        segment_bytes: 512 << 10,
        generation_ids: 8 << 10,
        stretch_events: 1 << 10,
        due_bytes: Options::default().due_bytes,
        ..tiny()
    };
    let mut rig = Rig::new(options);
    let meter = make_meter(&mut rig, sum());
    greet(&mut rig, THOUSAND);
    let week = Interval { count: 1, unit: IntervalUnit::Week };
    let product = make_product(&mut rig, &[meter], week);
    for customer in 0..THOUSAND {
        subscribe(&mut rig, &format!("c{customer}"), &product);
    }
    let end = rig.engine.now().plus(DAY * 7);
    rig.advance(MINUTE);
    let usage = |n: usize| {
        Sent::new(format!("use-{n}"), &format!("c{n}")).with_tokens(&format!("{}.5", n % 100))
    };
    let sent: Vec<Sent> = (0..THOUSAND).map(usage).collect();
    rig.ingest(&sent).unwrap();
    rig.machine.checkpoint().unwrap();
    let place = rig.place.after(Crash::Killed);
    (place, end)
}

/// The turn and the close of everybody, each with a checkpoint behind it.
fn run(rig: &mut Rig, end: Timestamp) -> Result<(), Fatal> {
    for at in [end, end.plus(rig.place.options.grace)] {
        pass_until(&rig.place.clock, at);
        rig.settle()?;
        rig.machine.checkpoint()?;
    }
    Ok(())
}

#[test]
fn a_run_over_a_thousand_customers_may_be_killed_at_any_step() {
    let (base, end) = thousand();
    let undisturbed = base.fork();
    let mut rig = undisturbed.open();
    run(&mut rig, end).unwrap();
    let expected = said(&rig.engine);
    assert_eq!(expected.len(), 2 * THOUSAND);
    let usage: i64 = expected[THOUSAND..].iter().map(|said| said.total - 4_900).sum();
    // Half a cent for what of n + 1/2 is above 2, rounded half away from zero, ten times 0 to 99.
    let owed = |n: i64| if n < 2 { 0 } else { (2 * n - 3 + 2) / 4 };
    assert_eq!(usage, 10 * (0..100).map(owed).sum::<i64>());
    let steps = undisturbed.disk.operations();
    assert!(steps > 50, "only {steps} operations");
    let stride = if std::env::var_os("QUIPU_EVERY_STEP").is_some() { 1 } else { STRIDE };
    let (mut cut, mut cut_in_the_middle) = (0, 0);
    for step in (1..=steps).step_by(stride) {
        let place = base.fork();
        place.disk.stop_at(step);
        let ended = match place.try_open() {
            Ok(mut rig) => run(&mut rig, end).map_err(|fatal| chain(&fatal)),
            Err(error) => Err(chain(&error)),
        };
        // At the very end only files are removed that nobody needs.
        cut += usize::from(ended.is_err());
        let crash = match step % 3 {
            0 => Crash::Killed,
            1 => Crash::DropsAll,
            _ => Crash::Random(step),
        };
        let mut rig = place.after(crash).open();
        let before = said(&rig.engine);
        cut_in_the_middle += u64::from(before.len() < expected.len());
        assert_eq!(before[..], expected[..before.len()], "step {step}, {crash:?}");
        run(&mut rig, end).unwrap();
        assert_eq!(said(&rig.engine), expected, "step {step}, {crash:?}");
        assert_eq!(rig.engine.billing_status().overdue, 0);
    }
    assert!(cut > 50 && cut_in_the_middle > 20, "{cut} and {cut_in_the_middle} of {steps} steps");
}

/// Does what is due as the daemon's threads would whose log is slow: the next group is decided while one
/// is written, and handed out before that is applied. How many were.
fn settle_ahead(rig: &mut Rig) -> usize {
    let machine = &mut rig.machine;
    let (mut writing, mut ahead) = (None, 0);
    loop {
        machine.committer.work();
        writing = writing.or_else(|| machine.committer.take());
        let Some(mut group) = writing.take() else { return ahead };
        machine.committer.work();
        machine.writer.write(&mut group).unwrap();
        writing = machine.committer.take();
        ahead += usize::from(writing.is_some());
        machine.committer.finish(group);
    }
}

#[test]
fn what_is_decided_ahead_is_billed_as_if_it_were_not() {
    let (base, end) = thousand();
    // Late for a turn and a close, for all of them at once, and for five cycles.
    for late in [Duration::ZERO, base.options.grace, DAY * 7, DAY * 36] {
        let opened = |due_bytes| {
            let mut place = base.fork();
            place.options.due_bytes = due_bytes;
            let rig = place.open();
            pass_until(&place.clock, end.plus(late));
            rig
        };
        let mut rig = opened(64 << 20);
        rig.settle().unwrap();
        let expected = said(&rig.engine);
        let mut rig = opened(20 << 10);
        let ahead = settle_ahead(&mut rig);
        assert!(ahead > 10, "only {ahead} groups were decided ahead");
        assert_eq!(said(&rig.engine), expected, "{late:?} late");
        assert_eq!(rig.engine.billing_status().overdue, 0);
    }
}

/// What is sent at one moment, and when.
struct Moment {
    at: Timestamp,
    sent: Vec<Sent>,
}

/// Events of three weeks, late and early ones among them; no two of a customer at one instant.
fn script(start: Timestamp) -> Vec<Moment> {
    let dice = Dice::new(99);
    let moments = (1..36_u32).map(|number| {
        let at = start.plus(HOUR * 14 * number);
        let sent = (0..24_i64).map(|n| {
            let customer = format!("c{}", dice.below(4));
            // Up to an hour late, up to five minutes ahead; boundaries lie between.
            let offset = dice.within(-3_590..290) * 1_000_000_000 + n;
            let stamp = Timestamp::from_nanos(at.as_nanos() + offset);
            let tokens = format!("{}.{}", dice.within(-20..900), dice.below(1_000));
            Sent::new(format!("e-{number}-{n}"), &customer).with_tokens(&tokens).at(stamp)
        });
        Moment { at, sent: sent.collect() }
    });
    moments.collect()
}

/// One way to cut the same history: pieces of requests, checkpoints, kills, power cuts, stops.
fn cut(mut rig: Rig, script: &[Moment], seed: u64) -> BTreeMap<String, Vec<Said>> {
    let dice = Dice::new(seed);
    for moment in script {
        // Time passes in pieces, and what fell due is done in each of them or in the next.
        for _ in 0..dice.below(3) {
            let left = moment.at.since(rig.place.clock.wall());
            rig.advance(left / (2 + dice.few(3)));
            rig.settle().unwrap();
        }
        pass_until(&rig.place.clock, moment.at);
        let mut left: Vec<Sent> = moment.sent.clone();
        while !left.is_empty() {
            // Any piece in any order; an event that is sent again counts once.
            for _ in 0..2 {
                let (from, to) = (dice.index(left.len()), dice.index(left.len()));
                left.swap(from, to);
            }
            let size = (1 + dice.index(9)).min(left.len());
            let piece: Vec<Sent> = left.drain(..size).collect();
            rig.ingest(&piece).unwrap();
            if dice.one_in(5) {
                rig.ingest(&piece).unwrap();
            }
            rig = match dice.below(12) {
                0 => rig.place.after(Crash::Killed).open(),
                1 => rig.place.after(Crash::DropsAll).open(),
                2 => rig.place.after(Crash::Random(dice.below(1_000))).open(),
                3 => rig.stop().open(),
                4 | 5 => {
                    rig.machine.checkpoint().unwrap();
                    rig
                }
                _ => rig,
            };
        }
    }
    rig.advance(DAY * 30);
    rig.settle().unwrap();
    let mut invoices: BTreeMap<String, Vec<Said>> = BTreeMap::new();
    for said in said(&rig.engine) {
        // Numbers follow the order in which ids are drawn, which is another in every process.
        invoices.entry(said.subscription.to_string()).or_default().push(Said { number: 0, ..said });
    }
    invoices
}

#[test]
fn where_ingestion_is_cut_never_changes_an_amount() {
    let mut rig = Rig::new(Options { dedupe_window: Duration::ZERO, ..tiny() });
    let key = || "tokens".to_owned();
    let meters = [
        Aggregation::Count,
        sum(),
        Aggregation::Max { key: key() },
        Aggregation::Last { key: key() },
    ];
    let meters = meters.map(|aggregation| make_meter(&mut rig, aggregation));
    greet(&mut rig, 4);
    for (customer, days) in [("c0", 1), ("c1", 3), ("c2", 7), ("c3", 10), ("c0", 4)] {
        let interval = Interval { count: days, unit: IntervalUnit::Day };
        let product = make_product(&mut rig, &meters, interval);
        subscribe(&mut rig, customer, &product);
        rig.advance(HOUR);
    }
    let script = script(rig.engine.now());
    let base = rig.place.after(Crash::Killed);
    let expected = cut(base.fork().open(), &script, 0);
    let billed: i64 = expected.values().flatten().map(|said| said.total).sum();
    assert!(expected.len() == 5 && billed > 500_000, "{billed}");
    for seed in 1..25 {
        let found = cut(base.fork().open(), &script, seed);
        for (subscription, invoices) in &found {
            assert_eq!(invoices, &expected[subscription], "cut {seed}");
        }
        assert_eq!(found.len(), expected.len());
    }
}

/// Asks for changes until the channel is closed: each finds what is due done.
fn pester(engine: &Engine, id: &SubscriptionId, stopping: &crossbeam::channel::Receiver<()>) {
    while stopping.try_recv() == Err(crossbeam::channel::TryRecvError::Empty) {
        for command in
            [Command::ConfirmClock, Command::UpdateSubscription(id.clone(), Box::default())]
        {
            let (told, answer) = bounded(1);
            engine.change(command, None, move |answer| drop(told.send(answer)));
            drop(answer.recv().unwrap());
        }
    }
}

/// Waits until nothing is overdue.
fn wait_until_done(engine: &Engine) {
    let nothing = never::<()>();
    for _ in 0..6_000 {
        if engine.billing_status().overdue == 0 {
            return;
        }
        nothing.recv_timeout(Duration::from_millis(10)).ok();
    }
    panic!("{:?}", engine.billing_status());
}

/// The committer's own timer, changes that must find boundaries passed and the clock's confirmation all
/// lead to the same work.
#[test]
fn the_timer_and_everybody_at_once_bill_once() {
    let mut rig = Rig::new(tiny());
    let meter = make_meter(&mut rig, Aggregation::Count);
    greet(&mut rig, 40);
    let day = Interval { count: 1, unit: IntervalUnit::Day };
    let product = make_product(&mut rig, &[meter], day);
    let ids: Vec<SubscriptionId> =
        (0..40).map(|n| subscribe(&mut rig, &format!("c{n}"), &product)).collect();
    let Rig { place, machine, engine, .. } = rig;
    let start = place.clock.wall();
    let threads = Threads::start(machine);
    let (stop, stopping) = bounded::<()>(0);
    std::thread::scope(|scope| {
        for id in ids.iter().take(4) {
            let (engine, stopping) = (engine.clone(), stopping.clone());
            scope.spawn(move || pester(&engine, id, &stopping));
        }
        for hours in [30_u32, 7, 49, 1, 24] {
            place.clock.advance(HOUR * hours);
            wait_until_done(&engine);
        }
        drop(stop);
    });
    // Nobody asks for anything any more: the timer alone is left.
    place.clock.advance(HOUR * 24);
    wait_until_done(&engine);
    let days = place.clock.wall().minus(place.options.grace).since(start).as_secs() / 86_400;
    let said = said(&engine);
    assert_eq!(said.len() as u64, 40 * (1 + days));
    for id in &ids {
        let own: Vec<&Said> = said.iter().filter(|said| said.subscription == *id).collect();
        for (number, pair) in (1..).zip(own.windows(2)) {
            assert_eq!(pair[1].due_at, start.plus(DAY * number), "one invoice a day");
        }
    }
    threads.stop().unwrap().shut_down().unwrap();
    assert!(engine.billing_status().next_due.is_some_and(|next| next > place.clock.wall()));
}

/// Puts a request into the committer's open group, or gives back that it must wait.
fn admit(rig: &mut Rig, id: &str) -> bool {
    let prepared = rig.prepare(&[Sent::new(id, "c0")]).unwrap();
    let reply = Box::new(|answer: Result<Ingested, Refused>| assert!(answer.is_ok()));
    let submission = Submission::Ingest(Box::new(prepared), reply);
    rig.machine.committer.admit(submission).is_none()
}

fn write_and_finish(rig: &mut Rig, mut group: Group) {
    rig.machine.writer.write(&mut group).unwrap();
    rig.machine.committer.finish(group);
}

/// A group was always there to be written, so that due work never found the committer idle.
#[test]
fn ingest_that_never_pauses_does_not_keep_due_work_from_its_turn() {
    let mut rig = Rig::new(tiny());
    let meter = make_meter(&mut rig, Aggregation::Count);
    greet(&mut rig, 1);
    let day = Interval { count: 1, unit: IntervalUnit::Day };
    let product = make_product(&mut rig, &[meter], day);
    subscribe(&mut rig, "c0", &product);
    assert!(admit(&mut rig, "a"));
    let in_flight = rig.machine.committer.take().unwrap();
    assert!(admit(&mut rig, "b"), "one group is decided while another is written");
    rig.advance(DAY);
    rig.machine.committer.work();
    assert!(!admit(&mut rig, "c"), "from here on the boundary goes first");
    let next = rig.machine.committer.take().unwrap();
    write_and_finish(&mut rig, in_flight);
    write_and_finish(&mut rig, next);
    rig.machine.committer.work();
    let turn = rig.machine.committer.take().expect("it is decided at once");
    write_and_finish(&mut rig, turn);
    assert_eq!(rig.engine.billing_status().overdue, 0);
    assert!(admit(&mut rig, "d"));
}

/// A change waits for what is due; what was sent behind it does not.
#[test]
fn a_change_that_waits_for_due_work_holds_nobody_up() {
    let mut rig = Rig::new(tiny());
    greet(&mut rig, 1);
    let day = Interval { count: 1, unit: IntervalUnit::Day };
    let product = make_product(&mut rig, &[], day);
    let id = subscribe(&mut rig, "c0", &product);
    rig.advance(DAY);
    rig.machine.committer.work();
    let turn = rig.machine.committer.take().expect("the turn");
    write_and_finish(&mut rig, turn);
    rig.advance(DAY);
    rig.machine.committer.work();
    let turn = rig.machine.committer.take().expect("the second turn");
    // The next boundary has passed too, so that the change must wait once more.
    rig.advance(DAY);
    write_and_finish(&mut rig, turn);
    let patch = SubscriptionPatch { cancel_now: true, ..SubscriptionPatch::default() };
    let change = rig.propose(Command::UpdateSubscription(id, Box::new(patch)), None);
    let change_waits = rig.machine.queue.try_recv().unwrap();
    assert!(rig.machine.committer.admit(change_waits).is_none(), "it is set aside");
    assert!(admit(&mut rig, "behind"), "one group of ingest goes between two of due work");
    let behind = rig.machine.committer.take().unwrap();
    write_and_finish(&mut rig, behind);
    assert!(change.take().is_none());
    rig.settle().unwrap();
    assert!(change.answer().is_ok(), "and it is decided when every boundary was passed");
    rig.advance(DAY);
    rig.settle().unwrap();
    // At the creation, after each of three boundaries, and after the cancellation.
    assert_eq!(said(&rig.engine).len(), 5);
}
