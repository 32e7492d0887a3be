//! Webhook endpoints through the engine: what each is told, when it is tried again, what is forgotten.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::credits::{Shop, overage};
use super::dice::Dice;
use super::rig::{Crash, Rig, Sent, tiny};
use crate::engine::command::entries::NewEntryKind;
use crate::engine::command::webhooks::{EndpointPatch, NewEndpoint, WebhookCommand};
use crate::engine::outbox::overlay::Order;
use crate::engine::outbox::pump::{Delivery, Pump};
use crate::engine::outbox::settle::{Attempt, Next, SettledEntry};
use crate::engine::outbox::{keys, reads};
use crate::engine::{Command, Outcome};
use crate::model::credit::OverageBehavior;
use crate::model::webhook::Disabled;
use crate::model::{
    Endpoint, EndpointId, EventType, LedgerEntryId, MessageId, Notice, Timestamp, Told,
};
use crate::storage::codec;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

fn new_endpoint(filter: Option<Vec<EventType>>) -> NewEndpoint {
    NewEndpoint {
        url: "https://example.com/".to_owned(),
        description: String::new(),
        disabled: false,
        filter,
        headers: Vec::new(),
        metadata: Vec::new(),
        rate_limit: None,
    }
}

fn endpoint(rig: &mut Rig, command: WebhookCommand) -> Endpoint {
    let changed = rig.change(Command::Webhook(Box::new(command))).unwrap();
    let Outcome::Endpoint(endpoint) = changed.outcome else { panic!("an endpoint") };
    Endpoint::clone(&endpoint)
}

pub(super) fn create(rig: &mut Rig, filter: Option<Vec<EventType>>) -> EndpointId {
    endpoint(rig, WebhookCommand::Create(new_endpoint(filter))).id
}

/// Every message there is.
pub(super) fn told(rig: &Rig) -> Vec<(MessageId, Notice)> {
    let range = (keys::message(MessageId::FIRST), keys::message(MessageId::LAST));
    let mut found = Vec::new();
    reads::visit(&rig.machine.shared, range, Order::Forward, |key, value| {
        found.push((keys::message_of(key).unwrap(), codec::decode(value)?));
        Ok(true)
    })
    .unwrap();
    assert!(found.is_sorted_by_key(|(id, _): &(_, Notice)| *id));
    found
}

fn test(rig: &mut Rig, id: &EndpointId) -> MessageId {
    let command = Command::Webhook(Box::new(WebhookCommand::Test(id.clone())));
    let lsn = rig.change(command).unwrap().lsn;
    MessageId { lsn, number: 0 }
}

fn kept(rig: &Rig, id: &EndpointId) -> crate::engine::outbox::KeptEndpoint {
    let index = rig.engine.webhook_endpoint(id).unwrap().index;
    rig.engine.kept_endpoint(index).unwrap()
}

fn settle(rig: &mut Rig, entry: SettledEntry) {
    rig.engine.settle_webhooks(entry, |result| result.unwrap());
    rig.settle().unwrap();
}

fn attempt(delivery: &Delivery, at: Timestamp, succeeds: bool) -> Attempt {
    let next = if succeeds { Next::Delivered } else { Next::after_failure(delivery.number, at) };
    Attempt {
        message: delivery.id,
        event_type: delivery.notice.event_type,
        number: delivery.number,
        due: delivery.due,
        at,
        took_ms: 3,
        status: Some(if succeeds { 200 } else { 500 }),
        error: None,
        answer: "so".to_owned(),
        next,
    }
}

/// Makes every attempt that is due, and logs it.
fn pump_all(rig: &mut Rig, pump: &mut Pump, mut succeeds: impl FnMut(&Delivery) -> bool) -> usize {
    let mut made = 0;
    loop {
        let now = rig.engine.real_now();
        let found = pump.next(&rig.engine, now, 4).unwrap();
        for delivery in &found.deliveries {
            made += 1;
            pump.ended(attempt(delivery, now, succeeds(delivery)));
        }
        if let Some(entry) = pump.take_news(&rig.engine) {
            settle(rig, entry.clone());
            pump.logged(&entry);
        }
        if found.deliveries.is_empty() && !found.has_more {
            return made;
        }
    }
}

#[test]
fn an_endpoint_is_told_what_it_asked_for_since_it_asked() {
    let mut shop = Shop::new(overage(OverageBehavior::InvoiceAtBilling, None));
    let credit = NewEntryKind::Credit { expires_at: None };
    shop.enter(credit, 1, "before").unwrap();
    let rig = &mut shop.rig;
    let all = create(rig, None);
    let only = vec![EventType::CreditAdded, EventType::CreditBalanceLow];
    let some = create(rig, Some(only.clone()));
    let off =
        endpoint(rig, WebhookCommand::Create(NewEndpoint { disabled: true, ..new_endpoint(None) }));
    let indexes = [&all, &some].map(|id| rig.engine.webhook_endpoint(id).unwrap().index);
    shop.subscribe();
    // From 101 to 19.9 of 100, then to nothing.
    shop.call(0, 811);
    shop.call(0, 250);
    shop.pass(32 * 24 * HOUR);
    let found = told(&shop.rig);
    let wants = |event: EventType| {
        let both = only.contains(&event);
        if both { indexes.to_vec() } else { indexes[..1].to_vec() }
    };
    for (_, notice) in &found {
        assert_eq!(notice.to, wants(notice.event_type), "{notice:?}");
        assert!(!notice.to.contains(&off.index));
    }
    // Each row of the ledger since then once, in order.
    let pool = shop.pool();
    let rows = shop.rig.machine.shared.state.with_pools(|pools| {
        let index = pools.index(&pool.key()).unwrap();
        let rows = pools.recent().rows_below(index, LedgerEntryId::LAST);
        rows.map(|row| (**row).clone()).collect::<Vec<_>>()
    });
    let of_ledger = found.iter().filter_map(|(id, notice)| match &notice.told {
        Told::Ledger(row) => {
            assert_eq!((id.lsn, notice.at), (row.id.lsn, row.created_at));
            Some((**row).clone())
        }
        Told::Payment { .. }
        | Told::Subscription(_)
        | Told::BalanceLow(_)
        | Told::Threshold(_)
        | Told::Test(_) => None,
    });
    let of_ledger: Vec<_> = of_ledger.collect();
    let later = rows.iter().rev().skip(1).cloned().collect::<Vec<_>>();
    assert_eq!(of_ledger, later);
    let events: BTreeMap<_, usize> =
        found.iter().fold(BTreeMap::new(), |mut count, (_, notice)| {
            *count.entry(notice.event_type).or_default() += 1;
            count
        });
    let expected = BTreeMap::from([
        (EventType::PaymentSucceeded, 2),
        (EventType::SubscriptionActive, 1),
        (EventType::SubscriptionRenewed, 1),
        (EventType::SubscriptionUpdated, 1),
        (EventType::CreditAdded, 2),
        (EventType::CreditDeducted, events[&EventType::CreditDeducted]),
        (EventType::CreditOverageCharged, 1),
        (EventType::CreditBalanceLow, 1),
    ]);
    assert_eq!(events, expected);
    let low = found.iter().find(|(_, notice)| notice.event_type == EventType::CreditBalanceLow);
    let Told::BalanceLow(low) = &low.unwrap().1.told else { panic!() };
    let said = [low.available, low.amount, low.threshold].map(|amount| amount.to_string());
    assert_eq!((said, low.percent), (["19.9", "100", "20"].map(str::to_owned), 20));
    let before = told(&shop.rig);
    let shop = shop.killed();
    assert_eq!(told(&shop.rig), before);
}

#[test]
fn a_message_is_tried_at_its_times_and_then_given_up() {
    let mut rig = Rig::new(tiny());
    let id = create(&mut rig, None);
    let message = test(&mut rig, &id);
    let mut pump = Pump::new(&kept(&rig, &id));
    assert_eq!(pump_all(&mut rig, &mut pump, |_| false), 1);
    let waits = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000].map(Duration::from_secs);
    let index = kept(&rig, &id).endpoint.index;
    for (number, wait) in (2..).zip(waits) {
        let known = rig.engine.undelivered(index, message).unwrap().unwrap();
        assert_eq!(known.due, Some(rig.engine.real_now().plus(wait)));
        rig.advance(wait.saturating_sub(Duration::from_nanos(1)));
        assert_eq!(pump_all(&mut rig, &mut pump, |_| panic!("too early")), 0);
        let next = pump.next(&rig.engine, rig.engine.real_now(), 1).unwrap().next_retry;
        assert_eq!(next, known.due);
        rig.advance(Duration::from_nanos(1));
        assert_eq!(pump_all(&mut rig, &mut pump, |delivery| delivery.number != number), 1);
    }
    let known = rig.engine.undelivered(index, message).unwrap().unwrap();
    assert_eq!((known.attempts, known.due), (8, None));
    rig.advance(100 * HOUR);
    assert_eq!(pump_all(&mut rig, &mut pump, |_| panic!("given up")), 0);
    let log = rig.engine.webhook_attempts(index, None, 100, |_| true).unwrap();
    let numbers: Vec<_> = log.iter().map(|logged| logged.attempt.number).collect();
    assert_eq!(numbers, [8, 7, 6, 5, 4, 3, 2, 1]);
    let page = rig.engine.webhook_attempts(index, Some(log[2].place), 2, |_| true).unwrap();
    assert_eq!(page, log[3..5]);
    // Whoever asks for it gets it.
    let since = rig.engine.undelivered_since(index, Timestamp::MIN, None, 10).unwrap();
    assert_eq!(since, [message]);
    let again = WebhookCommand::Requeue(id.clone(), since);
    rig.change(Command::Webhook(Box::new(again))).unwrap();
    assert_eq!(pump_all(&mut rig, &mut pump, |delivery| delivery.number == 1), 1);
    assert_eq!(rig.engine.undelivered(index, message).unwrap(), None);
    assert_eq!(rig.engine.undelivered_since(index, Timestamp::MIN, None, 10).unwrap(), []);
}

#[test]
fn who_asks_while_an_attempt_is_under_way_gets_another() {
    let mut rig = Rig::new(tiny());
    let id = create(&mut rig, None);
    let mut pump = Pump::new(&kept(&rig, &id));
    for (fails_before, succeeds) in [(false, true), (false, false), (true, true), (true, false)] {
        let message = test(&mut rig, &id);
        if fails_before {
            pump_all(&mut rig, &mut pump, |_| false);
            rig.advance(Duration::from_secs(5));
        }
        let now = rig.engine.real_now();
        let found = pump.next(&rig.engine, now, 9).unwrap();
        assert_eq!(found.deliveries.len(), 1);
        rig.advance(Duration::from_secs(1));
        let again = WebhookCommand::Requeue(id.clone(), vec![message]);
        rig.change(Command::Webhook(Box::new(again))).unwrap();
        pump.ended(attempt(&found.deliveries[0], now, succeeds));
        let mut seen = Vec::new();
        pump_all(&mut rig, &mut pump, |delivery| {
            seen.push(delivery.id);
            true
        });
        // What is under way is logged first, and what was asked for is found then.
        let more = pump_all(&mut rig, &mut pump, |delivery| {
            seen.push(delivery.id);
            true
        });
        assert!(more <= 1);
        assert_eq!(seen, [message], "{fails_before} {succeeds}");
        let index = kept(&rig, &id).endpoint.index;
        assert_eq!(rig.engine.undelivered(index, message).unwrap(), None);
        rig.advance(HOUR);
        assert_eq!(pump_all(&mut rig, &mut pump, |_| panic!("it has arrived")), 0);
    }
}

/// What one endpoint of a random life got.
#[derive(Default)]
struct Got {
    wanted: BTreeSet<MessageId>,
    delivered: BTreeSet<MessageId>,
    given_up: BTreeSet<MessageId>,
}

#[test]
fn every_message_arrives_or_is_given_up_whatever_becomes_of_the_process() {
    let (mut twice, mut restarts) = (0, 0);
    for seed in 0..30 {
        let dice = Dice::new(seed);
        let mut rig = Rig::new(tiny());
        let ids = [(); 3].map(|()| create(&mut rig, None));
        let mut got = ids.clone().map(|_| Got::default());
        let mut pumps = ids.clone().map(|id| Pump::new(&kept(&rig, &id)));
        for step in 0..220 {
            let who = usize::try_from(dice.below(3)).unwrap();
            let is_ending = step > 120;
            match dice.below(if is_ending { 7 } else { 10 }) {
                0 => rig.advance(Duration::from_secs(1 + dice.below(20_000))),
                1 => rig.machine.checkpoint().unwrap(),
                2 if dice.one_in(3) => {
                    let crash = Crash::Random(dice.below(1 << 40));
                    rig = rig.place.after(crash).open();
                    pumps = ids.clone().map(|id| Pump::new(&kept(&rig, &id)));
                    restarts += 1;
                }
                3..=6 => {
                    let now = rig.engine.real_now();
                    let room = usize::try_from(1 + dice.below(5)).unwrap();
                    let found = pumps[who].next(&rig.engine, now, room).unwrap();
                    for delivery in &found.deliveries {
                        let made = attempt(delivery, now, dice.one_in(3));
                        assert!(got[who].wanted.contains(&delivery.id));
                        if made.next == Next::Delivered && !got[who].delivered.insert(delivery.id) {
                            twice += 1;
                        }
                        if made.next == Next::GivenUp {
                            got[who].given_up.insert(delivery.id);
                        }
                        pumps[who].ended(made);
                    }
                    // What is not logged before a crash is sent again.
                    if !dice.one_in(4)
                        && let Some(entry) = pumps[who].take_news(&rig.engine)
                    {
                        settle(&mut rig, entry.clone());
                        pumps[who].logged(&entry);
                    }
                }
                _ => drop(got[who].wanted.insert(test(&mut rig, &ids[who]))),
            }
        }
        rig = rig.place.after(Crash::DropsAll).open();
        for (id, got) in ids.iter().zip(&mut got) {
            let mut pump = Pump::new(&kept(&rig, id));
            for _ in 0..9 {
                pump_all(&mut rig, &mut pump, |delivery| {
                    got.delivered.insert(delivery.id);
                    true
                });
                rig.advance(11 * HOUR);
            }
            let missing = got.wanted.difference(&got.delivered).collect::<BTreeSet<_>>();
            assert!(missing.is_subset(&got.given_up.iter().collect()), "seed {seed}");
            assert_eq!(kept(&rig, id).queue.ahead, BTreeSet::new());
        }
    }
    assert!(restarts > 30 && twice > 3, "{restarts} restarts, {twice} sent twice");
}

#[test]
fn who_fails_for_five_days_is_disabled_and_goes_on_when_enabled() {
    let mut rig = Rig::new(tiny());
    let id = create(&mut rig, None);
    let mut pump = Pump::new(&kept(&rig, &id));
    let began = rig.engine.real_now();
    for day in 0..5 {
        test(&mut rig, &id);
        pump_all(&mut rig, &mut pump, |_| false);
        let endpoint = kept(&rig, &id).endpoint;
        assert_eq!((endpoint.disabled, endpoint.failing_since), (None, Some(began)), "day {day}");
        rig.advance(24 * HOUR);
    }
    let waiting = test(&mut rig, &id);
    rig.machine.checkpoint().unwrap();
    pump_all(&mut rig, &mut pump, |_| false);
    let mut rig = rig.place.after(Crash::Killed).open();
    let endpoint = kept(&rig, &id).endpoint;
    assert_eq!(endpoint.disabled, Some(Disabled::Failing));
    assert_eq!(endpoint.failing_since, Some(began));
    let refused = rig.change(Command::Webhook(Box::new(WebhookCommand::Test(id.clone()))));
    assert!(refused.is_err());
    let enable = EndpointPatch { disabled: Some(false), ..EndpointPatch::default() };
    let enabled = self::endpoint(&mut rig, WebhookCommand::Update(id.clone(), enable));
    assert_eq!((enabled.disabled, enabled.failing_since), (None, None));
    rig.advance(HOUR);
    let mut pump = Pump::new(&kept(&rig, &id));
    let mut arrived = BTreeSet::new();
    pump_all(&mut rig, &mut pump, |delivery| arrived.insert(delivery.id));
    assert!(arrived.contains(&waiting));
    assert_eq!(kept(&rig, &id).endpoint.failing_since, None);
}

#[test]
fn a_success_ends_a_count_of_failures() {
    let mut rig = Rig::new(tiny());
    let id = create(&mut rig, None);
    let mut pump = Pump::new(&kept(&rig, &id));
    for _ in 0..10 {
        test(&mut rig, &id);
        pump_all(&mut rig, &mut pump, |_| false);
        assert!(kept(&rig, &id).endpoint.failing_since.is_some());
        rig.advance(24 * HOUR);
        test(&mut rig, &id);
        pump_all(&mut rig, &mut pump, |_| true);
        assert_eq!(kept(&rig, &id).endpoint.failing_since, None);
    }
    assert_eq!(kept(&rig, &id).endpoint.disabled, None);
}

#[test]
fn an_endpoint_is_not_told_of_what_its_creation_lets_enter() {
    let mut shop = Shop::new(overage(OverageBehavior::InvoiceAtBilling, None));
    shop.subscribe();
    let first = create(&mut shop.rig, None);
    // The last of the balance is drawn ahead of the clock: the next record lets that enter, and it stands in
    // the ledger at once.
    shop.call(0, 999);
    let last = Sent::new("last".to_owned(), "c0").at(shop.rig.engine.now().plus(SECOND));
    shop.rig.ingest(&[last]).unwrap();
    shop.rig.advance(SECOND * 2);
    let second = create(&mut shop.rig, None);
    let made = kept(&shop.rig, &second).queue.through.lsn;
    let found = told(&shop.rig);
    let by_it: Vec<_> = found.iter().filter(|(id, _)| id.lsn == made).collect();
    assert!(!by_it.is_empty(), "{found:?}");
    let index = kept(&shop.rig, &first).endpoint.index;
    for (_, notice) in by_it {
        assert_eq!(notice.to, [index]);
    }
}
