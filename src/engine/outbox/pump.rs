//! What an endpoint is to be sent next: messages that it was never sent, and those whose time to be tried
//! again has come.
//!
//! A pump is what one process knows of what it is doing, and no part of the state: a new one begins where
//! the endpoint's queue stands, and sends again what was on its way.

use std::collections::{BTreeMap, BTreeSet};

use super::overlay::Order;
use super::settle::{Attempt, Next, SettledEntry, Undelivered};
use super::{KeptEndpoint, keys, reads};
use crate::engine::Engine;
use crate::engine::bills::BillsError;
use crate::engine::commit::Submission;
use crate::model::{EndpointIndex, MessageId, Notice, Timestamp};
use crate::storage::codec;

/// Messages that are looked at at once, for whomever they are.
const LOOKED_AT_ONCE: usize = 256;
/// Messages for others are passed by so many at a time: each time takes a record.
const PASSED_BY_MIN: u64 = 10_000;

/// A message that is to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub id: MessageId,
    /// What it tells.
    pub notice: Notice,
    /// The number of the attempt.
    pub number: u32,
    /// When it was due, unless it was never tried.
    pub due: Option<Timestamp>,
}

/// What there is to do now.
#[derive(Debug, Default)]
pub struct Found {
    /// What is to be sent.
    pub deliveries: Vec<Delivery>,
    /// Whether there may be more at once.
    pub has_more: bool,
    /// When the next message is to be tried again.
    pub next_retry: Option<Timestamp>,
}

/// What is under way to one endpoint; see the module.
#[derive(Debug)]
pub struct Pump {
    endpoint: EndpointIndex,
    /// Messages up to here were looked at.
    looked: MessageId,
    /// What the queue says as far as this process knows.
    through: MessageId,
    /// Messages beyond that which are tried for the first time, and whether that is over.
    first: BTreeMap<MessageId, bool>,
    /// Messages whose attempt is under way, or over and not logged.
    under_way: BTreeSet<MessageId>,
    /// What is over and not logged.
    attempts: Vec<Attempt>,
    /// Whether the odd place is for one to be tried again.
    retries_first: bool,
    /// Times to try again at which there is nothing to try.
    dropped: Vec<(Timestamp, MessageId)>,
    /// Those that are being logged.
    dropping: BTreeSet<(Timestamp, MessageId)>,
}

impl Pump {
    /// A pump that goes on where the endpoint's queue stands.
    pub fn new(kept: &KeptEndpoint) -> Self {
        let through = kept.queue.through;
        Self {
            endpoint: kept.endpoint.index,
            looked: through,
            through,
            first: kept.queue.ahead.iter().map(|id| (*id, true)).collect(),
            under_way: BTreeSet::new(),
            attempts: Vec::new(),
            retries_first: true,
            dropped: Vec::new(),
            dropping: BTreeSet::new(),
        }
    }

    /// How many messages are under way, or over and not logged.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// How many attempts are over of which nothing is being logged yet.
    pub fn over(&self) -> usize {
        self.attempts.len()
    }

    /// Whether there is anything to log.
    pub fn has_news(&self) -> bool {
        !self.attempts.is_empty()
            || !self.dropped.is_empty()
            || self.told_through().lsn.0.saturating_sub(self.through.lsn.0) >= PASSED_BY_MIN
    }

    /// Every message up to here was tried, or is for others.
    fn told_through(&self) -> MessageId {
        let open = self.first.iter().find(|(_, is_over)| !**is_over);
        open.map_or(self.looked, |(id, _)| id.previous()).max(self.through)
    }

    /// At most `count` messages that are to be sent at `now`, those to be tried again first; from then on
    /// they are under way. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn next(
        &mut self,
        engine: &Engine,
        now: Timestamp,
        count: usize,
    ) -> Result<Found, BillsError> {
        let mut found = Found::default();
        // Half of the room is for what was never tried: a receiver that fails now and then must not keep
        // everything new waiting behind what it has refused.
        let for_retries = if self.retries_first { count.div_ceil(2) } else { count / 2 };
        self.retries_first = !self.retries_first;
        self.find_retries(engine, now, for_retries, &mut found)?;
        self.find_new(engine, count, &mut found)?;
        for delivery in &found.deliveries {
            self.under_way.insert(delivery.id);
        }
        Ok(found)
    }

    fn find_retries(
        &mut self,
        engine: &Engine,
        now: Timestamp,
        count: usize,
        found: &mut Found,
    ) -> Result<(), BillsError> {
        let end = EndpointIndex(self.endpoint.0.saturating_add(1));
        let from = keys::retry(self.endpoint, Timestamp::MIN, MessageId::FIRST);
        let below = keys::retry(end, Timestamp::MIN, MessageId::FIRST);
        let mut due = Vec::new();
        reads::visit(&engine.shared, (from, below), Order::Forward, |key, _| {
            let Some((at, id)) = keys::retry_of(key) else { return Ok(true) };
            if self.under_way.contains(&id) || self.dropping.contains(&(at, id)) {
                return Ok(true);
            }
            if at > now {
                found.next_retry = Some(at);
                return Ok(false);
            }
            if due.len() == count {
                found.has_more = true;
                return Ok(false);
            }
            due.push((at, id));
            Ok(true)
        })?;
        for (at, id) in due {
            let known = engine.undelivered(self.endpoint, id)?;
            let notice = engine.notice(id)?;
            // Another time was set meanwhile, or the message is forgotten.
            let is_due = known.is_some_and(|known| known.due == Some(at));
            match (known, notice) {
                (Some(Undelivered { attempts, .. }), Some(notice)) if is_due => {
                    let number = attempts.saturating_add(1);
                    found.deliveries.push(Delivery { id, notice, number, due: Some(at) });
                }
                _ => {
                    self.dropped.push((at, id));
                    self.dropping.insert((at, id));
                }
            }
        }
        Ok(())
    }

    fn find_new(
        &mut self,
        engine: &Engine,
        count: usize,
        found: &mut Found,
    ) -> Result<(), BillsError> {
        if found.deliveries.len() >= count {
            found.has_more = true;
            return Ok(());
        }
        let from = keys::behind(&keys::message(self.looked));
        let below = keys::behind(&keys::message(MessageId::LAST));
        let mut left = LOOKED_AT_ONCE;
        let (looked, known) = (self.looked, found.deliveries.len());
        let visited = reads::visit(&engine.shared, (from, below), Order::Forward, |key, value| {
            if left == 0 || found.deliveries.len() >= count {
                found.has_more = true;
                return Ok(false);
            }
            left -= 1;
            let Some(id) = keys::message_of(key) else { return Ok(true) };
            let notice: Notice = codec::decode(value)?;
            self.looked = id;
            if notice.to.contains(&self.endpoint) && !self.first.contains_key(&id) {
                self.first.insert(id, false);
                found.deliveries.push(Delivery { id, notice, number: 1, due: None });
            }
            Ok(true)
        });
        if visited.is_err() {
            // Nobody sends what was found so far: it is found again.
            self.looked = looked;
            for delivery in found.deliveries.drain(known..) {
                self.first.remove(&delivery.id);
            }
        }
        visited
    }

    /// An attempt is over.
    pub fn ended(&mut self, attempt: Attempt) {
        if attempt.due.is_none() {
            self.first.insert(attempt.message, true);
        }
        self.attempts.push(attempt);
    }

    /// What is to be logged: what is over, and how far the endpoint was told.
    pub fn take_news(&mut self, engine: &Engine) -> Option<SettledEntry> {
        if !self.has_news() {
            return None;
        }
        for attempt in &mut self.attempts {
            let asked = engine.asked_meanwhile(self.endpoint, attempt);
            self.dropped.extend(asked.and_then(|due| give_way(attempt, due)));
        }
        let through = self.told_through();
        self.through = through;
        self.first.retain(|id, _| *id > through);
        Some(SettledEntry {
            endpoint: self.endpoint,
            through,
            attempts: std::mem::take(&mut self.attempts),
            dropped: std::mem::take(&mut self.dropped),
        })
    }

    /// What was to be logged is part of the state.
    pub fn logged(&mut self, entry: &SettledEntry) {
        for attempt in &entry.attempts {
            self.under_way.remove(&attempt.message);
        }
        for dropped in &entry.dropped {
            self.dropping.remove(dropped);
        }
    }
}

/// The message of an attempt was asked for again while it was under way, for `asked`: that stays to be done.
/// The time at which the attempt was due, when it is not needed any more.
fn give_way(attempt: &mut Attempt, asked: Timestamp) -> Option<(Timestamp, MessageId)> {
    match attempt.next {
        Next::Delivered => attempt.due.take().map(|due| (due, attempt.message)),
        Next::Retry(_) | Next::GivenUp => {
            attempt.next = Next::Retry(asked);
            None
        }
    }
}

impl Engine {
    /// For when somebody has asked for the message of an attempt again while that was under way. Memory
    /// alone is looked at: whoever asked before the last checkpoint may have got what was under way.
    fn asked_meanwhile(&self, endpoint: EndpointIndex, attempt: &Attempt) -> Option<Timestamp> {
        let key = keys::undelivered(endpoint, attempt.message);
        let row = self.shared.state.with_outbox(|outbox| outbox.rows().get(&key))??;
        let known: Undelivered = codec::decode(&row).ok()?;
        known.due.filter(|due| attempt.due != Some(*due))
    }

    /// Logs what became of attempts; `reply` is called once that is durable, and dropped uncalled when the
    /// log fails.
    pub fn settle_webhooks(
        &self,
        entry: SettledEntry,
        reply: impl FnOnce(Result<(), crate::engine::Refused>) + Send + 'static,
    ) {
        self.shared.submit(Submission::Settled(Box::new(entry), Box::new(reply)));
    }

    /// Has `wake` called whenever there may be something to send.
    pub fn wake_on_messages(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.shared.waker.set(Box::new(wake));
    }

    /// What the machine's wall clock shows, under a test clock too.
    pub fn real_now(&self) -> Timestamp {
        self.shared.world.clock.real()
    }
}
