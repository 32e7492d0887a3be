//! A cycle's way: what is due becomes records, in the order in which it is due.
//!
//! It is decided with nothing in flight, against the state itself, as many pieces at once as one
//! group may hold. Between two groups of a long run one group of ingest is let through; changes wait,
//! so that they find every boundary passed. A test clock that is moved stops at every due instant.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Committer, GROUP_BYTES, Reply};
use crate::billing::{self, Closed, Cut, Overflow, PastDueEnd, Prices, Step, close_cycle};
use crate::engine::bills::readings;
use crate::engine::books::DueWork;
use crate::engine::command::Changed;
use crate::engine::decide::ClockMove;
use crate::engine::invoicing::{Billed, Numbers, bill};
use crate::engine::record::{Body, Change, ChangeEntry, ClosedEntry};
use crate::engine::shared::Shared;
use crate::model::invoice::InvoiceCause;
use crate::model::subscription::Closing;
use crate::model::{Lsn, Subscription, SubscriptionIndex, Timestamp};

/// Pieces of due work that one group takes at most.
const BATCH_MAX: usize = 2_000;

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

/// What a piece of due work leaves behind.
struct Done {
    subscription: Arc<Subscription>,
    body: Body<'static>,
}

impl Committer {
    /// Puts what is due into the open group when nothing is in flight. Called whenever a group may be
    /// handed out.
    pub fn work(&mut self) {
        if self.settling {
            return;
        }
        #[cfg(feature = "sabotage")]
        if self.is_idle() && self.log_halves() {
            return;
        }
        let horizon = self.horizon();
        let first = self.shared.state.with_books(|books| books.due().next().map(|work| work.at));
        self.is_work_due = first.is_some_and(|at| at <= horizon) && !self.waits_for_clock();
        if !self.is_idle() {
            return;
        }
        if self.is_work_due {
            self.do_batch(horizon);
        } else if let Some(Advance { to, reply }) = self.advancing.take() {
            // The test clock has passed everything that was due: it arrives.
            self.append(Body::ClockSet(to.identity), to.log_time);
            self.answer_change(to.outcome, reply);
        }
    }

    /// What is due up to here is done now.
    fn horizon(&self) -> Timestamp {
        match &self.advancing {
            Some(advance) => advance.to.log_time,
            None => self.log_time.max(self.shared.world.clock.wall()),
        }
    }

    /// Looks at the clocks before anything is done by them.
    fn waits_for_clock(&mut self) -> bool {
        self.observe_clock();
        self.shared.clock_in_doubt()
    }

    fn do_batch(&mut self, horizon: Timestamp) {
        let shared = Arc::clone(&self.shared);
        let works: Vec<DueWork> = shared.state.with_books(|books| {
            let due = books.due().take_while(|work| work.at <= horizon);
            due.take(BATCH_MAX).cloned().collect()
        });
        let cut_off = self.next_lsn.previous();
        let mut numbers = Numbers::next(&shared);
        let mut changed: HashMap<SubscriptionIndex, Arc<Subscription>> = HashMap::new();
        // What this work makes due must not be overtaken by other work.
        let mut new_due = Timestamp::MAX;
        for work in &works {
            if work.at >= new_due || self.open.entries.len() > GROUP_BYTES / 2 {
                break;
            }
            let known = changed.get(&work.subscription).cloned().or_else(|| {
                shared.state.with_books(|books| books.subscription(work.subscription).cloned())
            });
            let Some(subscription) = known else { continue };
            let log_time = match &self.advancing {
                Some(_) => self.log_time.max(work.at),
                None => horizon,
            };
            let at = Instants { log_time, cut_off };
            let done = do_work(&shared, &subscription, work.step, at, &mut numbers);
            #[cfg(feature = "sabotage")]
            let done = {
                let mut done = done;
                self.split_close(&mut done.body);
                done
            };
            let due = billing::due(&done.subscription);
            let appeared = due.iter().filter(|due| due.at > work.at).map(|due| due.at).min();
            new_due = new_due.min(appeared.unwrap_or(Timestamp::MAX));
            self.append(done.body, log_time);
            changed.insert(work.subscription, done.subscription);
        }
        self.closed_through = self.closed_through.max(numbers.closed_through);
        self.open.is_due_work = true;
        self.settling = true;
    }
}

/// When a piece of work is done.
#[derive(Clone, Copy)]
struct Instants {
    log_time: Timestamp,
    cut_off: Lsn,
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
            Done { subscription: Arc::clone(&turned), body: Body::PeriodTurned(turned) }
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
    let customer = shared.state.with_accounts(|all| all.at(subscription.customer).cloned());
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
    let (payment, invoice) = bill(shared, &closed, billed, (at.log_time, at.cut_off), numbers);
    numbers.closed_through = numbers.closed_through.max(closing.segment.period.end);
    let entry = ClosedEntry {
        payment,
        invoice: Some(invoice),
        subscription: Some(Arc::clone(&closed)),
        identity: None,
    };
    Done { subscription: closed, body: Body::CycleClosed(Box::new(entry)) }
}

fn price(
    shared: &Shared,
    subscription: &Subscription,
    closing: &Closing,
) -> Result<Closed, Overflow> {
    // Every event of the segment has come: those whose time had not when they did are before its end.
    let readings = readings(shared, subscription, &closing.segment);
    let catalogue = shared.state.catalogue();
    shared.state.with_books(|books| {
        let prices = Prices { products: books.products(), meters: catalogue.meters() };
        close_cycle(subscription, closing, &readings, prices)
    })
}

/// The time to pay is over. A subscription that is cancelled for it is cut where its time ended, or where
/// events that it has counted already lie behind that.
fn end_past_due(shared: &Shared, subscription: &Arc<Subscription>, at: Instants) -> Done {
    let options = &shared.options;
    let end = options.past_due.map_or(PastDueEnd::Hold, |past_due| past_due.end);
    let entered = shared.state.billing_marks().entered_through;
    let due = subscription.past_due_until.unwrap_or(at.log_time);
    let last = subscription.running.map_or(due, |running| running.period.end);
    let cut = Cut { at: due, end: due.max(entered).min(last), grace: options.grace };
    let ended = billing::end_past_due(subscription, end, cut);
    let ended = Arc::new(ended.expect("only of one that is past due does the time to pay end"));
    Done { subscription: Arc::clone(&ended), body: Body::PeriodTurned(ended) }
}

/// A total has left 64 bits: the closes of this subscription wait for somebody to look.
fn stop(subscription: &Arc<Subscription>) -> Done {
    tracing::error!(
        subscription = %subscription.id,
        "a total leaves 64 bits: this subscription is not billed any more"
    );
    let stopped = Arc::new(Subscription { stopped: true, ..Subscription::clone(subscription) });
    let change = Change::Subscription(Arc::clone(&stopped));
    Done { subscription: stopped, body: Body::Change(ChangeEntry { change, identity: None }) }
}
