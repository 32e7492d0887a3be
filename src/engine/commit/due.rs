//! A cycle's way: what is due becomes records, in the order in which it is due.
//!
//! It is decided with nothing in flight but other due work, against the state and what that work does to
//! it ([`Ahead`](super::ahead::Ahead)), as many pieces at once as one group of due work may hold. While
//! ingest is on its way, it has the committer after each of them for several times as long as it took.
//! Changes wait, so that they find every boundary passed; what waits behind them does not. A
//! test clock that is moved stops at every due instant.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use super::ahead::Batch;
use super::group::Piece;
use super::{Committer, Reply};
use crate::billing::credits::earliest_end;
use crate::billing::{
    self, Closed, Consumption, Cut, Due, Overflow, PastDueEnd, Prices, Step, close_cycle,
};
use crate::engine::alerts::evaluate::crossings_before_close;
use crate::engine::alerts::watch::fired_entry;
use crate::engine::bills::{overage, readings};
use crate::engine::books::{DueWork, Turn};
use crate::engine::command::Changed;
use crate::engine::decide::{ClockMove, Proposal};
use crate::engine::invoicing::{Billed, DraftInvoice, Numbers};
use crate::engine::pools::Pools;
use crate::engine::pools::moves::CreditsMove;
use crate::engine::pools::work::{PoolStep, PoolWork};
use crate::engine::record::{Body, Change, ChangeEntry, CreditsEntry};
use crate::engine::shared::Shared;
use crate::model::invoice::InvoiceCause;
use crate::model::subscription::Closing;
use crate::model::{Lsn, Subscription, Timestamp};

/// Pieces of due work that one group takes at most.
const BATCH_MAX: usize = 4_000;
/// Pieces that are looked up at once.
const LOOK_UP: usize = 128;
/// Pools that one record settles at most: applied in about a millisecond.
const POOLS_AT_ONCE: usize = 512;
/// A test clock on its way: log time is set once everything before is done.
pub(super) struct Advance {
    pub(super) to: ClockMove,
    pub(super) reply: Reply<Changed>,
}

impl std::fmt::Debug for Advance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Advance({})", self.to.log_time)
    }
}

/// A change that waits until what is due is done.
pub(super) struct Parked {
    pub(super) proposal: Box<Proposal>,
    pub(super) reply: Reply<Changed>,
}

impl std::fmt::Debug for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parked({:?})", self.proposal)
    }
}

/// What a piece of due work leaves behind.
struct Done {
    subscription: Arc<Subscription>,
    piece: Piece,
}

impl Committer {
    /// Looks whether anything is due, and puts it into the open group when nothing but due work is in
    /// flight. Called again and again, also while a group is being written: ingest that never pauses must
    /// not keep due work from its turn.
    pub fn work(&mut self) {
        self.cut_if_wanted();
        if self.settling || self.is_cut_wanted() {
            return;
        }
        #[cfg(feature = "sabotage")]
        if self.hold_for_halves() {
            return;
        }
        let horizon = self.horizon();
        self.is_work_due = self.is_anything_due(horizon) && !self.waits_for_clock();
        if !self.open.is_empty() || self.other_in_flight > 0 {
            return;
        }
        if self.is_work_due {
            // What moves credits is decided against the pools themselves: nothing of it is in flight.
            let is_ahead_allowed = || self.shared.state.with_pools(Pools::is_empty);
            if !self.is_idle() && !is_ahead_allowed() {
                return;
            }
            if !self.is_ingest_first() {
                self.do_batch(horizon);
            }
        } else if !self.is_idle() {
            // What is due at last is not applied yet.
        } else if let Some(Advance { to, reply }) = self.advancing.take() {
            // The test clock has passed everything that was due: it arrives.
            self.append(Body::ClockSet(to.identity), to.log_time);
            self.answer_change(to.outcome, reply);
        } else {
            self.admit_parked();
        }
    }

    /// Decides on the changes that were set aside, until one of them must be applied.
    fn admit_parked(&mut self) {
        while !self.settling
            && !self.is_work_due
            && self.advancing.is_none()
            && let Some(Parked { proposal, reply }) = self.parked.pop_front()
        {
            self.admit_change(proposal, reply);
        }
    }

    /// Whether what is due goes before whatever is no change.
    pub(super) fn waits_for_work(&self) -> bool {
        self.is_work_due && !self.is_ingest_next && !self.is_ingest_first()
    }

    /// Whether changes that were set aside go first: what was due before them is done.
    pub(super) fn waits_for_parked(&self) -> bool {
        !self.is_work_due && !self.parked.is_empty()
    }

    /// What is due up to here is done now.
    fn horizon(&self) -> Timestamp {
        match &self.advancing {
            Some(advance) => advance.to.log_time,
            None => self.log_time.max(self.shared.world.clock.wall()),
        }
    }

    /// Whether the time of anything has come: of subscriptions and pools at `at`, of reservations by the
    /// machine's clock.
    pub(super) fn is_anything_due(&self, at: Timestamp) -> bool {
        self.shared.state.first_due().is_some_and(|due| due <= at) || self.is_reservation_over()
    }

    /// Looks at the clocks before anything is done by them.
    fn waits_for_clock(&mut self) -> bool {
        self.observe_clock();
        self.shared.clock_in_doubt()
    }

    fn do_batch(&mut self, horizon: Timestamp) {
        let shared = Arc::clone(&self.shared);
        let began = shared.world.clock.since_boot();
        let cut_off = self.next_lsn.previous();
        // What is not applied yet has counted what it was before.
        let counted_through = self.log_time;
        let (bytes_max, pools_max) = (self.due_bytes_at_once(), self.pools_at_once());
        let mut pools_count = 0;
        self.time_out_reservations(if self.advancing.is_some() { self.log_time } else { horizon });
        let mut numbers = self.ahead.take_numbers(&shared);
        let mut batch = Batch { new_due: self.ahead.new_due(), ..Batch::default() };
        // Nor must what pending events will draw.
        let entering = shared.state.entering_due();
        batch.note_due(entering.map(Turn::first_at));
        let mut last = self.ahead.last().copied();
        let works = Works::new(&shared, horizon, last);
        for work in works.take(BATCH_MAX) {
            // What this work makes due must not be overtaken by other work.
            if batch.new_due.is_some_and(|due| work.turn() >= due)
                || self.open.due_bytes > bytes_max
                || pools_count >= pools_max
            {
                break;
            }
            let log_time = match &self.advancing {
                Some(_) => self.log_time.max(work.turn().at()),
                None => horizon,
            };
            let (work, known) = match work {
                Work::Subscription(work, known) => (work, known),
                Work::Pools(works) => {
                    pools_count += works.len();
                    self.append_due(Piece::Record(moved_credits(works)), log_time, None);
                    continue;
                }
            };
            let changed = batch.changed.get(&work.subscription);
            let subscription = match changed.or_else(|| self.ahead.get(work.subscription)) {
                // An end, or a stop, at this very instant has left nothing of it to do.
                Some(now) if !is_due(now, &work) => continue,
                Some(now) => Arc::clone(now),
                None => known,
            };
            let at = Instants { log_time, cut_off, counted_through };
            let done = do_work(&shared, &subscription, work.step, at, &mut numbers);
            #[cfg(feature = "sabotage")]
            let done = {
                let mut done = done;
                self.split_close(&mut done.piece);
                done
            };
            let due = billing::each_due(&done.subscription).map(|due| Turn::of(&due));
            batch.note_due(due.filter(|due| *due > work.turn()).min());
            let credits = done.subscription.credits.iter().chain(subscription.credits.iter());
            let ends = credits.filter_map(|attached| earliest_end(attached, work.at)).min();
            batch.note_due(ends.map(Turn::first_at));
            if let Some(fired) = fired_before(&shared, &subscription, work.step) {
                self.append_due(Piece::Record(fired), log_time, None);
            }
            self.append_due(done.piece, log_time, Some(subscription));
            batch.changed.insert(work.subscription, done.subscription);
            last = Some(work);
        }
        if let Some(at) = entering.filter(|at| *at <= horizon && self.open.due.is_empty()) {
            // Whatever is applied lets them enter.
            let at = if self.advancing.is_some() { at } else { horizon };
            let piece = Piece::Record(moved_credits(Vec::new()));
            self.append_due(piece, self.log_time.max(at), None);
        }
        self.closed_through = self.closed_through.max(numbers.closed_through);
        self.open.is_of_pools = batch.changed.is_empty();
        if let Some(last) = last.filter(|_| !batch.changed.is_empty()) {
            self.open.work_took = shared.world.clock.since_boot().saturating_sub(began);
            self.ahead.push(batch, last, numbers);
            // Events may follow in the same group.
            self.is_ingest_next = true;
        }
    }
}

fn is_due(subscription: &Subscription, work: &DueWork) -> bool {
    billing::each_due(subscription).any(|due| due == Due { at: work.at, step: work.step })
}

/// The next piece of due work.
enum Work {
    /// Of a subscription.
    Subscription(DueWork, Arc<Subscription>),
    /// The same of several pools, at one instant when it matters; never none.
    Pools(Vec<PoolWork>),
}

impl Work {
    fn turn(&self) -> Turn {
        match self {
            Self::Subscription(work, _) => work.turn(),
            Self::Pools(works) => {
                Turn::first_at(works.first().map_or(Timestamp::MAX, |work| work.at))
            }
        }
    }
}

/// What is due as the state says, in order, with its subscriptions; looked up a few at a time. Of
/// subscriptions what comes after `last`.
struct Works<'s> {
    subscriptions: Peekable<LookedUp<'s, (DueWork, Arc<Subscription>)>>,
    pools: Peekable<LookedUp<'s, PoolWork>>,
}

impl<'s> Works<'s> {
    fn new(shared: &'s Shared, horizon: Timestamp, last: Option<DueWork>) -> Self {
        let subscriptions = LookedUp::new(move |found: Option<&(DueWork, _)>| {
            let behind = found.map(|(work, _)| work).or(last.as_ref());
            let found: Vec<_> = shared.state.with_books(|books| {
                let due = books.due_behind(behind);
                let due = due.take_while(|work| work.at <= horizon).take(LOOK_UP);
                let due =
                    due.filter_map(|work| Some((work, books.subscription(work.subscription)?)));
                let (due, found): (Vec<&DueWork>, Vec<&Arc<Subscription>>) = due.unzip();
                books.warm(&found, shared.state.segments());
                let works = due.into_iter().copied();
                works.zip(found.into_iter().map(Arc::clone)).collect()
            });
            let customers = found.iter().map(|(_, subscription)| subscription.customer);
            shared.state.with_accounts(|all| all.warm(customers));
            found
        });
        let pools = LookedUp::new(move |last: Option<&PoolWork>| {
            shared.state.with_pools(|pools| {
                let due = pools.due_behind(last).take_while(|work| work.at <= horizon);
                due.take(POOLS_AT_ONCE).copied().collect()
            })
        });
        Self { subscriptions: subscriptions.peekable(), pools: pools.peekable() }
    }

    /// Whether what is due of a pool comes first: at one instant grants expire before anything turns, and
    /// draws are settled at the end.
    fn is_pool_next(&mut self) -> bool {
        match (self.pools.peek(), self.subscriptions.peek()) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(pool), Some((work, _))) => match pool.step {
                PoolStep::Expire => pool.at <= work.at,
                PoolStep::Settle => pool.at < work.at,
            },
        }
    }
}

impl Iterator for Works<'_> {
    type Item = Work;

    fn next(&mut self) -> Option<Work> {
        if !self.is_pool_next() {
            let (work, subscription) = self.subscriptions.next()?;
            return Some(Work::Subscription(work, subscription));
        }
        let first = self.pools.next()?;
        let mut works = vec![first];
        while works.len() < POOLS_AT_ONCE
            && self.is_pool_next()
            && let Some(next) = self.pools.next_if(|next| goes_with(&first, next))
        {
            works.push(next);
        }
        Some(Work::Pools(works))
    }
}

/// Whether two pieces of work are one record.
fn goes_with(first: &PoolWork, next: &PoolWork) -> bool {
    first.step == next.step
        && match first.step {
            PoolStep::Expire => first.at == next.at,
            PoolStep::Settle => true,
        }
}

/// Alerts that fire by what a segment has counted, which its close would forget.
fn fired_before(shared: &Shared, subscription: &Subscription, step: Step) -> Option<Body<'static>> {
    match step {
        Step::Close { .. } => {}
        Step::Turn | Step::PastDueEnd => return None,
    }
    let firing = crossings_before_close(shared, subscription);
    (!firing.is_empty()).then(|| Body::AlertsFired(Box::new(fired_entry(shared, firing))))
}

fn moved_credits(works: Vec<PoolWork>) -> Body<'static> {
    let first = works.first().copied();
    let pools = works.into_iter().map(|work| work.pool).collect();
    let moved = match first.map(|work| (work.step, work.at)) {
        Some((PoolStep::Expire, at)) => CreditsMove::Expired { pools, at },
        Some((PoolStep::Settle, _)) | None => CreditsMove::Settled(pools),
    };
    Body::CreditsMoved(Box::new(CreditsEntry { moved, identity: None }))
}

/// Finds the next few things behind one.
type Look<'s, T> = Box<dyn Fn(Option<&T>) -> Vec<T> + 's>;

/// Looks things up a few at a time, behind the last one that was found.
struct LookedUp<'s, T> {
    look: Look<'s, T>,
    last: Option<T>,
    found: std::vec::IntoIter<T>,
}

impl<'s, T: Clone> LookedUp<'s, T> {
    fn new(look: impl Fn(Option<&T>) -> Vec<T> + 's) -> Self {
        Self { look: Box::new(look), last: None, found: Vec::new().into_iter() }
    }
}

impl<T: Clone> Iterator for LookedUp<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if let Some(next) = self.found.next() {
            return Some(next);
        }
        let found = (self.look)(self.last.as_ref());
        self.last = found.last().cloned().or_else(|| self.last.take());
        self.found = found.into_iter();
        self.found.next()
    }
}

/// When a piece of work is done.
#[derive(Clone, Copy)]
struct Instants {
    log_time: Timestamp,
    cut_off: Lsn,
    /// Events before this instant may have entered their segments.
    counted_through: Timestamp,
}

fn do_work(
    shared: &Shared,
    subscription: &Arc<Subscription>,
    step: Step,
    at: Instants,
    numbers: &mut Numbers,
) -> Done {
    match step {
        Step::PastDueEnd => end_past_due(shared, subscription, at),
        Step::Turn => {
            let turned = billing::turn(subscription, shared.options.grace);
            let turned = Arc::new(turned.expect("a turn is due of a running segment alone"));
            Done {
                subscription: Arc::clone(&turned),
                piece: Piece::Record(Body::PeriodTurned(turned)),
            }
        }
        Step::Close { segment } => close(shared, subscription, segment, at, numbers),
    }
}

/// Makes the invoice of a segment from its accumulators; the events are not read again.
fn close(
    shared: &Shared,
    subscription: &Arc<Subscription>,
    segment: u32,
    at: Instants,
    numbers: &mut Numbers,
) -> Done {
    let closing = subscription.closing.iter().find(|found| found.segment.number == segment);
    let customer = shared.state.with_accounts(|all| all.at(subscription.customer));
    let (Some(closing), Some(customer)) = (closing, customer) else { return stop(subscription) };
    let Ok(closed) = price(shared, subscription, closing) else {
        return stop(subscription);
    };
    let billed = Billed {
        customer,
        cause: InvoiceCause::Closed(segment),
        period: Some(closing.segment.period),
        metadata: None,
        due_at: closing.due_at,
        service_period: closing.renewal.map(|renewal| renewal.period),
        share: None,
        terms: closing.renewal.map_or(closing.segment.terms, |renewal| renewal.terms),
        quantity: closing.renewal.map_or(subscription.quantity, |renewal| renewal.quantity),
        bill: closed.bill,
    };
    let closed = Arc::new(closed.subscription);
    numbers.closed_through = numbers.closed_through.max(closing.segment.period.end);
    let instants = (at.log_time, at.cut_off);
    let draft = DraftInvoice::new(shared, Arc::clone(&closed), billed, instants, numbers);
    Done { subscription: closed, piece: Piece::Close(draft) }
}

fn price(
    shared: &Shared,
    subscription: &Subscription,
    closing: &Closing,
) -> Result<Closed, Overflow> {
    // Every event of the segment has come: those whose time had not when they did are before its end.
    let readings = readings(shared, subscription, &closing.segment);
    let overage = overage(shared, subscription, None, closing.segment.number);
    let catalogue = shared.state.catalogue();
    shared.state.with_books(|books| {
        let prices = Prices { products: books.products(), meters: catalogue.meters() };
        let consumption = Consumption { readings: &readings, overage: &overage };
        close_cycle(subscription, closing, consumption, prices)
    })
}

/// The time to pay is over. A subscription that is cancelled for it is cut where its time ended, or where
/// events that it has counted already lie behind that; those that wait for the record enter before it.
fn end_past_due(shared: &Shared, subscription: &Arc<Subscription>, at: Instants) -> Done {
    let options = &shared.options;
    let end = options.past_due.map_or(PastDueEnd::Hold, |past_due| past_due.end);
    let entered = shared.state.billing_marks().entered_through.max(at.counted_through);
    let entering = shared.state.last_entering(subscription.customer, at.log_time);
    let entered = entered.max(entering.map_or(entered, |last| last.plus(Duration::from_nanos(1))));
    let due = subscription.past_due_until.unwrap_or(at.log_time);
    let last = subscription.running.map_or(due, |running| running.period.end);
    let cut = Cut { at: due, end: due.max(entered).min(last), grace: options.grace };
    let ended = billing::end_past_due(subscription, end, cut);
    let ended = Arc::new(ended.expect("only of one that is past due does the time to pay end"));
    Done { subscription: Arc::clone(&ended), piece: Piece::Record(Body::PeriodTurned(ended)) }
}

/// A total has left 64 bits: the closes of this subscription wait for somebody to look.
fn stop(subscription: &Arc<Subscription>) -> Done {
    tracing::error!(
        subscription = %subscription.id,
        "a total leaves 64 bits: this subscription is not billed any more"
    );
    let stopped = Arc::new(Subscription { stopped: true, ..Subscription::clone(subscription) });
    let change = Change::Subscription(Arc::clone(&stopped));
    let body = Body::Change(ChangeEntry { change, identity: None });
    Done { subscription: stopped, piece: Piece::Record(body) }
}
