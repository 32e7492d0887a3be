//! Draws, their rows, a turn and the invoice of what went beyond: cut at any operation of the disk, every
//! customer's credits and invoices are what they are undisturbed.

use std::time::Duration;

use super::credits::{Shop, overage};
use super::rig::{Crash, Place, Rig, Sent, chain};
use crate::billing::credits::{Pool, Totals};
use crate::engine::Page;
use crate::engine::bills::InvoiceFilter;
use crate::engine::machine::Fatal;
use crate::model::credit::OverageBehavior;
use crate::model::{Credits, Timestamp};
use crate::world::Clock;

const CUSTOMERS: u64 = 12;
/// Every so manieth step is tried; every one with `QUIPU_EVERY_STEP=1`.
const STRIDE: usize = 7;

/// What is left of a run: what each pool has and has ever moved, and what each invoice comes to.
type Left = (Vec<(Credits, Credits, Totals)>, Vec<(u64, i64, Vec<i64>)>);

fn left(rig: &Rig) -> Left {
    let now = rig.engine.now();
    let of = |pool: &Pool| (pool.balance_at(now), pool.overage(), *pool.totals());
    let pools = rig
        .machine
        .shared
        .state
        .with_pools(|pools| pools.all().iter().map(|kept| of(&kept.pool)).collect::<Vec<_>>());
    let everything = Page { offset: 0, limit: usize::MAX };
    let invoices = rig.engine.invoices(&InvoiceFilter::default(), everything).unwrap();
    let said = invoices.iter().map(|view| {
        let lines = view.invoice.lines.iter().map(|line| line.amount.as_minor());
        (view.invoice.number.0, view.invoice.total.as_minor(), lines.collect())
    });
    (pools, said.collect())
}

/// Customers with 100 credits each and a subscription, and when their period ends.
fn shop() -> (Place, Timestamp) {
    let mut shop = Shop::new(overage(OverageBehavior::InvoiceAtBilling, None));
    shop.product = shop.product(1, 0);
    for customer in 0..CUSTOMERS {
        shop.call(customer, 1);
        shop.subscribe_customer(customer);
    }
    let end = shop.rig.machine.shared.state.with_books(|books| {
        let ends = books.subscriptions().iter().map(|found| found.cycle.next_billing_date);
        ends.max().unwrap()
    });
    (shop.rig.place.after(Crash::Killed), end)
}

/// Usage of everybody, a minute for its rows, the turns and the closes, each with a checkpoint behind it.
fn run(rig: &mut Rig, start: Timestamp, end: Timestamp) -> Result<(), Fatal> {
    for customer in 0..CUSTOMERS {
        // From nothing to twice what the credits cover.
        let calls = customer * 200 / CUSTOMERS;
        let sent: Vec<Sent> = (0..calls)
            .map(|n| Sent::new(format!("use-{customer}-{n}"), &format!("c{customer}")).at(start))
            .collect();
        for sent in sent.chunks(50) {
            let slot = rig.send(sent);
            rig.settle()?;
            slot.answer().expect("it is in time");
        }
    }
    let grace = rig.place.options.grace;
    for at in [start.plus(Duration::from_secs(90)), end, end.plus(grace)] {
        rig.advance(at.since(rig.place.clock.wall()));
        rig.settle()?;
        rig.machine.checkpoint()?;
    }
    Ok(())
}

#[test]
fn what_is_drawn_and_invoiced_may_be_cut_at_any_step() {
    let (base, end) = shop();
    base.clock.advance(Duration::from_secs(1));
    let start = base.clock.wall();
    base.clock.advance(Duration::from_secs(1));
    let undisturbed = base.fork();
    let mut rig = undisturbed.open();
    run(&mut rig, start, end).unwrap();
    let expected = left(&rig);
    assert_eq!(expected.1.len() as u64, 2 * CUSTOMERS);
    // A call a credit, at 50 cents; what is beyond 100 calls is invoiced.
    let beyond = (0..CUSTOMERS).map(|customer| (customer * 200 / CUSTOMERS).saturating_sub(100));
    let owed: i64 = beyond.map(|calls| i64::try_from(calls * 50).unwrap()).sum();
    let closes = expected.1.iter().filter(|(number, ..)| *number > CUSTOMERS);
    assert_eq!(closes.map(|(_, total, _)| total - 4_900).sum::<i64>(), owed);
    let steps = undisturbed.disk.operations();
    let stride = if std::env::var_os("QUIPU_EVERY_STEP").is_some() { 1 } else { STRIDE };
    let mut cut = 0;
    for step in (1..=steps).step_by(stride) {
        let place = base.fork();
        place.disk.stop_at(step);
        let ended = match place.try_open() {
            Ok(mut rig) => run(&mut rig, start, end).map_err(|fatal| chain(&fatal)),
            Err(error) => Err(chain(&error)),
        };
        cut += usize::from(ended.is_err());
        let crash = match step % 3 {
            0 => Crash::Killed,
            1 => Crash::DropsAll,
            _ => Crash::Random(step),
        };
        // What was sent already is sent again.
        let mut rig = place.after(crash).open();
        run(&mut rig, start, end).unwrap();
        assert_eq!(left(&rig), expected, "step {step}, {crash:?}");
    }
    assert!(cut > 20, "{cut} of {steps} steps");
}
