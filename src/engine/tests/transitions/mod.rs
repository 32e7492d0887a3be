//! Every operation on a subscription in every state that it can be in: what becomes of it, or how it is
//! refused, and then nothing at all is changed.
//!
//! The tables below are written by hand from the rules; nothing of them is reckoned. A column is a state,
//! a row is an operation, a cell is the state that follows or the status code of the refusal. A state is
//! a word and letters:
//!
//! - `pending`, `active`, `hold`, `late` (past due), `paused`, `cancelled`, `expired`;
//! - `b` under the other plan, `d` charged on demand, `f` ends at the next billing date, `n` has not begun,
//!   `o` a payment is open, `p` paused although on hold, `s` a change is scheduled, `t` in a trial,
//!   `w` a change waits for its payment.
//!
//! [`operations`] does what a row says, [`states`] leads to what a column says.

mod operations;
mod states;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::rig::{Crash, Place, Rig};
use crate::engine::bills::{InvoiceFilter, PaymentFilter, SubscriptionFilter, UsageHistoryQuery};
use crate::engine::{Page, Refused};
use crate::model::invoice::PaymentStatus;
use crate::model::{CustomerId, Payment, Subscription, SubscriptionStatus};

use operations::Operation;
use states::{CUSTOMER, Known};

const ALL: Page = Page { offset: 0, limit: 100_000 };

/// States before anything has gone wrong.
const BEGINNINGS: &str = "
                  | first open | first failed | first again | running    | in trial   | ending     | last period
starts            | pending/o  | hold/n       | hold/no     | active     | active/t   | active/f   | active
use               | idle       | idle         | idle        | counts     | counts     | counts     | counts
pay               | active     | 409          | active      | 409        | 409        | 409        | 409
fail              | hold/n     | 409          | hold/n      | 409        | 409        | 409        | 409
retry             | 409        | hold/no      | 409         | 409        | 409        | 409        | 409
change prorated   | 409        | 409          | 409         | active/bo  | active/bo  | active/bfo | active/bo
change keeping    | 409        | 409          | 409         | active/bo  | active/bo  | active/bfo | active/bo
change difference | 409        | 409          | 409         | active/bo  | active/bo  | active/bfo | active/bo
change full       | 409        | 409          | 409         | active/bo  | active/bo  | active/bfo | active/bo
change unbilled   | 409        | 409          | 409         | active/b   | active/bt  | active/bf  | active/b
change replacing  | 409        | 409          | 409         | active/bo  | active/bo  | active/bfo | active/bo
change when paid  | 409        | 409          | 409         | active/ow  | active/otw | active/fow | active/ow
change gone       | 422        | 422          | 422         | 422        | 422        | 422        | 422
change once       | 422        | 422          | 422         | 422        | 422        | 422        | 422
change currency   | 422        | 422          | 422         | 422        | 422        | 422        | 422
schedule          | 409        | 409          | 409         | active/s   | active/st  | 409        | 409
schedule anew     | 409        | 409          | 409         | active/s   | active/st  | 409        | 409
unschedule        | 404        | 404          | 404         | 404        | 404        | 404        | 404
pause             | 409        | 409          | 409         | paused     | paused/t   | paused/f   | paused
resume            | 409        | 409          | 409         | 409        | 409        | 409        | 409
cancel            | cancelled/o | cancelled   | cancelled/o | cancelled  | cancelled  | cancelled  | cancelled
cancel later      | pending/fo | hold/fn      | hold/fno    | active/f   | active/ft  | active/f   | active/f
take back         | pending/o  | hold/n       | hold/no     | active     | active/t   | active     | active
move              | 409        | 409          | 409         | active     | active/t   | active/f   | active
move back         | 409        | 409          | 409         | 422        | 422        | 422        | 422
move too far      | 409        | 409          | 409         | 422        | 422        | 422        | 422
renew             | 409        | 409          | 409         | 409        | 409        | 409        | 409
renew back        | 409        | 409          | 409         | 409        | 409        | 409        | 409
extend            | pending/o  | hold/n       | hold/no     | active     | active/t   | active/f   | active
shorten           | 422        | 422          | 422         | 422        | 422        | 422        | 422
describe          | pending/o  | hold/n       | hold/no     | active     | active/t   | active/f   | active
charge            | 409        | 409          | 409         | 409        | 409        | 409        | 409
charge currency   | 409        | 409          | 409         | 409        | 409        | 409        | 409
time over         | pending/o  | hold/n       | hold/no     | active     | active/t   | active/f   | active
turn              | pending/o  | hold/n       | hold/no     | active     | active     | cancelled  | expired
close             | pending/o  | hold/n       | hold/no     | active/o   | active/o   | cancelled/o | expired/o
expire            | pending/o  | hold/n       | hold/no     | expired/o  | expired/o  | cancelled/o | expired/o
";

/// Changes that wait, and money that is owed. What owes something is in its second period and has used
/// something there, so that even what bills usage alone has a bill.
const WAITING: &str = "
                  | scheduled  | waiting      | on hold  | retried     | past due | waits on hold | waits late
starts            | active/s   | active/ow    | hold     | hold/o      | late     | hold/ow       | late/ow
use               | counts     | counts       | counts   | counts      | counts   | counts        | counts
pay               | 409        | active/b     | 409      | active      | 409      | hold/b        | late/b
fail              | 409        | active       | 409      | hold        | 409      | hold          | late
retry             | 409        | 409          | hold/o   | 409         | late/o   | hold/ow       | late/ow
change prorated   | 409        | 409          | 409      | 409         | 409      | 409           | 409
change keeping    | 409        | 409          | 409      | 409         | 409      | 409           | 409
change difference | 409        | 409          | 409      | 409         | 409      | 409           | 409
change full       | 409        | 409          | 409      | 409         | 409      | 409           | 409
change unbilled   | 409        | 409          | 409      | 409         | 409      | 409           | 409
change replacing  | active/bo  | 409          | 409      | 409         | 409      | 409           | 409
change when paid  | 409        | 409          | 409      | 409         | 409      | 409           | 409
change gone       | 422        | 422          | 422      | 422         | 422      | 422           | 422
change once       | 422        | 422          | 422      | 422         | 422      | 422           | 422
change currency   | 422        | 422          | 422      | 422         | 422      | 422           | 422
schedule          | 409        | 409          | 409      | 409         | 409      | 409           | 409
schedule anew     | active/s   | 409          | 409      | 409         | 409      | 409           | 409
unschedule        | active     | 404          | 404      | 404         | 404      | 404           | 404
pause             | paused/s   | 409          | 409      | 409         | 409      | 409           | 409
resume            | 409        | 409          | 409      | 409         | 409      | 409           | 409
cancel            | cancelled  | cancelled/ow | cancelled | cancelled/o | cancelled | cancelled/ow | cancelled/ow
cancel later      | active/fs  | active/fow   | hold/f   | hold/fo     | late/f   | hold/fow      | late/fow
take back         | active/s   | active/ow    | hold     | hold/o      | late     | hold/ow       | late/ow
move              | active/s   | active/ow    | hold     | hold/o      | late     | hold/ow       | late/ow
move back         | 422        | 422          | 422      | 422         | 422      | 422           | 422
move too far      | 422        | 422          | 422      | 422         | 422      | 422           | 422
renew             | 409        | 409          | 409      | 409         | 409      | 409           | 409
renew back        | 409        | 409          | 409      | 409         | 409      | 409           | 409
extend            | active/s   | active/ow    | hold     | hold/o      | late     | hold/ow       | late/ow
shorten           | 422        | 422          | 422      | 422         | 422      | 422           | 422
describe          | active/s   | active/ow    | hold     | hold/o      | late     | hold/ow       | late/ow
charge            | 409        | 409          | 409      | 409         | 409      | 409           | 409
charge currency   | 409        | 409          | 409      | 409         | 409      | 409           | 409
time over         | active/s   | active/ow    | hold     | hold/o      | hold/o   | hold/ow       | hold/ow
turn              | active/b   | active/ow    | hold     | hold/o      | late     | hold/ow       | late/ow
close             | active/bo  | active/ow    | hold/o   | hold/o      | late/o   | hold/ow       | late/ow
expire            | expired/bo | expired/ow   | expired/o| expired/o   | expired/o| expired/ow    | expired/ow
";

/// What stands still, what has ended, and what is charged on demand.
const ENDINGS: &str = "
                  | paused     | pause unpaid | cancelled | cancelled open | cancelled waiting | expired
starts            | paused     | hold/p       | cancelled | cancelled/o    | cancelled/ow      | expired
use               | idle       | idle         | idle      | idle           | idle              | idle
pay               | 409        | 409          | 409       | cancelled      | cancelled         | 409
fail              | 409        | 409          | 409       | cancelled      | cancelled         | 409
retry             | 409        | hold/op      | 409       | 409            | 409               | 409
change prorated   | 409        | 409          | 409       | 409            | 409               | 409
change keeping    | 409        | 409          | 409       | 409            | 409               | 409
change difference | 409        | 409          | 409       | 409            | 409               | 409
change full       | 409        | 409          | 409       | 409            | 409               | 409
change unbilled   | 409        | 409          | 409       | 409            | 409               | 409
change replacing  | 409        | 409          | 409       | 409            | 409               | 409
change when paid  | 409        | 409          | 409       | 409            | 409               | 409
change gone       | 422        | 422          | 422       | 422            | 422               | 422
change once       | 422        | 422          | 422       | 422            | 422               | 422
change currency   | 422        | 422          | 422       | 422            | 422               | 422
schedule          | 409        | 409          | 409       | 409            | 409               | 409
schedule anew     | 409        | 409          | 409       | 409            | 409               | 409
unschedule        | 404        | 404          | 404       | 404            | 404               | 404
pause             | 409        | 409          | 409       | 409            | 409               | 409
resume            | active     | hold         | 409       | 409            | 409               | 409
cancel            | cancelled  | cancelled    | 409       | 409            | 409               | 409
cancel later      | paused/f   | hold/fp      | 409       | 409            | 409               | 409
take back         | paused     | hold/p       | 409       | 409            | 409               | 409
move              | 409        | 409          | 409       | 409            | 409               | 409
move back         | 409        | 409          | 409       | 409            | 409               | 409
move too far      | 409        | 409          | 409       | 409            | 409               | 409
renew             | 409        | 409          | 409       | 409            | 409               | 409
renew back        | 409        | 409          | 409       | 409            | 409               | 409
extend            | paused     | hold/p       | 409       | 409            | 409               | 409
shorten           | 422        | 422          | 409       | 409            | 409               | 409
describe          | paused     | hold/p       | cancelled | cancelled/o    | cancelled/ow      | expired
charge            | 409        | 409          | 409       | 409            | 409               | 409
charge currency   | 409        | 409          | 409       | 409            | 409               | 409
time over         | paused     | hold/p       | cancelled | cancelled/o    | cancelled/ow      | expired
turn              | paused     | hold/p       | cancelled | cancelled/o    | cancelled/ow      | expired
close             | paused     | hold/p       | cancelled | cancelled/o    | cancelled/ow      | expired
expire            | paused     | hold/p       | cancelled | cancelled/o    | cancelled/ow      | expired
";

/// What is charged on demand.
const ON_DEMAND: &str = "
                  | on demand   | charged      | charge failed | charge again | demand paused
starts            | active/d    | active/do    | hold/d        | hold/do      | paused/d
use               | idle        | idle         | idle          | idle         | idle
pay               | 409         | active/d     | 409           | active/d     | 409
fail              | 409         | hold/d       | 409           | hold/d       | 409
retry             | 409         | 409          | hold/do       | 409          | 409
change prorated   | 409         | 409          | 409           | 409          | 409
change keeping    | 409         | 409          | 409           | 409          | 409
change difference | 409         | 409          | 409           | 409          | 409
change full       | 409         | 409          | 409           | 409          | 409
change unbilled   | 409         | 409          | 409           | 409          | 409
change replacing  | 409         | 409          | 409           | 409          | 409
change when paid  | 409         | 409          | 409           | 409          | 409
change gone       | 422         | 422          | 422           | 422          | 422
change once       | 422         | 422          | 422           | 422          | 422
change currency   | 422         | 422          | 422           | 422          | 422
schedule          | 409         | 409          | 409           | 409          | 409
schedule anew     | 409         | 409          | 409           | 409          | 409
unschedule        | 404         | 404          | 404           | 404          | 404
pause             | paused/d    | paused/do    | 409           | 409          | 409
resume            | 409         | 409          | 409           | 409          | active/d
cancel            | cancelled/d | cancelled/do | cancelled/d   | cancelled/do | cancelled/d
cancel later      | active/df   | active/dfo   | hold/df       | hold/dfo     | paused/df
take back         | active/d    | active/do    | hold/d        | hold/do      | paused/d
move              | 409         | 409          | 409           | 409          | 409
move back         | 409         | 409          | 409           | 409          | 409
move too far      | 409         | 409          | 409           | 409          | 409
renew             | active      | active/o     | hold          | hold/o       | 409
renew back        | 422         | 422          | 422           | 422          | 409
extend            | active/d    | active/do    | hold/d        | hold/do      | paused/d
shorten           | 422         | 422          | 422           | 422          | 422
describe          | active/d    | active/do    | hold/d        | hold/do      | paused/d
charge            | active/do   | 409          | 409           | 409          | 409
charge currency   | 422         | 409          | 409           | 409          | 409
time over         | active/d    | active/do    | hold/d        | hold/do      | paused/d
turn              | expired/d   | expired/do   | expired/d     | expired/do   | paused/d
close             | expired/d   | expired/do   | expired/d     | expired/do   | paused/d
expire            | expired/d   | expired/do   | expired/d     | expired/do   | paused/d
";

#[test]
fn before_anything_goes_wrong() {
    check(BEGINNINGS);
}

#[test]
fn while_something_waits() {
    check(WAITING);
}

#[test]
fn once_it_stands_still_or_has_ended() {
    check(ENDINGS);
}

#[test]
fn when_it_is_charged_on_demand() {
    check(ON_DEMAND);
}

/// Holds every cell of a table against the engine, and every operation there is against its rows.
fn check(table: &str) {
    let mut rows = table.lines().filter(|line| !line.is_empty()).map(cells);
    let columns = rows.next().unwrap().split_off(1);
    let starts = rows.next().unwrap().split_off(1);
    let rows: Vec<Vec<&str>> = rows.collect();
    let asked: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let operations: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    assert_eq!(asked, operations, "a row for each operation");
    let mut wrong = String::new();
    for (place, column) in columns.iter().enumerate() {
        let (rig, known) = states::reach(column);
        assert_eq!(standing(&rig, &known), starts[place], "{column}");
        for (operation, row) in Operation::ALL.into_iter().zip(&rows) {
            assert_eq!(row.len(), columns.len() + 1, "{row:?}");
            let found = cell(operation, &known, &rig.place);
            if found != row[place + 1] {
                let expected = row[place + 1];
                let name = operation.name();
                writeln!(wrong, "{column}, {name}: {found} instead of {expected}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn cells(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).collect()
}

/// What an operation comes to, in the words of the tables. A refusal must leave everything as it was; what
/// is done must be that and no more, and still be so after a power cut.
fn cell(operation: Operation, known: &Known, base: &Place) -> String {
    let mut rig = base.fork().open();
    let context = format!("{operation:?} of {}", standing(&rig, known));
    let before = (everything(&rig, known), known.subscription(&rig), bill_counts(&rig));
    let consumed = consumed(&rig, known);
    if let Err(refused) = operation.perform(&mut rig, known) {
        assert_eq!(everything(&rig, known), before.0, "{context}: {refused}");
        return code(&refused).to_string();
    }
    let after = known.subscription(&rig);
    let changed = differences(&before.1, &after);
    if let Some(may_change) = operation.may_change() {
        let may_change: BTreeSet<&str> = may_change.split_whitespace().collect();
        assert!(changed.is_subset(&may_change), "{context} changes {changed:?}");
        let counts = (before.2.0 + operation.invoices(), before.2.1 + operation.payments());
        assert_eq!(bill_counts(&rig), counts, "{context}: invoices and payments");
    }
    operation.check(&before.1, &after, rig.engine.now());
    let is_after_cut = rig.place.after(Crash::DropsAll).open();
    assert_eq!(everything(&is_after_cut, known), everything(&rig, known), "{context}");
    if operation == Operation::Use {
        let is_counted = self::consumed(&rig, known) != consumed;
        return if is_counted { "counts" } else { "idle" }.to_owned();
    }
    standing(&rig, known)
}

fn code(refused: &Refused) -> u16 {
    match refused {
        Refused::Conflict(_) => 409,
        Refused::Invalid { .. } => 422,
        Refused::NotFound(_) => 404,
        Refused::Gone(_)
        | Refused::Insufficient
        | Refused::NotCovered
        | Refused::TooManyReservations
        | Refused::Event(_)
        | Refused::IdempotencyKeyReused
        | Refused::StorageFull
        | Refused::Busy => panic!("{refused}"),
    }
}

/// All that the engine knows: a refusal changes nothing of it, nor writes a record.
fn everything(rig: &Rig, known: &Known) -> String {
    let (engine, state) = (&rig.engine, &rig.machine.shared.state);
    let books = state.with_books(|books| {
        let due: Vec<String> = books.due().map(|work| format!("{work:?}")).collect();
        format!("{due:#?}\n{:?}", books.products())
    });
    let subscriptions = engine.subscriptions(&SubscriptionFilter::default(), ALL);
    let subscriptions: Vec<_> = subscriptions.iter().map(|view| &view.subscription).collect();
    let customers = engine.customers(&crate::engine::CustomerFilter::default(), ALL);
    let payments = engine.payments(&PaymentFilter::default(), ALL).unwrap();
    let invoices = engine.invoices(&InvoiceFilter::default(), ALL).unwrap();
    let upcoming = engine.upcoming_invoices(&CustomerId::new(CUSTOMER)).unwrap();
    let history = engine.usage_history(&known.id, &UsageHistoryQuery::default(), ALL).unwrap();
    let usage =
        engine.usage(&super::compare::usage_of(None, Some(&CustomerId::new(CUSTOMER)))).unwrap();
    let events = engine.events(&super::compare::all_events()).unwrap();
    format!(
        "{:?} {} {books}\n{subscriptions:#?}\n{customers:?}\n{payments:#?}\n{invoices:#?}\n\
         {:?}\n{history:#?}\n{:?}\n{events:?}",
        engine.stats().last_lsn,
        state.log_time(),
        upcoming.items,
        usage.items,
    )
}

/// What the periods of the subscription have counted, together.
fn consumed(rig: &Rig, known: &Known) -> Vec<String> {
    let query = UsageHistoryQuery::default();
    let periods = rig.engine.usage_history(&known.id, &query, ALL).unwrap();
    let lines = periods.iter().flat_map(|period| &period.meters);
    lines.map(|meter| meter.usage.consumed.to_string()).collect()
}

fn bill_counts(rig: &Rig) -> (usize, usize) {
    let invoices = rig.engine.invoices(&InvoiceFilter::default(), ALL).unwrap();
    let payments = rig.engine.payments(&PaymentFilter::default(), ALL).unwrap();
    (invoices.len(), payments.len())
}

/// The subscription's payments, newest first.
fn payments(rig: &Rig) -> Vec<Payment> {
    let views = rig.engine.payments(&PaymentFilter::default(), ALL).unwrap();
    views.into_iter().map(|view| Payment::clone(&view.payment)).collect()
}

/// The state in the words of the tables.
fn standing(rig: &Rig, known: &Known) -> String {
    let now = known.subscription(rig);
    let word = match now.status {
        SubscriptionStatus::Pending => "pending",
        SubscriptionStatus::Active => "active",
        SubscriptionStatus::OnHold => "hold",
        SubscriptionStatus::PastDue => "late",
        SubscriptionStatus::Paused => "paused",
        SubscriptionStatus::Cancelled => "cancelled",
        SubscriptionStatus::Expired => "expired",
    };
    let is_on_hold = now.status == SubscriptionStatus::OnHold;
    let is_open = |payment: &Payment| payment.status == PaymentStatus::Processing;
    let letters = [
        ('b', Some(now.terms.product) == known.other_plan(rig)),
        ('d', !now.cycle.renews),
        ('f', now.cancel_at_next_billing_date),
        ('n', is_on_hold && now.next_segment == 0),
        ('o', payments(rig).iter().any(is_open)),
        ('p', is_on_hold && now.paused_at.is_some()),
        ('s', now.scheduled_change.is_some()),
        ('t', now.in_trial),
        ('w', now.pending_change.is_some()),
    ];
    let letters: String = letters.iter().filter(|(_, is)| *is).map(|(letter, _)| letter).collect();
    if letters.is_empty() { word.to_owned() } else { format!("{word}/{letters}") }
}

/// The names of the fields in which two states of a subscription differ.
fn differences(before: &Subscription, after: &Subscription) -> BTreeSet<&'static str> {
    // Names every field, so that none is forgotten.
    let Subscription {
        id,
        index,
        customer,
        terms,
        quantity,
        credits,
        status,
        cycle,
        subscription_period,
        trial_days,
        running,
        closing,
        next_segment,
        period_opened_by,
        cancel_at_next_billing_date,
        in_trial,
        paused_at,
        past_due_until,
        scheduled_change,
        pending_change,
        used,
        credit,
        cancellation,
        unpaid,
        stopped,
        first_payment,
        billing,
        customer_business_name,
        tax_id,
        metadata,
        created_at,
    } = before;
    let owner = (id, index, customer, trial_days, first_payment, billing);
    let owner_after = (
        &after.id,
        &after.index,
        &after.customer,
        &after.trial_days,
        &after.first_payment,
        &after.billing,
    );
    let names = (customer_business_name, tax_id, created_at, stopped);
    let names_after =
        (&after.customer_business_name, &after.tax_id, &after.created_at, &after.stopped);
    let fields = [
        ("owner", owner != owner_after || names != names_after),
        ("plan", (*terms, *quantity, credits) != (after.terms, after.quantity, &after.credits)),
        ("status", *status != after.status),
        ("cycle", *cycle != after.cycle),
        ("length", *subscription_period != after.subscription_period),
        ("running", *running != after.running),
        ("closing", *closing != after.closing),
        (
            "segments",
            (*next_segment, *period_opened_by) != (after.next_segment, after.period_opened_by),
        ),
        ("flag", *cancel_at_next_billing_date != after.cancel_at_next_billing_date),
        ("trial", *in_trial != after.in_trial),
        ("paused", *paused_at != after.paused_at),
        ("until", *past_due_until != after.past_due_until),
        ("scheduled", *scheduled_change != after.scheduled_change),
        ("pending", *pending_change != after.pending_change),
        ("used", *used != after.used),
        ("credit", *credit != after.credit),
        ("cancellation", *cancellation != after.cancellation),
        ("unpaid", *unpaid != after.unpaid),
        ("metadata", *metadata != after.metadata),
    ];
    fields.into_iter().filter(|(_, differ)| *differ).map(|(name, _)| name).collect()
}
