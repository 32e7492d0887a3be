//! Checkout sessions against a list of what was asked for: one order each, whatever crashes.

use std::time::Duration;

use super::dice::Dice;
use super::goods::{new_product, new_subscription, usage_price};
use super::rig::{Crash, Rig, Sent, tiny};
use crate::engine::bills::PaymentFilter;
use crate::engine::command::billing::{
    NewCheckout, NewPrice, NewPriceKind, NewPurchase, Subscriber,
};
use crate::engine::options::Options;
use crate::engine::{Command, Outcome, Page, Refused};
use crate::model::checkout::{CheckoutState, KEPT_FOR, OPEN_FOR};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{CheckoutId, Currency, Money, PaymentId, ProductId, Timestamp};

const HOUR: Duration = Duration::from_hours(1);
const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };
const ALL: Page = Page { offset: 0, limit: usize::MAX };

fn once() -> NewPrice {
    NewPrice {
        currency: Currency::from_code("USD").unwrap(),
        fixed: Money::from_minor(1_000),
        discount_bps: 0,
        tax_inclusive: false,
        purchasing_power_parity: false,
        kind: NewPriceKind::OneTime(None),
    }
}

fn product(rig: &mut Rig, price: NewPrice) -> ProductId {
    let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
        panic!("a product")
    };
    product.id.clone()
}

fn new_checkout(product: &ProductId, confirm: bool) -> NewCheckout {
    let subscription = new_subscription("unused", product);
    NewCheckout {
        cart: vec![NewPurchase {
            product_id: product.clone(),
            quantity: 2,
            amount: None,
            credits: Vec::new(),
        }],
        customer: Some(Subscriber::Addressed {
            email: "ada@shop.example".to_owned(),
            name: Some("Ada".to_owned()),
            phone_number: None,
        }),
        billing: Some(subscription.billing),
        billing_currency: None,
        confirm,
        trial_days: None,
        minimal_address: false,
        customer_business_name: None,
        tax_id: None,
        metadata: Vec::new(),
        return_url: None,
        cancel_url: None,
    }
}

fn create(rig: &mut Rig, product: &ProductId, confirm: bool) -> Result<CheckoutId, Refused> {
    let command = Command::CreateCheckout(Box::new(new_checkout(product, confirm)));
    let Outcome::Checkout(session) = rig.change(command)?.outcome else { panic!("a session") };
    Ok(session.id.clone())
}

fn confirmation(id: &CheckoutId) -> Command {
    Command::ConfirmCheckout(id.clone(), Box::default())
}

fn paid_with(outcome: Outcome) -> PaymentId {
    let Outcome::Checkout(session) = outcome else { panic!("a session") };
    match &session.state {
        CheckoutState::Confirmed(confirmation) => confirmation.payment.clone(),
        CheckoutState::Open(_) | CheckoutState::Ended => panic!("it is confirmed: {session:?}"),
    }
}

fn confirm(rig: &mut Rig, id: &CheckoutId) -> Result<PaymentId, Refused> {
    Ok(paid_with(rig.change(confirmation(id))?.outcome))
}

/// A session as the test knows it.
struct Known {
    id: CheckoutId,
    created_at: Timestamp,
    paid_with: Option<PaymentId>,
}

/// What a session looks like: its payment once it is confirmed, or whether it is open.
type Seen = Option<(Option<PaymentId>, bool)>;

impl Known {
    fn expected(&self, now: Timestamp) -> Seen {
        let is_known = now < self.created_at.plus(KEPT_FOR);
        let is_open = self.paid_with.is_none() && now < self.created_at.plus(OPEN_FOR);
        is_known.then(|| (self.paid_with.clone(), is_open))
    }

    fn seen(&self, rig: &Rig) -> Seen {
        let view = rig.engine.checkout(&self.id).unwrap()?;
        let is_open = view.session.offer(view.now).is_some();
        let payment = match &view.session.state {
            CheckoutState::Confirmed(confirmation) => Some(confirmation.payment.clone()),
            CheckoutState::Open(_) | CheckoutState::Ended => None,
        };
        assert_eq!(view.offer.is_some(), is_open);
        assert_eq!(view.payment.as_ref().map(|(id, _)| id), payment.as_ref());
        Some((payment, is_open))
    }
}

#[test]
fn whatever_happens_a_session_is_what_was_asked_of_it() {
    for seed in 0..30 {
        live(seed);
    }
}

fn live(seed: u64) {
    let dice = Dice::new(seed);
    let mut rig = Rig::new(tiny());
    let products =
        [product(&mut rig, once()), product(&mut rig, usage_price(Vec::new(), MONTH, 4_900))];
    let mut sessions: Vec<Known> = Vec::new();
    for step in 0..80 {
        match dice.below(9) {
            0 | 1 => {
                let is_confirmed = dice.one_in(3);
                let created_at = rig.engine.now();
                let id = create(&mut rig, dice.pick(&products), is_confirmed).unwrap();
                let paid_with = is_confirmed.then(|| confirm(&mut rig, &id).unwrap());
                sessions.push(Known { id, created_at, paid_with });
            }
            2 | 3 if !sessions.is_empty() => {
                let place = usize::try_from(dice.below(sessions.len() as u64)).unwrap();
                let now = rig.engine.now();
                let known = &mut sessions[place];
                let expected = known.expected(now);
                // Two people press the button at once.
                let slots = [0, 1].map(|_| rig.propose(confirmation(&known.id), None));
                rig.settle().unwrap();
                let answers = slots.map(|slot| slot.answer().map(|made| paid_with(made.outcome)));
                assert_eq!(answers[0], answers[1], "seed {seed}, step {step}");
                match (expected, &answers[0]) {
                    (Some((Some(before), _)), Ok(now)) => assert_eq!(&before, now),
                    (Some((None, true)), Ok(now)) => known.paid_with = Some(now.clone()),
                    (Some((None, false)), Err(Refused::Gone(_)))
                    | (None, Err(Refused::NotFound(_))) => {}
                    (expected, found) => panic!("seed {seed}: {found:?}, not {expected:?}"),
                }
            }
            4 => rig.machine.checkpoint().unwrap(),
            5 => {
                let crash = [Crash::Killed, Crash::DropsAll, Crash::Random(seed)];
                let place = rig.place.after(*dice.pick(&crash));
                drop(rig);
                rig = place.open();
            }
            6 => rig = rig.stop().open(),
            7 => drop(rig.ingest(&[Sent::new(format!("e{step}"), "c")]).unwrap()),
            _ => {
                let hours = [1, 5, 24, 100, 720];
                rig.advance(HOUR * *dice.pick(&hours));
                rig.settle().unwrap();
            }
        }
        let now = rig.engine.now();
        for known in &sessions {
            assert_eq!(known.seen(&rig), known.expected(now), "seed {seed}, step {step}");
        }
    }
    check_orders(&rig, &sessions);
}

/// Every confirmed session has one payment that names it, and no other session has any.
fn check_orders(rig: &Rig, sessions: &[Known]) {
    let payments = rig.engine.payments(&PaymentFilter::default(), ALL).unwrap();
    let first = |view: &&crate::engine::bills::PaymentView| view.payment.checkout.is_some();
    let mut found: Vec<(CheckoutId, PaymentId)> = payments
        .iter()
        .filter(first)
        .map(|view| (view.payment.checkout.clone().unwrap(), view.payment.id.clone()))
        .collect();
    let paid =
        sessions.iter().filter_map(|known| Some((known.id.clone(), known.paid_with.clone()?)));
    let mut expected: Vec<_> = paid.collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn sessions_are_forgotten_in_memory_and_on_disk() {
    let mut rig = Rig::new(tiny());
    let book = product(&mut rig, once());
    let open = create(&mut rig, &book, false).unwrap();
    create(&mut rig, &book, true).unwrap();
    rig.machine.checkpoint().unwrap();
    let held = |rig: &Rig| {
        let state = &rig.machine.shared.state;
        state.with_checkouts(|checkouts| (checkouts.len(), checkouts.open_bytes(rig.engine.now())))
    };
    let (count, bytes) = held(&rig);
    assert_eq!(count, 2);
    assert!((50..1_000).contains(&bytes), "{bytes}");
    // What has ended takes no room, also before a record has passed.
    rig.advance(OPEN_FOR);
    assert_eq!(held(&rig), (2, 0));
    rig.ingest(&[Sent::new("e1", "c")]).unwrap();
    assert_eq!(held(&rig), (2, 0));
    let state = rig.engine.checkout(&open).unwrap().unwrap().session.state.clone();
    assert_eq!(state, CheckoutState::Ended);
    rig.advance(KEPT_FOR);
    assert!(rig.engine.checkout(&open).unwrap().is_none());
    rig.ingest(&[Sent::new("e2", "c")]).unwrap();
    assert_eq!(held(&rig), (0, 0));
    rig.machine.checkpoint().unwrap();
    let rig = rig.stop().open();
    assert_eq!(held(&rig), (0, 0));
}

#[test]
fn open_sessions_have_a_limit_and_make_room() {
    let mut rig = Rig::new(Options { checkout_bytes_max: 1_000, ..tiny() });
    let book = product(&mut rig, once());
    let mut made = Vec::new();
    let refused = loop {
        match create(&mut rig, &book, false) {
            Ok(id) => made.push(id),
            Err(refused) => break refused,
        }
    };
    assert!((2..20).contains(&made.len()), "{}", made.len());
    assert!(matches!(refused, Refused::Conflict(_)), "{refused:?}");
    // An order that is made at once takes no room, and one that is confirmed makes some.
    create(&mut rig, &book, true).unwrap();
    confirm(&mut rig, &made[0]).unwrap();
    create(&mut rig, &book, false).unwrap();
    assert!(create(&mut rig, &book, false).is_err());
    rig.advance(OPEN_FOR);
    create(&mut rig, &book, false).unwrap();
}
