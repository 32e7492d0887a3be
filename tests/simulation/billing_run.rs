//! A billing run of many customers that fails at each of its operations: every invoice is made once, with the
//! number and the content that a run which nothing disturbs gives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quipu::engine::bills::InvoiceFilter;
use quipu::engine::command::billing::{
    NewMeterPrice, NewPrice, NewPriceKind, NewProduct, NewRate, NewSubscription, Subscriber,
};
use quipu::engine::machine::Fatal;
use quipu::engine::options::Options;
use quipu::engine::{Command, Outcome, Page};
use quipu::model::invoice::InvoiceCause;
use quipu::model::price::{Interval, IntervalUnit, Recurrence};
use quipu::model::product::TaxCategory;
use quipu::model::subscription::BillingAddress;
use quipu::model::{
    Aggregation, Currency, CustomerId, Invoice, InvoiceId, Money, ProductId, Rate, Timestamp,
    UnitPrice,
};
use quipu::world::Clock;
use quipu::world::sim::{FaultKind, Repeat};

use crate::event::{Sent, Value};
use crate::place::{Crash, Place, Process, chain};
use crate::workload::new_meter;

/// Customers of an ordinary `cargo test`.
const CUSTOMERS: u64 = 40;
const ALL: Page = Page { offset: 0, limit: 1_000_000 };
const START: &str = "2026-01-31T10:00:00Z";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a date")
}

/// What happens at which instant: boundaries turn, and periods close behind their grace.
fn steps() -> [(Timestamp, bool); 6] {
    [
        // A checkpoint stands between the turn and the close, and another behind the close.
        (at("2026-02-28T10:00:01Z"), true),
        (at("2026-02-28T11:09:59Z"), false),
        (at("2026-02-28T11:10:01Z"), true),
        (at("2026-03-31T10:00:01Z"), false),
        (at("2026-03-31T11:10:01Z"), false),
        (at("2026-03-31T11:11:00Z"), true),
    ]
}

fn change(process: &mut Process, command: Command) -> Outcome {
    let slot = process.propose(command, None);
    process.settle().expect("a healthy disk");
    slot.take().expect("it was settled").expect("it is allowed").outcome
}

fn product(process: &mut Process) -> ProductId {
    let sum = Aggregation::Sum { key: "tokens".to_owned() };
    let Outcome::Meter(meter) =
        change(process, Command::CreateMeter(new_meter("Tokens".to_owned(), "call", sum)))
    else {
        panic!("it makes a meter")
    };
    let month = Interval { count: 1, unit: IntervalUnit::Month };
    let recurrence = Recurrence {
        payment_frequency: month,
        subscription_period: Interval { count: 1, unit: IntervalUnit::Year },
        trial_days: 0,
    };
    let meters = vec![NewMeterPrice {
        meter_id: meter.id,
        rate: NewRate::Money(Rate::PerUnit(UnitPrice::parse("0.015").expect("a price"))),
        minimum: None,
        maximum: None,
        free_threshold: 10,
    }];
    let new = NewProduct {
        name: "Pay as you go".to_owned(),
        description: None,
        tax_category: TaxCategory::Saas,
        metadata: Vec::new(),
        credits: Vec::new(),
        price: NewPrice {
            currency: Currency::from_code("USD").expect("a currency"),
            fixed: Money::from_minor(900),
            discount_bps: 0,
            tax_inclusive: false,
            purchasing_power_parity: false,
            kind: NewPriceKind::UsageBased { recurrence, meters },
        },
    };
    let Outcome::Product(product) = change(process, Command::CreateProduct(Box::new(new))) else {
        panic!("it makes a product")
    };
    product.id.clone()
}

fn subscription(customer: String, product_id: ProductId) -> Command {
    Command::CreateSubscription(Box::new(NewSubscription {
        customer: Subscriber::Existing(CustomerId::new(customer)),
        product_id,
        quantity: 1,
        trial_days: None,
        on_demand: None,
        once: Vec::new(),
        credits: Vec::new(),
        billing_currency: None,
        billing: BillingAddress {
            country: "PE".to_owned(),
            city: None,
            state: None,
            street: None,
            zipcode: None,
        },
        customer_business_name: None,
        tax_id: None,
        metadata: Vec::new(),
    }))
}

fn use_some(process: &mut Process, customers: u64, round: u64) {
    for first in (0..customers).step_by(100) {
        let sent: Vec<_> = (first..customers.min(first + 100))
            .map(|customer| Sent {
                id: format!("{round}-{customer}"),
                customer: format!("cus-{customer}"),
                name: "call",
                at: None,
                metadata: vec![(
                    "tokens",
                    Value::Number(format!("{}.5", customer * 7_919 % 100_000 + round)),
                )],
            })
            .collect();
        let slot = process.send(&sent);
        process.settle().expect("a healthy disk");
        let answer = slot.take().expect("it was settled").expect("it is well formed");
        assert_eq!(u64::from(answer.new), sent.len() as u64);
    }
}

/// A directory with so many subscriptions, all of which have used something.
fn base(customers: u64) -> Place {
    let options = Options {
        segment_bytes: 256 << 10,
        generation_ids: 4_096,
        reserve_bytes: 0,
        ..Options::default()
    };
    let mut place = Place::new(options, at(START));
    let mut process = place.open().expect("an empty disk");
    let product = product(&mut process);
    use_some(&mut process, customers, 0);
    for customer in 0..customers {
        change(&mut process, subscription(format!("cus-{customer}"), product.clone()));
        if customer % 100 == 50 {
            process.machine.checkpoint().expect("a healthy disk");
        }
    }
    process.advance(Duration::from_hours(5));
    use_some(&mut process, customers, 1);
    process.machine.checkpoint().expect("a healthy disk");
    use_some(&mut process, customers, 2);
    drop(process);
    place.after(Crash::Killed)
}

/// Does what is left of the run; the step at which it fails.
fn run(process: &mut Process, from: usize) -> Result<(), (usize, Fatal)> {
    for (number, (instant, makes_checkpoint)) in steps().into_iter().enumerate().skip(from) {
        process.advance(instant.since(process.clock.wall()));
        process.settle().map_err(|fatal| (number, fatal))?;
        // The next period has usage of its own.
        if makes_checkpoint {
            process.machine.checkpoint().map_err(|fatal| (number, fatal))?;
        }
    }
    Ok(())
}

fn invoices(process: &Process) -> Vec<Arc<Invoice>> {
    let mut views = process.engine.invoices(&InvoiceFilter::default(), ALL).expect("they are read");
    views.reverse();
    views.into_iter().map(|view| view.invoice).collect()
}

/// Their content: an id is drawn anew when the first attempt was never durable.
fn content(invoices: &[Arc<Invoice>]) -> Vec<Invoice> {
    let nameless =
        |invoice: &Arc<Invoice>| Invoice { id: InvoiceId::new("inv"), ..Invoice::clone(invoice) };
    invoices.iter().map(nameless).collect()
}

/// What happens to the operation of this number.
fn fail(place: &Place, operation: u64, kind: u64) {
    let disk = &place.disk;
    match kind % 5 {
        0 => disk.stop_at(operation),
        1 => disk.fail_at(operation, FaultKind::Io, Repeat::Once),
        2 => disk.fail_at(operation, FaultKind::ShortWrite, Repeat::Once),
        3 => disk.fail_at(operation, FaultKind::NoSpace, Repeat::Forever),
        _ => disk.fail_at(operation, FaultKind::Io, Repeat::Forever),
    }
}

/// Fails at this operation, crashes, and comes to the same end all the same.
fn check_point(base: &Place, operation: u64, kind: u64, expected: &[Invoice]) {
    let mut place = base.probe(Crash::Killed);
    let mut process = place.open().expect("a healthy disk");
    fail(&place, process_start(&place) + operation, kind);
    let ended = run(&mut process, 0);
    let seen = invoices_shown(&process);
    let from = ended.as_ref().err().map_or(0, |(step, _)| *step);
    drop(process);
    let crash =
        [Crash::Killed, Crash::DropsAll, Crash::Random(operation)][(operation % 3) as usize];
    let mut place = place.after(crash);
    let mut process =
        place.open().unwrap_or_else(|error| panic!("operation {operation}: {}", chain(&error)));
    let kept = invoices(&process);
    assert!(kept.starts_with(&seen), "operation {operation}: what was shown is gone");
    run(&mut process, from).expect("a healthy disk");
    let last = invoices(&process);
    assert!(last.starts_with(&kept), "operation {operation}: an invoice has changed");
    assert_eq!(content(&last), expected, "operation {operation} of kind {kind}");
    // And once more: nothing is left to do.
    let lsn = process.engine.stats().last_lsn;
    drop(process);
    let mut place = place.after(Crash::Killed);
    let mut process = place.open().expect("a healthy disk");
    run(&mut process, 0).expect("a healthy disk");
    assert_eq!((process.engine.stats().last_lsn, invoices(&process)), (lsn, last));
}

fn process_start(place: &Place) -> u64 {
    place.disk.operations()
}

/// What can be read of a process that may have failed; a disk that fails may show nothing.
fn invoices_shown(process: &Process) -> Vec<Arc<Invoice>> {
    process.engine.invoices(&InvoiceFilter::default(), ALL).map_or_else(
        |_| Vec::new(),
        |mut views| {
            views.reverse();
            views.into_iter().map(|view| view.invoice).collect()
        },
    )
}

#[test]
fn a_billing_run_that_fails_anywhere_makes_each_invoice_once() {
    let customers = crate::setting("QUIPU_BILLED").unwrap_or(CUSTOMERS);
    let base = base(customers);
    let mut whole = base.probe(Crash::Killed);
    let mut process = whole.open().expect("a healthy disk");
    let first = whole.disk.operations();
    run(&mut process, 0).expect("a healthy disk");
    let operations = whole.disk.operations() - first;
    let expected = content(&invoices(&process));
    let closes = expected.iter().filter(|invoice| invoice.cause != InvoiceCause::Created).count();
    assert_eq!(closes as u64, 2 * customers, "two months were closed");
    assert!(expected.iter().zip(1..).all(|(invoice, number)| invoice.number.0 == number));
    let used = expected.iter().filter(|invoice| invoice.includes_usage()).count();
    assert_eq!(used as u64, customers, "usage is on one invoice of each");
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let operation = next.fetch_add(1, Ordering::Relaxed);
                    if operation >= operations {
                        return;
                    }
                    check_point(&base, operation + 1, operation, &expected);
                }
            });
        }
    });
    println!(
        "{customers} customers, {} invoices: failed at {operations} operations",
        expected.len()
    );
    assert!(operations > 50, "a run has many operations");
}
